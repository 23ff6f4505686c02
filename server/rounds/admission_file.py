"""The roster of a deployment, read anew before groups are admitted."""

from __future__ import annotations

import logging
from pathlib import Path

from privacy.identity.keys import Roster
from privacy.identity.roles import HELD_OUT
from server.rounds.admission import Setup

logger = logging.getLogger(__name__)


class AdmissionFile:
    """The members that the server's own roster admits; everybody where there is none.

    Args:
        path: A file as ``privacy.identity.keys.Roster`` reads it; empty admits everybody. Groups
            that only measure may be listed in a section ``held_out`` of it.

    Raises:
        ValueError: The file is no roster.
        OSError: It cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._members = Roster.read(Path(path)) if path else None
        self._held_out = _held_out(Path(path)) if path else None

    @property
    def identified(self) -> bool:
        """Whether groups must name their keys to be found in it."""
        return self._members is not None

    def read_again(self) -> None:
        """Take up what has changed; a file that is damaged or away changes nothing."""
        if self._members is None:
            return
        try:
            members, held_out = Roster.read(Path(self._path)), _held_out(Path(self._path))
            self._members, self._held_out = members, held_out
        except (ValueError, OSError) as error:
            logger.warning(
                "the roster %s cannot be read (%s): going on with what it said before",
                self._path,
                type(error).__name__,
            )

    def refusal(self, setup: Setup) -> str:
        """The reason that a group is not admitted; empty if it is."""
        if self._members is None:
            return ""
        key = self._members.get(setup.group)
        if key is None and setup.role == HELD_OUT and self._held_out is not None:
            key = self._held_out.get(setup.group)
        if key is None:
            return f"group {setup.group!r} is not in the roster {self._path}: add it"
        if key != setup.identity:
            return f"group {setup.group!r} shows another key than the roster {self._path} has"
        return ""


def _held_out(path: Path) -> Roster:
    """The groups of a roster that only measure; none where it has no such section."""
    return Roster.read(path, HELD_OUT, missing_ok=True)
