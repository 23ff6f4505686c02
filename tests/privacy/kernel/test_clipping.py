"""Integer clipping bounds every unit's influence, whatever the floats and the batch-mates are."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.kernel.clipping import _RowClipper, clip_rows, clip_sum
from privacy.kernel.types import MAX_SENSITIVITY, KernelSettings, Update, centred

Clip = Callable[[Update, KernelSettings], np.ndarray]


def within_bound(rows: np.ndarray, settings: KernelSettings) -> bool:
    """Check every row's norm in Python's integers."""
    return all(
        sum(int(v) ** 2 for v in row) <= settings.sensitivity**2 for row in rows.astype(object)
    )


def hostile(dimension: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    base = generator.standard_normal((9, dimension)).astype(np.float32)
    base[0, 3] = np.nan
    base[1, 3] = np.inf
    base[2, 3] = -np.inf
    base[3] = 3e38
    base[4] = 1e-38
    base[5] = 1e-45
    base[6] = 0
    base[6, 5] = 1e30
    base[7] *= np.float32(1e36)
    return base


@pytest.mark.parametrize("sensitivity", [1_000, 126_130, 2**21, MAX_SENSITIVITY])
def test_hostile_gradients_stay_within_the_sensitivity(settings, sensitivity: int) -> None:
    """Test 3. NaN, inf, 3e38, 1e-38, one-hot 1e30: all 9 integer norms <= S."""
    kernel = settings(sensitivity=sensitivity)
    rows = clip_rows(Update(gradients=hostile(1000)), kernel)
    assert within_bound(rows, kernel)
    assert not rows[:3].any()
    assert abs(int(rows[6, 5]) - kernel.target_norm) <= 1
    assert np.abs(rows[3]).min() > 0 and np.abs(rows[7]).max() > 0


def clipped_apart(update: Update, settings: KernelSettings, metrics: int) -> np.ndarray:
    """What must not be done: metrics beside the gradient, each part within the bound by itself."""
    gradients = update.gradients
    parts = (gradients[:, :-metrics], gradients[:, -metrics:])
    return np.hstack(
        [
            clip_rows(Update(gradients=part), replace(settings, dimension=part.shape[1]))
            for part in parts
        ]
    )


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_metrics_that_are_clipped_apart_break_the_bound_and_jointly_keep_it(
    settings, share: float
) -> None:
    """Test 30. Metrics with 5 % of the squared norm are enough to exceed S by 2.6 %."""
    kernel = settings()
    row = np.full((2, 1000), 1.0, dtype=np.float32)
    gradient = float(np.linalg.norm(row[0, :-3]))
    row[:, -3:] = gradient * math.sqrt(share / (1 - share) / 3)
    row *= np.float32(kernel.clipping_norm / gradient)
    row[1] *= 1e6
    update = Update(gradients=row)
    assert within_bound(clip_rows(update, kernel), kernel)
    apart = clipped_apart(update, kernel, 3)
    excess = np.linalg.norm(apart.astype(float), axis=1) / kernel.sensitivity
    assert not within_bound(apart[:1], kernel) and not within_bound(apart[1:], kernel)
    assert excess[0] == pytest.approx(1 / math.sqrt(1 - share), abs=1e-3)
    assert excess[1] == pytest.approx(math.sqrt(2), abs=1e-3)


any_float32 = st.integers(0, 2**32 - 1)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    bits=arrays(np.uint32, (3, 7), elements=any_float32),
    sensitivity=st.integers(3, MAX_SENSITIVITY),
    norm=st.floats(1e-30, 1e30),
    weight=st.floats(0, 1),
)
def test_every_bit_pattern_stays_within_the_sensitivity(
    bits: np.ndarray, sensitivity: int, norm: float, weight: float
) -> None:
    """Test 3, property: any float32 bits, any C, S and weight."""
    kernel = KernelSettings(
        dimension=7,
        clipping_norm=norm,
        sensitivity=sensitivity,
        noise_log2=16,
        modulus_bits=64,
    )
    update = Update(gradients=bits.view(np.float32), weights=np.full(3, weight))
    assert within_bound(clip_rows(update, kernel), kernel)


def no_clipping(update: Update, settings: KernelSettings) -> np.ndarray:
    return np.rint(update.gradients / settings.clipping_norm * settings.target_norm)


def float_clipping_without_slack(update: Update, settings: KernelSettings) -> np.ndarray:
    norms = np.linalg.norm(update.gradients, axis=1, keepdims=True)
    factor = np.minimum(1, settings.clipping_norm / norms) / settings.clipping_norm
    return np.rint(update.gradients * factor * settings.sensitivity)


@pytest.mark.parametrize("broken", [no_clipping, float_clipping_without_slack])
def test_planted_missing_clips_are_detected(settings, broken: Clip) -> None:
    """No clip at all, and a clip that forgets what rounding adds: both break the bound."""
    gradients = np.random.default_rng(0).standard_normal((20, 1000)).astype(np.float32)
    kernel = settings(sensitivity=1_000)
    assert not within_bound(broken(Update(gradients=gradients), kernel), kernel)
    assert within_bound(clip_rows(Update(gradients=gradients), kernel), kernel)


@pytest.mark.parametrize("excess", [1.1, 1e3, 1e12])
def test_a_row_that_fails_the_integer_check_is_zero(settings, excess: float) -> None:
    """Were the float arithmetic wrong by any factor, the integers would still hold the bound."""
    kernel = settings(sensitivity=2**21)
    clipper = _RowClipper(kernel)
    row = np.ones(1000, dtype=np.float32)
    assert clipper.clip(row, 1.0).any()
    clipper._target *= excess
    assert not clipper.clip(row, 1.0).any()


def test_the_integer_check_is_exact_at_the_bound(settings) -> None:
    """3^2 + 4^2 = 5^2 passes at S = 5 m and fails at S = 5 m - 1, with m = 2^27."""
    for sensitivity, kept in ((5 * 2**27, True), (5 * 2**27 - 1, False)):
        clipper = _RowClipper(settings(dimension=2, sensitivity=sensitivity, clipping_norm=1.0))
        clipper._target = 5.0 * 2**27
        clipped = clipper.clip(np.array([0.6, 0.8], dtype=np.float32) * np.float32(10), 1.0)
        # 0.6f and 0.8f are not exact: take what was rounded, or place the integers directly.
        clipper._reals[:] = [3 * 2**27, 4 * 2**27]
        assert clipper._within_sensitivity() is kept
        assert clipped.dtype == np.int32


@pytest.mark.parametrize("off", [0, 1, -1, 2**30, -(2**30)])
@pytest.mark.parametrize("place", [0, 999])
def test_squares_of_narrow_rows_are_exact_however_badly_the_floats_know_them(
    settings, off: int, place: int
) -> None:
    """Integers up to 2^21, sums of squares up to 2^42: the exact number, by its remainder."""
    kernel = settings(sensitivity=2**21)
    for scale in (1, 1000, 2**16, 2**21):
        clipper = _RowClipper(kernel)
        generator = np.random.default_rng(scale)
        clipper._integers[:] = generator.integers(-scale // 32, scale // 32 + 1, 1000)
        clipper._integers[place] = -scale
        exact = sum(int(value) ** 2 for value in clipper._integers)
        assert clipper._exact_squares(float(exact + off)) == exact


@pytest.mark.parametrize(("sensitivity", "kept"), [(5 * 2**18, True), (5 * 2**18 - 1, False)])
def test_the_check_of_narrow_rows_is_exact_at_the_bound(
    settings, sensitivity: int, kept: bool
) -> None:
    """(3 m, 4 m) has the norm 5 m: kept at S = 5 m and zero at S = 5 m - 1, with m = 2^18."""
    clipper = _RowClipper(settings(dimension=2, sensitivity=sensitivity, clipping_norm=1.0))
    clipper._target = 5.0 * 2**18
    narrow = clipper._clip_narrow(np.array([30.0, 40.0], dtype=np.float32), 1.0)
    assert narrow is kept
    assert clipper._integers.tolist() == [3 * 2**18, 4 * 2**18]
    clipped = clipper.clip(np.array([30.0, 40.0], dtype=np.float32), 1.0)
    assert clipped.any() == kept


@pytest.mark.parametrize("sensitivity", [1_000, 42_285, 126_130, 2**21])
def test_narrow_rows_are_those_of_float64(settings, sensitivity: int) -> None:
    """1e-6 of S apart at most, but for a coordinate in a thousand that rounds the other way."""
    kernel = settings(sensitivity=sensitivity)
    clipper = _RowClipper(kernel)
    generator = np.random.default_rng(8)
    for norm, weight in ((0.01, 1.0), (1.0, 0.3), (1e6, 1.0)):
        row = (generator.standard_normal(1000) * norm / math.sqrt(1000)).astype(np.float32)
        assert clipper._clip_narrow(row, weight)
        narrow = clipper._integers.astype(np.int64)
        apart = np.abs(narrow - clipper._clip_wide(row, weight))
        assert apart.max() <= max(1, 1e-6 * sensitivity)
        assert math.sqrt((apart.astype(float) ** 2).sum()) <= 2 + 1e-6 * sensitivity
        assert narrow.any()


def test_rows_beyond_float32_are_done_in_float64_and_lose_nothing(settings) -> None:
    kernel = settings(sensitivity=126_130)
    clipper = _RowClipper(kernel)
    for place, row in enumerate(hostile(1000)):
        with np.errstate(all="ignore"):
            narrow = clipper._clip_narrow(row, 1.0)
        assert narrow == (place in (4, 5, 8)), place
        clipped = clipper.clip(row, 1.0).copy()
        assert np.array_equal(clipped, clip_rows(Update(gradients=row[None]), kernel)[0])
        if place in (3, 6, 7):
            assert math.sqrt(sum(int(v) ** 2 for v in clipped)) > kernel.target_norm - 20


def test_norms_equal_a_naive_loop(settings) -> None:
    """Test 4. min(|g|, C) from the integers against a loop in Python floats: 1e-6 relative."""
    kernel = settings(sensitivity=MAX_SENSITIVITY)
    generator = np.random.default_rng(2)
    gradients = generator.standard_normal((40, 1000)) * generator.uniform(1e-3, 0.1, (40, 1))
    gradients = gradients.astype(np.float32)
    rows = clip_rows(Update(gradients=gradients), kernel)
    clipped = 0
    for row, gradient in zip(rows, gradients, strict=True):
        naive = math.sqrt(math.fsum(float(g) ** 2 for g in gradient))
        clipped += naive > kernel.clipping_norm
        expected = min(naive, kernel.clipping_norm)
        actual = math.sqrt(sum(int(v) ** 2 for v in row))
        assert actual / kernel.target_norm * kernel.clipping_norm == pytest.approx(
            expected, rel=1e-6
        )
    assert 0 < clipped < 40


def test_direction_is_kept(settings) -> None:
    gradient = np.random.default_rng(3).standard_normal((1, 1000)).astype(np.float32)
    row = clip_rows(Update(gradients=gradient), settings())[0].astype(np.float64)
    cosine = row @ gradient[0] / np.linalg.norm(row) / np.linalg.norm(gradient[0])
    assert cosine > 1 - 1e-6


def depends_on_batch_mates(clip: Clip, settings: KernelSettings) -> bool:
    """Put one row into batches of other sizes, places and company, and compare bits."""
    generator = np.random.default_rng(4)
    row = generator.standard_normal(settings.dimension).astype(np.float32)
    results = set()
    for units, place in ((1, 0), (2, 1), (7, 3), (32, 31), (33, 16)):
        for scale in (1e-3, 1.0, 1e30):
            batch = (generator.standard_normal((units, settings.dimension)) * scale).astype("f4")
            batch[place] = row
            results.add(clip(Update(gradients=batch), settings)[place].tobytes())
    return len(results) > 1


@pytest.mark.parametrize("dimension", [1000, 4097])
def test_batch_mates_do_not_change_a_row(settings, dimension: int) -> None:
    """Test 5. 15 batches of 1 to 33 rows: the same bytes."""
    assert not depends_on_batch_mates(clip_rows, settings(dimension=dimension))


def test_layout_in_memory_does_not_change_a_row(settings) -> None:
    kernel = settings()
    gradients = np.random.default_rng(5).standard_normal((8, 1001)).astype(np.float32)
    shifted = gradients[:, 1:]
    fortran = np.asfortranarray(shifted)
    expected = clip_rows(Update(gradients=np.ascontiguousarray(shifted)), kernel)
    assert np.array_equal(clip_rows(Update(gradients=shifted), kernel), expected)
    assert np.array_equal(clip_rows(Update(gradients=fortran), kernel), expected)


def test_planted_dependence_on_the_batch_is_detected(settings) -> None:
    def normalised_by_the_batch(update: Update, kernel: KernelSettings) -> np.ndarray:
        scaled = update.gradients / np.abs(update.gradients).max()
        return clip_rows(Update(gradients=scaled), kernel)

    assert depends_on_batch_mates(normalised_by_the_batch, settings())


@pytest.mark.parametrize("modulus_bits", [32, 64])
def test_the_sum_over_micro_batches_is_the_sum_of_the_rows(settings, modulus_bits: int) -> None:
    kernel = settings(modulus_bits=modulus_bits)
    gradients = np.random.default_rng(6).standard_normal((12, 1000)).astype(np.float32)
    expected = clip_rows(Update(gradients=gradients), kernel).sum(axis=0, dtype=np.int64)
    assert (expected < 0).any()
    for rows in (1, 5, 12):
        updates = [Update(gradients=gradients[i : i + rows]) for i in range(0, 12, rows)]
        clipped = clip_sum(iter(updates), kernel)
        assert clipped.vector.dtype == f"uint{modulus_bits}"
        assert np.array_equal(centred(clipped.vector), expected)


def test_an_empty_batch_sums_to_zero(settings) -> None:
    """Test 25, kernel part: no micro-batch, no row and padding only look the same."""
    padding = Update(gradients=np.ones((4, 1000), dtype=np.float32), weights=np.zeros(4))
    nothing = Update(gradients=np.empty((0, 1000), dtype=np.float32))
    for updates in ([], [nothing], [padding]):
        vector = clip_sum(updates, settings()).vector
        assert vector.shape == (1000,) and not vector.any()


def test_weights_scale_inside_the_clip(settings) -> None:
    kernel = settings()
    gradients = np.ones((3, 1000), dtype=np.float32)
    rows = clip_rows(Update(gradients=gradients, weights=np.array([1.0, 0.5, 0.0])), kernel)
    norms = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1)) / kernel.target_norm
    assert norms == pytest.approx([1, 0.5, 0], abs=1e-3)


@pytest.mark.parametrize("records", [1, 1000])
def test_a_respondent_has_one_influence_however_many_records(settings, records: int) -> None:
    """Test 23, kernel part: with or without the respondent, the sum moves by S at most."""
    kernel = settings()
    generator = np.random.default_rng(7)
    others = generator.standard_normal((5, 1000)).astype(np.float32)
    own = generator.standard_normal((records, 1000)).astype(np.float32) + np.float32(1)
    respondent = own.sum(axis=0, keepdims=True, dtype=np.float32)
    without = centred(clip_sum([Update(gradients=others)], kernel).vector)
    both = np.concatenate([others, respondent])
    change = centred(clip_sum([Update(gradients=both)], kernel).vector) - without
    influence = math.sqrt(sum(int(v) ** 2 for v in change))
    assert 0.99 * kernel.sensitivity < influence <= kernel.sensitivity


def test_planted_record_clipping_is_not_respondent_clipping(settings) -> None:
    """Rows per record instead of per respondent: 1000 records move the sum by far more than S."""
    kernel = settings()
    own = np.ones((1000, 1000), dtype=np.float32)
    change = centred(clip_sum([Update(gradients=own)], kernel).vector)
    assert math.sqrt(sum(int(v) ** 2 for v in change)) > 900 * kernel.sensitivity


def test_gradients_of_another_adapter_are_refused(settings) -> None:
    update = Update(gradients=np.zeros((2, 999), dtype=np.float32))
    for clip in (clip_rows, lambda update, kernel: clip_sum([update], kernel)):
        with pytest.raises(ValueError, match="999 coordinates"):
            clip(update, settings())
