"""No stage of a private vector can be skipped, and only masked vectors can leave."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from privacy.errors import StageSkipped
from privacy.kernel.clipping import clip_sum
from privacy.kernel.discrete_gaussian import add_noise
from privacy.kernel.quantisation import quantise
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.types import (
    Clipped,
    KernelSettings,
    Masked,
    Noised,
    Quantised,
    Update,
    centred,
    mask,
    residues,
)


@pytest.fixture
def update() -> Update:
    return Update(gradients=np.ones((2, 1000), dtype=np.float32))


@pytest.fixture
def clipped(update: Update, settings) -> Clipped:
    return clip_sum([update], settings())


@pytest.fixture
def noised(clipped: Clipped) -> Noised:
    return add_noise(clipped, SystemRandomStream())


@pytest.fixture
def quantised() -> Quantised:
    return quantise(np.ones(999), members=3)


@pytest.mark.parametrize("stage", [Clipped, Noised, Quantised, Masked])
def test_stages_cannot_be_made_by_hand(stage: type, settings) -> None:
    others = {Quantised: {"fraction_bits": 20}, Masked: {}}.get(stage, {"settings": settings()})
    with pytest.raises(StageSkipped, match="alone"):
        stage(vector=np.zeros(1000, dtype=np.uint32), **others)
    with pytest.raises(StageSkipped, match="alone"):
        stage(vector=np.zeros(1000, dtype=np.uint32), seal=object(), **others)


def test_stages_cannot_be_replaced_or_changed(noised: Noised) -> None:
    with pytest.raises((StageSkipped, ValueError)):
        dataclasses.replace(noised, vector=np.zeros(1000, dtype=np.uint32))
    with pytest.raises(dataclasses.FrozenInstanceError):
        noised.vector = np.zeros(1000, dtype=np.uint32)
    with pytest.raises(ValueError, match="read-only"):
        noised.vector[0] = 0


def test_quantised_vectors_cannot_be_replaced_or_changed(quantised: Quantised) -> None:
    with pytest.raises((StageSkipped, ValueError)):
        dataclasses.replace(quantised, vector=np.zeros(1000, dtype=np.uint32))
    with pytest.raises(ValueError, match="read-only"):
        quantised.vector[0] = 0


def test_a_stage_cannot_be_skipped(update: Update, clipped: Clipped, noised: Noised) -> None:
    pad = np.ones(1000, dtype=np.uint32)
    with pytest.raises(StageSkipped, match="add noise first"):
        mask(clipped, pad)
    for wrong in (update, noised):
        with pytest.raises(StageSkipped, match="clip first"):
            add_noise(wrong, SystemRandomStream())


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_only_masked_vectors_may_leave(
    update: Update, clipped: Clipped, noised: Noised, quantised: Quantised, duplicate
) -> None:
    for private in (update, clipped, noised, quantised):
        with pytest.raises(StageSkipped, match="must not leave"):
            duplicate(private)
    masked = mask(noised, np.ones(1000, dtype=np.uint32))
    copied = pickle.loads(pickle.dumps(masked))  # noqa: S301 - our own bytes
    assert np.array_equal(copied.vector, masked.vector)


def test_no_contents_are_printed(
    update: Update, clipped: Clipped, noised: Noised, quantised: Quantised
) -> None:
    assert repr(update) == "Update(dimension=1000)"
    assert repr(clipped) == "Clipped(1000 x uint32)"
    assert repr(noised) == "Noised(1000 x uint32)"
    assert repr(quantised) == "Quantised(1000 x uint32)"
    masked = mask(quantised, np.ones(1000, dtype=np.uint32))
    assert repr(masked) == "Masked(1000 x uint32)"


def test_masking_adds_the_pad_modulo_the_modulus(noised: Noised, quantised: Quantised) -> None:
    pad = np.full(1000, 2**32 - 1, dtype=np.uint32)
    for stage in (noised, quantised):
        assert np.array_equal(mask(stage, pad).vector + np.uint32(1), stage.vector)


def test_a_pad_that_hides_nothing_or_does_not_fit_is_refused(noised: Noised) -> None:
    with pytest.raises(StageSkipped, match="hides nothing"):
        mask(noised, np.zeros(1000, dtype=np.uint32))
    for pad in (np.ones(999, dtype=np.uint32), np.ones(1000, dtype=np.uint64)):
        with pytest.raises(ValueError, match="pad is"):
            mask(noised, pad)


@pytest.mark.parametrize("modulus_bits", [32, 64])
def test_centred_undoes_residues_up_to_the_ends_of_the_range(settings, modulus_bits: int) -> None:
    kernel = settings(modulus_bits=modulus_bits)
    half = 2 ** (modulus_bits - 1)
    integers = np.array([-half, -1, 0, 1, half - 1], dtype=np.int64)
    assert np.array_equal(centred(residues(integers, kernel)), integers)


@pytest.mark.parametrize(
    "gradients",
    [np.zeros(3, dtype=np.float32), np.zeros((2, 3)), np.zeros((2, 3, 1), dtype=np.float32)],
)
def test_gradients_must_be_float32_rows(gradients: np.ndarray) -> None:
    with pytest.raises(ValueError, match="give float32"):
        Update(gradients=gradients)


@pytest.mark.parametrize("weight", [-0.1, 1.0001, np.nan, np.inf])
def test_weights_above_one_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        Update(gradients=np.zeros((2, 3), dtype=np.float32), weights=np.array([1.0, weight]))
    with pytest.raises(ValueError, match="one weight per unit"):
        Update(gradients=np.zeros((2, 3), dtype=np.float32), weights=np.ones(3))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimension", 0),
        ("clipping_norm", 0.0),
        ("clipping_norm", float("nan")),
        ("clipping_norm", float("inf")),
        ("noise_log2", -1),
        ("noise_log2", 25),
        ("modulus_bits", 16),
        ("sensitivity", 16),
        ("sensitivity", 2**30 + 1),
    ],
)
def test_kernel_settings_are_bounded(settings, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        settings(**{field: value})


def test_target_norm_leaves_room_for_rounding() -> None:
    kernel = KernelSettings(
        dimension=100, clipping_norm=1.0, sensitivity=506, noise_log2=8, modulus_bits=32
    )
    assert kernel.target_norm == 500
