"""The round loop: plan a round, collect its mean, take the strategy's step, report.

No torch here: the server handles vectors.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from privacy.secagg.round_terms import FEWEST_MEMBERS
from server.aggregation.base import Aggregation
from server.config import RunConfig
from server.rounds.cohort import Cohort, CohortError
from server.rounds.collection import Collector, RoundAborted
from server.rounds.evaluation import HeldOutEvaluation
from server.rounds.membership import Membership
from server.state.witness import Witness
from strategies.base import Strategy, Visibility
from strategies.wire.round_plan import RoundPlan, vector_digest

logger = logging.getLogger(__name__)

#: So many aborted rounds in a row end the run: the cohort has gone for good, or its budgets have.
MOST_ABORTED = 3
#: Reason of a round that was lost with the process of the server.
INTERRUPTED = "Interrupted: the server was started again, and no vector is asked for twice"


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """Public record of a round: nothing about a single group but that it took part.

    Attributes:
        round: Counted from 1; 0 is the measurement before training.
        rounds: Rounds of the whole run.
        train_adapter: Whether adapters trained, or the head alone.
        groups: Groups whose updates are in the sum.
        dropped: Groups that were asked and did not answer, or failed.
        aborted: Why the round gave nothing and the model stayed as it was; empty where it did not.
        loss: Mean training loss, nats, by the weights of ``training.fairness``; None in round 0. In
            a private run it comes out of the noised sum, as noisy as that, and is None where it
            cannot be distinguished from noise.
        alignment: Mean alignment score on the held-out groups, whose answers are public; None
            where not measured.
        log_loss: Mean log-loss of the same predictions, nats.
        accuracy: Where they are pairs, the share of the answers on the side of the more probable
            response; else None.
        margin: Of the same, the mean log-odds of the preferred response, nats.
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
    aborted: str = ""
    loss: float | None = None
    alignment: float | None = None
    log_loss: float | None = None
    seconds_train: float = 0.0
    seconds_secagg: float = 0.0
    seconds_evaluate: float = 0.0
    seconds_stages: Mapping[str, float] = field(default_factory=dict)
    distance: float | None = None
    accuracy: float | None = None
    margin: float | None = None


