"""Federated averaging (McMahan et al. 2017) with a public, constant weight per group.

Each group counts alike, whatever the number of its records: weights by size would tell the server,
and under differential privacy every other group, how many records there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strategies.base import State, StateRefused, Visibility


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Moves to the mean of the groups' vectors.

    Attributes:
        server_learning_rate: Share of the way to go; 1 is plain averaging.
    """

    server_learning_rate: float = 1.0
    visibility: ClassVar[Visibility] = Visibility.SUM

    def step(
        self, current: NDArray[np.float32], mean_update: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Take one step; see :class:`strategies.base.SumStrategy`."""
        moved = current.astype(np.float64) + self.server_learning_rate * mean_update
        return moved.astype(np.float32)

    def published(self, current: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector itself; see :class:`strategies.base.SumStrategy`."""
        return current

    def state(self) -> State:
        """Nothing is remembered; see :class:`strategies.base.SumStrategy`."""
        return {}

    def restore(self, state: State) -> None:
        """See :class:`strategies.base.SumStrategy`."""
        if state:
            raise StateRefused(
                f"the state holds {min(state)!r}, which FedAvg does not have: restore the state "
                "of the strategy that the run has"
            )
