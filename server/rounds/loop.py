"""The loop: plan a round, send it, add up what comes back, take the strategy's step.

No torch here: the server handles vectors.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from privacy.secagg.round_terms import FEWEST_MEMBERS
from server.aggregation.base import Aggregation
from server.config import RunConfig
from server.rounds.cohort import Cohort, CohortError
from server.rounds.collection import Collector, RoundAborted, ask, is_measured
from server.rounds.membership import Membership
from server.state.witness import NoWitness, Witness
from strategies.base import Strategy, Visibility
from strategies.wire.round_plan import RoundPlan, vector_digest

logger = logging.getLogger(__name__)

#: So many aborted rounds in a row end the run: the cohort has gone for good, or its budgets have.
MOST_ABORTED = 3
#: Why a round that the server did not live to see ended gave nothing.
INTERRUPTED = "Interrupted: the server was started again, and no vector is asked for twice"


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """What is kept of a round: nothing about a single group but that it took part.

    Attributes:
        round: Counted from 1; 0 is the measurement before training.
        rounds: Rounds of the whole run.
        train_adapter: Whether adapters trained, or the head alone.
        groups: Groups whose updates are in the sum.
        dropped: Groups that were asked and did not answer, or failed.
        aborted: Why the round gave nothing and the model stayed as it was; empty where it did not.
        loss: Mean training loss, nats, by the weights of ``training.fairness``; None in round 0. In
            a private run it comes out of the noised sum, as noisy as that, and is None where it
            cannot be told from noise.
        alignment: Mean alignment score on the held-out groups, whose answers are public; None
            where not measured.
        log_loss: Mean log-loss of the same predictions, nats.
        seconds_train: From sending the round to its sum, less what follows.
        seconds_secagg: Of it, in stages of secure aggregation that train nothing, and in unmasking.
        seconds_evaluate: Of the measurement.
        seconds_stages: What each stage of the round took, by its name, in order; empty in round 0.
        distance: Where groups meet in pairs: how far apart partners were before, L2 norm, mean over
            the pairs of the round.
    """

    round: int
    rounds: int
    train_adapter: bool
    groups: int
    dropped: tuple[str, ...]
    aborted: str
    loss: float | None
    alignment: float | None
    log_loss: float | None
    seconds_train: float
    seconds_secagg: float
    seconds_evaluate: float
    seconds_stages: Mapping[str, float]
    distance: float | None = None


Observer = Callable[[RoundRecord], None]
#: Told of every round as it ends: its number, the vector it left, and aborted rounds in a row.
Keeper = Callable[[int, NDArray[np.float32], int], None]


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run goes on.

    Attributes:
        round: The last round that has ended and is kept.
        aborted: Aborted rounds in a row by then.
        lost: Rounds after it that were begun and must not be repeated, in order.
    """

    round: int
    aborted: int = 0
    lost: tuple[int, ...] = ()


