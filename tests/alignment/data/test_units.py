from dataclasses import replace
from itertools import permutations

import pytest

from alignment.data.records import (
    ChoiceRecord,
    PairRecord,
    PreferenceRecord,
    Question,
    SurveyRecord,
)
from alignment.data.units import UNITS, UnitRecords, contribution_cap, units_of
from privacy.accounting.choices import Unit

TEA = Question(question_id="tea", text="tea ?", options=("yes", "no"))
WAR = Question(question_id="war", text="war ?", options=("good", "bad"))


def choice(respondent: str, question: Question, chosen: int, group: str = "east") -> ChoiceRecord:
    return ChoiceRecord(group=group, respondent=respondent, question=question, choice=chosen)


def pair(annotator: str | None) -> PairRecord:
    return PairRecord(group="east", annotator=annotator, prompt="say", chosen="yes", rejected="no")


SURVEY = SurveyRecord(group="east", question=TEA, distribution=(0.25, 0.75))


def test_all_records_of_a_respondent_are_one_unit() -> None:
    units = units_of(
        [choice("bo", WAR, 1), choice("al", TEA, 0), pair("bo"), choice("bo", TEA, 1)],
        unit="respondent",
    )
    assert [unit.unit for unit in units] == ["al", "bo"]
    assert units[0].questions == (TEA,) and units[0].targets == ((1.0, 0.0),)
    # By question id, and "pair-" stands before "tea".
    assert units[1].questions == (pair("bo").question, TEA, WAR)
    assert units[1].targets == (pair("bo").target, (0.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize("unit", ["respondent", "record"])
def test_the_order_of_the_records_does_not_matter(unit: str) -> None:
    records = [choice("bo", TEA, 1), choice("al", WAR, 0), choice("bo", TEA, 0), pair("al")]
    expected = units_of(records, unit=unit)
    assert all(units_of(order, unit=unit) == expected for order in permutations(records))


def test_every_record_is_a_unit_of_its_own_and_keeps_its_name_in_a_subset() -> None:
    records: list[PreferenceRecord] = [
        SURVEY,
        choice("al", TEA, 0),
        pair(None),
        choice("al", WAR, 0),
    ]
    units = units_of(records, unit="record")
    assert len({unit.unit for unit in units}) == len(units) == 4
    assert all(len(unit.questions) == 1 for unit in units)
    assert {unit.targets[0] for unit in units} == {record.target for record in records}
    assert set(units_of(records[1:3], unit="record")) < set(units)


def test_a_record_keeps_its_name_when_it_is_relabelled() -> None:
    """A ledger knows units by their names: another answer is no way to a new budget."""
    swapped = PairRecord(group="east", annotator="al", prompt="say", chosen="no", rejected="yes")
    before = [choice("al", TEA, 0), SURVEY, pair("al")]
    relabelled = SurveyRecord(group="east", question=TEA, distribution=(0.5, 0.5))
    after = [choice("al", TEA, 1), relabelled, swapped]
    names = [{unit.unit for unit in units_of(each, unit="record")} for each in (before, after)]
    assert names[0] == names[1] and len(names[0]) == 3


def test_many_answers_of_nobody_to_one_question_share_names_with_any_selection() -> None:
    answers = [replace(SURVEY, distribution=(x / 8, 1 - x / 8)) for x in range(8)]
    whole = {unit.unit for unit in units_of(answers, unit="record")}
    assert len(whole) == 8
    assert {unit.unit for unit in units_of(answers[3:5], unit="record")} < whole


def test_a_record_given_twice_is_two_units() -> None:
    units = units_of([choice("al", TEA, 0)] * 2, unit="record")
    assert len({unit.unit for unit in units}) == 2


@pytest.mark.parametrize("record", [SURVEY, pair(None)], ids=["survey", "pair"])
def test_a_record_of_nobody_is_refused_where_the_unit_is_a_person(record: PreferenceRecord) -> None:
    with pytest.raises(ValueError, match="names nobody: use unit = 'record'") as error:
        units_of([choice("al", TEA, 0), record], unit="respondent")
    assert "al" not in str(error.value).split()


def test_groups_are_kept_apart() -> None:
    with pytest.raises(ValueError, match="records of 2 groups"):
        units_of([choice("al", TEA, 0), choice("al", TEA, 0, group="west")], unit="respondent")


def test_another_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="unit = 'group' is neither"):
        units_of([], unit="group")


def test_every_unit_that_a_plan_can_promise_has_its_behaviour_here() -> None:
    assert set(UNITS) == {str(unit) for unit in Unit}


def test_a_step_counts_as_many_records_of_a_unit_as_it_can_have_and_the_setting_allows() -> None:
    assert [contribution_cap("respondent", cap) for cap in (1, 32)] == [1, 32]
    assert [contribution_cap("record", cap) for cap in (1, 32)] == [1, 1]
    with pytest.raises(ValueError, match="neither 'respondent' nor 'record'"):
        contribution_cap("group", 3)


def test_no_records_are_no_units() -> None:
    assert units_of([], unit="respondent") == ()


@pytest.mark.parametrize(("questions", "targets"), [((), ()), ((TEA,), ())])
def test_a_unit_has_one_target_per_question_and_at_least_one(
    questions: tuple[Question, ...], targets: tuple[tuple[float, ...], ...]
) -> None:
    with pytest.raises(ValueError, match="at least one"):
        UnitRecords(unit="al", questions=questions, targets=targets)


def test_a_unit_does_not_show_its_records() -> None:
    (unit,) = units_of([choice("al-secret", TEA, 0)], unit="respondent")
    assert "secret" not in repr(unit) and "tea" not in repr(unit)
