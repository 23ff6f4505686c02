"""Yardsticks to hold a trained predictor against, computed without any privacy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from alignment.data.population import Population
from alignment.data.records import Question
from alignment.evaluation.evaluation import Prediction
from alignment.evaluation.metrics import Summary, summarise

#: Answers that are added to those of every question, spread as what is like it was answered.
PSEUDO_ANSWERS = 1.0

_Options = tuple[str, ...]


def question_mean(population: Population) -> Callable[[Question], tuple[float, ...]]:
    """Predict every question by the mean answer of the train groups, whoever asks.

    Computed from the train groups' answers in one place and without any privacy: a yardstick to
    hold a trained predictor against, not a release.

    A question's mean counts every record once, so that large groups weigh more, and is shrunk by
    ``PSEUDO_ANSWERS`` towards the mean over all train questions that offer the same options in the
    same order, each question counted once and even shares as one more: with ``n`` records of mean
    ``m`` and that mean ``a`` it is ``(n m + a) / (n + 1)``. A question that no train group trains
    on is predicted by ``a``, and by even shares where nothing offers its options.

    Args:
        population: Its train groups' training answers are all that is looked at.

    Returns:
        A function from a question to a distribution over its options; none of it is 0.
    """
    sums: dict[tuple[str, _Options], NDArray[np.float64]] = {}
    for group in population.split.train_groups:
        answers = population.split.training_answers(population.answers[group])
        rows = zip(answers.questions, answers.targets, answers.counts, strict=True)
        for question, target, count in rows:
            key = (question.question_id, question.options)
            answered = count * np.asarray(target, dtype=np.float64)
            sums[key] = sums[key] + answered if key in sums else answered
    alike: dict[_Options, list[NDArray[np.float64]]] = {}
    for (_, options), total in sums.items():
        means = alike.setdefault(options, [np.full(len(options), 1 / len(options))])
        means.append(total / total.sum())
    unknown = {options: np.mean(each, axis=0) for options, each in alike.items()}

    def predict(question: Question) -> tuple[float, ...]:
        options = question.options
        prior = unknown.get(options, np.full(len(options), 1 / len(options)))
        total = sums.get((question.question_id, options), np.zeros(len(options)))
        shrunk = (total + PSEUDO_ANSWERS * prior) / (total.sum() + PSEUDO_ANSWERS)
        return tuple(shrunk.tolist())

    return predict


def question_mean_summary(predictions: Sequence[Prediction], population: Population) -> Summary:
    """Score :func:`question_mean` on the targets of given predictions, each as often as given.

    Computed without privacy: a yardstick, not a release.

    Raises:
        ValueError: There is no prediction.
    """
    predict = question_mean(population)
    groups = dict.fromkeys(prediction.score.group for prediction in predictions)
    answered = {
        (group, question.question_id): (question, target)
        for group in groups
        for question, target in zip(
            population.answers[group].questions, population.answers[group].targets, strict=True
        )
    }
    scores = []
    for prediction in predictions:
        score = prediction.score
        question, actual = answered[score.group, score.question_id]
        scores.append(score.of_another(predict(question), actual))
    return summarise(scores)
