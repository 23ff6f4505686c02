"""A ledger after kills, torn lines and full disks; and that it has one writer."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import floor, sqrt
from pathlib import Path

import pytest

from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.errors import LedgerCorrupt, LedgerLocked, LedgerRolledBack, LedgerUnwritable
from privacy.identity.keys import Identity
from privacy.ledger import Dataset, Ledger

CONTEXT = bytes(32)
KILLS = int(os.environ.get("FEDACCORD_KILLS", "200"))
"""Kills at random times; a reviewer may ask for more."""

CRASHER = r"""
import os, random, signal, sys, time
from pathlib import Path
from privacy.ledger import Ledger
from privacy.identity.keys import Identity

identity = Identity.read(Path(sys.argv[1]))

def spend(path, kill_at, part):
    calls = {"left": kill_at}
    write, fsync = os.write, os.fsync
    def dying(call, arguments, partly):
        calls["left"] -= 1
        if calls["left"] == 0:
            if partly:
                partly()
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    if kill_at:
        os.write = lambda fd, data: dying(
            write, (fd, data), lambda: write(fd, data[: int(part * len(data))])
        )
        os.fsync = lambda fd: dying(fsync, (fd,), None)
    with Ledger.open(Path(path), identity) as ledger:
        number = sum(event.type == "SPEND" for event in ledger.events())
        while True:
            receipt = ledger.reserve("run", number, 0, bytes(32))
            write(1, f"reserved {number}\n".encode())
            ledger.released(receipt, bytes(32))
            number += 1

write = os.write
for line in sys.stdin:
    path, delay, kill_at, part = line.split("\t")
    child = os.fork()
    if not child:
        spend(path, int(kill_at), float(part))
    if float(delay):
        time.sleep(float(delay))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    write(1, f"status {os.waitstatus_to_exitcode(status)}\n".encode())
"""


class Crasher:
    """A process that forks clients which spend, and kills them."""

    def __init__(self, key: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CRASHER, str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def crash(
        self, ledger_file: Path, *, delay: float = 0.0, kill_at: int = 0, part: float = 0.0
    ) -> list[int]:
        """Rounds that a client reported as reserved before it was killed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{ledger_file}\t{delay}\t{kill_at}\t{part}\n")
        self._process.stdin.flush()
        rounds = []
        while (words := self._process.stdout.readline().split())[0] == "reserved":
            rounds.append(int(words[1]))
        assert words == ["status", "-9"]
        return rounds

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
def ledger_file(tmp_path: Path, identity: Identity, terms: Callable[..., PrivacyTerms]) -> Path:
    """A ledger with a plan of 2000 rounds that its budget pays for."""
    agreed = terms(epsilon=50.0, rounds=2000)
    plan = PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=2.0,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / 2),
        modulus_bits=32,
    )
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, identity) as ledger:
        dataset = ledger.register(
            [("person", b"answer")], unit=Unit.RESPONDENT, bound=2000, run="run"
        )
        ledger.set_budget(dataset, epsilon=30.0, delta=1e-5, order=3)
        assert ledger.register_plan("run", dataset, plan).rounds == 2000
    return path


def only(ledger: Ledger) -> Dataset:
    return ledger._state.datasets[next(iter(ledger._state.datasets))]


def charged(ledger: Ledger) -> set[int]:
    return {event.body["round"] for event in ledger.events() if event.type == "SPEND"}


def check(ledger_file: Path, identity: Identity, reported: list[int], before: set[int]) -> set[int]:
    """The ledger opens, has all that was reported and at most one round more, and goes on."""
    with Ledger.open(ledger_file, identity) as ledger:
        now = charged(ledger)
        assert before | set(reported) <= now
        assert len(now - before - set(reported)) <= 1
        steps = sum(receipt.rdp for receipt in ledger._state.spends.values())
        assert ledger.remaining(only(ledger)).used == pytest.approx(steps)
        assert {receipt.round for receipt in ledger.pending()} <= now
        ledger.reserve("run", 1000 + len(ledger.events()), 0, CONTEXT)
        return charged(ledger)


def reviewed(ledger_file: Path) -> set[int]:
    """Rounds that a reviewer finds charged; no check fails, and reading changes nothing."""
    before = ledger_file.read_bytes()
    evidence = gather([ledger_file])
    failed = [check for check in verify(evidence) if check.status is Status.FAIL]
    assert failed == []
    assert ledger_file.read_bytes() == before
    (ledger,) = evidence.ledgers
    assert ledger.error is None
    return {event.body["round"] for event in ledger.events if event.type == "SPEND"}


