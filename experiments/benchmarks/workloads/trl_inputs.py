"""What trl's trainers are given: pairs as conversations, and a watch on their steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback

from alignment.data.answers import GroupAnswers
from experiments.benchmarks.workloads.conversations import messages


def places_of(target: Sequence[float]) -> tuple[int, int]:
    """Where the chosen and the rejected response stand among the options."""
    chosen = int(np.argmax(target))
    return chosen, 1 - chosen


class Steps(TrainerCallback):
    """Times a trainer's steps.

    Args:
        after: Called with the seconds of each, once it is over.
        before: Called when the first begins.
    """

    def __init__(
        self, after: Callable[[float], object], before: Callable[[], object] | None = None
    ) -> None:
        self._after = after
        self._before = before
        self._start = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        if self._before is not None:
            self._before()
            self._before = None
        self._start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self._after(time.perf_counter() - self._start)


def dataset_of(answers: GroupAnswers, *, joined: bool) -> Dataset:
    """The pairs as trl reads conversations; a reward is told of prompt and response as one."""
    rows = []
    for question, target in zip(answers.questions, answers.targets, strict=True):
        row: dict[str, Any] = {}
        for side, place in zip(("chosen", "rejected"), places_of(target), strict=True):
            prompt, row[side] = messages(question, place)
            if joined:
                row[side] = prompt + row[side]
            else:
                row["prompt"] = prompt
        rows.append(row)
    return Dataset.from_list(rows)
