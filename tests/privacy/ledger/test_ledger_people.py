"""Who is in the data: charged one by one, known to the owner alone, and told to nobody."""

import base64
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from privacy.accounting.accountant import rdp_per_step
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.errors import LedgerCorrupt, LedgerUnwritable, PrivacyError
from privacy.identity.keys import Identity
from privacy.ledger import Dataset, Ledger
from privacy.ledger.chain import NOTHING, Event, write_event
from privacy.ledger.filter import Steps, cost, filter_bound, total
from privacy.ledger.paths import people_folder
from privacy.ledger.units import ledger_key, unit_tag

Terms = Callable[..., PrivacyTerms]
IDENTITY = Identity.create()
KEY = ledger_key(IDENTITY)
CONTEXT = bytes(32)
DELTA = 1e-5
BOUND = 8
EPSILON = 6.2
"""Pays at order 3 for 8 of the 9 rounds of a plan."""
POOL = tuple("abcdef")
EARLIER = "e"
"""The person who may be in the data, or not."""


def make_plan(terms: Terms, noise: float = 3.0, rounds: int = 9) -> PrivacyPlan:
    """A plan of that noise with a promise so wide that it verifies."""
    agreed = terms(epsilon=50.0, rounds=rounds, units_per_group=BOUND, sampling_rate=1.0)
    return PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=noise,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / noise),
        modulus_bits=32,
    )


@dataclass
class Told:
    """A ledger in use, and all that leaves it: events without keyed hashes, errors, figures."""

    path: Path
    errors: list[str] = field(default_factory=list)
    figures: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger.create(self.path, IDENTITY)

    def begin(
        self,
        run: str,
        people: Sequence[str],
        plan: PrivacyPlan,
        *,
        epsilon: float = EPSILON,
        order: int = 3,
        content: bytes = b"",
    ) -> Dataset:
        """Announce a run on the data of these people."""
        data = ((person, content + person.encode()) for person in people)
        dataset = self.ledger.register(data, unit=Unit.RESPONDENT, bound=BOUND, run=run)
        self.ledger.set_budget(dataset, epsilon=epsilon, delta=DELTA, order=order)
        self.figures.append(self.ledger.register_plan(run, dataset, plan).rounds)
        return dataset

    def spend(self, run: str, number: int, people: Sequence[str] = POOL) -> set[str]:
        """Charge a round; who of these people takes part in it."""
        try:
            self.ledger.require(run, number, 0)
            receipt = self.ledger.reserve(run, number, 0, CONTEXT)
        except PrivacyError as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            return set()
        self.figures.append(receipt.rdp)
        present = self.ledger.present(receipt, people)
        return {person for person, there in zip(people, present, strict=True) if there}

    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.path, IDENTITY)

    def events(self) -> list[dict[str, Any]]:
        """All events, with what is keyed or hashed or signed replaced by its place and length."""
        hashes: dict[str, str] = {}

        def seen(value: object) -> object:
            if isinstance(value, str) and len(value) in (64, 128):
                return hashes.setdefault(value, f"{len(value)} digits, number {len(hashes)}")
            if isinstance(value, dict):
                return {name: seen(each) for name, each in value.items()}
            return value

        lines = [json.loads(line) for line in self.path.read_bytes().splitlines()]
        return [seen(line) for line in lines]  # type: ignore[misc]  # of a dict a dict is made


# What leaves.


