"""The last steps of a noised vector: out of a group, and out of the sum of all groups.

Both sides of a round live here, so that the constant a sum is divided by, the number of shares it
must hold, and the mode in which a single vector may be read are decided in one place.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import ExecutionMismatch, StageSkipped, TooFewShares
from privacy.kernel.types import Modular, Noised, centred


def unmasked_share(noised: Noised) -> Modular:
    """Let a noised vector out as it is, for a sum without secure aggregation.

    In distributed mode one share of noise protects nobody from whoever sees the share alone, here
    the server: the guarantee then holds against all others only, and results must say so.

    Raises:
        StageSkipped: if the vector is not `Noised`.
    """
    if not isinstance(noised, Noised):
        raise StageSkipped(
            f"unmasked_share() takes Noised, not {type(noised).__name__}; add noise first"
        )
    return noised.vector


def own_mean(noised: Noised, plan: PrivacyPlan, *, group: int) -> NDArray[np.float64]:
    """Read a group's own noised sum as its mean gradient: local mode only.

    Args:
        noised: one step of the group, with its full noise.
        plan: a plan in local mode.
        group: the group's index in the plan, from 0.

    Returns:
        `(d,) float64`, private by itself: whatever is computed from it may be released.

    Raises:
        StageSkipped: in distributed mode, where a single share is not private.
        ExecutionMismatch: if the vector was made under other settings than the plan's.
    """
    if plan.mode is not Mode.LOCAL or not isinstance(noised, Noised):
        raise StageSkipped(
            f"own_mean() reads Noised in local mode, not {type(noised).__name__} in {plan.mode} "
            "mode; only the sum of all shares may be read"
        )
    _require(noised.settings == plan.kernel, "kernel settings", noised.settings, plan.kernel)
    mean: NDArray[np.float64] = np.multiply(
        centred(noised.vector), plan.mean_gradient_scale(group), dtype=np.float64
    )
    return mean


def sum_of_shares(shares: Sequence[Modular], plan: PrivacyPlan) -> Modular:
    """Add shares in the clear, where no secure aggregation adds them: `(d,)` residues.

    Raises:
        ExecutionMismatch: if a share is not of the plan's shape or modulus.
    """
    expected = (plan.kernel.modulus_dtype, (plan.dimension,))
    total = np.zeros(plan.dimension, dtype=plan.kernel.modulus_dtype)
    for share in shares:
        _require((share.dtype, share.shape) == expected, "a share", share.shape, expected)
        total += share
    return total


def mean_of_sum(total: Modular, plan: PrivacyPlan, *, shares: int) -> NDArray[np.float64]:
    """Turn the sum of a round into the mean gradient of all units: distributed mode only.

    Args:
        total: sum of the shares of the groups that answered, `(d,)` residues.
        plan: a plan in distributed mode.
        shares: how many groups that were.

    Returns:
        `(d,) float64`: the sum over the groups that answered, divided by the public number of
        units of all groups.

    Raises:
        TooFewShares: if fewer groups answered than the plan's noise counts on.
        ExecutionMismatch: if the sum is not of the plan's shape or modulus.
    """
    if plan.mode is not Mode.DISTRIBUTED:
        raise StageSkipped(f"mean_of_sum() is of distributed mode, not {plan.mode}; use own_mean()")
    if shares < plan.survivors:
        raise TooFewShares(
            f"{shares} groups answered, below survivors = {plan.survivors}: their noise would "
            "not pay for the promised epsilon; nothing is used of this round"
        )
    if shares > plan.groups:
        raise ExecutionMismatch(
            f"{shares} shares came from {plan.groups} groups; count each group once"
        )
    expected = (plan.kernel.modulus_dtype, (plan.dimension,))
    _require((total.dtype, total.shape) == expected, "the sum", total.shape, expected)
    mean: NDArray[np.float64] = np.multiply(
        centred(total), plan.mean_gradient_scale(), dtype=np.float64
    )
    return mean


def _require(holds: bool, what: str, found: object, accounted: object) -> None:
    if not holds:
        raise ExecutionMismatch(
            f"{what} = {found} but {accounted} was accounted for; give all groups one plan"
        )
