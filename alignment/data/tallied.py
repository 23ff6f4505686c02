"""Noised counts as answers (interim)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alignment.data.answers import GroupAnswers
from alignment.data.records import Question


def _project(v):
    u = np.sort(v)[::-1]
    c = np.cumsum(u) - 1
    r = np.nonzero(u - c / (np.arange(len(v)) + 1) > 0)[0][-1]
    return np.maximum(v - c[r] / (r + 1), 0)


def answers_of_counts(
    group: str, questions: Sequence[Question], counts: NDArray[np.float64], *, noise_std: float
) -> GroupAnswers:
    targets, at = [], 0
    for q in questions:
        own = counts[at : at + len(q.options)]
        at += len(q.options)
        n = max(own.sum(), 1.0)
        targets.append(tuple(_project(own / n).tolist()))
    return GroupAnswers(
        group=group, questions=tuple(questions), targets=tuple(targets), counts=(1,) * len(targets)
    )
