"""The noise is exactly the discrete Gaussian, and broken samplers are told from it."""

import math
from collections.abc import Callable
from fractions import Fraction

import dp_accounting
import numpy as np
import pytest
from scipy import stats

from privacy.errors import StageSkipped
from privacy.kernel.discrete_gaussian import (
    _acceptance_bounds,
    _decide_exactly,
    _geometric,
    _power_of_two,
    add_noise,
    discrete_gaussian,
    dp_event,
    effective_noise_multiplier,
)
from privacy.kernel.randomness import SystemRandomStream

P_VALUE = 1e-7

Sampler = Callable[[int, int], np.ndarray]


def sample(noise_log2: int, count: int) -> np.ndarray:
    return discrete_gaussian(SystemRandomStream(), noise_log2=noise_log2, count=count)


def passes_chi_square(sampler: Sampler, noise_log2: int, count: int = 200_000) -> bool:
    """Compare counts with the exact probabilities, tails pooled; false positives 1e-7."""
    deviation = 2**noise_log2
    support = np.arange(-40 * deviation, 40 * deviation + 1)
    weights = np.exp(-(support**2) / (2 * deviation**2))
    probabilities = weights / weights.sum()
    reach = 4 * deviation
    samples = np.clip(sampler(noise_log2, count), -reach, reach)
    pooled = np.bincount(np.clip(support, -reach, reach) + reach, weights=probabilities)
    observed = np.bincount(samples + reach, minlength=2 * reach + 1)
    return bool(stats.chisquare(observed, pooled * count).pvalue > P_VALUE)


def passes_kolmogorov_smirnov(sampler: Sampler, count: int = 200_000) -> bool:
    """Compare with the continuous Gaussian at 2^16, 6e-6 from it; false positives 1e-7."""
    return bool(stats.kstest(sampler(16, count) / 2.0**16, "norm").pvalue > P_VALUE)


@pytest.mark.parametrize("noise_log2", [0, 3])
def test_chi_square(noise_log2: int) -> None:
    """Test 6, sigma 1 and 8: 2e5 samples, false-positive rate 1e-7 each."""
    assert passes_chi_square(sample, noise_log2)


def test_kolmogorov_smirnov_at_two_to_the_sixteen() -> None:
    """Test 6, sigma 65536: 2e5 samples, false-positive rate 1e-7."""
    assert passes_kolmogorov_smirnov(sample)


def rounded(noise_log2: int, count: int) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(count) * 2**noise_log2
    return np.rint(noise).astype(np.int64)


