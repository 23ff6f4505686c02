"""What a ledger lets through: filter figures, budgets that follow the people, refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import floor, sqrt
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounting.accountant import NeighboringRelation, rdp_budget, rdp_per_step
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import (
    AlreadyCharged,
    BudgetExhausted,
    BudgetRaised,
    DeltaTooLarge,
    EpsilonExceeded,
    ExecutionMismatch,
    LedgerRefused,
    UnsupportedMechanism,
)
from privacy.identity.keys import Identity
from privacy.ledger import Dataset, Ledger, best_order
from privacy.ledger.filter import filter_bound

Terms = Callable[..., PrivacyTerms]
IDENTITY = Identity.create()
CONTEXT = bytes(32)
DELTA = 1e-5
BOUND = 2000


def units(*numbers: int, content: str = "") -> list[tuple[str, bytes]]:
    return [(f"person {number}", f"{content}{number}".encode()) for number in numbers]


def make_plan(terms: Terms, noise: float = 2.0, **changes: object) -> PrivacyPlan:
    """A plan of that noise with a promise so wide that it verifies."""
    agreed = terms(**{"epsilon": 50.0, "rounds": 250, **changes})
    return PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=noise,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / noise),
        modulus_bits=32,
    )


def register(
    ledger: Ledger, data: list[tuple[str, bytes]], run: str = "run", epsilon: float = 4.0
) -> Dataset:
    dataset = ledger.register(data, unit=Unit.RESPONDENT, bound=BOUND, run=run)
    ledger.set_budget(dataset, epsilon=epsilon, delta=DELTA, order=5)
    return dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger.create(path, IDENTITY)


def spend_all(ledger: Ledger, run: str) -> int:
    """Reserve rounds until one is refused; the number reserved."""
    for number in range(1000):
        try:
            ledger.reserve(run, number, 0, CONTEXT)
        except BudgetExhausted:
            return number
    raise AssertionError("no round was refused")


def test_order_5_pays_for_200_rounds_at_epsilon_4_and_refuses_the_next(
    ledger: Ledger, path: Path, terms: Terms
) -> None:
    """q = .064, delta = 1e-5: z = 1.3604 pays for exactly 200 rounds; 1.360 for 199.82."""
    noise = 1.3604
    plan = make_plan(terms, noise)
    dataset = register(ledger, units(1, 2, 3))
    left = ledger.register_plan("run", dataset, plan)
    assert left.rounds == 200
    assert left.bound == pytest.approx(1.7470215, abs=1e-7)
    for number in range(199):
        ledger.reserve("run", number, 0, CONTEXT)
    assert ledger.remaining(dataset, run="run").rounds == 1
    ledger.reserve("run", 199, 0, CONTEXT)
    before = len(ledger.events())
    with pytest.raises(BudgetExhausted, match=r"costs 0\.00873.* of 1\.74702 is used") as refused:
        ledger.reserve("run", 200, 0, CONTEXT)
    assert "\n" not in str(refused.value)
    assert [event.type for event in ledger.events()[before:]] == ["REFUSED"]
    assert json.loads(path.read_bytes().splitlines()[-1])["body"]["round"] == 200
    ledger.close()
    with Ledger.open(path, IDENTITY) as again, pytest.raises(BudgetExhausted):
        again.reserve("run", 200, 0, CONTEXT)


@pytest.mark.parametrize(("order", "rounds"), [(4, 151), (5, 218), (6, 218), (8, 170), (12, 20)])
def test_a_bad_order_costs_rounds(order: int, rounds: int) -> None:
    """The table holds at z = 1.4, q = .064, epsilon 4, delta 1e-5."""
    step = rdp_per_step(noise_multiplier=1.4, sampling_rate=0.064, order=order)
    assert int(rdp_budget(epsilon=4, delta=DELTA, order=order) / step) == rounds


@pytest.mark.parametrize(("noise", "epsilon"), [(1.36, 4.0), (1.273, 4.0), (2.1, 2.0), (0.94, 8.0)])
def test_the_order_with_most_rounds_is_chosen(noise: float, epsilon: float) -> None:
    chosen = best_order(noise_multiplier=noise, sampling_rate=0.064, epsilon=epsilon, delta=DELTA)
    assert epsilon != 4 or chosen == 5
    rounds = [
        rdp_budget(epsilon=epsilon, delta=DELTA, order=order)
        / rdp_per_step(noise_multiplier=noise, sampling_rate=0.064, order=order)
        for order in (chosen, *range(2, 200))
    ]
    assert rounds[0] == max(rounds)


def test_no_order_is_chosen_where_none_pays_for_a_step() -> None:
    with pytest.raises(LedgerRefused, match="pays for no step"):
        best_order(noise_multiplier=0.1, sampling_rate=1, epsilon=1, delta=DELTA)


def test_every_attempt_is_charged_once_and_nothing_is_refunded(
    ledger: Ledger, terms: Terms
) -> None:
    dataset = register(ledger, units(1, 2))
    ledger.register_plan("run", dataset, make_plan(terms))
    first = ledger.reserve("run", 0, 0, CONTEXT)
    used = ledger.remaining(dataset).used
    assert used == first.rdp == rdp_per_step(noise_multiplier=2, sampling_rate=0.064, order=5)
    with pytest.raises(AlreadyCharged):
        ledger.reserve("run", 0, 0, CONTEXT)
    ledger.aborted(first, "TooFewMembers")
    assert ledger.remaining(dataset).used == used
    second = ledger.reserve("run", 0, 1, CONTEXT)
    assert ledger.remaining(dataset).used == 2 * used
    assert ledger.pending() == (second,)
    ledger.released(second, CONTEXT)
    assert ledger.pending() == ()
    for receipt in (first, second, replace(second, hash="0" * 64)):
        with pytest.raises(AlreadyCharged):
            ledger.released(receipt, CONTEXT)


def test_a_local_round_is_charged_for_all_its_steps(ledger: Ledger, terms: Terms) -> None:
    dataset = register(ledger, units(1, 2))
    plan = make_plan(terms, noise=3.0, mode=Mode.LOCAL, local_steps=3, rounds=2)
    ledger.register_plan("run", dataset, plan)
    step = rdp_per_step(noise_multiplier=3, sampling_rate=0.064, order=5)
    assert ledger.reserve("run", 0, 0, CONTEXT).rdp == 3 * step
    ledger.reserve("run", 1, 0, CONTEXT)
    assert ledger.remaining(dataset).used == pytest.approx(6 * step)
    for _ in range(2):
        with pytest.raises(AlreadyCharged, match="6 of 6 steps"):
            ledger.reserve("run", 2, 0, CONTEXT)
    assert ledger.events()[-1].body["code"] == "plan"
    assert [event.type for event in ledger.events()].count("REFUSED") == 1


RELATED = {
    "another run": units(1, 2, 3, 4),
    "shuffled": units(4, 2, 1, 3),
    "relabelled": units(1, 2, 3, 4, content="other"),
    "subset": units(2),
    "superset": units(1, 2, 3, 4, 5, 6),
    "overlapping": units(4, 5),
}


def taking_part(ledger: Ledger, run: str, number: int, *people: int) -> list[bool]:
    """Who of these people takes part in a round that is charged."""
    receipt = ledger.reserve(run, number, 0, CONTEXT)
    return ledger.present(receipt, [name for name, _ in units(*people)])


@pytest.mark.parametrize("kind", RELATED)
def test_related_data_go_on_from_what_their_people_have_spent(
    ledger: Ledger, path: Path, terms: Terms, kind: str
) -> None:
    """Whoever has spent it all is left out, and the others go on."""
    plan = make_plan(terms, noise=0.9)
    first = register(ledger, units(1, 2, 3, 4), "first")
    ledger.register_plan("first", first, plan)
    allowed = ledger.remaining(first, run="first").rounds
    assert allowed is not None and allowed > 10
    for number in range(5):
        ledger.reserve("first", number, 0, CONTEXT)
    ledger.close()
    with Ledger.open(path, IDENTITY) as ledger:
        related = register(ledger, RELATED[kind], "second")
        assert related.fingerprint != first.fingerprint
        assert ledger.remaining(related).used == ledger.remaining(first).used > 0
        assert ledger.register_plan("second", related, plan).rounds == allowed
        people = [int(name.removeprefix("person ")) for name, _ in RELATED[kind]]
        met = [taking_part(ledger, "second", number, *people) for number in range(allowed)]
        assert met[: allowed - 5] == [[True] * len(people)] * (allowed - 5)
        assert met[allowed - 5 :] == [[person > 4 for person in people]] * 5
        with pytest.raises(BudgetExhausted):
            ledger.reserve("second", allowed, 0, CONTEXT)
        assert taking_part(ledger, "first", 5, 1, 2, 3, 4) == [
            number not in people for number in (1, 2, 3, 4)
        ]


def test_people_who_were_never_asked_have_a_budget_of_their_own(
    ledger: Ledger, terms: Terms
) -> None:
    first, other = register(ledger, units(1, 2), "run"), register(ledger, units(3, 4), "other")
    ledger.register_plan("run", first, make_plan(terms, noise=0.9))
    spend_all(ledger, "run")
    assert ledger.remaining(other).used == 0


def test_a_wide_budget_on_derived_data_does_not_lift_a_narrow_one(
    ledger: Ledger, terms: Terms
) -> None:
    plan = make_plan(terms, noise=0.9)
    narrow = register(ledger, units(1, 2), "narrow")
    wide = register(ledger, units(2, 3), "wide", epsilon=40.0)
    for run, dataset in (("narrow", narrow), ("wide", wide)):
        ledger.register_plan(run, dataset, plan)
    allowed = ledger.remaining(narrow, run="narrow").rounds
    assert allowed is not None
    met = [taking_part(ledger, "wide", number, 2, 3) for number in range(allowed + 2)]
    assert met == [[True, True]] * allowed + [[False, True]] * 2
    left = ledger.remaining(narrow)
    assert 0 <= left.left < ledger.reserve("wide", allowed + 2, 0, CONTEXT).rdp
    assert ledger.remaining(narrow) == left


def test_a_unit_in_two_data_sets_pays_for_both(ledger: Ledger, terms: Terms) -> None:
    """Spends on either side of the registration count, and each once."""
    plan = make_plan(terms)
    one, two = register(ledger, units(1, 2), "one"), register(ledger, units(2, 3), "two")
    ledger.register_plan("one", one, plan)
    ledger.register_plan("two", two, plan)
    step = ledger.reserve("one", 0, 0, CONTEXT).rdp
    ledger.reserve("two", 0, 0, CONTEXT)
    both = register(ledger, units(1, 2, 3), "both")
    assert {ledger.remaining(each).used for each in (one, two, both)} == {2 * step}
    assert ledger.remaining(register(ledger, units(1, 3), "none")).used == step


def test_a_budget_shrinks_and_never_grows(ledger: Ledger) -> None:
    dataset = register(ledger, units(1, 2))
    count = len(ledger.events())
    register(ledger, units(2, 1, 3))
    assert len(ledger.events()) == count
    for change in ({"epsilon": 4.1}, {"delta": 1e-6}, {"order": 6}):
        with pytest.raises(BudgetRaised):
            ledger.set_budget(dataset, **{"epsilon": 4.0, "delta": DELTA, "order": 5, **change})
    ledger.set_budget(dataset, epsilon=3, delta=DELTA, order=5)
    assert ledger.remaining(dataset).bound == filter_bound(epsilon=3, delta=DELTA, order=5)
    with pytest.raises(BudgetRaised):
        ledger.set_budget(dataset, epsilon=4, delta=DELTA, order=5)


def test_what_cannot_be_recorded_is_refused(ledger: Ledger, terms: Terms, tmp_path: Path) -> None:
    plan = make_plan(terms)
    respondents = {"unit": Unit.RESPONDENT, "bound": BOUND, "run": "run"}
    replaced = {"relation": NeighboringRelation.REPLACE_ONE}
    data = ledger.register(units(1), **{**respondents, "run": "replaced"}, **replaced)
    with pytest.raises(UnsupportedMechanism, match="replace_one has no filter"):
        ledger.register_plan("replaced", data, make_plan(terms, **replaced))
    with pytest.raises(LedgerRefused, match="occurs twice"):
        ledger.register(units(1, 1), **respondents)
    for wrong in ({"run": ""}, {"bound": 0}, {"bound": True}, {"bound": 2.0}):
        with pytest.raises(LedgerRefused, match="needs a name, and a bound"):
            ledger.register(units(1), **{**respondents, **wrong})
    bare = ledger.register(units(1, 2), **respondents)
    with pytest.raises(LedgerRefused, match="tell the same people"):
        ledger.register(units(1, 2), **{**respondents, "unit": Unit.RECORD, "run": "other"})
    with pytest.raises(ExecutionMismatch, match="at most 2000 units, not 7"):
        ledger.register(units(1, 2), **{**respondents, "bound": 7})
    with pytest.raises(LedgerRefused, match="a budget"):
        ledger.register_plan("run", bare, plan)
    with pytest.raises(DeltaTooLarge):
        ledger.set_budget(bare, epsilon=4, delta=0.5, order=5)
    for order in (0, 2, True, 5.0, 1025):
        with pytest.raises(LedgerRefused):
            ledger.set_budget(bare, epsilon=4, delta=DELTA, order=order)
    dataset = register(ledger, units(1, 2))
    with pytest.raises(LedgerRefused, match="no plan"):
        ledger.reserve("run", 0, 0, CONTEXT)
    with pytest.raises(EpsilonExceeded):
        ledger.register_plan("run", dataset, replace(plan, epsilon=1.0))
    with pytest.raises(LedgerRefused, match="of run 'run' and at most 2000 units"):
        ledger.register_plan("other", dataset, plan)
    with pytest.raises(LedgerRefused, match="under a bound that it names"):
        ledger.register_plan("run", dataset, replace(plan, units_per_group=2001))
    with pytest.raises(LedgerRefused, match="protects a record"):
        ledger.register_plan("run", dataset, replace(plan, unit=Unit.RECORD))
    ledger.register_plan("run", dataset, plan)
    with pytest.raises(ExecutionMismatch):
        ledger.register_plan("run", dataset, replace(plan, rounds=249))
    for round, attempt, context in ((-1, 0, CONTEXT), (0, True, CONTEXT), (0, 0, b"short")):
        with pytest.raises(LedgerRefused):
            ledger.reserve("run", round, attempt, context)
    with Ledger.create(tmp_path / "other", IDENTITY) as other, pytest.raises(LedgerRefused):
        other.set_budget(dataset, epsilon=4, delta=DELTA, order=5)
    assert ledger.remaining(dataset).used == 0


def test_no_unit_id_content_or_key_is_in_the_file(ledger: Ledger, path: Path) -> None:
    """The same units under another identity have other hashes: nobody else can look them up."""
    secret = [("zebra person", b"zebra answer")]
    mine = register(ledger, secret)
    text = path.read_bytes()
    assert b"zebra" not in text
    with Ledger.create(path.with_name("other"), Identity.create()) as ledger:
        theirs = register(ledger, secret)
        assert theirs.fingerprint != mine.fingerprint
        body = json.loads(text.splitlines()[0])["body"]
        assert body["people"] != ledger.events()[0].body["people"]


POOL = range(1, 5)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.sets(st.sampled_from(POOL), min_size=1)),
        st.tuples(st.just("spend"), st.integers(0, 5)),
        st.tuples(st.just("settle"), st.booleans()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
def test_no_sequence_of_operations_overspends_and_reopening_changes_nothing(
    operations: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory, terms: Terms
) -> None:
    """Against a model that keeps one exact sum for each person."""
    path = tmp_path_factory.mktemp("any") / "ledger"
    plan = make_plan(terms, noise=0.45, sampling_rate=0.05, rounds=60)
    ledger = Ledger.create(path, IDENTITY)
    step = Fraction(rdp_per_step(noise_multiplier=0.45, sampling_rate=0.05, order=5))
    bound = Fraction(filter_bound(epsilon=20.0, delta=DELTA, order=5))
    people = {person: Fraction(0) for person in POOL}
    taken = list[int]()
    runs: list[tuple[Dataset, set[int]]] = []
    for number, (what, detail) in enumerate(operations):
        if what == "register":
            members = set(detail)
            name = f"run {len(runs)}"
            dataset = register(ledger, units(*members), name, epsilon=20.0)
            ledger.register_plan(name, dataset, plan)
            runs.append((dataset, members))
            taken.append(0)
        elif what == "spend" and runs:
            run = int(detail) % len(runs)
            dataset, members = runs[run]
            if (taken[run] + 1) * step <= bound:
                paying = [each in members and people[each] + step <= bound for each in POOL]
                assert taking_part(ledger, f"run {run}", number, *POOL) == paying
                taken[run] += 1
                people.update(
                    {p: people[p] + step for p, pays in zip(POOL, paying, strict=True) if pays}
                )
            else:
                with pytest.raises(BudgetExhausted):
                    ledger.reserve(f"run {run}", number, 0, CONTEXT)
        elif what == "settle" and ledger.pending():
            receipt = ledger.pending()[0]
            ledger.released(receipt, CONTEXT) if detail else ledger.aborted(receipt, "why")
        elif what == "reopen":
            before = (ledger.events(), ledger._state)
            ledger.close()
            ledger = Ledger.open(path, IDENTITY)
            assert (ledger.events(), ledger._state) == before
    for dataset, members in runs:
        left = ledger.remaining(dataset)
        assert left.used == float(max(people[person] for person in members)) <= float(bound)
    ledger.close()
