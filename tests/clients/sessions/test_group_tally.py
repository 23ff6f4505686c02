"""One tally of a group: whatever is killed, removed or asked again, answers are counted once."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import clients.sessions.group_tally as group_tally
from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.tallies.questionnaire import Questionnaire
from clients.sessions.accounts import CountedAccount
from clients.sessions.group_ledger import GroupLedger, forget_ledgers
from clients.sessions.group_tally import GroupTallies, forget_tallies
from clients.task import PrivateTask
from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.tally_file import StoredTally
from privacy.accounting.terms import terms_of_counts
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.errors import (
    AlreadyCharged,
    BudgetExhausted,
    ExecutionMismatch,
    LedgerRefused,
    LedgerRolledBack,
    LedgerUnwritable,
)
from privacy.identity.keys import Identity, Roster
from privacy.kernel.tally import Answers
from privacy.ledger import Ledger
from privacy.ledger.paths import tallies_folder

DELTA, BOUND = 1e-5, 20
ROUNDS = 3
STEPS = 40
"""More durable writes than there are from the first request to the last round."""

QUESTIONS = tuple(
    Question(question_id=f"q{number}", text=f"tea {number} ?", options=("yes", "no", "both"))
    for number in range(3)
)
ASKED = Questionnaire(questions=QUESTIONS)
Counted = list[set[str]]


def unit(number: int, choice: int = 0) -> UnitRecords:
    target = tuple(float(option == choice) for option in range(3))
    return UnitRecords(unit=f"person {number}", questions=QUESTIONS, targets=(target,) * 3)


def plan_of(epsilon: float = 4.0, **changes: Any) -> PrivacyPlan:
    values: dict[str, Any] = {
        "unit": Unit.RESPONDENT, "epsilon": epsilon, "delta": DELTA, "units_per_group": [BOUND],
        "options": [ASKED.options], "questionnaires": [ASKED.digest], "distributions": False,
        **changes,
    }  # fmt: skip
    plan = PrivacyPlan.calibrate(terms_of_counts(**values))
    return plan.of_group(0, ASKED.options, questionnaire=ASKED.digest, units=BOUND)


PLAN = plan_of()


@dataclass
class Group:
    """A group with a folder of its own, which is asked for tallies."""

    folder: Path
    identity: Identity
    units: Sequence[UnitRecords] = tuple(unit(number) for number in range(6))
    wave: str = ""
    budget: float = 4.0
    opened: list[int] = field(default_factory=list)
    missing: bool = False

    @property
    def path(self) -> Path:
        return self.folder / "ledgers" / "group.jsonl"

    @property
    def ledger(self) -> GroupLedger:
        return GroupLedger(
            self.path, self.identity, Roster({}), budget_epsilon=self.budget, budget_delta=DELTA
        )

    def open(self) -> Sequence[UnitRecords]:
        if self.missing:
            raise FileNotFoundError("the data are gone")
        self.opened.append(len(self.units))
        return self.units

    def obtain(self, plan: PrivacyPlan = PLAN) -> tuple[StoredTally, ...]:
        tallies = GroupTallies(
            group="A",
            group_ledger=self.ledger,
            folder=tallies_folder(self.path),
            questionnaire=ASKED,
            wave=self.wave,
            units=self.open,
        )
        return tallies.obtain(plan)

    def use(self, number: int, run: str = "run") -> None:
        """One round."""
        task = PrivateTask(
            run=run, plan=PLAN, group_index=0, freeze_a=True, local_learning_rate=0.1
        )
        account = CountedAccount(self.ledger, task, round_number=number, obtain=self.obtain)
        with account:
            account.announce("")
            account.charge(1, bytes(32))
            account.release(b"vector")

    def events(self, *types: str) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        # A last line that a kill has torn says nothing.
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if not types or line["type"] in types]

    def files(self, pattern: str = "*.json") -> list[Path]:
        return sorted(tallies_folder(self.path).glob(pattern))

    def restart(self) -> None:
        forget_ledgers()
        forget_tallies()

    def check(self) -> str | None:
        """What must hold at any moment; the digest of the tally, if it was released."""
        spends, released, used = (self.events(each) for each in ("SPEND", "RELEASED", "USED"))
        assert len(spends) <= 1 and len(released) <= len(spends)
        files = self.files()
        assert len(files) <= len(spends)
        digest = released[0]["body"]["vector"] if released else None
        if digest is not None:
            assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == [digest]
        for event in used:
            assert digest is not None
            assert event["body"]["tally"] == digest
            assert spends[0]["seq"] < released[0]["seq"] < event["seq"]
        return digest


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(folder=tmp_path, identity=Identity.create())
    group.restart()
    yield group
    group.restart()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Names of those who are counted, each time that somebody is."""
    seen: Counted = []
    original = group_tally.answers_in

    def watch(units: Sequence[UnitRecords], questionnaire: Questionnaire) -> Any:
        seen.append({each.unit for each in units})
        return original(units, questionnaire)

    monkeypatch.setattr(group_tally, "answers_in", watch)
    return seen


