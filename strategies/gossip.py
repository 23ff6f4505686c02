"""Gossip: no server step, no aggregate; groups meet in pairs and keep a model each.

Every group takes :class:`strategies.fedadam.FedAdam`'s step from a vector of its own, along its own
private mean gradient. Then two groups meet, drawn anew in each round, and both go on from the mean
of their vectors (gossip learning, Hegedus, Danner and Jelasity 2019,
https://doi.org/10.1007/978-3-030-22496-7_5; randomised averaging as in NoLoCo, Kolehmainen et al.
2025, https://arxiv.org/abs/2506.10911). Unlike in NoLoCo what a group meets another with is its
whole step and no outer momentum: the moments of Adam stay at the group.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strategies.base import Visibility
from strategies.fedadam import FedAdam

Pair = tuple[str, ...]


@dataclass(kw_only=True)
class Gossip(FedAdam):
    """The step that a group takes by itself, and the mean of two vectors that meet.

    :meth:`move` and all that is remembered are of one group; the server has none of it. The noise
    is as large as in local mode and the step therefore short, with an average over rounds.
    """

    name: ClassVar[str] = "gossip"
    visibility: ClassVar[Visibility] = Visibility.NOTHING

    averaging: float = 0.9
    learning_rate: float = 0.008
    momentum: float = 0.5

    def meet(self, own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
        """The plain mean of two vectors, bit for bit the same on either side.

        Args:
            own: (d,) float32, what :meth:`step` has just returned.
            other: (d,) float32, the same of the partner.

        Returns:
            (d,) float32, where the next step of both begins.

        Raises:
            ValueError: The two differ in shape.
        """
        if own.shape != other.shape:
            raise ValueError(
                f"the partner's vector has shape {other.shape}, {own.shape} needed: give all "
                "groups one predictor"
            )
        met = 0.5 * (own.astype(np.float64) + other.astype(np.float64))
        if self._average is not None:
            # The average is one of the vectors that rounds ended with.
            self._average = self._average + (1 - self.averaging) * (met - own)
        return met.astype(np.float32)


def drawn_pairs(groups: Iterable[str], *, seed: int, round_number: int) -> tuple[Pair, ...]:
    """The pairs of a round: every group in one, and one group alone of an odd number.

    A public choice that everybody can draw again; no guarantee counts on it.

    Args:
        groups: Names of those who are there; their order is of no account.
        seed: Of the run.
        round_number: Of the round.

    Returns:
        Pairs, and maybe one group alone, each in alphabetical order, as are the pairs.
    """
    names = sorted(groups)
    random.Random(f"pairs {seed} {round_number}").shuffle(names)  # noqa: S311  # a public draw
    pairs = (tuple(sorted(names[at : at + 2])) for at in range(0, len(names), 2))
    return tuple(sorted(pairs))
