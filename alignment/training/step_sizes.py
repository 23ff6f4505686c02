"""How far a step of training moves each coordinate of the flat vector: public, told by settings."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alignment.config import TrainingConfig
from alignment.model.predictor import Predictor

Part = Literal["adapter", "prior", "directions"]


def part_of(name: str) -> Part:
    """Which part of a predictor a parameter belongs to, by its name."""
    if name.startswith("head.directions."):
        return "directions"
    return "prior" if name.startswith("head.") else "adapter"


def learning_rates(training: TrainingConfig, *, train_adapter: bool) -> dict[Part, float]:
    """The learning rate of each part that trains in a round.

    Args:
        training: Of the run.
        train_adapter: Whether the round trains more than the head.
    """
    rates: dict[Part, float] = {"prior": training.learning_rate}
    if train_adapter:
        rates["adapter"] = training.adapter_learning_rate
    if training.context_weight > 0:
        rates["directions"] = training.context_learning_rate
    return rates


def step_sizes(
    predictor: Predictor, training: TrainingConfig, *, train_adapter: bool
) -> NDArray[np.float32]:
    """The learning rate of every coordinate of a predictor's vector, (d,) float32.

    AdamW moves a coordinate by about so much in a step. 0 where the round trains nothing: such a
    coordinate stays as it is, exactly.
    """
    rates = learning_rates(training, train_adapter=train_adapter)
    sizes = [
        np.full(parameter.numel(), rates.get(part_of(name), 0.0), dtype=np.float32)
        for name, parameter in predictor.trainable()
    ]
    return np.concatenate(sizes)
