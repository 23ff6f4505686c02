"""The part of a budget's delta that pays for batches cut to their cap, and who must have it."""

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import floor, sqrt
from pathlib import Path

import pytest
from scipy.stats import binom

from privacy.accounting.choices import MAX_EPSILON, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import LIFETIME_EPSILON, TRUNCATION_SHARE, PrivacyTerms
from privacy.errors import LedgerCorrupt, LedgerRefused
from privacy.identity.keys import Identity
from privacy.ledger import Dataset, Ledger, least_budget
from privacy.ledger.filter import Mechanism, cost, filter_bound, pays_for_cuts
from privacy.ledger.state import State

Terms = Callable[..., PrivacyTerms]
IDENTITY = Identity.create()
CONTEXT = bytes(32)
DELTA = 1e-5
ORDER = 3


def make_plan(terms: Terms, noise: float = 2.0, **changes: object) -> PrivacyPlan:
    """A plan of that noise."""
    agreed = terms(**changes)
    return PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=noise,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / noise),
        modulus_bits=32,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path / "ledger.jsonl", IDENTITY)


def bare(ledger: Ledger, run: str, person: str, bound: int = 2000) -> Dataset:
    """Data of one person."""
    return ledger.register([(person, b"")], unit=Unit.RESPONDENT, bound=bound, run=run)


def known(
    ledger: Ledger, run: str, epsilon: float, delta: float = DELTA, bound: int = 2000
) -> Dataset:
    """Data of one person, named as the run is, with a budget."""
    dataset = bare(ledger, run, run, bound)
    ledger.set_budget(dataset, epsilon=epsilon, delta=delta, order=ORDER)
    return dataset


# The arithmetic.


def test_the_filter_gets_the_delta_that_is_not_set_aside() -> None:
    """Canonne, Kamath and Steinke 2020, proposition 12, in 28 digits."""
    for epsilon, delta, order in [(4.0, 1e-5, 5), (0.5, 1e-9, 60), (30.0, 1e-5, 3)]:
        share = Decimal(delta) * (1 - Decimal(TRUNCATION_SHARE))
        oracle = Decimal(epsilon) - (1 - 1 / Decimal(order)).ln()
        oracle += (share * order).ln() / (order - 1)
        bound = filter_bound(epsilon=epsilon, delta=delta, order=order)
        assert bound == pytest.approx(float(oracle), rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 8.0, 16.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-12])
def test_delta_pays_for_the_chance_of_a_cut_times_one_plus_e_to_epsilon(
    epsilon: float, delta: float
) -> None:
    most = Decimal(TRUNCATION_SHARE) * Decimal(delta) / (1 + Decimal(epsilon).exp())
    most_paid = float(most * (1 - Decimal("1e-12")))
    least_too_much = float(most * (1 + Decimal("1e-12")))
    assert pays_for_cuts(epsilon=epsilon, delta=delta, cut_chance=0.0)
    assert pays_for_cuts(epsilon=epsilon, delta=delta, cut_chance=most_paid)
    assert not pays_for_cuts(epsilon=epsilon, delta=delta, cut_chance=least_too_much)
    assert not pays_for_cuts(epsilon=epsilon, delta=delta, cut_chance=1.0)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"),
    [
        (2.0, 0.064, 200, 1e-5),
        (1.4, 0.064, 218, 1e-5),
        (1.0, 1.0, 1, 1e-6),
        (20.0, 1.0, 345, 1e-5),
        (0.6, 0.01, 5000, 1e-9),
        (8.0, 0.5, 60, 1e-3),
        (4.0, 1e-4, 1, 1e-5),
    ],
)
def test_the_least_budget_pays_for_the_steps_and_a_millionth_less_does_not(
    noise: float, rate: float, steps: int, delta: float
) -> None:
    mechanism = Mechanism(noise_multiplier=noise, sampling_rate=rate)
    epsilon, order = least_budget(mechanism, steps=steps, delta=delta)

    def pays(epsilon: float, order: int) -> bool:
        bound = Fraction(filter_bound(epsilon=epsilon, delta=delta, order=order))
        return bound >= steps * Fraction(cost(mechanism, order))

    assert epsilon == round(epsilon, 6)
    assert pays(epsilon, order)
    less = round(epsilon - 1e-6, 6)
    assert not any(pays(less, other) for other in range(2, 1025))


