"""The noise of tallies: against brute force, the calibrated plan, and what kernels really add."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from experiments.counting.noise import Respondents, noise_of_counts, spread_options, tally_plan
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import PlanRefused
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import Answers, count_answers
from privacy.kernel.types import centred

DELTA = 1e-5


def people(**changes: Any) -> Respondents:
    given: dict[str, Any] = {
        "units_per_group": (160,) * 9,
        "questions_per_group": (72,) * 9,
        "answers": 25.0,
    }
    return Respondents(**{**given, **changes})


def delta_of(noise_multiplier: float, epsilon: float) -> float:
    """The delta of a Gaussian mechanism, summed up over a fine grid of outcomes."""
    outcomes = np.linspace(-12, 14, 400_001) * noise_multiplier
    with_person = np.exp(-(((outcomes - 1) / noise_multiplier) ** 2) / 2)
    without = np.exp(-((outcomes / noise_multiplier) ** 2) / 2)
    density = np.maximum(with_person - math.exp(epsilon) * without, 0)
    step = outcomes[1] - outcomes[0]
    return float(density.sum() * step / (noise_multiplier * math.sqrt(2 * math.pi)))


@pytest.mark.parametrize("epsilon", [1.0, 2.0, 4.0, 8.0])
def test_the_noise_multiplier_is_the_least_by_brute_force(epsilon: float) -> None:
    found = noise_of_counts(people(), epsilon=epsilon, delta=DELTA, answers_per_respondent=25)
    at_most = delta_of(found.noise_multiplier, epsilon)
    assert at_most == pytest.approx(DELTA * 0.999, rel=1e-3)
    assert delta_of(0.99 * found.noise_multiplier, epsilon) > DELTA


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_run_calibrates_the_same(epsilon: float) -> None:
    closed = tally_plan(people(), epsilon=epsilon, delta=DELTA, answers_per_respondent=25)
    terms = {name: getattr(closed, name) for name in PrivacyTerms.__dataclass_fields__}
    searched = PrivacyPlan.calibrate(PrivacyTerms(**terms))
    assert 0 <= searched.noise_multiplier / closed.noise_multiplier - 1 < 1e-5
    assert closed.counts == searched.counts


@pytest.mark.parametrize("cap", [1, 10, 25, 50, 72])
def test_a_count_has_noise_of_the_root_of_what_a_person_adds(cap: int) -> None:
    """Recomputed without the plan: an answer has the squared norm 1 - 3/(4 * 4)."""
    found = noise_of_counts(
        people(largest_weight=2.5), epsilon=2, delta=DELTA, answers_per_respondent=cap
    )
    deviation = found.noise_multiplier * 2.5 * math.sqrt(cap * (1 - 3 / 16))
    assert found.noise_std == pytest.approx(deviation, rel=1e-4)
    assert found.noise_std >= deviation  # Rounding never takes noise away.
    given = min(cap, 25)
    # Of 25 answers each counts sqrt(cap / 25) times what each of a full ballot does.
    answers = 160 * given / 72 * math.sqrt(cap / given)
    assert found.answers_of_question == pytest.approx(answers)
    own = found.noise_multiplier * 2.5 * math.sqrt(given * (1 - 3 / 16)) / (160 * given / 72)
    assert found.noise_of_proportion == pytest.approx(own, rel=1e-4)
    assert found.noise_of_mean == pytest.approx(found.noise_of_proportion / 3)
    assert found.noise_of_all == pytest.approx(found.noise_of_proportion / math.sqrt(9 * 72))


def test_a_count_has_noise_of_the_widest_questions_that_a_person_may_answer() -> None:
    mixed = people(options=(10, 5, 2), answers=None)
    found = noise_of_counts(mixed, epsilon=2, delta=DELTA, answers_per_respondent=32)
    plan = tally_plan(mixed, epsilon=2, delta=DELTA, answers_per_respondent=32)
    square = 24 * (1 - 3 / 40) + 8 * (1 - 3 / 20)
    steps = plan.sensitivity / math.sqrt(square)
    assert found.noise_std == pytest.approx(2.0**plan.noise_log2 / steps, rel=1e-4)


@pytest.mark.parametrize("options", [(4,), (10, 5, 2), (2, 1)])
@pytest.mark.parametrize("given", [3, 25, 31.5])
def test_counting_more_than_people_give_costs_nothing(
    given: float, options: tuple[int, ...]
) -> None:
    few = people(answers=given, options=options, largest_weight=2.0)
    noise = [
        noise_of_counts(few, epsilon=2, delta=DELTA, answers_per_respondent=cap)
        for cap in (math.ceil(given), 32, 72)
    ]
    for found in noise[1:]:
        assert found.noise_of_proportion == pytest.approx(noise[0].noise_of_proportion, rel=1e-4)
    less = noise_of_counts(few, epsilon=2, delta=DELTA, answers_per_respondent=2)
    assert less.noise_of_proportion > 1.2 * noise[0].noise_of_proportion


@pytest.mark.parametrize("cap", [10, 25, 60])
def test_persons_count_for_as_many_answers_as_the_forecast_says(cap: int) -> None:
    """Counted by the kernel: 160 persons, each with 25 answers to questions drawn at random."""
    group = people(units_per_group=(160,), questions_per_group=(72,), options=(10, 5, 2))
    found = noise_of_counts(group, epsilon=2, delta=DELTA, answers_per_respondent=cap)
    plan = tally_plan(group, epsilon=2, delta=DELTA, answers_per_respondent=cap)
    bounds = plan.count_bounds(group.options_of(72))
    draw = np.random.default_rng(7)
    questions = np.concatenate([draw.permutation(72)[:25] for _ in range(160)])
    answers = Answers(
        persons=np.repeat(np.arange(160), 25),
        questions=questions,
        options=draw.integers(np.asarray(bounds.options)[questions]),
        weights=np.ones(4000),
    )
    clipped = count_answers(answers, bounds, plan.kernel, SystemRandomStream())
    total = int(centred(clipped.vector).sum()) / float(bounds.total_share) / bounds.step
    assert total / 72 == pytest.approx(found.answers_of_question, rel=0.01)


def test_distributions_cost_the_root_of_twice_their_questions() -> None:
    """Another answer to each question moves two cells by the largest weight."""
    opinions = people(
        units_per_group=(1000,) * 12,
        questions_per_group=(300,) * 12,
        answers=None,
        distributions=True,
        largest_weight=1.5,
        options=(5, 4, 2),
    )
    found = noise_of_counts(opinions, epsilon=2, delta=DELTA)
    deviation = found.noise_multiplier * math.sqrt(2 * 300) * 1.5
    assert found.noise_std == pytest.approx(deviation, rel=2e-3)
    assert found.noise_std > deviation
    assert found.answers_of_question == 1000
    plan = tally_plan(opinions, epsilon=2, delta=DELTA)
    bounds = plan.count_bounds(opinions.options_of(300))
    assert found.noise_std == 2**plan.noise_log2 / bounds.step
    # The most that one person moves, roundings included, is what the noise was made for.
    moved = sum(
        (math.sqrt(2) * bounds.step * 1.5 + math.sqrt(options)) ** 2 for options in bounds.options
    )
    assert moved <= plan.sensitivity**2
    assert bounds.largest_weight == Fraction(3, 2)


def test_of_a_record_one_answer_counts() -> None:
    found = noise_of_counts(people(unit=Unit.RECORD, answers=None), epsilon=4, delta=DELTA)
    deviation = found.noise_multiplier * math.sqrt(1 - 3 / 16)
    assert found.noise_std == pytest.approx(deviation, rel=1e-4)
    assert found.answers_of_question == pytest.approx(160 / 72)


def test_a_run_that_says_nothing_counts_32() -> None:
    every = people(answers=None)
    same = noise_of_counts(every, epsilon=4, delta=DELTA, answers_per_respondent=32)
    assert same.answers_of_question == pytest.approx(160 * 32 / 72)
    assert noise_of_counts(every, epsilon=4, delta=DELTA) == same


def test_the_typical_question_is_that_in_the_middle() -> None:
    """Not of groups: most questions are those of the longest questionnaire."""
    uneven = people(units_per_group=(400, 400, 400), questions_per_group=(20, 30, 600), answers=10)
    found = noise_of_counts(uneven, epsilon=4, delta=DELTA, answers_per_respondent=10)
    assert found.answers_of_question == pytest.approx(400 * 10 / 600)
    assert uneven.sharing == pytest.approx(650 / 600)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"units_per_group": ()}, "units_per_group = ()"),
        ({"questions_per_group": (3, 0)}, "at least 1 for every group"),
        ({"questions_per_group": (3,)}, "has 9 entries, questions_per_group 1"),
        ({"answers": 0.0}, "answers = 0.0"),
        ({"options": (0,)}, "options = (0,)"),
    ],
)
def test_what_describes_no_federation_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=" ") as refused:
        people(**changes)
    assert words in str(refused.value)


def test_a_promise_that_is_none_is_refused() -> None:
    with pytest.raises(PlanRefused, match="epsilon"):
        noise_of_counts(people(), epsilon=0, delta=DELTA)
    with pytest.raises(PlanRefused, match="delta"):
        noise_of_counts(people(), epsilon=1, delta=0.5)


def test_options_are_a_list_or_an_average() -> None:
    assert spread_options([2, 5, 3], 3) == (5, 3, 2)
    assert spread_options(3.5, 4) == (4, 4, 3, 3)
    assert spread_options(4, 3) == (4, 4, 4)
    for wrong in ([2, 5], [2, 0, 3], 0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="options"):
            spread_options(wrong, 3)
