"""The evidence of a review: ledgers, the server ledger, keys, and what a run has published.

Reading changes nothing, needs no private key, and takes a ledger that is in use as it stands.
Whatever cannot be read is kept as evidence too: a damaged file is a finding, not an error.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from privacy.audit.checks import Basis
from privacy.canonical import strict_json
from privacy.errors import LedgerCorrupt, LedgerError
from privacy.file_names import CONFIG_FILE, LEDGERS_FOLDER, PRIVACY_FILE, RESULT_FILE, ROSTER_FILE
from privacy.identity.code import ROOT, tree_digest
from privacy.identity.keys import Roster
from privacy.ledger.chain import SERVER_TYPES, Event, each_event, read_events
from privacy.ledger.paths import GROUPS, SERVER_LEDGER, tallies_folder
from privacy.ledger.replay import Replay
from privacy.ledger.state import State
from privacy.ledger.store import whole_lines
from privacy.ledger.units import People

CARD_FILE = "privacy-card.json"


@dataclass(frozen=True, kw_only=True)
class LedgerEvidence:
    """The ledger of a group or of the server, as far as it can be read.

    Attributes:
        name: of the owner, by the roster; else of the file.
        file: where it was read from.
        owner: public key that signs it, 32 bytes; empty where no line names one.
        pinned: whether the roster pins that key.
        events: all of them if `error` is None. Else those of an unbroken, signed chain from the
            first line on, and none of a server.
        state: what they add up to; None where they contradict each other, and for a server. Person
            by person where the files that list people lie beside the ledger.
        torn: bytes of a torn last line.
        error: the first thing that is wrong.
        tallies: contents of the files of tallies beside the ledger, by name without ending.
    """

    name: str
    file: Path
    owner: bytes
    pinned: bool
    events: tuple[Event, ...]
    state: State | None
    torn: int
    error: LedgerError | None
    tallies: Mapping[str, bytes] = field(default_factory=dict, repr=False)


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
        registered: `privacy.json` of the run, where there is one.
        published: the folder of the run, where its files can be compared.
        settings: the text of `config.toml` of the run, where there is one.
        faults: what in `card`, `result` and `registered` can be read in two ways, by file name.
        code: digests of the client code that the reviewer has at hand.
        as_card: the same evidence with the roster that the card was made with, where the reviewer
            has given another one.
    """

    ledgers: tuple[LedgerEvidence, ...]
    server_ledger: LedgerEvidence | None = None
    members: Roster = field(default_factory=lambda: Roster({}))
    servers: Roster = field(default_factory=lambda: Roster({}))
    roster_given: bool = False
    card: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    registered: dict[str, Any] | None = None
    published: Path | None = None
    settings: str | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    code: frozenset[str] = frozenset()
    as_card: "Evidence | None" = None

    @property
    def rests_on_roster(self) -> Basis:
        """Whose roster says which key is whose."""
        if not self.members:
            return Basis.NO_ROSTER
        return Basis.REVIEWERS_ROSTER if self.roster_given else Basis.ROSTER_BESIDE


def gather(
    paths: Sequence[Path],
    *,
    roster: Path | None = None,
    card: Path | None = None,
    code: Sequence[Path] = (),
) -> Evidence:
    """Read all evidence at these paths.

    Args:
        paths: ledgers, folders of ledgers, or folders of runs.
        roster: file of keys that the reviewer has got from the groups themselves; without it that
            of the folder is taken.
        card: privacy card to be compared; without it that of the folder is taken.
        code: checkouts that runs may have used, besides the code that this review runs from.

    Raises:
        ValueError: if there is no ledger at a path, a roster or card cannot be read, or there is no
            code in a folder.
    """
    files: dict[Path, None] = {}
    server_ledger = beside = run = None
    for path in paths:
        found, folder = _ledger_files(path)
        # One file by two paths is one file.
        files |= {file.resolve(): None for file in found}
        if folder is not None:
            server_ledger = server_ledger or _existing(folder / SERVER_LEDGER)
            beside = beside or _existing(folder / ROSTER_FILE)
            # A folder of ledgers that outlast runs can have any name, and lies in none.
            of_run = folder.name == LEDGERS_FOLDER and (folder.parent / RESULT_FILE).is_file()
            run = run or (folder.parent if of_run else None)
    card = card or (_existing(run / CARD_FILE) if run else None)
    named = {
        CARD_FILE: card,
        RESULT_FILE: _existing(run / RESULT_FILE) if run else None,
        PRIVACY_FILE: _existing(run / PRIVACY_FILE) if run else None,
    }
    read = {name: _read_json(path) for name, path in named.items() if path}
    contents = {name: content for name, (content, _) in read.items()}
    settings = _existing(run / CONFIG_FILE) if run else None
    given = Evidence(
        ledgers=(),
        card=contents.get(CARD_FILE),
        result=contents.get(RESULT_FILE),
        registered=contents.get(PRIVACY_FILE),
        published=run,
        settings=settings.read_text(encoding="utf-8", errors="replace") if settings else None,
        faults={name: fault for name, (_, fault) in read.items() if fault},
        code=frozenset(map(tree_digest, (ROOT, *code))),
    )
    as_card = None
    if given.card is not None and roster is not None and not _made_with_a_roster(given.card):
        # Where the roster beside is gone, that of the reviewer gives the names.
        as_card = _with_ledgers(given, files, server_ledger, beside or roster)
    own = _with_ledgers(given, files, server_ledger, roster or beside)
    return replace(own, roster_given=roster is not None, as_card=as_card)


