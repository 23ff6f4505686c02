"""Plans of counts, and the order of a filter at which Gaussian mechanisms compose exactly."""

import json
import math
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.accountant import (
    GAUSSIAN_ORDER,
    NeighboringRelation,
    SampledGaussian,
    pld_epsilon,
    rdp_budget,
    rdp_per_step,
    rdp_spent,
)
from privacy.accounting.choices import Mechanism, Mode, Unit
from privacy.accounting.counts import ANSWERS, NOISE_LOG2, CountTerms
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms, norm_of_counts, terms_of_counts
from privacy.canonical import canonical_json
from privacy.errors import DeltaTooLarge, ExecutionMismatch, PlanRefused
from privacy.ledger.filter import Mechanism as Step
from privacy.ledger.filter import Steps, best_order, cost, filter_bound, fitting_steps, least_budget
from privacy.ledger.payloads import mechanism_of, stated_plan

DELTA = 1e-5
DIGEST = "ab" * 32
GOLDEN = [(1.0, 1, 4.3771781), (4.0, 50, 8.5958658), (2.0, 1, 1.9930914)]
"""Balle and Wang's closed form at delta = 1e-5: z, T, epsilon."""


def plan_of(**changes: Any) -> PrivacyPlan:
    values: dict[str, Any] = {
        "unit": Unit.RESPONDENT,
        "epsilon": 4.0,
        "delta": DELTA,
        "units_per_group": [50, 70],
        "options": [(2, 3), (5, 2, 4)],
        "questionnaires": [DIGEST, "cd" * 32],
        "distributions": False,
        **changes,
    }
    return PrivacyPlan.calibrate(terms_of_counts(**values))


@pytest.fixture(scope="module")
def plan() -> PrivacyPlan:
    return plan_of()


def exact_epsilon(mu: float, delta: float = DELTA) -> float:
    """The epsilon of a Gaussian mechanism, by bisection in 60 digits: the oracle."""
    with mpmath.workdps(60):
        shift = mpmath.mpf(mu)

        def least_delta(epsilon: mpmath.mpf) -> mpmath.mpf:
            likely = mpmath.ncdf(shift / 2 - epsilon / shift)
            return likely - mpmath.e**epsilon * mpmath.ncdf(-shift / 2 - epsilon / shift)

        low, high = mpmath.mpf(0), mpmath.mpf(1)
        if least_delta(low) <= delta:
            return 0.0
        while least_delta(high) > delta:
            high *= 2
        for _ in range(150):
            middle = (low + high) / 2
            low, high = (middle, high) if least_delta(middle) > delta else (low, middle)
        return float(high)


