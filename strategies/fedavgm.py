"""Momentum at the server (Hsu et al. 2019, https://arxiv.org/abs/1909.06335)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Strategy, Vector


@dataclass(kw_only=True)
class FedAvgM(Strategy):
    """Moves by a running sum of the mean updates.

    Attributes:
        learning_rate: Share of that sum to go.
        momentum: Share of itself that the sum keeps in each round.
    """

    name: ClassVar[str] = "fedavgm"
    remembers: ClassVar[tuple[str, ...]] = ("velocity",)

    learning_rate: float = 0.5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("learning_rate", 0 < self.learning_rate <= 2, "lie in (0, 2]", "0.5 is usual")
        self.require_share("momentum")

    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """See :meth:`strategies.base.Strategy.move`."""
        velocity = self.momentum * self.recall("velocity", mean_update) + mean_update
        self.memory["velocity"] = velocity
        return current + self.learning_rate * velocity
