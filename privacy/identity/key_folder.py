"""A folder of signing keys: those of all parties of a simulation, or of a deployed server alone.

The protocol that uses them is the same. Organisations on machines of their own keep one key each,
and pin those of the others in a file that they have exchanged.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from atomic import write_atomically
from privacy.file_names import IDENTITIES_FOLDER
from privacy.identity.keys import Identity, Roster

MEMBERS = "members"
SERVERS = "servers"
READERS = "held_out"
"""Those that only measure: nobody sums with them, and nobody meets them."""

SERVER = "server"
"""Name of the one server."""

#: A folder that has changed just now may change again within one tick of its clock.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class KeyFolder:
    """Identities by role and name, made when they are first asked for.

    Attributes:
        folder: where they lie; need not exist.
    """

    folder: Path

    @classmethod
    def of_run(cls, out: Path, ledgers: str) -> "KeyFolder":
        """The keys of a run: its own, or those that belong to lasting ledgers.

        Args:
            out: folder of the run.
            ledgers: folder of ledgers that outlast it; empty where there is none.
        """
        return cls(run_keys(out) if not ledgers else Path(ledgers) / IDENTITIES_FOLDER)

    def own(self, name: str, *, role: str = MEMBERS) -> Identity:
        """The signing key of a party."""
        folder = self.folder / role
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / hashlib.sha256(name.encode()).hexdigest()[:32]
        key = stem.with_suffix(".pem")
        if not key.exists():
            Identity.create().write(key)
        identity = Identity.read(key)
        pinned = stem.with_suffix(".json")
        if not pinned.exists():
            entry = {"name": name, "public": identity.public.hex()}
            write_atomically(pinned, json.dumps(entry))
        return identity

    def roster(self, *, role: str = MEMBERS) -> Roster:
        """The public keys of all parties of a role, by name."""
        folder = self.folder / role
        if not folder.is_dir():
            return Roster({})
        changed = folder.stat().st_mtime_ns
        if time.time_ns() - changed < _SETTLED_NS:
            return _read_roster(folder)
        return _roster(folder, changed)


@lru_cache(maxsize=4)
def _roster(folder: Path, changed: int) -> Roster:
    """As of the last change of a folder: entries are written once and never changed."""
    return _read_roster(folder)


def _read_roster(folder: Path) -> Roster:
    entries = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    ]
    return Roster({entry["name"]: bytes.fromhex(entry["public"]) for entry in entries})


def run_keys(out: Path) -> Path:
    """Folder of the keys that are of no use after a run."""
    return out / IDENTITIES_FOLDER
