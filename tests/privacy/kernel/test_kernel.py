"""The kernel end to end: clip, noise, mask and sum over ten groups."""

import math
import random
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch

from privacy.kernel.clipping import clip_sum
from privacy.kernel.discrete_gaussian import add_noise
from privacy.kernel.randomness import ByteSource, SystemRandomStream, random_words
from privacy.kernel.types import Clipped, KernelSettings, Noised, Update, centred, mask

GROUPS = 10


@pytest.fixture
def kernel(settings) -> KernelSettings:
    return settings(dimension=100_000, clipping_norm=1.0)


def clipped_sums(kernel: KernelSettings) -> list[Clipped]:
    generator = np.random.default_rng(0)
    sums = []
    for _ in range(GROUPS):
        gradients = generator.standard_normal((3, kernel.dimension)).astype(np.float32)
        sums.append(clip_sum([Update(gradients=gradients)], kernel))
    return sums


def noise_of(clipped: Clipped, noised: Noised) -> np.ndarray:
    return centred(noised.vector - clipped.vector)


def right_noise(noises: list[np.ndarray], kernel: KernelSettings) -> bool:
    """The sum of the shares has deviation 2^k sqrt(n) within 2 %.

    With d = 1e5 one deviation of the estimate is 0.22 %: false positives below 1e-18.
    """
    expected = 2**kernel.noise_log2 * math.sqrt(len(noises))
    return 0.98 < np.sum(noises, axis=0).std() / expected < 1.02


def test_ten_groups_end_to_end(kernel: KernelSettings) -> None:
    """Test 8. n = 10, d = 1e5: masked sum == sum of the integers, exactly; noise 1 +- .02."""
    stream = SystemRandomStream()
    clipped = clipped_sums(kernel)
    noised = [add_noise(vector, stream) for vector in clipped]
    pads = [random_words(stream, kernel.dimension).astype(np.uint32) for _ in range(GROUPS - 1)]
    pads.append(-np.sum(pads, axis=0, dtype=np.uint32))
    masked = [mask(vector, pad) for vector, pad in zip(noised, pads, strict=True)]

    total = np.sum([vector.vector for vector in masked], axis=0, dtype=np.uint32)
    noises = [noise_of(*pair) for pair in zip(clipped, noised, strict=True)]
    exact = sum(centred(vector.vector) for vector in clipped) + sum(noises)
    assert np.array_equal(centred(total), exact)
    assert right_noise(noises, kernel)


def test_planted_half_noise_is_detected(kernel: KernelSettings, settings) -> None:
    weak = settings(dimension=kernel.dimension, noise_log2=kernel.noise_log2 - 1)
    empty = [clip_sum([], weak) for _ in range(GROUPS)]
    noises = [noise_of(vector, add_noise(vector, SystemRandomStream())) for vector in empty]
    assert not right_noise(noises, kernel)


def test_planted_missing_share_is_detected(kernel: KernelSettings) -> None:
    empty = [clip_sum([], kernel) for _ in range(GROUPS)]
    noises = [noise_of(vector, add_noise(vector, SystemRandomStream())) for vector in empty]
    noises[4] = np.zeros_like(noises[4])
    assert not right_noise(noises, kernel)


def test_an_empty_batch_still_sends_noise(kernel: KernelSettings) -> None:
    """Test 25, kernel part: same size and dtype as a full batch, deviation 2^k within 2 %."""
    empty, full = clip_sum([], kernel), clipped_sums(kernel)[0]
    sent = add_noise(empty, SystemRandomStream())
    assert sent.vector.nbytes == add_noise(full, SystemRandomStream()).vector.nbytes == 400_000
    assert right_noise([centred(sent.vector)], kernel)


def noise_under_equal_seeds(
    make_source: Callable[[], ByteSource], kernel: KernelSettings
) -> list[np.ndarray]:
    """Draw noise as 4 groups in 3 rounds would, every global generator seeded alike."""
    noises = []
    for _group_and_round in range(12):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the generator that must not be used
        torch.manual_seed(0)
        empty = clip_sum([], kernel)
        noises.append(noise_of(empty, add_noise(empty, make_source())))
    return noises


def uncorrelated(noises: list[np.ndarray]) -> bool:
    """All pairs within 6 sigma of no correlation; 66 pairs: false positives 1.3e-7."""
    scaled = [noise / noise.std() for noise in noises]
    limit = 6 / math.sqrt(scaled[0].size)
    return all(abs(np.mean(a * b)) < limit for a, b in combinations(scaled, 2))


def test_equal_seeds_do_not_correlate_noise(settings) -> None:
    """Test 18. Same torch, numpy and Python seeds in 4 groups and 3 rounds: no correlation."""
    kernel = settings(dimension=20_000)
    assert uncorrelated(noise_under_equal_seeds(SystemRandomStream, kernel))


def test_planted_seeded_noise_is_detected(settings, seeded) -> None:
    kernel = settings(dimension=20_000)
    assert not uncorrelated(noise_under_equal_seeds(lambda: seeded(0), kernel))


def test_uint64_sums_are_exact_too(settings) -> None:
    kernel = settings(modulus_bits=64, sensitivity=2**30, noise_log2=24)
    generator = np.random.default_rng(1)
    gradients = generator.standard_normal((50, kernel.dimension)).astype(np.float32)
    clipped = clip_sum([Update(gradients=gradients)] * 20, kernel)
    noised = add_noise(clipped, SystemRandomStream())
    assert noised.vector.dtype == np.uint64
    largest = np.abs(centred(clipped.vector)).max()
    assert largest > 2**31
    assert np.array_equal(
        centred(noised.vector), centred(clipped.vector) + noise_of(clipped, noised)
    )