def test_a_ledger_with_the_least_budget_takes_the_steps_and_not_one_more(
    ledger: Ledger, terms: Terms
) -> None:
    steps = 12
    plan = make_plan(terms, epsilon=50.0, rounds=steps)
    mechanism = Mechanism(noise_multiplier=2.0, sampling_rate=plan.sampling_rate)
    epsilon, order = least_budget(mechanism, steps=steps, delta=DELTA)
    tight = bare(ledger, "one", "tight")
    ledger.set_budget(tight, epsilon=epsilon, delta=DELTA, order=order)
    assert ledger.register_plan("one", tight, plan).rounds == steps
    short = bare(ledger, "two", "short")
    ledger.set_budget(short, epsilon=round(epsilon - 1e-6, 6), delta=DELTA, order=order)
    assert ledger.register_plan("two", short, plan).rounds == steps - 1
    for number in range(steps):
        ledger.reserve("one", number, 0, CONTEXT)
    again = bare(ledger, "three", "tight")
    ledger.set_budget(again, epsilon=LIFETIME_EPSILON, delta=DELTA, order=order)
    ledger.register_plan("three", again, plan)
    receipt = ledger.reserve("three", 0, 0, CONTEXT)
    assert ledger.present(receipt, ["tight"]) == [False]
    ledger.reserve("two", 0, 0, CONTEXT)


# Who must have it.


def test_the_cap_of_a_plan_is_paid_for_by_any_budget_up_to_the_lifetime_epsilon(
    ledger: Ledger, terms: Terms
) -> None:
    for size in (20, 2000):
        plan = make_plan(terms, units_per_group=size)
        chance = plan.steps * binom.sf(plan.batch_cap(0), size, plan.sampling_rate)
        assert plan.cut_chance() == pytest.approx(chance)
        assert plan.cut_chance() > 0
        dataset = known(ledger, f"run {size}", LIFETIME_EPSILON, bound=size)
        # Not both: each alone takes what is set aside.
        fresh = State(budgets=dict(ledger._state.budgets))
        fresh.require_cuts_paid(fresh.budgets[dataset.fingerprint], more=plan.cut_chance())


def test_a_plan_that_is_cut_too_often_for_a_large_lifetime_budget_is_refused(
    ledger: Ledger, terms: Terms
) -> None:
    plan = make_plan(terms)
    dataset = known(ledger, "run", LIFETIME_EPSILON + 1)
    head = ledger.head
    with pytest.raises(LedgerRefused, match=r"batches are cut with a chance of .*or q = 1"):
        ledger.register_plan("run", dataset, plan)
    assert ledger.head == head
    assert ledger.announced("run") is None
    with pytest.raises(LedgerRefused, match="no plan"):
        ledger.reserve("run", 0, 0, CONTEXT)
    # What is left to do: a lower budget, or a plan that promises as much and so has a higher cap.
    wide = make_plan(terms, epsilon=LIFETIME_EPSILON + 2)
    assert wide.batch_cap(0) > plan.batch_cap(0)
    other = known(ledger, "wide", LIFETIME_EPSILON + 1)
    ledger.register_plan("wide", other, wide)
    for each in (dataset, other):
        ledger.set_budget(each, epsilon=LIFETIME_EPSILON - 1, delta=DELTA, order=ORDER)
    ledger.register_plan("run", dataset, plan)


def test_a_delta_below_that_of_the_plan_does_not_pay_for_its_cuts(
    ledger: Ledger, terms: Terms
) -> None:
    plan = make_plan(terms)
    dataset = known(ledger, "run", LIFETIME_EPSILON, delta=DELTA / 10)
    with pytest.raises(LedgerRefused, match="batches are cut"):
        ledger.register_plan("run", dataset, plan)