def zero_counted_twice(noise_log2: int, count: int) -> np.ndarray:
    samples = sample(noise_log2, 2 * count)
    zeros = samples == 0
    return np.concatenate([np.zeros(zeros.sum() // 2, dtype=np.int64), samples])[:count]


def half_the_noise(noise_log2: int, count: int) -> np.ndarray:
    if noise_log2 == 0:
        return sample(0, count) // 2
    return sample(noise_log2 - 1, count)


def without_tails(noise_log2: int, count: int) -> np.ndarray:
    samples = sample(noise_log2, count + count // 10)
    return samples[np.abs(samples) <= 2.5 * 2**noise_log2][:count]


@pytest.mark.parametrize("noise_log2", [0, 3])
@pytest.mark.parametrize("broken", [zero_counted_twice, half_the_noise, without_tails])
def test_planted_broken_samplers_fail_the_chi_square(broken: Sampler, noise_log2: int) -> None:
    assert not passes_chi_square(broken, noise_log2)


def test_planted_rounded_gaussian_fails_the_chi_square() -> None:
    assert not passes_chi_square(rounded, 0)


def test_planted_broken_samplers_fail_the_kolmogorov_smirnov() -> None:
    assert not passes_kolmogorov_smirnov(half_the_noise)
    assert not passes_kolmogorov_smirnov(lambda k, n: (sample(k, n) * 1.05).astype(np.int64))


@pytest.mark.parametrize("noise_log2", [0, 5, 16, 24])
def test_deviation_and_independence(noise_log2: int) -> None:
    """Standard deviation and lag-1 correlation of 2e5 samples within 6 sigma: rate 4e-9."""
    samples = sample(noise_log2, 200_000) / 2.0**noise_log2
    assert abs(samples.std() - 1) < 6 / math.sqrt(2 * samples.size)
    assert abs(samples.mean()) < 6 / math.sqrt(samples.size)
    assert abs(np.mean(samples[1:] * samples[:-1])) < 6 / math.sqrt(samples.size)


@pytest.mark.parametrize("noise_log2", [0, 3, 16, 24])
def test_forced_undecided_comparisons_change_nothing(noise_log2: int, seeded) -> None:
    """Test 7. Every comparison sent to exact arithmetic: 300 samples equal, bit for bit."""
    fast = discrete_gaussian(seeded(7), noise_log2=noise_log2, count=300)
    exact = discrete_gaussian(seeded(7), noise_log2=noise_log2, count=300, margin=2.0**60)
    assert np.array_equal(fast, exact)


def exponential(exponent: Fraction) -> Fraction:
    """Return exp of a rational to about 400 bits, by halving and Taylor: the oracle."""
    halvings = 12
    reduced = exponent / 2**halvings
    total = term = Fraction(1)
    for order in range(1, 80):
        term = Fraction(round(term * reduced / order * 2**500), 2**500)
        total += term
    for _ in range(halvings):
        total = Fraction(round(total * total * 2**500), 2**500)
    return total


@pytest.mark.parametrize(
    ("noise_log2", "cell", "offset"), [(0, 0, 0), (0, 2, 0), (3, 0, 5), (16, 1, 40_000), (24, 4, 9)]
)
def test_a_tie_is_decided_by_further_bits(
    noise_log2: int, cell: int, offset: int, scripted
) -> None:
    """Test 7. 53 bits equal to those of the probability: the next 64 decide, either way."""
    magnitude = (cell << noise_log2) + offset
    exponent = Fraction(4**noise_log2 - magnitude**2, 2 ** (2 * noise_log2 + 1))
    probability = exponential(exponent) * Fraction(2) ** (cell - 1)
    lower, upper = _acceptance_bounds(cell, magnitude, noise_log2, digits=100)
    assert lower < probability < upper
    assert upper - lower < Fraction(1, 10**80)

    first = math.floor(probability * 2**53)
    second = math.floor(probability * 2**117) - (first << 64)
    for uniform, words, accepted in (
        (first - 1, [], True),
        (first + 1, [], False),
        (first, [second - 1], True),
        (first, [second + 1], False),
        (first, [second, 0], True),
        (first, [second, 2**64 - 1], False),
    ):
        source = scripted(words)
        decision = _decide_exactly(
            source, cell=cell, offset=offset, uniform=uniform, noise_log2=noise_log2
        )
        assert decision == (magnitude, accepted)
        assert not source.rest


def test_certain_acceptance_at_one_deviation(scripted) -> None:
    assert _decide_exactly(scripted([]), cell=1, offset=0, uniform=2**53 - 1, noise_log2=16) == (
        2**16,
        True,
    )


def test_geometric_has_no_upper_bound(scripted) -> None:
    assert _geometric(scripted([0, 0, 8])) == 131


def test_an_overflowing_cell_is_continued(scripted) -> None:
    """A word whose 39 cell bits are all zero draws on, and is rejected (probability 2^-1000)."""
    hopeless = [0] * 66 + [2**63] * 66 + [1] * 66
    good = [1 << 25] * 66 + [0] * 66
    samples = discrete_gaussian(scripted(hopeless + good), noise_log2=4, count=1)
    assert samples.tolist() == [0]


def test_empty_and_invalid_requests() -> None:
    assert discrete_gaussian(SystemRandomStream(), noise_log2=16, count=0).shape == (0,)
    for noise_log2 in (-1, 25):
        with pytest.raises(ValueError, match="outside"):
            discrete_gaussian(SystemRandomStream(), noise_log2=noise_log2, count=1)


def test_noise_is_added_to_clipped_vectors_only() -> None:
    with pytest.raises(StageSkipped, match="clip first"):
        add_noise(np.zeros(3, dtype=np.uint32), SystemRandomStream())


def test_event_is_the_gaussian_it_post_processes() -> None:
    """z' = sqrt(h 4^k - 9) / S: 7e-10 below 2^k sqrt(h) / S at k = 16, 2 % at k = 4, h = 1."""
    event = dp_event(noise_log2=16, honest_shares=6, sensitivity=126_130)
    assert event == dp_accounting.GaussianDpEvent(math.sqrt(6 * 4**16 - 9) / 126_130)
    coarse = effective_noise_multiplier(noise_log2=4, honest_shares=1, sensitivity=16)
    assert coarse == pytest.approx(math.sqrt(247 / 256), rel=1e-12)
    with pytest.raises(ValueError, match="below 4"):
        effective_noise_multiplier(noise_log2=3, honest_shares=1, sensitivity=16)


def test_powers_of_two_are_exact() -> None:
    exponents = np.arange(-1022, 1024)
    assert np.array_equal(_power_of_two(exponents), np.ldexp(1.0, exponents))