class RoundLoop:
    """Runs the rounds of one federation.

    Args:
        grid: The way to the clients.
        cohort: Who takes part.
        config: The run.
        strategy: What is done with the mean update.
        aggregation: How the mean of a round becomes an update.
        collector: How the vectors of a round come in.
        observers: Told of every round as it ends.
        witness: Keeps what a reviewer will ask about.
        membership: Changes the cohort between rounds; without one it stays as it is.
        keep: Keeps what the run needs to go on, after every round and at the start.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        cohort: Cohort,
        config: RunConfig,
        strategy: Strategy,
        aggregation: Aggregation,
        collector: Collector,
        observers: Iterable[Observer] = (),
        witness: Witness | None = None,
        membership: Membership | None = None,
        keep: Keeper | None = None,
    ) -> None:
        self._grid = grid
        self._cohort = cohort
        self._config = config
        self._strategy = strategy
        self._aggregation = aggregation
        self._collector = collector
        self._observers = tuple(observers)
        self._witness = witness or NoWitness()
        self._membership = membership
        self._keep = keep or (lambda number, vector, aborted: None)
        self.last = ""

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
            training={**asdict(self._config.training), **self._strategy.tasks()},
            context=asdict(self._config.context),
            compression=self._aggregation.compression(),
        )

    def run(
        self, vector: NDArray[np.float32], *, after: Position | None = None
    ) -> NDArray[np.float32]:
        """Run all rounds from a first global vector, (d,) float32; return what is published.

        An aborted round leaves the vector as it was and counts as a round. Several in a row end
        the run with what it has learned: what was paid for in privacy is not thrown away.

        Args:
            vector: Of the start, or what the round left that the run goes on after.
            after: Where the run goes on; None begins it.

        Raises:
            CohortError: The first round was aborted, or a group sent what is of no use.
        """
        aborted = after.aborted if after else 0
        for number in self._begin(vector, after):
            if number > 1:
                self._welcome(number)
            start = time.perf_counter()
            try:
                collected = self._collector.collect(self.plan(number), vector)
            except RoundAborted as error:
                self._witness.lost(error.evidence, reason=str(error))
                aborted += 1
                if number == 1:
                    raise CohortError(f"round {number}: {error}") from error
                self._report(
                    number,
                    vector,
                    aborted=str(error),
                    seconds_train=time.perf_counter() - start,
                    seconds_stages=error.seconds_stages,
                    shown=self._without_model,
                )
                self._keep(number, vector, aborted)
                if aborted == MOST_ABORTED:
                    logger.warning("%d rounds in a row were aborted: the run ends here", aborted)
                    break
                continue
            aborted = 0
            loss = None
            if collected.mean is not None:
                combined = self._aggregation.combine(
                    collected.mean,
                    dimension=vector.size,
                    train_adapter=number > self._config.federation.warmup_rounds,
                )
                vector, loss = self._strategy.step(vector, combined.update), combined.loss
            self._witness.round(collected.evidence, after=vector_digest(vector))
            seconds = time.perf_counter() - start - collected.seconds_secagg
            self._report(
                number,
                vector,
                groups=collected.groups,
                loss=loss,
                seconds_train=seconds,
                seconds_secagg=collected.seconds_secagg,
                seconds_stages=collected.seconds_stages,
                shown=None if collected.mean is not None else collected.shown,
                distance=collected.distance,
            )
            self._keep(number, vector, aborted)
        self._collector.close()
        self.last = vector_digest(vector)
        return self._strategy.published(vector)

    def _begin(self, vector: NDArray[np.float32], after: Position | None) -> range:
        """The rounds that are to be run; what comes before them is told."""
        rounds = self._config.federation.rounds
        if after is None:
            self._report(0, vector)
            self._keep(0, vector, 0)
            return range(1, rounds + 1)
        if after.aborted >= MOST_ABORTED:
            return range(0)
        for number in after.lost:
            self._report(number, vector, aborted=INTERRUPTED)
        return range(max((after.round, *after.lost)) + 1, rounds + 1)

    def _welcome(self, number: int) -> None:
        """Take up who has come and gone since the last round."""
        if self._membership is None:
            return
        federation = self._config.federation
        fewest = max(self._aggregation.fewest, federation.minimum_groups)
        newcomers = self._membership.refresh(
            # One vector alone is hidden by nothing.
            fewest=max(fewest, FEWEST_MEMBERS if federation.secure_aggregation else 1),
            patience_seconds=federation.stage_timeout_seconds,
        )
        for group in newcomers:
            logger.info("round %d: %s joins", number, group)
            self._witness.joined(
                round=number,
                group=group,
                key=self._cohort.identities.get(group, b""),
                seat=self._cohort.places[group],
            )

    @property
    def _without_model(self) -> Mapping[str, RecordDict] | None:
        """See ``shown`` of :meth:`_measure`, for a round that gave nothing."""
        return {} if self._strategy.visibility is Visibility.NOTHING else None

    def _measure(
        self,
        number: int,
        vector: NDArray[np.float32],
        shown: Mapping[str, RecordDict] | None,
    ) -> tuple[float, float] | tuple[None, None]:
        """Mean alignment and log-loss on the held-out groups; None twice when not due.

        Both are means over (group, target) pairs.

        Args:
            number: Of the round.
            vector: The server's.
            shown: What held-out groups are handed in place of it; None hands out the vector.
        """
        federation, held_out = self._config.federation, self._cohort.held_out
        if not is_measured(number, federation) or not held_out:
            return None, None
        if shown is None:
            model = RecordDict({"model": ArrayRecord([self._strategy.published(vector)])})
            shown = dict.fromkeys(held_out, model)
        plan = ConfigRecord(dict(self.plan(number).to_wire()))
        replies = ask(
            self._grid,
            held_out,
            "evaluate",
            {group: RecordDict({**content, "plan": plan}) for group, content in shown.items()},
            round_number=number,
            timeout_seconds=federation.round_timeout_seconds,
        )
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
        groups: tuple[str, ...] = (),
        aborted: str = "",
        loss: float | None = None,
        seconds_train: float = 0.0,
        seconds_secagg: float = 0.0,
        seconds_stages: Mapping[str, float] | None = None,
        shown: Mapping[str, RecordDict] | None = None,
        distance: float | None = None,
    ) -> None:
        start = time.perf_counter()
        alignment, log_loss = self._measure(number, vector, shown)
        asked: Mapping[str, int] = {}
        if number:
            asked = self._cohort.drawn(
                number, seed=self._config.seed, size=self._config.federation.groups_per_round
            )
        record = RoundRecord(
            round=number,
            rounds=self._config.federation.rounds,
            train_adapter=number > self._config.federation.warmup_rounds,
            groups=len(groups),
            dropped=tuple(name for name in asked if name not in groups),
            aborted=aborted,
            loss=loss,
            alignment=alignment,
            log_loss=log_loss,
            seconds_train=seconds_train,
            seconds_secagg=seconds_secagg,
            seconds_evaluate=time.perf_counter() - start,
            seconds_stages=dict(seconds_stages or {}),
            distance=distance,
        )
        for observe in self._observers:
            observe(record)
