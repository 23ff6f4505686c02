"""The base of every strategy: its view of a round, what it asks of the groups, and its step.

A strategy is one class in one file. It says how the global vector moves, in :meth:`Strategy.move`;
what it remembers from round to round it keeps in :attr:`Strategy.memory`, and checkpoints, resuming
and averaging follow from that. A file in this folder is found by the name of its strategy, a file
elsewhere as ``path/to/file.py:ClassName``; see ``strategies.registry``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from strategies.wire.round_plan import Scalar


class Visibility(Enum):
    """The view of a round that a strategy needs."""

    #: The sum over all groups: all that secure aggregation shows.
    SUM = "sum"
    #: Every group's update on its own: refused under secure aggregation.
    INDIVIDUAL = "individual"
    #: Nothing at all: the groups take the step, each with a vector and a memory of its own.
    NOTHING = "nothing"


class StateRefused(ValueError):
    """The arrays to be restored are no state of this strategy."""


#: Numbers in double precision; (d,), one for every coordinate of the model, unless said otherwise.
Vector: TypeAlias = NDArray[np.float64]
#: What a strategy remembers from round to round, by name.
State = Mapping[str, NDArray[Any]]

_STEPS, _AVERAGE = "steps", "average"


@dataclass(kw_only=True)
class Strategy(ABC):
    """Turns the mean update of a round into the next global vector.

    Subclasses are dataclasses of their settings: every field is one, with a default.

    Attributes:
        averaging: Share that a running average of the global vectors keeps in each round. That
            average is then what is measured and published: where noise makes single vectors noisy
            it is better than any, and as post-processing it costs nothing (Polyak and Juditsky
            1992). 0 publishes the last vector.
    """

    #: How it is found in settings.
    name: ClassVar[str] = ""
    #: The view of a round that it needs.
    visibility: ClassVar[Visibility] = Visibility.SUM
    #: Whether it counts on groups that take many steps of their own in a round.
    local_training: ClassVar[bool] = False
    #: Names of the (d,) float64 vectors in :attr:`memory`.
    remembers: ClassVar[tuple[str, ...]] = ()

    averaging: float = 0.0
    #: What it remembers from round to round; empty before the first step.
    memory: dict[str, Vector] = field(default_factory=dict, init=False, repr=False, compare=False)
    #: Steps taken so far, the one under way included.
    steps: int = field(default=0, init=False, repr=False, compare=False)
    _average: Vector | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        self.require_share("averaging")

    @abstractmethod
    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """The next global vector.

        Args:
            current: (d,), the vector the groups started from; not to be changed.
            mean_update: (d,), mean over the groups of (their vector - current); not to be changed.

        Returns:
            (d,), the vector of the next round.
        """

    def combine(self, updates: NDArray[np.float64]) -> Vector:
        """The one update of a round, where the strategy sees every group's own.

        Called for :attr:`Visibility.INDIVIDUAL` alone; all others move by the mean.

        Args:
            updates: (n, d), of every group (its vector - current).

        Returns:
            (d,), the ``mean_update`` of :meth:`move`.
        """
        raise NotImplementedError(f"strategy {self.name} does not say how to combine updates")

    def tasks(self) -> Mapping[str, Scalar]:
        """Settings of ``training`` that this strategy decides for every group."""
        return {}

    def recall(self, name: str, like: Vector) -> Vector:
        """A vector that is remembered; zeros before the first step."""
        return self.memory[name] if name in self.memory else np.zeros_like(like)

    def step(self, current: NDArray[np.float32], mean_update: Vector) -> NDArray[np.float32]:
        """Take one step.

        Args:
            current: (d,) float32, the vector the groups started from.
            mean_update: (d,) float64, mean over the groups of (their vector - current).

        Returns:
            (d,) float32, the vector of the next round.

        Raises:
            ValueError: The two differ in shape, or from what is remembered.
        """
        for needed in {current.shape, *(vector.shape for vector in self.memory.values())}:
            if mean_update.shape != needed:
                raise ValueError(
                    f"the mean update has shape {mean_update.shape}, {needed} needed: give every "
                    "round, and a restored state, one number of coordinates"
                )
        self.steps += 1
        moved = self.move(current.astype(np.float64), mean_update)
        if self.averaging > 0:
            before = np.zeros_like(moved) if self._average is None else self._average
            self._average = self.averaging * before + (1 - self.averaging) * moved
        return moved.astype(np.float32)

    def published(self, current: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector that is measured and published when training stands at another.

        Args:
            current: (d,) float32, what :meth:`step` returned last, or the first vector.

        Returns:
            (d,) float32; ``current`` itself, unless there is an average.
        """
        if self._average is None:
            return current
        # The average starts at zero: divided by the weights it holds, it is one of iterates.
        return (self._average / (1 - self.averaging**self.steps)).astype(np.float32)

    def state(self) -> State:
        """All that the next step depends on; later steps leave these arrays as they are."""
        if self.steps == 0:
            return {}
        kept = {name: vector.copy() for name, vector in self.memory.items()}
        average = {} if self._average is None else {_AVERAGE: self._average}
        return {**kept, **average, _STEPS: np.array([self.steps], dtype=np.int64)}

    def restore(self, state: State) -> None:
        """Go on as the strategy whose :meth:`state` this was; settings are not part of it.

        Raises:
            StateRefused: An array is missing, unknown, or of another shape or type.
        """
        vectors = (*self.remembers, *((_AVERAGE,) if self.averaging > 0 else ()))
        expected = {*vectors, _STEPS} if state else set()
        remedy = "restore the state of the strategy that the run has"
        if odd := expected ^ set(state):
            raise StateRefused(
                f"the state lacks {min(odd)!r}, or has it beyond {sorted(expected)}: {remedy}"
            )
        shapes = {state[name].shape for name in vectors} if state else set()
        for name in vectors if state else ():
            found = state[name]
            if found.ndim != 1 or len(shapes) > 1 or found.dtype != np.float64:
                raise StateRefused(
                    f"{name} is {found.dtype} of shape {found.shape}, float64 of one shape (d,) "
                    f"needed: {remedy}"
                )
        steps = state[_STEPS] if state else np.zeros(1, dtype=np.int64)
        if steps.shape != (1,) or steps.dtype != np.int64 or (state and not steps[0] > 0):
            raise StateRefused(f"{_STEPS} is {steps!r}, one int64 above 0 needed: {remedy}")
        self.steps = int(steps[0])
        self.memory = {name: np.array(state[name]) for name in self.remembers if state}
        self._average = np.array(state[_AVERAGE]) if _AVERAGE in state else None

    def require(self, name: str, holds: bool, bound: str, remedy: str) -> None:
        """Refuse a setting that does not hold, or is no finite number."""
        value = getattr(self, name)
        if not (math.isfinite(value) and holds):
            raise ValueError(f"{name} = {value!r} must {bound}: {remedy}")

    def require_share(self, *names: str) -> None:
        """Refuse a setting outside [0, 1)."""
        for name in names:
            self.require(name, 0 <= getattr(self, name) < 1, "lie in [0, 1)", "lower it")
