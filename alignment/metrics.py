"""How well predictions agree with answers, and how evenly over groups. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


def jensen_shannon_distance(p: Sequence[float], q: Sequence[float]) -> float:
    """Square root of the Jensen-Shannon divergence with the natural logarithm (Endres 2003).

    Args:
        p: Probabilities, sum 1.
        q: Probabilities over the same options.

    Returns:
        Between 0 (equal) and sqrt(log 2) = .8326 (disjoint).
    """
    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"p has {a.size} options and q has {b.size}: compare one question")
    middle = (a + b) / 2

    def divergence(x: np.ndarray) -> float:
        positive = x > 0
        return float(np.sum(x[positive] * np.log(x[positive] / middle[positive])))

    return float(np.sqrt(max(0.0, (divergence(a) + divergence(b)) / 2)))


def alignment_score(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """One minus the Jensen-Shannon distance: 1 is perfect, .1674 the worst there is."""
    return 1.0 - jensen_shannon_distance(predicted, actual)


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """The alignment score of one prediction.

    Attributes:
        group: Whose answer was predicted.
        draw: Which draw of the context.
        question_id: What was predicted.
        seen: Whether a train group had answered the question.
        score: Alignment score.
    """

    group: str
    draw: int
    question_id: str
    seen: bool
    score: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Alignment scores put together.

    Attributes:
        mean: Over all (group, target) pairs of a draw, then over draws.
        seen_questions: The same, over targets that train groups answered; None without any.
        unseen_questions: The same, over the other targets; None without any.
        worst_group: Lowest mean of a group.
        cov: Standard deviation of the groups' means over their mean (coefficient of variation).
        groups: Mean of each group.
    """

    mean: float
    seen_questions: float | None
    unseen_questions: float | None
    worst_group: float
    cov: float
    groups: Mapping[str, float]


def _mean_over_draws(scores: Sequence[TargetScore]) -> float | None:
    draws: dict[int, list[float]] = {}
    for score in scores:
        draws.setdefault(score.draw, []).append(score.score)
    return float(np.mean([np.mean(each) for each in draws.values()])) if draws else None


def summarise(scores: Sequence[TargetScore]) -> Summary:
    """Put scores together; see :class:`Summary`.

    Raises:
        ValueError: There is no score.
    """
    mean = _mean_over_draws(scores)
    if mean is None:
        raise ValueError("no score to summarise: the split has no targets")
    names = dict.fromkeys(score.group for score in scores)
    groups = {
        name: float(_mean_over_draws([s for s in scores if s.group == name]) or 0.0)
        for name in names
    }
    values = np.array(list(groups.values()))
    return Summary(
        mean=mean,
        seen_questions=_mean_over_draws([s for s in scores if s.seen]),
        unseen_questions=_mean_over_draws([s for s in scores if not s.seen]),
        worst_group=float(values.min()),
        cov=float(values.std() / values.mean()),
        groups=groups,
    )
