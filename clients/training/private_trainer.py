"""Private training at a client: sample units, take their gradients, and hand over what is noised.

A step executes from the privacy plan alone: sampling, clip, noise, batch cap, micro-batches with
all their bounds, and steps are read from it. What the group and its predictor bring along is
checked against it before a record is touched and before anything is charged
(:func:`require_executable`). A step is total: whatever the records are, it gives one vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alignment.config import PredictorConfig
from alignment.data.units import UnitRecords
from alignment.model.vector import load_vector
from alignment.training.gradients import UnitGradients
from alignment.training.independence import CompanionsShow, require_independent_rows
from alignment.training.private_layout import (
    MicroBatchShape,
    PrivateLayout,
    metric_scale_for,
    private_layout,
)
from clients.task import PrivateTask, RoundTask
from clients.training.trainer import predictor_for
from privacy.accounting.choices import Mode
from privacy.accounting.release import own_mean
from privacy.accounting.shape import StepShape
from privacy.accounting.step import private_step
from privacy.errors import ExecutionMismatch, PolicyRefused
from privacy.kernel.randomness import ByteSource, SystemRandomStream, random_uniforms
from privacy.kernel.types import Noised, Update

#: Largest weight of a unit, what fairness makes of it included; ``Update`` refuses a larger one.
_WEIGHT = 1.0


class PrivateTrainer:
    """The steps of one client under one plan; keeps what is remembered of texts between rounds.

    Args:
        config: Shape of the predictor.
        task: What the server asks for.
        adapters: Whether adapters are trained, or the head alone.
        fairness: How much more units count that are predicted badly.

    Raises:
        PlanRefused: The plan states no shape.
        ExecutionMismatch: The predictor has other coordinates, or reads other texts, than the plan;
            or this machine computes rows that know their companions.
    """

    def __init__(
        self,
        config: PredictorConfig,
        task: PrivateTask,
        *,
        adapters: bool,
        fairness: float,
    ) -> None:
        self._task, self._plan = task, task.plan
        shape = self._plan.required_shape
        _require_readable(config, shape)
        self._predictor = predictor_for(config)
        head_only = private_layout(self._predictor, adapters=False)
        both = private_layout(self._predictor, freeze_a=task.freeze_a)
        # A run that never trains adapters has no coordinates for them.
        whole = head_only if head_only.dimension == self._plan.dimension else both
        self._layout: PrivateLayout = whole if adapters else head_only
        self._chosen = self._layout.within(whole)
        micro_batch = MicroBatchShape(
            rows=shape.micro_batch,
            records=shape.records_per_unit,
            length=shape.max_tokens,
            options=shape.max_options,
            apart=shape.options_apart,
        )
        self._gradients = UnitGradients(
            self._predictor,
            layout=self._layout,
            shape=micro_batch,
            metric_scale=metric_scale_for(self._plan.clipping_norm, options=shape.max_options),
            fairness=fairness,
        )
        if not self._predictor.encoder.is_reference:
            try:
                require_independent_rows(self._gradients, self._predictor, micro_batch)
            except CompanionsShow as error:
                raise ExecutionMismatch(str(error)) from error

    def check(self, vector: NDArray[np.float32], group_index: int, *, units: int) -> None:
        """Check that what would be executed was accounted for; touches no record.

        Args:
            vector: The global vector.
            group_index: Which of the plan's groups it is, from 0.
            units: The public bound on the group's units.

        Raises:
            ExecutionMismatch: Something else would be executed.
        """
        self._plan.check_executed(
            group=group_index,
            units=units,
            dimension=self._chosen.size,
            largest_weight=_WEIGHT,
        )
        if vector.shape != (self._layout.whole.dimension,) or not np.isfinite(vector).all():
            raise ExecutionMismatch(
                f"a model of shape {vector.shape}, or one that is not finite, would be trained, "
                f"not ({self._layout.whole.dimension},) finite; give all groups one predictor"
            )

    def train(
        self,
        vector: NDArray[np.float32],
        units: Sequence[UnitRecords],
        group_index: int,
        *,
        everybody: Sequence[UnitRecords],
    ) -> Noised | NDArray[np.float64]:
        """Take the steps of one round.

        Args:
            vector: The global vector.
            units: The units that take part.
            group_index: Which of the plan's groups it is, from 0.
            everybody: All units of the group: what is remembered of texts, and so the time that a
                step takes, must not tell who takes part.

        Returns:
            In distributed mode the noised sum of the step, a share that is not private alone. In
            local mode (d,), the mean of the group's private mean gradients over its local steps.
        """
        load_vector(self._predictor, vector)
        # Rows are made of what goes through modules once: nothing may run a second time.
        self._predictor.encoder.recomputes = False
        self._gradients.prepare(everybody)
        source = SystemRandomStream()
        try:
            if self._plan.mode is Mode.DISTRIBUTED:
                return self._step(units, group_index, source)
            means = self._local_steps(vector, units, group_index, source)
            mean: NDArray[np.float64] = np.mean(means, axis=0)
            return mean
        finally:
            source.erase()

    def left_out(self, units: Sequence[UnitRecords]) -> int:
        """How many records do not fit into a step; about private data, for their owner alone."""
        return self._gradients.left_out(units)

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

    def _step(self, units: Sequence[UnitRecords], group_index: int, source: ByteSource) -> Noised:
        """One step; see :func:`privacy.accounting.step.private_step`."""
        micro_batches = self._plan.micro_batches(group_index)

        def gradients_of(sample: Sequence[int]) -> Iterator[Update]:
            return self._updates([units[i] for i in sample], micro_batches, source)

        return private_step(
            gradients_of, self._plan, group=group_index, units=len(units), source=source
        )

    def _updates(
        self, sample: Sequence[UnitRecords], micro_batches: int, source: ByteSource
    ) -> Iterator[Update]:
        """The rows of a sample, widened to the coordinates of the plan."""
        rows = self._gradients.rows(
            sample,
            micro_batches=micro_batches,
            uniforms=lambda count: random_uniforms(source, count),
            reuse=True,  # A step clips and sums a micro-batch before it asks for the next.
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
        group_index: int,
        source: ByteSource,
    ) -> list[NDArray[np.float64]]:
        """Plain steps down the group's private mean gradients, which are returned."""
        means = []
        values = self._layout.extract(vector).astype(np.float64)
        for _ in range(self._plan.local_steps):
            noised = self._step(units, group_index, source)
            means.append(own_mean(noised, self._plan, group=group_index))
            gradient, _ = self._layout.split(means[-1][self._chosen])
            values -= self._task.local_learning_rate * gradient
            load_vector(self._predictor, self._layout.embed(vector, values.astype(np.float32)))
        return means


