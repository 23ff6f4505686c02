"""The noise that an epsilon takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from privacy.accounting.accountant import (
    NeighboringRelation,
    SampledGaussian,
    pld_epsilon,
    rdp_budget,
    rdp_per_step,
    require_delta,
)
from privacy.errors import (
    CalibrationFailed,
)

_COARSE_GRID = 1e-3
_NOISE_RANGE = (0.1, 1e5)
# A calibrated epsilon lies below its target by at most this fraction of it.
_CALIBRATION_SLACK = 1e-4


@lru_cache(maxsize=256)
def calibrate_noise_multiplier(
    *,
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
) -> float:
    """Return the least noise multiplier whose PLD epsilon does not exceed the one asked for.

    The search brackets with integer-order RDP (microseconds), finds the root on a coarse loss grid
    (tens of milliseconds each) and corrects it on the fine one, usually at a single evaluation.

    Returns:
        z with epsilon * (1 - 1e-4) <= PLD epsilon <= epsilon.

    Raises:
        CalibrationFailed: if no z in [0.1, 1e5] does.
    """
    require_delta(delta)
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon = {epsilon} is not positive and finite; give the target")

    def at(noise_multiplier: float, *, fine: bool) -> float:
        mechanism = SampledGaussian(
            noise_multiplier=noise_multiplier,
            sampling_rate=sampling_rate,
            steps=steps,
            relation=relation,
        )
        # Called as others call it, so that what is verified next is remembered.
        if fine:
            return pld_epsilon(mechanism, delta=delta)
        return pld_epsilon(mechanism, delta=delta, grid=_COARSE_GRID)

    def log_excess(noise_multiplier: float, *, fine: bool = False) -> float:
        # A mechanism so quiet that its epsilon is 0 still needs a logarithm.
        return math.log(max(at(noise_multiplier, fine=fine), 1e-9) / epsilon)

    start = _rdp_noise_multiplier(epsilon, delta, sampling_rate, steps)
    if relation is NeighboringRelation.REPLACE_ONE:
        start *= 2  # Replacing one unit moves the sum by at most twice the sensitivity.
    bracket = _bracket(log_excess, start)
    if bracket is None:
        raise _out_of_range(epsilon)
    root = _secant(log_excess, *bracket)
    for _ in range(10):
        excess = log_excess(root, fine=True)
        if -_CALIBRATION_SLACK <= excess <= 0:
            return root
        slope = (log_excess(1.01 * root, fine=True) - excess) / math.log(1.01)
        root *= math.exp((excess + _CALIBRATION_SLACK / 2) / -slope)
    raise _out_of_range(epsilon)


def _rdp_noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Return a noise multiplier that suffices by RDP at integer orders, to about 1 %."""
    orders = (*range(2, 33), 48, 64, 128, 256, 1024, 4096, 16384)

    def suffices(noise_multiplier: float) -> bool:
        return any(
            steps
            * rdp_per_step(
                noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, order=order
            )
            <= rdp_budget(epsilon=epsilon, delta=delta, order=order)
            for order in orders
        )

    low, high = _NOISE_RANGE
    if not suffices(high):
        raise _out_of_range(epsilon)
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _bracket(excess: Callable[[float], float], start: float) -> tuple[float, float] | None:
    """Return (low, high) around the root of a decreasing function, close together, if in range."""
    low = high = start
    step = 1.1
    while excess(high) > 0:
        low, high, step = high, high * step, step * step
        if high > _NOISE_RANGE[1]:
            return None
    while low == high or excess(low) <= 0:
        low, high, step = low / step, low, step * step
        if low < _NOISE_RANGE[0]:
            return None
    return low, high


def _secant(log_excess: Callable[[float], float], low: float, high: float) -> float:
    """Return a point just above the root, by false position (log epsilon is near linear)."""
    at_low, at_high = log_excess(low), log_excess(high)
    for _ in range(20):
        if high / low - 1 < 1e-5 or at_high > -1e-5:
            break
        # Aim a little above the root, so that the upper end is what converges.
        step = (at_low + 5e-6) / (at_low - at_high)
        middle = low * (high / low) ** min(max(step, 0.01), 0.99)
        at_middle = log_excess(middle)
        if at_middle > 0:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return high


def _out_of_range(epsilon: float) -> CalibrationFailed:
    return CalibrationFailed(
        f"epsilon = {epsilon} is not reached by a noise multiplier in {list(_NOISE_RANGE)}; "
        "change epsilon, the sampling rate or the number of rounds"
    )
