"""Private training at a client: sample units, take their gradients, and hand over what is noised.

Everything the server asks for is checked against the plan before a record is touched. Whoever
calls has charged the round in the group's ledger before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alignment.config import PredictorConfig, TrainingConfig
from alignment.data.units import UnitRecords
from alignment.model.vector import load_vector
from alignment.training.gradients import MicroBatchShape, UnitGradients
from alignment.training.private_layout import PrivateLayout, metric_scale_for, private_layout
from clients.privatizer import noised_sum
from clients.sessions.group_ledger import verified_plan
from clients.training.trainer import predictor_for
from privacy.accounting.release import own_mean
from privacy.accounting.terms import Mode
from privacy.errors import ExecutionMismatch
from privacy.kernel.randomness import (
    ByteSource,
    SystemRandomStream,
    poisson_sample,
    random_uniforms,
)
from privacy.kernel.types import Noised, Update
from strategies.wire.round_plan import PrivateWork, RoundPlan

#: Largest weight of a unit, what fairness makes of it included; ``Update`` refuses a larger one.
_WEIGHT = 1.0


class PrivateTrainer:
    """The steps of one client under one plan; keeps what is remembered of texts between rounds.

    Args:
        config: Shape of the predictor.
        work: What the server asks for.
        adapters: Whether adapters are trained, or the head alone.
        apart: Whether options stand in texts of their own, as the responses of pairs do.
        fairness: How much more units count that are predicted badly.
    """

    def __init__(
        self,
        config: PredictorConfig,
        work: PrivateWork,
        *,
        adapters: bool,
        apart: bool,
        fairness: float,
    ) -> None:
        self._predictor = predictor_for(config)
        self._plan = verified_plan(work.plan)
        self._work = work
        head_only = private_layout(self._predictor, adapters=False)
        both = private_layout(self._predictor, freeze_a=work.freeze_a)
        # A run that never trains adapters has no coordinates for them.
        whole = head_only if head_only.dimension == self._plan.dimension else both
        self._layout: PrivateLayout = whole if adapters else head_only
        if whole.dimension != self._plan.dimension:
            raise ExecutionMismatch(
                f"dimension = {whole.dimension} would be executed but {self._plan.dimension} was "
                "accounted for; give all groups one predictor"
            )
        self._chosen = self._layout.within(whole)
        self._gradients = UnitGradients(
            self._predictor,
            layout=self._layout,
            shape=MicroBatchShape(
                rows=work.micro_batch,
                records=work.records_per_unit,
                length=config.max_tokens,
                options=work.max_options,
                apart=apart,
            ),
            metric_scale=metric_scale_for(work.clipping_norm, options=work.max_options),
            fairness=fairness,
        )
        self._prepared: set[int] = set()

    def train(
        self, vector: NDArray[np.float32], units: Sequence[UnitRecords], place: int
    ) -> Noised | NDArray[np.float64]:
        """Take the steps of one round.

        Args:
            vector: The global vector.
            units: All units of the group.
            place: Which of the plan's groups it is.

        Returns:
            In distributed mode the noised sum of the step, a share that is not private alone. In
            local mode (d,), the mean of the group's private mean gradients over its local steps.

        Raises:
            ExecutionMismatch: Something else would be executed than was accounted for.
        """
        micro_batches = self._check(len(units), place)
        load_vector(self._predictor, vector)
        if id(units) not in self._prepared:
            self._gradients.prepare(units)
            self._prepared.add(id(units))
        source = SystemRandomStream()
        try:
            if self._plan.mode is Mode.DISTRIBUTED:
                return self._step(units, place, micro_batches, source)
            means = self._local_steps(vector, units, place, micro_batches, source)
            mean: NDArray[np.float64] = np.mean(means, axis=0)
            return mean
        finally:
            source.erase()

    def update_along(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where a private mean gradient points: down it, over all coordinates of the model.

        Args:
            mean: What :meth:`train` has returned in local mode.

        Returns:
            (d,), zero where this round trains nothing.
        """
        gradient, _ = self._layout.split(mean[self._chosen])
        whole = np.zeros(self._layout.whole.dimension, dtype=np.float32)
        return -self._layout.embed(whole, gradient.astype(np.float32)).astype(np.float64)

    def _check(self, units: int, place: int) -> int:
        """Compare what will be executed with what was accounted for; the micro-batches of a step.

        The values compared are those the steps below use.
        """
        work, plan = self._work, self._plan
        micro_batches = -(-plan.batch_cap(place) // work.micro_batch)
        plan.check_executed(
            group=place,
            units=units,
            sampling=work.sampling,
            sampling_rate=work.sampling_rate,
            clipping_norm=work.clipping_norm,
            largest_weight=_WEIGHT,
            micro_batch_rows=work.micro_batch,
            micro_batches=micro_batches,
            rounds=work.rounds,
            local_steps=work.local_steps,
        )
        return micro_batches

    def _step(
        self, units: Sequence[UnitRecords], place: int, micro_batches: int, source: ByteSource
    ) -> Noised:
        """One step: a fresh Poisson sample, clipped, summed and noised; empty samples too."""
        sample = poisson_sample(
            source,
            sampling_rate=self._work.sampling_rate,
            units=len(units),
            batch_cap=self._plan.batch_cap(place),
        )
        updates = self._updates([units[i] for i in sample], micro_batches, source)
        return noised_sum(updates, self._plan, source)

    def _updates(
        self, sample: Sequence[UnitRecords], micro_batches: int, source: ByteSource
    ) -> Iterator[Update]:
        """The rows of a sample, widened to the coordinates of the plan."""
        rows = self._gradients.rows(
            sample,
            micro_batches=micro_batches,
            uniforms=lambda count: random_uniforms(source, count),
        )
        for each in rows:
            gradients = each.gradients
            if not self._chosen.all():
                gradients = np.zeros((len(each.weights), self._plan.dimension), dtype=np.float32)
                gradients[:, self._chosen] = each.gradients
            yield Update(gradients=gradients, weights=_WEIGHT * each.weights)

    def _local_steps(
        self,
        vector: NDArray[np.float32],
        units: Sequence[UnitRecords],
        place: int,
        micro_batches: int,
        source: ByteSource,
    ) -> list[NDArray[np.float64]]:
        """Plain steps down the group's private mean gradients, which are returned."""
        means = []
        values = self._layout.extract(vector).astype(np.float64)
        for _ in range(self._work.local_steps):
            noised = self._step(units, place, micro_batches, source)
            means.append(own_mean(noised, self._plan, group=place))
            gradient, _ = self._layout.split(means[-1][self._chosen])
            values -= self._work.local_learning_rate * gradient
            load_vector(self._predictor, self._layout.embed(vector, values.astype(np.float32)))
        return means


@lru_cache(maxsize=2)
def _trainer(
    config: PredictorConfig, work: PrivateWork, adapters: bool, apart: bool, fairness: float
) -> PrivateTrainer:
    return PrivateTrainer(config, work, adapters=adapters, apart=apart, fairness=fairness)


def train_privately(
    vector: NDArray[np.float32],
    units: Sequence[UnitRecords],
    plan: RoundPlan,
) -> Noised | NDArray[np.float64]:
    """Answer one round of a private run.

    Args:
        vector: (d,) float32, the global vector.
        units: All units of privacy of the group.
        plan: What the server asks for.

    Returns:
        What the privatizer may release; see :meth:`PrivateTrainer.train`.

    Raises:
        PrivacyError: The request contradicts the plan.
    """
    trainer, place = _asked_for(units, plan)
    return trainer.train(vector, units, place)


def update_along(
    mean: NDArray[np.float64], units: Sequence[UnitRecords], plan: RoundPlan
) -> NDArray[np.float64]:
    """Where what :func:`train_privately` returned in local mode points, (d,) float64."""
    trainer, _ = _asked_for(units, plan)
    return trainer.update_along(mean)


def _asked_for(units: Sequence[UnitRecords], plan: RoundPlan) -> tuple[PrivateTrainer, int]:
    """The trainer of a round, and the place of the group in the plan."""
    work = PrivateWork.read(plan.privacy)
    config = PredictorConfig(**plan.predictor)  # type: ignore[arg-type]
    # A policy reads every option on its own, whatever the kind of the records.
    apart = config.scores == "policy" or any(
        not question.together for unit in units for question in unit.questions
    )
    # The place changes nothing that is kept: groups of one process share what it remembers.
    alike = replace(work, place=0)
    fairness = TrainingConfig(**plan.training).fairness  # type: ignore[arg-type]
    return _trainer(config, alike, plan.train_adapter, apart, fairness), work.place
