"""Rules that a few bad groups cannot move far."""

import numpy as np
import pytest

from server.aggregation.robust import rule_for
from strategies.base import Visibility
from strategies.fedavg import FedAvg
from strategies.registry import make

#: Nine groups around 1, and one that sends anything.
GOOD = 1 + np.random.default_rng(0).normal(size=(9, 6)) / 10
BAD = np.vstack([GOOD, np.full(6, 1e6)])


@pytest.mark.parametrize(
    ("name", "settings"),
    [("fedmedian", {}), ("fedtrimmedavg", {"trim": 0.1}), ("krum", {}), ("krum", {"keep": 4})],
)
def test_one_bad_group_of_ten_moves_it_little(name: str, settings: dict[str, object]) -> None:
    rule = rule_for(make(name, settings))
    assert rule is not None
    moved = rule(BAD)
    assert moved.shape == (6,)
    assert moved.dtype == np.float64
    assert np.abs(moved - 1).max() < 0.3
    assert np.abs(BAD.mean(axis=0) - 1).min() > 1e4


def test_they_are_what_their_names_say() -> None:
    vectors = np.array([[0.0, 1.0], [1.0, 5.0], [2.0, 3.0], [9.0, -9.0]])

    def made(name: str, **settings: object) -> np.ndarray:
        rule = rule_for(make(name, settings))
        assert rule is not None
        return rule(vectors)

    np.testing.assert_allclose(made("fedmedian"), [1.5, 2.0])
    np.testing.assert_allclose(made("fedtrimmedavg", trim=0.25), [1.5, 2.0])
    np.testing.assert_allclose(made("fedtrimmedavg", trim=0.0), vectors.mean(axis=0))
    assert made("krum").tolist() in vectors.tolist()
    np.testing.assert_allclose(made("krum", keep=4), vectors.mean(axis=0))
    np.testing.assert_allclose(made("krum", keep=9), vectors.mean(axis=0))


def test_a_strategy_of_ones_own_brings_its_rule_along() -> None:
    class Largest(FedAvg):
        name = "largest"
        visibility = Visibility.INDIVIDUAL

    with pytest.raises(ValueError, match=r"^strategy largest sees .* define combine\(\)$"):
        rule_for(Largest())

    class Combining(Largest):
        def combine(self, updates: np.ndarray) -> np.ndarray:
            return updates.max(axis=0)

    rule = rule_for(Combining())
    assert rule is not None
    np.testing.assert_array_equal(rule(GOOD), GOOD.max(axis=0))


def test_whoever_sees_the_sum_takes_the_mean() -> None:
    assert rule_for(make("fedavg", {})) is None
