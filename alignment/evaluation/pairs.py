"""Accuracy, margin and calibration of predicted preferences between two responses. numpy only.

Of a pair people ask how often the preferred response is told, and by how much. Every figure counts
answers, not pairs: where several annotators of a group answered one pair, each of them counts. What
trl logs as ``rewards/accuracies`` and ``rewards/margins`` is ``accuracy`` and ``margin`` here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from alignment.data.records import Question
from alignment.evaluation.calibration import Bin, Calibration, brier_score, calibration, top_label
from alignment.evaluation.fairness import CONFIDENCE, Estimate
from alignment.evaluation.metrics import LEAST_PROBABILITY, compared, log_loss


def are_pairs(questions: Iterable[Question]) -> bool:
    """Whether all questions are pairs, of which the figures here speak: two responses apart."""
    return all(not each.together and len(each.options) == 2 for each in questions)


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """A prediction of a pair beside what a group answered.

    Attributes:
        group: Whose answers.
        draw: Which draw of the context.
        pair: Name of the pair, the same in all draws.
        predicted: Probabilities of the two responses.
        actual: Shares of the answers that preferred each.
        answers: How many answers stand behind ``actual``, above 0.
    """

    group: str
    draw: int
    pair: str
    predicted: Sequence[float]
    actual: Sequence[float]
    answers: float


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """Figures of some pairs: over the answers of a draw, then over draws.

    Attributes:
        accuracy: Share of the answers on the side of the more probable response, half where the two
            are equally probable, with Wilson's interval over pairs: see :func:`wilson`.
        margin: Mean log-odds of the preferred response, nats: what its score is above that of the
            other. Above 0 where preferences are told; a guess has 0.
        log_loss: Cross-entropy of the answers, nats; a guess has .693.
        brier: Mean Brier score, halved as in
            :func:`alignment.evaluation.calibration.brier_score`; a guess has .25.
        calibration_error: See :class:`alignment.evaluation.calibration.Calibration`.
        calibration_error_by_chance: The same of confidences that are all right, each answer
            counted as independent.
        pairs: How many pairs, of each group, whatever the draws.
        answers: How many answers stand behind them.
    """

    accuracy: Estimate
    margin: float
    log_loss: float
    brier: float
    calibration_error: float
    calibration_error_by_chance: float
    pairs: int
    answers: float


@dataclass(frozen=True, kw_only=True)
class PairSummary(PairFigures):
    """Figures of all pairs, and of each group.

    Attributes:
        worst_group: The lowest accuracy of a group; None of a single one. Its interval holds for
            all groups at once.
        groups: Figures of each group.
        reliability: The reliability curve of the first draw, confidence rising.
    """

    worst_group: Estimate | None
    groups: Mapping[str, PairFigures]
    reliability: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class AccuracySummary:
    """The accuracy of a rule that gives no probabilities.

    Attributes:
        accuracy: As in :class:`PairFigures`.
        worst_group: As in :class:`PairSummary`.
        groups: Accuracy of each group.
    """

    accuracy: Estimate
    worst_group: Estimate | None
    groups: Mapping[str, Estimate]


def margin(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """The log-odds of the preferred response in the mean over answers, nats.

    Args:
        predicted: Probabilities of two responses; each counts as at least ``LEAST_PROBABILITY``.
        actual: Shares of the answers that preferred each.

    Returns:
        Above 0 where more answers are on the side of the more probable response; at most 27.63 in
        size.

    Raises:
        ValueError: There are not two responses.
    """
    p, q = compared(predicted, actual)
    if p.size != 2:
        raise ValueError(f"predicted has {p.size} options: a margin is between the 2 of a pair")
    logs = np.log(np.clip(p, LEAST_PROBABILITY, 1.0))
    return float((logs[0] - logs[1]) * (q[0] - q[1]))


def wilson(share: float, weights: Iterable[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """A share with the interval of Wilson (1927), which keeps a width where all or none are right.

    Answers to one pair hang together, so that the interval counts pairs: of unequal weights as many
    as would be worth the same (Kish 1965), (sum w)^2 / sum w^2.

    Args:
        share: Of the weights, how much is right, within 0 to 1.
        weights: Of each pair, its number of answers.
        confidence: Of the interval, above 0 and below 1.
    """
    w = np.fromiter(weights, dtype=np.float64)
    n = float(w.sum() ** 2 / (w @ w))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Estimate(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half))


def summarise_pairs(pairs: Sequence[JudgedPair]) -> PairSummary:
    """Put predictions of pairs together; see :class:`PairSummary`.

    Raises:
        ValueError: There is no pair.
    """
    if not pairs:
        raise ValueError("no pair to summarise: the split has no targets")
    gathered = by_group(pairs)
    first = min(each.draw for each in pairs)
    return PairSummary(
        **vars(_figures(pairs)),
        worst_group=worst_group(gathered),
        groups={name: _figures(own) for name, own in gathered.items()},
        reliability=_calibrated([each for each in pairs if each.draw == first]).bins,
    )


def summarise_accuracy(pairs: Sequence[JudgedPair]) -> AccuracySummary:
    """Put the choices of a rule together; see :class:`AccuracySummary`.

    Raises:
        ValueError: There is no pair.
    """
    if not pairs:
        raise ValueError("no pair to summarise: the split has no targets")
    gathered = by_group(pairs)
    return AccuracySummary(
        accuracy=accuracy(pairs),
        worst_group=worst_group(gathered),
        groups={name: accuracy(own) for name, own in gathered.items()},
    )


def by_group(pairs: Iterable[JudgedPair]) -> dict[str, list[JudgedPair]]:
    """Pairs by group, in the order in which groups come."""
    gathered: dict[str, list[JudgedPair]] = {}
    for each in pairs:
        gathered.setdefault(each.group, []).append(each)
    return gathered


def accuracy(pairs: Sequence[JudgedPair], *, confidence: float = CONFIDENCE) -> Estimate:
    """The accuracy of some pairs, at least one; see :class:`PairFigures`."""
    share = _over_draws(pairs, lambda each: top_label(each.predicted, each.actual)[1])
    return wilson(share, _answers(pairs).values(), confidence=confidence)


def worst_group(gathered: Mapping[str, Sequence[JudgedPair]]) -> Estimate | None:
    """The lowest accuracy of some groups; None of a single one.

    Each group's interval leaves out so little (Bonferroni) that all hold at once: then the lowest
    of all lies between the lowest of the lower and the lowest of the upper ends, whichever it is.
    """
    if len(gathered) < 2:
        return None
    confidence = 1 - (1 - CONFIDENCE) / len(gathered)
    found = [accuracy(own, confidence=confidence) for own in gathered.values()]
    return Estimate(
        value=min(each.value for each in found),
        low=min(each.low for each in found if each.low is not None),
        high=min(each.high for each in found if each.high is not None),
    )


def _figures(pairs: Sequence[JudgedPair]) -> PairFigures:
    found = [_calibrated(each) for each in _by_draw(pairs).values()]
    answers = _answers(pairs)
    return PairFigures(
        accuracy=accuracy(pairs),
        margin=_over_draws(pairs, lambda each: margin(each.predicted, each.actual)),
        log_loss=_over_draws(pairs, lambda each: log_loss(each.predicted, each.actual)),
        brier=_over_draws(pairs, lambda each: brier_score(each.predicted, each.actual)),
        calibration_error=float(np.mean([each.error for each in found])),
        calibration_error_by_chance=float(np.mean([each.by_chance for each in found])),
        pairs=len(answers),
        answers=sum(answers.values()),
    )


def _calibrated(pairs: Sequence[JudgedPair]) -> Calibration:
    """Confidences and outcomes, a pair once for each of its answers."""
    tops = np.array([top_label(each.predicted, each.actual) for each in pairs])
    times = [max(1, round(each.answers)) for each in pairs]
    confidences, outcomes = np.repeat(tops, times, axis=0).T.tolist()
    return calibration(confidences, outcomes)


def _answers(pairs: Iterable[JudgedPair]) -> dict[tuple[str, str], float]:
    """The number of answers of each group to each pair, once whatever the draws."""
    return {(each.group, each.pair): each.answers for each in pairs}


def _by_draw(pairs: Iterable[JudgedPair]) -> dict[int, list[JudgedPair]]:
    draws: dict[int, list[JudgedPair]] = {}
    for each in pairs:
        draws.setdefault(each.draw, []).append(each)
    return draws


def _over_draws(pairs: Sequence[JudgedPair], figure: Callable[[JudgedPair], float]) -> float:
    """Mean of a figure over the answers of each draw, then over draws."""
    means = []
    for each in _by_draw(pairs).values():
        weights = [pair.answers for pair in each]
        means.append(np.average([figure(pair) for pair in each], weights=weights))
    return float(np.mean(means))
