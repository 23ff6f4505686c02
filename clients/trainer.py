"""Local training: some epochs over a group's questions, and what they changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alignment.adapter import load_vector, to_vector
from alignment.answers import GroupAnswers
from alignment.config import PredictorConfig, TrainingConfig
from alignment.encoding import pad_targets
from alignment.objectives import cross_entropy
from alignment.predictor import ABSENT, Predictor
from alignment.records import Question
from strategies.round_plan import RoundPlan


@dataclass(frozen=True, kw_only=True)
class LocalUpdate:
    """What local training changed. Not private: only the privatizer may pass it on.

    Attributes:
        delta: (d,) float32, trained vector minus the vector received.
        loss: Mean cross-entropy over the steps, in nats.
    """

    delta: NDArray[np.float32]
    loss: float


#: Batches that are shuffled together before questions of like length are put side by side.
_MIXED_BATCHES = 4


@lru_cache(maxsize=1)
def predictor_for(config: PredictorConfig) -> Predictor:
    """The predictor of this process, built once: its weights are set anew for every message."""
    return Predictor(config)


def _batches(
    lengths: Sequence[int], training: TrainingConfig, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Shuffled passes over the questions, as many steps as the epochs asked for.

    Within a few batches, questions of like length go together: less padding, a third less time.
    """
    count = len(lengths)
    size = min(training.batch_size, count)
    steps = max(1, round(training.local_epochs * count / size))
    order: list[int] = []
    while steps > 0:
        while len(order) < min(steps, _MIXED_BATCHES) * size:
            order += generator.permutation(count).tolist()
        take = min(steps, _MIXED_BATCHES)
        window = sorted(order[: take * size], key=lengths.__getitem__)
        del order[: take * size]
        for batch in generator.permutation(take):
            yield window[batch * size : (batch + 1) * size]
        steps -= take


def _scorer(predictor: Predictor, plan: RoundPlan) -> Callable[[Sequence[Question]], Tensor]:
    """Scores with gradients: through adapters and head, or through the head alone."""
    if plan.train_adapter:
        return lambda questions: predictor(predictor.batch(questions))

    def score_with_head(questions: Sequence[Question]) -> Tensor:
        pooled, present = predictor.pooled_now(questions)
        scores: Tensor = predictor.head(pooled)
        return scores.masked_fill(~present, ABSENT)

    return score_with_head


def _optimizer(
    predictor: Predictor, training: TrainingConfig, plan: RoundPlan
) -> torch.optim.Optimizer:
    scale = plan.learning_rate_scale
    head = [p for name, p in predictor.trainable() if name.startswith("head.")]
    groups = [{"params": head, "lr": scale * training.learning_rate}]
    adapter = [p for name, p in predictor.trainable() if not name.startswith("head.")]
    if plan.train_adapter and adapter:
        groups.append({"params": adapter, "lr": scale * training.adapter_learning_rate})
    return torch.optim.AdamW(groups, weight_decay=training.weight_decay)


def _generator(plan: RoundPlan, group: str) -> np.random.Generator:
    """Batches of a run without privacy: reproducible by seed, round and group."""
    name = hashlib.sha256(group.encode()).digest()[:8]
    return np.random.default_rng([plan.seed, plan.round, int.from_bytes(name, "big")])


def train_locally(
    vector: NDArray[np.float32], answers: GroupAnswers, plan: RoundPlan
) -> LocalUpdate:
    """Train from a global vector on a group's answers.

    Args:
        vector: (d,) float32, where all groups start.
        answers: What to learn from; a question counts as often as it was answered.
        plan: What the server asks for.

    Raises:
        ValueError: The vector does not fit the predictor, or training diverged.
    """
    predictor = predictor_for(PredictorConfig(**plan.predictor))  # type: ignore[arg-type]
    training = TrainingConfig(**plan.training)  # type: ignore[arg-type]
    load_vector(predictor, vector)
    score = _scorer(predictor, plan)
    optimizer = _optimizer(predictor, training, plan)
    weights = torch.tensor(answers.counts, dtype=torch.float32)
    weights /= weights.mean()
    lengths = [len(question.text) for question in answers.questions]
    losses = []
    for batch in _batches(lengths, training, _generator(plan, answers.group)):
        scores = score([answers.questions[i] for i in batch])
        targets = pad_targets([answers.targets[i] for i in batch], scores.shape[1])
        loss = (weights[batch] * cross_entropy(scores, targets)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    delta = to_vector(predictor) - vector
    if not np.isfinite(delta).all():
        raise ValueError("training diverged: lower training.learning_rate")
    return LocalUpdate(delta=delta, loss=float(np.mean(losses)))
