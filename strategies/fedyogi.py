"""Yogi at the server, on the mean update (Reddi et al. 2021, https://arxiv.org/abs/2003.00295)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from strategies.base import Vector
from strategies.fedadam import FedAdam


@dataclass(kw_only=True)
class FedYogi(FedAdam):
    """Yogi: a second moment that moves by steps of like size, up and down.

    Zaheer et al. 2018. After large updates Adam forgets them fast and its steps grow; Yogi forgets
    them slowly.

    Attributes:
        decay: How slowly the second moment moves, beta 2.
        floor: Where the root of the second moment begins, and what is added to it.
    """

    name: ClassVar[str] = "fedyogi"
    usual_floor: ClassVar[str] = "1e-4"

    floor: float = 1e-4

    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """See :meth:`strategies.base.Strategy.move`."""
        first = self.recall("first", mean_update)
        second = self.memory.get("second", np.full_like(mean_update, self.floor**2))
        square = mean_update**2
        first = self.momentum * first + (1 - self.momentum) * mean_update
        second = second - (1 - self.decay) * square * np.sign(second - square)
        self.memory = {"first": first, "second": second}
        first = first / (1 - self.momentum**self.steps)
        return current + self.learning_rate * first / (np.sqrt(second) + self.floor)
