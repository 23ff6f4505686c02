"""Shamir's secret sharing over the integers modulo 2^255 - 19 (Shamir 1979).

Secrets of 31 bytes always fit the field. Whole arrays of secrets are shared and recovered at once.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.kernel.randomness import ByteSource

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
    return (
        sum(w * int.from_bytes(share, "big") for w, share in zip(weights, shares, strict=True))
        % PRIME
    )


def strangers(
    points: Sequence[int], shares: Sequence[bytes], *, threshold: int
) -> tuple[int, ...] | None:
    """Find the shares that do not lie on the polynomial of the others.

    Up to half of those beyond the threshold can be found, wherever they are, and however they were
    chosen (Gao 2003, https://doi.org/10.1007/978-1-4757-3789-9_5): Euclid's algorithm on
    prod(x - point) and the polynomial through all shares comes by the good polynomial times one
    that vanishes at the bad points.

    Returns:
        Their points, or None if more shares are bad than can be found.
    """
    whole = [1]
    through: list[int] = [0]
    for point, share in zip(points, shares, strict=True):
        # Newton: add to what passes through the points so far a multiple of what vanishes there.
        gap = (int.from_bytes(share, "big") - _value(through, point)) % PRIME
        scale = gap * pow(_value(whole, point), -1, PRIME)
        through = _minus(through, [-scale * c for c in whole])
        whole = _minus([0, *whole], [point * c for c in whole])
    older, newer = whole, through
    vanishing, next_vanishing = [0], [1]
    while 2 * (len(newer) - 1) >= len(points) + threshold:
        quotient, remainder = _divided(older, newer)
        older, newer = newer, remainder
        product = _times(quotient, next_vanishing)
        vanishing, next_vanishing = next_vanishing, _minus(vanishing, product)
    good, rest = _divided(newer, next_vanishing)
    if any(rest) or len(good) > threshold:
        return None
    pairs = zip(points, shares, strict=True)
    return tuple(p for p, share in pairs if int.from_bytes(share, "big") % PRIME != _value(good, p))


def _value(coefficients: Sequence[int], at: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * at + coefficient) % PRIME
    return total


def _minus(one: Sequence[int], other: Sequence[int]) -> list[int]:
    size = max(len(one), len(other))
    padded = ([*c, *[0] * (size - len(c))] for c in (one, other))
    difference = [(a - b) % PRIME for a, b in zip(*padded, strict=True)]
    while len(difference) > 1 and not difference[-1]:
        difference.pop()
    return difference


def _times(one: Sequence[int], other: Sequence[int]) -> list[int]:
    product = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            product[i + j] = (product[i + j] + a * b) % PRIME
    return product


def _divided(one: Sequence[int], by: Sequence[int]) -> tuple[list[int], list[int]]:
    """The quotient and the remainder of two polynomials, lowest coefficients first."""
    rest, inverse = list(one), pow(by[-1], -1, PRIME)
    quotient = [0] * max(1, len(one) - len(by) + 1)
    for shift in range(len(one) - len(by), -1, -1):
        factor = quotient[shift] = rest[shift + len(by) - 1] * inverse % PRIME
        for i, c in enumerate(by):
            rest[shift + i] = (rest[shift + i] - factor * c) % PRIME
    return quotient, _minus(rest, [0])


def _weights(points: tuple[int, ...], at: int) -> list[int]:
    """The Lagrange weights of points for evaluating at another."""
    after = [1]
    for point in reversed(points):
        after.append(after[-1] * (at - point) % PRIME)
    weights, before = [], 1
    for i, (point, inverse) in enumerate(zip(points, _inverse_gaps(points), strict=True)):
        weights.append(before * after[len(points) - 1 - i] % PRIME * inverse % PRIME)
        before = before * (at - point) % PRIME
    return weights


@lru_cache(maxsize=4096)
def _inverse_gaps(points: tuple[int, ...]) -> tuple[int, ...]:
    """One over the product of a point's distances to all others, for each point."""
    if len(set(points)) < len(points):
        raise ValueError("two shares are of one point; take each holder's once")
    gaps = [
        math.prod(own - other for j, other in enumerate(points) if i != j) % PRIME
        for i, own in enumerate(points)
    ]
    # One inversion for all (Montgomery's trick): it costs as much as a hundred products.
    products = list(itertools.accumulate(gaps, lambda one, other: one * other % PRIME, initial=1))
    inverse = pow(products[-1], -1, PRIME)
    inverses = []
    for gap, product in zip(reversed(gaps), reversed(products[:-1]), strict=True):
        inverses.append(inverse * product % PRIME)
        inverse = inverse * gap % PRIME
    return tuple(reversed(inverses))


def _random_elements(source: ByteSource, count: int) -> NDArray[Any]:
    data = source.take(_WIDE_BYTES * count)
    elements = [
        int.from_bytes(data[at : at + _WIDE_BYTES], "big") % PRIME
        for at in range(0, len(data), _WIDE_BYTES)
    ]
    return np.array(elements, dtype=object)
