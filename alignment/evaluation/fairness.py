"""Fairness between groups: figures over their mean scores, each with an interval. numpy only.

Two kinds of intervals answer two questions. For *other groups like these*, whole groups are
resampled, which covers the differences between questions within a group too (Davison and Hinkley
1997, section 3.8). For *these very groups*, the best and the worst of them, their questions and
draws are reweighted: resampled groups could never be worse than the worst, and an interval that
begins at the figure itself would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment.evaluation.metrics import TargetScore

CONFIDENCE = 0.95
#: Times that groups, or questions and draws, are drawn anew.
RESAMPLES = 2000
#: Of fewer groups a lowest tenth is hardly more than the worst.
FEWEST_FOR_A_TENTH = 20
#: One minus the largest Jensen-Shannon distance.
_LEAST = 1 - math.sqrt(math.log(2))

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with the ends of its interval at ``CONFIDENCE``; None where nothing tells of it."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Fairness:
    """Figures over the groups' mean scores, each group counted once.

    A group's score is itself measured on some questions only. So its chance is part of what the
    groups differ by, and of groups with few questions it is most of it.

    Attributes:
        groups: Score of each group, with a percentile interval over its questions and draws.
        mean: Over groups; unlike ``Summary.mean``, which counts every target.
        worst_group: The lowest score. It, ``best_group`` and ``spread`` have their intervals from a
            band that holds for all groups at once; none where a group has a single question.
        best_group: The highest.
        spread: Highest less lowest.
        standard_deviation: Over groups. It and what follows, and the mean, have percentile
            intervals over groups drawn anew, which of fewer than ten or so are too narrow.
        cov: Standard deviation over mean, the coefficient of variation.
        jain_index: (sum x)^2 / (n sum x^2), which is 1 / (1 + cov^2) and 1 where all are alike
            (Jain, Chiu and Hawe 1984).
        lowest_tenth: Mean of the lowest tenth of groups; None below ``FEWEST_FOR_A_TENTH``.
    """

    groups: Mapping[str, Estimate]
    mean: Estimate
    worst_group: Estimate
    best_group: Estimate
    spread: Estimate
    standard_deviation: Estimate
    cov: Estimate
    jain_index: Estimate
    lowest_tenth: Estimate | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """The score of one group, and what it would be with its questions and draws weighed anew."""

    value: float
    again: Array | None


def measure_fairness(scores: Sequence[TargetScore], generator: np.random.Generator) -> Fairness:
    """Put scores together by group; see :class:`Fairness`.

    Args:
        scores: Of all targets of all groups.
        generator: Draws anew; equal ones give equal intervals, in whatever order scores come.

    Raises:
        ValueError: There is no score.
    """
    measured = _by_group(scores, generator)
    values = np.array([each.value for each in measured.values()])
    worst, best, spread = _extremes(list(measured.values()))
    drawn = values[generator.integers(len(values), size=(RESAMPLES, len(values)))]

    def over_groups(figure: Callable[[Array], Array]) -> Estimate:
        again = figure(drawn) if len(values) > 1 else None
        return _percentiles(float(figure(values[None])[0]), again)

    return Fairness(
        groups={name: _percentiles(each.value, each.again) for name, each in measured.items()},
        mean=over_groups(_mean),
        worst_group=worst,
        best_group=best,
        spread=spread,
        standard_deviation=over_groups(_deviation),
        cov=over_groups(lambda x: _deviation(x) / _mean(x)),
        jain_index=over_groups(lambda x: _mean(x) ** 2 / _mean(x**2)),
        lowest_tenth=over_groups(_lowest_tenth) if len(values) >= FEWEST_FOR_A_TENTH else None,
    )


def gap(
    train: Sequence[TargetScore], unseen: Sequence[TargetScore], generator: np.random.Generator
) -> Estimate | None:
    """The mean score of groups that took part in training less that of unseen groups.

    On questions that train groups answered and no others, so that it is the groups that differ.
    Groups of both sides are drawn anew, each counted once. None where a side has no such score.
    """
    sides = []
    for scores in (train, unseen):
        seen = [score for score in scores if score.seen]
        if not seen:
            return None
        values = np.array([_value(each) for each in _gathered(seen).values()])
        drawn = values[generator.integers(len(values), size=(RESAMPLES, len(values)))]
        sides.append((values, drawn))
    (ours, ours_drawn), (theirs, theirs_drawn) = sides
    alone = min(len(ours), len(theirs)) < 2
    again = None if alone else _mean(ours_drawn) - _mean(theirs_drawn)
    return _percentiles(float(ours.mean() - theirs.mean()), again)


def _mean(values: Array) -> Array:
    return np.asarray(values.mean(axis=1))


def _deviation(values: Array) -> Array:
    return np.asarray(values.std(axis=1))


def _lowest_tenth(values: Array) -> Array:
    count = math.ceil(values.shape[1] / 10)
    return np.asarray(np.sort(values, axis=1)[:, :count].mean(axis=1))


def _percentiles(value: float, again: Array | None) -> Estimate:
    if again is None:
        return Estimate(value=value, low=None, high=None)
    low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _gathered(scores: Sequence[TargetScore]) -> dict[str, list[TargetScore]]:
    """Scores by group, in the order of names."""
    gathered: dict[str, list[TargetScore]] = {
        name: [] for name in sorted({s.group for s in scores})
    }
    for score in scores:
        gathered[score.group].append(score)
    return gathered


def _table(scores: Sequence[TargetScore]) -> tuple[Array, Array]:
    """Sums of scores and how many there are, both (draws, questions)."""
    draws = {draw: i for i, draw in enumerate(sorted({score.draw for score in scores}))}
    asked = {name: i for i, name in enumerate(sorted({score.question_id for score in scores}))}
    sums, counts = np.zeros((2, len(draws), len(asked)))
    for score in scores:
        place = draws[score.draw], asked[score.question_id]
        sums[place] += score.score
        counts[place] += 1
    return sums, counts


def _value(scores: Sequence[TargetScore]) -> float:
    """Mean of a group, within each draw and then over draws: as in :class:`Summary`."""
    sums, counts = _table(scores)
    return float(np.mean(sums.sum(axis=1) / counts.sum(axis=1)))


def _by_group(
    scores: Sequence[TargetScore], generator: np.random.Generator
) -> dict[str, _Measured]:
    """Each group's score, and the same with questions and draws weighed anew.

    Questions and draws are crossed: a question has one weight in all draws. Weights are
    exponential (the Bayesian bootstrap, Rubin 1981), for whole numbers could all be 0 in a draw.
    """
    if not scores:
        raise ValueError("no score to summarise: the split has no targets")
    measured = {}
    for name, own in _gathered(scores).items():
        sums, counts = _table(own)
        of_draws = generator.standard_exponential((RESAMPLES, len(sums)))
        of_questions = generator.standard_exponential((RESAMPLES, sums.shape[1]))
        means = (of_questions @ sums.T) / (of_questions @ counts.T)
        again = (of_draws * means).sum(axis=1) / of_draws.sum(axis=1)
        # One question tells nothing of what others would have given.
        told = sums.shape[1] > 1
        measured[name] = _Measured(value=_value(own), again=again if told else None)
    return measured


def _extremes(measured: Sequence[_Measured]) -> tuple[Estimate, Estimate, Estimate]:
    """Lowest and highest of the groups' scores, and how far they are apart.

    Where every group lies between its own ends at once, the lowest lies between the lowest of all
    lower and the lowest of all upper ends, whichever group it is. The band is as wide as the
    largest of the groups' deviations, each over its standard error, is in all but 5 % of cases.
    """
    values = np.array([each.value for each in measured])
    lowest, highest = float(values.min()), float(values.max())
    known = [each.again for each in measured if each.again is not None]
    if len(known) < len(measured):
        none = {"low": None, "high": None}
        figures = (lowest, highest, highest - lowest)
        worst, best, spread = (Estimate(value=value, **none) for value in figures)
        return worst, best, spread
    again = np.stack(known, axis=1)
    errors = np.maximum(again.std(axis=0), np.finfo(np.float64).eps)
    width = np.quantile(np.max(np.abs(again - values) / errors, axis=1), CONFIDENCE) * errors
    lows, highs = np.maximum(values - width, _LEAST), np.minimum(values + width, 1.0)
    worst = Estimate(value=lowest, low=float(lows.min()), high=float(highs.min()))
    best = Estimate(value=highest, low=float(lows.max()), high=float(highs.max()))
    apart = max(0.0, float(lows.max() - highs.min())), float(highs.max() - lows.min())
    return worst, best, Estimate(value=highest - lowest, low=apart[0], high=apart[1])
