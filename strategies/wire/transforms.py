"""Orthonormal transforms of a vector: what is small everywhere is rounded better than a few peaks.

Each turns (n,) float64 into (n,) float64 and back, keeps the norm, and is the same wherever it is
made from the same words of chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Vector = NDArray[np.float64]

#: Coordinates that a rotation mixes, and a cosine transform: a power of 2, and that of DeMo
#: (Peng et al. 2024, https://arxiv.org/abs/2411.19870).
_ROTATED = 1024
_COSINES = 64


class Transform:
    """An orthonormal map of vectors of one length; this one leaves them as they are."""

    def forward(self, vector: _Vector) -> _Vector:
        """Transform (n,); never the array that was given."""
        return vector.astype(np.float64)

    def inverse(self, vector: _Vector) -> _Vector:
        """Undo ``forward``."""
        return vector.astype(np.float64)


def make_transform(name: str, count: int, chance: NDArray[np.uint64]) -> Transform:
    """The transform of a name.

    Args:
        name: ``none``, ``rotate`` or ``dct``.
        count: n.
        chance: (n,), uniform words; only ``rotate`` depends on them.

    Raises:
        ValueError: There is none of that name.
    """
    if name == "none":
        return Transform()
    if name == "dct":
        return BlockCosine()
    if name == "rotate":
        return Rotation(chance)
    raise ValueError(f"transform = {name!r} is unknown: none, rotate or dct")


class Rotation(Transform):
    """A random order, random signs, and a Walsh-Hadamard transform of each block.

    Whatever stood out is spread over its block, so that all coordinates have like size and nearly
    normal values (Suresh et al. 2017, https://arxiv.org/abs/1611.00429). Blocks are of 1024; what
    is left at the end is cut into ever smaller powers of 2.

    Args:
        chance: (n,), uniform words: they give order and signs.
    """

    def __init__(self, chance: NDArray[np.uint64]) -> None:
        # The lowest bit gives the sign, and decides an order only where all others are equal.
        self._order = np.argsort(chance, kind="stable")
        self._signs = 1.0 - 2.0 * (chance & np.uint64(1)).astype(np.float64)

    def forward(self, vector: _Vector) -> _Vector:
        """Rotate."""
        return _hadamard((vector * self._signs)[self._order])

    def inverse(self, vector: _Vector) -> _Vector:
        """Rotate back."""
        back = np.empty(vector.size)
        back[self._order] = _hadamard(vector)
        return back * self._signs


class BlockCosine(Transform):
    """DCT-II of every block of 64 coordinates, and of the shorter one at the end."""

    def forward(self, vector: _Vector) -> _Vector:
        """From coordinates to frequencies."""
        return _blockwise(vector, inverse=False)

    def inverse(self, vector: _Vector) -> _Vector:
        """From frequencies to coordinates."""
        return _blockwise(vector, inverse=True)


def _hadamard(vector: _Vector) -> _Vector:
    """Orthonormal Walsh-Hadamard transforms of blocks; its own inverse."""
    result = np.empty(vector.size)
    at, size = 0, _ROTATED
    while at < vector.size:
        rows = (vector.size - at) // size
        if rows:
            end = at + rows * size
            result[at:end] = _butterflies(vector[at:end].reshape(rows, size)).ravel()
            at = end
        size //= 2
    return result


def _butterflies(rows: _Vector) -> _Vector:
    count, size = rows.shape
    step = 1
    while step < size:
        pairs = rows.reshape(count, size // (2 * step), 2, step)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        step *= 2
    spread: _Vector = rows.reshape(count, size) / np.sqrt(size)
    return spread


def _blockwise(vector: _Vector, *, inverse: bool) -> _Vector:
    whole = vector.size - vector.size % _COSINES
    result = np.empty(vector.size)
    for part, size in ((slice(0, whole), _COSINES), (slice(whole, None), vector.size - whole)):
        if size and vector[part].size:
            matrix = _cosines(size)
            rows = vector[part].reshape(-1, size) @ (matrix if inverse else matrix.T)
            result[part] = rows.ravel()
    return result


def _cosines(size: int) -> _Vector:
    """The orthonormal DCT-II: row k holds the cosine of frequency k."""
    positions, frequencies = np.arange(size) + 0.5, np.arange(size)
    matrix: _Vector = np.cos(np.pi / size * np.outer(frequencies, positions)) * np.sqrt(2.0 / size)
    matrix[0] /= np.sqrt(2.0)
    return matrix
