"""``fedaccord simulate --resume`` as its users meet it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import fedaccord

Command = Callable[..., Any]


def test_a_run_that_was_killed_goes_on_through_the_real_command(
    tmp_path: Path, command: Command, tiny_data: Path, as_options: Sequence[str]
) -> None:
    out, rounds = tmp_path / "out", tmp_path / "out" / "rounds.jsonl"
    front_door = Path(fedaccord.__file__)
    words = ["simulate", "--data", tiny_data, "--out", out, *as_options]
    long = ["--set", "federation.warmup_rounds=300", "--set", "federation.evaluate_every=0"]
    running = subprocess.Popen(
        [sys.executable, front_door, *map(str, words), *long],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not rounds.exists() or rounds.read_bytes().count(b"\n") < 4:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        running.kill()
        running.wait()
    refused = command(*words, *long)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "go on with it by --resume" in refused.err
    # The rest in this process, by settings that are its own.
    done = command("simulate", "--resume", "--out", out, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["rounds"] == 302
    numbers = [json.loads(line)["round"] for line in rounds.read_bytes().splitlines()]
    assert numbers == list(range(303))
    assert not (out / "identities").exists() and not (out / "checkpoints").exists()
    again = command("simulate", "--resume", "--out", out)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "the run there is finished" in again.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--set", "seed=1"), "--set with --resume"),
        (("--data", "sample"), "--data with --resume"),
        (("--split", "split.json"), "--split with --resume"),
        (("--config", "run.toml"), "--config with --resume"),
        (("--track", "tensorboard"), "--track with --resume"),
        (("--skip-invalid",), "--skip-invalid with --resume"),
        (("--overwrite",), "--overwrite with --resume"),
        ((), "holds no config.toml"),
    ],
    ids=str,
)
def test_a_run_goes_on_with_its_own_settings_alone(
    tmp_path: Path, command: Command, words: Sequence[str], named: str
) -> None:
    refused = command("simulate", "--resume", "--out", tmp_path / "out", *words)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert named in refused.err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "config.toml").write_text("seed = 1\n", encoding="utf-8")
    refused = command("simulate", "--resume", "--out", tmp_path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "holds no checkpoint of a run to go on from" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_the_help_shows_how(command: Command) -> None:
    text = " ".join(command("simulate", "--help").out.split())
    assert "fedaccord simulate --resume" in text
