"""Answers out of a noised tally: what training and a context see of counts under Gaussian noise.

A tally holds, for each question and option, how many answers fell on it, plus noise of a standard
deviation that everybody knows. Three things are read off it:

- How many answers a question has. Its own total is as noisy as its counts, so it is drawn towards
  the mean of all questions as far as noise explains that they differ (James and Stein 1961).
- The shares of its options: counts over that number, moved alike until they sum to 1, which leaves
  them without bias, and then brought to the nearest distribution (Duchi et al. 2008).
- How reliable these shares are: the variance that shares have before anything is known of them,
  over that and the variance of the noise. It is the evidence of an answer that is read as context,
  and on average the share of the learning rate that the group trains at.

It is post-processing: whoever has published the tally spends nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment.data.answers import GroupAnswers
from alignment.data.records import Question

#: One array for each question.
_Arrays = list[NDArray[np.float64]]

#: Largest count and noise: more than anybody can have asked, and its square is finite.
_MOST = 1e15


def answers_from_tally(
    group: str,
    questions: Sequence[Question],
    counts: Sequence[ArrayLike],
    *,
    sigma: float,
    total_sigma: float | None = None,
) -> GroupAnswers:
    """Read a group's answers off its noised tally.

    Args:
        group: Whose tally.
        questions: At least one, each once.
        counts: Of each question (options,), in answers; noise may have made them negative.
        sigma: Standard deviation of the noise of a count, in answers; 0 where there is none.
        total_sigma: Where totals are noisier than their counts explain: standard deviation of a
            total's noise over the square root of the number of options, in answers.

    Returns:
        All questions, with ``noise``. Without any targets and counts are exactly those of the
        answers that were counted, and ``noise`` is None as theirs.

    Raises:
        ValueError: Counts do not fit the questions, or a number is beyond any that can be meant.
    """
    cells = [np.asarray(each, dtype=np.float64) for each in counts]
    totals_sigma = sigma if total_sigma is None else total_sigma
    _check(questions, cells, (sigma, totals_sigma))
    numbers = answers_per_question(cells, sigma=totals_sigma)
    shares = unbiased_shares(cells, numbers)
    return GroupAnswers(
        group=group,
        questions=tuple(questions),
        targets=tuple(tuple(nearest_distribution(each).tolist()) for each in shares),
        counts=tuple(numbers.tolist()),
        noise=None if sigma == 0 else tuple((sigma / numbers).tolist()),
    )


def _check(questions: Sequence[Question], cells: _Arrays, sigmas: Sequence[float]) -> None:
    fit = [each.shape == (len(q.options),) for q, each in zip(questions, cells, strict=False)]
    if not (0 < len(questions) == len(cells) and all(fit)):
        raise ValueError("a tally needs a question, and one count for each option: read it anew")
    if not all((np.abs(each) <= _MOST).all() for each in cells):
        raise ValueError(f"a count is no number up to {_MOST:g}: read the tally anew")
    if not all(0 <= sigma <= _MOST for sigma in sigmas):
        raise ValueError(f"noise of {sigmas} must lie between 0 and {_MOST:g}")


def answers_per_question(cells: _Arrays, *, sigma: float) -> NDArray[np.float64]:
    """How many answers each question has, (questions,), above 0.

    Args:
        cells: Of each question (options,), noised counts in answers.
        sigma: Standard deviation of the noise of a count, in answers.

    Returns:
        Totals drawn towards their mean; never less than one answer, nor than what noise alone
        would make of the mean. Without noise the totals, and 1 where there is no answer.
    """
    totals = np.array([each.sum() for each in cells])
    if sigma == 0:
        return np.where(totals > 0, totals, 1.0)
    noise = sigma**2 * np.array([each.size for each in cells], dtype=np.float64)
    precision = 1 / noise
    mean = float(precision @ totals / precision.sum())
    spread = max(0.0, float(precision @ ((totals - mean) ** 2 - noise) / precision.sum()))
    drawn: NDArray[np.float64] = mean + spread / (spread + noise) * (totals - mean)
    return np.maximum(drawn, max(1.0, float(precision.sum()) ** -0.5))


def unbiased_shares(cells: _Arrays, numbers: NDArray[np.float64]) -> _Arrays:
    """Counts over numbers of answers, moved alike to sum 1: no bias, but some lie below 0.

    Args:
        cells: Of each question (options,), noised counts in answers.
        numbers: (questions,), how many answers each has, above 0.
    """
    return [
        # What sums to 1 stays as it is, to the last bit.
        each / number if each.sum() == number else (each - each.mean()) / number + 1 / each.size
        for each, number in zip(cells, numbers, strict=True)
    ]


def nearest_distribution(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution nearest to shares (options,) that sum to 1, by Euclidean distance."""
    if shares.min() >= 0:
        return shares
    # Moved alike they have the same nearest one, and beside the largest 1 is never too small.
    shares = shares - shares.max()
    falling = np.sort(shares)[::-1]
    above = (np.cumsum(falling) - 1) / np.arange(1, shares.size + 1)
    nearest: NDArray[np.float64] = np.maximum(shares - above[falling > above][-1], 0.0)
    nearest /= nearest.sum()
    return nearest
