"""The public shapes of a private step: its coordinates, its metrics and its micro-batches.

Noise grows with the number of coordinates, so the vector that is clipped and noised leaves out
tensors that private training does not move. It includes metrics of training: within the clipped
norm of a unit they cost no privacy of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.model.predictor import Predictor
from alignment.model.vector import AdapterLayout

#: What may ride behind the gradient of a unit, in this order: 1, its mean loss in nats, and the
#: share of its records whose most likely option was the right one.
METRICS = ("units", "loss", "correct")
#: Share of the squared clipping norm that metrics are meant to take.
METRIC_SHARE = 0.05
#: Read in context only, which needs a charge of its own.
_CONTEXT_ONLY = "head.directions."


@dataclass(frozen=True, kw_only=True)
class PrivateLayout:
    """The coordinates of the flat vector that are trained privately, and the metrics behind them.

    Attributes:
        whole: Layout of the full vector, as :func:`alignment.model.vector.to_vector` gives it.
        names: The tensors trained privately, in the order of the full vector; none where a causal
            model is asked for its head alone.
        metrics: Which of ``METRICS`` follow as last coordinates.
    """

    whole: AdapterLayout
    names: tuple[str, ...]
    metrics: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse names that are not there or not in order."""
        if self.names != tuple(n for n in self.whole.names if n in self.names):
            raise ValueError(
                f"{len(self.names)} names are not tensors of the full vector, in its order: "
                "take the layout from private_layout()"
            )
        if self.metrics != tuple(name for name in METRICS if name in self.metrics):
            raise ValueError(f"metrics = {self.metrics} is not a selection of {METRICS} in order")

    @property
    def private(self) -> AdapterLayout:
        """Layout of the private coordinates alone."""
        shapes = dict(zip(self.whole.names, self.whole.shapes, strict=True))
        return AdapterLayout(names=self.names, shapes=tuple(shapes[name] for name in self.names))

    @property
    def dimension(self) -> int:
        """Coordinates of a row, metrics included: the dimension of a privacy plan."""
        return self.private.dimension + len(self.metrics)

    def extract(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The private coordinates of a full vector, (private.dimension,) float32."""
        return np.asarray(vector, dtype=np.float32)[self._chosen(vector)]

    def embed(
        self, vector: NDArray[np.float32], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """A copy of a full vector with its private coordinates replaced.

        Args:
            vector: (whole.dimension,) float32.
            values: (private.dimension,) float32, what ``extract`` of the result gives.
        """
        if values.shape != (self.private.dimension,):
            raise ValueError(
                f"values have shape {values.shape}, the private coordinates "
                f"({self.private.dimension},): split() the metrics off first"
            )
        result = np.array(vector, dtype=np.float32)
        result[self._chosen(vector)] = values
        return result

    def split(self, row: NDArray[Any]) -> tuple[NDArray[Any], dict[str, float]]:
        """Part a row, or a sum of rows, into private coordinates and named metrics.

        A clip scales all coordinates of a row alike. So the quotient of the sums of ``loss`` and
        ``units`` is a mean over units, weighted by how little each was clipped; both sums hold the
        same ``metric_scale``, which cancels.
        """
        if row.shape != (self.dimension,):
            raise ValueError(f"row has shape {row.shape}, not ({self.dimension},): give one row")
        size = self.private.dimension
        return row[:size], dict(zip(self.metrics, row[size:].tolist(), strict=True))

    def within(self, wider: PrivateLayout) -> NDArray[np.bool_]:
        """The coordinates of a wider layout's rows that are of this one, (wider.dimension,) bool.

        Raises:
            ValueError: The other layout lacks a tensor, or has other metrics.
        """
        if not set(self.names) <= set(wider.names) or self.metrics != wider.metrics:
            raise ValueError(
                f"{len(self.names)} tensors with {self.metrics} do not lie within "
                f"{len(wider.names)} with {wider.metrics}: take both from private_layout()"
            )
        sizes = [math.prod(shape) for shape in wider.private.shapes]
        tensors = np.repeat([name in self.names for name in wider.names], sizes)
        return np.append(tensors, np.ones(len(wider.metrics), dtype=np.bool_))

    def _chosen(self, vector: NDArray[np.float32]) -> NDArray[np.bool_]:
        if vector.shape != (self.whole.dimension,):
            raise ValueError(
                f"vector has shape {vector.shape}, the layout needs ({self.whole.dimension},): "
                "both sides must hold the same predictor configuration"
            )
        sizes = [math.prod(shape) for shape in self.whole.shapes]
        return np.repeat([name in self.names for name in self.whole.names], sizes)


@dataclass(frozen=True, kw_only=True)
class MicroBatchShape:
    """The shape that every micro-batch has, from public bounds only.

    Attributes:
        rows: Units of a micro-batch.
        records: Records of a unit that count; the contribution cap.
        length: Tokens that every text is padded to.
        options: Most options of a question.
        apart: Whether options may stand alone in a text, as the responses of a pair do; a question
            then takes ``options`` texts instead of one.
        read: Tokens of a text that the head reads, the first one and those of all its options: the
            last layer is spared the others. None bounds them by ``length`` alone.
    """

    rows: int
    records: int = 1
    length: int
    options: int
    apart: bool = False
    read: int | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that hold nothing."""
        least = {"rows": 1, "records": 1, "length": 1, "options": 2, "read": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name} = {value} must be >= {bound}: raise it")

    @property
    def questions(self) -> int:
        """Questions of a micro-batch, those that fill it up included."""
        return self.rows * self.records

    @property
    def texts_per_question(self) -> int:
        """Texts that every question takes."""
        return self.options if self.apart else 1

    @property
    def texts(self) -> int:
        """Texts of a micro-batch, those that fill it up included, and a short one at the end.

        Libraries take another path where no text has padding, with other roundings. Whether all
        texts are that long depends on the companions, so one is always shorter.
        """
        return self.questions * self.texts_per_question + 1


def private_layout(
    predictor: Predictor,
    *,
    adapters: bool = True,
    freeze_a: bool = False,
    metrics: tuple[str, ...] = ("units", "loss"),
) -> PrivateLayout:
    """The coordinates that private training moves: fewer of them, less noise.

    The directions read in context are never among them: the prior is trained without context.

    Args:
        predictor: What is trained.
        adapters: Train the adapters too; otherwise the head alone.
        freeze_a: Train of each adapter ``B A`` only B (Sun et al. 2024,
            https://arxiv.org/abs/2403.12313): half the coordinates of square modules, and no
            product of two noises.
        metrics: Which of ``METRICS`` ride behind the gradient.
    """
    whole = AdapterLayout.of(predictor.trainable())
    names = tuple(
        name
        for name in whole.names
        if not name.startswith(_CONTEXT_ONLY)
        and (adapters or name.startswith("head."))
        and not (freeze_a and ".lora_A." in name)
    )
    return PrivateLayout(whole=whole, names=names, metrics=metrics)


def metric_scale_for(
    clipping_norm: float, *, options: int, metrics: tuple[str, ...] = ("units", "loss")
) -> float:
    """The factor that lets metrics take about ``METRIC_SHARE`` of the squared clipping norm.

    A public constant: it knows the clipping norm and the number of options, and takes a unit's
    loss for that of a guess, ``log(options)``, and all its records for correct.
    """
    if not (clipping_norm > 0 and options >= 2):
        raise ValueError(
            f"clipping_norm = {clipping_norm}, options = {options}: give a norm > 0 and at least 2"
        )
    typical = {"units": 1.0, "loss": math.log(options), "correct": 1.0}
    squared = sum(typical[name] ** 2 for name in metrics)
    return math.sqrt(METRIC_SHARE / squared) * clipping_norm if metrics else 1.0
