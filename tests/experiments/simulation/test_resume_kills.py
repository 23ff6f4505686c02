"""Kill -9 at random moments: whatever was under way, the run that goes on ends the same."""

import json
import multiprocessing
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from alignment.data.population import Population, load_population
from experiments.simulation.simulate import simulate
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from server.config import RunConfig, read_run_config
from server.state.checkpoint import FOLDER, latest, newest_round

POINTS = 20
PRIVATE_POINTS = 5
KILLED = -9
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "average": {},
    "adam": {
        "strategy.name": "fedadam",
        "strategy.learning_rate": 0.01,
        "strategy.averaging": 0.9,
    },
}
#: What a child would spend its first seconds on.
PRELOADED = [
    "experiments.simulation.simulate",
    "clients.training.trainer",
    "alignment.evaluation.held_out",
    "server.app",
    "server.aggregation.private",
]

MakeConfig = Callable[..., RunConfig]


class Processes:
    """Runs simulations in processes of their own, forked from one that has imported everything."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def run(self, config: RunConfig, *, kill_after: float | None = None) -> tuple[int, float]:
        """The exit code and the seconds of a run that may be killed."""
        process = self._context.Process(target=simulate, args=(config, self._population))
        process.start()
        begun = time.perf_counter()
        process.join(600.0 if kill_after is None else kill_after)
        process.kill()
        process.join()
        seconds, code = time.perf_counter() - begun, process.exitcode
        process.close()
        assert code is not None
        return code, seconds


def left(out: str) -> tuple[bytes, ...]:
    """The published model, and the vector that its last round left."""
    folder = Path(out)
    files = (folder / "head.safetensors", folder / "adapter" / "adapter_model.safetensors")
    checkpoint = latest(folder / FOLDER)
    assert checkpoint.round == 4
    return (*(path.read_bytes() for path in files), checkpoint.vector.tobytes())


@pytest.fixture(scope="module")
def processes(tiny_settings: Mapping[str, Any]) -> Processes:
    data = str(tiny_settings["data"])
    return Processes(load_population(data, split="", seed=0, skip_invalid=False))


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_model(
    tiny_settings: Mapping[str, Any], tmp_path: Path, processes: Processes
) -> None:
    configs = {
        name: read_run_config({**tiny_settings, **settings, "out": str(tmp_path / name)})
        for name, settings in SETTINGS.items()
    }
    # The first process waits for the imports.
    processes.run(replace(configs["adam"], out=str(tmp_path / "warm")))
    duration: dict[str, float] = {}
    for name, config in configs.items():
        code, duration[name] = processes.run(config)
        assert code == 0
    expected = {name: left(config.out) for name, config in configs.items()}
    seed = secrets.randbits(32)
    print(f"seed {seed}, durations {duration}")
    chance, reached = random.Random(seed), []
    while len(reached) < POINTS:
        name = list(SETTINGS)[len(reached) % len(SETTINGS)]
        config = replace(configs[name], out=str(tmp_path / f"point {len(reached)}"))
        code, _ = processes.run(config, kill_after=chance.uniform(0, duration[name]))
        if code != KILLED:
            # Too late: this point has hit nothing.
            assert code == 0
            duration[name] *= 0.95
            continue
        reached.append(newest_round(Path(config.out) / FOLDER))
        # Before the start is kept there is nothing to go on from, and nothing to lose.
        going_on = replace(config, resume=reached[-1] is not None)
        code, _ = processes.run(going_on)
        assert code == 0, f"point {len(reached)} of seed {seed}"
        assert left(config.out) == expected[name], f"point {len(reached)} of seed {seed}"
    print(f"newest checkpoints at the kills: {reached}")
    assert len(set(reached)) > 2, f"seed {seed} has hit too few different rounds"


@pytest.mark.slow
def test_a_private_run_that_is_killed_anywhere_pays_for_no_round_twice(
    tiny_settings: Mapping[str, Any], tmp_path: Path, processes: Processes
) -> None:
    """Each is killed twice: at first anywhere, then anywhere in what goes on."""
    private = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
    config = read_run_config({**tiny_settings, **private, "out": str(tmp_path / "whole")})
    processes.run(replace(config, out=str(tmp_path / "warm")))
    code, duration = processes.run(config)
    assert code == 0
    seed = secrets.randbits(32)
    print(f"seed {seed}, duration {duration}")
    chance, reached = random.Random(seed), list[int | None]()
    for point in range(PRIVATE_POINTS):
        going_on = replace(config, out=str(tmp_path / f"point {point}"))
        folder = Path(going_on.out) / FOLDER
        for _ in range(2):
            processes.run(going_on, kill_after=chance.uniform(0, duration))
            reached.append(newest_round(folder))
            going_on = replace(going_on, resume=reached[-1] is not None)
        code, _ = processes.run(going_on)
        assert code == 0, f"point {point} of seed {seed}"
        checks = verify(gather([Path(going_on.out) / "ledgers"]))
        failed = [check.finding for check in checks if check.status is Status.FAIL]
        assert not failed, f"point {point} of seed {seed}"
        for path in (Path(going_on.out) / "ledgers" / "groups").glob("*.jsonl"):
            events = [json.loads(line) for line in path.read_bytes().splitlines()]
            spends = [event["body"] for event in events if event["type"] == "SPEND"]
            rounds = [(body["run"], body["round"]) for body in spends]
            assert len(set(rounds)) == len(rounds) <= 4, f"point {point} of seed {seed}"
    print(f"newest checkpoints at the kills: {reached}")
    assert len(set(reached)) > 1, f"seed {seed} has hit too few different rounds"
