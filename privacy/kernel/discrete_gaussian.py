"""Exact discrete Gaussian noise on the integers, and what it costs.

One share of noise is N_Z(0, 4^k): every integer x has probability proportional to exp(-x^2 /
2^(2k+1)), exactly, so no rounding of floating point can be turned against the guarantee.

The sampler follows Canonne, Kamath and Steinke 2020 (https://arxiv.org/abs/2004.00010): propose,
then accept with a probability exp(rational), decided by exact comparison. We deviate in the
proposal: with a standard deviation of 2^k, a magnitude splits into a cell and an offset, |x| =
cell * 2^k + offset, and cell ~ Geometric(1/2), offset uniform, sign fair needs nothing but bits,
where their discrete Laplace needs further exponentials. About 1.94 proposals make one sample.
"""

import math
from decimal import Context, Decimal, Inexact
from fractions import Fraction

import dp_accounting
import numpy as np
from numpy.typing import NDArray

from privacy.errors import StageSkipped
from privacy.kernel.randomness import ByteSource, random_words
from privacy.kernel.types import _SEAL, MAX_NOISE_LOG2, Clipped, Noised, residues

# One word holds a sign, an offset of up to 24 bits and, in its upper 39 bits, the cell: as many
# zeros as the field ends in.
_CELL_SHIFT = 1 + MAX_NOISE_LOG2
_CELL_BITS = 64 - _CELL_SHIFT
# Proposals handled at once: few enough for the second-level cache.
_CHUNK = 2**14
# The float acceptance probability, scaled by 2^53, is off by less than 8: one rounding of the
# exponent (at most 40 where the probability matters) and a few units in the last place of exp.
_MARGIN = 64.0


def discrete_gaussian(
    source: ByteSource, *, noise_log2: int, count: int, margin: float = _MARGIN
) -> NDArray[np.int64]:
    """Draw independent samples of exactly N_Z(0, 4^noise_log2).

    Args:
        source: uniformly random bytes; a `SystemRandomStream` in production.
        noise_log2: k in [0, 24]; the standard deviation is 2^k (1e-6 less at k = 0).
        count: how many.
        margin: comparisons closer than margin * 2^-53 are decided by exact arithmetic. Only tests
            raise it, to send every comparison there; the samples are then the same.

    Returns:
        `(count,) int64`.
    """
    if not 0 <= noise_log2 <= MAX_NOISE_LOG2:
        raise ValueError(
            f"noise_log2 = {noise_log2} is outside [0, {MAX_NOISE_LOG2}]; take it from the plan"
        )
    samples = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        proposals = min(_CHUNK, 2 * (count - filled) + 64)
        accepted = _accepted(source, noise_log2, proposals, margin)[: count - filled]
        samples[filled : filled + accepted.size] = accepted
        filled += accepted.size
    return samples


def _accepted(
    source: ByteSource, noise_log2: int, proposals: int, margin: float
) -> NDArray[np.int64]:
    """Propose, and return the samples that were accepted."""
    words = random_words(source, proposals)
    uniform = random_words(source, proposals) >> np.uint64(11)

    field = words >> np.uint64(_CELL_SHIFT)
    cell = np.bitwise_count(~field & (field - np.uint64(1))).astype(np.int64)  # trailing zeros
    offset = ((words >> np.uint64(1)) & np.uint64(2**noise_log2 - 1)).view(np.int64)
    magnitude = (cell << noise_log2) | offset

    # Acceptance is 2^(cell - 1) * exp(1/2 - x^2/2) <= 1 at x = magnitude / 2^k.
    scaled = magnitude * 2.0**-noise_log2
    probability = np.exp(0.5 - 0.5 * scaled * scaled) * _power_of_two(cell + 52)
    gap = uniform.astype(np.float64) - probability
    accept = gap < 0
    for index in np.flatnonzero((np.abs(gap) <= margin) | (field == 0)):
        magnitude[index], accept[index] = _decide_exactly(
            source,
            cell=int(cell[index]) if field[index] else _CELL_BITS + _geometric(source),
            offset=int(offset[index]),
            uniform=int(uniform[index]),
            noise_log2=noise_log2,
        )
    magnitude, words = magnitude[accept], words[accept]
    negative = (words & np.uint64(1)).view(np.int64)
    # -x is ~(x - 1). Zero has two signs and must count once.
    signed: NDArray[np.int64] = (magnitude - negative) ^ -negative
    samples: NDArray[np.int64] = signed[(magnitude != 0) | (negative == 0)]
    return samples


