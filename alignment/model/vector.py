"""The trainable parameters of a predictor as one flat vector, as federations average them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alignment.config import TrainingConfig
from alignment.model.predictor import Predictor

Part = Literal["adapter", "prior", "directions"]


@dataclass(frozen=True)
class AdapterLayout:
    """The place of each named tensor in the flat vector of ``dimension`` float32 coordinates.

    Attributes:
        names: Names of the tensors, in the order of the vector.
        shapes: Their shapes.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, nn.Parameter]]) -> AdapterLayout:
        """The layout of named parameters, in their order."""
        named = [(name, tuple(parameter.shape)) for name, parameter in parameters]
        return cls(names=tuple(n for n, _ in named), shapes=tuple(s for _, s in named))

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def flatten(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> NDArray[np.float32]:
        """Copy parameters into a new vector, (d,) float32."""
        parts = [parameter.detach().cpu().numpy().ravel() for _, parameter in parameters]
        return np.concatenate(parts).astype(np.float32)

    def restore(
        self, vector: NDArray[np.float32], parameters: Iterable[tuple[str, nn.Parameter]]
    ) -> None:
        """Write a vector into parameters.

        Raises:
            ValueError: The vector has another length, or holds a number that is not finite.
        """
        if vector.shape != (self.dimension,):
            raise ValueError(
                f"vector has shape {vector.shape}, the layout needs ({self.dimension},): "
                "both sides must hold the same predictor configuration"
            )
        if not np.isfinite(vector).all():
            raise ValueError("vector holds NaN or infinity: lower the learning rate")
        at = 0
        with torch.no_grad():
            for (_, parameter), shape in zip(parameters, self.shapes, strict=True):
                size = int(np.prod(shape))
                values = np.array(vector[at : at + size], dtype=np.float32).reshape(shape)
                parameter.copy_(torch.from_numpy(values))
                at += size


def to_vector(predictor: Predictor) -> NDArray[np.float32]:
    """The trainable parameters of a predictor, (d,) float32."""
    layout = AdapterLayout.of(predictor.trainable())
    return layout.flatten(predictor.trainable())


def load_vector(predictor: Predictor, vector: NDArray[np.float32]) -> None:
    """Set the trainable parameters of a predictor; see :meth:`AdapterLayout.restore`."""
    AdapterLayout.of(predictor.trainable()).restore(vector, predictor.trainable())


def part_of(name: str) -> Part:
    """The part of a predictor that a parameter belongs to, by its name."""
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
