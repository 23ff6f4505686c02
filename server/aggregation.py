"""What the server makes of the vectors of a round: their mean, and nothing about any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from server.cohort import CohortError
from strategies.round_plan import Scalar


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """A round's outcome.

    Attributes:
        update: (d,) float64, the mean update of the global vector.
        loss: Mean training loss, nats; None where noise leaves nothing of it.
    """

    update: NDArray[np.float64]
    loss: float | None


class Aggregation(Protocol):
    """Turns the released vectors of a round into one update of the global vector."""

    def work(self, group: str) -> Mapping[str, Scalar]:
        """What a group is told about privacy: the section of its round plan."""

    def combine(
        self, updates: Mapping[str, RecordDict], *, dimension: int, train_adapter: bool
    ) -> Combined:
        """Combine what came back.

        Args:
            updates: Replies by group, in a fixed order so that sums of floats repeat.
            dimension: d, of the global vector.
            train_adapter: Whether adapters took part in the round.

        Raises:
            CohortError: A vector is not what the run needs, or too few came.
        """


def released(group: str, content: RecordDict) -> NDArray[np.generic]:
    """The one vector that a reply holds."""
    arrays = content.array_records["update"].to_numpy_ndarrays()
    if len(arrays) != 1:
        raise CohortError(f"group {group!r} released {len(arrays)} vectors: use one version")
    vector: NDArray[np.generic] = arrays[0]
    return vector


class MeanOfUpdates:
    """The mean of unprotected updates, each group alike; the loss rides as the last coordinate."""

    def work(self, group: str) -> Mapping[str, Scalar]:
        """Nothing is private; see :class:`Aggregation`."""
        return {}

    def combine(
        self, updates: Mapping[str, RecordDict], *, dimension: int, train_adapter: bool
    ) -> Combined:
        """Average; see :class:`Aggregation`."""
        mean = mean_of_floats(updates, dimension + 1)
        return Combined(update=mean[:-1], loss=float(mean[-1]))


def mean_of_floats(updates: Mapping[str, RecordDict], size: int) -> NDArray[np.float64]:
    """The mean of vectors of finite numbers, each of a given size.

    Raises:
        CohortError: A vector has another size or holds a number that is not finite.
    """
    total = np.zeros(size)
    for group, content in updates.items():
        vector = np.asarray(released(group, content), dtype=np.float64)
        if vector.shape != (size,) or not np.isfinite(vector).all():
            raise CohortError(
                f"group {group!r} released {vector.shape} or a number that is not finite, "
                f"({size},) finite needed: give all groups one version"
            )
        total += vector
    return total / len(updates)
