"""What a check of a review says, and how it ended."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    OPEN = "open"
    """What it needs was not handed in: nothing was checked."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was checked.

    Attributes:
        id: its name, for programs; the same in every review.
        about: the group, or "server", "all" where it concerns them together.
        status: how it ended.
        words: what was found, for somebody who is no engineer: one sentence or two.
    """

    id: str
    about: str
    status: Status
    words: str

    def as_dict(self) -> dict[str, str]:
        """JSON types."""
        return {name: str(value) for name, value in asdict(self).items()}


def passed(id: str, about: str, words: str) -> Check:
    """A check that holds."""
    return Check(id=id, about=about, status=Status.PASS, words=_one_line(words))


def failed(id: str, about: str, words: str) -> Check:
    """A check that does not hold."""
    return Check(id=id, about=about, status=Status.FAIL, words=_one_line(words))


def left_open(id: str, about: str, words: str) -> Check:
    """A check that could not be made."""
    return Check(id=id, about=about, status=Status.OPEN, words=_one_line(words))


def _one_line(words: str) -> str:
    """Words with whatever would break a line or a terminal replaced; forgers may have chosen it."""
    return "".join(each if each.isprintable() else "?" for each in words)
