"""Robust means, which a few bad groups cannot move far, as Flower computes them.

For runs that show the server every group's update; the strategies that ask for them are in
``strategies.robust``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from flwr.server.strategy.aggregate import aggregate_krum, aggregate_median, aggregate_trimmed_avg
from numpy.typing import NDArray

from strategies.base import Strategy, Visibility
from strategies.robust import FedMedian, FedTrimmedAvg, Krum

#: Turns the groups' vectors, (n, d) float64, into one, (d,) float64.
Rule: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def rule_for(strategy: Strategy) -> Rule | None:
    """The rule that a strategy asks for: Flower's, or its own; None where it takes the mean.

    Raises:
        ValueError: It wants to see every update and does not say how to combine them.
    """
    if strategy.visibility is not Visibility.INDIVIDUAL:
        return None
    if isinstance(strategy, FedMedian):
        return lambda vectors: _only(aggregate_median(_results(vectors)))
    if isinstance(strategy, FedTrimmedAvg):
        trim = strategy.trim
        return lambda vectors: _only(aggregate_trimmed_avg(_results(vectors), trim))
    if isinstance(strategy, Krum):
        krum = strategy
        return lambda vectors: _krum(vectors, krum)
    if type(strategy).combine is Strategy.combine:
        raise ValueError(
            f"strategy {strategy.name} sees every update and does not say what to do with them: "
            "define combine()"
        )
    return strategy.combine


def _krum(vectors: NDArray[np.float64], krum: Krum) -> NDArray[np.float64]:
    # Flower takes to_keep = 0 for Krum itself, and the mean of so many nearest for more.
    keep = 0 if krum.keep == 1 else min(krum.keep, len(vectors))
    return _only(aggregate_krum(_results(vectors), krum.malicious, keep))


def _results(vectors: NDArray[np.float64]) -> list[tuple[list[NDArray[np.float64]], int]]:
    """Every group counts alike."""
    return [([vector], 1) for vector in vectors]


def _only(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    (vector,) = arrays
    return np.asarray(vector, dtype=np.float64)
