"""The loss: cross-entropy for all three kinds of records."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alignment.training.objectives import cross_entropy


def naive(scores: np.ndarray, targets: np.ndarray) -> list[float]:
    """Cross-entropy by loops, over the options that exist."""
    losses = []
    for row, target in zip(scores, targets, strict=True):
        exist = [float(s) for s in row if s > -1e8]
        top = max(exist)
        log_sum = top + math.log(sum(math.exp(s - top) for s in exist))
        losses.append(
            -sum(float(t) * (float(s) - log_sum) for s, t in zip(row, target, strict=True) if t)
        )
    return losses


@given(
    arrays.arrays(np.float64, (3, 4), elements=st.floats(-20, 20)),
    arrays.arrays(np.float64, (3, 4), elements=st.floats(0.01, 1)),
    st.lists(st.integers(2, 4), min_size=3, max_size=3),
)
def test_cross_entropy_is_the_naive_loop(
    scores: np.ndarray, weights: np.ndarray, options: list[int]
) -> None:
    for row, count in enumerate(options):
        scores[row, count:] = -1e9
        weights[row, count:] = 0
    targets = weights / weights.sum(axis=1, keepdims=True)
    losses = cross_entropy(torch.from_numpy(scores), torch.from_numpy(targets))
    np.testing.assert_allclose(losses.numpy(), naive(scores, targets), rtol=1e-9, atol=1e-9)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_a_pair_gives_the_bradley_terry_likelihood(chosen: float, rejected: float) -> None:
    scores = torch.tensor([[chosen, rejected]], dtype=torch.float64)
    loss = cross_entropy(scores, torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    expected = -torch.nn.functional.logsigmoid(scores[0, 0] - scores[0, 1])
    torch.testing.assert_close(loss[0], expected)


def test_against_a_distribution_it_is_the_divergence_plus_the_entropy() -> None:
    targets = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    entropy = -(targets * targets.log()).sum()
    best = cross_entropy(targets.log() + 3.0, targets)
    torch.testing.assert_close(best[0], entropy)
    other = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64)
    divergence = (targets * (targets / other).log()).sum()
    torch.testing.assert_close(cross_entropy(other.log(), targets)[0], entropy + divergence)


def test_against_a_choice_it_is_the_log_loss() -> None:
    scores = torch.log(torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64))
    loss = cross_entropy(scores, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))
    assert math.isclose(float(loss[0]), -math.log(0.7))


def test_absent_options_add_neither_loss_nor_gradient_in_float32() -> None:
    scores = torch.tensor([[1.0, 2.0, -1e9], [0.5, -1e9, -1e9]], requires_grad=True)
    targets = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    losses = cross_entropy(scores, targets)
    alone = cross_entropy(scores[:1, :2], targets[:1, :2])
    assert losses.dtype == torch.float32
    assert torch.equal(losses[0], alone[0])
    assert losses[1] == 0
    torch.autograd.backward(losses.sum())
    assert scores.grad is not None
    expected = torch.softmax(scores.detach(), -1) - targets
    torch.testing.assert_close(scores.grad, expected)
    assert (scores.grad[scores.detach() < -1e8] == 0).all()
