"""Records as the kernel counts them: whatever they are, nothing fails and others are untouched."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment.data.records import Question, parse_record
from alignment.data.units import UnitRecords, counted_units
from alignment.tallies.questionnaire import Questionnaire
from clients.training.counting import answers_in
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.step import private_count
from privacy.accounting.terms import terms_of_counts
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import Answers, Distributions, count_answers, private_tally
from privacy.kernel.types import centred

QUESTIONS = (
    Question(question_id="a", text="tea ?", options=("yes", "no")),
    Question(question_id="b", text="war ?", options=("yes", "no", "both")),
)
STRANGE = (
    Question(question_id="a", text="tea ?", options=("no", "yes")),
    Question(question_id="zzz", text="?", options=("yes", "no")),
    Question(question_id="b", text="war ?", options=("yes",) * 64),
)


def questionnaire(distributions: bool) -> Questionnaire:
    return Questionnaire(questions=QUESTIONS, distributions=distributions)


def plan_of(distributions: bool, weight: float = 1.0) -> PrivacyPlan:
    asked = questionnaire(distributions)
    terms = terms_of_counts(
        unit=Unit.RESPONDENT, epsilon=4.0, delta=1e-5, units_per_group=[50],
        options=[asked.options], questionnaires=[asked.digest], distributions=distributions,
        largest_weight=weight,
    )  # fmt: skip
    plan = PrivacyPlan.calibrate(terms)
    return plan.of_group(0, asked.options, questionnaire=asked.digest, units=50)


PLANS = {kind: plan_of(kind) for kind in (False, True)}


def counted(units: Any, distributions: bool, plan: PrivacyPlan | None = None) -> np.ndarray:
    plan = plan or PLANS[distributions]
    asked = questionnaire(distributions)
    bounds = plan.count_bounds(asked.options)
    said = answers_in(units, asked)
    return centred(count_answers(said, bounds, plan.kernel, SystemRandomStream()).vector)


questions = st.sampled_from((*QUESTIONS, *STRANGE))
targets = st.lists(st.floats() | st.sampled_from([0.0, 1.0]), max_size=4).map(tuple)
said = st.lists(
    st.tuples(questions, targets, st.floats() | st.sampled_from([1.0, 5e-324, 1e308])),
    min_size=1,
    max_size=6,
)


def unit(name: str, answers: list[tuple[Question, tuple[float, ...], float]]) -> UnitRecords:
    asked, given, weights = zip(*answers, strict=True)
    return UnitRecords(unit=name, questions=asked, targets=given, weights=weights)


@settings(max_examples=150, deadline=None)
@given(persons=st.lists(said, max_size=4), distributions=st.booleans())
def test_any_units_give_counts_of_one_shape_and_no_error(
    persons: list[Any], distributions: bool
) -> None:
    units = [unit(str(number), answers) for number, answers in enumerate(persons)]
    plan = PLANS[distributions]
    bounds = plan.count_bounds((2, 3))
    asked = questionnaire(distributions)
    tally = private_tally(
        private_count(answers_in(units, asked), bounds, plan, source=SystemRandomStream()), bounds
    )
    assert tally.cells.shape == (5,)
    assert isinstance(answers_in(units, asked), Distributions if distributions else Answers)


@settings(max_examples=100, deadline=None)
@given(hostile=said)
def test_one_person_more_changes_the_cells_by_what_they_said_alone(hostile: list[Any]) -> None:
    others = [unit("x", [(QUESTIONS[0], (1.0, 0.0), 1.0), (QUESTIONS[1], (0.0, 1.0, 0.0), 1.0)])]
    moved = counted([unit("a", hostile), *others], False) - counted(others, False)
    bounds = PLANS[False].count_bounds((2, 3))
    assert sum(int(cell) ** 2 for cell in moved) <= bounds.sensitivity**2
    asked = {question for question, _, _ in hostile}
    for question, cells in zip(QUESTIONS, (moved[:2], moved[2:]), strict=True):
        assert question in asked or not cells.any()


def test_nobody_is_counted_as_nothing() -> None:
    assert not counted([], False).any() and not counted([], True).any()


@pytest.mark.parametrize(("weight", "counts"), [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (9.0, 2.5)])
def test_a_choice_counts_its_weight_up_to_the_largest(weight: float, counts: float) -> None:
    plan = plan_of(False, weight=2.5)
    cells = counted([unit("a", [(QUESTIONS[1], (0.0, 0.0, 1.0), weight)])], False, plan)
    steps = int(cells[4] - cells[3])
    assert steps == pytest.approx(plan.sensitivity * counts / 2.5 / math.sqrt(3 / 4), rel=1e-3)
    assert cells.tolist() == [0, 0, -(steps // 6), -(steps // 6), steps - steps // 6]


def test_records_are_counted_as_they_were_said() -> None:
    asked = {"question_id": "b", "question": "war ?", "options": ["yes", "no", "both"]}
    rows = [{"group": "A", "respondent": str(i), **asked, "choice": i % 3} for i in range(8)]
    units = counted_units(map(parse_record, rows), unit="respondent", distributions=False)
    one = counted(units[:1], False)[2:]
    steps, taken = int(one[0] - one[1]), -int(one[1])
    cells = [3 * steps - 8 * taken, 3 * steps - 8 * taken, 2 * steps - 8 * taken]
    assert counted(units, False).tolist() == [0, 0, *cells]
    spread = {"group": "A", **asked, "distribution": [3 / 8, 3 / 8, 2 / 8], "respondents": 8}
    units = counted_units([parse_record(spread)], unit="respondent", distributions=True)
    step = PLANS[True].count_bounds((2, 3)).step
    assert counted(units, True).tolist() == [0, 0, 3 * step, 3 * step, 2 * step]


def test_a_distribution_of_more_persons_than_the_bound_is_not_counted() -> None:
    asked = (QUESTIONS[0], (0.5, 0.5))
    for respondents, counts in ((50.0, True), (51.0, False), (1e18, False), (math.inf, False)):
        assert counted([unit("all", [(*asked, respondents)])], True).any() == counts
