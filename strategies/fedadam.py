"""Adam at the server, on the mean update (Reddi et al. 2021, https://arxiv.org/abs/2003.00295)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from strategies.base import Strategy, Vector


@dataclass(kw_only=True)
class FedAdam(Strategy):
    """Adam on the mean update, with bias correction.

    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.

    Attributes:
        learning_rate: Length of a step of a coordinate that always points one way.
        momentum: Share that the first moment keeps in each round, beta 1.
        decay: Share that the second moment keeps in each round, beta 2.
        floor: Added to the root of the second moment.
    """

    name: ClassVar[str] = "fedadam"
    remembers: ClassVar[tuple[str, ...]] = ("first", "second")
    #: As a refusal writes it.
    usual_floor: ClassVar[str] = "1e-8"

    learning_rate: float = 0.003
    momentum: float = 0.9
    decay: float = 0.99
    floor: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        rate = self.learning_rate
        self.require("learning_rate", 0 < rate <= 1, "lie in (0, 1]", "0.003 is usual")
        self.require("floor", self.floor > 0, "be > 0", f"{self.usual_floor} is usual")
        self.require_share("momentum", "decay")

    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """See :meth:`strategies.base.Strategy.move`."""
        first = self.recall("first", mean_update)
        second = self.recall("second", mean_update)
        first = self.momentum * first + (1 - self.momentum) * mean_update
        second = self.decay * second + (1 - self.decay) * mean_update**2
        self.memory = {"first": first, "second": second}
        first = first / (1 - self.momentum**self.steps)
        second = second / (1 - self.decay**self.steps)
        return current + self.learning_rate * first / (np.sqrt(second) + self.floor)
