"""Exact integer clipping of per-unit gradients.

A row of floats becomes a row of integers whose L2 norm is at most S, *checked in integers*: no
rounding error, overflow or special value of floating point can widen what one unit contributes.
Rows are processed one at a time in fixed buffers, so a row's integers depend on that row alone,
bit for bit, whatever else is in its batch.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from privacy.kernel.types import _SEAL, Clipped, KernelSettings, Update, residues


class _RowClipper:
    """Buffers for one row of `settings.dimension` coordinates, reused from row to row."""

    def __init__(self, settings: KernelSettings) -> None:
        self._settings = settings
        self._target = settings.target_norm
        self._bound = settings.sensitivity**2
        self._reals = np.empty(settings.dimension, dtype=np.float64)
        self._squares = np.empty(settings.dimension, dtype=np.float64)
        self._integers = np.empty(settings.dimension, dtype=np.int32)
        self._wide = self._squares.view(np.int64)

    def clip(self, row: NDArray[np.float32], weight: float) -> NDArray[np.int32]:
        """Return the clipped row, `(d,) int32`, in a buffer that the next call overwrites."""
        reals, integers = self._reals, self._integers
        with np.errstate(invalid="ignore"):
            np.copyto(reals, row)
        # float32 squared neither overflows nor underflows float64, so a norm that is not finite
        # means a coordinate that is not.
        norm = math.sqrt(self._sum_of_squares())
        if not math.isfinite(norm):
            integers.fill(0)
            return integers
        np.multiply(reals, weight * self._target / max(norm, self._settings.clipping_norm), reals)
        np.rint(reals, reals)
        if not self._within_sensitivity():
            integers.fill(0)
        return integers

    def _sum_of_squares(self) -> float:
        # numpy's own pairwise sum: its order depends on the length alone, which BLAS, free to
        # split the work by alignment or by threads, does not promise.
        np.multiply(self._reals, self._reals, self._squares)
        return float(np.add.reduce(self._squares))

    def _within_sensitivity(self) -> bool:
        # The float sum only rules out what int64 could not hold; the integers then decide.
        if not self._sum_of_squares() <= 1.001 * self._bound:
            return False
        np.copyto(self._integers, self._reals, casting="unsafe")
        np.multiply(self._integers, self._integers, self._wide, dtype=np.int64)
        return int(np.add.reduce(self._wide)) <= self._bound


def clip_rows(update: Update, settings: KernelSettings) -> NDArray[np.int32]:
    """Clip every row to an integer vector of L2 norm at most S.

    Row g with weight w becomes rint(w * g * min(1, C/|g|) / C * (S - sqrt(d)/2 - 1)). Rounding adds
    at most sqrt(d)/2 to the norm, so the check sum(v^2) <= S^2 in exact integers never fails for
    honest floats; a row that fails it all the same, or that holds a NaN or an infinity, is zero.

    Args:
        update: `(units, d) float32` gradients and optional weights in [0, 1].
        settings: C, S and d.

    Returns:
        `(units, d) int32`. Row i is a function of row i and its weight alone.
    """
    _check_dimension(update, settings)
    clipper = _RowClipper(settings)
    rows = np.empty(update.gradients.shape, dtype=np.int32)
    for index, row in enumerate(update.gradients):
        rows[index] = clipper.clip(row, _weight(update, index))
    return rows


def clip_sum(updates: Iterable[Update], settings: KernelSettings) -> Clipped:
    """Clip every row of every micro-batch and sum them modulo 2^modulus_bits.

    Only the running sum and one row are held. With no micro-batch, or none with a row, the sum is
    zero: an empty Poisson batch goes on to receive noise like any other.

    Args:
        updates: the micro-batches of one step; their order does not matter.
        settings: C, S, d and the modulus.

    Returns:
        The sum as `Clipped`, equal to the sum of `clip_rows` over all micro-batches.
    """
    clipper = _RowClipper(settings)
    total = np.zeros(settings.dimension, dtype=settings.modulus_dtype)
    for update in updates:
        _check_dimension(update, settings)
        for index, row in enumerate(update.gradients):
            total += residues(clipper.clip(row, _weight(update, index)), settings)
    return Clipped(settings=settings, vector=total, seal=_SEAL)


def _weight(update: Update, index: int) -> float:
    return 1.0 if update.weights is None else float(update.weights[index])


def _check_dimension(update: Update, settings: KernelSettings) -> None:
    if update.gradients.shape[1] != settings.dimension:
        raise ValueError(
            f"gradients have {update.gradients.shape[1]} coordinates, the plan "
            f"{settings.dimension}; make a plan for this adapter"
        )
