"""A ledger that is opened again: what others wrote is taken in, and what was known is known."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import (
    AlreadyCharged,
    LedgerCorrupt,
    LedgerError,
    LedgerLocked,
    LedgerRolledBack,
    LedgerUnwritable,
)
from privacy.identity.keys import Identity, Roster
from privacy.ledger import Ledger, SpendReceipt
from privacy.ledger.chain import read_events, sign_head, write_event
from privacy.ledger.store import Store

OWNER, SERVER = Identity.create(), Identity.create()
SERVERS = Roster({"server": SERVER.public})
CONTEXT = bytes(32)

SPENDER = """
import sys
from pathlib import Path
from privacy.ledger import Ledger
from privacy.identity.keys import Identity

with Ledger.open(Path(sys.argv[1]), Identity.read(Path(sys.argv[2]))) as ledger:
    ledger.reserve("run", 1, 0, bytes(32))
"""


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def begin(terms: Callable[..., PrivacyTerms]) -> Callable[..., Ledger]:
    """Begin a ledger with a plan and one spend, and close it."""
    plan = PrivacyPlan.calibrate(terms(sampling_rate=1.0))

    def begin(path: Path, owner: Identity = OWNER, *, context: bytes = CONTEXT) -> Ledger:
        with Ledger.create(path, owner, servers=SERVERS) as ledger:
            dataset = ledger.register(
                [("person", b"answer")], unit=Unit.RESPONDENT, bound=2000, run="run"
            )
            ledger.set_budget(dataset, epsilon=5.0, delta=1e-5, order=6)
            ledger.register_plan("run", dataset, plan)
            ledger.reserve("run", 0, 0, context)
        return ledger

    return begin


@pytest.fixture
def closed(begin: Callable[..., Ledger], ledger_file: Path) -> Ledger:
    return begin(ledger_file)


def reserve(ledger_file: Path, number: int) -> SpendReceipt:
    """Charge a round as another process would: through a ledger of its own."""
    with Ledger.open(ledger_file, OWNER) as other:
        return other.reserve("run", number, 0, CONTEXT)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names whose signatures were checked."""
    names: list[str] = []
    check = Roster.check

    def count(self: Roster, name: str, *rest: bytes) -> None:
        names.append(name)
        check(self, name, *rest)

    monkeypatch.setattr(Roster, "check", count)
    yield names


# What others have written.


def test_what_another_process_has_written_is_taken_in(
    closed: Ledger, ledger_file: Path, tmp_path: Path
) -> None:
    OWNER.write(tmp_path / "key.pem")
    arguments = [sys.executable, "-c", SPENDER, str(ledger_file), str(tmp_path / "key.pem")]
    known = closed.head.seq
    subprocess.run(arguments, check=True)
    assert closed.head.seq == known
    with closed.reopen() as ledger:
        assert ledger is closed
        assert ledger.head.seq == known + 1
        assert {receipt.round for receipt in ledger.pending()} == {0, 1}
        with pytest.raises(AlreadyCharged):
            ledger.reserve("run", 1, 0, CONTEXT)
        ledger.reserve("run", 2, 0, CONTEXT)
    with Ledger.open(ledger_file, OWNER) as fresh:
        assert fresh.events() == closed.events()
        assert fresh.pending() == closed.pending()


def test_what_others_have_spent_counts_against_the_budget(
    closed: Ledger, ledger_file: Path
) -> None:
    (event, *_) = closed.events()
    dataset = closed._state.datasets[event.dataset]
    with closed.reopen() as ledger:
        before = ledger.remaining(dataset, run="run")
    reserve(ledger_file, 1)
    with closed.reopen() as ledger:
        after = ledger.remaining(dataset, run="run")
    assert before.rounds is not None
    assert after.rounds == before.rounds - 1
    assert after.used == pytest.approx(2 * before.used)


