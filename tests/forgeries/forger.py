"""A forger of evidence: whoever holds keys tells ledgers anew, with every signature right."""

import base64
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.canonical import canonical_json
from privacy.identity.key_folder import KeyFolder
from privacy.identity.keys import Identity, digest
from privacy.ledger.chain import NOTHING, Head, sign_head, write_event
from privacy.ledger.payloads import stated_plan
from privacy.ledger.server_ledger import advert_head
from privacy.secagg.messages import Advert
from privacy.secagg.round_terms import Attempt, RoundTerms

SERVER = "server"


@dataclass(eq=False, kw_only=True)
class Line:
    """An event that is not signed yet.

    Attributes:
        about: the line of the same ledger that it names by its hash.
        shown: in a HEADS, by group the line that was its head; None for an empty ledger.
        keep: the line as it stood, whose bytes stay where its owner's key is not held.
    """

    type: str
    dataset: str
    body: dict[str, Any]
    about: "Line | None" = None
    shown: dict[str, "Line | None"] = field(default_factory=dict)
    keep: bytes = b""
    head: Head = NOTHING


def copy(line: Line, **body: Any) -> Line:
    """The same line once more, with other fields."""
    return replace(line, body={**json.loads(json.dumps(line.body)), **body}, keep=b"")


class Forger:
    """The ledgers of one folder, and the keys that the forger holds.

    Args:
        folder: of the run; changed in place.
        keys: of all parties.
    """

    def __init__(self, folder: Path, keys: KeyFolder) -> None:
        self.folder = folder
        self.ledgers = folder / "ledgers"
        self.identities: dict[str, Identity] = {name: keys.own(name) for name in keys.roster()}
        self.identities[SERVER] = keys.own(SERVER, role="servers")
        self.files: dict[str, Path] = {SERVER: self.ledgers / "server.jsonl"}
        owners = {each.public.hex(): name for name, each in self.identities.items()}
        for file in sorted((self.ledgers / "groups").glob("*.jsonl")):
            first = file.read_bytes().split(b"\n", 1)[0]
            self.files[owners[json.loads(first)["signer"]]] = file
        self.told = {name: self._read(name) for name in self.files}
        for line in self.of(SERVER, "HEADS"):
            for name, data in line.body["adverts"].items():
                seq = advert_head(Advert.decode(base64.b64decode(data))).seq
                line.shown[name] = self.told[name][seq - 1] if seq else None

    @property
    def groups(self) -> list[str]:
        """Names of the groups that have a ledger."""
        return [name for name in self.files if name != SERVER]

    def of(self, owner: str, type: str) -> list[Line]:
        """The lines of one type in a ledger."""
        return [line for line in self.told[owner] if line.type == type]

    def insert(self, owner: str, line: Line, after: Line) -> Line:
        """Put a line after another."""
        self.told[owner].insert(self.told[owner].index(after) + 1, line)
        return line

    def drop(self, owner: str, lines: Iterable[Line]) -> None:
        """Leave lines out."""
        gone = list(lines)
        self.told[owner] = [line for line in self.told[owner] if line not in gone]

    def terms(self, line: Line, **changes: Any) -> None:
        """Change the terms of a ROUND or LOST; `vector` holds those of its vector."""
        stated = json.loads(line.body["terms"])
        vector = {**stated["vector"], **changes.pop("vector", {})}
        line.body["terms"] = canonical_json({**stated, **changes, "vector": vector}).decode()

    def plan(self, **changes: Any) -> PrivacyPlan:
        """Change the plan of all ledgers, with its digest wherever that stands."""
        lines = [line for name in self.told for line in self.told[name]]
        plans = [line for line in lines if line.type in ("RUN", "PLAN")]
        plan = replace(stated_plan(plans[-1].body["plan"]), **changes)
        for line in plans:
            line.body["plan"], line.body["digest"] = plan.as_dict(), plan.digest()
        for line in (line for line in lines if "terms" in line.body):
            self.terms(line, vector={"plan": plan.digest()})
        return plan

    def tell(self, *held: str) -> None:
        """Write the ledgers of those whose keys are held (all if none is named), signed anew."""
        held = held or tuple(self.files)
        at = dict.fromkeys(self.files, NOTHING)
        out: dict[str, list[bytes]] = {name: [] for name in self.files}
        rest = {name: list(lines) for name, lines in self.told.items()}
        contexts: dict[tuple[Any, ...], str] = {}

        def write(name: str, line: Line) -> None:
            if name not in held and line.keep:
                fields = json.loads(line.keep)
                line.head = Head(seq=fields["seq"], hash=fields["hash"])
                out[name].append(line.keep)
            else:
                self._refer(name, line, contexts, held)
                event = write_event(
                    self.identities[name], at[name], type=line.type, dataset=line.dataset,
                    body=line.body,
                )  # fmt: skip
                line.head = event.head
                out[name].append(event.line())
            at[name] = line.head

        def until(name: str, last: Line | None) -> None:
            while last is not None and last in rest[name]:
                write(name, rest[name].pop(0))

        for line in self.told[SERVER]:
            for name, head in line.shown.items():
                until(name, head)
                if name in line.body["adverts"] and name in held:
                    self._advertise(line, name, head)
            if line.type == "HEADS":
                contexts |= self._context(line)
            until(SERVER, line)
        for name, lines in rest.items():
            while lines:
                write(name, lines.pop(0))
        for name in held:
            self.files[name].write_bytes(b"".join(out[name]))

    def _read(self, name: str) -> list[Line]:
        lines: list[Line] = []
        by_hash: dict[str, Line] = {}
        for raw in self.files[name].read_bytes().splitlines(keepends=True):
            fields = json.loads(raw)
            body = fields["body"]
            about = by_hash.get(body.get("spend") or body.get("hash") or "")
            line = Line(
                type=fields["type"], dataset=fields["dataset"], body=body, about=about, keep=raw
            )
            by_hash[fields["hash"]] = line
            lines.append(line)
        return lines

    def _refer(
        self, name: str, line: Line, contexts: dict[tuple[Any, ...], str], held: tuple[str, ...]
    ) -> None:
        body = line.body
        attempt = tuple(body.get(key) for key in ("run", "round", "attempt"))
        if "ctx" in body and body.get("ctx") != "kept" and attempt in contexts:
            body["ctx"] = contexts[attempt]
        if line.about is None:
            return
        if line.type == "HEAD":
            head = line.about.head
            body |= {"seq": head.seq, "hash": head.hash}
            if SERVER in held:
                signature = sign_head(self.identities[SERVER], head, self.identities[name].public)
                body["signature"] = signature.hex()
        elif "spend" in body:
            body["spend"] = line.about.head.hash

    def _advertise(self, line: Line, name: str, head: Line | None) -> None:
        shown = head.head if head else NOTHING
        advert = Advert.decode(base64.b64decode(line.body["adverts"][name]))
        unsigned = replace(advert, head_seq=shown.seq, head=bytes.fromhex(shown.hash))
        context = Attempt.named_in(line.body).context()
        signed = unsigned.signed(self.identities[name], context)
        line.body["adverts"][name] = base64.b64encode(signed).decode()

    def _context(self, line: Line) -> dict[tuple[Any, ...], str]:
        attempt = tuple(line.body[key] for key in ("run", "round", "attempt"))
        for end in self.told[SERVER]:
            if "terms" in end.body and attempt == tuple(
                end.body.get(key) for key in ("run", "round", "attempt")
            ):
                terms = RoundTerms.decode(end.body["terms"].encode())
                adverts = [base64.b64decode(line.body["adverts"][each]) for each in terms.members]
                return {attempt: digest(terms.context(), *adverts).hex()}
        return {}


def copied(folder: Path, to: Path) -> Path:
    """A copy of a folder, to be forged."""
    return Path(shutil.copytree(folder, to))


def edit(path: Path, *way: str | int, to: Any) -> None:
    """Put a value into a file of JSON."""
    content = json.loads(path.read_text(encoding="utf-8"))
    at = content
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = to
    path.write_text(json.dumps(content), encoding="utf-8")


def cut(file: Path, lines: int) -> None:
    """Cut the last lines off a file."""
    kept = file.read_bytes().splitlines(keepends=True)[:-lines]
    file.write_bytes(b"".join(kept))
