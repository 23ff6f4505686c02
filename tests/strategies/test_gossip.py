"""What a meeting makes of two vectors, who meets whom, and where many meetings lead."""

from itertools import chain, pairwise

import numpy as np
import pytest

from strategies.gossip import Gossip, drawn_pairs

GROUPS = tuple("ABCDEFGH")


def vector(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def spread(vectors: dict[str, np.ndarray]) -> float:
    stacked = np.stack([*vectors.values()]).astype(np.float64)
    return float(np.sqrt(np.mean(np.sum((stacked - stacked.mean(axis=0)) ** 2, axis=1))))


def test_partners_end_with_equal_vectors() -> None:
    one, other = vector(1), vector(2)
    met = Gossip().meet(one, other)
    assert met.dtype == np.float32
    assert met.tobytes() == Gossip().meet(other, one).tobytes()
    np.testing.assert_allclose(met, (one.astype(np.float64) + other) / 2, rtol=1e-6)


def test_vectors_of_two_sizes_do_not_meet() -> None:
    with pytest.raises(ValueError, match=r"shape \(7,\), \(6,\) needed"):
        Gossip().meet(vector(1), vector(1, 7))


def test_what_is_published_is_an_average_of_what_rounds_ended_with() -> None:
    strategy = Gossip(averaging=0.5, learning_rate=0.1)
    current, ends = np.zeros(6, dtype=np.float32), []
    for number in range(5):
        stepped = strategy.step(current, vector(number).astype(np.float64))
        current = strategy.meet(stepped, vector(10 + number))
        ends.append(current.astype(np.float64))
    weights = 0.5 ** np.arange(len(ends))[::-1]
    expected = np.average(ends, axis=0, weights=weights)
    np.testing.assert_allclose(strategy.published(current), expected, rtol=1e-5)
    assert Gossip(averaging=0.0).published(current) is current


def test_the_distance_between_groups_falls_by_meetings_alone() -> None:
    vectors = {group: vector(number) for number, group in enumerate(GROUPS)}
    mean = np.mean([*vectors.values()], axis=0)
    apart = [spread(vectors)]
    for number in range(1, 13):
        for one, other in drawn_pairs(vectors, seed=0, round_number=number):
            met = Gossip().meet(vectors[one], vectors[other])
            vectors |= {one: met, other: met}
        apart.append(spread(vectors))
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(apart))
    assert apart[-1] < 0.02 * apart[0]
    # Nobody's vector is lost on the way: the mean of all stays.
    np.testing.assert_allclose(np.mean([*vectors.values()], axis=0), mean, atol=1e-6)


def test_groups_that_step_and_meet_come_to_one_goal_together() -> None:
    """Every group pulls elsewhere; the pulls cancel in the mean alone."""
    goals = {group: 1.0 + vector(number) for number, group in enumerate(GROUPS)}
    strategies = {group: Gossip(learning_rate=0.02) for group in GROUPS}
    vectors = {group: np.zeros(6, dtype=np.float32) for group in GROUPS}
    alone = {group: Gossip(learning_rate=0.02) for group in GROUPS}
    lonely = dict(vectors)
    for number in range(1, 301):
        for group in GROUPS:
            update = goals[group].astype(np.float64) - vectors[group]
            vectors[group] = strategies[group].step(vectors[group], update)
            update = goals[group].astype(np.float64) - lonely[group]
            lonely[group] = alone[group].step(lonely[group], update)
        for one, other in drawn_pairs(GROUPS, seed=1, round_number=number):
            before = vectors[one], vectors[other]
            vectors[one] = strategies[one].meet(*before)
            vectors[other] = strategies[other].meet(*before[::-1])
    assert spread(vectors) < 0.1 * spread(lonely)


class TestPairs:
    @pytest.mark.parametrize("count", [1, 2, 5, 8])
    def test_everybody_meets_one_other_and_of_an_odd_number_one_is_alone(self, count: int) -> None:
        pairs = drawn_pairs(GROUPS[:count], seed=0, round_number=1)
        assert sorted(chain.from_iterable(pairs)) == [*GROUPS[:count]]
        assert sorted(map(len, pairs)) == [1] * (count % 2) + [2] * (count // 2)
        assert all(list(pair) == sorted(pair) for pair in pairs)

    def test_the_draw_is_public_and_new_in_each_round(self) -> None:
        one = drawn_pairs(GROUPS, seed=0, round_number=1)
        assert one == drawn_pairs(GROUPS[::-1], seed=0, round_number=1)
        rounds = {drawn_pairs(GROUPS, seed=0, round_number=n) for n in range(1, 60)}
        assert len(rounds) > 30
        met = {pair for pairs in rounds for pair in pairs}
        assert len(met) == 8 * 7 // 2
