"""The server's optimiser."""

import numpy as np
import pytest

from strategies.fedopt import FedAdam


def test_it_takes_the_steps_of_adam() -> None:
    """Beside torch's Adam, five steps: equal to 1e-6."""
    import torch

    gradients = np.random.default_rng(0).normal(size=(5, 7))
    parameter = torch.nn.Parameter(torch.zeros(7))
    reference = torch.optim.Adam([parameter], lr=0.05, betas=(0.8, 0.95), eps=1e-8)
    strategy = FedAdam(learning_rate=0.05, momentum=0.8, memory=0.95)
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
    "wrong", [{"learning_rate": 0.0}, {"momentum": 1.0}, {"memory": -0.1}, {"averaging": 1.0}]
)
def test_values_without_a_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FedAdam(**{"learning_rate": 0.1, **wrong})
