"""No text of a record reaches a log, the terminal, or what a run publishes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.simulation.run import run
from server.config import RunConfig

MakeConfig = Callable[..., RunConfig]


def test_a_whole_run_logs_no_text_of_a_record(
    tmp_path: Path,
    marked_data: Path,
    markers: tuple[str, ...],
    make_config: MakeConfig,
    logs: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    run(make_config(out, {"data": str(marked_data)}))
    captured = capfd.readouterr()
    said = "\n".join([*logs, captured.out, captured.err]).lower()
    assert "4 groups train, 2 are held out" in said  # the logs were really heard
    assert not [marker for marker in markers if marker in said]


def test_the_published_model_and_rounds_hold_no_text_of_a_record(
    tmp_path: Path, marked_data: Path, markers: tuple[str, ...], make_config: MakeConfig
) -> None:
    out = tmp_path / "out"
    run(make_config(out, {"data": str(marked_data)}))
    public = ["rounds.jsonl", "result.json", "config.toml", "head.safetensors"]
    public += [f"adapter/{file.name}" for file in (out / "adapter").iterdir()]
    for name in public:
        content = (out / name).read_bytes().lower()
        assert not [marker for marker in markers if marker.encode() in content], name
    # The predictions show held-out questions, which is what they are for, and no respondent.
    rows = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert all("zebraquestion" in json.loads(row)["question"] for row in rows)
    assert not any("zebrarespondent" in row for row in rows)
