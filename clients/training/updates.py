"""The updates of rounds without privacy, as types alone: no torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LocalUpdate:
    """What local training changed. Not private: only the privatizer may pass it on.

    Attributes:
        delta: (d,) float32, trained vector minus the vector received.
        loss: Mean cross-entropy over the steps, in nats.
        weight: How much the group counts in the mean of all, above 0 and at most 1.
    """

    delta: NDArray[np.float32]
    loss: float
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Compressed:
    """An update in small integers, its loss and weight among them. Not private.

    Attributes:
        integers: (n,) int64; see ``strategies.wire.compression.RoundCode``.
        limit: Largest integer of any group, of either sign.
    """

    integers: NDArray[np.int64]
    limit: int
