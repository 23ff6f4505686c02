"""Measuring a model on the draws of a held-out group, whose answers are public."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.evaluation.evaluation import Evaluator
from alignment.evaluation.metrics import summarise
from alignment.model.vector import load_vector, to_vector
from clients.data.datastore import Datastore
from clients.task import RoundTask
from clients.training.trainer import predictor_for


def dimension_of(task: RoundTask) -> int:
    """d, the coordinates of a task's model."""
    return to_vector(predictor_for(task.predictor)).size


def measured(
    store: Datastore, task: RoundTask, vector: NDArray[np.float32]
) -> dict[str, float | int]:
    """Alignment and log loss of a model on the group's draws, and the number of targets.

    Args:
        store: Of a held-out group whose answers are public.
        task: Fixes predictor and context.
        vector: (d,) float32, the model.
    """
    predictor = predictor_for(task.predictor)
    load_vector(predictor, vector)
    evaluator = Evaluator(
        predictor, {store.group: store.answers}, seen=frozenset(), context=task.context
    )
    predictions = evaluator.evaluate({store.group: store.draws})
    summary = summarise([prediction.score for prediction in predictions])
    targets = sum(len(draw.target) for draw in store.draws)
    return {"alignment": summary.mean, "log_loss": summary.log_loss, "targets": targets}
