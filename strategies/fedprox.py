"""FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127): groups are held near the start.

Where groups differ much and train long between rounds, each drifts to an optimum of its own. A
proximal term in the loss of every group, half of ``proximal`` times the squared distance from the
vector of the round, holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from strategies.fedavg import FedAvg
from strategies.wire.round_plan import Scalar


@dataclass(kw_only=True)
class FedProx(FedAvg):
    """Federated averaging of groups that are held near where they started.

    Attributes:
        proximal: mu, the weight of the proximal term.
    """

    name: ClassVar[str] = "fedprox"
    local_training: ClassVar[bool] = True

    proximal: float = 0.01

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("proximal", self.proximal > 0, "be > 0", "0.01 is usual; fedavg has none")

    def tasks(self) -> Mapping[str, Scalar]:
        """See :meth:`strategies.base.Strategy.tasks`."""
        return {"proximal": self.proximal}
