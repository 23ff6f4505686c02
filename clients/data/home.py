"""The folder of a group's client, and the names of the files in it.

Light, for whoever only looks: the group policy is imported when it is read, and takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.data.group_policy import GroupPolicy

POLICY_FILE = "policy.toml"
IDENTITY_FILE = "identity.pem"
CA_FILE = "ca.crt"
QUESTIONNAIRE_FILE = "questionnaire.json"
SERVED_FILE = "served.json"
MODEL_FOLDER = "model"
REFUSED_FOLDER = "refused"


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder of a group's client; every file it needs has a fixed name in it.

    Attributes:
        folder: Holds the group policy.
    """

    folder: Path

    @property
    def group_policy(self) -> GroupPolicy:
        """The group policy as it stands.

        Raises:
            GroupPolicyError: One line that names file and field.
        """
        from clients.data.group_policy import read_group_policy

        return read_group_policy(self.folder / POLICY_FILE)

    def data(self, policy: GroupPolicy) -> Path:
        """The path of the group's records."""
        return self.folder / policy.data.path

    def file(self, name: str) -> Path:
        """One of the files named above."""
        return self.folder / name
