"""Tallies in a ledger: paid for once, used for nothing, and never without both on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounting.accountant import GAUSSIAN_ORDER
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.step import private_count
from privacy.accounting.tally_file import StoredTally, tally_context
from privacy.accounting.terms import PrivacyTerms, terms_of_counts
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.canonical import canonical_json
from privacy.errors import (
    AlreadyCharged,
    BudgetExhausted,
    ExecutionMismatch,
    LedgerCorrupt,
    LedgerRefused,
    LedgerUnwritable,
    PrivacyError,
    StageSkipped,
)
from privacy.identity.keys import Identity
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import Distributions, private_tally
from privacy.ledger import Ledger, SpendReceipt
from privacy.ledger.chain import write_event
from privacy.ledger.payloads import attempt_body
from privacy.ledger.store import Store

IDENTITY = Identity.create()
DELTA = 1e-5
TALLY = f"tally-{0:032x}"
ANOTHER = f"tally-{1:032x}"
CONTEXT = bytes(32)
BOUND = 20
QUESTIONNAIRE = {
    "version": 1,
    "answers": "distributions",
    "questions": [
        {"question_id": "a", "question": "tea ?", "options": ["yes", "no"]},
        {"question_id": "b", "question": "war ?", "options": ["yes", "no", "both"]},
    ],
}
DIGEST = hashlib.sha256(canonical_json(QUESTIONNAIRE)).hexdigest()


def plan_of(epsilon: float = 4.0, distributions: bool = True) -> PrivacyPlan:
    terms = terms_of_counts(
        unit=Unit.RESPONDENT, epsilon=epsilon, delta=DELTA, units_per_group=[BOUND],
        options=[(2, 3)], questionnaires=[DIGEST], distributions=distributions,
    )  # fmt: skip
    return PrivacyPlan.calibrate(terms).of_group(0, (2, 3), questionnaire=DIGEST, units=BOUND)


PLAN = plan_of()
PAID_FOR = tally_context(PLAN.digest(), TALLY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger.create(path, IDENTITY)


def people(*numbers: int) -> list[tuple[str, bytes]]:
    return [(f"person {number}", b"") for number in numbers]


def announce(
    ledger: Ledger,
    name: str,
    *numbers: int,
    plan: PrivacyPlan = PLAN,
    budget: float = 4.0,
) -> None:
    data = ledger.register(
        people(*numbers), unit=Unit.RESPONDENT, bound=BOUND, run=name, relation=plan.relation
    )
    ledger.set_budget(data, epsilon=budget, delta=DELTA, order=GAUSSIAN_ORDER)
    ledger.register_plan(name, data, plan)


def make(
    ledger: Ledger, name: str, *numbers: int, digest: bytes = b"\1" * 32, **given: Any
) -> SpendReceipt:
    announce(ledger, name, *numbers, **given)
    paid_for = tally_context(ledger.announced(name) or "", name)
    receipt = ledger.reserve(name, 0, 0, paid_for)
    ledger.released(receipt, digest)
    return receipt


def use(ledger: Ledger, run: str, number: int, attempt: int = 1, tally: bytes = b"\1" * 32) -> None:
    ledger.used(run, number, attempt, context=CONTEXT, tally=tally.hex(), vector=CONTEXT)


def reviewed(path: Path) -> None:
    evidence = gather([path])
    assert [check.finding for check in verify(evidence) if check.status is Status.FAIL] == []
    assert evidence.ledgers[0].error is None


def test_a_tally_is_paid_for_once_and_every_round_of_every_run_uses_it(
    ledger: Ledger, path: Path
) -> None:
    receipt = make(ledger, TALLY, 1, 2, 3)
    data = ledger.data_of(TALLY)
    assert data is not None
    used = ledger.remaining(data).used
    assert used == receipt.rdp == 1 / (2 * PLAN.noise_multiplier**2)
    for run in ("one", "other"):
        for number in range(30):
            use(ledger, run, number)
    assert ledger.remaining(data).used == used
    assert [event.type for event in ledger.events()].count("SPEND") == 1
    ledger.close()
    with Ledger.open(path, IDENTITY) as again:
        assert again.tallies(PLAN.digest()) == {TALLY: (b"\1" * 32).hex()}
        assert again.remaining(data).used == used
        assert again.pending() == ()
        with pytest.raises(AlreadyCharged, match="was trained before"):
            use(again, "one", 7)
        use(again, "one", 7, attempt=2)
    reviewed(path)


def test_a_tally_is_spent_and_released_once(ledger: Ledger) -> None:
    receipt = make(ledger, TALLY, 1)
    with pytest.raises(AlreadyCharged):
        ledger.reserve(TALLY, 0, 0, PAID_FOR)
    for number, attempt in ((0, 1), (1, 0)):
        with pytest.raises(AlreadyCharged, match="plan"):
            ledger.reserve(TALLY, number, attempt, CONTEXT)
    with pytest.raises(AlreadyCharged):
        ledger.released(receipt, b"\2" * 32)
    assert ledger.counts_once(TALLY) and not ledger.counts_once("another")


def test_nothing_is_used_before_it_is_paid_for_and_on_disk(ledger: Ledger, path: Path) -> None:
    with pytest.raises(LedgerRefused, match="released no such tally"):
        use(ledger, "run", 1)
    announce(ledger, TALLY, 1, 2)
    receipt = ledger.reserve(TALLY, 0, 0, PAID_FOR)
    before = path.read_bytes()
    with pytest.raises(LedgerRefused, match="released no such tally"):
        use(ledger, "run", 1)
    assert path.read_bytes() == before
    ledger.released(receipt, b"\1" * 32)
    with pytest.raises(LedgerRefused, match="released no such tally"):
        use(ledger, "run", 1, tally=b"\2" * 32)
    use(ledger, "run", 1)
    reviewed(path)


def test_a_run_of_the_name_of_a_plan_uses_no_tally_and_breaks_no_ledger(
    ledger: Ledger, path: Path
) -> None:
    """Was open: a server that named its run like the tally made the ledger unreadable for good."""
    make(ledger, TALLY, 1)
    before = path.read_bytes()
    with pytest.raises(LedgerRefused, match="has a plan of its own"):
        use(ledger, TALLY, 1)
    assert path.read_bytes() == before
    use(ledger, "run", 1)
    ledger.close()
    Ledger.open(path, IDENTITY).close()


@pytest.mark.parametrize(
    "forged",
    [
        {"run": TALLY},
        {"tally": "ab" * 32},
        {"round": -1},
        {"vector": ""},
        {"more": 1},
    ],
)
def test_forged_uses_are_found_when_the_ledger_is_read(
    ledger: Ledger, path: Path, forged: dict[str, object]
) -> None:
    make(ledger, TALLY, 1)
    data = ledger.data_of(TALLY)
    assert data is not None
    body = {**attempt_body(("run", 1, 1)), "ctx": CONTEXT.hex(), "vector": CONTEXT.hex()}
    body = {**body, "tally": (b"\1" * 32).hex(), **forged}
    event = write_event(IDENTITY, ledger.head, type="USED", dataset=data.fingerprint, body=body)
    ledger.close()
    path.write_bytes(path.read_bytes() + event.line())
    with pytest.raises(LedgerCorrupt):
        Ledger.open(path, IDENTITY)


def test_another_plan_is_another_tally_and_costs_again(ledger: Ledger, path: Path) -> None:
    make(ledger, TALLY, 1, 2, budget=8.0)
    other = plan_of(3.0)
    make(ledger, ANOTHER, 1, 2, plan=other, budget=8.0, digest=b"\2" * 32)
    assert ledger.tallies(PLAN.digest()) == {TALLY: (b"\1" * 32).hex()}
    assert ledger.tallies(other.digest()) == {ANOTHER: (b"\2" * 32).hex()}
    data = ledger.data_of(ANOTHER)
    assert data is not None
    both = sum(1 / (2 * plan.noise_multiplier**2) for plan in (PLAN, other))
    assert ledger.remaining(data).used == pytest.approx(both)
    reviewed(path)


def test_whoever_cannot_pay_is_in_no_tally(ledger: Ledger) -> None:
    """The budget of epsilon pays for the plan of epsilon, and of nobody for a second one."""
    make(ledger, TALLY, 1, 2)
    announce(ledger, "second", 1, 2, 3, plan=plan_of(3.9))
    receipt = ledger.reserve("second", 0, 0, CONTEXT)
    named = [name for name, _ in people(1, 2, 3, 4)]
    assert ledger.present(receipt, named) == [False, False, True, False]


def test_a_budget_below_the_plan_pays_for_nobody(ledger: Ledger, path: Path) -> None:
    announce(ledger, TALLY, 1, 2, budget=3.9)
    with pytest.raises(BudgetExhausted):
        ledger.reserve(TALLY, 0, 0, PAID_FOR)
    assert ledger.tallies(PLAN.digest()) == {}
    assert [event.type for event in ledger.events()][-1] == "REFUSED"
    reviewed(path)


def test_a_wave_charges_those_who_are_new_alone(ledger: Ledger) -> None:
    make(ledger, "first", 1, 2)
    first = ledger.data_of("first")
    assert first is not None
    assert ledger.listed(first, ["person 1", "person 3"]) == [True, False]
    make(ledger, "second", 3, 4, digest=b"\2" * 32)
    assert list(ledger.tallies(PLAN.digest())) == ["first", "second"]
    second = ledger.data_of("second")
    assert second is not None
    step = 1 / (2 * PLAN.noise_multiplier**2)
    assert ledger.remaining(first).used == ledger.remaining(second).used == step


def test_steps_under_another_relation_have_no_filter_and_counts_have(
    ledger: Ledger, terms: Callable[..., PrivacyTerms]
) -> None:
    data = ledger.register(people(1), unit=Unit.RESPONDENT, bound=BOUND, run=TALLY)
    ledger.set_budget(data, epsilon=8.0, delta=DELTA, order=GAUSSIAN_ORDER)
    with pytest.raises((LedgerRefused, ExecutionMismatch)):
        ledger.register_plan(TALLY, data, PLAN)
    ledger.register_plan(TALLY, data, plan_of(distributions=False))


@pytest.mark.parametrize("failing", range(6))
def test_a_full_disk_leaves_a_state_from_which_one_tally_is_made(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """DATASET, BUDGET, PLAN, SPEND, RELEASED, USED: each is refused by the disk once."""
    append, calls = Store.append, iter(range(100))

    def full(self: Store, line: bytes) -> None:
        if next(calls) == failing:
            raise LedgerUnwritable("the disk is full")
        append(self, line)

    monkeypatch.setattr(Store, "append", full)
    for _ in range(2):
        try:
            announce(ledger, TALLY, 1, 2)
            open_spend = ledger.pending()
            if not ledger.tallies(PLAN.digest()):
                receipt = (*open_spend, None)[0] or ledger.reserve(
                    TALLY, 0, 0, tally_context(PLAN.digest(), TALLY)
                )
                ledger.released(receipt, b"\1" * 32)
            use(ledger, "run", 1)
            break
        except LedgerUnwritable:
            continue
    types = [event.type for event in ledger.events()]
    assert types == ["DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED", "USED"]
    reviewed(path)


def stored() -> tuple[StoredTally, bytes]:
    bounds = PLAN.count_bounds((2, 3))
    said = Distributions(
        questions=[0, 1], respondents=[10, 10], shares=[(0.5, 0.5), (0.2, 0.3, 0.5)]
    )
    noised = private_count(said, bounds, PLAN, source=SystemRandomStream())
    return StoredTally.of(
        private_tally(noised, bounds),
        group="A", plan=PLAN, questionnaire=QUESTIONNAIRE, wave="w", spend="ab" * 32,
    )  # fmt: skip


class TestFile:
    TALLY, CONTENT = stored()

    def test_it_is_read_as_it_was_written(self) -> None:
        again = StoredTally.read(self.CONTENT, digest=self.TALLY.digest)
        assert again.tally.cells.tolist() == self.TALLY.tally.cells.tolist()
        assert (again.plan, again.questionnaire) == (PLAN, QUESTIONNAIRE)
        assert (again.group, again.wave, again.spend) == ("A", "w", "ab" * 32)
        assert again.digest == hashlib.sha256(self.CONTENT).hexdigest() == self.TALLY.digest
        assert again.tally.noise_std == 2.0**20 / again.tally.bounds.step
        with pytest.raises(ValueError, match="read-only"):
            again.tally.cells[0] = 0

    def test_another_file_is_not_the_one_that_was_recorded(self) -> None:
        for other in (self.CONTENT + b" ", stored()[1], self.CONTENT.replace(b'"A"', b'"B"')):
            with pytest.raises(StageSkipped, match="not the tally that was recorded"):
                StoredTally.read(other, digest=self.TALLY.digest)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 2},
            {"step": 7},
            {"cells": [1, 2, 3, 4]},
            {"cells": [1, 2, 3, 4, 5, 6]},
            {"cells": [1, 2, 3, 4, 5.0]},
            {"cells": [1, 2, 3, 4, True]},
            {"cells": [1, 2, 3, 4, 2**62]},
            {"cells": None},
            {"cells": {"a": 1}},
            {"plan": []},
            {"plan": {}},
            {"plan": None},
            {"plan": "plan"},
            {"questionnaire": {}},
            {"questionnaire": []},
            {"questionnaire": {**QUESTIONNAIRE, "version": 2}},
            {"more": 1},
        ],
    )
    def test_what_is_no_tally_is_refused(self, changes: dict[str, object]) -> None:
        """Was open: a plan that is a list was an error of another kind."""
        content = json.dumps({**json.loads(self.CONTENT), **changes}).encode()
        with pytest.raises(StageSkipped):
            StoredTally.read(content)

    @pytest.mark.parametrize(
        "changes",
        [
            {"noise_log2": 4},
            {"epsilon": 10**400},
            {"delta": "nan"},
            {"rounds": 2},
            {"counts": None},
            {"counts": 10**400},
            {"sensitivity": 2**29},
            {"units_per_group": "many"},
            {"unit": 7},
        ],
    )
    def test_a_plan_that_could_not_be_is_refused(self, changes: dict[str, object]) -> None:
        values = json.loads(self.CONTENT)
        values["plan"] = {**values["plan"], **changes}
        with pytest.raises(StageSkipped):
            StoredTally.read(json.dumps(values).encode())

    @settings(
        max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(at=st.integers(0, len(CONTENT) - 1), byte=st.integers(0, 255), cut=st.booleans())
    def test_damaged_files_are_refused_or_say_the_same_kind_of_thing(
        self, at: int, byte: int, cut: bool
    ) -> None:
        damaged = self.CONTENT[:at] + bytes([byte]) + (b"" if cut else self.CONTENT[at + 1 :])
        try:
            read = StoredTally.read(damaged)
        except PrivacyError as error:
            assert isinstance(error, StageSkipped)
        else:
            assert read.tally.bounds.options == (2, 3)
        if damaged != self.CONTENT:
            with pytest.raises(StageSkipped):
                StoredTally.read(damaged, digest=self.TALLY.digest)
