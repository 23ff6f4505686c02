"""Weights of units and groups in training, after q-FFL (Li et al. 2020).

Whoever is predicted badly counts more, and none more than 1 (https://arxiv.org/abs/1905.10497). The
weight depends on the loss above the entropy of the answers, which no prediction undercuts: q-FFL
assumes losses that can fall to 0, and without the entropy, divided answers would pass for badly
predicted ones. The reference is the loss of guessing. It needs no data of others, so a weight is a
function of one unit alone: where a unit is left out, the weights of all others stay as they are,
and with the weight inside the clip so does the sensitivity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Least weight of a whole group, so that none is silenced: it rides in a sum of integers, where a
#: weight near 0 would have no digits left.
LEAST_GROUP_WEIGHT = 2.0**-10

#: Shares of the options in one answer, or in the answers of many; sum 1.
_Target = Sequence[float]


def entropy(targets: Sequence[_Target], counts: Sequence[float] | None = None) -> float:
    """The mean entropy of answers, in nats: 0 where each is one option.

    Args:
        targets: At least one.
        counts: How much each of them counts; all alike without.
    """
    each = [-math.fsum(p * math.log(p) for p in target if p > 0) for target in targets]
    return _mean(each, counts)


def guessing_loss(targets: Sequence[_Target], counts: Sequence[float] | None = None) -> float:
    """The mean loss of guessing every option alike, in nats: the logarithm of how many there are.

    Args:
        targets: At least one.
        counts: How much each of them counts; all alike without.
    """
    return _mean([math.log(len(target)) for target in targets], counts)


def _mean(values: Sequence[float], counts: Sequence[float] | None) -> float:
    shares = [1.0] * len(values) if counts is None else counts
    return math.fsum(map(math.prod, zip(shares, values, strict=True))) / math.fsum(shares)


def fairness_weight(excess: float, *, reference: float, strength: float) -> float:
    """``min(1, (excess / reference) ** strength)``, between 0 and 1 whatever the numbers.

    Deviates from q-FFL where the reference is reached: the weight stays 1, for a larger one would
    widen what one unit may contribute. Computed in scalars: a vectorised power may round
    differently from place to place of an array, and a weight must not depend on companions.

    Args:
        excess: Loss above the entropy of the answers, in nats. Infinite counts as 1; NaN, and what
            no loss can be, as 0.
        reference: The same of guessing.
        strength: q, at least 0; with 0 every weight is exactly 1.
    """
    if strength == 0 or excess >= reference:
        return 1.0
    return math.pow(excess / reference, strength) if excess > 0 else 0.0


def unit_weights(
    answers: Sequence[Sequence[_Target]], losses: Sequence[float], *, strength: float
) -> NDArray[np.float64]:
    """The weights of the rows of a micro-batch, (rows,) float64.

    Args:
        answers: Of each unit, the targets of the records that count; no more units than rows.
        losses: Of every row, its mean over them.
        strength: q; see :func:`fairness_weight`.

    Returns:
        Of each unit a function of its own answers and loss; 0 where a row has no unit, or a unit
        no record that counts.
    """
    weights = np.zeros(len(losses))
    for row, targets in enumerate(answers):
        if not targets:
            continue
        floor = entropy(targets)
        weights[row] = fairness_weight(
            losses[row] - floor, reference=guessing_loss(targets) - floor, strength=strength
        )
    return weights


def group_weight(
    targets: Sequence[_Target], counts: Sequence[float], losses: Sequence[float], *, strength: float
) -> float:
    """The weight of a whole group, at least ``LEAST_GROUP_WEIGHT``.

    Args:
        targets: Its answers, question by question.
        counts: How much each question counts.
        losses: Of each question.
        strength: q; see :func:`fairness_weight`.

    Raises:
        ValueError: A loss is not a number.
    """
    loss, floor = _mean(losses, counts), entropy(targets, counts)
    if math.isnan(loss):
        raise ValueError("the loss is not a number: lower training.learning_rate")
    reference = guessing_loss(targets, counts) - floor
    weight = fairness_weight(loss - floor, reference=reference, strength=strength)
    return max(LEAST_GROUP_WEIGHT, weight)
