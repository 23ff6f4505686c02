"""Local training: some epochs over a group's questions, and what they changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alignment.config import PredictorConfig, TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.model.context import ABSENT, read_context
from alignment.model.encoders.device import compute_device
from alignment.model.encoding import pad_targets, within_tokens
from alignment.model.heads import Dropout
from alignment.model.predictor import Predictor, tokens_in
from alignment.model.vector import learning_rates, load_vector, part_of, to_vector
from alignment.training.objectives import cross_entropy
from alignment.training.weighting import group_weight
from clients.task import RoundTask
from clients.training.updates import LocalUpdate

#: Batches that are shuffled together before questions of like length are put side by side.
_MIXED_BATCHES = 4


def predictor_for(config: PredictorConfig) -> Predictor:
    """The predictor of this process, built once: its weights are set anew for every message."""
    return _predictor_on(config, compute_device())


@lru_cache(maxsize=1)
def _predictor_on(config: PredictorConfig, _: torch.device) -> Predictor:
    return Predictor(config)


def _batches(
    lengths: Sequence[int], training: TrainingConfig, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Shuffled passes over the questions, as many steps as asked for.

    Within a few batches, questions of like length go together: less padding, a third less time.
    """
    count = len(lengths)
    size = min(training.batch_size, count)
    steps = training.local_steps or max(1, round(training.local_epochs * count / size))
    order: list[int] = []
    while steps > 0:
        if len(order) < size:
            # What is left of a pass begins the next one, so that no question is missed.
            order += [i for i in generator.permutation(count).tolist() if i not in order]
        take = min(steps, _MIXED_BATCHES, len(order) // size)
        window = sorted(order[: take * size], key=lengths.__getitem__)
        del order[: take * size]
        for batch in generator.permutation(take):
            yield window[batch * size : (batch + 1) * size]
        steps -= take


def _optimizer(predictor: Predictor, task: RoundTask, share: float) -> torch.optim.Optimizer:
    """AdamW at a share of the rates that the task asks for."""
    training = task.training
    groups: list[dict[str, Any]] = []
    for part, rate in learning_rates(training, train_adapter=task.train_adapter).items():
        own = [parameter for name, parameter in predictor.trainable() if part_of(name) == part]
        decay = training.context_weight_decay if part == "directions" else training.weight_decay
        if own:
            groups.append({"params": own, "lr": rate, "weight_decay": decay})
    if not groups:
        raise ValueError(
            "the round trains a head alone and a causal model has none: "
            "federation.warmup_rounds = 0"
        )
    for group in groups:
        group["lr"] *= task.learning_rate_scale * share
    return torch.optim.AdamW(groups)


def _proximal_pull(optimizer: torch.optim.Optimizer, weight: float) -> Callable[[], None]:
    """Adds to gradients what pulls parameters back to where they are now."""
    if weight == 0:
        return lambda: None
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    start = [parameter.detach().clone() for parameter in trained]

    @torch.no_grad()
    def pull() -> None:
        for parameter, first in zip(trained, start, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - first, alpha=weight)

    return pull


def _generator(task: RoundTask, group: str) -> np.random.Generator:
    """Batches of a run without privacy: reproducible by seed, round and group."""
    name = hashlib.sha256(group.encode()).digest()[:8]
    return np.random.default_rng([task.seed, task.round, int.from_bytes(name, "big")])


class LocalObjective:
    """The losses of one client's steps, and the steps.

    Args:
        predictor: What learns.
        answers: What it learns from.
        task: What the server asks for.
        generator: Draws the questions that are shown, and what is dropped.
    """

    def __init__(
        self,
        predictor: Predictor,
        answers: GroupAnswers,
        task: RoundTask,
        generator: np.random.Generator,
    ) -> None:
        self._predictor = predictor
        self._answers = answers
        self._task = task
        self._train_adapter = task.train_adapter
        self._training = task.training
        self._context = task.context
        self._generator = generator
        chance = torch.Generator().manual_seed(int(generator.integers(2**63)))
        self._dropout = Dropout(self._training.dropout, chance)
        weights = torch.tensor(answers.counts, dtype=torch.float32)
        self._weights = weights / weights.mean()
        self._evidence = answers.evidence(self._context.single_choice)

    def steps(self, batches: Iterable[Sequence[int]]) -> Iterator[float]:
        """Train from where the predictor is, a step on each batch of questions.

        Yields:
            Of each step, once it is taken, the mean cross-entropy of the prior before it.
        """
        optimizer = _optimizer(self._predictor, self._task, self._answers.learning_share())
        pull = _proximal_pull(optimizer, self._training.proximal)
        for batch in batches:
            optimizer.zero_grad()
            prior = 0.0
            for loss, prior_loss in self.losses(batch):
                loss.backward()
                prior += prior_loss
            pull()
            optimizer.step()
            yield prior

    def losses(self, batch: Sequence[int]) -> Iterator[tuple[Tensor, float]]:
        """What to minimise of a batch of questions, in parts that are held one after the other.

        Yields:
            Of each part its share of the loss, and of the mean cross-entropy of the prior.
        """
        parts = [list(batch)]
        if self._training.batch_tokens and self._train_adapter:
            parts = list(
                within_tokens(
                    batch,
                    self._tokens,
                    tokens=self._training.batch_tokens,
                    most=len(batch),
                )
            )
        for part in parts:
            loss, prior = self._loss(part)
            share = len(part) / len(batch)
            yield share * loss, share * prior

    def _tokens(self, place: int) -> int:
        return tokens_in(self._answers.questions[place], encoder=self._predictor.questions)

    def _loss(self, batch: Sequence[int]) -> tuple[Tensor, float]:
        """What to minimise, and the mean cross-entropy of the prior, of questions held together."""
        pooled, present = self._pooled(batch)
        scores = self._predictor.head(pooled, self._dropout).masked_fill(~present, ABSENT)
        targets = self._targets(batch, present.shape[1])
        prior = (self._weights[batch] * cross_entropy(scores, targets)).mean()
        weight = self._training.context_weight
        if weight == 0 or not self._predictor.head.reads_context:
            return prior, prior.item()
        in_context = self._loss_in_context(batch, pooled.detach(), present, targets)
        return prior + weight * in_context, prior.item()

    @torch.no_grad()
    def weight(self) -> float:
        """How much the group counts: by the mean loss of the prior over its answers, as it is now.

        Takes a pass over all questions, which is spared where all groups count alike.
        """
        training, answers = self._training, self._answers
        if training.fairness == 0:
            return 1.0
        losses: list[float] = []
        places = range(len(answers))
        for start in places[:: training.batch_size]:
            batch = places[start : start + training.batch_size]
            pooled, present = self._pooled(batch)
            scores = self._predictor.head(pooled).masked_fill(~present, ABSENT)
            losses += cross_entropy(scores, self._targets(batch, present.shape[1])).tolist()
        return group_weight(answers.targets, answers.counts, losses, strength=training.fairness)

    def _pooled(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pooled options: with gradients for the adapters, or remembered where they are frozen."""
        questions = [self._answers.questions[i] for i in batch]
        if not (self._train_adapter and self._predictor.config.adapted):
            return self._predictor.pooled_now(questions)
        gathered = self._predictor.batch(questions)
        return self._predictor.pooled(gathered), gathered.present

    def _targets(self, batch: Sequence[int], width: int) -> Tensor:
        return pad_targets([self._answers.targets[i] for i in batch], width)

    def _loss_in_context(
        self, batch: Sequence[int], pooled: Tensor, present: Tensor, targets: Tensor
    ) -> Tensor:
        """Cross-entropy of the batch when others of the group's answers are shown."""
        asked = self._predictor.head.prior(pooled, present)
        others = np.setdiff1d(np.arange(len(self._answers)), batch)
        if not self._train_adapter and len(others) > 0:
            shown = self._generator.permutation(others)[: self._training.context_questions]
            rows = shown.tolist()
            context = self._predictor.head.prior(*self._pooled(rows))
            answers = self._targets(rows, context.present.shape[1])
            evidence = [self._evidence[i] for i in rows]
            reading = read_context(
                context, answers, self._context, evidence=evidence, to_the_mode=False
            )
            return cross_entropy(reading.scores(asked), targets).mean()
        # There are no others, or they would have to be encoded anew in each step: the halves of
        # the batch are shown to each other.
        if len(batch) < 2:
            return torch.zeros(())
        halves = [range(0, len(batch), 2), range(1, len(batch), 2)]
        total = torch.zeros(())
        for these, those in (halves, halves[::-1]):
            reading = read_context(
                asked.at(those),
                targets[list(those)],
                self._context,
                evidence=[self._evidence[batch[i]] for i in those],
                to_the_mode=False,
            )
            scores = reading.scores(asked.at(these))
            total = total + cross_entropy(scores, targets[list(these)]).sum()
        return total / len(batch)


def train_locally(
    vector: NDArray[np.float32], answers: GroupAnswers, task: RoundTask
) -> LocalUpdate:
    """Train from a global vector on a group's answers.

    Args:
        vector: (d,) float32, where all groups start.
        answers: What to learn from; a question counts as often as it was answered, and noised
            answers are learned from at a share of the rates.
        task: What the server asks for.

    Raises:
        ValueError: The vector does not fit the predictor, or training diverged.
    """
    predictor = predictor_for(task.predictor)
    load_vector(predictor, vector)
    predictor.encoder.recomputes = task.training.gradient_checkpointing
    generator = _generator(task, answers.group)
    objective = LocalObjective(predictor, answers, task, generator)
    lengths = [len(question.text) for question in answers.questions]
    weight = objective.weight()
    losses = list(objective.steps(_batches(lengths, task.training, generator)))
    delta = to_vector(predictor) - vector
    if not np.isfinite(delta).all():
        raise ValueError("training diverged: lower training.learning_rate")
    return LocalUpdate(delta=delta, loss=float(np.mean(losses)), weight=weight)
