"""Watching a run: its end, its failures, and a SuperLink that is away for a moment."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from server.config import read_run_config
from server.deployment import cli
from server.deployment.control import ControlError
from server.rounds.loop import RoundRecord


class FakeControl:
    """Says one state after another; an error is raised."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)
        self.stopped: list[int] = []

    def status(self, run: int) -> str:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return str(state)

    def stop(self, run: int) -> None:
        self.stopped.append(run)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(cli, "_ASK_SECONDS", 0.0)
    monkeypatch.setattr(cli, "_STARTING_SECONDS", 0.2)


def watch(out: Path, control: FakeControl) -> None:
    settings = read_run_config({"out": str(out), "federation.warmup_rounds": 10})
    cli._watch(control, 7, settings)


def write_rounds(out: Path, count: int) -> None:
    record = RoundRecord(
        round=0, rounds=20, train_adapter=False, groups=3, dropped=(), aborted="", loss=None,
        alignment=None, log_loss=None, seconds_train=1.0, seconds_secagg=0.0, seconds_evaluate=0.0,
        seconds_stages={},
    )  # fmt: skip
    rows = [json.dumps({**asdict(record), "round": number}) + "\n" for number in range(count)]
    (out / "rounds.jsonl").write_text("".join(rows) + '{"round": 99, "torn')


def test_a_run_is_shown_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rounds(tmp_path, 11)
    watch(tmp_path, FakeControl("pending", "running", "running", "finished:completed"))
    said = capsys.readouterr()
    assert "round 10/" in said.err
    assert said.out.replace("\n", "") == f"The model lies in {tmp_path}."


def test_a_superlink_that_is_away_ends_nothing(tmp_path: Path) -> None:
    away = ControlError("away")
    watch(tmp_path, FakeControl("running", away, away, "finished:completed"))


@pytest.mark.parametrize("end", ["finished:failed", "finished:stopped"])
def test_a_run_that_failed_is_an_error(tmp_path: Path, end: str) -> None:
    with pytest.raises(RuntimeError, match=end):
        watch(tmp_path, FakeControl("running", end))


@pytest.mark.parametrize("state", ["pending", "starting"])
def test_a_run_that_never_begins_is_stopped(tmp_path: Path, state: str) -> None:
    control = FakeControl(state)
    with pytest.raises(RuntimeError, match=r"did not begin in 0\.2 s and was stopped"):
        watch(tmp_path, control)
    assert control.stopped == [7]
