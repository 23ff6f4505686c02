"""Transforms keep the norm, are undone exactly, and a rotation spreads what stands out."""

import numpy as np
import pytest
from scipy.fft import dct

from strategies.wire.transforms import make_transform

COUNTS = (1, 2, 3, 63, 64, 65, 1000, 1024, 2049, 5000)


def chance(count: int, seed: int = 0) -> np.ndarray:
    return np.random.PCG64(seed).random_raw(count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ["none", "rotate", "dct"])
def test_a_transform_keeps_the_norm_and_is_undone(name: str, count: int) -> None:
    vector = np.random.default_rng(count).standard_normal(count)
    transform = make_transform(name, count, chance(count))
    spread = transform.forward(vector)
    assert np.linalg.norm(spread) == pytest.approx(np.linalg.norm(vector), rel=1e-12)
    assert transform.inverse(spread) == pytest.approx(vector, abs=1e-12)
    assert transform.forward(transform.inverse(vector)) == pytest.approx(vector, abs=1e-12)


def test_a_rotation_spreads_a_peak_over_its_block() -> None:
    """One coordinate of 32 becomes 1024 of size 1; without their signs alike rows would add up."""
    peak = np.zeros(4096)
    peak[1234] = 32.0
    spread = make_transform("rotate", 4096, chance(4096)).forward(peak)
    assert np.sort(np.abs(spread)) == pytest.approx([0.0] * 3072 + [1.0] * 1024)
    even = make_transform("rotate", 4096, chance(4096)).forward(np.ones(4096))
    assert np.abs(even).max() < 6


def test_a_rotation_makes_heavy_tails_nearly_normal() -> None:
    vector = np.random.default_rng(0).standard_t(3, 2**14)
    spread = make_transform("rotate", vector.size, chance(vector.size)).forward(vector)
    peaks = [np.abs(each).max() / each.std() for each in (vector, spread)]
    assert peaks[0] > 8 and peaks[1] < 5.5


def test_rotations_of_other_chance_differ_and_of_the_same_do_not() -> None:
    vector = np.arange(100.0)
    made = [make_transform("rotate", 100, chance(100, seed)).forward(vector) for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1]) and not np.allclose(made[0], made[2])


def test_the_cosine_transform_is_that_of_scipy() -> None:
    vector = np.random.default_rng(0).standard_normal(64 * 3 + 10)
    spread = make_transform("dct", vector.size, chance(vector.size)).forward(vector)
    blocks = [dct(block, norm="ortho") for block in np.split(vector, [64, 128, 192])]
    assert spread == pytest.approx(np.concatenate(blocks), abs=1e-12)


def test_an_unknown_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="transform = 'fourier'"):
        make_transform("fourier", 3, chance(3))
