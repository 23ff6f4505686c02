"""Averages that a few bad groups cannot move far, for runs that show the server every update.

Each names its rule; ``server.aggregation.robust`` has Flower compute it, as strategies know no
Flower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Visibility
from strategies.fedavg import FedAvg


@dataclass(kw_only=True)
class FedMedian(FedAvg):
    """Moves to the median of every coordinate.

    Yin et al. 2018, https://arxiv.org/abs/1803.01498.
    """

    name: ClassVar[str] = "fedmedian"
    visibility: ClassVar[Visibility] = Visibility.INDIVIDUAL


@dataclass(kw_only=True)
class FedTrimmedAvg(FedAvg):
    """Moves to the mean of every coordinate without its largest and smallest values.

    Yin et al. 2018, https://arxiv.org/abs/1803.01498.

    Attributes:
        trim: Share of the groups that is left out on each side.
    """

    name: ClassVar[str] = "fedtrimmedavg"
    visibility: ClassVar[Visibility] = Visibility.INDIVIDUAL

    trim: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("trim", 0 <= self.trim < 0.5, "lie in [0, 0.5)", "0.2 is usual")


@dataclass(kw_only=True)
class Krum(FedAvg):
    """Moves to the one vector that is nearest to most others.

    Blanchard et al. 2017, https://arxiv.org/abs/1703.02757; with ``keep`` above 1 to the mean of
    the so many nearest, Multi-Krum.

    Attributes:
        malicious: Groups that may send anything.
        keep: Vectors whose mean is taken.
    """

    name: ClassVar[str] = "krum"
    visibility: ClassVar[Visibility] = Visibility.INDIVIDUAL

    malicious: int = 1
    keep: int = 1

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("malicious", self.malicious >= 0, "be >= 0", "1 is usual")
        self.require("keep", self.keep >= 1, "be >= 1", "1 is Krum itself")
