"""Measuring a model on the draws of a held-out group, whose answers are public."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.evaluation.held_out import judged_pairs, predict_draws, summarise_predictions
from alignment.evaluation.pairs import are_pairs, summarise_pairs
from alignment.model.prediction import ContextPredictor
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

    Of pairs ``accuracy`` and ``margin`` too, and the number of ``answers`` that they count.

    Args:
        store: Of a held-out group whose answers are public.
        task: Fixes predictor and context.
        vector: (d,) float32, the model.
    """
    predictor = predictor_for(task.predictor)
    load_vector(predictor, vector)
    predict = ContextPredictor(predictor, task.context, questions=store.answers.questions)
    answers, draws = {store.group: store.answers}, {store.group: store.draws}
    predictions = predict_draws(predict, answers, draws, seen=frozenset())
    summary = summarise_predictions(predictions)
    targets = sum(len(draw.target) for draw in store.draws)
    figures = {"alignment": summary.mean, "log_loss": summary.log_loss, "targets": targets}
    if not are_pairs(store.answers.questions):
        return figures
    pairs = summarise_pairs(judged_pairs(predictions))
    counted = sum(each.answers for each in predictions)
    return figures | {"accuracy": pairs.accuracy.value, "margin": pairs.margin, "answers": counted}