_trainer = lru_cache(maxsize=2)(PrivateTrainer)


def require_executable(task: RoundTask, vector: NDArray[np.float32], *, units: int) -> None:
    """Check, before anything is charged, that a round would execute what was accounted for.

    Args:
        task: What the server asks for.
        vector: The global vector.
        units: The public bound on the group's units.

    Raises:
        PrivacyError: It would execute something else, or is not private.
    """
    _trainer_for(task).check(vector, _private(task).group_index, units=units)


def train_privately(
    vector: NDArray[np.float32],
    units: Sequence[UnitRecords],
    task: RoundTask,
    *,
    everybody: Sequence[UnitRecords],
) -> Noised | NDArray[np.float64]:
    """Answer one round of a private run.

    Args:
        vector: (d,) float32, the global vector.
        units: The units of privacy that take part.
        task: What the server asks for; see :func:`require_executable`.
        everybody: All units of the group.

    Returns:
        What the privatizer may release; see :meth:`PrivateTrainer.train`.
    """
    return _trainer_for(task).train(vector, units, _private(task).group_index, everybody=everybody)


def left_out(units: Sequence[UnitRecords], task: RoundTask) -> int:
    """How many records of a group a round would take for absent; for the group's own eyes."""
    return _trainer_for(task).left_out(units)


def update_along(mean: NDArray[np.float64], task: RoundTask) -> NDArray[np.float64]:
    """Where what :func:`train_privately` returned in local mode points, (d,) float64."""
    return _trainer_for(task).update_along(mean)


def _private(task: RoundTask) -> PrivateTask:
    if task.private is None:
        raise PolicyRefused("the round asked for is not private: nothing was trained")
    return task.private


def _trainer_for(task: RoundTask) -> PrivateTrainer:
    """The trainer of a round; groups of one process share what it remembers."""
    return _trainer(
        task.predictor,
        # The index of the group changes nothing that is kept.
        replace(_private(task), group_index=0),
        adapters=task.train_adapter,
        fairness=task.training.fairness,
    )


def _require_readable(config: PredictorConfig, shape: StepShape) -> None:
    """Refuse a predictor that reads other texts than the plan has room for."""
    if config.max_tokens != shape.max_tokens:
        raise ExecutionMismatch(
            f"predictor.max_tokens = {config.max_tokens} would be executed but "
            f"{shape.max_tokens} was accounted for; give all groups one predictor"
        )
    if config.apart and not shape.options_apart:
        raise ExecutionMismatch(
            f"scores = {config.scores!r} reads options apart, and the plan has no room for that; "
            "plan with privacy.options_apart = true"
        )
