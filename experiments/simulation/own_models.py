"""Figures of a run that leaves every group a model of its own, and none for all.

What stands for the run is the model of one group, drawn by seed; how far it speaks for the others
is told by a few more, and by how far all of them lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from alignment.data.answers import questions_of
from alignment.data.population import Population
from alignment.evaluation.held_out import predict_held_out, summarise_predictions
from alignment.model.file_names import ADAPTER_FOLDER, ADAPTER_WEIGHTS, HEAD_FILE
from alignment.model.folder import load_predictor
from alignment.model.prediction import ContextPredictor
from clients.training.trainer import predictor_for
from privacy.ledger.paths import MODELS, group_model

#: Groups whose models are measured; each costs an evaluation.
_MOST_MEASURED = 4


def has_own_models(out: Path) -> bool:
    """True where a run has left its groups a model each."""
    return (out / MODELS).is_dir()


def drawn_groups(out: Path, population: Population, seed: int) -> tuple[str, ...]:
    """The groups whose models are measured; the first stands for the run.

    Raises:
        ValueError: No group has left a model.
    """
    there = [
        group
        for group in population.split.train_groups
        if (group_model(out, group) / HEAD_FILE).is_file()
    ]
    if not there:
        raise ValueError(f"{out / MODELS}: holds no model of a group; look at the clients' logs")
    order = np.random.default_rng([seed, 3]).permutation(len(there))
    return tuple(there[at] for at in order[:_MOST_MEASURED])


def spread_of_models(out: Path, population: Population, groups: Sequence[str]) -> dict[str, Any]:
    """Scores and distances of the models of a run.

    Args:
        out: Folder of the run.
        population: Its groups.
        groups: Whose models are measured.

    Returns:
        ``measured``: whose model stands for the run; ``models``: alignment and log-loss on the
        held-out groups of each that was measured; ``distance``: root mean square of how far all
        groups' models lie from their mean (L2 norm); ``norm``: of that mean.
    """
    vectors = np.stack(
        [
            _vector(group_model(out, group))
            for group in population.split.train_groups
            if (group_model(out, group) / HEAD_FILE).is_file()
        ]
    )
    mean = vectors.mean(axis=0)
    return {
        "measured": groups[0],
        "models": {group: _figures(group_model(out, group), population) for group in groups},
        "distance": float(np.sqrt(np.mean(np.sum((vectors - mean) ** 2, axis=1)))),
        "norm": float(np.linalg.norm(mean)),
    }


def _figures(folder: Path, population: Population) -> Mapping[str, float]:
    predictor, context = load_predictor(folder)
    predictor.cache = predictor_for(predictor.config).cache
    asked = questions_of(population.answers[group] for group in population.split.draws)
    predict = ContextPredictor(predictor, context, questions=asked)
    summary = summarise_predictions(predict_held_out(predict, population))
    return {"alignment": summary.mean, "log_loss": summary.log_loss}


def _vector(folder: Path) -> NDArray[np.float64]:
    """All trained numbers of a published folder, in one order."""
    tensors = load_file(str(folder / HEAD_FILE))
    if (adapter := folder / ADAPTER_FOLDER / ADAPTER_WEIGHTS).is_file():
        tensors |= load_file(str(adapter))
    return np.concatenate([tensors[name].astype(np.float64).ravel() for name in sorted(tensors)])
