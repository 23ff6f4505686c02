"""Real vectors as integers that sum exactly modulo 2^32: for updates that carry no noise shares.

A number becomes the nearest multiple of 2^-f, and f is as large as a sum of all members permits.
The weight of a member rides along as the last coordinate, so that the server divides by a sum of
weights and learns none of them. Who has small integers already (`strategies.wire.compression`)
sums them modulo no more than they need.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import PrivacyError
from privacy.kernel.packing import word_dtype
from privacy.kernel.types import _SEAL, Modular, Quantised, centred

MODULUS_BITS = 32
RANGE = 16.0
"""Largest coordinate, weight included: an update beyond it has gone wrong."""


class OutOfRange(PrivacyError, ValueError):
    """A number that a sum has no room for, or a sum that no honest members could have made."""


def fraction_bits(members: int) -> int:
    """Return f: the most binary digits after the point with which `members` vectors cannot wrap."""
    if members < 1:
        raise ValueError(f"members = {members} is below 1; give the number of vectors in a sum")
    # n (RANGE 2^f + 1/2) < 2^31
    return math.floor(math.log2((2.0 ** (MODULUS_BITS - 1) / members - 1) / RANGE))


def error_bound(members: int) -> float:
    """Return how far the quantised mean of vectors of weight 1 can be from the exact one.

    Every coordinate is rounded by half of 2^-f at most, and so is the mean; the result is a float64
    quotient, which adds less than a billionth of the bound.
    """
    return 0.5 * 2.0 ** -fraction_bits(members)


def quantise(values: NDArray[np.floating[Any]], *, members: int, weight: float = 1.0) -> Quantised:
    """Turn a vector into integers for a sum over members.

    Args:
        values: `(d,)`, each of at most `RANGE` in size.
        members: how many vectors the sum may have.
        weight: of this member, above 0 and at most 1.

    Returns:
        `rint(weight * values * 2^f)`, then `rint(weight * 2^f)`, modulo 2^32.

    Raises:
        OutOfRange: if a number is not finite or exceeds `RANGE`; says nothing of its value.
    """
    if not 0 < weight <= 1:
        raise OutOfRange("weight is outside (0, 1]; divide by the largest permitted")
    exact = np.asarray(values, dtype=np.float64)
    if not np.all(np.abs(exact) <= RANGE):
        raise OutOfRange(
            f"an update has coordinates that are not finite or exceed {RANGE:g}: training "
            "diverged; lower the learning rate"
        )
    bits = fraction_bits(members)
    scaled = np.rint(np.append(exact, 1.0) * (weight * 2.0**bits)).astype(np.int32)
    return Quantised(vector=scaled.view(np.uint32), fraction_bits=bits, seal=_SEAL)


def sum_bits(limit: int, *, members: int) -> int:
    """Return the bits that hold every sum of integers of at most this size, of either sign."""
    if min(limit, members) < 1:
        raise ValueError(f"limit = {limit} and members = {members} must be >= 1")
    return (2 * limit * members).bit_length()


def small_integers(
    values: NDArray[np.signedinteger[Any]], *, limit: int, members: int
) -> Quantised:
    """Take integers as they are, for a sum over members modulo `2^sum_bits`.

    Args:
        values: `(n,)`, each of at most `limit` in size.
        limit: of every member alike.
        members: how many vectors the sum may have.

    Raises:
        OutOfRange: if an integer is larger: the sum could wrap.
    """
    if np.any(np.abs(values) > limit):
        raise OutOfRange(f"an integer of an update is larger than {limit}: send no such update")
    bits = sum_bits(limit, members=members)
    vector = values.astype(np.int64).astype(word_dtype(bits))
    return Quantised(vector=vector, fraction_bits=0, modulus_bits=bits, seal=_SEAL)


def dequantised_mean(total: Modular, *, members: int) -> NDArray[np.float64]:
    """Divide a sum of quantised vectors by its sum of weights.

    Args:
        total: `(d + 1,) uint32`.
        members: how many vectors the sum might have had: fixes f.

    Returns:
        `(d,) float64`, within `error_bound` of the exact mean where all weights are 1.

    Raises:
        OutOfRange: if no honest members could have such a sum of weights.
    """
    integers = centred(total)
    weights = int(integers[-1])
    if weights <= 0 or weights > members * 2 ** fraction_bits(members):
        raise OutOfRange("the weights of a sum are out of bounds; a member has sent a wrong vector")
    mean: NDArray[np.float64] = integers[:-1] / weights
    return mean
