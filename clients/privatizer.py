"""The only way out of a client: what the server receives is made here and nowhere else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clients.trainer import LocalUpdate


def release_unprotected(update: LocalUpdate) -> NDArray[np.float32]:
    """Pass an update on as it is: **no guarantee of any kind**; results say so.

    Args:
        update: What local training changed.

    Returns:
        (d + 1,) float32: the update, and the training loss as a last coordinate, so that a metric
        takes the way of the update and never one of its own.
    """
    return np.append(update.delta, np.float32(update.loss)).astype(np.float32)