def _made_with_a_roster(card: Mapping[str, Any]) -> bool:
    stated = card.get("roster")
    return isinstance(stated, dict) and stated.get("given_by_reviewer") is True


def _with_ledgers(
    given: Evidence, files: Iterable[Path], server_ledger: Path | None, pins: Path | None
) -> Evidence:
    """All evidence, with the ledgers as a roster names and checks them."""
    members = Roster.read(pins) if pins else Roster({})
    servers = Roster.read(pins, "servers") if pins else Roster({})
    ledgers = [_read_ledger(file, members, servers) for file in files]
    return replace(
        given,
        ledgers=tuple(sorted(ledgers, key=lambda ledger: (ledger.name, ledger.file))),
        server_ledger=_read_ledger(server_ledger, servers, None) if server_ledger else None,
        members=members,
        servers=servers,
    )


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _ledger_files(path: Path) -> tuple[list[Path], Path | None]:
    """The ledgers of groups at a path, and the folder that holds what belongs to them."""
    if path.is_file():
        folder = path.parent.parent if path.parent.name == GROUPS else None
        return ([] if path.name == SERVER_LEDGER else [path]), folder
    for folder in (path, path / LEDGERS_FOLDER, path.parent):
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


def _read_json(path: Path) -> tuple[dict[str, Any], str]:
    """The object in a file, and why another reader may find another one in it; mostly empty."""
    fault = ""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        try:
            strict_json(text)
        except ValueError as error:
            fault = str(error)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON; give the file as it was") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is no JSON object; give the file as it was written")
    return content, fault


def _signer(data: bytes) -> bytes:
    """The key that the first line names, 32 bytes; empty where it names none."""
    try:
        key = bytes.fromhex(json.loads(data.split(b"\n", 1)[0])["signer"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""
    return key if len(key) == 32 else b""


def _read_ledger(path: Path, roster: Roster, servers: Roster | None) -> LedgerEvidence:
    """Read the ledger of a group; without `servers`, who countersign it, that of a server."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name a ledger") from error
    data = whole_lines(raw)
    owner = _signer(data)
    name = next((name for name, key in roster.items() if key == owner), None)
    replay = Replay(owner, servers or None, People.handed_in(path))
    events: list[Event] = []
    broken: LedgerError | None = None
    try:
        if not owner:
            raise LedgerCorrupt("line 1 of the ledger names no signer", line=1)
        if servers is None:
            events += read_events(data, owner, types=SERVER_TYPES)
        else:
            replay.extend(data)
            events = replay.events
    except LedgerError as error:
        broken = error
    if broken is not None and owner and servers is not None:
        with suppress(LedgerError):
            # All that is signed, also what contradicts the lines before it; up to the first break.
            for event in each_event(data, owner):
                events.append(event)
    return LedgerEvidence(
        name=name or path.stem,
        file=path,
        owner=owner,
        pinned=name is not None,
        events=tuple(events),
        state=replay.state if broken is None and servers is not None else None,
        torn=max(0, len(raw) - len(data)),
        error=broken,
        tallies=_tallies(path) if servers is not None else {},
    )


def _tallies(ledger: Path) -> dict[str, bytes]:
    """The files of tallies beside a ledger; one that cannot be read counts as empty."""
    found = {}
    for path in sorted(tallies_folder(ledger).glob("*")):
        try:
            found[path.stem] = path.read_bytes()
        except OSError:
            found[path.stem] = b""
    return found
