"""A plan yields the published numbers, or refuses; and is compared with what is executed."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import binom

from privacy.accounting import integer_grid as grid
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.accounting.terms import PrivacyTerms
from privacy.canonical import canonical_json
from privacy.errors import (
    CouldWrap,
    DeltaTooLarge,
    EpsilonExceeded,
    ExecutionMismatch,
    GridTooCoarse,
    NonPoissonSampling,
    PlanRefused,
    TooFewHonestShares,
)
from privacy.kernel.packing import sign_extended
from privacy.kernel.types import MAX_SENSITIVITY, centred


@pytest.mark.parametrize(
    "epsilon, noise_multiplier, sensitivity, noise_log2, bits, central, distributed, local",
    [
        (2, 2.036, 78_855, 15, 28, 1.59e-3, 2.05e-3, 5.03e-3),
        (4, 1.273, 126_130, 14, 28, 9.9e-4, 1.28e-3, 3.14e-3),
        (8, 0.880, 182_324, 13, 27, 6.9e-4, 8.9e-4, 2.18e-3),
    ],
)
def test_reference_numbers(
    terms,
    epsilon: float,
    noise_multiplier: float,
    sensitivity: int,
    noise_log2: int,
    bits: int,
    central: float,
    distributed: float,
    local: float,
) -> None:
    """z to .001, S to 1e-4 (part of delta pays for batch caps), noise to the table's digits.

    The table has S at k = 16; a plan takes the coarsest grid that keeps 99.25 % of the norm.
    """
    plan = PrivacyPlan.calibrate(terms(epsilon=epsilon))
    assert plan.noise_multiplier == pytest.approx(noise_multiplier, abs=1e-3)
    demand = plan._demand
    assert grid.largest_sensitivity(demand, 16) == pytest.approx(sensitivity, rel=1e-4)
    assert plan.sensitivity == grid.largest_sensitivity(demand, plan.noise_log2)
    assert plan.sensitivity == pytest.approx(sensitivity / 2 ** (16 - plan.noise_log2), rel=1e-3)
    assert (plan.noise_log2, plan.modulus_bits, plan.bits_needed) == (noise_log2, 32, bits)
    assert plan.bytes_up == 12_500 * bits
    by_one_curator = plan.noise_multiplier * plan.clipping_norm / (0.064 * plan.units)
    assert by_one_curator == pytest.approx(central, rel=6e-3)
    assert plan.noise_std_per_coordinate == pytest.approx(distributed, rel=6e-3)
    alone = PrivacyPlan.calibrate(terms(epsilon=epsilon, mode="local"))
    assert alone.noise_std_per_coordinate == pytest.approx(local, rel=6e-3)
    assert alone.honest_shares == 1
    assert alone.bytes_up == 4 * (100_000 + 1)


@pytest.mark.parametrize("epsilon", [1.0, 2.0, 4.0, 8.0, 16.0])
def test_twelve_groups_send_28_bits_a_coordinate(terms, epsilon: float) -> None:
    """Less than 360,000 bytes at d = 1e5, whatever is promised."""
    plan = PrivacyPlan.calibrate(terms(epsilon=epsilon, groups=12, survivors=9))
    assert plan.bits_needed <= 28
    assert plan.bytes_up < 360_000


def test_the_largest_sum_lies_strictly_inside_the_bits_that_travel(plan: PrivacyPlan) -> None:
    """At either end, and one bit less would not do."""
    bits, extent = plan.bits_needed, plan._grid.extent(plan._demand)
    assert -(2 ** (bits - 1)) < -extent and extent < 2 ** (bits - 1) <= 2 * extent
    ends = np.array([-extent % 2**bits, extent], dtype=np.uint32)
    assert centred(sign_extended(ends, bits)).tolist() == [-extent, extent]


def test_plans_on_a_finer_grid_stay_valid(plan: PrivacyPlan) -> None:
    """A plan carries its own k: one of before, at k = 16, sends the bits of its own extent."""
    before = replace(plan, noise_log2=16, sensitivity=grid.largest_sensitivity(plan._demand, 16))
    assert PrivacyPlan.from_dict(before.as_dict()).digest() == before.digest()
    assert before.verify() == plan.verify()
    assert before.bits_needed == 30
    assert replace(before, modulus_bits=64).bits_needed == 33


def test_plan_keeps_its_promise(plan: PrivacyPlan) -> None:
    """PLD epsilon at delta (1 - 1e-3) is in (3.9996, 4]; the discrete noise reaches z exactly."""
    assert 4 * (1 - 1e-4) <= plan.verify() <= 4
    reached = plan.honest_shares * 4**plan.noise_log2 - 9
    assert (plan.sensitivity * Fraction(plan.noise_multiplier)) ** 2 <= reached
    assert ((plan.sensitivity + 1) * Fraction(plan.noise_multiplier)) ** 2 > reached


def test_local_steps_are_charged(terms) -> None:
    """20 rounds of 10 local steps cost what 200 rounds of one step cost."""
    long = PrivacyPlan.calibrate(terms(mode="local", rounds=20, local_steps=10))
    short = PrivacyPlan.calibrate(terms(mode="local"))
    assert long.steps == 200
    assert long.noise_multiplier == short.noise_multiplier


def test_scale_is_public(plan: PrivacyPlan, terms) -> None:
    assert plan.mean_gradient_scale() == 1 / (plan.sensitivity * 0.064 * 20_000)
    uneven = terms(
        mode="local",
        groups=2,
        units_per_group=(2000, 100_000),
        survivors=1,
        colluding=0,
        delta=1e-6,
    )
    local = PrivacyPlan.calibrate(uneven)
    assert local.mean_gradient_scale(0) == pytest.approx(50 * local.mean_gradient_scale(1))
    for asked, group in ((plan, 0), (local, None), (local, 2), (local, -1)):
        with pytest.raises(ValueError, match="group"):
            asked.mean_gradient_scale(group)


@pytest.mark.parametrize("units", [30, 2000, 10**6])
@pytest.mark.parametrize("rate", [0.001, 0.064, 1.0])
@pytest.mark.parametrize("epsilon", [1.0, 16.0, 50.0])
def test_batch_cap_pays_for_truncation(terms, units: int, rate: float, epsilon: float) -> None:
    """T (1 + e^epsilon) P(truncation) <= delta / 1000, and one unit less would not do.

    A run of a small epsilon may be part of a lifetime budget of epsilon 16.
    """
    decided = terms(
        epsilon=epsilon, delta=1e-8, units_per_group=units, sampling_rate=rate, rounds=100
    )
    cap = decided.batch_cap(3)
    price = 100 * (1 + math.exp(max(epsilon, 16.0)))
    assert price * binom.sf(cap, units, rate) <= 1e-11
    assert cap == 1 or price * binom.sf(cap - 1, units, rate) > 1e-11
    shaped = replace(decided, shape=SHAPE)
    assert shaped.micro_batches(3) == math.ceil(cap / 16)
    with pytest.raises(PlanRefused, match="states no shape"):
        decided.micro_batches(3)
    assert decided.cut_chance() == 100 * binom.sf(cap, units, rate)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sampling": "shuffle"}, NonPoissonSampling, "fixed-size"),
        ({"sampling_rate": 0.0}, PlanRefused, "sampling_rate"),
        ({"sampling_rate": 1.01}, PlanRefused, "sampling_rate"),
        ({"sampling_rate": math.nan}, PlanRefused, "sampling_rate"),
        ({"unit": "organisation"}, PlanRefused, "'respondent', 'record'"),
        ({"mode": "central"}, PlanRefused, "mode"),
        ({"relation": "none"}, PlanRefused, "relation"),
        ({"local_steps": 5}, PlanRefused, "mode = 'local'"),
        ({"delta": 5e-5}, DeltaTooLarge, "n = 20000"),
        ({"delta": 0.0}, DeltaTooLarge, "delta"),
        ({"delta": math.nan}, DeltaTooLarge, "delta"),
        ({"epsilon": 0.0}, PlanRefused, "epsilon"),
        ({"epsilon": 51.0}, PlanRefused, "epsilon"),
        ({"colluding": 7}, TooFewHonestShares, "7 - 7"),
        ({"colluding": -1}, PlanRefused, "colluding"),
        ({"survivors": 11}, PlanRefused, "survivors"),
        ({"rounds": 0}, PlanRefused, "rounds"),
        ({"rounds": 200.0}, PlanRefused, "whole number"),
        ({"rounds": True}, PlanRefused, "whole number"),
        ({"dimension": 0}, PlanRefused, "dimension"),
        ({"clipping_norm": 0.0}, PlanRefused, "clipping_norm"),
        ({"clipping_norm": "1"}, PlanRefused, "clipping_norm"),
        ({"groups": 0}, PlanRefused, "groups"),
        ({"groups": 10**9}, PlanRefused, "groups"),
        ({"units_per_group": (2000,) * 9}, PlanRefused, "9 entries"),
        ({"units_per_group": (0,) * 10}, PlanRefused, "at least 1"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused(terms, changes, error, message: str) -> None:
    """Test 2 and the list of refusals; each error names the value."""
    with pytest.raises(error, match=message):
        terms(**changes)


def test_every_refusal_is_a_value_error(terms) -> None:
    with pytest.raises(ValueError, match="shuffle"):
        terms(sampling="shuffle")


def test_no_wrap_at_the_largest_batch(plan: PrivacyPlan) -> None:
    """Test 26. B_max units of norm S on one coordinate and 12 sigma of noise, both signs."""
    largest = sum(plan.batch_cap(group) for group in range(plan.groups))
    noise = math.ceil(12 * math.sqrt(plan.groups) * 2**plan.noise_log2)
    total = largest * plan.sensitivity + noise
    for extreme in (total, -total):
        residue = np.array([extreme % 2**plan.modulus_bits], dtype=np.uint32)
        assert centred(residue)[0] == extreme


def test_a_plan_that_could_wrap_is_refused(plan: PrivacyPlan) -> None:
    """Test 26. A hundred times the units on the same grid leave 2^31."""
    with pytest.raises(CouldWrap, match="2\\^31"):
        replace(plan, units_per_group=200_000, delta=1e-7)


@pytest.mark.parametrize(
    ("units", "dimension", "bits", "finest"),
    [(2000, 100_000, 32, 16), (200_000, 10_000, 32, 13), (10**8, 100_000, 64, 16)],
)
def test_more_units_take_a_coarser_grid_or_a_wider_modulus(
    terms, units: int, dimension: int, bits: int, finest: int
) -> None:
    plan = PrivacyPlan.calibrate(terms(units_per_group=units, dimension=dimension, delta=1e-10))
    assert plan.modulus_bits == bits
    assert plan.noise_log2 <= finest
    assert plan.bits_needed <= bits


def test_a_fine_grid_is_chosen_for_many_coordinates(terms) -> None:
    plan = PrivacyPlan.calibrate(terms(epsilon=0.5, dimension=10**7))
    assert plan.sensitivity >= 50 * math.sqrt(10**7)
    assert plan.noise_log2 > 16


def test_a_dimension_no_grid_resolves_is_refused(terms) -> None:
    with pytest.raises(GridTooCoarse, match="smaller LoRA rank"):
        PrivacyPlan.calibrate(terms(dimension=10**15))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sensitivity": 31_550}, PlanRefused),
        ({"sensitivity": 15_811}, GridTooCoarse),
        ({"noise_log2": 3}, PlanRefused),
        ({"noise_log2": 13}, PlanRefused),
        ({"survivors": 6}, PlanRefused),
        ({"dimension": 10**7}, GridTooCoarse),
        ({"noise_multiplier": 0.0}, ValueError),
        ({"modulus_bits": 16}, ValueError),
    ],
)
def test_a_plan_with_altered_numbers_does_not_exist(plan: PrivacyPlan, changes, error) -> None:
    with pytest.raises(error):
        replace(plan, **changes)


def test_too_little_noise_for_the_promise_is_found(plan: PrivacyPlan) -> None:
    """The grid still fits 99 % of the noise; recomputing epsilon does not."""
    weak = replace(plan, noise_multiplier=plan.noise_multiplier * 0.99)
    with pytest.raises(EpsilonExceeded, match="promised 4"):
        weak.verify()


def test_the_price_of_discreteness_is_paid() -> None:
    """S^2 z^2 <= h 4^k - 9: one share of deviation 16 at z = 1 allows S = 15, not 16."""
    demand = grid.GridDemand(
        noise_multiplier=1.0, honest_shares=1, shares=1, largest_batch=1, dimension=1
    )
    assert grid.largest_sensitivity(demand, 4) == 15
    assert grid.largest_sensitivity(replace(demand, honest_shares=4), 4) == 31


demands = st.builds(
    grid.GridDemand,
    noise_multiplier=st.floats(0.05, 1e4),
    honest_shares=st.integers(1, 1000),
    shares=st.integers(1, 5000),
    largest_batch=st.integers(1, 10**9),
    dimension=st.integers(1, 10**8),
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(demand=demands)
def test_every_grid_chosen_is_sound(demand: grid.GridDemand) -> None:
    assume(demand.honest_shares <= demand.shares)
    try:
        chosen = grid.choose(demand)
    except GridTooCoarse:
        assert (
            demand.noise_multiplier
            > 2**24 * math.sqrt(demand.honest_shares) / (50 * math.sqrt(demand.dimension)) * 0.99
        )
        return
    wanted = chosen.sensitivity * Fraction(demand.noise_multiplier)
    assert wanted**2 <= demand.honest_shares * 4**chosen.noise_log2 - 9
    assert 2500 * demand.dimension <= chosen.sensitivity**2 <= MAX_SENSITIVITY**2
    coarser = replace(
        chosen,
        noise_log2=chosen.noise_log2 - 1,
        sensitivity=grid.largest_sensitivity(demand, chosen.noise_log2 - 1),
    )
    if chosen.noise_log2 > 4 and grid.kept_norm(demand, chosen) >= 0.9925:
        assert grid.kept_norm(demand, coarser) < 0.9925
    reach = (
        demand.largest_batch * chosen.sensitivity
        + 12 * math.sqrt(demand.shares) * 2**chosen.noise_log2
    )
    assert reach < 2 ** (chosen.modulus_bits - 1)


EXECUTED = {
    "group": 3,
    "units": 2000,
    "dimension": 10**5,
    "largest_weight": 1.0,
}


def test_execution_as_planned_is_accepted(plan: PrivacyPlan) -> None:
    plan.check_executed(**EXECUTED)
    plan.check_executed(**{**EXECUTED, "largest_weight": 0.3, "units": 1900})


@pytest.mark.parametrize(
    "change",
    [
        {"units": 2001},
        {"dimension": 10**5 - 1},
        {"dimension": 10**5 + 1},
        {"largest_weight": 1.5},
        {"largest_weight": -0.1},
        {"largest_weight": math.nan},
        {"group": 10},
        {"group": -1},
    ],
)
def test_execution_that_differs_is_an_error(plan: PrivacyPlan, change: dict) -> None:
    with pytest.raises(ExecutionMismatch, match=next(iter(change))):
        plan.check_executed(**{**EXECUTED, **change})


def test_plan_survives_the_wire(plan: PrivacyPlan) -> None:
    received = PrivacyPlan.from_dict(json.loads(json.dumps(plan.as_dict())))
    assert received == plan
    assert received.digest() == plan.digest()


def test_digest_sees_every_field(plan: PrivacyPlan) -> None:
    altered = [
        replace(plan, epsilon=4.5),
        replace(plan, unit="record"),
        replace(plan, colluding=0),
        replace(plan, clipping_norm=np.nextafter(1.0, 2.0)),
        replace(plan, sensitivity=plan.sensitivity - 1),
    ]
    assert len({plan.digest(), *(other.digest() for other in altered)}) == 6


def test_digest_does_not_depend_on_spelling(terms) -> None:
    spelled = terms(epsilon=np.float64(4), rounds=np.int64(200), units_per_group=[2000] * 10)
    assert spelled == terms(epsilon=4)
    assert PrivacyPlan.calibrate(spelled).digest() == PrivacyPlan.calibrate(terms()).digest()


SHAPE = StepShape(
    micro_batch=16, records_per_unit=32, max_options=5, max_tokens=64, options_apart=False
)


def test_the_shape_of_a_step_is_part_of_the_plan(plan: PrivacyPlan) -> None:
    """Was open: bounds that one record could exceed stood in no plan."""
    shaped = replace(plan, shape=SHAPE)
    assert PrivacyPlan.from_dict(json.loads(json.dumps(shaped.as_dict()))) == shaped
    apart = replace(plan, shape=replace(SHAPE, options_apart=True))
    assert len({plan.digest(), shaped.digest(), apart.digest()}) == 3
    assert shaped.required_shape == SHAPE


def test_a_plan_of_before_has_the_digest_that_it_had(plan: PrivacyPlan) -> None:
    """Ledgers that were written then are read for good."""
    assert "shape" not in plan.as_dict()
    assert PrivacyPlan.from_dict(plan.as_dict()).digest() == plan.digest()


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "8", 2**20 + 1, math.nan, [16]])
@pytest.mark.parametrize(
    "name", ["micro_batch", "records_per_unit", "max_options", "max_tokens", "options_apart"]
)
def test_a_shape_that_holds_nothing_is_refused(name: str, value: object) -> None:
    if name == "options_apart" and value is True:
        return
    with pytest.raises(PlanRefused, match=rf"^shape\.{name} = "):
        StepShape.read({**SHAPE.as_dict(), name: value})


@pytest.mark.parametrize("change", [{"seed": 1}, {"max_options": ...}])
def test_a_shape_has_exactly_its_fields(change: dict[str, object]) -> None:
    values = {k: v for k, v in {**SHAPE.as_dict(), **change}.items() if v is not ...}
    with pytest.raises(PlanRefused, match="give exactly these"):
        StepShape.read(values)


def test_unknown_and_missing_fields_are_refused(plan: PrivacyPlan) -> None:
    fields = plan.as_dict()
    with pytest.raises(PlanRefused, match="unknown \\['seed'\\]"):
        PrivacyPlan.from_dict({**fields, "seed": 1})
    del fields["rounds"]
    with pytest.raises(PlanRefused, match="lacks \\['rounds'\\]"):
        PrivacyPlan.from_dict(fields)


def test_canonical_json() -> None:
    value = {"b": (1, 0.1), "a": {"x": None, "y": np.float64(1e-5)}, "c": True}
    assert canonical_json(value) == b'{"a":{"x":null,"y":"1e-05"},"b":[1,"0.1"],"c":true}'
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="canonical"):
            canonical_json([bad])


def test_terms_are_not_yet_a_plan(terms) -> None:
    assert not isinstance(terms(), PrivacyPlan)
    assert issubclass(PrivacyPlan, PrivacyTerms)
