"""Agreement of predictions with answers: alignment score, log-loss, summaries. numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Predicted probabilities count as at least so much, so that no log-loss is infinite.
LEAST_PROBABILITY = 1e-12


def compared(
    predicted: Sequence[float], actual: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A prediction and an answer as arrays over the same options; refuses those of two sizes."""
    p, q = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if p.shape != q.shape:
        raise ValueError(
            f"predicted has {p.size} options and actual has {q.size}: compare one question"
        )
    return p, q


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


def log_loss(predicted: Sequence[float], actual: Sequence[float]) -> float:
    """Cross-entropy of an answer under a prediction, in nats; lower is better.

    Unlike the alignment score it is proper: among all predictions the true shares have the lowest
    expected loss, also where every answer is a single choice. Of answers that are distributions
    even a perfect prediction keeps their entropy.

    Args:
        predicted: Probabilities, sum 1; each counts as at least ``LEAST_PROBABILITY``.
        actual: Distribution over the same options; a single choice is 1 at the chosen one.

    Returns:
        Between 0 and 27.64, ``-log(LEAST_PROBABILITY)``.
    """
    p, q = compared(predicted, actual)
    floored = np.clip(p, LEAST_PROBABILITY, 1.0)
    return max(0.0, -float(q @ np.log(floored)))


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """The alignment score and the log-loss of one prediction.

    Attributes:
        group: Whose answer was predicted.
        draw: Which draw of the context.
        question_id: What was predicted.
        seen: Whether a train group had answered the question.
        score: Alignment score.
        log_loss: Cross-entropy of the answer under the prediction, nats.
    """

    group: str
    draw: int
    question_id: str
    seen: bool
    score: float
    log_loss: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Scores put together; alignment, where nothing else is said.

    Attributes:
        mean: Over all (group, target) pairs of a draw, then over draws.
        seen_questions: The same, over targets that train groups answered; None without any.
        unseen_questions: The same, over the other targets; None without any.
        worst_group: Lowest mean of a group.
        cov: Standard deviation of the groups' means over their mean (coefficient of variation).
        groups: Mean of each group.
        log_loss: Log-loss in nats, averaged as ``mean`` is.
    """

    mean: float
    seen_questions: float | None
    unseen_questions: float | None
    worst_group: float
    cov: float
    groups: Mapping[str, float]
    log_loss: float


def _mean_over_draws(values: Iterable[tuple[int, float]]) -> float | None:
    """Mean of values that stand beside their draws: within each draw, then over draws."""
    draws: dict[int, list[float]] = {}
    for draw, value in values:
        draws.setdefault(draw, []).append(value)
    return float(np.mean([np.mean(each) for each in draws.values()])) if draws else None


def _mean_score(scores: Iterable[TargetScore]) -> float | None:
    return _mean_over_draws((score.draw, score.score) for score in scores)


def summarise(scores: Sequence[TargetScore]) -> Summary:
    """Put scores together; see :class:`Summary`.

    Raises:
        ValueError: There is no score.
    """
    mean = _mean_score(scores)
    loss = _mean_over_draws((score.draw, score.log_loss) for score in scores)
    if mean is None or loss is None:
        raise ValueError("no score to summarise: the split has no targets")
    # Gathered once: held-out respondents are hundreds of groups.
    gathered: dict[str, list[TargetScore]] = {}
    for score in scores:
        gathered.setdefault(score.group, []).append(score)
    groups = {name: float(_mean_score(each) or 0.0) for name, each in gathered.items()}
    values = np.array(list(groups.values()))
    return Summary(
        mean=mean,
        seen_questions=_mean_score(s for s in scores if s.seen),
        unseen_questions=_mean_score(s for s in scores if not s.seen),
        worst_group=float(values.min()),
        cov=float(values.std() / values.mean()),
        groups=groups,
        log_loss=loss,
    )
