"""Federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629).

Each group counts alike, whatever the number of its records: weights by size would tell the server,
and under differential privacy every other group, how many records there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Strategy, Vector


@dataclass(kw_only=True)
class FedAvg(Strategy):
    """Moves to the mean of the groups' vectors.

    Attributes:
        learning_rate: Share of the way to go; 1 is plain averaging.
    """

    name: ClassVar[str] = "fedavg"

    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        rate = self.learning_rate
        self.require("learning_rate", 0 < rate <= 2, "lie in (0, 2]", "1 is plain averaging")

    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """See :meth:`strategies.base.Strategy.move`."""
        return current + self.learning_rate * mean_update
