"""Learning rates of all coordinates, from a run's settings."""

from __future__ import annotations

from alignment.config import TrainingConfig
from alignment.model.predictor import Predictor
from alignment.model.vector import step_sizes
from strategies.wire.compression import StepSizes


def steps_of(predictor: Predictor, training: TrainingConfig) -> StepSizes:
    """The learning rates of a predictor's coordinates in rounds of either kind."""
    return StepSizes(
        head=step_sizes(predictor, training, train_adapter=False),
        whole=step_sizes(predictor, training, train_adapter=True),
    )
