"""The loop: plan a round, send it, add up what comes back, take the strategy's step.

No torch here: the server handles vectors.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from server.aggregation import Aggregation
from server.cohort import Cohort, CohortError
from server.config import RunConfig
from strategies.base import SumStrategy
from strategies.round_plan import RoundPlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """What is kept of a round: nothing about a single group but that it took part.

    Attributes:
        round: Counted from 1; 0 is the measurement before training.
        rounds: Rounds of the whole run.
        train_adapter: Whether adapters trained, or the head alone.
        groups: Groups whose updates are in the sum.
        dropped: Groups that were asked and did not answer, or failed.
        loss: Mean training loss, nats; None in round 0. In a private run it comes out of the
            noised sum and is as noisy as that.
        alignment: Mean alignment score on the held-out groups, whose answers are public; None
            where not measured.
        log_loss: Mean log-loss of the same predictions, nats.
        seconds_train: From sending the round to its sum.
        seconds_evaluate: Of the measurement.
    """

    round: int
    rounds: int
    train_adapter: bool
    groups: int
    dropped: tuple[str, ...]
    loss: float | None
    alignment: float | None
    log_loss: float | None
    seconds_train: float
    seconds_evaluate: float


Observer = Callable[[RoundRecord], None]


class RoundLoop:
    """Runs the rounds of one federation.

    Args:
        grid: The way to the clients.
        cohort: Who takes part.
        config: The run.
        strategy: What is done with the mean update.
        aggregation: How the vectors of a round become their mean update.
        observers: Told of every round as it ends.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        cohort: Cohort,
        config: RunConfig,
        strategy: SumStrategy,
        aggregation: Aggregation,
        observers: Iterable[Observer] = (),
    ) -> None:
        self._grid = grid
        self._cohort = cohort
        self._config = config
        self._strategy = strategy
        self._aggregation = aggregation
        self._observers = tuple(observers)

    def plan(self, number: int) -> RoundPlan:
        """The plan of a round: the same for all groups."""
        federation = self._config.federation
        after_warmup = number - federation.warmup_rounds
        done = max(0, after_warmup - 1) / max(1, federation.adapter_rounds - 1)
        return RoundPlan(
            round=number,
            seed=self._config.seed,
            train_adapter=after_warmup > 0,
            learning_rate_scale=1.0 - done * (1.0 - federation.final_learning_rate_scale),
            predictor=asdict(self._config.predictor),
            training=asdict(self._config.training),
            context=asdict(self._config.context),
        )

    def run(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run all rounds from a first global vector, (d,) float32; return what is published.

        Raises:
            CohortError: Too few groups answered in a round.
        """
        rounds = self._config.federation.rounds
        self._report(0, vector, groups=0, dropped=(), loss=None, seconds_train=0.0)
        for number in range(1, rounds + 1):
            start = time.perf_counter()
            updates = self._send("train", self._cohort.train, vector, self.plan(number))
            if len(updates) < self._config.federation.minimum_groups:
                raise CohortError(
                    f"round {number}: {len(updates)} of {len(self._cohort.train)} groups answered, "
                    f"{self._config.federation.minimum_groups} needed: look at the clients' logs"
                )
            combined = self._aggregation.combine(
                updates,
                dimension=vector.size,
                train_adapter=number > self._config.federation.warmup_rounds,
            )
            vector = self._strategy.step(vector, combined.update)
            self._report(
                number,
                vector,
                groups=len(updates),
                dropped=tuple(name for name in self._cohort.train if name not in updates),
                loss=combined.loss,
                seconds_train=time.perf_counter() - start,
            )
        return self._strategy.published(vector)

    def _send(
        self, kind: str, nodes: Mapping[str, int], vector: NDArray[np.float32], plan: RoundPlan
    ) -> dict[str, RecordDict]:
        """Send the vector and the plan to nodes; answers by group, in order of their names."""
        model = ArrayRecord([vector])
        group_id = str(plan.round)
        messages = []
        for group, node in nodes.items():
            told = replace(plan, privacy=self._aggregation.work(group) if kind == "train" else {})
            content = RecordDict({"model": model, "plan": ConfigRecord(dict(told.to_wire()))})
            messages.append(Message(content, node, kind, group_id=group_id))
        names = {node: group for group, node in nodes.items()}
        answers: dict[str, RecordDict] = {}
        timeout = self._config.federation.round_timeout_seconds
        for reply in self._grid.send_and_receive(messages, timeout=timeout):
            # An error's text may quote a client's data: its code is all that is logged.
            if reply.has_error():
                logger.warning("round %d: a group failed, code %s", plan.round, reply.error.code)
            elif (name := names.get(reply.metadata.src_node_id)) is not None:
                answers[name] = reply.content
        return dict(sorted(answers.items()))

    def _measure(
        self, number: int, vector: NDArray[np.float32]
    ) -> tuple[float, float] | tuple[None, None]:
        """Mean alignment and log-loss on the held-out groups; None twice when not due.

        Both are means over (group, target) pairs.
        """
        federation = self._config.federation
        every = federation.evaluate_every
        due = number == federation.rounds or (every > 0 and number % every == 0)
        if not due or not self._cohort.held_out:
            return None, None
        published = self._strategy.published(vector)
        replies = self._send("evaluate", self._cohort.held_out, published, self.plan(number))
        metrics = [content.metric_records["metrics"] for content in replies.values()]
        if not all(m["public"] == 1 for m in metrics):
            raise CohortError("a group measured on answers that are not public: do not ask it")
        targets = np.array([float(str(m["targets"])) for m in metrics])
        if not metrics:
            return None, None
        alignment, log_loss = (
            float(targets @ [float(str(m[name])) for m in metrics] / targets.sum())
            for name in ("alignment", "log_loss")
        )
        return alignment, log_loss

    def _report(
        self,
        number: int,
        vector: NDArray[np.float32],
        *,
        groups: int,
        dropped: tuple[str, ...],
        loss: float | None,
        seconds_train: float,
    ) -> None:
        start = time.perf_counter()
        alignment, log_loss = self._measure(number, vector)
        record = RoundRecord(
            round=number,
            rounds=self._config.federation.rounds,
            train_adapter=number > self._config.federation.warmup_rounds,
            groups=groups,
            dropped=dropped,
            loss=loss,
            alignment=alignment,
            log_loss=log_loss,
            seconds_train=seconds_train,
            seconds_evaluate=time.perf_counter() - start,
        )
        for observe in self._observers:
            observe(record)