class TestGaussianOrder:
    @pytest.mark.parametrize(("noise", "steps", "epsilon"), GOLDEN)
    def test_golden_values(self, noise: float, steps: int, epsilon: float) -> None:
        step = rdp_per_step(noise_multiplier=noise, sampling_rate=1.0, order=GAUSSIAN_ORDER)
        assert step == 1 / (2 * noise**2)
        spent = rdp_spent(steps * step, delta=DELTA, order=GAUSSIAN_ORDER)
        assert spent == pytest.approx(epsilon, abs=1e-7)
        assert exact_epsilon(math.sqrt(steps) / noise) == pytest.approx(epsilon, abs=1e-7)
        bound = rdp_budget(epsilon=epsilon, delta=DELTA, order=GAUSSIAN_ORDER)
        assert bound == pytest.approx(steps * step, rel=1e-7)

    @settings(max_examples=60, deadline=None)
    @given(epsilon=st.floats(1e-6, 50), log_delta=st.floats(-40, -1))
    def test_a_budget_pays_for_no_more_than_the_exact_mechanism(
        self, epsilon: float, log_delta: float
    ) -> None:
        """Was open: of budgets so small that mu is, the root was off by more than was taken off."""
        delta = math.exp(log_delta)
        bound = rdp_budget(epsilon=epsilon, delta=delta, order=GAUSSIAN_ORDER)
        mu = mpmath.sqrt(2 * mpmath.mpf(bound))
        with mpmath.workdps(60):
            less = mpmath.e**epsilon * mpmath.ncdf(-mu / 2 - epsilon / mu)
            found = mpmath.ncdf(mu / 2 - epsilon / mu) - less
        assert found <= delta
        assert found >= delta * (1 - 1e-4)

    @settings(max_examples=60, deadline=None)
    @given(epsilon=st.floats(1e-3, 50), log_delta=st.floats(-40, -2))
    def test_budget_and_spending_are_inverse_and_grow(
        self, epsilon: float, log_delta: float
    ) -> None:
        delta = math.exp(log_delta)
        bound = rdp_budget(epsilon=epsilon, delta=delta, order=GAUSSIAN_ORDER)
        again = rdp_spent(bound, delta=delta, order=GAUSSIAN_ORDER)
        assert again == pytest.approx(epsilon, rel=1e-5)
        assert again <= epsilon + 1e-9
        more = rdp_budget(epsilon=1.01 * epsilon, delta=delta, order=GAUSSIAN_ORDER)
        assert bound < more
        assert bound < rdp_budget(epsilon=epsilon, delta=1.1 * delta, order=GAUSSIAN_ORDER)
        assert again <= rdp_spent(1.01 * bound, delta=delta, order=GAUSSIAN_ORDER)

    def test_nothing_spent_is_nothing(self) -> None:
        assert rdp_spent(0.0, delta=DELTA, order=GAUSSIAN_ORDER) == 0
        assert rdp_budget(epsilon=0.0, delta=DELTA, order=GAUSSIAN_ORDER) == 0
        assert rdp_spent(1e-15, delta=DELTA, order=GAUSSIAN_ORDER) == 0

    @pytest.mark.parametrize("order", [2, 3, 8, 64])
    def test_no_other_order_certifies_less_of_one_gaussian(self, order: int) -> None:
        for noise in (0.3, 1.0, 5.0):
            other = rdp_spent(order / (2 * noise**2), delta=DELTA, order=order)
            own = rdp_spent(1 / (2 * noise**2), delta=DELTA, order=GAUSSIAN_ORDER)
            assert own < other

    @pytest.mark.parametrize("rate", [0.01, 0.064, 0.5, 1.0])
    def test_sampled_steps_are_charged_as_whole_ones(self, rate: float) -> None:
        mechanism = Step(noise_multiplier=1.5, sampling_rate=rate)
        assert cost(mechanism, GAUSSIAN_ORDER) == 1 / (2 * 1.5**2)
        sampled = SampledGaussian(noise_multiplier=1.5, sampling_rate=rate, steps=4)
        charged = rdp_spent(4 * cost(mechanism, 1), delta=DELTA, order=GAUSSIAN_ORDER)
        assert pld_epsilon(sampled, delta=DELTA) <= charged + 2e-3

    def test_a_mixed_sequence_is_one_gaussian_of_all_divergence(self) -> None:
        """A tally, 3 sampled steps and another tally: no more than what PLD finds at q = 1."""
        parts = Steps({Step(noise_multiplier=2.0, sampling_rate=1.0): 1,
                       Step(noise_multiplier=3.0, sampling_rate=0.1): 3,
                       Step(noise_multiplier=1.7, sampling_rate=1.0): 1})  # fmt: skip
        mu = math.sqrt(sum(count / step.noise_multiplier**2 for step, count in parts.items()))
        used = sum(count * cost(step, 1) for step, count in parts.items())
        assert used == pytest.approx(mu**2 / 2)
        epsilon = rdp_spent(used, delta=DELTA, order=1)
        assert epsilon == pytest.approx(exact_epsilon(mu), abs=1e-6)
        one = Step(noise_multiplier=1.7, sampling_rate=1.0)
        exactly = math.nextafter(used + cost(one, 1), math.inf)
        assert fitting_steps([(1, exactly)], parts, one) == 1
        assert fitting_steps([(1, used)], parts, one) == 0

    @pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 16.0])
    def test_a_budget_pays_for_the_plan_of_its_epsilon_and_for_no_second(
        self, epsilon: float
    ) -> None:
        plan = plan_of(epsilon=epsilon)
        mechanism = mechanism_of(plan)
        order = best_order(
            noise_multiplier=plan.noise_multiplier, sampling_rate=1.0, epsilon=epsilon, delta=DELTA
        )
        assert order == GAUSSIAN_ORDER
        bound = filter_bound(epsilon=epsilon, delta=DELTA, order=order)
        assert fitting_steps([(order, bound)], Steps(), mechanism) == 1
        assert fitting_steps([(order, bound)], Steps({mechanism: 1}), mechanism) == 0
        least, of = least_budget(mechanism, steps=1, delta=DELTA)
        assert of == GAUSSIAN_ORDER
        assert epsilon * 0.999 <= least <= epsilon
        smaller = filter_bound(epsilon=0.99 * epsilon, delta=DELTA, order=order)
        assert fitting_steps([(order, smaller)], Steps(), mechanism) == 0
        # And so exactly: the noise is hardly more than that of the closed form.
        exact = exact_epsilon(1 / plan.noise_multiplier, plan.accounted_delta)
        assert epsilon * (1 - 2e-3) <= exact <= epsilon


