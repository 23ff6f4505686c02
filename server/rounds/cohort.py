"""The cohort: nodes that take part at the moment, by the groups behind them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field


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
        identities: Public keys of the train groups, 32 bytes each; empty where vectors are neither
            private nor summed securely. They keep members apart for the server; members pin keys
            of their own.
        group_indices: Of each train group in the plan, counted from 0; nobody gets that of another.
        code: Digest of the code that each train group says it runs, for people to look at.
    """

    train: Mapping[str, int]
    held_out: Mapping[str, int]
    units: Mapping[str, int] = field(default_factory=dict)
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
