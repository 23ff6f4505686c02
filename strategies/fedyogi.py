"""Yogi at the server, on the mean update (Reddi et al. 2021, https://arxiv.org/abs/2003.00295)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from strategies.base import Strategy


@dataclass(kw_only=True)
class FedYogi(Strategy):
    """Yogi: a second moment that moves by steps of like size, up and down.

    Zaheer et al. 2018. After large updates Adam forgets them fast and its steps grow; Yogi forgets
    them slowly.

    Attributes:
        learning_rate: Length of a step of a coordinate that always points one way.
        momentum: Share that the first moment keeps in each round, beta 1.
        decay: How slowly the second moment moves, beta 2.
        floor: Where the root of the second moment begins, and what is added to it.
    """

    name: ClassVar[str] = "fedyogi"
    remembers: ClassVar[tuple[str, ...]] = ("first", "second")

    learning_rate: float = 0.003
    momentum: float = 0.9
    decay: float = 0.99
    floor: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        rate = self.learning_rate
        self.require("learning_rate", 0 < rate <= 1, "lie in (0, 1]", "0.003 is usual")
        self.require("floor", self.floor > 0, "be > 0", "1e-4 is usual")
        self.require_share("momentum", "decay")

    def move(
        self, current: NDArray[np.float64], mean_update: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """See :meth:`strategies.base.Strategy.move`."""
        first = self.recall("first", mean_update)
        second = self.memory.get("second", np.full_like(mean_update, self.floor**2))
        square = mean_update**2
        first = self.momentum * first + (1 - self.momentum) * mean_update
        second = second - (1 - self.decay) * square * np.sign(second - square)
        self.memory = {"first": first, "second": second}
        first = first / (1 - self.momentum**self.steps)
        return current + self.learning_rate * first / (np.sqrt(second) + self.floor)
