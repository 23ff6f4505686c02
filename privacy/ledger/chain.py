"""The hash chain of a ledger: each event names the one before it and is signed by the owner.

Checking a chain needs no secret.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from privacy.canonical import canonical_json
from privacy.errors import BadSignature, LedgerCorrupt, LedgerRolledBack
from privacy.identity.keys import Identity, Roster

VERSION = 1
TYPES = ("DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED", "ABORTED", "REFUSED", "USED", "HEAD")
"""Types of the events in the ledger of a group."""

SERVER_TYPES = ("RUN", "JOINED", "HEADS", "ROUND", "LOST", "RESUMED", "PUBLISHED")
"""Types of the events in a server ledger."""

NO_EVENT = "0" * 64
"""The hash that the first event names as that of the event before it."""

_FIELDS = {"v", "seq", "prev", "type", "dataset", "signer", "body", "hash", "sig"}
_KIND = "ledger"
_HEAD_KIND = "ledger head"


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last event of a ledger, which stands for all before it.

    Attributes:
        seq: its number, counted from 1; 0 for an empty ledger.
        hash: its hash, 64 hexadecimal digits.
    """

    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a ledger.

    Attributes:
        seq: its number, counted from 1: the line it stands on.
        prev: hash of the event before it.
        type: one of `TYPES`, in a server ledger one of `SERVER_TYPES`.
        dataset: fingerprint of the data it is about; empty for HEAD and in a server ledger.
        signer: public key of the owner, 64 hexadecimal digits.
        body: what happened; floats as repr strings.
        hash: SHA-256 of the canonical JSON of all the others but `sig`.
        sig: the owner's signature of the hash, 128 hexadecimal digits.
    """

    seq: int
    prev: str
    type: str
    dataset: str
    signer: str
    body: Mapping[str, Any]
    hash: str
    sig: str

    @property
    def head(self) -> Head:
        """This event as the head of the ledger that ends with it."""
        return Head(seq=self.seq, hash=self.hash)

    def line(self) -> bytes:
        """The line of the file, its newline included."""
        return canonical_json({**_content(self), "hash": self.hash, "sig": self.sig}) + b"\n"


def write_event(
    identity: Identity, after: Head, *, type: str, dataset: str, body: Mapping[str, object]
) -> Event:
    """Return the event that follows a head, signed."""
    content: dict[str, Any] = {
        "seq": after.seq + 1,
        "prev": after.hash,
        "type": type,
        "dataset": dataset,
        "signer": identity.public.hex(),
        "body": json.loads(canonical_json(body)),
    }
    hashed = hashlib.sha256(canonical_json({"v": VERSION, **content})).digest()
    signature = identity.sign(_KIND, b"", hashed)
    return Event(**content, hash=hashed.hex(), sig=signature.hex())


NOTHING = Head(seq=0, hash=NO_EVENT)
"""The head of an empty ledger."""


def read_events(data: bytes, signer: bytes, *, types: tuple[str, ...] = TYPES) -> tuple[Event, ...]:
    """The events of a ledger, all checked; see `each_event`."""
    return tuple(each_event(data, signer, types=types))


def each_event(
    data: bytes, signer: bytes, *, after: Head = NOTHING, types: tuple[str, ...] = TYPES
) -> Iterator[Event]:
    """Yield the events of whole lines of a ledger, each checked to be what its owner wrote there.

    Checks the form, the numbering, the chain and every signature, and no meaning. A line must be
    the canonical JSON of its event to the byte.

    Args:
        data: the file; its last line ends with a newline.
        signer: the public key of the owner, 32 bytes.
        after: the head that the first of these lines follows.
        types: of the events that there may be.

    Raises:
        LedgerCorrupt: for the first line that is not.
    """
    head = after
    owner = Roster({"owner": signer})
    for number, line in enumerate(data.split(b"\n")[:-1], start=after.seq + 1):
        event = _parse(number, line, types)
        _check(event, head, owner)
        yield event
        head = event.head
    if not data.endswith(b"\n") and data:
        corrupt(head.seq + 1, "is not ended by a newline")


def require_head(events: tuple[Event, ...], known: Head) -> None:
    """Check that a ledger holds a known head.

    Raises:
        LedgerRolledBack: if it does not.
    """
    require_at([event.hash for event in events], known)


def require_at(hashes: Sequence[str], known: Head) -> None:
    """Check that a head stands in a ledger whose events have these hashes, in order.

    Raises:
        LedgerRolledBack: if it does not.
    """
    if known == NOTHING:
        return
    if not 1 <= known.seq <= len(hashes):
        raise LedgerRolledBack(
            f"the ledger ends at event {len(hashes)}, but event {known.seq} is known to exist; "
            "restore the newest copy"
        )
    if hashes[known.seq - 1] != known.hash:
        raise LedgerRolledBack(
            f"event {known.seq} is {hashes[known.seq - 1][:16]}..., but "
            f"{known.hash[:16]}... is known to stand there; restore the copy others have seen"
        )


def head_payload(head: Head, owner: bytes) -> bytes:
    """The bytes a server signs to say that it has seen the head of this group's ledger."""
    return canonical_json({"seq": head.seq, "hash": head.hash, "owner": owner.hex()})


