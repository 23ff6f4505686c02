"""Shamir's secret sharing over the integers modulo 2^255 - 19 (Shamir 1979).

Secrets of 31 bytes always fit the field. Whole arrays of secrets are shared and recovered at once.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import ByteSource

PRIME = 2**255 - 19
SECRET_BYTES = 31
SHARE_BYTES = 32

#: Reducing so many uniform bytes leaves a bias below 2^-128.
_WIDE_BYTES = 48


def split(
    secrets: Sequence[bytes], *, threshold: int, points: Sequence[int], source: ByteSource
) -> list[list[bytes]]:
    """Split secrets so that any `threshold` shares give them back and fewer tell nothing.

    Args:
        secrets: of 31 bytes each.
        threshold: t, from 1 to the number of points.
        points: where the polynomials are evaluated: distinct, at least 1; one for each holder.
        source: of the random coefficients.

    Returns:
        For each secret one share of 32 bytes per point.
    """
    if not 1 <= threshold <= len(points):
        raise ValueError(f"threshold = {threshold} is outside [1, {len(points)}]; lower it")
    if len(set(points)) < len(points) or min(points) < 1:
        raise ValueError("points must be distinct and at least 1; the secret itself lies at 0")
    if any(len(secret) != SECRET_BYTES for secret in secrets):
        raise ValueError(f"a secret is not of {SECRET_BYTES} bytes; give a seed of that length")
    at = np.array(points, dtype=object)
    values = np.zeros((len(secrets), len(points)), dtype=object)
    # Horner, from the highest coefficient down to the secret.
    for _ in range(threshold - 1):
        drawn = _random_elements(source, len(secrets))
        values = (values * at + drawn[:, None]) % PRIME
    constant = np.array([int.from_bytes(secret, "big") for secret in secrets], dtype=object)
    values = (values * at + constant[:, None]) % PRIME
    return [[int(value).to_bytes(SHARE_BYTES, "big") for value in row] for row in values]


def recover(points: Sequence[int], shares: Sequence[bytes], *, at: int = 0) -> int:
    """Evaluate the polynomial through shares at a point; the secret lies at 0.

    Args:
        points: where the shares were taken, distinct: exactly as many as the threshold.
        shares: of 32 bytes each.
        at: where to evaluate.

    Returns:
        A field element. It is the secret only where every share is good: compare it with what is
        known of the secret.
    """
    weights = _weights(tuple(points), at)
    return sum(
        w * int.from_bytes(share, "big") for w, share in zip(weights, shares, strict=True)
    ) % (PRIME)


@lru_cache(maxsize=4096)
def _weights(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """The Lagrange weights of points for evaluating at another."""
    if len(set(points)) < len(points):
        raise ValueError("two shares are of one point; take each holder's once")
    weights = []
    for i, own in enumerate(points):
        numerator, denominator = 1, 1
        for j, other in enumerate(points):
            if i != j:
                numerator = numerator * (at - other) % PRIME
                denominator = denominator * (own - other) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)


def _random_elements(source: ByteSource, count: int) -> NDArray[Any]:
    data = source.take(_WIDE_BYTES * count)
    elements = [
        int.from_bytes(data[at : at + _WIDE_BYTES], "big") % PRIME
        for at in range(0, len(data), _WIDE_BYTES)
    ]
    return np.array(elements, dtype=object)
