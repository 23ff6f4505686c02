"""Questions of the built-in survey, and one plain training step on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import torch

from alignment.config import TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.model.encoding import TextEncoder, pad_targets
from alignment.model.predictor import Predictor
from alignment.training.objectives import cross_entropy
from experiments.benchmarks.workloads.plans import sample_population


def sample_answers() -> GroupAnswers:
    """The training answers of the first train group of the built-in survey."""
    population = sample_population()
    return population.split.training_answers(population.answers[population.split.train_groups[0]])


def batch_of(answers: GroupAnswers, size: int) -> GroupAnswers:
    """The first ``size`` questions; where there are fewer, they come round again."""
    ids = itertools.cycle([question.question_id for question in answers.questions])
    return answers.select(list(itertools.islice(ids, size)))


def lengthened(
    answers: GroupAnswers, size: int, *, tokens: int, encoder: TextEncoder
) -> GroupAnswers:
    """The ``size`` questions nearest to a length once one or two other questions precede them."""
    count = len(answers)
    candidates = []
    for i, question in enumerate(answers.questions):
        text = question.text
        for before in (1, 2):
            text = f"{answers.questions[(i + before) % count].text} {text}"
            name = f"{question.question_id} after {before}"
            candidates.append((dataclasses.replace(question, question_id=name, text=text), i))
    candidates.sort(key=lambda item: abs(tokens - len(encoder.sequences(item[0])[0].token_ids)))
    chosen = candidates[:size]
    originals = answers.select([answers.questions[i].question_id for _, i in chosen])
    return dataclasses.replace(originals, questions=tuple(question for question, _ in chosen))


def mean_tokens(answers: GroupAnswers, encoder: TextEncoder) -> float:
    """Mean length of the questions' sequences, in tokens."""
    lengths = [len(s.token_ids) for q in answers.questions for s in encoder.sequences(q)]
    return sum(lengths) / len(lengths)


def training_step(predictor: Predictor, answers: GroupAnswers) -> Callable[[], float]:
    """A step of local training without privacy: gather, forward, backward, AdamW.

    Its loss is that of the prior: the loss in context runs on what the encoder has already made
    of the batch, so it adds to every kind of step alike.

    Returns:
        A function that takes the step, always on the same questions, and returns its loss.
    """
    training = TrainingConfig()
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in predictor.trainable()],
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
    )
    targets = pad_targets(answers.targets, max(map(len, answers.targets)))

    def step() -> float:
        loss = cross_entropy(predictor(predictor.batch(answers.questions)), targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
