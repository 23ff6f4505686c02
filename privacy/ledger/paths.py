"""Files and folders of the ledgers of a federation."""

import hashlib
import re
from pathlib import Path

from privacy.file_names import LEDGERS_FOLDER

GROUPS = "groups"
MODELS = "models"
SERVER_LEDGER = "server.jsonl"

_LONGEST = 80


def ledgers_folder(out: Path, ledgers: str) -> Path:
    """Folder of a run's ledgers: its own, or one that outlasts it."""
    return Path(ledgers) if ledgers else out / LEDGERS_FOLDER


def group_ledger(folder: Path, group: str) -> Path:
    """File of a group's ledger."""
    return folder / GROUPS / f"{_safe(group)}.jsonl"


def people_folder(ledger: Path) -> Path:
    """Folder beside a group's ledger that says whose data are in it; its owner's alone."""
    return ledger.with_suffix(".people")


def tallies_folder(ledger: Path) -> Path:
    """Folder beside a group's ledger with its noised counts; private by themselves."""
    return ledger.with_suffix(".tallies")


def group_model(out: Path, group: str) -> Path:
    """Folder of the model that a group of a simulation keeps for itself."""
    return out / MODELS / _safe(group)


def _safe(group: str) -> str:
    """A name for a file; names that no file can have get a hash."""
    safe = re.sub(r"[^\w.-]+", "-", group).strip("-.")[:_LONGEST]
    if safe != group:
        safe = f"{safe}-{hashlib.sha256(group.encode()).hexdigest()[:8]}".lstrip("-")
    return safe