def test_clients_killed_at_random_times_stay_charged_for_what_they_reserved(
    ledger_file: Path, identity: Identity, crasher: Crasher
) -> None:
    """200 kills, or FEDACCORD_KILLS; within 40 ms of the client's start, on a busy machine more.

    A reviewer finds nothing wrong with what a kill has left, nor with what the group makes of it.
    """
    fresh, before, total = ledger_file.read_bytes(), set[int](), 0
    spread, lately = 0.039, 10
    for kill in range(KILLS):
        if kill % 10 == 0:
            ledger_file.write_bytes(fresh)
            before = set()
            spread, lately = spread * (1 if lately >= 10 else 2), 0
        reported = crasher.crash(ledger_file, delay=0.001 + spread * (kill * 0.618034 % 1))
        total += len(reported)
        lately += len(reported)
        left = reviewed(ledger_file)
        before = check(ledger_file, identity, reported, before)
        assert set(reported) <= left <= before
        assert reviewed(ledger_file) == before
    assert total > KILLS / 4  # Kills fell among the spends, not before all of them.


@pytest.mark.parametrize("kill_at", range(1, 9))
@pytest.mark.parametrize("part", [0.0, 0.002, 0.5, 0.999, 1.0])
def test_clients_killed_at_every_write_and_sync_stay_charged(
    ledger_file: Path, identity: Identity, crasher: Crasher, kill_at: int, part: float
) -> None:
    """Odd calls write a spend or a release, of which a part is written; even calls sync it."""
    reported = crasher.crash(ledger_file, kill_at=kill_at, part=part)
    assert len(reported) == (kill_at + 1) // 4
    assert set(reported) <= reviewed(ledger_file)
    check(ledger_file, identity, reported, set())


@pytest.mark.parametrize("cut", [1, 2, 100, -1])
def test_a_torn_last_line_is_cut_off_durably_and_reported(
    ledger_file: Path, identity: Identity, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    whole = ledger_file.read_bytes()
    with Ledger.open(ledger_file, identity) as ledger:
        ledger.reserve("run", 0, 0, CONTEXT)
        head = ledger.head
    spend = ledger_file.read_bytes()[len(whole) :]
    torn = spend[: cut if cut > 0 else len(spend) - 2]
    ledger_file.write_bytes(whole + torn)
    with Ledger.open(ledger_file, identity) as ledger:
        assert ledger.torn_bytes == len(torn)
        assert charged(ledger) == set()
        assert ledger_file.read_bytes() == whole
        assert "torn last line" in caplog.text
        ledger.reserve("run", 0, 0, CONTEXT)
    ledger_file.write_bytes(whole + torn)
    with pytest.raises(LedgerRolledBack):
        Ledger.open(ledger_file, identity, known_head=head)


def test_a_spend_that_lacks_its_newline_alone_stays_charged(
    ledger_file: Path, identity: Identity
) -> None:
    with Ledger.open(ledger_file, identity) as ledger:
        ledger.reserve("run", 0, 0, CONTEXT)
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(whole[:-1])
    with Ledger.open(ledger_file, identity) as ledger:
        assert charged(ledger) == {0}
        assert ledger.torn_bytes == 0
    assert ledger_file.read_bytes() == whole


def test_sectors_that_were_never_written_are_cut_off(ledger_file: Path, identity: Identity) -> None:
    """After a power cut a file may be long enough and hold zeros where its end should be."""
    whole = ledger_file.read_bytes()
    for tail in (bytes(600), b'{"body":' + bytes(600), b"{" + bytes(600) + b'"v":1}\n'):
        ledger_file.write_bytes(whole + tail)
        with Ledger.open(ledger_file, identity) as ledger:
            assert ledger.torn_bytes == len(tail)
        assert ledger_file.read_bytes() == whole


def test_a_bad_line_with_its_newline_is_never_cut_off(
    ledger_file: Path, identity: Identity
) -> None:
    whole = ledger_file.read_bytes()
    for tail in (b"\n", b"{\n", b"\0\n", b'{"body":\n'):
        ledger_file.write_bytes(whole + tail)
        with pytest.raises(LedgerCorrupt, match="line 4 "):
            Ledger.open(ledger_file, identity)
        assert ledger_file.read_bytes() == whole + tail
    ledger_file.write_bytes(b"x" + whole + b"{")
    with pytest.raises(LedgerCorrupt):
        Ledger.open(ledger_file, identity)
    assert ledger_file.read_bytes() == b"x" + whole + b"{"  # What is corrupt is not touched.


FAULTS = ("write", "half a write", "fsync", "fsync and ftruncate")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_full_disk_reserves_nothing_and_the_ledger_goes_on_when_there_is_room(
    ledger_file: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    write, whole = os.write, ledger_file.read_bytes()

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:200]) if len(data) > 300 else fail()

    with Ledger.open(ledger_file, identity) as ledger:
        dataset, head = only(ledger), ledger.head
        with monkeypatch.context() as broken:
            if "write" in fault:
                broken.setattr(os, "write", half if "half" in fault else fail)
            if "fsync" in fault:
                broken.setattr(os, "fsync", fail)
            if "ftruncate" in fault:
                broken.setattr(os, "ftruncate", fail)
            for _ in range(2):
                with pytest.raises(LedgerUnwritable, match=r"No space left.*nothing") as refused:
                    ledger.reserve("run", 0, 0, CONTEXT)
                assert "\n" not in str(refused.value)
            assert (ledger.head, ledger.remaining(dataset).used) == (head, 0)
            assert ledger.pending() == ()
        receipt = ledger.reserve("run", 0, 0, CONTEXT)
        assert receipt.seq == head.seq + 1
        ledger.released(receipt, CONTEXT)
    with Ledger.open(ledger_file, identity) as ledger:
        assert [event.type for event in ledger.events()[-2:]] == ["SPEND", "RELEASED"]
        assert ledger_file.read_bytes().startswith(whole)


