"""Compressed updates add up, nothing of them is lost, and error feedback makes them converge."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.wire.compression import (
    START,
    TRANSFORMS,
    Compression,
    CompressionRefused,
    RoundCode,
    StepSizes,
)
from strategies.wire.round_plan import RoundPlan, read_section

DIMENSION = 300
STEPS = np.repeat(np.array([1e-3, 3e-4, 0.0], dtype=np.float32), DIMENSION // 3)


def plan(number: int = 1, **changes: Any) -> RoundPlan:
    compression = {"bits": 4, "keep": 1.0, "transform": "rotate", "scale": 1.0, **changes}
    return RoundPlan(
        run="run", round=number, seed=3, train_adapter=True, learning_rate_scale=0.5,
        predictor={}, training={}, context={}, compression=compression,
    )  # fmt: skip


def updates(groups: int, size: float = 0.5) -> np.ndarray:
    normal = np.random.default_rng(groups).standard_normal((groups, DIMENSION))
    return size * normal * STEPS


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(2, 16),
    keep=st.sampled_from([0.01, 0.5, 0.9, 1.0]),
    transform=st.sampled_from(TRANSFORMS),
    groups=st.integers(1, 12),
)
def test_what_is_summed_and_what_is_kept_make_the_whole(
    bits: int, keep: float, transform: str, groups: int
) -> None:
    """Mean of the sum + mean of the residuals == weighted mean; loss to 2^-18, weights to 2^-24."""
    code = RoundCode.of_plan(plan(bits=bits, keep=keep, transform=transform), STEPS)
    weights = np.linspace(0.3, 1.0, groups)
    losses = np.linspace(0.5, 2.0, groups)
    whole = updates(groups) * weights[:, None]
    encoded = [
        code.encode(row, loss=float(loss), weight=float(weight))
        for row, loss, weight in zip(whole, losses, weights, strict=True)
    ]
    assert all(np.abs(each.integers).max() <= code.compression.limit for each in encoded)
    assert all(each.integers.shape == (code.size,) for each in encoded)
    decoded = code.decode(sum(each.integers for each in encoded), summed=groups)
    kept = sum(each.residual.astype(np.float64) for each in encoded)
    exact = whole.sum(axis=0) / weights.sum()
    assert decoded.update + kept / weights.sum() == pytest.approx(exact, abs=1e-9)
    assert decoded.loss == pytest.approx(losses @ weights / weights.sum(), abs=1e-5)
    assert not decoded.update[STEPS == 0].any()


def test_the_size_of_updates_is_told_whatever_the_grid_cuts_off() -> None:
    """Geometric mean of two groups that are 4 and 64 times as large as the grid is made for."""
    code = RoundCode.of_plan(plan(transform="none"), STEPS)
    signs = np.where(np.arange(DIMENSION) % 2, 0.5, -0.5) * STEPS
    total = sum(code.encode(signs * by, loss=0.0, weight=1.0).integers for by in (4, 64))
    decoded = code.decode(total, summed=2)
    assert decoded.log2_ratio == pytest.approx(4.0, abs=1e-4)
    assert code.compression.following_scale(decoded.log2_ratio) == pytest.approx(16.0, rel=1e-4)
    nothing = code.encode(0 * signs, loss=0.0, weight=1.0).integers
    low = code.decode(nothing, summed=1)
    assert low.log2_ratio == -32.0 and not low.update.any()
    assert code.compression.following_scale(-32.0) == 1 / 16


def test_the_scale_stays_a_number_whatever_comes() -> None:
    compression = Compression(bits=4, keep=1.0, transform="none", scale=START)
    for ratio in (-32.0, 32.0):
        scale = START
        for _ in range(500):
            scale = Compression(**{**vars(compression), "scale": scale}).following_scale(ratio)
        assert scale == 2.0 ** (30 if ratio > 0 else -30)


def test_a_few_bits_of_a_normal_update_say_most_of_it() -> None:
    """Mean square errors of the best uniform grids: 19 % at 3 levels, 1.4 % at 15 (Max 1960)."""
    steps = np.ones(20_000, dtype=np.float32)
    vector = np.random.default_rng(0).standard_normal(20_000) * 0.5
    for bits, share in ((2, 0.20), (4, 0.0145), (8, 1e-4)):
        code = RoundCode.of_plan(plan(bits=bits), steps)
        left = code.encode(vector, loss=0.0, weight=1.0).residual
        assert 0.5 * share < np.sum(left.astype(float) ** 2) / np.sum(vector**2) < share


def test_all_groups_choose_the_same_coordinates_and_every_round_others() -> None:
    """Over 40 rounds of a tenth nearly every coordinate travels; none that is not trained does."""
    seen = []
    for number in range(1, 41):
        pair = [
            RoundCode.of_plan(plan(number, keep=0.1, transform="none", bits=8), STEPS) for _ in "ab"
        ]
        ones = np.ones(DIMENSION) * 0.5 * STEPS
        moved = [c.decode(c.encode(ones, loss=0, weight=1).integers, summed=1).update for c in pair]
        assert np.array_equal(*moved)
        seen.append(moved[0] != 0)
        assert seen[-1].sum() == 20
    assert np.array(seen).any(axis=0)[:200].mean() > 0.95
    assert not np.array(seen)[:, 200:].any()


def quadratic(*, feedback: bool, bits: int, keep: float, transform: str) -> float:
    """Distance to the optimum of the mean of four quadratics, as a share of that at the start.

    Their own optima are far from each other, so that updates do not shrink where their mean does.
    """
    generator = np.random.default_rng(0)
    size = 200
    steps = np.ones(size, dtype=np.float32)
    offsets = generator.standard_normal((4, size)) * 20.0
    optimum = offsets.mean(axis=0)
    offsets += 1.0 - optimum
    start = vector = np.zeros(size)
    residuals = np.zeros((4, size))
    scale = START
    for number in range(1, 161):
        code = RoundCode.of_plan(
            plan(number, bits=bits, keep=keep, transform=transform, scale=scale), steps
        )
        total = np.zeros(code.size, dtype=np.int64)
        for position, target in enumerate(offsets):
            whole = 0.1 * (target - vector) + residuals[position]
            encoded = code.encode(whole, loss=0.0, weight=1.0)
            if feedback:
                residuals[position] = encoded.residual
            total += encoded.integers
        decoded = code.decode(total, summed=4)
        vector = vector + decoded.update
        scale = code.compression.following_scale(decoded.log2_ratio)
    return float(np.linalg.norm(vector - 1.0) / np.linalg.norm(start - 1.0))


@pytest.mark.parametrize(("bits", "keep"), [(2, 1.0), (4, 1.0), (4, 0.5)])
def test_error_feedback_converges_where_rounding_alone_does_not(bits: int, keep: float) -> None:
    """Updates of about 2 a coordinate whose mean is 0 at the optimum: rounding them to nearest is
    wrong by as much in every round, and what is left out is wrong for good."""
    settings = {"bits": bits, "keep": keep, "transform": "none"}
    without, with_it = (quadratic(feedback=f, **settings) for f in (False, True))
    assert with_it < 0.6 * without
    assert quadratic(feedback=True, bits=8, keep=1.0, transform="rotate") < 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 1}, "bits = 1"),
        ({"bits": 17}, "bits = 17"),
        ({"bits": 4.0}, "compression.bits is not int"),
        ({"keep": 0.0}, "keep = 0"),
        ({"keep": 1.5}, "keep = 1.5"),
        ({"keep": 1}, "compression.keep is not float"),
        ({"transform": "fourier"}, "transform = 'fourier'"),
        ({"scale": 0.0}, "scale = 0"),
        ({"scale": float("nan")}, "scale = nan"),
        ({"seed": 3}, "compression.seed is missing or unknown"),
    ],
)
def test_a_section_that_describes_no_grid_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_section(Compression, plan(**change).compression, name="compression")


def test_a_section_survives_the_wire_and_is_in_the_digest() -> None:
    asked = plan(predictor={})
    wire = {"predictor.x": 1, "training.x": 1, "context.x": 1, **plan().to_wire()}
    assert RoundPlan.from_wire(wire).compression == plan().compression
    assert plan(scale=1.0).digest() != plan(scale=1.5).digest()
    assert asked.round == 1


def test_a_sum_that_no_groups_could_have_is_refused() -> None:
    code = RoundCode.of_plan(plan(), STEPS)
    good = code.encode(updates(1)[0], loss=1.0, weight=1.0).integers
    with pytest.raises(CompressionRefused, match="size or bounds"):
        code.decode(good[:-1], summed=1)
    with pytest.raises(CompressionRefused, match="size or bounds"):
        code.decode(np.where(np.arange(code.size) == 5, 8, good), summed=1)
    lighter = good.copy()
    lighter[-3 * 8 : -2 * 8] = 0
    with pytest.raises(CompressionRefused, match="weights"):
        code.decode(lighter, summed=1)


def test_a_round_that_trains_nothing_has_no_code() -> None:
    with pytest.raises(CompressionRefused, match="trains nothing"):
        RoundCode.of_plan(plan(), np.zeros(4, dtype=np.float32))


def test_what_is_kept_shows_in_no_picture_of_it() -> None:
    code = RoundCode.of_plan(plan(), STEPS)
    encoded = code.encode(updates(1)[0], loss=1.0, weight=1.0)
    assert "array" not in repr(encoded)


def test_step_sizes_are_those_of_the_round() -> None:
    from dataclasses import replace

    sizes = StepSizes(head=STEPS[:1], whole=STEPS)
    assert sizes.of(plan()) is sizes.whole
    assert sizes.of(replace(plan(), train_adapter=False)) is sizes.head
