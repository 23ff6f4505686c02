"""Vectors of small integers as bytes, each coordinate in as many bits as it needs.

Coordinate i takes the bits from i * bits on, the lowest bit first, in a string of bits whose first
eight are the first byte, the lowest bit first again. At 32 and 64 bits these are little-endian
words. One vector has one encoding: whatever could be written in two ways is refused.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MalformedMessage
from privacy.kernel.types import Modular

LEAST_BITS = 2
MOST_BITS = 64
_WORD = 64
# Rows of words at a time: small enough to stay in a core's cache.
_ROWS = 512

_Words = NDArray[np.uint64]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of so many packed coordinates."""
    return -(-count * bits // 8)


def word_dtype(bits: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The dtype whose arithmetic sums modulo 2^bits come out of: 2^bits divides its modulus.

    Raises:
        ValueError: if bits is outside [2, 64].
    """
    if not LEAST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"bits = {bits} is outside [{LEAST_BITS}, {MOST_BITS}]; choose a width")
    return np.dtype(np.uint32 if bits <= 32 else np.uint64)


def pack(vector: Modular, bits: int) -> bytes:
    """Write the low bits of every coordinate; what is above them is left out.

    Args:
        vector: `(n,)` of `word_dtype(bits)`.
        bits: of a coordinate.

    Returns:
        `packed_bytes(n, bits)` bytes; bits behind the last coordinate are 0.
    """
    values, width = _widened(vector, bits)
    group, words = _shape(width)
    rows = -(-values.size // group)
    padded = np.zeros((rows, group), dtype="<u8")
    padded.ravel()[: values.size] = values
    packed = np.empty((rows, words), dtype="<u8")
    for start in range(0, rows, _ROWS):
        part = slice(start, start + _ROWS)
        packed[part] = _join(np.ascontiguousarray(padded[part].T), width).T
    return packed.tobytes()[: packed_bytes(vector.size, bits)]


def unpack(data: bytes, *, count: int, bits: int) -> Modular:
    """Read what `pack` wrote, and nothing else.

    Returns:
        `(count,)` of `word_dtype(bits)`, each below 2^bits.

    Raises:
        MalformedMessage: if there are more or fewer bytes, or a bit behind the last coordinate.
    """
    dtype = word_dtype(bits)
    needed = packed_bytes(count, bits)
    if len(data) != needed:
        raise MalformedMessage(
            f"a vector of {count} x {bits} bits has {len(data)} bytes, {needed} needed"
        )
    if (spare := 8 * needed - count * bits) and data[-1] >> (8 - spare):
        raise MalformedMessage("a vector has bits behind its last coordinate")
    paired = dtype.itemsize == 4
    width = 2 * bits if paired else bits
    group, words = _shape(width)
    values = -(-count // 2) if paired else count
    rows = -(-values // group)
    packed = np.zeros((rows, words), dtype="<u8")
    packed.view(np.uint8).ravel()[:needed] = np.frombuffer(data, dtype=np.uint8)
    parted = np.empty((rows, group), dtype="<u8")
    for start in range(0, rows, _ROWS):
        part = slice(start, start + _ROWS)
        parted[part] = _part(np.ascontiguousarray(packed[part].T), width).T
    wide = parted.ravel()
    if not paired:
        return wide[:count].astype(dtype, copy=False)
    low = np.uint64(2**bits - 1)
    spread = (wide & low) | ((wide >> np.uint64(bits)) << np.uint64(32))
    return spread.view("<u4")[:count].astype(dtype, copy=False)


def sign_extended(vector: Modular, bits: int) -> Modular:
    """Read residues modulo 2^bits as the integers of [-2^(bits-1), 2^(bits-1)) they stand for.

    Args:
        vector: `(n,)` of `word_dtype(bits)`; what is above the low bits does not count.
        bits: of the modulus.

    Returns:
        The same integers as residues of the dtype's own modulus, for
        `privacy.kernel.types.centred`.
    """
    shift = 8 * vector.dtype.itemsize - bits
    signed = (vector << vector.dtype.type(shift)).view(f"i{vector.dtype.itemsize}")
    lifted: Modular = (signed >> signed.dtype.type(shift)).view(vector.dtype)
    return lifted


def _shape(width: int) -> tuple[int, int]:
    """Values that end where a word does, and how many words they fill."""
    common = math.gcd(width, _WORD)
    return _WORD // common, width // common


def _widened(vector: Modular, bits: int) -> tuple[_Words, int]:
    """The low bits of a vector as 64-bit values, and how wide those are; 32-bit words in pairs."""
    dtype = word_dtype(bits)
    if vector.ndim != 1 or vector.dtype != dtype:
        raise ValueError(f"a vector is {vector.dtype} of {vector.ndim} axes; give {dtype} of one")
    low = np.uint64(2**bits - 1)
    if dtype.itemsize == 8:
        return vector.astype("<u8", copy=False) & low, bits
    even = np.zeros(vector.size + vector.size % 2, dtype="<u4")
    even[: vector.size] = vector
    pairs = even.view("<u8")
    return (pairs & low) | (((pairs >> np.uint64(32)) & low) << np.uint64(bits)), 2 * bits


def _join(values: _Words, width: int) -> _Words:
    """Lay values end to end: `(group, rows)` to `(words, rows)`."""
    joined = np.zeros((_shape(width)[1], values.shape[1]), dtype="<u8")
    for position, value in enumerate(values):
        word, shift = divmod(position * width, _WORD)
        joined[word] |= value << np.uint64(shift)
        if shift + width > _WORD:
            joined[word + 1] |= value >> np.uint64(_WORD - shift)
    return joined


def _part(words: _Words, width: int) -> _Words:
    """The inverse of `_join`."""
    parted = np.empty((_shape(width)[0], words.shape[1]), dtype="<u8")
    for position, value in enumerate(parted):
        word, shift = divmod(position * width, _WORD)
        np.right_shift(words[word], np.uint64(shift), out=value)
        if shift + width > _WORD:
            value |= words[word + 1] << np.uint64(_WORD - shift)
    if width < _WORD:
        parted &= np.uint64(2**width - 1)
    return parted