def test_one_earlier_person_among_six_changes_nothing_that_leaves(
    tmp_path: Path, terms: Terms
) -> None:
    """Was open: a round was refused because one person had spent their budget before."""
    plan, told = make_plan(terms), []
    for name, second in (("with", "abcdef"), ("without", "uvwxyz")):
        each = Told(tmp_path / name)
        each.begin("first", "a", plan)
        for number in range(9):
            each.spend("first", number)
        each.begin("second", second, plan)
        told.append([each.spend("second", number, second) for number in range(9)])
        told.append((each.events(), each.errors, each.figures))
        each.ledger.close()
    assert told[0] == [set("bcdef")] * 8 + [set()]
    assert told[2] == [set("uvwxyz")] * 8 + [set()]
    assert told[1] == told[3]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sets(st.sampled_from(POOL)), st.sampled_from((0.45, 0.7))),
        st.tuples(st.just("spend"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("settle"), st.booleans(), st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=30,
)


def play(told: Told, operations: Sequence[tuple[Any, Any, Any]], terms: Terms) -> None:
    """Do these operations; rounds of a run are asked for in order, and some once more."""
    runs = list[str]()
    for number, (what, detail, more) in enumerate(operations):
        if what == "begin":
            run = f"run {len(runs)}"
            order = 3 if more == 0.45 else 5
            told.begin(run, sorted(detail), make_plan(terms, more, 4), epsilon=30.0, order=order)
            runs.append(run)
        elif what == "spend" and runs:
            told.spend(runs[detail % len(runs)], number - more)
        elif what == "settle" and told.ledger.pending():
            receipt = told.ledger.pending()[0]
            settle = told.ledger.released if detail else told.ledger.aborted
            settle(receipt, CONTEXT if detail else "why")  # type: ignore[operator]  # one of two
        elif what == "reopen":
            before = (told.ledger.events(), told.ledger._state)
            told.reopen()
            assert (told.ledger.events(), told.ledger._state) == before
    told.ledger.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
def test_whatever_the_history_data_with_and_without_a_person_tell_the_same(
    operations: Sequence[tuple[Any, Any, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    terms: Terms,
) -> None:
    """Was open: counts, tags, parents, fingerprints and refusals told who is in the data."""
    both = []
    for left in ((), (EARLIER,)):
        told = Told(tmp_path_factory.mktemp("any") / "ledger.jsonl")
        without = [
            (what, detail - set(left) if what == "begin" else detail, more)
            for what, detail, more in operations
        ]
        play(told, without, terms)
        both.append((told.events(), told.errors, told.figures))
    assert both[0] == both[1]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
# What is drawn seldom comes to the end of a budget: that of one run, and that of two.
@example(operations=[("begin", set(POOL), 0.45), *[("spend", 0, 0)] * 5])
@example(
    operations=[
        *[("begin", set(POOL[:3]), 0.45), ("begin", set(POOL[2:]), 0.45)],
        *[("spend", 0, 0), ("spend", 1, 0)] * 4,
    ]
)
def test_nobody_pays_for_more_than_any_budget_at_its_order(
    operations: Sequence[tuple[Any, Any, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    terms: Terms,
) -> None:
    """Against sums of each person, at both orders, under all budgets of the data they are in."""
    told = Told(tmp_path_factory.mktemp("any") / "ledger.jsonl")
    orders = (3, 5)
    bounds = {
        order: Fraction(filter_bound(epsilon=30.0, delta=DELTA, order=order)) for order in orders
    }
    spent = {(person, order): Fraction(0) for person in POOL for order in bounds}
    members, noises = dict[str, set[str]](), dict[str, float]()
    held: dict[str, set[int]] = {person: set() for person in POOL}
    begin, spend = told.begin, told.spend

    def begins(run: str, people: Sequence[str], plan: PrivacyPlan, **given: Any) -> Dataset:
        members[run], noises[run] = set(people), plan.noise_multiplier
        for person in people:
            held[person].add(given["order"])
        return begin(run, people, plan, **given)

    def spends(run: str, number: int) -> set[str]:
        before, asked = told.ledger.head.seq, len(told.errors)
        present = spend(run, number)
        step = {
            order: Fraction(
                rdp_per_step(noise_multiplier=noises[run], sampling_rate=1.0, order=order)
            )
            for order in orders
        }
        paying = {
            person
            for person in members[run]
            if all(spent[person, order] + step[order] <= bounds[order] for order in held[person])
        }
        if len(told.errors) == asked:
            assert told.ledger.head.seq == before + 1
            assert present == paying
            for person in paying:
                for order in bounds:
                    spent[person, order] += step[order]
        return present

    told.begin, told.spend = begins, spends  # type: ignore[method-assign]  # to look on
    play(told, operations, terms)
    state = told.ledger._state
    for person in POOL:
        history = state._histories.get(unit_tag(person, KEY), 0)
        charged = state._charged.get(history, Steps())
        for order in orders:
            assert total([charged], order) == spent[person, order]
            for name, data in state.datasets.items():
                if person in members[data.run]:
                    assert spent[person, order] <= state.most_used(name, order)


def test_a_smaller_budget_lets_nobody_pay_who_has_spent_more_before(
    tmp_path: Path, terms: Terms
) -> None:
    """What all can see says that somebody can have spent more than the budget of these data."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    told.begin("large", "ab", plan, epsilon=12.0)
    for number in range(9):
        told.spend("large", number)
    small = told.begin("small", "bc", plan)
    for number in range(8):
        assert told.spend("small", number) == {"c"}
    step = Fraction(cost(make_plan_mechanism(plan), 3))
    assert told.ledger._state.most_used(small.fingerprint, 3) == 9 * step
    left = told.ledger.remaining(small)
    assert (left.used, left.left) == (float(9 * step), 0.0)
    told.ledger.close()
    (check,) = [each for each in verify(gather([told.path])) if each.id == "budget"]
    assert check.status is Status.PASS


def test_equal_data_of_two_runs_cannot_be_told(tmp_path: Path, terms: Terms) -> None:
    """Was open: a second run on the same data went by the fingerprint of the first."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    one, two = (told.begin(run, "abc", plan) for run in ("one", "two"))
    assert one.fingerprint != two.fingerprint
    bodies = [event.body for event in told.ledger.events() if event.type == "DATASET"]
    assert [set(body) for body in bodies] == [{"run", "units", "unit", "adjacency", "people"}] * 2
    assert [body["units"] for body in bodies] == [BOUND, BOUND]
    assert bodies[0]["people"] != bodies[1]["people"]


def test_data_of_nobody_are_announced_like_any(tmp_path: Path, terms: Terms) -> None:
    """Was open: no units were refused, one unit was not."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    told.begin("run", "", plan)
    assert told.spend("run", 1) == set()
    assert not told.errors
    told.reopen()
    assert told.spend("run", 2) == set()


# Who is in a run.


def test_who_joins_after_the_announcement_is_not_in_the_run(tmp_path: Path, terms: Terms) -> None:
    """Was open: a run was refused in its midst because one person had joined."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    first = told.begin("run", "abc", plan)
    assert told.spend("run", 1, "abcd") == set("abc")
    before = len(told.ledger.events())
    assert told.begin("run", "bcd", plan, content=b"other") == first
    assert told.spend("run", 2, "bcd") == set("bc")
    told.reopen()
    assert told.begin("run", "d", plan) == first
    assert told.spend("run", 3, "d") == set()
    assert [event.type for event in told.ledger.events()[before:]] == ["SPEND", "SPEND"]
    told.begin("next", "d", plan)
    assert told.spend("next", 1, "abcd") == {"d"}


def test_units_beyond_the_bound_are_no_part_of_any_run(tmp_path: Path, terms: Terms) -> None:
    """A ledger that states a bound keeps it, and refuses nobody for lack of room."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    many = [f"person {number}" for number in range(BOUND + 3)]
    chosen = []
    for run in ("one", "two"):
        told.begin(run, many, plan)
        chosen.append(told.spend(run, 1, many))
    assert len(chosen[0]) == BOUND
    assert chosen[0] == chosen[1]
    assert not told.errors


def test_runs_whose_people_part_later_are_told_apart_in_an_open_spend(
    tmp_path: Path, terms: Terms
) -> None:
    """Data registered between a charge and the question do not change who takes part."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms, rounds=3)
    told.begin("one", "ab", plan)
    told.begin("two", "bc", plan)
    for number in range(2):
        told.spend("two", number)
    receipt = told.ledger.reserve("one", 1, 0, CONTEXT)
    expected = told.ledger.present(receipt, POOL)
    told.begin("three", "abc", plan)
    assert told.ledger.present(receipt, POOL) == expected
    told.ledger.released(receipt, CONTEXT)
    with pytest.raises(PrivacyError, match="no open spend"):
        told.ledger.present(receipt, POOL)


# The files that list people.


@pytest.fixture
def spent(tmp_path: Path, terms: Terms) -> Told:
    """Two runs, the second on three people of the first and one more."""
    (tmp_path / "groups").mkdir()
    told, plan = Told(tmp_path / "groups" / "ledger.jsonl"), make_plan(terms)
    told.begin("one", "abcd", plan)
    told.begin("two", "bcde", plan)
    for number in range(3):
        told.spend("one", number)
        told.spend("two", number)
    told.ledger.close()
    return told


def test_the_list_of_people_is_its_owners_alone_and_on_disk_before_the_event(
    tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path / "ledger.jsonl")
    seen = []
    append = type(told.ledger._store).append

    def watch(store: Any, line: bytes) -> None:
        seen.append((json.loads(line)["type"], len(list(people_folder(told.path).glob("*")))))
        append(store, line)

    monkeypatch.setattr(type(told.ledger._store), "append", watch)
    told.begin("run", "abc", make_plan(terms))
    assert seen[0] == ("DATASET", 1)
    folder = people_folder(told.path)
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert file.name == told.ledger.events()[0].body["people"]
    text = told.path.read_bytes()
    for person in "abc":
        tag = unit_tag(person, KEY)
        assert tag in file.read_bytes()
        assert tag not in text and tag.hex().encode() not in text
        assert base64.b64encode(tag)[:10] not in text


def test_a_list_that_cannot_be_written_announces_nothing(
    tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path / "ledger.jsonl")
    with monkeypatch.context() as full:

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("privacy.ledger.units.write_atomically", fail)
        with pytest.raises(LedgerUnwritable, match="nothing was recorded"):
            told.begin("run", "abc", make_plan(terms))
    assert not told.ledger.events()
    told.begin("run", "abc", make_plan(terms))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "shorter": lambda file: file.write_bytes(file.read_bytes()[:-8]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + bytes(8)),
    "changed": lambda file: file.write_bytes(bytes(8) + file.read_bytes()[8:]),
    "empty": lambda file: file.write_bytes(b""),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "all": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_an_intact_list_its_owner_cannot_use_the_ledger(spent: Told, damage: str) -> None:
    """Else people would begin anew whom nobody remembers."""
    first = next(event for event in spent.ledger.events() if event.type == "DATASET")
    DAMAGES[damage](people_folder(spent.path) / first.body["people"])
    with pytest.raises(
        LedgerCorrupt, match=r"line 1 .*missing or altered.*bring an intact copy"
    ) as found:
        Ledger.open(spent.path, IDENTITY)
    assert "\n" not in str(found.value)


def test_a_list_that_its_owner_signed_and_that_is_longer_than_its_bound_is_found(
    spent: Told,
) -> None:
    event = spent.ledger.events()[0]
    line = write_event(
        IDENTITY,
        NOTHING,
        type="DATASET",
        dataset=event.dataset,
        body={**event.body, "units": 3},
    ).line()
    spent.path.write_bytes(line)
    with pytest.raises(LedgerCorrupt, match="more units than their bound"):
        Ledger.open(spent.path, IDENTITY)


def test_a_run_has_one_list(spent: Told) -> None:
    first = spent.ledger.events()[0]
    more = write_event(
        IDENTITY, spent.ledger.head, type="DATASET", dataset="0" * 64, body=first.body
    )
    spent.path.write_bytes(spent.path.read_bytes() + more.line())
    with pytest.raises(LedgerCorrupt, match="two data sets"):
        Ledger.open(spent.path, IDENTITY)


# What a reviewer sees.


def test_without_the_lists_no_more_is_told_than_all_spends_and_the_budget(spent: Told) -> None:
    shutil.rmtree(people_folder(spent.path))
    (seen,) = gather([spent.path]).ledgers
    state = seen.state
    assert state is not None and not state.knows_people
    step = Fraction(cost(make_mechanism(state), 3))
    bound = Fraction(filter_bound(epsilon=EPSILON, delta=DELTA, order=3))
    for name in state.datasets:
        assert state.used(name, 3) == min(6 * step, bound)
        assert state.most_used(name, 3) == min(6 * step, bound)
        with pytest.raises(PrivacyError, match="hand in the people"):
            next(state.spent_by_people(name))
    assert not state.left_out


def test_with_the_lists_people_are_told_apart(spent: Told) -> None:
    (seen,) = gather([spent.path]).ledgers
    state = seen.state
    assert state is not None and state.knows_people
    taken = [
        sorted(now.total() for now, _ in state.spent_by_people(name)) for name in state.datasets
    ]
    assert taken == [[3, 6], [3, 6]]
    assert state == spent.ledger._state


def make_mechanism(state: Any) -> Any:
    return next(iter(state.plans.values())).mechanism


# Ledgers of earlier versions.


def earlier(path: Path, plan: PrivacyPlan, data: Sequence[str]) -> None:
    """A ledger whose events name people, and one spend on each data set in turn."""
    head, lines, before = NOTHING, [], list[tuple[str, set[str]]]()

    def add(type: str, dataset: str, body: dict[str, object]) -> Event:
        nonlocal head
        event = write_event(IDENTITY, head, type=type, dataset=dataset, body=body)
        head = event.head
        lines.append(event.line())
        return event

    for number, people in enumerate(data):
        name = f"{number}" * 64
        tags = sorted(unit_tag(person, KEY) for person in people)
        body = {
            "units": len(people),
            "unit": "respondent",
            "adjacency": str(plan.relation),
            "parents": [known for known, there in before if there & set(people)],
            "tags": base64.b64encode(b"".join(tags)).decode("ascii"),
        }
        before.append((name, set(people)))
        add("DATASET", name, body)
        bound = filter_bound(epsilon=EPSILON, delta=DELTA, order=3)
        add("BUDGET", name, {"epsilon": EPSILON, "delta": DELTA, "order": 3, "bound": bound})
        mechanism = make_plan_mechanism(plan)
        run = f"old {number}"
        add(
            "PLAN",
            name,
            {
                "run": run,
                "plan": plan.as_dict(),
                "digest": plan.digest(),
                "mechanism": "",
                "cut_chance": plan.cut_chance(),
                "code": "",
                "model": "",
                "rdp": cost(mechanism, 3),
                "pld_epsilon": plan.verify(),
            },
        )
        spend = {"run": run, "round": 1, "attempt": 0, "ctx": CONTEXT.hex()}
        paid = {"q": plan.sampling_rate, "z": plan.noise_multiplier, "rdp": cost(mechanism, 3)}
        spent = add("SPEND", name, {**spend, **paid, "steps": 1})
        add("RELEASED", name, {"spend": spent.hash, "vector": CONTEXT.hex()})
    path.write_bytes(b"".join(lines))


def make_plan_mechanism(plan: PrivacyPlan) -> Any:
    from privacy.ledger.payloads import mechanism_of

    return mechanism_of(plan)


def test_ledgers_of_earlier_versions_are_read_and_go_on_being_charged(
    tmp_path: Path, terms: Terms
) -> None:
    """They name people in the file; nobody in them begins anew."""
    plan = make_plan(terms)
    told = Told(tmp_path / "unused.jsonl")
    told.ledger.close()
    path = tmp_path / "earlier.jsonl"
    earlier(path, plan, ["ab", "bc"])
    told.path, told.ledger = path, Ledger.open(path, IDENTITY)
    assert told.begin("old 0", "abz", plan) == told.ledger._state.datasets["0" * 64]
    assert told.spend("old 0", 2, "abcz") == set("ab")
    told.begin("new", "abcd", plan)
    step = Fraction(cost(make_plan_mechanism(plan), 3))
    bound = Fraction(filter_bound(epsilon=EPSILON, delta=DELTA, order=3))
    before = {"a": 2, "b": 3, "c": 1, "d": 0}
    for number in range(9):
        paying = {p for p, steps in before.items() if (steps + number + 1) * step <= bound}
        alone = (number + 1) * step <= bound
        assert told.spend("new", number) == (paying if alone else set())
    told.reopen()
    told.ledger.close()


def test_data_of_an_earlier_version_do_not_follow_those_of_this_one(
    tmp_path: Path, terms: Terms
) -> None:
    plan = make_plan(terms)
    earlier(tmp_path / "earlier.jsonl", plan, ["ab"])
    old = json.loads((tmp_path / "earlier.jsonl").read_bytes().splitlines()[0])
    told = Told(tmp_path / "ledger.jsonl")
    told.begin("run", "ab", plan)
    told.ledger.close()
    line = write_event(
        IDENTITY, told.ledger.head, type="DATASET", dataset=old["dataset"], body=old["body"]
    ).line()
    told.path.write_bytes(told.path.read_bytes() + line)
    with pytest.raises(LedgerCorrupt, match="earlier version follow"):
        Ledger.open(told.path, IDENTITY)


def test_runs_of_other_people_do_not_count_against_a_budget_that_all_can_see(
    tmp_path: Path, terms: Terms
) -> None:
    """As far as all can see, nobody has more than the budget of the data, nor than all spends."""
    told, plan = Told(tmp_path / "ledger.jsonl"), make_plan(terms)
    first = told.begin("one", "ab", plan, order=3)
    second = told.begin("two", "cd", plan, order=4)
    for number in range(6):
        told.spend("one", number)
        told.spend("two", number)
    state = told.ledger._state
    step = {order: Fraction(cost(make_plan_mechanism(plan), order)) for order in (3, 4)}
    bound = {o: Fraction(filter_bound(epsilon=EPSILON, delta=DELTA, order=o)) for o in (3, 4)}
    for data, order in ((first, 3), (second, 4)):
        assert state.most_used(data.fingerprint, order) == min(bound[order], 12 * step[order])
        assert state.used(data.fingerprint, order) == 6 * step[order]
