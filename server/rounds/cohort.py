"""The cohort: nodes that take part at the moment, by the groups behind them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a group's questionnaire says of itself; public.

    Attributes:
        digest: Of the file, hexadecimal.
        options: How many each of its questions has.
        distributions: Whether the group holds distributions of many persons.
    """

    digest: str
    options: tuple[int, ...]
    distributions: bool

    def as_dict(self) -> dict[str, object]:
        """JSON types."""
        return {
            "digest": self.digest,
            "questions": len(self.options),
            "options": sum(self.options),
            "options_by_question": list(self.options),
            "distributions": self.distributions,
        }


class CohortError(RuntimeError):
    """Too few groups answered."""


@dataclass(kw_only=True)
class Cohort:
    """Nodes by the name of their group, in alphabetical order of the groups.

    A :class:`server.rounds.membership.Membership` changes it between rounds and never within one:
    read it anew in every round.

    Attributes:
        train: Groups that train and are there.
        held_out: Groups that only measure and are there.
        units: Units of privacy that each train group declares; public, and empty where nothing is
            private. Like all that follows, of every train group that was ever let in.
        questionnaires: Of each train group, where answers are counted once; else empty.
        identities: Public keys of the train groups, 32 bytes each; empty where vectors are neither
            private nor summed securely. They keep members apart for the server; members pin keys
            of their own.
        group_indices: Of each train group in the plan, counted from 0; nobody gets that of another.
        code: Digest of the code that each train group says it runs, for people to look at.
    """

    train: Mapping[str, int]
    held_out: Mapping[str, int]
    units: Mapping[str, int] = field(default_factory=dict)
    questionnaires: Mapping[str, Asked] = field(default_factory=dict)
    identities: Mapping[str, bytes] = field(default_factory=dict)
    group_indices: Mapping[str, int] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    def drawn(self, number: int, *, seed: int, size: int) -> Mapping[str, int]:
        """The train groups that a round asks, in alphabetical order.

        Everybody can draw them again: a public choice, which hides nobody and is counted on by no
        guarantee.

        Args:
            number: Of the round.
            seed: Of the run.
            size: Groups of a round; 0, or more than there are, takes all.
        """
        if not 0 < size < len(self.train):
            return self.train
        chosen = random.Random(f"groups {seed} {number}").sample(sorted(self.train), size)  # noqa: S311 - public, to be drawn again by anybody
        return {group: self.train[group] for group in sorted(chosen)}
