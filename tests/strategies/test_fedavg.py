import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies.base import Visibility
from strategies.fedavg import FedAvg

VALUES = st.floats(-1e6, 1e6, width=32)


def test_it_needs_to_see_the_sum_alone() -> None:
    assert FedAvg().visibility is Visibility.SUM


@given(
    current=arrays.arrays(np.float32, 7, elements=VALUES),
    updates=arrays.arrays(np.float32, (3, 7), elements=VALUES),
)
def test_a_plain_step_is_the_mean_of_the_groups_vectors(
    current: np.ndarray, updates: np.ndarray
) -> None:
    mean_update = updates.astype(np.float64).mean(axis=0)
    stepped = FedAvg().step(current, mean_update)
    vectors = current.astype(np.float64) + updates
    np.testing.assert_allclose(stepped, vectors.mean(axis=0), rtol=1e-6, atol=0.3)
    # Rounded to float32 once, at the end.
    assert stepped.tobytes() == (current + mean_update).astype(np.float32).tobytes()


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 2.0])
def test_the_learning_rate_is_the_share_of_the_way(rate: float) -> None:
    current = np.array([1.0, -2.0, 0.0], dtype=np.float32)
    update = np.array([4.0, 1.0, -0.5])
    stepped = FedAvg(learning_rate=rate).step(current, update)
    np.testing.assert_allclose(stepped, np.array([1 + 4 * rate, -2 + rate, -0.5 * rate]), rtol=1e-6)


def test_a_step_returns_float32_and_leaves_its_arguments_alone() -> None:
    current, update = np.ones(4, dtype=np.float32), np.full(4, 0.25)
    stepped = FedAvg().step(current, update)
    assert (stepped.dtype, stepped.shape) == (np.dtype(np.float32), (4,))
    assert not np.shares_memory(stepped, current)
    assert (current == 1).all()
    assert (update == 0.25).all()


def test_small_updates_are_not_lost_in_float32_before_the_sum() -> None:
    step = FedAvg(learning_rate=0.5).step(np.ones(1, dtype=np.float32), np.array([2.4e-7]))
    assert step[0] == np.nextafter(np.float32(1), np.float32(2))