def _power_of_two(exponent: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2^exponent, exactly, for exponents of normal floats: the bits of a float."""
    return ((exponent + 1023) << 52).view(np.float64)


def _geometric(source: ByteSource) -> int:
    """Count fair coin flips before the first success, exactly, without an upper bound."""
    failures = 0
    while not (word := int(random_words(source, 1)[0])):
        failures += 64
    return failures + (word & -word).bit_length() - 1


def _decide_exactly(
    source: ByteSource, *, cell: int, offset: int, uniform: int, noise_log2: int
) -> tuple[int, bool]:
    """Return a magnitude and whether a uniform real, of which 53 bits are known, accepts it.

    Draws further bits of the uniform until it lies clear of the acceptance probability.
    """
    magnitude = (cell << noise_log2) + offset
    bits = 53
    while True:
        lower, upper = _acceptance_bounds(cell, magnitude, noise_log2, digits=160 + bits // 3)
        if uniform + 1 <= lower * 2**bits:
            return magnitude, True
        if uniform >= upper * 2**bits:
            return magnitude, False
        uniform = (uniform << 64) | int(random_words(source, 1)[0])
        bits += 64


def _acceptance_bounds(
    cell: int, magnitude: int, noise_log2: int, *, digits: int
) -> tuple[Fraction, Fraction]:
    """Rational bounds on 2^(cell - 1) * exp((4^k - magnitude^2) / 2^(2k+1))."""
    # A dyadic exponent is a finite decimal, so the division is exact (and would raise if not);
    # Decimal's exp is correctly rounded, so its two neighbours enclose the true value.
    exact = Context(prec=digits, traps=[Inexact])
    rounding = Context(prec=digits, Emin=-(10**6), Emax=10**6, traps=[])
    numerator, denominator = 4**noise_log2 - magnitude**2, 2 ** (2 * noise_log2 + 1)
    power = Fraction(2) ** (cell - 1)
    if numerator == 0:
        return power, power
    middle = rounding.exp(exact.divide(Decimal(numerator), Decimal(denominator)))
    lower, upper = rounding.next_minus(middle), rounding.next_plus(middle)
    return power * Fraction(lower), power * Fraction(upper)


def add_noise(clipped: Clipped, source: ByteSource) -> Noised:
    """Add one share of noise, N_Z(0, 4^k) on each coordinate, modulo 2^modulus_bits.

    Args:
        clipped: the clipped sum of one step; the sum of an empty batch too.
        source: a `SystemRandomStream`, never a seeded one.

    Raises:
        StageSkipped: if the vector is not `Clipped`.
    """
    if not isinstance(clipped, Clipped):
        raise StageSkipped(f"add_noise() takes Clipped, not {type(clipped).__name__}; clip first")
    settings = clipped.settings
    noise = discrete_gaussian(source, noise_log2=settings.noise_log2, count=settings.dimension)
    return Noised(settings=settings, vector=clipped.vector + residues(noise, settings), seal=_SEAL)


def effective_noise_multiplier(*, noise_log2: int, honest_shares: int, sensitivity: int) -> float:
    """Return the noise multiplier at which `honest_shares` discrete shares are accounted.

    The sum of h shares N_Z(0, 4^k) is a post-processing of a continuous Gaussian of variance
    h 4^k - 9: a draw of that Gaussian followed by a discrete Gaussian of variance 9 centred at it
    is N_Z(0, h 4^k) up to a log ratio below 1e-75 a coordinate (Poisson summation). The sum of
    shares differs from N_Z(0, h 4^k) by 10 sum_j exp(-2 pi^2 4^k j / (j + 1)) a coordinate
    (Kairouz, Liu and Steinke 2021), below 1e-1000 from k = 4 on. Subsampling and adaptive
    composition carry over, and so does every accountant of the subsampled Gaussian.

    Returns:
        sqrt(h 4^k - 9) / S.
    """
    if noise_log2 < 4:
        raise ValueError(
            f"noise_log2 = {noise_log2} is below 4, where a sum of shares is no longer a discrete "
            "Gaussian; take it from a PrivacyPlan"
        )
    return math.sqrt(honest_shares * 4**noise_log2 - 9) / sensitivity


def dp_event(
    *, noise_log2: int, honest_shares: int, sensitivity: int
) -> dp_accounting.GaussianDpEvent:
    """Describe one release of a noised sum to dp-accounting, before any subsampling."""
    return dp_accounting.GaussianDpEvent(
        effective_noise_multiplier(
            noise_log2=noise_log2, honest_shares=honest_shares, sensitivity=sensitivity
        )
    )
