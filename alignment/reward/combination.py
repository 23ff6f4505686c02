"""Combinations of several groups' rewards into one, for where the groups disagree.

A :class:`Combination` is a frozen value. It combines a batch of rewards, and after the batch gives
the combination for the next one; so its state can be looked at, written down and taken up again,
and two trainings never share one. To add another, write a class with the four members of the
protocol and enter it in :data:`COMBINATIONS`.

Rewards must have a zero that means the same for every group, or the least of them says nothing: see
:meth:`alignment.reward.reward.RewardModel.rewards`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Combination(Protocol):
    """Combines the rewards of several groups into one."""

    #: By which it is chosen and written down.
    name: ClassVar[str]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of the rewards' rows."""

    def combine(self, rewards: FloatArray) -> FloatArray:
        """Rewards of groups, (groups, completions) float64, to one each, (completions,)."""

    def observe(self, rewards: FloatArray) -> Self:
        """The combination for the next batch, after the rewards of this one, as in `combine`."""

    def state(self) -> dict[str, Any]:
        """Everything about it, in types of JSON; :func:`combination_from` reads it."""


def _checked(rewards: FloatArray, groups: Sequence[str]) -> FloatArray:
    table = np.asarray(rewards, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(groups):
        raise ValueError(
            f"rewards have shape {table.shape}, need ({len(groups)}, completions): one row for "
            "each group"
        )
    if not np.isfinite(table).all():
        raise ValueError("rewards hold NaN or infinity: look for the group that gave them")
    return table


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """A combination without memory.

    Attributes:
        groups: In the order of the rewards' rows, at least one.
    """

    groups: tuple[str, ...]

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        if not self.groups or len(set(self.groups)) < len(self.groups):
            raise ValueError(f"groups = {self.groups!r} must name each group once, at least one")

    def observe(self, rewards: FloatArray) -> Self:
        """The same combination: it learns nothing."""
        _checked(rewards, self.groups)
        return self

    def state(self) -> dict[str, Any]:
        """Name and groups."""
        return {"name": self.name, "groups": list(self.groups)}


@dataclass(frozen=True, kw_only=True)
class MeanCombination(_Plain):
    """The mean over groups: every group counts alike, and a majority wins."""

    name: ClassVar[str] = "mean"

    def combine(self, rewards: FloatArray) -> FloatArray:
        """Mean of each column."""
        mean: FloatArray = _checked(rewards, self.groups).mean(axis=0)
        return mean


@dataclass(frozen=True, kw_only=True)
class MinCombination(_Plain):
    """The least reward of any group: a completion is as good as it is for whom it suits least."""

    name: ClassVar[str] = "min"

    def combine(self, rewards: FloatArray) -> FloatArray:
        """Least of each column."""
        least: FloatArray = _checked(rewards, self.groups).min(axis=0)
        return least


@dataclass(frozen=True, kw_only=True)
class AdaptiveCombination(_Plain):
    """A weighted mean in which groups that have been served badly so far weigh more.

    A group's weight is ``softmax(-history / temperature)``, its history the moving average of its
    mean reward. That is the weighting by past alignment of Srewa, Zhao and Elmalaki
    (arXiv:2512.08786, and APPA, arXiv:2604.04261). We deviate twice. They take the logarithm of the
    mean of ``exp(weight * reward)``, which is the weighted mean to first order, but for a factor;
    we take the weighted mean itself, so that training climbs towards the best worst group and not
    towards completions that one group adores. And they return to the plain mean where rewards are
    even (a fairness index of .9 or more); that index divides by the mean reward, which here may be
    zero or less, and even rewards give even weights anyway.

    Attributes:
        history: Moving average of each group's mean reward; empty before the first batch, when
            all weigh alike.
        temperature: In units of reward: a group that lies so far behind another weighs e = 2.7
            times as much. Towards 0 only the worst group counts, above all differences it is the
            mean.
        memory: Share of the history that a batch leaves in place; 0 looks at the last batch only.
    """

    history: tuple[float, ...] = ()
    temperature: float = 0.2
    memory: float = 0.8

    name: ClassVar[str] = "adaptive"

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature = {self.temperature!r} must be > 0: 0.2 is usual")
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory = {self.memory!r} must lie in [0, 1): 0.8 is usual")
        if self.history and len(self.history) != len(self.groups):
            raise ValueError(
                f"history has {len(self.history)} entries for {len(self.groups)} groups: give one "
                "for each, or none"
            )
        if not np.isfinite(self.history).all():
            raise ValueError("history holds NaN or infinity: begin anew without one")

    @property
    def weights(self) -> FloatArray:
        """Weights of the groups in the next batch, (groups,) float64; they sum to 1."""
        past = np.array(self.history or (0.0,) * len(self.groups))
        exponents = -past / self.temperature
        grown = np.exp(exponents - exponents.max())
        weights: FloatArray = grown / grown.sum()
        return weights

    def combine(self, rewards: FloatArray) -> FloatArray:
        """Weighted mean of each column."""
        combined: FloatArray = self.weights @ _checked(rewards, self.groups)
        return combined

    def observe(self, rewards: FloatArray) -> Self:
        """Take the mean rewards of a batch into the history; an empty batch changes nothing."""
        table = _checked(rewards, self.groups)
        if table.shape[1] == 0:
            return self
        now = table.mean(axis=1)
        past = np.array(self.history) if self.history else now
        moved = self.memory * past + (1 - self.memory) * now
        return replace(self, history=tuple(moved.tolist()))

    def state(self) -> dict[str, Any]:
        """Name, groups, history and settings."""
        settings = {"temperature": self.temperature, "memory": self.memory}
        return {**super().state(), "history": list(self.history), **settings}


#: Every combination by its name.
COMBINATIONS: Mapping[str, type[Combination]] = {
    each.name: each for each in (MeanCombination, MinCombination, AdaptiveCombination)
}


def combination_named(name: str, groups: Sequence[str]) -> Combination:
    """A combination with its usual settings.

    Raises:
        ValueError: There is none of this name, or the groups cannot be combined.
    """
    return combination_from({"name": name, "groups": list(groups)})


def combination_from(state: Mapping[str, Any]) -> Combination:
    """The combination whose ``state()`` this is.

    Raises:
        ValueError: It is no state of a combination.
    """
    fields = dict(state)
    name = fields.pop("name", None)
    if name not in COMBINATIONS:
        raise ValueError(f"combination {name!r} must be one of: {', '.join(COMBINATIONS)}")
    try:
        lists = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        made: Combination = COMBINATIONS[name](**lists)
    except TypeError as error:
        raise ValueError(f"is no state of the combination {name!r}: {error}") from error
    return made
