"""A server optimiser on the mean update (Reddi et al. 2021, https://arxiv.org/abs/2003.00295).

Adam on what the groups' sum says, with bias correction. Where differential privacy adds noise to
every update, single iterates are noisy too: what is published is then a running average of them,
which is post-processing and costs nothing (Polyak and Juditsky 1992).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strategies.base import State, StateRefused, Visibility


@dataclass(kw_only=True)
class FedAdam:
    """Adam (Kingma and Ba 2015) at the server.

    Attributes:
        learning_rate: Length of a step of a coordinate that always points one way.
        momentum: Share that the first moment keeps in each round, beta 1.
        memory: Share that the second moment keeps in each round, beta 2.
        floor: Added to the root of the second moment.
        averaging: Share that the published average keeps in each round; 0 publishes the iterate.
    """

    learning_rate: float
    momentum: float = 0.9
    memory: float = 0.99
    floor: float = 1e-8
    averaging: float = 0.0
    visibility: ClassVar[Visibility] = Visibility.SUM

    _steps: int = field(default=0, init=False, repr=False)
    _first: NDArray[np.float64] | None = field(default=None, init=False, repr=False)
    _second: NDArray[np.float64] | None = field(default=None, init=False, repr=False)
    _average: NDArray[np.float64] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate = {self.learning_rate} must be > 0: 0.01 is usual")
        for name in ("momentum", "memory", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in [0, 1): lower it")

    def step(
        self, current: NDArray[np.float32], mean_update: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Take one step; see :class:`strategies.base.SumStrategy`."""
        if self._first is None or self._second is None:
            self._first = np.zeros_like(mean_update)
            self._second = np.zeros_like(mean_update)
        if mean_update.shape != self._first.shape:
            raise ValueError(
                f"the mean update has shape {mean_update.shape}, the moments {self._first.shape}: "
                "give every round, and a restored state, one number of coordinates"
            )
        self._steps += 1
        self._first = self.momentum * self._first + (1 - self.momentum) * mean_update
        self._second = self.memory * self._second + (1 - self.memory) * mean_update**2
        first = self._first / (1 - self.momentum**self._steps)
        second = self._second / (1 - self.memory**self._steps)
        moved = current + self.learning_rate * first / (np.sqrt(second) + self.floor)
        self._remember(moved)
        return moved.astype(np.float32)

    def published(self, current: NDArray[np.float32]) -> NDArray[np.float32]:
        """The average of the iterates so far; see :class:`strategies.base.SumStrategy`."""
        if self._average is None or self.averaging == 0:
            return current
        # The average starts at zero: divided by the weights it holds, it is one of iterates.
        return (self._average / (1 - self.averaging**self._steps)).astype(np.float32)

    def state(self) -> State:
        """Moments, average and steps; see :class:`strategies.base.SumStrategy`."""
        if self._first is None or self._second is None:
            return {}
        average = {} if self._average is None else {"average": self._average}
        steps = np.array([self._steps], dtype=np.int64)
        return {"first": self._first, "second": self._second, "steps": steps, **average}

    def restore(self, state: State) -> None:
        """See :class:`strategies.base.SumStrategy`."""
        vectors = ("first", "second", *(("average",) if self.averaging else ()))
        expected = {*vectors, "steps"} if state else set()
        if odd := expected ^ set(state):
            raise StateRefused(
                f"the state lacks {min(odd)!r}, or has it beyond {sorted(expected)}: restore the "
                "state of the strategy that the run has"
            )
        for name in sorted(expected):
            shape = (1,) if name == "steps" else state["first"].shape
            kind = np.int64 if name == "steps" else np.float64
            found = state[name]
            if found.ndim != 1 or found.shape != shape or found.dtype != kind:
                raise StateRefused(
                    f"{name} is {found.dtype} of shape {found.shape}, {np.dtype(kind)} of shape "
                    f"{shape} needed: restore the state of the strategy that the run has"
                )
        if state and not state["steps"][0] > 0:
            raise StateRefused(f"steps = {state['steps'][0]} must be > 0: restore another state")
        self._steps = int(state["steps"][0]) if state else 0
        self._first, self._second, self._average = (
            np.array(state[name]) if name in state else None
            for name in ("first", "second", "average")
        )

    def _remember(self, moved: NDArray[np.float64]) -> None:
        if self.averaging == 0:
            return
        before = np.zeros_like(moved) if self._average is None else self._average
        self._average = self.averaging * before + (1 - self.averaging) * moved
