"""Baselines that runs report: even shares, the train groups' mean answer, the longer response.

All are computed in one place and without any privacy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.model.prediction import Distribution, Predict

#: Answers that are added to those of every question, spread as what is like it was answered.
PSEUDO_ANSWERS = 1.0

_Options = tuple[str, ...]


def evenly(question: Question) -> Distribution:
    """Even shares of the options of a question."""
    return (1 / len(question.options),) * len(question.options)


def even_shares(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
    """Predict every option alike, whoever asks."""
    return [evenly(question) for question in questions]


def longer_response(question: Question) -> Distribution:
    """Certainty that of two responses the one with more letters wins; one half each of equals."""
    first, second = map(len, question.options)
    share = 0.5 if first == second else float(first > second)
    return share, 1 - share


def longer_wins(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
    """Predict that the longer of two responses wins, whoever asks."""
    return [longer_response(question) for question in questions]


def question_mean(population: Population) -> Predict:
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
        What reads no context; none of its probabilities is 0.
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

    def shares(question: Question) -> Distribution:
        options = question.options
        prior = unknown.get(options, np.full(len(options), 1 / len(options)))
        total = sums.get((question.question_id, options), np.zeros(len(options)))
        shrunk = (total + PSEUDO_ANSWERS * prior) / (total.sum() + PSEUDO_ANSWERS)
        return tuple(shrunk.tolist())

    def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
        return [shares(question) for question in questions]

    return predict
