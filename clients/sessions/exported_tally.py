"""The tally in a client's folder, for its owner to hand out: reads no record, charges nothing."""

from __future__ import annotations

from pathlib import Path

from clients.data.home import Home
from privacy.accounting.tally_file import StoredTally
from privacy.audit.evidence import gather
from privacy.errors import StageSkipped
from privacy.file_names import LEDGERS_FOLDER, ROSTER_FILE
from privacy.ledger.paths import group_ledger, tallies_folder


def exported(folder: Path, *, wave: str | None = None) -> tuple[StoredTally, bytes]:
    """The newest tally that the ledger of a client has recorded, with the bytes of its file.

    Args:
        folder: Of the client.
        wave: Name of a wave of persons; None takes the newest tally.

    Raises:
        ValueError: There is none, or its file is not what the ledger has recorded.
    """
    home = Home(folder=folder)
    path = group_ledger(home.file(LEDGERS_FOLDER), home.group_policy.group)
    if not path.is_file():
        raise ValueError(f"{folder}: has no ledger yet, so nothing was counted")
    (ledger,) = gather([path], roster=home.file(ROSTER_FILE)).ledgers
    if ledger.state is None:
        raise ValueError(f"{path}: {ledger.error}")
    found = None
    for name, digest in ledger.state.tallies.items():
        file = tallies_folder(path) / f"{name}.json"
        try:
            content = file.read_bytes()
            stored = StoredTally.read(content, digest=digest)
        except (OSError, StageSkipped) as error:
            raise ValueError(f"{file}: is not what the ledger has recorded: {error}") from error
        if wave is None or stored.wave == wave:
            found = stored, content
    if found is None:
        what = "nothing was counted yet" if wave is None else f"no wave {wave!r} was counted"
        raise ValueError(f"{folder}: {what}; the first private round does that")
    return found
