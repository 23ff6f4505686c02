"""Benchmark ``scale``: a simulated round against the number of groups, and what is not training."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from alignment.data.population import load_population
from alignment.data.split import SPLIT_FILE
from clients.training import trainer
from clients.training.updates import LocalUpdate
from experiments.benchmarks.harness import Figure, Goal, peak_gigabytes
from experiments.simulation.results import read_rounds
from experiments.simulation.simulate import simulate
from server.config import RunConfig, read_run_config
from terminal import echo

#: With this in the environment, as in ``10,100,1000``, federations have these sizes.
SIZES = "FEDACCORD_SCALE_GROUPS"
SECONDS, OVERHEAD, MEMORY = "seconds_per_group", "overhead_percent", "memory_gb"

_USUAL = (10, 30, 100)
#: Rounds of a run, in their order.
_KINDS = ("head", "adapters")
_HELD_OUT = 2
_RESPONDENTS = 40
_GOAL = Goal(sense="at most", bound=20.0)


def measure() -> list[Figure]:
    """One round of the head alone and one with adapters, of federations of rising size.

    Measured: the whole product in one process, with secure aggregation: the server's app, every
    group's app, every message taken apart into bytes, keys, masks, checks, the sum. Groups are
    those of the built-in data, with some 40 respondents each, and default settings without privacy.
    Seconds of a round are by the clock and divided by the groups, which take turns. Overhead: what
    of them is not spent in groups' local training, in percent of that. The first round also reads
    the data and encodes every text once, so that its overhead says little of small federations.
    Goal, of the round with adapters and for the largest federation: an overhead of at most 20.

    Memory is the most that the process has held, with what ran before.

    FEDACCORD_SCALE_GROUPS=10,100,1000 chooses the sizes; a thousand groups take a quarter of an
    hour.

    Not measured: a network. Groups of a deployment work at the same time, on their own machines.
    """
    figures: list[Figure] = []
    for size in _sizes():
        echo(f"{size} groups ...", err=True)
        figures += _of_size(size)
    return figures


def _sizes() -> tuple[int, ...]:
    words = os.environ.get(SIZES, "").split(",") if os.environ.get(SIZES) else []
    if any(not word.strip().isdigit() or not 3 <= int(word) <= 4000 for word in words):
        raise ValueError(f"{SIZES}={os.environ[SIZES]!r}: give numbers in [3, 4000], as in 10,100")
    return tuple(sorted({int(word) for word in words})) or _USUAL


def _of_size(size: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, _training() as spent:
        config = _settings(size, Path(folder))
        population = load_population(config.data, split=config.split, seed=0, skip_invalid=False)
        grid = simulate(config, population)
        rounds = [row for row in read_rounds(Path(config.out)) if row["round"] > 0]
    largest = size == _sizes()[-1]
    for kind, row in zip(_KINDS, rounds, strict=True):
        seconds, training = row["seconds_train"] + row["seconds_secagg"], spent[row["round"]]
        at = {"groups": float(size), "adapters": float(kind == "adapters")}
        name = f"{size} groups, {kind}"
        yield Figure.of(f"{name}: a round", [seconds / size], "s a group", key=SECONDS, at=at)
        share = 100 * (seconds / training - 1)
        goal = _GOAL if largest and kind == "adapters" else None
        yield Figure.of(f"{name}: overhead", [share], "%", goal, key=OVERHEAD, at=at)
    at = {"groups": float(size)}
    yield Figure.of(f"{size} groups: memory", [peak_gigabytes()], "GB", key=MEMORY, at=at)
    whole = sum(row["seconds_train"] + row["seconds_secagg"] for row in rounds)
    share = 100 * grid.seconds.serialization / whole
    yield Figure.of(f"{size} groups: serialising, of both rounds", [share], "%")


def _settings(size: int, folder: Path) -> RunConfig:
    """The settings of a run; two groups are held out, as a run needs some."""
    data = f"sample:groups={size + _HELD_OUT},respondents={_RESPONDENTS}"
    population = load_population(data, split="", seed=0, skip_invalid=False)
    names = list(population.groups)
    draws = {}
    for name in names[-_HELD_OUT:]:
        ids = [question.question_id for question in population.answers[name].questions]
        draws[name] = {"0": {"context": ids[:5], "target": ids[5:10]}}
    split = folder / SPLIT_FILE
    split.write_text(json.dumps({"train_groups": names[:-_HELD_OUT], "eval": draws}))
    return read_run_config(
        {
            "data": data,
            "split": str(split),
            "out": str(folder / "run"),
            "federation.warmup_rounds": 1,
            "federation.adapter_rounds": 1,
            "federation.evaluate_every": 0,
        }
    )


@contextmanager
def _training() -> Iterator[dict[int, float]]:
    """Seconds that all groups together spend in local training, by round."""
    spent: dict[int, float] = defaultdict(float)
    train = trainer.train_locally

    def timed(vector: Any, answers: Any, task: Any) -> LocalUpdate:
        begun = time.perf_counter()
        try:
            return train(vector, answers, task)
        finally:
            spent[task.round] += time.perf_counter() - begun

    with mock.patch.object(trainer, "train_locally", timed):
        yield spent
