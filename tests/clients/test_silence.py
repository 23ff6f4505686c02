"""A client that fails keeps to itself what its records say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.local_grid import LocalGrid


def test_a_failing_client_logs_no_text_of_a_record(
    marked_data: Path,
    make_grid: Callable[..., LocalGrid],
    ask: Callable[..., Any],
    markers: tuple[str, ...],
    logs: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def quote(vector: object, answers: Any, plan: object) -> None:
        raise KeyError(answers.questions[0].text)

    monkeypatch.setattr("clients.training.trainer.train_locally", quote)
    grid = make_grid(6, data=str(marked_data))
    assert ask(grid, "train", 0).has_error()
    assert "zebraquestion" in grid.failures[0].traceback  # the error did quote it
    said = "\n".join(logs).lower()
    assert "failed on train: keyerror" in said
    assert not [marker for marker in markers if marker in said]
