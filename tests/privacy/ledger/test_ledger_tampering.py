"""Whoever changes a ledger without its owner's key is found out, and whoever cuts its end too."""

import hashlib
import json
import shutil
from collections.abc import Callable
from math import floor, sqrt
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.canonical import canonical_json
from privacy.errors import BadSignature, LedgerCorrupt, LedgerRolledBack, PolicyRefused
from privacy.identity.keys import Identity, Roster
from privacy.ledger import Ledger
from privacy.ledger.chain import Head, read_events, sign_head, write_event
from privacy.ledger.filter import filter_bound
from privacy.ledger.paths import people_folder

OWNER, SERVER = Identity.create(), Identity.create()
SERVERS = Roster({"server": SERVER.public})
CONTEXT = bytes(32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with an event of every type but REFUSED: 8 lines, the last a spend."""
    agreed = PrivacyTerms(
        epsilon=50.0,
        delta=1e-5,
        groups=2,
        units_per_group=20,
        sampling_rate=0.5,
        rounds=9,
        survivors=2,
        clipping_norm=1.0,
        dimension=100,
    )
    plan = PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=2.0,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(2) / 2),
        modulus_bits=32,
    )
    path = tmp_path_factory.mktemp("whole") / "ledger"
    with Ledger.create(path, OWNER, servers=SERVERS) as ledger:
        data = ledger.register([("person", b"answer")], unit=Unit.RESPONDENT, bound=20, run="run")
        ledger.set_budget(data, epsilon=30.0, delta=1e-5, order=3)
        ledger.register_plan("run", data, plan)
        ledger.released(ledger.reserve("run", 0, 0, CONTEXT), CONTEXT)
        ledger.countersign("server", ledger.head, sign_head(SERVER, ledger.head, OWNER.public))
        ledger.aborted(ledger.reserve("run", 1, 0, CONTEXT), "TooFewMembers")
        ledger.reserve("run", 1, 1, CONTEXT)
    return path


@pytest.fixture
def whole(written: Path) -> bytes:
    return written.read_bytes()


@pytest.fixture
def place(written: Path, tmp_path: Path) -> Path:
    """Where a ledger can be put beside the list of its people."""
    shutil.copytree(people_folder(written), people_folder(tmp_path / "ledger"))
    return tmp_path / "ledger"


@pytest.fixture
def opened(place: Path) -> Callable[..., list[str]]:
    """Open a ledger of these bytes; the types of its events."""
    path = place

    def open_bytes(data: bytes, **options: Any) -> list[str]:
        path.write_bytes(data)
        with Ledger.open(path, OWNER, servers=SERVERS, **options) as ledger:
            return [event.type for event in ledger.events()]

    return open_bytes


def forged(
    whole: bytes, line: int, change: Callable[[dict[str, Any]], object], key: Identity
) -> bytes:
    """The ledger with one event changed, and hashes and signatures made again from there on."""
    events = [json.loads(text) for text in whole.splitlines()]
    change(events[line - 1])
    prev, lines = events[line - 1]["prev"], whole.splitlines(keepends=True)[: line - 1]
    for event in events[line - 1 :]:
        event["prev"] = prev
        written = write_event(
            key,
            Head(seq=event["seq"] - 1, hash=prev),
            type=event["type"],
            dataset=event["dataset"],
            body=event["body"],
        )
        prev = written.hash
        lines.append(written.line())
    return b"".join(lines)


def test_the_untouched_ledger_opens(whole: bytes, opened: Callable[..., list[str]]) -> None:
    first = ["DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED", "HEAD"]
    assert opened(whole) == [*first, "SPEND", "ABORTED", "SPEND"]
    assert [event.type for event in read_events(whole, OWNER.public)] == opened(whole)
    assert read_events(b"", OWNER.public) == ()


def test_every_changed_byte_is_found_and_its_line_is_named(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """One bit of each of some 5000 bytes: none is taken for a torn line, so no spend is lost.

    Every fifth byte and all of the last line by opening the file, the others by reading alone.
    """
    line, last = 1, whole.rindex(b"\n", 0, -1) + 1
    for at, byte in enumerate(whole):
        changed = whole[:at] + bytes([byte ^ 1 << at % 8]) + whole[at + 1 :]
        with pytest.raises(LedgerCorrupt) as found:
            if at >= last or at % 5 == 0:
                opened(changed)
            else:
                read_events(changed, OWNER.public)
        assert found.value.line == line
        line += byte == ord("\n")


def test_every_value_of_the_last_newline_is_found(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    for value in set(range(256)) - {ord("\n")}:
        # Spaces after a JSON text are no part of it.
        with pytest.raises(LedgerCorrupt, match="line 9 "):
            opened(whole[:-1] + bytes([value]))


def test_inserted_bytes_are_found(whole: bytes, opened: Callable[..., list[str]]) -> None:
    for at in range(0, len(whole) + 1, 31):
        for extra in (b" ", b"\n", b"0"):
            if at < len(whole) or extra == b"\n":
                with pytest.raises(LedgerCorrupt):
                    opened(whole[:at] + extra + whole[at:])


def test_every_removed_repeated_or_swapped_line_is_found(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """All but the removal of the end, which is found by whoever knows the head."""
    lines = whole.splitlines(keepends=True)
    for first in range(len(lines)):
        rest = lines[:first] + lines[first + 1 :]
        if first < len(lines) - 1:
            with pytest.raises(LedgerCorrupt, match=f"line {first + 1} "):
                opened(b"".join(rest))
        for index in range(len(lines) + 1):
            with pytest.raises(LedgerCorrupt):
                opened(b"".join([*lines[:index], lines[first], *lines[index:]]))
        for second in range(first):
            swapped = list(lines)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            with pytest.raises(LedgerCorrupt, match=f"line {second + 1} "):
                opened(b"".join(swapped))


def test_an_end_that_was_cut_off_is_found_by_a_known_head(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """At every byte: alone the file seems a torn one, against a head it is rolled back."""
    events = read_events(whole, OWNER.public)
    for event in events:
        opened(whole, known_head=event.head)
    head = events[-1].head
    opened(whole[:-1], known_head=head)
    for length in range(0, len(whole) - 1, 11):
        opened(whole[:length])
        with pytest.raises(LedgerRolledBack):
            opened(whole[:length], known_head=head)
    for known in (Head(seq=3, hash=head.hash), Head(seq=-1, hash=head.hash), Head(seq=0, hash="")):
        with pytest.raises(LedgerRolledBack):
            opened(whole, known_head=known)


def test_another_history_of_the_owner_is_found_by_a_known_head(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """The owner can sign another story, and did tell the first."""
    fork = forged(whole, 9, lambda event: event["body"].update(round=5), OWNER)
    head = read_events(whole, OWNER.public)[8].head
    assert opened(fork) == opened(whole)
    with pytest.raises(LedgerRolledBack, match="event 9 is"):
        opened(fork, known_head=head)


def test_lines_of_two_histories_of_the_owner_do_not_fit_together(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """Number and signature are right and the line before is another; and the other way round."""
    fork = forged(whole, 8, lambda event: event["body"].update(code="Replayed"), OWNER)
    assert opened(fork) == opened(whole)
    spliced = [*whole.splitlines(keepends=True)[:8], fork.splitlines(keepends=True)[8]]
    with pytest.raises(LedgerCorrupt, match=r"line 9 .*does not follow"):
        opened(b"".join(spliced))
    last = read_events(whole, OWNER.public)[-1]
    after = Head(seq=last.seq + 11, hash=last.hash)
    body = {**last.body, "attempt": 2}
    skipped = write_event(OWNER, after, type="SPEND", dataset=last.dataset, body=body)
    with pytest.raises(LedgerCorrupt, match=r"line 10 .*event 21"):
        opened(whole + skipped.line())


def test_a_foreign_signer_is_found(whole: bytes, opened: Callable[..., list[str]]) -> None:
    """A ledger of somebody else, and lines of somebody else under the owner's name."""
    stranger = Identity.create()
    with pytest.raises(LedgerCorrupt, match=r"line 4 .*another signer"):
        opened(forged(whole, 4, lambda event: None, stranger))
    with pytest.raises(LedgerCorrupt, match=r"line 1 .*another signer"):
        read_events(whole, stranger.public)
    lines = whole.splitlines(keepends=True)
    event = json.loads(lines[-1])
    words = bytes.fromhex(event["hash"])
    for kind in ("ledger", "ledger head"):
        event["sig"] = stranger.sign(kind, b"", words).hex()
        with pytest.raises(LedgerCorrupt, match=r"line 9 .*not signed"):
            opened(b"".join([*lines[:-1], canonical_json(event), b"\n"]))
    event["sig"] = OWNER.sign("masked", b"", words).hex()
    with pytest.raises(LedgerCorrupt, match=r"line 9 .*not signed"):
        opened(b"".join([*lines[:-1], canonical_json(event), b"\n"]))


@pytest.mark.parametrize("line", [1, 4, 9])
def test_hashes_made_again_without_the_key_are_found(
    whole: bytes, opened: Callable[..., list[str]], line: int
) -> None:
    lines = whole.splitlines(keepends=True)
    event = json.loads(lines[line - 1])
    event["body"]["forged"] = "0.0"
    content = {name: value for name, value in event.items() if name not in ("hash", "sig")}
    event["hash"] = hashlib.sha256(canonical_json(content)).hexdigest()
    lines[line - 1] = canonical_json(event) + b"\n"
    with pytest.raises(LedgerCorrupt, match=f"line {line} .*not signed"):
        opened(b"".join(lines))


CONTRADICTIONS: dict[str, tuple[int, Callable[[dict[str, Any]], object]]] = {
    "a budget whose bound is too large": (2, lambda e: e["body"].update(bound="99.0")),
    "a plan that costs less than it does": (3, lambda e: e["body"].update(rdp="0.001")),
    "a spend that costs less than it does": (4, lambda e: e["body"].update(rdp="0.001")),
    "a spend of fewer steps": (4, lambda e: e["body"].update(steps=0)),
    "a spend with another noise": (4, lambda e: e["body"].update(z="9.0")),
    "a spend with another sampling rate": (4, lambda e: e["body"].update(q="0.1")),
    "a spend of an unknown run": (4, lambda e: e["body"].update(run="other")),
    "a spend on other data": (4, lambda e: e.update(dataset="0" * 64)),
    "an attempt spent twice": (7, lambda e: e["body"].update(round=0)),
    "a release without a spend": (5, lambda e: e["body"].update(spend="0" * 64)),
    "a head the server did not sign": (6, lambda e: e["body"].update(signature="00" * 64)),
    "a head of an unknown server": (6, lambda e: e["body"].update(server="other")),
    "a head the ledger never had": (6, lambda e: e["body"].update(seq=4)),
    "people that no file lists": (1, lambda e: e["body"].update(people="0" * 64)),
    "people under a name that leads elsewhere": (1, lambda e: e["body"].update(people="../ledger")),
    "no bound on the units": (1, lambda e: e["body"].update(units=0)),
    "data of no run": (1, lambda e: e["body"].update(run="")),
    "data of another run": (3, lambda e: e["body"].update(run="other")),
    "an unknown type": (8, lambda e: e.update(type="REFUND")),
    "a field that is missing": (4, lambda e: e["body"].pop("attempt")),
    "a field of another type": (4, lambda e: e["body"].update(round=None)),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_events_that_contradict_each_other_are_found_though_the_owner_signed_them(
    whole: bytes, opened: Callable[..., list[str]], name: str
) -> None:
    line, change = CONTRADICTIONS[name]
    upto = forged(whole, line, change, OWNER).splitlines(keepends=True)[:line]
    with pytest.raises(LedgerCorrupt) as found:
        opened(b"".join(upto))
    assert "\n" not in str(found.value)
    assert found.value.line == line


def test_a_spend_beyond_its_budget_is_found_though_the_owner_signed_it(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """Order 3: epsilon 4.95 pays for one spend of .110 and not for two."""
    bound = filter_bound(epsilon=4.95, delta=1e-5, order=3)
    small = forged(whole, 2, lambda e: e["body"].update(epsilon="4.95", bound=repr(bound)), OWNER)
    lines = small.splitlines(keepends=True)[:4]
    assert opened(b"".join(lines))[-1] == "SPEND"
    head = read_events(b"".join(lines), OWNER.public)[-1]
    more = {**head.body, "attempt": 1}
    beyond = write_event(OWNER, head.head, type="SPEND", dataset=head.dataset, body=more)
    with pytest.raises(LedgerCorrupt, match=r"line 5 .*exceeds the budget"):
        opened(b"".join([*lines, beyond.line()]))


def test_another_form_of_the_same_event_is_found(
    whole: bytes, opened: Callable[..., list[str]]
) -> None:
    """Spaces, another order of keys, repeated or added keys, another version."""
    lines = whole.splitlines(keepends=True)
    event = json.loads(lines[-1])
    others = (
        json.dumps(event).encode(),
        canonical_json({**event, "more": 1}),
        canonical_json({**event, "v": 2}),
        canonical_json({**event, "seq": "9"}),
        canonical_json({**event, "sig": event["sig"].upper()}),
        b'{"v":1,' + lines[-1][1:-1],
        canonical_json([event]),
        b"[" * 100_000,
    )
    for other in others:
        with pytest.raises(LedgerCorrupt, match="line 9 "):
            opened(b"".join([*lines[:-1], other, b"\n"]))


def test_only_a_pinned_server_countersigns_and_only_heads_of_this_ledger(
    whole: bytes, place: Path
) -> None:
    path = place
    path.write_bytes(whole)
    with Ledger.open(path, OWNER, servers=SERVERS) as ledger:
        head, count = ledger.head, len(ledger.events())
        good = sign_head(SERVER, head, OWNER.public)
        old = ledger.events()[2].head
        foreign = Head(seq=head.seq, hash="0" * 64)
        wrong: list[tuple[str, Head, bytes, type[Exception]]] = [
            ("other", head, good, PolicyRefused),
            ("server", old, good, BadSignature),
            ("server", head, sign_head(OWNER, head, OWNER.public), BadSignature),
            ("server", head, sign_head(SERVER, head, SERVER.public), BadSignature),
            ("server", foreign, sign_head(SERVER, foreign, OWNER.public), LedgerRolledBack),
        ]
        for name, told, signature, error in wrong:
            with pytest.raises(error):
                ledger.countersign(name, told, signature)
        assert len(ledger.events()) == count
        ledger.countersign("server", head, good)
        assert ledger.events()[-1].body["hash"] == head.hash
    with Ledger.open(path, OWNER) as ledger, pytest.raises(PolicyRefused):
        ledger.countersign("server", head, good)
