"""Accuracy and calibration of predicted choices. numpy only.

The alignment score compares distributions. Of a single choice, or of two responses of which one
was preferred, people ask other things: how often the likelier answer was given, and whether of
what was called 80 % likely 80 % came about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from alignment.evaluation.metrics import compared

#: Bins of the calibration error, each with about as many predictions as any other.
BINS = 10


def correctness(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """The chance that the likeliest option is the one most often chosen.

    Ties are broken at random on both sides: of a pair, a prediction of one half is half right, and
    so is any prediction where as many chose one response as the other.

    Args:
        predicted: Probabilities.
        actual: Shares of the answers over the same options; a single choice is 1 at one of them.

    Returns:
        Between 0 and 1; its mean over targets is the accuracy against the majority.
    """
    p, q = compared(predicted, actual)
    likeliest, majority = p == p.max(), q == q.max()
    return float((likeliest & majority).sum() / (likeliest.sum() * majority.sum()))


def brier_score(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """Half the squared distance of a prediction to an answer, in the mean over the answers.

    Halved, unlike Brier's own (Brier 1950), so that of a pair it is the squared error of one
    probability: 0 is perfect, one half for each guesses .25, 1 is the worst there is. A proper
    score: where answers differ, the true shares have the lowest one, which is not 0.

    Args:
        predicted: Probabilities, sum 1.
        actual: Shares of the answers over the same options, sum 1.
    """
    p, q = compared(predicted, actual)
    return max(0.0, float(p @ p - 2 * (p @ q) + q.sum()) / 2)


def top_label(predicted: Sequence[float], actual: Sequence[float]) -> tuple[float, float]:
    """The probability of the likeliest option, and the share of the answers that chose it.

    Of options equally likely, the mean share.
    """
    p, q = compared(predicted, actual)
    return float(p.max()), float(q[p == p.max()].mean())


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Predictions of like confidence.

    Attributes:
        count: How many.
        confidence: Their mean confidence.
        outcome: Mean share of the answers that came out as predicted.
    """

    count: int
    confidence: float
    outcome: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Agreement of confidences with outcomes.

    Attributes:
        error: Expected calibration error: mean distance of confidence and outcome over the bins,
            each weighed by its count. Never 0 on a finite sample, however good the confidences.
        by_chance: What ``error`` would be in expectation if every confidence were right and every
            target one independent answer, by the normal approximation: the figure to hold
            ``error`` against.
        bins: The reliability curve, confidence rising.
    """

    error: float
    by_chance: float
    bins: tuple[Bin, ...]


def calibration(
    confidences: Sequence[float], outcomes: Sequence[float], *, bins: int = BINS
) -> Calibration:
    """Compare confidences with outcomes in bins of equal mass (Nguyen and O'Connor 2015).

    Equal confidences are never parted, for which of them came first would decide the figure:
    there may be fewer bins than asked for, and of unequal counts.

    Args:
        confidences: Probability of what was predicted, one per target.
        outcomes: Share of the answers that came out so, within 0 to 1.
        bins: Most bins.

    Raises:
        ValueError: There is no target, or an outcome is missing.
    """
    c, y = np.asarray(confidences, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if c.shape != y.shape or c.size == 0:
        raise ValueError(
            f"{c.size} confidences and {y.size} outcomes: give one outcome for each, at least one"
        )
    if bins < 1:
        raise ValueError(f"bins = {bins} must be at least 1: {BINS} is usual")
    _, value, counts = np.unique(c, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    place = np.floor(middle / c.size * bins).astype(np.int64)[value]
    curve, error, by_chance = [], 0.0, 0.0
    for each in np.unique(place):
        inside = place == each
        found = Bin(
            count=int(inside.sum()),
            confidence=float(c[inside].mean()),
            outcome=float(y[inside].mean()),
        )
        curve.append(found)
        error += found.count / c.size * abs(found.confidence - found.outcome)
        # Mean absolute value of a normal variable: its standard deviation times sqrt(2 / pi).
        variance = float((c[inside] * (1 - c[inside])).sum())
        by_chance += math.sqrt(2 / math.pi * max(0.0, variance)) / c.size
    return Calibration(error=error, by_chance=by_chance, bins=tuple(curve))


@dataclass(frozen=True, kw_only=True)
class JudgedTarget:
    """A prediction beside what was answered.

    Attributes:
        draw: Which draw of the context.
        predicted: Probabilities over the options.
        actual: Shares of the answers.
    """

    draw: int
    predicted: Sequence[float]
    actual: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class ChoiceSummary:
    """Predictions of choices put together: within each draw, then averaged over draws.

    Attributes:
        accuracy: Share of the targets whose likeliest option was the majority's, ties counted half.
        brier: Mean Brier score, halved as in :func:`brier_score`.
        calibration_error: See :class:`Calibration`, of the likeliest option.
        calibration_error_by_chance: The same of confidences that are all right.
    """

    accuracy: float
    brier: float
    calibration_error: float
    calibration_error_by_chance: float


def summarise_choices(targets: Iterable[JudgedTarget]) -> ChoiceSummary:
    """Put predictions together; every target counts alike.

    Raises:
        ValueError: There is no target.
    """
    draws: dict[int, list[JudgedTarget]] = {}
    for target in targets:
        draws.setdefault(target.draw, []).append(target)
    if not draws:
        raise ValueError("no target to summarise: the split has none")
    rows = []
    for each in draws.values():
        tops = [top_label(t.predicted, t.actual) for t in each]
        found = calibration([c for c, _ in tops], [y for _, y in tops])
        right = float(np.mean([correctness(t.predicted, t.actual) for t in each]))
        missed = float(np.mean([brier_score(t.predicted, t.actual) for t in each]))
        rows.append((right, missed, found.error, found.by_chance))
    accuracy, brier, error, by_chance = np.mean(rows, axis=0).tolist()
    return ChoiceSummary(
        accuracy=accuracy,
        brier=brier,
        calibration_error=error,
        calibration_error_by_chance=by_chance,
    )
