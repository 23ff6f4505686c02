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


class Basis(StrEnum):
    """What a check rests on; its sentence claims no more than that shows."""

    TWO_LIBRARIES = "recomputed by two libraries"
    RECOMPUTED = "recomputed from the ledgers"
    SIGNATURE = "the group's signature"
    OTHERS = "the signatures of the other groups"
    GROUP = "the group's own word"
    SERVER = "the server's word"
    SERVER_SIGNATURE = "the server's signature"
    REVIEWERS_ROSTER = "the reviewer's roster"
    ROSTER_BESIDE = "the roster beside the ledgers"
    NO_ROSTER = "no roster"
    FILES = "the files at hand"
    CODE = "the code at hand"


_RESTS_ON: dict[str, tuple[Basis, ...]] = {
    "key": (Basis.SIGNATURE,),
    "chain": (Basis.SIGNATURE,),
    "restarts": (Basis.RECOMPUTED, Basis.GROUP),
    "epsilon": (Basis.TWO_LIBRARIES,),
    "plan": (Basis.RECOMPUTED, Basis.SIGNATURE),
    "budget": (Basis.RECOMPUTED, Basis.GROUP),
    "refusals": (Basis.RECOMPUTED, Basis.SIGNATURE),
    "releases": (Basis.RECOMPUTED, Basis.SIGNATURE, Basis.GROUP),
    "tally": (Basis.RECOMPUTED, Basis.SIGNATURE),
    "stored": (Basis.RECOMPUTED, Basis.FILES),
    "code": (Basis.CODE, Basis.GROUP),
    "pins": (Basis.NO_ROSTER,),
    "seat": (Basis.GROUP, Basis.SERVER),
    "heads": (Basis.SERVER_SIGNATURE,),
    "forks": (Basis.RECOMPUTED,),
    "book": (Basis.SERVER_SIGNATURE,),
    "events": (Basis.SERVER,),
    "plans": (Basis.RECOMPUTED, Basis.SERVER),
    "secure": (Basis.SERVER,),
    "survivors": (Basis.RECOMPUTED, Basis.SERVER),
    "counted": (Basis.RECOMPUTED, Basis.SERVER),
    "models": (Basis.SERVER,),
    "members": (Basis.SERVER,),
    "witness": (Basis.SIGNATURE, Basis.SERVER),
    "both": (Basis.SIGNATURE, Basis.SERVER),
    "denied": (Basis.GROUP, Basis.SERVER),
    "published": (Basis.FILES, Basis.SERVER),
    "result": (Basis.RECOMPUTED, Basis.FILES),
    "card": (Basis.RECOMPUTED, Basis.FILES),
}
"""What each check rests on, where it does not say so itself; all names there are."""


def known_ids() -> frozenset[str]:
    """The names of all checks."""
    return frozenset(_RESTS_ON)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was checked.

    Attributes:
        id: its name, for programs; the same in every review.
        about: the group, or "server", "all" where it concerns them together.
        status: how it ended.
        finding: what was found, for readers who are no engineers: one sentence or two.
        rests_on: whose word or work it is; never empty.
    """

    id: str
    about: str
    status: Status
    finding: str
    rests_on: tuple[Basis, ...]

    def as_dict(self) -> dict[str, str | list[str]]:
        """JSON types."""
        return {
            "id": self.id,
            "about": self.about,
            "status": str(self.status),
            "words": self.finding,
            "rests_on": [str(basis) for basis in self.rests_on],
        }


def passed(id: str, about: str, finding: str, *rests_on: Basis) -> Check:
    """A check that holds; `rests_on` only where it differs from one review to another."""
    return _check(id, about, Status.PASS, finding, rests_on)


def failed(id: str, about: str, finding: str, *rests_on: Basis) -> Check:
    """A check that does not hold."""
    return _check(id, about, Status.FAIL, finding, rests_on)


def left_open(id: str, about: str, finding: str, *rests_on: Basis) -> Check:
    """A check that could not be made."""
    return _check(id, about, Status.OPEN, finding, rests_on)


def _check(id: str, about: str, status: Status, finding: str, rests_on: tuple[Basis, ...]) -> Check:
    return Check(
        id=id,
        about=about,
        status=status,
        finding=visible(finding),
        rests_on=rests_on or _RESTS_ON[id],
    )