def test_a_receipt_is_settled_after_the_ledger_was_opened_again(
    closed: Ledger, ledger_file: Path
) -> None:
    receipt = reserve(ledger_file, 1)
    with closed.reopen() as ledger:
        ledger.released(receipt, CONTEXT)
    with closed.reopen() as ledger, pytest.raises(AlreadyCharged, match="no open spend"):
        ledger.released(receipt, CONTEXT)


# What it costs.


def test_only_what_is_new_is_checked(closed: Ledger, ledger_file: Path, checks: list[str]) -> None:
    with closed.reopen():
        pass
    assert checks == []
    for number in (1, 2, 3):
        reserve(ledger_file, number)
    checks.clear()
    with closed.reopen():
        pass
    assert checks == ["owner"] * 3
    checks.clear()
    with closed.reopen() as ledger:
        ledger.reserve("run", 4, 0, CONTEXT)
    with closed.reopen():
        pass
    assert checks == []  # What it wrote itself is known to it.
    Ledger.open(ledger_file, OWNER).close()
    assert checks == ["owner"] * len(closed.events())


def test_a_countersignature_that_is_new_is_checked_too(
    closed: Ledger, ledger_file: Path, checks: list[str]
) -> None:
    with Ledger.open(ledger_file, OWNER, servers=SERVERS) as other:
        head = other.head
        other.countersign("server", head, sign_head(SERVER, head, OWNER.public))
    checks.clear()
    with closed.reopen():
        pass
    assert checks == ["owner", "server"]


# What is refused.


def refused(ledger: Ledger, ledger_file: Path, error: type[LedgerError], match: str) -> None:
    """Opening again fails, changes no byte, holds no lock, and leaves nothing to write with."""
    before, head = ledger_file.read_bytes(), ledger.head
    for _ in range(2):
        with pytest.raises(error, match=match) as found:
            ledger.reopen()
        assert type(found.value) is error
    assert ledger_file.read_bytes() == before
    assert ledger.head == head
    Store.open(ledger_file).close()
    with pytest.raises(LedgerLocked, match="was closed"):
        ledger.reserve("run", 7, 0, CONTEXT)


def test_a_changed_byte_anywhere_is_refused(closed: Ledger, ledger_file: Path) -> None:
    whole = ledger_file.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == 10]
    for at in (0, 50, ends[0], ends[0] + 30, ends[1] - 2, ends[2] - 200, len(whole) - 2):
        ledger_file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(closed, ledger_file, LedgerCorrupt, "line ")
    ledger_file.write_bytes(whole)
    with closed.reopen() as ledger:
        ledger.reserve("run", 1, 0, CONTEXT)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_an_end_that_was_cut_off_is_refused(closed: Ledger, ledger_file: Path, kept: int) -> None:
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]))
    refused(closed, ledger_file, LedgerRolledBack, "restore the newest copy")
    ledger_file.write_bytes(whole)
    closed.reopen().close()


def test_a_known_line_that_was_torn_is_refused_and_not_cut_off(
    closed: Ledger, ledger_file: Path
) -> None:
    """A crash tears a line before it is reported as written, never afterwards."""
    ledger_file.write_bytes(ledger_file.read_bytes()[:-40])
    refused(closed, ledger_file, LedgerRolledBack, "other lines stand where event")