def test_short_writes_are_finished(
    ledger_file: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Ledger.open(ledger_file, identity) as ledger:
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        ledger.reserve("run", 0, 0, CONTEXT)
    with Ledger.open(ledger_file, identity) as ledger:
        assert charged(ledger) == {0}


def test_a_spend_is_synced_before_it_is_returned_and_a_new_file_with_its_folder(
    ledger_file: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is synced must already hold the line: a later sync would be too late."""
    fsync, synced = os.fsync, list[tuple[str, bytes]]()

    def watch(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((path.name, path.read_bytes() if path.is_file() else b"folder"))

    monkeypatch.setattr(os, "fsync", watch)
    with Ledger.open(ledger_file, identity) as ledger:
        receipt = ledger.reserve("run", 0, 0, CONTEXT)
        assert synced[-1][0] == ledger_file.name
        assert json.loads(synced[-1][1].splitlines()[-1])["hash"] == receipt.hash
    Ledger.create(ledger_file.with_name("new"), identity).close()
    assert synced[-1] == (ledger_file.parent.name, b"folder")


def test_one_writer_at_a_time(ledger_file: Path, identity: Identity, tmp_path: Path) -> None:
    """Not through another name of the file, not in another process, not in a fork."""
    other = tmp_path / "other name"
    os.link(ledger_file, other)
    with Ledger.open(ledger_file, identity) as ledger:
        for name in (ledger_file, other):
            with pytest.raises(LedgerLocked, match="open elsewhere"):
                Ledger.open(name, identity)
        code = (
            "import sys; from pathlib import Path; from privacy.ledger import Ledger;"
            "from privacy.identity.keys import Identity;"
            "Ledger.open(Path(sys.argv[1]), Identity.create())"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(ledger_file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stderr.splitlines()[-1].startswith("privacy.errors.LedgerLocked: ")
        with pytest.raises(FileExistsError):
            Ledger.create(ledger_file, identity)
    with pytest.raises(LedgerLocked, match="was closed"):
        ledger.reserve("run", 0, 0, CONTEXT)
    Ledger.open(ledger_file, identity).close()


def test_a_fork_does_not_write(
    ledger_file: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(ledger_file, identity) as ledger:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: 1)
            with pytest.raises(LedgerLocked, match="a fork must not write"):
                ledger.reserve("run", 0, 0, CONTEXT)
        ledger.reserve("run", 0, 0, CONTEXT)


def test_a_missing_ledger_is_not_an_empty_one(tmp_path: Path, identity: Identity) -> None:
    with pytest.raises(FileNotFoundError):
        Ledger.open(tmp_path / "missing", identity)


def test_a_spend_costs_milliseconds(ledger_file: Path, identity: Identity, tmp_path: Path) -> None:
    """Measured: 0.5 ms a round of two events, 0.1 ms an event to open; far above that fails."""
    shutil.copy(ledger_file, tmp_path / "copy")
    with Ledger.open(ledger_file, identity) as ledger:
        start = time.perf_counter()
        for number in range(200):
            ledger.released(ledger.reserve("run", number, 0, CONTEXT), CONTEXT)
        assert (time.perf_counter() - start) / 200 < 0.1
    start = time.perf_counter()
    Ledger.open(ledger_file, identity).close()
    assert (time.perf_counter() - start) / 400 < 0.006
