"""q-fair federated learning (Li et al. 2020, https://arxiv.org/abs/1905.10497)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from strategies.fedavg import FedAvg
from strategies.wire.round_plan import Scalar


@dataclass(kw_only=True)
class QFair(FedAvg):
    """Averages groups that count more the worse they are predicted.

    The weights are made where the records are: see ``alignment.training.weighting``. Without
    differential privacy a group weighs its update, with it every unit is weighed inside the clip.

    Attributes:
        q: How much more; 0 would count all alike.
    """

    name: ClassVar[str] = "qfair"

    q: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("q", 0 < self.q <= 10, "lie in (0, 10]", "1 is usual; fedavg has none")

    def tasks(self) -> Mapping[str, Scalar]:
        """See :meth:`strategies.base.Strategy.tasks`."""
        return {"fairness": self.q}
