"""The result of one check of a review."""

from dataclasses import dataclass
from enum import StrEnum

from texts import visible


class Status(StrEnum):
    """The status of a check."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    OPEN = "open"
    """The evidence it needs was not handed in: nothing was checked."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was checked.

    Attributes:
        id: its name, for programs; the same in every review.
        about: the group, or "server", "all" where it concerns them together.
        status: how it ended.
        finding: what was found, for readers who are no engineers: one sentence or two.
    """

    id: str
    about: str
    status: Status
    finding: str

    def as_dict(self) -> dict[str, str]:
        """JSON types."""
        status = str(self.status)
        return {"id": self.id, "about": self.about, "status": status, "words": self.finding}


def passed(id: str, about: str, finding: str) -> Check:
    """A check that holds."""
    return Check(id=id, about=about, status=Status.PASS, finding=visible(finding))


def failed(id: str, about: str, finding: str) -> Check:
    """A check that does not hold."""
    return Check(id=id, about=about, status=Status.FAIL, finding=visible(finding))


def left_open(id: str, about: str, finding: str) -> Check:
    """A check that could not be made."""
    return Check(id=id, about=about, status=Status.OPEN, finding=visible(finding))
