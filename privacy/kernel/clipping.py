"""Exact integer clipping of per-unit gradients.

A row of floats becomes a row of integers whose L2 norm is at most S, *checked in integers*: no
rounding error, overflow or special value of floating point can widen what one unit contributes.
Rows are processed one at a time in fixed buffers, so a row's integers depend on that row alone,
bit for bit, whatever else is in its batch.

Where S allows it a row is scaled and rounded in float32, a third of the memory to walk through. The
integers are checked all the same, and a row that float32 cannot scale is done again in float64.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from privacy.kernel.types import _SEAL, Clipped, KernelSettings, Update, residues

#: Largest S for float32: its integers are exact up to 2^24, and a sum of squares up to 1.001 S^2 is
#: known to less than 2^31 if it is known to 2^-12 of itself.
_MAX_FLOAT32_SENSITIVITY = 2**21
#: Squares summed at once in float32: whatever the order, off by at most 2^12 roundings of 2^-24.
#: Too few for BLAS to split them over threads, and blocks of them all lie at the same alignment.
_SQUARES = 2**12
#: Bytes that vector units load at once.
_ALIGNMENT = 64


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
        # Filled up with zeros, which add nothing, to whole blocks of squares.
        self._blocks = _aligned_zeros(-(-settings.dimension // _SQUARES), _SQUARES)
        self._narrow = self._blocks.reshape(-1)[: settings.dimension]
        self._fits_float32 = settings.sensitivity <= _MAX_FLOAT32_SENSITIVITY

    def clip(self, row: NDArray[np.float32], weight: float) -> NDArray[np.int32]:
        """Return the clipped row, `(d,) int32`, in a buffer that the next call overwrites."""
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            if self._fits_float32 and self._clip_narrow(row, weight):
                return self._integers
            return self._clip_wide(row, weight)

    def _clip_narrow(self, row: NDArray[np.float32], weight: float) -> bool:
        """Clip in float32; False where the integers do not hold the bound, or a float overflowed.

        A row of infinities, of NaN, or above 1e19 after scaling is among the latter.
        """
        narrow = self._narrow
        np.multiply(row, np.float32(self._target / self._settings.clipping_norm), narrow)
        norm = math.sqrt(self._narrow_squares())
        if not math.isfinite(norm):
            return False
        np.multiply(narrow, np.float32(weight * self._target / max(norm, self._target)), narrow)
        np.rint(narrow, narrow)
        squares = self._narrow_squares()
        if not squares <= 1.001 * self._bound:
            return False
        np.copyto(self._integers, narrow, casting="unsafe")
        return self._exact_squares(squares) <= self._bound

    def _narrow_squares(self) -> float:
        """The sum of squares of the float32 buffer, off by about 2^-12 of itself at the very most.

        Every row is summed in the same order, for all lie in the same blocks.
        """
        return float(np.add.reduce(np.vecdot(self._blocks, self._blocks), dtype=np.float64))

    def _exact_squares(self, near: float) -> int:
        """The sum of squares of the integers, exact.

        Computed modulo 2^32, where nothing is lost. Of the numbers that leave this remainder, which
        lie 2^32 apart, it is the one next to `near`.

        Args:
            near: The same sum in floats, off by less than 2^31.
        """
        unsigned = self._integers.view(np.uint32)
        remainder = int(np.einsum("i,i->", unsigned, unsigned))
        return remainder + 2**32 * round((near - remainder) / 2**32)

    def _clip_wide(self, row: NDArray[np.float32], weight: float) -> NDArray[np.int32]:
        reals, integers = self._reals, self._integers
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


def _aligned_zeros(blocks: int, size: int) -> NDArray[np.float32]:
    """Zeros, `(blocks, size) float32`, at an address that does not vary modulo `_ALIGNMENT`."""
    room = np.zeros(blocks * size * 4 + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + blocks * size * 4].view(np.float32).reshape(blocks, size)


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
