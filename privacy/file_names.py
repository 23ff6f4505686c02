"""Names of the files and folders that more than one room reads."""

from typing import Final

CONFIG_FILE: Final = "config.toml"
"""Settings of a run."""

PRIVACY_FILE: Final = "privacy.json"
"""Plan of a private run, with its groups."""

RESULT_FILE: Final = "result.json"
"""Figures of a run that is finished."""

LINEAGE_FILE: Final = "lineage.json"
"""Privacy under which a published model was trained, and that of all it began from."""

START_FILE: Final = "start.json"
"""What a run began from, where that was a published model."""

LEDGERS_FOLDER: Final = "ledgers"
"""Ledgers of the groups and of the server: of a run, of a client, of a server."""

IDENTITIES_FOLDER: Final = "identities"
"""Signing keys of a simulation, or of a server."""

ROSTER_FILE: Final = "roster.json"
"""Public keys of all parties."""

INVITATION_FILE: Final = "invitation.json"
"""What the coordinator sends to whoever may join."""