def test_a_budget_that_does_not_pay_for_the_cuts_of_known_plans_is_refused(
    ledger: Ledger, terms: Terms
) -> None:
    """Also where it is of other data: who is in both is not known to a plan beforehand."""
    ledger.register_plan("run", known(ledger, "run", 8.0), make_plan(terms))
    other = bare(ledger, "two", "two")
    head = ledger.head
    for epsilon in (LIFETIME_EPSILON + 1, MAX_EPSILON):
        with pytest.raises(LedgerRefused, match="batches are cut"):
            ledger.set_budget(other, epsilon=epsilon, delta=DELTA, order=ORDER)
    with pytest.raises(LedgerRefused, match="batches are cut"):
        ledger.set_budget(other, epsilon=LIFETIME_EPSILON, delta=DELTA / 10, order=ORDER)
    assert ledger.head == head
    assert ledger.budget(other) is None
    ledger.set_budget(other, epsilon=LIFETIME_EPSILON, delta=DELTA, order=ORDER)


def test_a_plan_must_be_paid_for_by_the_budgets_of_all_data(ledger: Ledger, terms: Terms) -> None:
    known(ledger, "one", LIFETIME_EPSILON + 1)
    dataset = known(ledger, "run", 8.0)
    with pytest.raises(LedgerRefused, match="batches are cut"):
        ledger.register_plan("run", dataset, make_plan(terms))


def test_chances_of_all_runs_add_up(ledger: Ledger, terms: Terms) -> None:
    plan = make_plan(terms)
    epsilon = 15.0
    most = TRUNCATION_SHARE * DELTA / (1 + math.exp(epsilon)) / plan.cut_chance()
    fitting = math.floor(most)
    assert 1 < fitting < 10
    data = {run: known(ledger, run, epsilon) for run in map("run {}".format, range(fitting))}
    for run, dataset in data.items():
        ledger.register_plan(run, dataset, plan)
    # A known run is no new one.
    ledger.register_plan("run 0", data["run 0"], plan)
    more = known(ledger, "one more", epsilon)
    with pytest.raises(LedgerRefused, match="batches are cut"):
        ledger.register_plan("one more", more, plan)


def test_batches_of_everybody_are_never_cut(ledger: Ledger, terms: Terms) -> None:
    plan = make_plan(terms, noise=20.0, sampling_rate=1.0, epsilon=8.0, dimension=1000)
    assert plan.cut_chance() == 0
    assert plan.batch_cap(0) == 2000
    for number in range(20):
        run = f"run {number}"
        ledger.register_plan(run, known(ledger, run, MAX_EPSILON, delta=1e-12), plan)
    # Beside runs that may be cut they cost nothing either.
    sampled = known(ledger, "sampled", MAX_EPSILON, delta=1e-12)
    with pytest.raises(LedgerRefused, match="batches are cut"):
        ledger.register_plan("sampled", sampled, make_plan(terms))


@pytest.mark.parametrize("order", ["budget first", "plan first"])
def test_events_that_nobody_pays_for_are_found_though_the_owner_signed_them(
    tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    path = tmp_path / "ledger"
    with monkeypatch.context() as lenient, Ledger.create(path, IDENTITY) as ledger:
        lenient.setattr(State, "require_cuts_paid", lambda *_, **__: None)
        first = known(ledger, "run", 40.0 if order == "budget first" else 8.0)
        ledger.register_plan("run", first, make_plan(terms))
        if order == "plan first":
            known(ledger, "two", 40.0)
        bad = ledger.head.seq
    with pytest.raises(LedgerCorrupt, match="batches are cut") as found:
        Ledger.open(path, IDENTITY)
    assert found.value.line == bad


def test_a_stated_chance_of_cuts_is_computed_anew(
    tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever states a lower one could register any plan."""
    path = tmp_path / "ledger"
    plan = make_plan(terms)
    with monkeypatch.context() as lying, Ledger.create(path, IDENTITY) as ledger:
        dataset = known(ledger, "run", 8.0)
        chance = plan.cut_chance()
        lying.setattr(PrivacyPlan, "cut_chance", lambda _: chance / 2)
        ledger.register_plan("run", dataset, replace(plan))
    with pytest.raises(LedgerCorrupt, match=r"cut_chance = .* is stated"):
        Ledger.open(path, IDENTITY)
