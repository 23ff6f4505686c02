"""The only way out of a client: what the server receives is made here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clients.trainer import LocalUpdate
from privacy.clipping import clip_sum
from privacy.discrete_gaussian import add_noise
from privacy.plan import PrivacyPlan
from privacy.randomness import ByteSource
from privacy.release import unmasked_share
from privacy.types import Modular, Noised, Update


def release_unprotected(update: LocalUpdate) -> NDArray[np.float32]:
    """Pass an update on as it is: **no guarantee of any kind**; results say so.

    Args:
        update: What local training changed.

    Returns:
        (d + 1,) float32: the update, and the training loss as a last coordinate, so that a metric
        takes the way of the update and never one of its own.
    """
    return np.append(update.delta, np.float32(update.loss)).astype(np.float32)


def noised_sum(updates: Iterable[Update], plan: PrivacyPlan, source: ByteSource) -> Noised:
    """Clip every row of a step, add them up and add this group's noise.

    Args:
        updates: Gradients, one row a unit; may be empty.
        plan: Fixes clipping norm, grid and noise.
        source: Randomness of the operating system.
    """
    return add_noise(clip_sum(updates, plan.kernel), source)


def release_share(noised: Noised) -> Modular:
    """Release a group's share of the sum: (d,) residues, not masked; results say so."""
    return unmasked_share(noised)


def release_means(means: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Release the mean over local steps of a group's private mean gradients, (d,) float32.

    Args:
        means: What :func:`privacy.release.own_mean` gave in each step.
    """
    mean: NDArray[np.float32] = np.mean(means, axis=0).astype(np.float32)
    return mean
