"""Predictions of held-out groups: with their own context, with another group's, or with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.data.split import Draw
from alignment.evaluation.metrics import Summary, TargetScore, alignment_score, log_loss, summarise
from alignment.evaluation.pairs import JudgedPair
from alignment.model.prediction import Distribution, Predict

#: Whose answers are shown: the group's own, another group's, or nobody's.
Shown = Literal["own", "swapped", "none"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One prediction beside what the group answered.

    Attributes:
        question: What was asked.
        predicted: Distribution over its options.
        actual: The group's answer, a distribution over the same.
        score: How far they agree.
        answers: How many answers stand behind ``actual``.
    """

    question: Question
    predicted: Distribution
    actual: Distribution
    score: TargetScore
    answers: float


def predict_draws(
    predict: Predict,
    answers: Mapping[str, GroupAnswers],
    draws: Mapping[str, Sequence[Draw]],
    *,
    seen: frozenset[str],
    shown: Shown = "own",
) -> list[Prediction]:
    """Predict all targets of all draws, group by group.

    Args:
        predict: What is measured.
        answers: Of the groups asked about.
        draws: Contexts and targets of each of them.
        seen: Ids of the questions that train groups answered.
        shown: With ``swapped`` a group is predicted from the contexts of the next group of
            ``draws``, answers and questions alike; with ``none`` from an empty one.

    Raises:
        ValueError: Contexts cannot be swapped with fewer than 2 groups, or a group has not
            answered a question of its draws.
    """
    names = list(draws)
    if shown == "swapped" and len(names) < 2:
        raise ValueError(
            f"swapped contexts need 2 held-out groups, there is {len(names)}: hold out more"
        )
    predictions = []
    for place, group in enumerate(names):
        other = names[(place + 1) % len(names)] if shown == "swapped" else group
        contexts = [() if shown == "none" else draw.context for draw in draws[other]]
        for number, draw in enumerate(draws[group]):
            asked = answers[group].select(draw.target)
            context = answers[other].select(contexts[number % len(contexts)])
            predicted = predict(asked.questions, context)
            predictions += _scored(asked, predicted, draw=number, seen=seen)
    return predictions


def _scored(
    asked: GroupAnswers, predicted: Sequence[Distribution], *, draw: int, seen: frozenset[str]
) -> list[Prediction]:
    return [
        Prediction(
            question=question,
            predicted=each,
            actual=actual,
            score=TargetScore(
                group=asked.group,
                draw=draw,
                question_id=question.question_id,
                seen=question.question_id in seen,
                score=alignment_score(each, actual),
                log_loss=log_loss(each, actual),
            ),
            answers=answers,
        )
        for question, actual, answers, each in zip(
            asked.questions, asked.targets, asked.counts, predicted, strict=True
        )
    ]


def predict_held_out(
    predict: Predict, population: Population, *, shown: Shown = "own"
) -> list[Prediction]:
    """Predict all targets of a population's held-out groups; see :func:`predict_draws`."""
    draws, seen = population.split.draws, population.seen
    return predict_draws(predict, population.answers, draws, seen=seen, shown=shown)


def summarise_predictions(predictions: Sequence[Prediction]) -> Summary:
    """Put the scores of predictions together; see :func:`alignment.evaluation.metrics.summarise`.

    Raises:
        ValueError: There is no prediction.
    """
    return summarise([prediction.score for prediction in predictions])


def judged_pairs(predictions: Sequence[Prediction]) -> list[JudgedPair]:
    """Predictions of pairs as :mod:`alignment.evaluation.pairs` puts them together."""
    return [
        JudgedPair(
            group=each.score.group,
            draw=each.score.draw,
            pair=each.score.question_id,
            predicted=each.predicted,
            actual=each.actual,
            answers=each.answers,
        )
        for each in predictions
    ]
