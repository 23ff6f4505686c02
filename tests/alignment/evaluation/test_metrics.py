"""The alignment score against an independent oracle, and how scores are put together."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from alignment.evaluation.metrics import (
    LEAST_PROBABILITY,
    TargetScore,
    alignment_score,
    jensen_shannon_distance,
    log_loss,
    summarise,
)

WORST = 1 - math.sqrt(math.log(2))
weights = st.integers(2, 8).flatmap(
    lambda k: arrays.arrays(np.float64, (2, k), elements=st.sampled_from([0.0, 0.01, 0.5, 1.0, 7]))
)


def scored(
    group: str,
    score: float,
    *,
    draw: int = 0,
    seen: bool = True,
    name: str = "q",
    loss: float = 1.0,
) -> TargetScore:
    return TargetScore(
        group=group, draw=draw, question_id=name, seen=seen, score=score, log_loss=loss
    )


@given(weights)
def test_the_distance_is_the_one_of_scipy(rows: np.ndarray) -> None:
    assume((rows.sum(axis=1) > 0).all())
    p, q = rows / rows.sum(axis=1, keepdims=True)
    ours = jensen_shannon_distance(p.tolist(), q.tolist())
    # scipy may take the root of a divergence a hair below zero.
    with np.errstate(invalid="ignore"):
        theirs = float(np.nan_to_num(jensenshannon(p, q)))
    assert ours == pytest.approx(theirs, abs=2e-8)
    assert ours == pytest.approx(jensen_shannon_distance(q.tolist(), p.tolist()), abs=1e-12)
    assert 0 <= ours <= math.sqrt(math.log(2)) + 1e-12
    assert alignment_score(p.tolist(), q.tolist()) == 1 - ours


def test_known_values() -> None:
    assert alignment_score([0.3, 0.7], [0.3, 0.7]) == 1.0
    assert alignment_score([1.0, 0.0], [0.0, 1.0]) == pytest.approx(WORST)
    assert pytest.approx(WORST, abs=5e-5) == 0.1674
    # Divergence 3/4 log 4/3 + ... by hand: middle (3/4, 1/4).
    by_hand = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert jensen_shannon_distance([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.sqrt(by_hand))


def test_questions_of_different_options_are_not_compared() -> None:
    with pytest.raises(ValueError, match="p has 2 options and q has 3"):
        jensen_shannon_distance([0.5, 0.5], [0.2, 0.3, 0.5])


@given(weights)
def test_the_log_loss_is_entropy_and_divergence_of_scipy(rows: np.ndarray) -> None:
    """Predictions without zeros: there the floor has nothing to do."""
    assume(rows[1].sum() > 0)
    p, q = (row / row.sum() for row in (rows[0] + 1e-3, rows[1]))
    ours = log_loss(p.tolist(), q.tolist())
    assert ours == pytest.approx(float(entropy(q) + entropy(q, p)), abs=1e-12)
    # Nothing beats the truth.
    assert ours >= log_loss(q.tolist(), q.tolist()) - 1e-12


def test_known_log_losses() -> None:
    assert log_loss([0.25, 0.75], [1.0, 0.0]) == pytest.approx(math.log(4))
    assert log_loss([0.5, 0.5], [0.3, 0.7]) == pytest.approx(math.log(2))
    assert math.copysign(1, log_loss([0.0, 1.0], [0.0, 1.0])) == 1.0
    assert log_loss([0.0, 1.0], [0.0, 1.0]) == 0.0


def test_a_probability_of_zero_costs_a_finite_loss() -> None:
    assert LEAST_PROBABILITY == 1e-12
    for impossible in (0.0, 1e-300, 1e-12):
        most = log_loss([impossible, 1.0], [1.0, 0.0])
        assert most == pytest.approx(-math.log(1e-12)) == pytest.approx(27.631, abs=1e-3)
    assert log_loss([1e-11, 1.0], [1.0, 0.0]) < most


def test_the_log_loss_compares_one_question() -> None:
    with pytest.raises(ValueError, match="predicted has 2 options and actual has 3"):
        log_loss([0.5, 0.5], [0.2, 0.3, 0.5])


def test_the_mean_is_over_pairs_of_a_draw_and_then_over_draws() -> None:
    scores = [
        scored("a", 0.9, draw=0),
        scored("a", 0.7, draw=0),
        scored("b", 0.2, draw=0),
        scored("b", 1.0, draw=1),
    ]
    summary = summarise(scores)
    assert summary.mean == pytest.approx((0.6 + 1.0) / 2)
    assert summary.groups == {"a": pytest.approx(0.8), "b": pytest.approx(0.6)}
    assert summary.worst_group == pytest.approx(0.6)
    assert summary.cov == pytest.approx(0.1 / 0.7)


def test_the_log_loss_is_averaged_as_the_alignment_is() -> None:
    scores = [
        scored("a", 0.9, draw=0, loss=0.1),
        scored("a", 0.7, draw=0, loss=0.3, seen=False),
        scored("b", 0.2, draw=0, loss=0.8),
        scored("b", 1.0, draw=1, loss=2.0),
    ]
    assert summarise(scores).log_loss == pytest.approx((0.4 + 2.0) / 2)


def test_seen_and_unseen_questions_stay_apart() -> None:
    scores = [
        scored("a", 0.9, draw=0),
        scored("a", 0.5, draw=1),
        scored("a", 0.4, draw=0, seen=False),
        scored("b", 0.2, draw=0, seen=False),
    ]
    summary = summarise(scores)
    assert summary.seen_questions == pytest.approx(0.7)
    assert summary.unseen_questions == pytest.approx(0.3)


def test_a_side_without_questions_has_no_mean() -> None:
    assert summarise([scored("a", 0.5)]).unseen_questions is None
    assert summarise([scored("a", 0.5, seen=False)]).seen_questions is None


def test_equal_groups_have_no_variation() -> None:
    summary = summarise([scored("a", 0.5), scored("b", 0.5), scored("c", 0.5)])
    assert (summary.cov, summary.worst_group) == (0.0, 0.5)


@given(st.permutations(range(12)))
def test_the_order_of_scores_does_not_matter(order: list[int]) -> None:
    values = np.random.default_rng(0).uniform(0.2, 1, 12)
    scores = [
        scored(
            "abc"[i % 3],
            float(values[i]),
            draw=i % 2,
            seen=i % 5 > 0,
            name=f"q{i}",
            loss=float(-np.log(values[i])),
        )
        for i in range(12)
    ]
    first, second = summarise(scores), summarise([scores[i] for i in order])
    assert second.mean == pytest.approx(first.mean)
    assert second.cov == pytest.approx(first.cov)
    assert dict(second.groups) == pytest.approx(dict(first.groups))
    assert second.log_loss == pytest.approx(first.log_loss)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no score to summarise"):
        summarise([])
