"""Yardsticks for a predictor of pairs: the length of responses, and a frozen encoder.

All of them are fitted in one place and without privacy, on the pairs of the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from alignment.data.answers import tally
from alignment.data.conversations import Conversation
from alignment.data.records import PairRecord, Question
from experiments.pairs.folds import PairFold, dialogue_of
from experiments.simulation.baseline import longer_response

_Floats = NDArray[np.float64]

#: Weights of the squared coefficients to choose from, beside the mean log-loss.
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_INNER_FOLDS = 4
#: Keeps the coefficients finite where the lengths tell all.
_LEAST_PENALTY = 1e-4


@dataclass(frozen=True, kw_only=True)
class PairTarget:
    """One target of prediction: how a group answers a pair.

    Attributes:
        fold: The fold in which it is held out, from 0.
        group: The group.
        question: Prompt and responses.
        share: Of the group's annotators, how many prefer the first response.
        dialogue: Name of what the prompt belongs to.
    """

    fold: int
    group: str
    question: Question
    share: float
    dialogue: str


def targets_of(records: Sequence[PairRecord], folds: Sequence[PairFold]) -> tuple[PairTarget, ...]:
    """All targets of a study, each with the fold that predicts it."""
    fold_of = {id: k for k, fold in enumerate(folds) for id in fold.split.unseen_questions}
    return tuple(
        PairTarget(
            fold=fold_of[question.question_id],
            group=group,
            question=question,
            share=target[0],
            dialogue=dialogue_of(
                Conversation(question.turns.prompt) if question.turns else question.text
            ),
        )
        for group, answers in tally(records).items()
        for question, target in zip(answers.questions, answers.targets, strict=True)
    )


def longer_wins(targets: Sequence[PairTarget]) -> _Floats:
    """1 where the first response has more letters, 0 where the second has, one half else."""
    return np.array([longer_response(target.question)[0] for target in targets])


def length_features(targets: Sequence[PairTarget]) -> _Floats:
    """Difference of the lengths in hundreds of letters, and of their logarithms: (targets, 2)."""
    lengths = _lengths(targets)
    logs = np.log(lengths)
    return np.stack([(lengths[:, 0] - lengths[:, 1]) / 100, logs[:, 0] - logs[:, 1]], axis=1)


def _lengths(targets: Sequence[PairTarget]) -> _Floats:
    return np.array([[len(option) for option in t.question.options] for t in targets], dtype=float)


def fit_pairs(
    differences: _Floats, shares: _Floats, *, penalty: float, start: _Floats | None = None
) -> _Floats:
    """Fit a linear Bradley-Terry model: the score of a response is linear in its features.

    Args:
        differences: (pairs, d), features of the first response minus those of the second. There is
            no intercept: which response comes first means nothing.
        shares: (pairs,), how many prefer the first.
        penalty: Weight of half the squared coefficients beside the mean log-loss.
        start: Where to begin.

    Returns:
        (d,) coefficients.
    """

    def loss(weights: _Floats) -> tuple[float, _Floats]:
        scores = differences @ weights
        value = np.mean(np.logaddexp(0, scores) - shares * scores) + penalty / 2 * weights @ weights
        slope = differences.T @ (_sigmoid(scores) - shares) / len(shares) + penalty * weights
        return float(value), slope

    begin = np.zeros(differences.shape[1]) if start is None else start
    weights: _Floats = minimize(loss, begin, jac=True, method="L-BFGS-B").x
    return weights


def _sigmoid(scores: _Floats) -> _Floats:
    half: _Floats = np.tanh(scores / 2)
    return (1 + half) / 2


def cross_predict(
    differences: _Floats, targets: Sequence[PairTarget], *, penalties: Sequence[float]
) -> _Floats:
    """Predict every target by a linear Bradley-Terry model fitted on the other folds.

    Of several penalties the one is taken whose log-loss is least over an inner cross-validation
    within those other folds, again over dialogues.

    Returns:
        (targets,) the chance that the first response is preferred.
    """
    shares = np.array([target.share for target in targets])
    folds = np.array([target.fold for target in targets])
    _, dialogues = np.unique([target.dialogue for target in targets], return_inverse=True)
    predicted = np.full(len(targets), np.nan)
    for fold in np.unique(folds):
        train = np.flatnonzero(folds != fold)
        penalty = penalties[0]
        if len(penalties) > 1:
            penalty = _choose(
                differences[train], shares[train], dialogues[train], penalties, seed=int(fold)
            )
        weights = fit_pairs(differences[train], shares[train], penalty=penalty)
        predicted[folds == fold] = _sigmoid(differences[folds == fold] @ weights)
    return predicted


def _choose(
    differences: _Floats,
    shares: _Floats,
    dialogues: NDArray[np.int64],
    penalties: Sequence[float],
    *,
    seed: int,
) -> float:
    names = np.unique(dialogues)
    hand = np.random.default_rng([seed, 2]).permutation(len(names)) % _INNER_FOLDS
    inner = hand[np.searchsorted(names, dialogues)]
    losses = np.zeros(len(penalties))
    for fold in np.unique(inner):
        train, held_out = inner != fold, inner == fold
        weights = None
        for place, penalty in enumerate(penalties):
            weights = fit_pairs(differences[train], shares[train], penalty=penalty, start=weights)
            scores = differences[held_out] @ weights
            losses[place] += np.sum(np.logaddexp(0, scores) - shares[held_out] * scores)
    return penalties[int(np.argmin(losses))]


def length_model(targets: Sequence[PairTarget]) -> _Floats:
    """Predict by a logistic regression on the lengths, fitted on the other folds."""
    return cross_predict(length_features(targets), targets, penalties=(_LEAST_PENALTY,))


def frozen_model(pooled: _Floats, targets: Sequence[PairTarget]) -> _Floats:
    """Predict by a linear Bradley-Terry model on what a frozen encoder makes of responses.

    Args:
        pooled: (targets, 2, d), features of both responses, each read alone after the prompt.
        targets: In the same order.
    """
    return cross_predict(pooled[:, 0] - pooled[:, 1], targets, penalties=PENALTIES)