def test_another_ledger_of_the_owner_is_refused_however_long(
    closed: Ledger, ledger_file: Path, begin: Callable[..., Ledger], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    begin(other, context=bytes([1]) * 32)
    for number in range(1, 5):
        reserve(other, number)
    other.replace(ledger_file)
    refused(closed, ledger_file, LedgerRolledBack, "other lines stand where event 4")


def test_a_fork_of_the_ledger_is_refused(closed: Ledger, ledger_file: Path) -> None:
    """The copy was right once; since then the ledger and the copy have gone separate ways."""
    copy = ledger_file.read_bytes()
    with closed.reopen() as ledger:
        ledger.reserve("run", 1, 0, CONTEXT)
    ledger_file.write_bytes(copy)
    for number in (2, 3):
        reserve(ledger_file, number)
    refused(closed, ledger_file, LedgerRolledBack, "other lines stand where event")


def test_the_ledger_of_another_group_is_refused(
    closed: Ledger, ledger_file: Path, begin: Callable[..., Ledger], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    begin(other, Identity.create())
    other.replace(ledger_file)
    refused(closed, ledger_file, LedgerCorrupt, "line 1 of the ledger names another signer")


def test_new_lines_are_checked_in_form_and_in_meaning(closed: Ledger, ledger_file: Path) -> None:
    whole = ledger_file.read_bytes()
    spend = closed.events()[-1]
    twice = write_event(
        OWNER, closed.head, type="SPEND", dataset=spend.dataset, body=spend.body
    ).line()
    forged = write_event(
        Identity.create(), closed.head, type="SPEND", dataset=spend.dataset, body=spend.body
    ).line()
    for line in (twice, forged, b"{}\n", b"\n", whole.splitlines(keepends=True)[-1]):
        ledger_file.write_bytes(whole + line)
        refused(closed, ledger_file, LedgerCorrupt, "line 5 ")


def test_a_file_that_is_gone_is_not_begun_anew(closed: Ledger, ledger_file: Path) -> None:
    ledger_file.unlink()
    with pytest.raises(FileNotFoundError):
        closed.reopen()
    assert not ledger_file.exists()


# Torn lines and locks.


def test_a_line_that_another_process_has_torn_is_cut_off(closed: Ledger, ledger_file: Path) -> None:
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(whole + b'{"body":{"attempt"')
    with closed.reopen() as ledger:
        assert ledger.torn_bytes == 18
        assert ledger_file.read_bytes() == whole
        ledger.reserve("run", 1, 0, CONTEXT)
    with closed.reopen() as ledger:
        assert ledger.torn_bytes == 0
    read_events(ledger_file.read_bytes(), OWNER.public)


def test_a_line_that_lacks_its_newline_alone_is_taken_in(closed: Ledger, ledger_file: Path) -> None:
    reserve(ledger_file, 1)
    whole = ledger_file.read_bytes()
    ledger_file.write_bytes(whole[:-1])
    with closed.reopen() as ledger:
        assert {receipt.round for receipt in ledger.pending()} == {0, 1}
    assert ledger_file.read_bytes() == whole
    closed.reopen().close()


def test_opened_again_it_locks_everybody_else_out_until_it_is_closed(
    closed: Ledger, ledger_file: Path
) -> None:
    with closed.reopen() as ledger:
        with pytest.raises(LedgerLocked, match="open elsewhere"):
            Ledger.open(ledger_file, OWNER)
        with pytest.raises(LedgerLocked, match="open elsewhere"):
            ledger.reopen()
        ledger.reserve("run", 1, 0, CONTEXT)  # The failed call took nothing away.
    with pytest.raises(LedgerLocked, match="was closed"):
        closed.reserve("run", 2, 0, CONTEXT)
    with Ledger.open(ledger_file, OWNER) as other:
        with pytest.raises(LedgerLocked, match="open elsewhere"):
            closed.reopen()
        other.reserve("run", 2, 0, CONTEXT)
    with closed.reopen() as ledger:
        assert {receipt.round for receipt in ledger.pending()} == {0, 1, 2}


def test_what_could_not_be_written_is_not_known_when_it_is_opened_again(
    closed: Ledger, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(ledger_file.read_bytes()).digest()

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with closed.reopen() as ledger, monkeypatch.context() as full:
        full.setattr("os.write", fail)
        with pytest.raises(LedgerUnwritable):
            ledger.reserve("run", 1, 0, CONTEXT)
    assert hashlib.sha256(ledger_file.read_bytes()).digest() == digest
    with closed.reopen() as ledger:
        assert {receipt.round for receipt in ledger.pending()} == {0}
        ledger.reserve("run", 1, 0, CONTEXT)
