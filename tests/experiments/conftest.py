"""The real command and whole runs on the tiny federation, each made once."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fedaccord
from experiments.run import run
from server.config import RunConfig, read_run_config

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]
MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``fedaccord`` in this process, through its own front door."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["fedaccord", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            fedaccord.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Command:
    """Run ``fedaccord`` as a user does: a process of its own, in a folder of its own."""

    def call(*arguments: object) -> Outcome:
        done = subprocess.run(
            [sys.executable, REPOSITORY / "fedaccord.py", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    return call


@pytest.fixture(scope="session")
def make_config(tiny_settings: Mapping[str, Any]) -> MakeConfig:
    """The tiny run's configuration with an ``out`` and other changes."""

    def make(out: Path, changes: Mapping[str, object] | None = None) -> RunConfig:
        return read_run_config({**tiny_settings, "out": str(out), **(changes or {})})

    return make


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run's folder and what ``run`` returned."""

    config: RunConfig
    out: Path
    result: Mapping[str, Any]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> FinishedRun:
    """The tiny run, once for the session: read its folder, never write there."""
    out = tmp_path_factory.mktemp("finished") / "out"
    config = make_config(out)
    return FinishedRun(config=config, out=out, result=run(config))


@pytest.fixture(scope="session")
def as_options(tiny_settings: Mapping[str, Any]) -> Sequence[str]:
    """The tiny settings, data apart, as options of the command."""
    pairs = [f"{key}={value}" for key, value in tiny_settings.items() if key != "data"]
    return [word for pair in pairs for word in ("--set", pair)]