class TestPlan:
    def test_a_plan_of_counts_is_one_release_at_full_rate(self, plan: PrivacyPlan) -> None:
        assert (plan.release, plan.mode, plan.steps) == (Mechanism.TALLY, Mode.LOCAL, 1)
        assert plan.noise_log2 == NOISE_LOG2
        assert plan.sensitivity**2 * Fraction(plan.noise_multiplier) ** 2 <= 4**NOISE_LOG2 - 9
        assert plan.cut_chance() == 0
        assert plan.verify() <= plan.epsilon

    def test_it_is_read_back_as_written_also_from_a_ledger(self, plan: PrivacyPlan) -> None:
        again = PrivacyPlan.from_dict(json.loads(json.dumps(plan.as_dict())))
        assert (again, again.digest()) == (plan, plan.digest())
        assert stated_plan(json.loads(canonical_json(plan.as_dict()))) == plan

    def test_a_group_has_the_same_plan_in_every_run(self, plan: PrivacyPlan) -> None:
        """Its digest names the tally: neither the other groups nor their order changes it."""
        one = plan.of_group(0, (2, 3), questionnaire=DIGEST, units=50)
        other = plan_of(
            units_per_group=[500, 50, 7], options=[(2,) * 60, (2, 3)],
            questionnaires=["ef" * 32, DIGEST],
        ).of_group(1, (2, 3), questionnaire=DIGEST, units=50)  # fmt: skip
        free = plan_of(units_per_group=[7, 50], options=[(2, 3)], questionnaires=["ef" * 32])
        late = free.of_group(1, (2, 3), questionnaire=DIGEST, units=50)
        assert one.digest() == other.digest() == late.digest()
        assert one.of_group(0, (2, 3), questionnaire=DIGEST, units=50) == one
        assert one.counts is not None and one.counts.answers_per_respondent == 2
        assert (one.groups, one.sizes, one.dimension) == (1, (50,), 5)
        changed = (
            plan.of_group(0, (2, 3), questionnaire=DIGEST, units=49),
            plan.of_group(0, (2, 3), questionnaire="ef" * 32, units=50),
            plan.of_group(0, (3, 3), questionnaire=DIGEST, units=50),
            plan_of(epsilon=3.0).of_group(0, (2, 3), questionnaire=DIGEST, units=50),
            plan_of(largest_weight=2.0).of_group(0, (2, 3), questionnaire=DIGEST, units=50),
        )
        assert len({one.digest(), *(each.digest() for each in changed)}) == 6

    def test_a_seat_of_fewer_units_is_refused(self, plan: PrivacyPlan) -> None:
        with pytest.raises(ExecutionMismatch, match="51 units is above the 50"):
            plan.of_group(0, (2, 3), questionnaire=DIGEST, units=51)
        with pytest.raises(ExecutionMismatch, match="outside"):
            plan.of_group(2, (2, 3), questionnaire=DIGEST, units=5)

    @pytest.mark.parametrize("distributions", [False, True])
    @pytest.mark.parametrize("weight", [1.0, 1.1, 7.3, 1000.0])
    @pytest.mark.parametrize("answers", [1, 3, 25])
    def test_m_answers_of_the_largest_weight_are_within_the_sensitivity(
        self, distributions: bool, weight: float, answers: int
    ) -> None:
        plan = plan_of(
            distributions=distributions, largest_weight=weight, answers_per_respondent=answers
        )
        bounds = plan.of_group(1, (5, 2, 4), questionnaire="cd" * 32, units=70).count_bounds(
            (5, 2, 4)
        )
        counted, real = min(answers, 3), Fraction(weight) * bounds.step
        if distributions:
            widest = sorted((5, 2, 4), reverse=True)[:counted]
            moved = [math.sqrt(2) * float(real) + math.sqrt(each) + 1 for each in widest]
            assert math.hypot(*moved) <= bounds.sensitivity
        else:
            widest = sorted((5, 2, 4), reverse=True)[:counted]
            square = sum(1 - Fraction(3, 4 * each) for each in widest)
            assert square * real**2 <= bounds.sensitivity**2
        # No coarser than need be: one step more would not fit.
        longer = Fraction(weight) * (bounds.step + 1)
        # Even without what ballots take from all options.
        norm = math.sqrt(counted) * float(longer) * (math.sqrt(2) if distributions else 1)
        assert norm > bounds.sensitivity - 6 * math.sqrt(counted) * (1 + weight)

    def test_answers_and_relation_follow_the_data(self) -> None:
        assert plan_of().counts == CountTerms(
            answers_per_respondent=ANSWERS, largest_weight=1.0, questionnaires=(DIGEST, "cd" * 32)
        )
        records = plan_of(unit=Unit.RECORD, answers_per_respondent=9).counts
        assert records is not None and records.answers_per_respondent == 1
        spread = plan_of(distributions=True)
        assert spread.relation is NeighboringRelation.REPLACE_ONE
        # S bounds a replaced answer itself, so that the noise is that of one Gaussian.
        assert spread.noise_multiplier == plan_of().noise_multiplier
        assert spread.counts is not None and spread.counts.answers_per_respondent == 3
        assert plan_of(largest_weight=3.0).clipping_norm == norm_of_counts(ANSWERS, 3.0)

    def test_distributions_hide_persons_and_no_records(self) -> None:
        """Was open: a distribution of a thousand persons passed for one record, noised as one."""
        with pytest.raises(PlanRefused, match="unit = record with distributions"):
            plan_of(distributions=True, unit=Unit.RECORD)
        with pytest.raises(PlanRefused, match="below 1, less than some person has"):
            plan_of(distributions=True, largest_weight=0.5)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("sampling_rate", 0.5), ("rounds", 2), ("local_steps", 2), ("mode", Mode.DISTRIBUTED)],
    )
    def test_counts_are_of_everybody_and_once(
        self, plan: PrivacyPlan, field: str, value: object
    ) -> None:
        terms = PrivacyTerms(
            **{each.name: getattr(plan, each.name) for each in fields(PrivacyTerms)}
        )
        with pytest.raises(PlanRefused):
            replace(terms, **{field: value})

    def test_what_plans_cannot_keep_is_refused(self, plan: PrivacyPlan) -> None:
        with pytest.raises(DeltaTooLarge):
            plan_of(delta=0.01)
        with pytest.raises(PlanRefused, match="has 1 entries for groups = 2"):
            PrivacyPlan.from_dict({**plan.as_dict(), "counts": {
                **plan.as_dict()["counts"], "questionnaires": [DIGEST]}})  # fmt: skip
        louder = {**plan.as_dict(), "noise_multiplier": plan.noise_multiplier / 2}
        with pytest.raises(PlanRefused):
            PrivacyPlan.from_dict({**louder, "sensitivity": 2 * plan.sensitivity}).verify()
        with pytest.raises(PlanRefused):
            PrivacyPlan.from_dict({**plan.as_dict(), "sensitivity": plan.sensitivity + 1})

    @pytest.mark.parametrize(
        "changes",
        [
            {"answers_per_respondent": 0},
            {"answers_per_respondent": True},
            {"answers_per_respondent": 2.0},
            {"answers_per_respondent": 10**6 + 1},
            {"largest_weight": 0.0},
            {"largest_weight": -1.0},
            {"largest_weight": math.nan},
            {"largest_weight": math.inf},
            {"largest_weight": 1001.0},
            {"largest_weight": 1e-20},
            {"largest_weight": 10**400},
            {"largest_weight": "much"},
            {"largest_weight": None},
            {"questionnaires": DIGEST},
            {"questionnaires": [DIGEST.upper()]},
            {"questionnaires": [DIGEST[:-1]]},
            {"questionnaires": [DIGEST + "\n"]},
            {"questionnaires": [1]},
            {"questionnaires": None},
            {"more": 1},
        ],
    )
    def test_hostile_terms_are_refused_in_one_line(self, changes: dict[str, object]) -> None:
        good = CountTerms(answers_per_respondent=2, largest_weight=1.0, questionnaires=(DIGEST, ""))
        assert CountTerms.read(good.as_dict()) == good
        with pytest.raises(PlanRefused) as refused:
            CountTerms.read({**good.as_dict(), **changes})
        assert "\n" not in str(refused.value).replace("\\n", "")

    @pytest.mark.parametrize("weight", [1e-3, 1000.0])
    def test_counts_of_extreme_weights_are_numbers(self, weight: float) -> None:
        """Was open: a weight of 1e-20 gave steps beyond 64 bits, after everybody had paid."""
        plan = plan_of(largest_weight=weight)
        bounds = plan.of_group(0, (2, 3), questionnaire=DIGEST, units=5).count_bounds((2, 3))
        assert 1 <= bounds.step < 2**53
