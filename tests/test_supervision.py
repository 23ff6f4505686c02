"""What supervisord reads is what was meant, whatever a folder is called; and nothing calls home."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ServerOptions

import supervision

NAMES = [
    "plain",
    "two words",
    "100%",
    "%(here)s %(ENV_HOME)s",
    "it's",
    'say "hi"',
    "team #1; north",
    "a,b=c",
    "back\\slash $HOME",
    "nörd",
]


def read(configuration: Path) -> ServerOptions:
    """What supervisord makes of a file."""
    options = ServerOptions()
    options.realize(["-n", "-c", str(configuration)])
    return options


@pytest.mark.parametrize("name", NAMES)
def test_folders_and_arguments_survive(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    arguments = [str(folder / "program"), "--home", str(folder), "--note", f'x="{name}"', ""]
    options = read(supervision.write_configuration(folder, {"worker": arguments, "other": ["x"]}))
    groups: Any = options.process_group_configs
    programs = {each.name: each for group in groups for each in group.process_configs}
    assert set(programs) == {"worker", "other"}
    worker = programs["worker"]
    assert shlex.split(worker.command) == arguments
    assert worker.stdout_logfile == str(folder / "logs" / "worker.log")
    assert options.logfile == str(folder / "logs" / "supervisord.log")
    assert options.pidfile == str(folder / "supervisord.pid")
    assert (options.nodaemon, options.umask) == (True, 0o077)


def test_programs_that_end_are_started_anew_and_end_with_all_their_children(
    tmp_path: Path,
) -> None:
    options = read(supervision.write_configuration(tmp_path, {"worker": ["x"]}))
    groups: Any = options.process_group_configs
    (worker,) = groups[0].process_configs
    assert worker.autorestart is not False
    assert worker.startretries >= 10**6
    assert (worker.stopasgroup, worker.killasgroup, worker.redirect_stderr) == (True, True, True)
    assert 0 < worker.stdout_logfile_maxbytes * (worker.stdout_logfile_backups + 1) < 2**27


@pytest.mark.parametrize("name", NAMES)
def test_the_environment_is_handed_down_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("PATH", f"/somewhere/{name}")
    called: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *given: called.append(given))
    configuration = supervision.write_configuration(folder, {"worker": ["x"]})
    supervision.supervise(configuration)
    ((program, arguments, environment),) = called
    assert (program, arguments[0]) == (sys.executable, sys.executable)
    assert arguments[1:] == ["-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
    assert environment["FLWR_HOME"] == str(folder / "flower")
    assert Path(environment["FLWR_HOME"]).is_dir()
    before, _, after = environment["PATH"].partition(os.pathsep)
    assert (before, after) == (str(Path(sys.executable).parent), f"/somewhere/{name}")
    # Whatever was there before is there still, and nothing of it is put into a file.
    assert environment.items() >= {k: v for k, v in os.environ.items() if k not in OWN}.items()
    assert "/somewhere/" not in configuration.read_text(encoding="utf-8")


OWN = {"PATH", "FLWR_HOME", *supervision._ENVIRONMENT}


def test_nothing_calls_home_or_installs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the surroundings say otherwise."""
    for name in ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK"):
        monkeypatch.setenv(name, "something else")
    own = {**os.environ, **supervision.environment(tmp_path)}
    assert own["FLWR_TELEMETRY_ENABLED"] == "0"
    assert own["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert own["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert own["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_a_configuration_is_written_anew(tmp_path: Path) -> None:
    supervision.write_configuration(tmp_path, {"old": ["x"]})
    options = read(supervision.write_configuration(tmp_path, {"new": ["y"]}))
    groups: Any = options.process_group_configs
    assert [group.name for group in groups] == ["new"]
