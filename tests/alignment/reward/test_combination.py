"""Rewards of groups become one: what each rule promises, and that its state can be kept."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.reward.combination import (
    COMBINATIONS,
    AdaptiveCombination,
    MeanCombination,
    MinCombination,
    combination_from,
    combination_named,
)

GROUPS = ("east", "north", "west")
FINITE = st.floats(min_value=-50, max_value=50, allow_nan=False)
TABLES = st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=1, max_size=6).map(
    lambda rows: np.array(rows).T
)


def test_a_golden_table() -> None:
    rewards = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.5]])
    assert MeanCombination(groups=GROUPS).combine(rewards) == pytest.approx([1.0, 0.5])
    assert MinCombination(groups=GROUPS).combine(rewards) == pytest.approx([0.0, 0.0])
    # Half a unit behind, at a temperature of half a unit, weighs e times as much.
    adaptive = AdaptiveCombination(groups=GROUPS, history=(0.5, 0.0, 0.0), temperature=0.5)
    e = np.e
    assert adaptive.weights == pytest.approx(np.array([1, e, e]) / (1 + 2 * e))
    assert adaptive.combine(rewards) == pytest.approx([3 / (1 + 2 * e), 1.5 * e / (1 + 2 * e)])


@given(TABLES)
def test_every_combination_lies_between_the_least_and_the_most_pleased(
    rewards: np.ndarray,
) -> None:
    for name in COMBINATIONS:
        combination = combination_named(name, GROUPS).observe(rewards)
        combined = combination.combine(rewards)
        assert combined.shape == rewards.shape[1:]
        assert (combined >= rewards.min(axis=0) - 1e-9).all()
        assert (combined <= rewards.max(axis=0) + 1e-9).all()


@given(TABLES, FINITE)
def test_a_common_shift_of_all_groups_shifts_the_reward(rewards: np.ndarray, shift: float) -> None:
    for name in COMBINATIONS:
        combination = combination_named(name, GROUPS)
        shifted = combination.combine(rewards + shift)
        assert shifted == pytest.approx(combination.combine(rewards) + shift, abs=1e-6)


@given(TABLES)
def test_groups_that_were_served_worse_weigh_more(rewards: np.ndarray) -> None:
    adaptive = AdaptiveCombination(groups=GROUPS).observe(rewards)
    means, weights = rewards.mean(axis=1), adaptive.weights
    assert weights.sum() == pytest.approx(1)
    for worse, better in np.argwhere(means[:, None] < means[None, :] - 1e-6):
        assert weights[worse] > weights[better] or weights[worse] == pytest.approx(weights[better])
    if np.ptp(means) > 1:
        assert weights[means.argmin()] > 1 / len(GROUPS)


def test_before_the_first_batch_it_is_the_mean() -> None:
    rewards = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.5]])
    assert AdaptiveCombination(groups=GROUPS).combine(rewards) == pytest.approx([1.0, 0.5])


def test_the_history_is_a_moving_average_that_begins_with_the_first_batch() -> None:
    adaptive = AdaptiveCombination(groups=GROUPS, memory=0.75)
    adaptive = adaptive.observe(np.array([[1.0, 3.0], [0.0, 0.0], [-1.0, -1.0]]))
    assert adaptive.history == pytest.approx((2.0, 0.0, -1.0))
    adaptive = adaptive.observe(np.array([[0.0], [4.0], [-1.0]]))
    assert adaptive.history == pytest.approx((1.5, 1.0, -1.0))
    assert adaptive.observe(np.zeros((3, 0))) == adaptive


def test_observing_changes_no_combination_that_exists() -> None:
    adaptive = AdaptiveCombination(groups=GROUPS)
    adaptive.observe(np.ones((3, 2)))
    assert adaptive.history == ()


@pytest.mark.parametrize("name", list(COMBINATIONS))
def test_a_state_survives_a_file(name: str) -> None:
    combination = combination_named(name, GROUPS).observe(np.array([[1.0], [0.1], [-2.0]]))
    assert combination_from(json.loads(json.dumps(combination.state()))) == combination
    assert combination.name == name


@pytest.mark.parametrize("name", list(COMBINATIONS))
@pytest.mark.parametrize(
    ("rewards", "complaint"),
    [
        (np.zeros((2, 4)), r"shape \(2, 4\), need \(3, completions\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([[0.0], [np.nan], [0.0]]), "NaN or infinity"),
        (np.array([[0.0], [np.inf], [0.0]]), "NaN or infinity"),
    ],
)
def test_rewards_that_cannot_be_combined_are_refused(
    name: str, rewards: np.ndarray, complaint: str
) -> None:
    combination = combination_named(name, GROUPS)
    with pytest.raises(ValueError, match=complaint):
        combination.combine(rewards)
    with pytest.raises(ValueError, match=complaint):
        combination.observe(rewards)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"name": "median", "groups": ["a"]}, "'median' must be one of: mean, min, adaptive"),
        ({"groups": ["a"]}, "must be one of"),
        ({"name": "mean"}, "is no state of the combination 'mean'"),
        ({"name": "min", "groups": ["a"], "history": [1.0]}, "is no state"),
        ({"name": "mean", "groups": []}, "at least one"),
        ({"name": "mean", "groups": ["a", "a"]}, "each group once"),
        ({"name": "adaptive", "groups": ["a"], "temperature": 0}, "temperature = 0 must be > 0"),
        ({"name": "adaptive", "groups": ["a"], "memory": 1}, "memory = 1 must lie in"),
        ({"name": "adaptive", "groups": ["a"], "history": [1.0, 2.0]}, "2 entries for 1 groups"),
        ({"name": "adaptive", "groups": ["a"], "history": [float("nan")]}, "NaN or infinity"),
    ],
)
def test_what_is_no_state_is_refused(state: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        combination_from(state)
