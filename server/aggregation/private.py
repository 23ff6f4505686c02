"""Sums of noised integers and private means: the vectors of a round under a privacy plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import RecordDict

from privacy.accounting.choices import Mode
from privacy.accounting.release import mean_of_sum, sum_of_shares
from privacy.kernel.quantisation import dequantised_mean
from privacy.kernel.types import Modular
from privacy.secagg.round_terms import VectorTerms
from server.aggregation.base import (
    Aggregation,
    Combined,
    mean_of_floats,
    quantised_terms,
    released,
)
from server.aggregation.registration import PlanSections, RegisteredPlan
from server.aggregation.robust import rule_for
from server.config import RunConfig
from server.rounds.cohort import Cohort
from strategies.base import Vector
from strategies.wire.round_plan import RoundPlan, Scalar

#: A noised sum is divided by where it is at least so many standard deviations of its noise.
_CLEAR = 4.0


class PrivateAggregation(Aggregation):
    """Sums noised integers in distributed mode, averages private means in local mode.

    Args:
        registered: The plan of the run.
        config: The run.
        cohort: Who has which group index; where it is not given, as at the start.
    """

    def __init__(
        self, registered: RegisteredPlan, config: RunConfig, cohort: Cohort | None = None
    ) -> None:
        if registered.layout is None or registered.warmup is None:
            raise ValueError("the plan counts answers once: its rounds sum no gradients")
        self._registered = registered
        self._layout = registered.layout
        self._sections = PlanSections(registered, config, cohort)
        self._rule = rule_for(config.strategy.make())
        self._head_only = registered.warmup.within(registered.layout)

    def work(self, group: str) -> Mapping[str, Scalar]:
        """What a group is told; see :class:`server.aggregation.base.Aggregation`."""
        return self._sections.of(group)

    @property
    def fewest(self) -> int:
        """As the plan's noise counts on them; see :class:`server.aggregation.base.Aggregation`."""
        plan = self._registered.plan
        return plan.survivors if plan.mode is Mode.DISTRIBUTED else 1

    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Noised integers, or quantised means; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is Mode.DISTRIBUTED:
            return VectorTerms.of_plan(promised)
        return quantised_terms(promised.dimension, members=members, plan=promised.digest())

    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> Vector:
        """Sum or average in the clear; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is not Mode.DISTRIBUTED:
            return mean_of_floats(updates, promised.dimension, self._rule)
        shares: Sequence[Any] = [released(group, each) for group, each in updates.items()]
        return mean_of_sum(sum_of_shares(shares, promised), promised, shares=len(shares))

    def mean_of_sum(self, plan: RoundPlan, total: Modular, *, members: int, summed: int) -> Vector:
        """Lift and scale; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is not Mode.DISTRIBUTED:
            return dequantised_mean(total, members=members)
        return mean_of_sum(total, promised, shares=summed)

    def combine(self, mean: Vector, *, dimension: int, train_adapter: bool) -> Combined:
        """Part gradient and metrics; the update points down the gradient."""
        plan, layout = self._registered.plan, self._layout
        if not train_adapter:
            # The rest is noise alone.
            mean = np.where(self._head_only, mean, 0.0)
        gradient, metrics = layout.split(mean)
        whole = np.zeros(dimension, dtype=np.float32)
        update = -layout.embed(whole, np.asarray(gradient, dtype=np.float32)).astype(np.float64)
        loss = mean_loss(metrics, noise_std=plan.noise_std_per_coordinate)
        return Combined(update=update, loss=loss)


def mean_loss(metrics: Mapping[str, float], *, noise_std: float) -> float | None:
    """The mean loss of units, by their weights in the clip and how little each was clipped; noisy.

    Args:
        metrics: Noised sums of ``loss`` and ``units``, of one scale.
        noise_std: Of the noise on either.

    Returns:
        None where the noise could be most of what the loss is divided by: the quotient would then
        be any number.
    """
    drowned = metrics["units"] < _CLEAR * noise_std
    return None if drowned else metrics["loss"] / metrics["units"]
