"""What every strategy promises: which view of the updates it needs, and one step per round."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Visibility(Enum):
    """What a strategy must see of a round."""

    #: The sum over all groups: all that secure aggregation shows.
    SUM = "sum"
    #: Every group's update on its own: refused under secure aggregation.
    INDIVIDUAL = "individual"


class StrategyRefused(ValueError):
    """A strategy needs to see what this run hides."""


class StateRefused(ValueError):
    """What is to be restored is no state of this strategy."""


#: What a strategy remembers from round to round, by name.
State = Mapping[str, NDArray[Any]]


class SumStrategy(Protocol):
    """Turns the mean update of a round into the next global vector."""

    @property
    def visibility(self) -> Visibility:
        """What the strategy must see."""

    def step(
        self, current: NDArray[np.float32], mean_update: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Take one step.

        Args:
            current: (d,) float32, the vector the groups started from.
            mean_update: (d,) float64, mean over the groups of (their vector - current).

        Returns:
            (d,) float32, the vector of the next round.
        """

    def published(self, current: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is measured and published when training stands at a vector.

        Args:
            current: (d,) float32, what ``step`` returned last, or the first vector.

        Returns:
            (d,) float32; ``current`` itself, unless the strategy averages.
        """

    def state(self) -> State:
        """All that the next step depends on; later steps leave these arrays as they are."""

    def restore(self, state: State) -> None:
        """Go on as the strategy whose :meth:`state` this was; settings are not part of it.

        Raises:
            StateRefused: An array is missing, unknown, or of another shape or type.
        """


def require_visible(strategy: SumStrategy, *, secure_aggregation: bool) -> None:
    """Refuse a strategy that needs what secure aggregation hides.

    Raises:
        StrategyRefused: It needs every group's own update.
    """
    if secure_aggregation and strategy.visibility is Visibility.INDIVIDUAL:
        raise StrategyRefused(
            f"{type(strategy).__name__} needs every group's own update, which secure aggregation "
            "hides: choose another, or give up hiding with federation.secure_aggregation = false"
        )
