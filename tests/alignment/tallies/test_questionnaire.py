"""Questionnaires and weights: what is public of the answers, and how much each of them counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment.data.answers import tally
from alignment.data.records import ChoiceRecord, parse_record, record_to_row
from alignment.data.units import EVERYBODY, counted_units
from alignment.tallies.questionnaire import (
    Questionnaire,
    QuestionnaireError,
    parse_questionnaire,
    questionnaire_of,
    read_questionnaire,
)

ASKED = {"question_id": "q1", "question": "tea ?", "options": ["yes", "no"]}
OTHER = {"question_id": "q0", "question": "war ?", "options": ["no", "yes", "café"]}


def choice(respondent: str, option: int, asked: dict[str, Any] = ASKED, **more: Any) -> Any:
    row = {"group": "A", "respondent": respondent, **asked, "choice": option, **more}
    return parse_record(row)


def survey(shares: list[float], asked: dict[str, Any] = ASKED, **more: Any) -> Any:
    return parse_record({"group": "A", **asked, "distribution": shares, **more})


@pytest.fixture
def questionnaire() -> Questionnaire:
    return questionnaire_of([choice("ann", 0), choice("bob", 1, OTHER)])


def test_its_file_and_its_digest_say_the_same(questionnaire: Questionnaire, tmp_path: Path) -> None:
    path = tmp_path / "questionnaire.json"
    path.write_text(questionnaire.to_json(), encoding="utf-8")
    again = read_questionnaire(path)
    assert (again, again.digest) == (questionnaire, questionnaire.digest)
    assert [each.question_id for each in again.questions] == ["q0", "q1"]
    assert again.options == (3, 2)
    spread = questionnaire_of([survey([0.5, 0.5], respondents=3)])
    assert spread.distributions and spread.digest != questionnaire_of([choice("ann", 0)]).digest


def test_the_order_of_records_changes_nothing(questionnaire: Questionnaire) -> None:
    assert questionnaire_of([choice("bob", 1, OTHER), choice("ann", 1)]) == questionnaire


def test_places_are_those_of_id_and_options(questionnaire: Questionnaire) -> None:
    assert questionnaire.place(choice("ann", 0).question) == 1
    decomposed = {**OTHER, "options": ["no", "yes", "cafe\u0301"]}
    assert questionnaire.place(choice("ann", 0, decomposed).question) == 0
    for wrong in ({"options": ["no", "yes"]}, {"question_id": "q7"}):
        assert questionnaire.place(choice("ann", 0, {**ASKED, **wrong}).question) == -1


def test_what_would_not_be_counted_is_refused_to_its_owner(questionnaire: Questionnaire) -> None:
    questionnaire.require([choice("ann", 0)], where="f")
    for record, words in (
        (survey([0.5, 0.5], respondents=3), "is of choices, but the data hold distributions"),
        (choice("ann", 0, {**ASKED, "options": ["no", "yes"]}), "has other options there"),
        (choice("ann", 0, {**ASKED, "question_id": "q7"}), "has no place there"),
        (
            parse_record({"group": "A", "prompt": "p", "chosen": "a", "rejected": "b"}),
            "pairs have private texts",
        ),
    ):
        with pytest.raises(QuestionnaireError, match=words) as refused:
            questionnaire.require([record], where="f")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"answers": "pairs"},
        {"answers": []},
        {"questions": []},
        {"questions": None},
        {"questions": {}},
        {"questions": [ASKED, ASKED]},
        {"questions": [None]},
        {"questions": [{**ASKED, "more": 1}]},
        {"questions": [{**ASKED, "options": ["yes"]}]},
        {"questions": [{**ASKED, "options": ["yes", "yes"]}]},
        {"questions": [{**ASKED, "options": ["yes", "\ud800"]}]},
        {"questions": [{**ASKED, "question_id": ""}]},
        {"questions": [{**ASKED, "question": 7}]},
        {"more": 1},
    ],
)
def test_hostile_files_are_refused_in_one_line(
    questionnaire: Questionnaire, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "questionnaire.json"
    path.write_text(json.dumps({**questionnaire.as_dict(), **change}), encoding="utf-8")
    with pytest.raises(QuestionnaireError) as refused:
        read_questionnaire(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"{", b"7" * 5000])
def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "questionnaire.json"
    path.write_bytes(content)
    with pytest.raises(QuestionnaireError) as refused:
        read_questionnaire(path)
    assert "\n" not in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(json_values, json_values, json_values)
def test_any_values_are_a_questionnaire_or_refused(
    version: Any, answers: Any, questions: Any
) -> None:
    for values in (
        questions,
        {"version": version, "answers": answers, "questions": questions},
        {"version": 1, "answers": "choices", "questions": [{**ASKED, "options": questions}]},
    ):
        try:
            made = parse_questionnaire(values, where="f")
        except QuestionnaireError:
            continue
        # Chance has drawn options that are some: different texts.
        assert [list(question.options) for question in made.questions] == [questions]


class TestWeights:
    def test_an_answer_of_weight_w_counts_w(self) -> None:
        said = [choice("ann", 0, weight=3), choice("bob", 1), choice("cat", 1, weight=0.5)]
        answers = tally(said)["A"]
        assert answers.targets == ((3 / 4.5, 1.5 / 4.5),)
        assert answers.counts == (3,)

    def test_weights_of_one_change_no_bit(self) -> None:
        said = [("a", 0), ("b", 1), ("c", 1)]
        plain = tally([choice(name, option) for name, option in said])
        assert plain == tally([choice(name, option, weight=1.0) for name, option in said])

    @pytest.mark.parametrize("weight", [5e-324, 1e6])
    def test_extreme_weights_are_shares(self, weight: float) -> None:
        (target,) = tally([choice("ann", 0, weight=weight)])["A"].targets
        assert target == (1.0, 0.0)

    def test_they_and_respondents_survive_being_written_and_read(self) -> None:
        for record in (
            choice("ann", 1, weight=2.5),
            choice("ann", 1),
            survey([0.25, 0.75], respondents=1000),
            survey([0.25, 0.75], respondents=7, noise=0.25),
            survey([0.25, 0.75]),
        ):
            again = parse_record(json.loads(json.dumps(record_to_row(record))))
            assert again == record and again.weight == record.weight
        assert isinstance(choice("ann", 1), ChoiceRecord)
        assert survey([0.25, 0.75], respondents=1000).weight == 1000

    @pytest.mark.parametrize(
        "row",
        [
            {"weight": 0},
            {"weight": -1},
            {"weight": float("nan")},
            {"weight": float("inf")},
            {"weight": 10**400},
            {"weight": True},
            {"weight": "2"},
        ],
    )
    def test_what_is_no_weight_is_refused(self, row: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="'weight'"):
            choice("ann", 0, **row)

    @pytest.mark.parametrize("respondents", [0, -1, 1.5, True, "9", 10**9 + 1, 10**400])
    def test_what_is_no_number_of_persons_is_refused(self, respondents: Any) -> None:
        with pytest.raises(ValueError, match="'respondents'"):
            survey([0.5, 0.5], respondents=respondents)

    @pytest.mark.parametrize("noise", [-0.1, True, "0.1", float("nan"), float("inf"), 10**400, []])
    def test_what_is_no_noise_is_refused(self, noise: Any) -> None:
        with pytest.raises(ValueError, match="'noise'"):
            survey([0.5, 0.5], noise=noise)

    def test_noise_makes_answers_less_reliable_and_no_noise_changes_nothing(self) -> None:
        (plain,) = tally([survey([0.5, 0.5], respondents=9)]).values()
        assert plain.noise is plain.reliability is None and plain.counts == (1,)
        assert tally([survey([0.5, 0.5], respondents=9, noise=0)])["A"] == plain
        said = [survey([0.5, 0.5], respondents=9, noise=0.5), survey([0.2, 0.3, 0.5], OTHER)]
        (noised,) = tally(said).values()
        assert noised.noise == (0.5, 0.0) and noised.counts == (9, 1)
        assert noised.reliability == (1 / (1 + 6 * 0.25), 1.0)


class TestUnits:
    def test_all_behind_distributions_are_one_unit_and_others_do_not_count(self) -> None:
        said = [
            survey([0.5, 0.5], respondents=9),
            survey([0.2, 0.3, 0.5], OTHER, respondents=7),
            choice("ann", 0, weight=100.0),
            choice(EVERYBODY, 0, weight=100.0),
        ]
        (everybody,) = counted_units(said, unit="respondent", distributions=True)
        assert everybody.unit == EVERYBODY and everybody.weights == (7.0, 9.0)
        named = counted_units(said, unit="respondent", distributions=False)
        assert [each.unit for each in named] == ["ann", EVERYBODY]
        assert all(each.weights == (100.0,) for each in named)

    def test_a_distribution_must_say_of_how_many_it_is(self) -> None:
        with pytest.raises(ValueError, match="does not say how many persons"):
            counted_units([survey([0.5, 0.5])], unit="respondent", distributions=True)