def reviewed(group: Group) -> None:
    evidence = gather([group.path])
    assert [check.finding for check in verify(evidence) if check.status is Status.FAIL] == []


class TestOpenedOnce:
    def test_data_are_opened_for_the_first_request_alone(
        self, group: Group, counted: Counted
    ) -> None:
        (first,) = group.obtain()
        group.missing = True
        for run in ("one", "other"):
            for number in range(1, 4):
                group.restart()
                assert group.obtain()[0].digest == first.digest
                group.use(number, run)
        assert group.opened == [6]
        assert counted == [{f"person {number}" for number in range(6)}]
        assert group.check() == first.digest
        assert len(group.events("USED")) == 6
        reviewed(group)

    def test_a_round_is_recorded_once_and_none_before_there_is_a_tally(self, group: Group) -> None:
        group.use(1)
        with pytest.raises(AlreadyCharged):
            group.use(1)
        task = PrivateTask(
            run="run", plan=PLAN, group_index=0, freeze_a=True, local_learning_rate=0.1
        )
        account = CountedAccount(group.ledger, task, round_number=2, obtain=group.obtain)
        with pytest.raises(RuntimeError, match="nothing was charged"):
            account.release(b"vector")
        assert len(group.events("USED")) == 1

    def test_without_the_data_nothing_is_charged(self, group: Group) -> None:
        group.missing = True
        with pytest.raises(FileNotFoundError):
            group.obtain()
        assert group.events() == [] and group.files() == []
        group.missing = False
        group.obtain()
        assert group.check() is not None

    def test_data_that_go_after_the_spend_leave_it_open_and_one_tally_is_made_later(
        self, group: Group, counted: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(group_tally, "private_count", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.obtain()
        assert [event["type"] for event in group.events()][-1] == "SPEND"
        group.restart()
        group.missing = True
        with pytest.raises(FileNotFoundError):
            group.obtain()
        # Who comes meanwhile is not in the announced data, and does not count.
        group.missing, group.units = False, [*group.units[1:], unit(9)]
        group.obtain()
        assert group.check() is not None
        assert counted[-1] == {f"person {number}" for number in range(1, 6)}
        reviewed(group)

    def test_a_file_that_is_gone_or_altered_is_never_made_again(self, group: Group) -> None:
        (first,) = group.obtain()
        (path,) = group.files()
        content = path.read_bytes()
        for damage in (b"", content[:-1], content.replace(b'"A"', b'"B"')):
            group.restart()
            path.write_bytes(damage)
            with pytest.raises(LedgerRefused, match="never made twice"):
                group.obtain()
        path.unlink()
        with pytest.raises(LedgerRefused, match="bring the file back"):
            group.obtain()
        assert len(group.events("SPEND")) == 1 and group.files() == []
        path.write_bytes(content)
        assert group.obtain()[0].digest == first.digest

    def test_an_older_ledger_beside_the_tally_is_found_out(self, group: Group) -> None:
        group.missing = True
        with pytest.raises(FileNotFoundError):
            group.obtain()
        empty = group.path.read_bytes()
        group.missing = False
        group.obtain()
        group.restart()
        group.path.write_bytes(empty)
        with pytest.raises(LedgerRolledBack, match="has not paid for"):
            group.obtain()
        assert group.events() == []

    def test_counts_that_a_kill_has_left_are_swept(self, group: Group, counted: Counted) -> None:
        """Was open: a folder that may be published held two noises of the same counts."""
        (first,) = group.obtain()
        (path,) = group.files()
        left = path.with_name(f".{path.name}.0badcafe.part")
        events = group.path.read_bytes().splitlines(keepends=True)
        spend = next(at for at, line in enumerate(events) if b'"SPEND"' in line)
        group.restart()
        group.path.write_bytes(b"".join(events[: spend + 1]))
        path.rename(left)
        (second,) = group.obtain()
        assert second.digest != first.digest and len(counted) == 2
        assert group.files(".*") == [] and group.check() == second.digest


class TestPaying:
    def test_another_plan_is_another_tally(self, group: Group, counted: Counted) -> None:
        group.budget = 10.0
        (first,) = group.obtain()
        (second,) = group.obtain(plan_of(3.0))
        assert first.digest != second.digest
        assert len(group.events("SPEND")) == len(group.files()) == len(counted) == 2
        assert group.obtain() == (first,) and group.obtain(plan_of(3.0)) == (second,)
        reviewed(group)

    def test_a_budget_below_the_plan_counts_nobody(self, group: Group, counted: Counted) -> None:
        group.budget = 3.9
        for _ in range(2):
            with pytest.raises((BudgetExhausted, LedgerRefused)):
                group.obtain()
        assert counted == [] and group.files() == [] and group.events("SPEND") == []

    def test_who_has_paid_for_one_is_in_no_second_that_the_budget_does_not_pay(
        self, group: Group, counted: Counted
    ) -> None:
        group.obtain()
        group.units = [*group.units, unit(7)]
        group.obtain(plan_of(3.9))
        assert counted[1] == {"person 7"}

    def test_a_wave_counts_the_new_alone_and_both_are_used(
        self, group: Group, counted: Counted
    ) -> None:
        (first,) = group.obtain()
        group.units, group.wave = [*group.units[3:], unit(7), unit(8)], "2027"
        assert [each.wave for each in group.obtain()] == ["", "2027"]
        assert counted == [
            {f"person {number}" for number in range(6)}, {"person 7", "person 8"}
        ]  # fmt: skip
        group.wave = ""
        assert group.obtain()[0].digest == first.digest
        group.wave = "2028"
        third = group.obtain()
        assert len(third) == 3 and counted[2] == set()
        with group.ledger.reopened() as ledger:
            step = 1 / (2 * PLAN.noise_multiplier**2)
            spent = {ledger.remaining(each).used for each in ledger._state.datasets.values()}
            assert spent <= {step, 0.0}
        reviewed(group)

    def test_a_plan_that_resolves_no_answer_is_refused_before_anybody_pays(
        self, group: Group
    ) -> None:
        """Was open: it was refused after the spend, which stayed open for good."""
        coarse = plan_of(0.002, largest_weight=1000.0)
        with pytest.raises(ExecutionMismatch, match="resolves no answer"):
            group.obtain(coarse)
        assert group.events() == []

    def test_a_budget_that_is_lowered_before_the_spend_binds(
        self, group: Group, counted: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "reserve", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.obtain()
        assert [event["type"] for event in group.events()][-1] == "PLAN"
        group.budget = 1.0
        with pytest.raises(BudgetExhausted):
            group.obtain()
        assert counted == [] and group.events("SPEND") == []

    def test_a_full_disk_leaves_the_spend_open_and_nothing_to_use(
        self, group: Group, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as full:

            def failing(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            full.setattr(group_tally, "write_atomically", failing)
            with pytest.raises(LedgerUnwritable, match="the spend stays open"):
                group.obtain()
        assert group.check() is None and len(group.events("SPEND")) == 1
        group.obtain()
        assert group.check() is not None


CRASHER = r"""
import os, signal, sys, tempfile, time
from pathlib import Path

import clients.sessions.group_tally as group_tally
from clients.sessions.group_ledger import forget_ledgers
from clients.sessions.group_tally import forget_tallies
from privacy.identity.keys import Identity
from tests.clients.sessions.test_group_tally import PLAN, ROUNDS, Group

group_tally.running_digest = lambda: "ab" * 32
identity = Identity.read(Path(sys.argv[1]))
write = os.write

def live(folder, kill_at, part):
    calls = {"left": kill_at}
    def dying(call):
        def instead(*given, **named):
            calls["left"] -= 1
            if calls["left"] == 0:
                if part and call is write:
                    write(given[0], given[1][: int(part * len(given[1]))])
                elif part:
                    call(*given, **named)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)
        return instead
    if kill_at:
        os.write, os.fsync, os.replace = map(dying, (os.write, os.fsync, os.replace))
    group = Group(folder=Path(folder), identity=identity)
    (tally,) = group.obtain()
    write(1, f"obtained {tally.digest}\n".encode())
    done = {event["body"]["round"] for event in group.events("USED")}
    for number in range(1, ROUNDS + 1):
        if number not in done:
            group.use(number)
            write(1, f"used {number}\n".encode())

# What is computed once, children need not compute again.
with tempfile.TemporaryDirectory() as folder:
    Group(folder=Path(folder), identity=identity).use(1)
forget_ledgers()
forget_tallies()
for line in sys.stdin:
    folder, delay, kill_at, part = line.split("\t")
    child = os.fork()
    if not child:
        live(folder, int(kill_at), float(part))
        os._exit(0)
    if float(delay):
        time.sleep(float(delay))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    write(1, f"status {os.waitstatus_to_exitcode(status)}\n".encode())
"""


class Crasher:
    """A process that forks clients, which live from the first request to the last round."""

    def __init__(self, key: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CRASHER, str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(
        self, folder: Path, *, delay: float = 0.0, kill_at: int = 0, part: float = 0.0
    ) -> tuple[int, str, int]:
        """How a client ended, the tally that it obtained, if any, and the rounds it reported."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{folder}\t{delay}\t{kill_at}\t{part}\n")
        self._process.stdin.flush()
        obtained, rounds = "", 0
        while (words := self._process.stdout.readline().split())[0] != "status":
            obtained = words[1] if words[0] == "obtained" else obtained
            rounds += words[0] == "used"
        return int(words[1]), obtained, rounds

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.create()


@pytest.fixture(scope="module")
def crasher(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crasher]:
    key = tmp_path_factory.mktemp("key") / "key.pem"
    identity.write(key)
    crasher = Crasher(key)
    yield crasher
    crasher.close()


@pytest.fixture
def killed(
    tmp_path: Path, identity: Identity, crasher: Crasher
) -> Callable[[Sequence[dict[str, float]]], list[int]]:
    """Kill a client as often as said, and let it go on to the end; how each life has ended."""

    def kill(kills: Sequence[dict[str, float]]) -> list[int]:
        folder = tmp_path / str(random.getrandbits(64))
        folder.mkdir()
        group = Group(folder=folder, identity=identity)
        codes, met = [], set[str]()
        for how in (*kills, {}):
            code, obtained, rounds = crasher.live(folder, **how)
            codes.append(code)
            digest = group.check()
            if group.path.exists() and group.events():
                # Every line is checked, and a torn one cut off.
                Ledger.open(group.path, identity).close()
                assert group.check() == digest
            if obtained:
                # What was given out for training is on disk, and so is what has paid for it.
                assert obtained == digest
                met.add(obtained)
            assert len(group.events("USED")) >= rounds
        assert codes[-1] == 0
        assert met == {group.check()}
        assert [event["body"]["round"] for event in group.events("USED")] == [1, 2, 3]
        assert len(group.events("SPEND")) == len(group.events("RELEASED")) == 1
        assert len(group.files()) == 1 and group.files(".*") == []
        shutil.rmtree(folder)
        return codes

    return kill


@pytest.mark.parametrize(
    "parts",
    [(0.0, 0.5, 1.0)] + [pytest.param((part,), marks=pytest.mark.slow) for part in (0.0, 0.5, 1.0)],
)
def test_a_client_killed_at_every_durable_write_makes_one_tally(
    killed: Callable[..., list[int]], parts: tuple[float, ...]
) -> None:
    """Before a write, with half of it done, or after it; each is killed once more on its way."""
    reached = 0
    for step in range(1, STEPS + 1):
        part = parts[step % len(parts)]
        again = {"kill_at": 1 + (7 * step) % 20, "part": part}
        codes = killed([{"kill_at": step, "part": part}, again])
        if codes[0] == 0:
            break
        assert codes[0] == -9
        reached = step
    assert 25 <= reached < STEPS


def test_a_client_killed_at_random_times_makes_one_tally(
    killed: Callable[..., list[int]], crasher: Crasher, tmp_path: Path
) -> None:
    """30 kills anywhere in its life."""
    lives = []
    for number in range(4):
        begun = time.perf_counter()
        (tmp_path / f"whole-{number}").mkdir()
        assert crasher.live(tmp_path / f"whole-{number}")[0] == 0
        lives.append(time.perf_counter() - begun)
    # The first may have waited for the process that all are forked from.
    spread, kills = min(lives), 0
    for number in range(200):
        delay = 0.001 + spread * (number * 0.618034 % 1)
        codes = killed([{"delay": delay}])
        kills += codes[0] == -9
        if kills == 30:
            break
    assert kills == 30


def test_a_relation_of_the_plan_is_that_of_the_data(group: Group) -> None:
    group.obtain()
    (data,) = group.events("DATASET")
    assert data["body"]["adjacency"] == NeighboringRelation.ADD_OR_REMOVE_ONE
    assert isinstance(group_tally.answers_in(group.units, ASKED), Answers)
