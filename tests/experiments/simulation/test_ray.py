"""The same federation on Flower's own simulation engine: one smoke test through ``flwr run``."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment.model.folder import load_predictor
from alignment.model.vector import to_vector
from experiments.simulation.run import run
from server.config import RunConfig

MakeConfig = Callable[..., RunConfig]

REPOSITORY = Path(__file__).parents[3]
#: A simulation of a few rounds takes about half a minute; one that Flower forgets takes for ever.
WATCHDOG_SECONDS = 180


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def processes_of(home: Path) -> list[int]:
    """Processes that were started with this ``FLWR_HOME``, this one's children or not."""
    wanted = f"FLWR_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        # Processes end while one looks, and others' may not be looked at.
        with contextlib.suppress(OSError, ValueError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [process for process in found if process != os.getpid()]


def stop_all(home: Path) -> None:
    """End what ``flwr run`` leaves behind: it detaches a SuperLink, which starts others."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for process in processes_of(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sent)
        deadline = time.monotonic() + 10
        while processes_of(home) and time.monotonic() < deadline:
            time.sleep(0.2)
    assert not processes_of(home)


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run ``flwr`` with a home and ports of its own, and stop what it started."""
    home = tmp_path / "flower"
    home.mkdir()
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": free_port(),
        "FLWR_LOCAL_CONTROL_API_PORT": free_port(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def once(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"{programs}/flwr", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WATCHDOG_SECONDS,
            check=False,
        )

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        try:
            return once(*words)
        except subprocess.TimeoutExpired:
            # Flower sometimes leaves a run pending for ever (its issue 7953): once more, no more.
            stop_all(home)
            return once(*words)

    try:
        yield call
    finally:
        stop_all(home)


def toml(settings: Mapping[str, Any]) -> str:
    """Settings as ``--run-config`` takes them; JSON spells these scalars as TOML does."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())


@pytest.mark.slow
def test_flower_simulates_the_same_federation_on_ray(
    tmp_path: Path,
    flower: Callable[..., subprocess.CompletedProcess[str]],
    tiny_settings: Mapping[str, Any],
    make_config: MakeConfig,
) -> None:
    out = tmp_path / "ray"
    done = flower(
        *("run", str(REPOSITORY), "local", "--stream"),
        *("--federation-config", "num-supernodes=7 client-resources-num-cpus=1"),
        *("--run-config", toml({**tiny_settings, "out": str(out)})),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (out / "head.safetensors").is_file(), done.stdout[-3000:]

    lines = (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["round"] for row in rows] == [0, 1, 2, 3, 4]
    assert {row["groups"] for row in rows[1:]} == {4}
    assert not any(row["dropped"] for row in rows)

    in_process = tmp_path / "here"
    run(make_config(in_process))
    on_ray, here = (to_vector(load_predictor(folder)[0]) for folder in (out, in_process))
    np.testing.assert_allclose(on_ray, here, atol=1e-5)
    assert np.abs(here).max() > 0.1
