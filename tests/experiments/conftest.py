"""Whole runs on the tiny federation, each made once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.run import run
from server.config import RunConfig, read_run_config

MakeConfig = Callable[..., RunConfig]


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
