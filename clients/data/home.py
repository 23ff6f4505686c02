"""The folder of a group's client: what lies in it, under which names. Light, for who only looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.data.group_policy import GroupPolicy

POLICY_FILE = "policy.toml"
IDENTITY_FILE = "identity.pem"
ROSTER_FILE = "roster.json"
CA_FILE = "ca.crt"
LEDGERS_FOLDER = "ledgers"
SERVED_FILE = "served.json"
MODEL_FOLDER = "model"
REFUSED_FOLDER = "refused"


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder of a group's client; every file it needs has a fixed name in it.

    Attributes:
        folder: Where the policy lies.
    """

    folder: Path

    @property
    def policy(self) -> GroupPolicy:
        """The policy as it stands.

        Raises:
            PolicyError: One line that names file and field.
        """
        from clients.data.group_policy import read_policy

        return read_policy(self.folder / POLICY_FILE)

    def data(self, policy: GroupPolicy) -> Path:
        """Where the group's records are."""
        return self.folder / policy.data.path

    def file(self, name: str) -> Path:
        """One of the files named above."""
        return self.folder / name