Observer = Callable[[RoundRecord], None]
#: Called as a round ends, with its number, the vector it left, and aborted rounds in a row.
Keeper = Callable[[int, NDArray[np.float32], int], None]


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position from which a run goes on.

    Attributes:
        round: The last round that has ended and is kept.
        aborted: Aborted rounds in a row by then.
        lost: Rounds after it that were begun and must not be repeated, in order.
    """

    round: int
    aborted: int = 0
    lost: tuple[int, ...] = ()


#: What held-out groups are sent in place of the vector; None sends the vector.
_Shown = Mapping[str, RecordDict] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundLoop:
    """The rounds of one federation, and their collaborators.

    Attributes:
        config: The run.
        cohort: Who takes part.
        strategy: What is done with the mean update.
        aggregation: How the mean of a round becomes an update.
        collector: How the vectors of a round come in.
        evaluation: Measures the vector on held-out groups.
        observers: Called with the record of every round.
        witness: Keeps what a reviewer will ask about.
        membership: Changes the cohort between rounds; without one it stays as it is.
        keep: Called at the start and after every round, with what the run needs to go on.
    """

    config: RunConfig
    cohort: Cohort
    strategy: Strategy
    aggregation: Aggregation
    collector: Collector
    evaluation: HeldOutEvaluation
    observers: Sequence[Observer] = ()
    witness: Witness = field(default_factory=Witness)
    membership: Membership | None = None
    keep: Keeper = lambda *_: None  # a default of a field

    def plan(self, number: int) -> RoundPlan:
        """The plan of a round: the same for all groups."""
        federation = self.config.federation
        after_warmup = number - federation.warmup_rounds
        done = max(0, after_warmup - 1) / max(1, federation.adapter_rounds - 1)
        return RoundPlan(
            run=self.collector.run,
            round=number,
            seed=self.config.seed,
            train_adapter=after_warmup > 0,
            learning_rate_scale=1.0 - done * (1.0 - federation.final_learning_rate_scale),
            predictor=asdict(self.config.predictor),
            training={**asdict(self.config.training), **self.strategy.tasks()},
            context=asdict(self.config.context),
            compression=self.aggregation.compression(),
        )

    def run(
        self, vector: NDArray[np.float32], *, after: Position | None = None
    ) -> NDArray[np.float32]:
        """Run all rounds from a first global vector, (d,) float32; return the last.

        An aborted round leaves the vector as it was and counts as a round. Several in a row end
        the run with what it has learned: what was paid for in privacy is not thrown away.

        Args:
            vector: Of the start, or what the round left that the run goes on after.
            after: Where the run goes on; None begins it.

        Returns:
            (d,) float32; see :meth:`strategies.base.Strategy.published` for what is published.

        Raises:
            CohortError: The first round was aborted, or a group sent what is of no use.
        """
        aborted = after.aborted if after else 0
        for number in self._begin(vector, after):
            if number > 1:
                self._welcome(number)
            vector, record, shown = self._round(number, vector)
            aborted = aborted + 1 if record.aborted else 0
            self._report(record, vector, shown)
            self.keep(number, vector, aborted)
            if aborted == MOST_ABORTED:
                logger.warning("%d rounds in a row were aborted: the run ends here", aborted)
                break
        self.collector.close()
        return vector

    def _begin(self, vector: NDArray[np.float32], after: Position | None) -> range:
        """The rounds that are to be run, once what comes before them is reported."""
        rounds = self.config.federation.rounds
        if after is None:
            self._report(self._record(0), vector)
            self.keep(0, vector, 0)
            return range(1, rounds + 1)
        if after.aborted >= MOST_ABORTED:
            return range(0)
        for number in after.lost:
            self._report(replace(self._record(number), aborted=INTERRUPTED), vector)
        return range(max((after.round, *after.lost)) + 1, rounds + 1)

    def _welcome(self, number: int) -> None:
        """Take up who has come and gone since the last round."""
        if self.membership is None:
            return
        federation = self.config.federation
        fewest = max(self.aggregation.fewest, federation.minimum_groups)
        newcomers = self.membership.refresh(
            # One vector alone is hidden by nothing.
            fewest=max(fewest, FEWEST_MEMBERS if federation.secure_aggregation else 1),
            patience_seconds=federation.stage_timeout_seconds,
        )
        for group in newcomers:
            logger.info("round %d: %s joins", number, group)
            self.witness.joined(
                round=number,
                group=group,
                key=self.cohort.identities.get(group, b""),
                seat=self.cohort.group_indices[group],
            )

    def _round(
        self, number: int, vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], RoundRecord, _Shown]:
        """Have the groups train, and take the strategy's step; what is yet to be measured."""
        begun = time.perf_counter()
        try:
            collected = self.collector.collect(self.plan(number), vector)
        except RoundAborted as error:
            self.witness.lost(error.evidence, reason=str(error))
            if number == 1:
                raise CohortError(f"round {number}: {error}") from error
            without_model = self.strategy.visibility is Visibility.NOTHING
            record = replace(
                self._record(number),
                aborted=str(error),
                seconds_train=time.perf_counter() - begun,
                seconds_stages=dict(error.seconds_stages),
            )
            return vector, record, {} if without_model else None
        loss = None
        if collected.mean is not None:
            combined = self.aggregation.combine(
                collected.mean, dimension=vector.size, train_adapter=self._trains_adapter(number)
            )
            vector, loss = self.strategy.step(vector, combined.update), combined.loss
        self.witness.round(collected.evidence, after=vector_digest(vector))
        record = replace(
            self._record(number, collected.groups),
            loss=loss,
            seconds_train=time.perf_counter() - begun - collected.seconds_secagg,
            seconds_secagg=collected.seconds_secagg,
            seconds_stages=dict(collected.seconds_stages),
            distance=collected.distance,
        )
        return vector, record, None if collected.mean is not None else collected.shown

    def _record(self, number: int, groups: Sequence[str] = ()) -> RoundRecord:
        """What is known of a round by whose updates are in its sum."""
        size = self.config.federation.groups_per_round
        asked = self.cohort.drawn(number, seed=self.config.seed, size=size) if number else ()
        return RoundRecord(
            round=number,
            rounds=self.config.federation.rounds,
            train_adapter=self._trains_adapter(number),
            groups=len(groups),
            dropped=tuple(name for name in asked if name not in groups),
        )

    def _report(
        self, record: RoundRecord, vector: NDArray[np.float32], shown: _Shown = None
    ) -> None:
        """Measure the vector where that is due, and call all observers."""
        begun = time.perf_counter()
        published = self.strategy.published(vector)
        measured = self.evaluation.measure(self.plan(record.round), published, shown)
        record = replace(
            record,
            alignment=measured.alignment if measured else None,
            log_loss=measured.log_loss if measured else None,
            accuracy=measured.accuracy if measured else None,
            margin=measured.margin if measured else None,
            seconds_evaluate=time.perf_counter() - begun,
        )
        for observe in self.observers:
            observe(record)

    def _trains_adapter(self, number: int) -> bool:
        return number > self.config.federation.warmup_rounds
