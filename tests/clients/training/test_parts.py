"""Steps worked off in parts, or computed again on the way back: the same gradient, less held."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from alignment.config import TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.task import RoundTask
from clients.training.trainer import LocalObjective, predictor_for, train_locally

MakeTask = Callable[..., RoundTask]
COUNTS = (3, 1, 2, 5, 1)


@pytest.fixture(params=["bert head", "bert reward", "gpt2 reward", "gpt2 policy"])
def shape(request: pytest.FixtureRequest, tiny_encoder: str, causal_model: str) -> dict[str, Any]:
    kind, scores = request.param.split()
    return {
        "predictor.encoder": {"bert": tiny_encoder, "gpt2": causal_model}[kind],
        "predictor.scores": scores,
        "predictor.max_tokens": 32,
        "predictor.lora_layers": 2,
        "training.dropout": 0.0,
        "training.context_weight": 0.0,
    }


@pytest.fixture
def answers() -> GroupAnswers:
    questions = tuple(
        Question(
            question_id=f"q{i}",
            text="do you like tea ? " * (1 + i % 3),
            options=("yes", "no is good"),
            together=False,
        )
        for i in range(len(COUNTS))
    )
    targets = ((1.0, 0.0), (0.25, 0.75), (0.5, 0.5), (0.0, 1.0), (0.0, 1.0))
    return GroupAnswers(group="A", questions=questions, targets=targets, counts=COUNTS)


def gradient(
    task: RoundTask, answers: GroupAnswers, *, recomputes: bool = False
) -> tuple[np.ndarray, float, int, int]:
    """Of one batch of all answers: gradient, loss, parts, and most numbers held for one of them."""
    predictor = Predictor(task.predictor, seed=3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for _, parameter in predictor.trainable():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    predictor.encoder.recomputes = recomputes
    objective = LocalObjective(predictor, answers, task, np.random.default_rng(0))
    total, parts, most, held = 0.0, 0, 0, [0]

    def note(tensor: torch.Tensor) -> torch.Tensor:
        held[0] += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for loss, prior in objective.losses(range(len(answers))):
            most, held[0] = max(most, held[0]), 0
            loss.backward()
            total, parts = total + prior, parts + 1
            held[0] = 0
    grads = [p.grad.ravel() for _, p in predictor.trainable() if p.grad is not None]
    return torch.cat(grads).numpy(), total, parts, most


@pytest.mark.parametrize("tokens", [1, 40, 70])
def test_parts_add_up_to_the_gradient_of_the_batch(
    make_task: MakeTask, answers: GroupAnswers, shape: dict[str, Any], tokens: int
) -> None:
    whole, loss, one, most = gradient(make_task(**shape), answers)
    task = make_task(**shape, **{"training.batch_tokens": tokens})
    parted, same_loss, parts, held = gradient(task, answers)
    assert one == 1 and 1 < parts <= len(COUNTS)
    assert tokens > 1 or parts == len(COUNTS)
    assert np.linalg.norm(whole) > 1e-3
    assert np.linalg.norm(parted - whole) < 1e-5 * max(1.0, np.linalg.norm(whole))
    assert same_loss == pytest.approx(loss, rel=1e-5)
    assert held < 0.8 * most


def test_a_bound_that_holds_the_batch_parts_nothing(
    make_task: MakeTask, answers: GroupAnswers, shape: dict[str, Any]
) -> None:
    task = make_task(**shape, **{"training.batch_tokens": 10_000})
    whole, parted = gradient(make_task(**shape), answers), gradient(task, answers)
    assert np.array_equal(whole[0], parted[0]) and parted[2] == 1


def test_a_head_alone_is_never_parted(
    make_task: MakeTask, answers: GroupAnswers, tiny_encoder: str
) -> None:
    task = make_task(train_adapter=False, **{"training.batch_tokens": 1})
    objective = LocalObjective(
        predictor_for(task.predictor), answers, task, np.random.default_rng(0)
    )
    assert len(list(objective.losses(range(len(answers))))) == 1


def test_computing_again_changes_no_gradient_and_holds_less(
    make_task: MakeTask, answers: GroupAnswers, shape: dict[str, Any]
) -> None:
    whole, loss, _, most = gradient(make_task(**shape), answers)
    again, same, _, held = gradient(make_task(**shape), answers, recomputes=True)
    assert same == pytest.approx(loss, rel=1e-6)
    assert np.linalg.norm(again - whole) < 1e-5 * max(1.0, np.linalg.norm(whole))
    assert held < most


def test_a_round_learns_as_much_in_parts_and_again(
    make_task: MakeTask, answers: GroupAnswers, shape: dict[str, Any]
) -> None:
    less = {"training.batch_tokens": 40, "training.gradient_checkpointing": True}
    start = to_vector(Predictor(make_task(**shape).predictor, seed=3))
    whole, parted = (
        train_locally(start, answers, make_task(**shape, **more)) for more in ({}, less)
    )
    assert np.abs(whole.delta).max() > 1e-4
    assert parted.loss == pytest.approx(whole.loss, rel=1e-3)
    # A step's size does not depend on that of its gradient: where that is next to nothing, it errs.
    agreed = np.dot(parted.delta, whole.delta)
    assert agreed > 0.98 * np.linalg.norm(parted.delta) * np.linalg.norm(whole.delta)
    # The next round says again what it wants.
    predictor = predictor_for(make_task(**shape).predictor)
    train_locally(start, answers, make_task(**shape))
    assert not predictor.encoder.recomputes


def test_no_tokens_below_zero() -> None:
    with pytest.raises(ValueError, match="batch_tokens = -1 must be >= 0: 0 holds a batch"):
        TrainingConfig(batch_tokens=-1)
