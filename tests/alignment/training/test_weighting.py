"""Weights against their definition, and that nothing makes one of them larger than 1."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.config import TrainingConfig
from alignment.training.weighting import (
    LEAST_GROUP_WEIGHT,
    entropy,
    fairness_weight,
    group_weight,
    guessing_loss,
    unit_weights,
)
from privacy.kernel.clipping import clip_rows
from privacy.kernel.types import KernelSettings, Update

HOSTILE = (0.0, -0.0, -1.0, 5e-324, 1e-300, 1.0, 1e300, math.inf, -math.inf, math.nan)
strengths = st.floats(0, 10)


class TestReference:
    def test_guessing_costs_the_logarithm_of_the_number_of_options(self) -> None:
        two, five = (1.0, 0.0), (0.2,) * 5
        assert guessing_loss([two]) == math.log(2)
        assert guessing_loss([two, five]) == pytest.approx((math.log(2) + math.log(5)) / 2)
        weighted = guessing_loss([two, five], [3, 1])
        assert weighted == pytest.approx((3 * math.log(2) + math.log(5)) / 4)

    def test_the_entropy_is_what_no_prediction_undercuts(self) -> None:
        assert entropy([(1.0, 0.0)]) == 0
        half = (math.log(2) + math.log(5)) / 2
        assert entropy([(0.5, 0.5), (0.2,) * 5]) == pytest.approx(half)
        assert entropy([(1.0, 0.0), (0.5, 0.5)], [3, 1]) == pytest.approx(math.log(2) / 4)


class TestWeight:
    def test_known_values(self) -> None:
        """Half the loss of guessing, at q of 0, 1, 2 and one half; and what guesses worse."""
        found = [fairness_weight(0.5, reference=1.0, strength=q) for q in (0, 1, 2, 0.5)]
        assert found == pytest.approx([1.0, 0.5, 0.25, math.sqrt(0.5)])
        assert fairness_weight(1.7, reference=1.0, strength=2) == 1.0

    @given(
        st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(HOSTILE),
        st.floats(math.log(2), 10),
        strengths,
    )
    def test_no_loss_makes_a_weight_that_is_not_between_0_and_1(
        self, loss: float, reference: float, strength: float
    ) -> None:
        assert 0 <= fairness_weight(loss, reference=reference, strength=strength) <= 1

    @given(st.lists(st.floats(0, 30), min_size=2, max_size=2).map(sorted), strengths)
    def test_a_larger_loss_never_counts_less(self, losses: list[float], strength: float) -> None:
        low, high = (fairness_weight(x, reference=1.1, strength=strength) for x in losses)
        assert low <= high

    @pytest.mark.parametrize("loss", HOSTILE)
    def test_without_strength_every_weight_is_exactly_one(self, loss: float) -> None:
        assert fairness_weight(loss, reference=math.log(2), strength=0.0) == 1.0

    def test_what_is_not_a_loss_counts_for_nothing(self) -> None:
        for loss in (math.nan, -1.0, -math.inf, 0.0):
            assert fairness_weight(loss, reference=1.0, strength=0.1) == 0.0
        assert fairness_weight(math.inf, reference=1.0, strength=0.1) == 1.0


class TestUnits:
    def test_a_choice_is_weighed_by_its_loss_over_that_of_guessing(self) -> None:
        weights = unit_weights([[(1.0, 0.0)], [(0.0, 1.0)]], [0.5, 3.0, 0.0], strength=2.0)
        assert weights.tolist() == pytest.approx([(0.5 / math.log(2)) ** 2, 1.0, 0.0])

    def test_divided_answers_that_are_predicted_rightly_count_for_nothing(self) -> None:
        """Their loss is their entropy; one that lies halfway to guessing counts by a half."""
        target = (0.9, 0.1)
        floor = entropy([target])
        halfway = floor + (math.log(2) - floor) / 2
        weights = unit_weights([[target]] * 2, [floor, halfway], strength=1.0)
        assert weights.tolist() == pytest.approx([0.0, 0.5])

    def test_even_answers_leave_guessing_nothing_to_lose(self) -> None:
        assert unit_weights([[(0.5, 0.5)]], [0.7], strength=1.0).tolist() == [1.0]


class TestGroupWeight:
    @given(st.floats(0, math.inf), strengths)
    def test_no_group_is_silenced(self, loss: float, strength: float) -> None:
        weight = group_weight([(1.0, 0.0)], [3], [loss], strength=strength)
        assert LEAST_GROUP_WEIGHT <= weight <= 1
        # The reference is a sum of logarithms, which rounds by its own order.
        own = fairness_weight(loss, reference=math.log(2), strength=strength)
        assert weight == pytest.approx(max(LEAST_GROUP_WEIGHT, own), rel=1e-12)

    def test_a_loss_that_is_no_number_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="is not a number: lower"):
            group_weight([(1.0, 0.0)] * 2, [1, 1], [0.5, math.nan], strength=1.0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("scale", [1e-38, 1.0, 3e38])
def test_every_integer_row_keeps_its_norm_whatever_the_losses(
    strength: float, scale: float
) -> None:
    """Test 3 of the kernel, with weights of hostile losses: in integers, at most S."""
    settings = KernelSettings(
        dimension=64, clipping_norm=0.1, sensitivity=10_000, noise_log2=8, modulus_bits=32
    )
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(len(HOSTILE), 64)) * scale
    weights = [fairness_weight(x, reference=math.log(2), strength=strength) for x in HOSTILE]
    update = Update(
        gradients=np.clip(gradients, -3e38, 3e38).astype(np.float32), weights=np.array(weights)
    )
    for weight, row in zip(weights, clip_rows(update, settings), strict=True):
        norm = math.sqrt(sum(int(value) ** 2 for value in row))
        assert norm <= settings.sensitivity * weight + math.sqrt(64) / 2
        assert norm <= settings.sensitivity
        assert weight > 0 or norm == 0


@pytest.mark.parametrize("fairness", [-0.1, 10.5, math.nan, math.inf])
def test_a_strength_out_of_bounds_is_refused_by_name(fairness: float) -> None:
    with pytest.raises(ValueError, match=r"fairness = .* must be in \[0, 10\]: 0 for none"):
        TrainingConfig(fairness=fairness)
