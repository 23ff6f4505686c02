"""What a reviewer has at hand: ledgers, the server's book, keys, and what a run has published.

Reading changes nothing, needs no private key, and takes a ledger that is in use as it stands.
Whatever cannot be read is kept as evidence too: a damaged file is a finding, not an error.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy.errors import LedgerCorrupt, LedgerError
from privacy.identity.keys import Roster
from privacy.ledger.chain import TYPES, Event, read_events
from privacy.ledger.paths import GROUPS, ROSTER_FILE, SERVER_LEDGER
from privacy.ledger.replay import Reading
from privacy.ledger.server_ledger import read_server_ledger
from privacy.ledger.state import State
from privacy.ledger.store import whole_lines

LEDGERS = "ledgers"
CARD_FILE = "privacy-card.json"
RESULT_FILE = "result.json"


@dataclass(frozen=True, kw_only=True)
class GroupLedgerEvidence:
    """The ledger of one group, as far as it can be read.

    Attributes:
        name: of the group, by the roster; else of the file.
        file: where it was read from.
        owner: public key that signs it, 32 bytes; empty where no line names one.
        pinned: whether the roster pins that key.
        events: all of them if `error` is None; else those of an unbroken, signed chain from the
            first line on.
        state: what they add up to; None where they contradict each other.
        torn: bytes of a torn last line.
        error: the first thing that is wrong.
    """

    name: str
    file: Path
    owner: bytes
    pinned: bool
    events: tuple[Event, ...]
    state: State | None
    torn: int = 0
    error: LedgerError | None = None


@dataclass(frozen=True, kw_only=True)
class ServerLedgerEvidence:
    """The server's book; attributes as of `GroupLedger`."""

    name: str
    file: Path
    owner: bytes
    pinned: bool
    events: tuple[Event, ...]
    error: LedgerError | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was handed in.

    Attributes:
        ledgers: of the groups, by name.
        server_ledger: of the server, where there is one.
        members: keys of the groups by name, from a roster; empty without one.
        servers: the same for servers.
        roster_given: whether the reviewer gave the roster, instead of the folder under review.
        card: the privacy card to be compared, where there is one.
        result: `result.json` of the run, where there is one.
        published: the folder of the run, where its files can be compared.
    """

    ledgers: tuple[GroupLedgerEvidence, ...]
    server_ledger: ServerLedgerEvidence | None = None
    members: Roster = field(default_factory=lambda: Roster({}))
    servers: Roster = field(default_factory=lambda: Roster({}))
    roster_given: bool = False
    card: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    published: Path | None = None


def gather(
    paths: Sequence[Path], *, roster: Path | None = None, card: Path | None = None
) -> Evidence:
    """Read everything that lies at some places.

    Args:
        paths: ledgers, folders of ledgers, or folders of runs.
        roster: file of keys that the reviewer has got from the groups themselves; without it that
            of the folder is taken.
        card: privacy card to be compared; without it that of the folder is taken.

    Raises:
        ValueError: if there is no ledger at a place, or a roster or card cannot be read.
    """
    files: dict[Path, None] = {}
    server_ledger = beside = run = None
    for path in paths:
        found, folder = _ledger_files(path)
        files |= dict.fromkeys(found)
        if folder is not None:
            server_ledger = server_ledger or _existing(folder / SERVER_LEDGER)
            beside = beside or _existing(folder / ROSTER_FILE)
            # A folder of ledgers that outlast runs can have any name, and lies in none.
            of_run = folder.name == LEDGERS and (folder.parent / RESULT_FILE).is_file()
            run = run or (folder.parent if of_run else None)
    pins = roster or beside
    members = Roster.read(pins) if pins else Roster({})
    servers = Roster.read(pins, "servers") if pins else Roster({})
    card = card or (_existing(run / CARD_FILE) if run else None)
    result = _existing(run / RESULT_FILE) if run else None
    ledgers = sorted((_read_ledger(file, members, servers) for file in files), key=_by_name)
    return Evidence(
        ledgers=tuple(ledgers),
        server_ledger=_read_server_ledger(server_ledger, servers) if server_ledger else None,
        members=members,
        servers=servers,
        roster_given=roster is not None,
        card=_read_json(card) if card else None,
        result=_read_json(result) if result else None,
        published=run,
    )


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _ledger_files(path: Path) -> tuple[list[Path], Path | None]:
    """The ledgers of groups at a place, and the folder that holds what belongs to them."""
    if path.is_file():
        folder = path.parent.parent if path.parent.name == GROUPS else None
        return ([] if path.name == SERVER_LEDGER else [path]), folder
    for folder in (path, path / LEDGERS, path.parent):
        # A folder of a run, one of ledgers, or that of the groups' ledgers alone.
        inside = folder / GROUPS
        if inside.is_dir() and (folder != path.parent or path == inside):
            return sorted(inside.glob("*.jsonl")), folder
    # The lines of a run that is not private are no ledgers.
    plain = not path.is_dir() or (path / RESULT_FILE).is_file()
    found = [] if plain else sorted(path.glob("*.jsonl"))
    if not found:
        raise ValueError(
            f"{path}: no ledgers there; name a ledger, a folder of ledgers, or that of a run"
        )
    return found, None


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _by_name(ledger: GroupLedgerEvidence) -> tuple[str, Path]:
    return ledger.name, ledger.file


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON; give the file as it was") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is no JSON object; give the file as it was written")
    return content


def _signer(data: bytes) -> bytes:
    """The key that the first line names, 32 bytes; empty where it names none."""
    try:
        key = bytes.fromhex(json.loads(data.split(b"\n", 1)[0])["signer"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""
    return key if len(key) == 32 else b""


def _name_of(owner: bytes, roster: Roster) -> str | None:
    return next((name for name, key in roster.items() if key == owner), None)


def _read_ledger(path: Path, members: Roster, servers: Roster) -> GroupLedgerEvidence:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name a ledger") from error
    data = whole_lines(raw)
    owner = _signer(data)
    name = _name_of(owner, members)
    reading = Reading(owner or bytes(32), servers if servers else None)
    found: LedgerError | None = None
    events: tuple[Event, ...] = ()
    try:
        if not owner:
            raise LedgerCorrupt("line 1 of the ledger names no signer", line=1)
        reading.take_in(data)
    except LedgerError as error:
        found = error
    events = tuple(reading.events) if found is None else _signed_part(data, owner)
    return GroupLedgerEvidence(
        name=name or path.stem,
        file=path,
        owner=owner,
        pinned=name is not None,
        events=events,
        state=reading.state if found is None else None,
        torn=max(0, len(raw) - len(data)),
        error=found,
    )


def _signed_part(data: bytes, owner: bytes, types: tuple[str, ...] = TYPES) -> tuple[Event, ...]:
    """The events before the first line whose chain or signature is broken."""
    lines = data.split(b"\n")[:-1]
    events: list[Event] = []
    for line in lines:
        try:
            after = {"after": events[-1].head} if events else {}
            events += read_events(line + b"\n", owner, types=types, **after)
        except (LedgerError, ValueError):
            break
    return tuple(events)


def _read_server_ledger(path: Path, servers: Roster) -> ServerLedgerEvidence:
    data = path.read_bytes()
    owner = _signer(data)
    name = _name_of(owner, servers)
    events: tuple[Event, ...] = ()
    found: LedgerError | None = None
    try:
        if not owner:
            raise LedgerCorrupt("line 1 of the book names no signer", line=1)
        events = read_server_ledger(data, owner)
    except LedgerError as error:
        found = error
    return ServerLedgerEvidence(
        name=name or path.stem,
        file=path,
        owner=owner,
        pinned=name is not None,
        events=events,
        error=found,
    )
