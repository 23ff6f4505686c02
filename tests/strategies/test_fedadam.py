"""The server's optimiser."""

import numpy as np
import pytest

from strategies.base import StateRefused
from strategies.fedadam import FedAdam


def test_it_takes_the_steps_of_adam() -> None:
    """Beside torch's Adam, five steps: equal to 1e-6."""
    import torch

    gradients = np.random.default_rng(0).normal(size=(5, 7))
    parameter = torch.nn.Parameter(torch.zeros(7))
    reference = torch.optim.Adam([parameter], lr=0.05, betas=(0.8, 0.95), eps=1e-8)
    strategy = FedAdam(learning_rate=0.05, momentum=0.8, decay=0.95)
    vector = np.zeros(7, dtype=np.float32)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        reference.step()
        vector = strategy.step(vector, -gradient)
    assert vector == pytest.approx(parameter.detach().numpy(), abs=1e-6)
    assert strategy.published(vector) is vector


def test_coordinates_that_are_never_moved_stay_where_they_are() -> None:
    start = np.array([1.5, -2.0], dtype=np.float32)
    moved = FedAdam(learning_rate=0.1).step(start, np.array([0.0, 1.0]))
    assert moved[0] == start[0]
    assert moved[1] == pytest.approx(-1.9)


def test_the_published_average_is_one_of_iterates() -> None:
    strategy = FedAdam(learning_rate=0.1, averaging=0.5)
    vector = np.zeros(1, dtype=np.float32)
    assert strategy.published(vector) is vector
    seen = []
    for _ in range(3):
        vector = strategy.step(vector, np.ones(1))
        seen.append(float(vector[0]))
    expected = np.average(seen, weights=[0.25, 0.5, 1.0])
    assert strategy.published(vector)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"momentum": 1.0}, {"decay": -0.1}, {"averaging": 1.0}]
)
def test_values_without_a_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FedAdam(**{"learning_rate": 0.1, **wrong})


def steps(strategy: FedAdam, vector: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    for gradient in gradients:
        vector = strategy.step(vector, gradient)
    return vector


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_restored_strategy_goes_on_to_the_last_bit(averaging: float, done: int) -> None:
    gradients = np.random.default_rng(1).normal(size=(6, 5))
    start = np.zeros(5, dtype=np.float32)
    whole = FedAdam(learning_rate=0.1, averaging=averaging)
    halfway = steps(whole, start, gradients[:done])
    state = dict(whole.state())
    kept = {name: value.tobytes() for name, value in state.items()}
    expected = steps(whole, halfway, gradients[done:])
    # Later steps left the state as it was.
    assert {name: value.tobytes() for name, value in state.items()} == kept
    again = FedAdam(learning_rate=0.1, averaging=averaging)
    again.restore(state)
    got = steps(again, halfway, gradients[done:])
    assert got.tobytes() == expected.tobytes()
    assert again.published(got).tobytes() == whole.published(expected).tobytes()


WRONG: dict[str, dict[str, np.ndarray | None]] = {
    "no moment": {"second": None},
    "no steps": {"steps": None},
    "no average": {"average": None},
    "more": {"third": np.zeros(5)},
    "another size": {"second": np.zeros(4)},
    "two axes": {"first": np.zeros((5, 1)), "second": np.zeros((5, 1))},
    "another type": {"first": np.zeros(5, dtype=np.float32)},
    "many steps": {"steps": np.array([1, 2])},
    "steps of no number": {"steps": np.array([1.0])},
    "no step": {"steps": np.array([0])},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_state_of_it_is_refused_and_changes_nothing(wrong: str) -> None:
    strategy = FedAdam(learning_rate=0.1, averaging=0.5)
    steps(strategy, np.zeros(5, dtype=np.float32), np.ones((2, 5)))
    before = strategy.state()
    changed = {**before, **WRONG[wrong]}
    with pytest.raises(StateRefused) as told:
        strategy.restore({name: value for name, value in changed.items() if value is not None})
    assert "\n" not in str(told.value)
    after = strategy.state()
    assert {name: array.tobytes() for name, array in after.items()} == {
        name: array.tobytes() for name, array in before.items()
    }


def test_a_state_of_another_number_of_coordinates_is_not_gone_on_with() -> None:
    strategy, other = FedAdam(learning_rate=0.1), FedAdam(learning_rate=0.1)
    steps(other, np.zeros(4, dtype=np.float32), np.ones((1, 4)))
    strategy.restore(other.state())
    with pytest.raises(ValueError, match=r"shape \(1,\), \(4,\) needed"):
        strategy.step(np.zeros(1, dtype=np.float32), np.ones(1))
