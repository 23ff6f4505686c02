"""Accuracy, Brier score and calibration error against values worked out by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.evaluation.calibration import (
    JudgedTarget,
    brier_score,
    calibration,
    correctness,
    summarise_choices,
    top_label,
)

confidences = st.lists(st.sampled_from([0.5, 0.55, 0.6, 0.75, 0.9, 1.0]), min_size=1, max_size=60)


class TestCorrectness:
    @pytest.mark.parametrize(
        ("predicted", "actual", "right"),
        [
            ((0.7, 0.3), (1, 0), 1.0),
            ((0.7, 0.3), (0, 1), 0.0),
            ((0.5, 0.5), (1, 0), 0.5),
            ((0.9, 0.1), (0.5, 0.5), 0.5),
            ((0.5, 0.5), (0.5, 0.5), 0.5),
            ((0.4, 0.6), (1 / 3, 2 / 3), 1.0),
            ((0.4, 0.4, 0.2), (0, 1, 0), 0.5),
            ((0.6, 0.3, 0.1), (0.4, 0.4, 0.2), 0.5),
            ((1 / 3, 1 / 3, 1 / 3), (0, 0, 1), 1 / 3),
        ],
    )
    def test_known_values_and_ties(
        self, predicted: Sequence[float], actual: Sequence[float], right: float
    ) -> None:
        assert correctness(predicted, actual) == pytest.approx(right)

    def test_questions_with_other_options_are_refused(self) -> None:
        for function in (correctness, brier_score, top_label):
            with pytest.raises(ValueError, match="2 options and actual has 3"):
                function((0.5, 0.5), (1, 0, 0))


class TestBrierScore:
    def test_of_a_pair_it_is_the_squared_error_of_one_probability(self) -> None:
        assert brier_score((0.8, 0.2), (1, 0)) == pytest.approx(0.04)
        assert brier_score((0.5, 0.5), (0, 1)) == pytest.approx(0.25)
        assert brier_score((0, 1), (1, 0)) == 1
        assert brier_score((1, 0), (1, 0)) == 0

    def test_it_is_the_mean_over_the_answers(self) -> None:
        each = [brier_score((0.6, 0.3, 0.1), answer) for answer in np.eye(3)]
        shares = (0.5, 0.25, 0.25)
        expected = sum(s * b for s, b in zip(shares, each, strict=True))
        assert brier_score((0.6, 0.3, 0.1), shares) == pytest.approx(expected)

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_no_prediction_beats_the_true_shares(self, share: float, other: float) -> None:
        truth = (share, 1 - share)
        assert brier_score(truth, truth) <= brier_score((other, 1 - other), truth) + 1e-12


class TestCalibration:
    def test_known_values(self) -> None:
        found = calibration([0.6] * 10 + [0.9] * 10, [1.0] * 8 + [0.0] * 2 + [1.0] * 6 + [0.0] * 4)
        assert [each.count for each in found.bins] == [10, 10]
        assert [each.outcome for each in found.bins] == pytest.approx([0.8, 0.6])
        assert found.error == pytest.approx(0.5 * 0.2 + 0.5 * 0.3)
        spread = (math.sqrt(10 * 0.6 * 0.4) + math.sqrt(10 * 0.9 * 0.1)) / 20
        assert found.by_chance == pytest.approx(math.sqrt(2 / math.pi) * spread)

    def test_what_comes_true_as_often_as_said_has_no_error(self) -> None:
        said = np.repeat([0.5, 0.6, 0.7, 0.8, 0.9], 10)
        came = np.concatenate([np.arange(10) < round(10 * p) for p in (0.5, 0.6, 0.7, 0.8, 0.9)])
        found = calibration(said.tolist(), came.astype(float).tolist(), bins=5)
        assert found.error == pytest.approx(0, abs=1e-12)
        assert [each.count for each in found.bins] == [10] * 5

    def test_bins_have_equal_mass_where_no_confidence_is_shared(self) -> None:
        said = np.linspace(0.5, 0.99, 103) ** 2
        found = calibration(said.tolist(), [1.0] * 103, bins=10)
        assert sum(each.count for each in found.bins) == 103
        assert {each.count for each in found.bins} <= {10, 11}
        assert [e.confidence for e in found.bins] == sorted(e.confidence for e in found.bins)

    def test_equal_confidences_share_a_bin(self) -> None:
        found = calibration([0.7] * 50, [1.0] * 35 + [0.0] * 15)
        assert len(found.bins) == 1
        assert found.error == pytest.approx(0, abs=1e-12)

    @given(confidences)
    def test_the_order_of_predictions_means_nothing(self, said: list[float]) -> None:
        came = [float(i % 3 > 0) for i in range(len(said))]
        order = np.random.default_rng(len(said)).permutation(len(said))
        found = calibration(said, came)
        again = calibration([said[i] for i in order], [came[i] for i in order])
        assert again.error == pytest.approx(found.error)
        assert again.by_chance == pytest.approx(found.by_chance)

    def test_by_chance_is_what_right_confidences_show(self) -> None:
        """The mean of 300 samples of 500 answers is within 5 % of it; its own error is 1 %."""
        generator = np.random.default_rng(0)
        said = generator.uniform(0.5, 1, 500)
        errors = [
            calibration(said.tolist(), (generator.random(500) < said).astype(float).tolist()).error
            for _ in range(300)
        ]
        assert calibration(said.tolist(), said.tolist()).by_chance == pytest.approx(
            np.mean(errors), rel=0.05
        )

    def test_nothing_to_compare_is_refused(self) -> None:
        with pytest.raises(ValueError, match="0 confidences"):
            calibration([], [])
        with pytest.raises(ValueError, match="2 confidences and 1 outcomes"):
            calibration([0.5, 0.6], [1])
        with pytest.raises(ValueError, match="bins = 0"):
            calibration([0.5], [1], bins=0)


class TestSummary:
    def test_draws_are_averaged_each_by_itself(self) -> None:
        right = JudgedTarget(draw=0, predicted=(0.8, 0.2), actual=(1, 0))
        wrong = JudgedTarget(draw=1, predicted=(0.8, 0.2), actual=(0, 1))
        found = summarise_choices([right, right, right, wrong])
        assert found.accuracy == pytest.approx(0.5)
        assert found.brier == pytest.approx((0.04 + 0.64) / 2)
        assert found.calibration_error == pytest.approx((0.2 + 0.8) / 2)

    def test_guessing_is_half_right_and_calibrated(self) -> None:
        targets = [
            JudgedTarget(draw=0, predicted=(0.5, 0.5), actual=actual)
            for actual in ((1, 0), (0, 1), (1, 0))
        ]
        found = summarise_choices(targets)
        assert (found.accuracy, found.brier, found.calibration_error) == (0.5, 0.25, 0)

    def test_no_target_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no target"):
            summarise_choices([])
