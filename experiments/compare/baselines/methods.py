"""What every method of a comparison is: something fitted to train groups that answers for others.

A baseline is one class in one file: :class:`Baseline` says what it must have. It is fitted to what
the train groups may train on and to nothing else, and is then asked about held-out groups with
some of their own answers as context, on the same targets as everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.evaluation.evaluation import Shown
from alignment.evaluation.metrics import TargetScore, alignment_score, log_loss

Distribution: TypeAlias = tuple[float, ...]
#: From questions and a group's answers to others (its context) to a distribution for each.
Predict: TypeAlias = Callable[[Sequence[Question], GroupAnswers], list[Distribution]]


class Watch(Protocol):
    """Told how far a method is, and what it would predict if it stopped here."""

    def __call__(self, done: int, rounds: int, predict: Predict) -> None:
        """Take note of the rounds done, of how many; nothing is learned from it."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A method that has learned what it will.

    Attributes:
        predict: What it says of a group; the context is all it is told of it.
        parameters: That were trained.
        rounds: Of a federation; None where data were gathered in one place.
        bytes_up_per_client_per_round: What a group sends in a round; None as ``rounds``.
        steps: Of the optimiser, of every client; None where there is none.
    """

    predict: Predict
    parameters: int = 0
    rounds: int | None = None
    bytes_up_per_client_per_round: int | None = None
    steps: int | None = None


class Baseline(Protocol):
    """A method to be compared with."""

    @property
    def title(self) -> str:
        """What it is called in tables, a few words."""

    @property
    def reads_context(self) -> bool:
        """Whether what it predicts depends on the context at all."""

    @property
    def settings(self) -> dict[str, object]:
        """All that its predictions hang on besides data and seed, as JSON: a change refits it."""

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        """Learn from the train groups.

        Args:
            population: As :func:`training_part` leaves it: without any held-out group.
            seed: Draws whatever is drawn.
            watch: To be told after every round, where there are several.
        """


def training_part(population: Population) -> Population:
    """A population without what a method must not learn from: held-out groups, unseen questions."""
    split = population.split
    return Population(
        answers={
            group: split.training_answers(population.answers[group]) for group in split.train_groups
        },
        split=replace(split, draws={}),
        records={},
        skipped=(),
    )


def measure(predict: Predict, population: Population, *, shown: Shown = "own") -> list[TargetScore]:
    """Score a method on all targets of all draws, as an ``Evaluator`` does.

    Args:
        predict: The method.
        population: Whose held-out groups are asked about.
        shown: With ``swapped`` a group is read with the contexts of the next held-out group; with
            ``none`` it is asked with an empty context.

    Raises:
        ValueError: Contexts cannot be swapped with fewer than 2 held-out groups.
    """
    split, seen = population.split, population.seen
    names = list(split.draws)
    if shown == "swapped" and len(names) < 2:
        raise ValueError(
            f"swapped contexts need 2 held-out groups, there is {len(names)}: hold out more"
        )
    scores = []
    for place, group in enumerate(names):
        other = names[(place + 1) % len(names)] if shown == "swapped" else group
        foreign = split.draws[other]
        for number, draw in enumerate(split.draws[group]):
            context = () if shown == "none" else foreign[number % len(foreign)].context
            asked = population.answers[group].select(draw.target)
            predictions = predict(asked.questions, population.answers[other].select(context))
            for question, actual, predicted in zip(
                asked.questions, asked.targets, predictions, strict=True
            ):
                score = TargetScore(
                    group=group,
                    draw=number,
                    question_id=question.question_id,
                    seen=question.question_id in seen,
                    score=alignment_score(predicted, actual),
                    log_loss=log_loss(predicted, actual),
                )
                scores.append(score)
    return scores