def sign_head(identity: Identity, head: Head, owner: bytes) -> bytes:
    """Sign, as a server, that one has seen this head of the ledger of that owner: 64 bytes."""
    return identity.sign(_HEAD_KIND, b"", head_payload(head, owner))


def check_head(servers: Roster, name: str, signature: bytes, head: Head, owner: bytes) -> None:
    """Check that a pinned server has seen this head.

    Raises:
        PolicyRefused: if the name is not pinned.
        BadSignature: if the signature is not its own.
    """
    servers.check(name, signature, _HEAD_KIND, b"", head_payload(head, owner))


def check_countersigned(servers: Roster, event: Event) -> None:
    """Check the server's signature in a HEAD event; see `check_head`."""
    head = Head(seq=event.body["seq"], hash=event.body["hash"])
    signature = bytes.fromhex(event.body["signature"])
    check_head(servers, event.body["server"], signature, head, bytes.fromhex(event.signer))


def corrupt(line: int, what: str) -> NoReturn:
    """Raise for a line that is not what its owner wrote."""
    raise LedgerCorrupt(f"line {line} of the ledger {what}; restore an intact copy", line=line)


def _content(event: Event) -> dict[str, Any]:
    names = ("seq", "prev", "type", "dataset", "signer", "body")
    return {"v": VERSION, **{name: getattr(event, name) for name in names}}


def _parse(number: int, line: bytes, types: tuple[str, ...]) -> Event:
    try:
        fields = json.loads(line)
        canonical = canonical_json(fields)
    except (ValueError, RecursionError):
        corrupt(number, "is not JSON")
    if not isinstance(fields, dict) or set(fields) != _FIELDS or canonical != line:
        corrupt(number, "is not the canonical form of an event")
    if fields.pop("v") != VERSION:
        corrupt(number, f"is not of version {VERSION}")
    strings = (fields[name] for name in ("prev", "type", "dataset", "signer", "hash", "sig"))
    if not (
        type(fields["seq"]) is int
        and isinstance(fields["body"], dict)
        and all(isinstance(value, str) for value in strings)
        and fields["type"] in types
    ):
        corrupt(number, "has a field of another type than an event has")
    return Event(**fields)


def _check(event: Event, head: Head, owner: Roster) -> None:
    number = head.seq + 1
    if event.seq != number:
        corrupt(number, f"says that it is event {event.seq}")
    if event.prev != head.hash:
        corrupt(number, "does not follow the line before it")
    if event.signer != owner["owner"].hex():
        corrupt(number, "names another signer than the owner of this ledger")
    hashed = hashlib.sha256(canonical_json(_content(event)))
    if event.hash != hashed.hexdigest():
        corrupt(number, "does not have the hash it states")
    try:
        owner.check("owner", bytes.fromhex(event.sig), _KIND, b"", hashed.digest())
    except (BadSignature, ValueError):
        corrupt(number, "is not signed by the owner of this ledger")
    if bytes.fromhex(event.sig).hex() != event.sig:
        corrupt(number, "is not the canonical form of an event")
