"""Measurement of the global vector on held-out groups, whose answers are public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from server.config import FederationConfig
from server.rounds.cohort import Cohort, CohortError
from server.rounds.collection import ask
from strategies.wire.round_plan import RoundPlan


def is_measured(number: int, config: FederationConfig) -> bool:
    """Whether held-out groups measure after a round; 0 is before training."""
    every = config.evaluate_every
    return number == config.rounds or (every > 0 and number % every == 0)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Means over all (group, target) pairs of the held-out groups that answered.

    Attributes:
        alignment: Alignment score.
        log_loss: Of the same predictions, nats.
        accuracy: Over the answers to pairs; None where not all groups answer pairs.
        margin: The same of log-odds of the preferred response, nats.
    """

    alignment: float
    log_loss: float
    accuracy: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class HeldOutEvaluation:
    """Asks held-out groups to measure, where a round is due.

    Attributes:
        grid: The way to the clients.
        cohort: Read anew in every round.
        config: When to measure, and how long to wait.
    """

    grid: Grid
    cohort: Cohort
    config: FederationConfig

    def measure(
        self,
        plan: RoundPlan,
        vector: NDArray[np.float32],
        shown: Mapping[str, RecordDict] | None = None,
    ) -> Measurement | None:
        """Have held-out groups measure; None where it is not due, or nobody answered.

        Args:
            plan: Of the round.
            vector: (d,) float32, what the server would publish.
            shown: What held-out groups are sent in place of it; None sends the vector.

        Raises:
            CohortError: A group measured on answers that are not public.
        """
        held_out = self.cohort.held_out
        if not is_measured(plan.round, self.config) or not held_out:
            return None
        if shown is None:
            shown = dict.fromkeys(held_out, RecordDict({"model": ArrayRecord([vector])}))
        wire = ConfigRecord(dict(plan.to_wire()))
        replies = ask(
            self.grid,
            held_out,
            "evaluate",
            {group: RecordDict({**content, "plan": wire}) for group, content in shown.items()},
            round_number=plan.round,
            config=self.config,
        )
        return _mean_over_targets(list(replies.values()))


def _mean_over_targets(replies: list[RecordDict]) -> Measurement | None:
    metrics = [content.metric_records["metrics"] for content in replies]
    if not all(m["public"] == 1 for m in metrics):
        raise CohortError("a group measured on answers that are not public: do not ask it")
    if not metrics:
        return None
    alignment, log_loss = _weighed(metrics, ("alignment", "log_loss"), by="targets")
    if not all("accuracy" in m for m in metrics):
        return Measurement(alignment=alignment, log_loss=log_loss)
    accuracy, margin = _weighed(metrics, ("accuracy", "margin"), by="answers")
    return Measurement(alignment=alignment, log_loss=log_loss, accuracy=accuracy, margin=margin)


def _weighed(metrics: Sequence[MetricRecord], names: Sequence[str], *, by: str) -> list[float]:
    """The means of some figures, each group weighed by how many stand behind its own."""
    weights = np.array([float(str(m[by])) for m in metrics])
    return [
        float(weights @ [float(str(m[name])) for m in metrics] / weights.sum()) for name in names
    ]
