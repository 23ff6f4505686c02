"""Benchmark ``deployment``: the stages of a round over a real SuperLink on loopback."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.group_policy import GroupPolicy
from clients.data.home import Home
from clients.deployment import join
from experiments.benchmarks.harness import FEWEST_TURNS, Figure
from experiments.benchmarks.workloads.loopback import (
    GROUPS,
    NotInTime,
    Programs,
    SmallFederation,
    ending_in_order,
    wait_for,
)
from terminal import echo

STAGES = ("share", "masked", "confirm", "unmask")
#: Rounds in which processes still load and encode what they then keep.
UNCOUNTED = 2

_ANSWERED = re.compile(
    rf"INFO (?:query|train)\.({'|'.join(STAGES)}) answered in ([0-9.]+) s$", re.MULTILINE
)

_LIMIT_SECONDS = 345.0
#: What has too few rounds for a median by then gets so much more.
_GRACE_SECONDS = 90.0
#: What can be left out is not begun with less than this left of the limit.
_LEAST_SECONDS = 70.0
_SETTINGS: Mapping[str, object] = {
    # More than are measured: the run is stopped.
    "federation.warmup_rounds": 60,
    "federation.minimum_groups": len(GROUPS),
    "federation.round_timeout_seconds": 120.0,
    "federation.stage_timeout_seconds": 120.0,
    "federation.evaluate_every": 0,
    "privacy.survivors": len(GROUPS),
    "privacy.delta": 0.001,
    "predictor.head_width": 8,
    "predictor.max_tokens": 32,
}
_RESAMPLES = 10_000
_INTERVAL = (0.025, 0.975)
#: Name, what is compared with what as ratio (x) or difference (s), and key.
_COMPARISONS = (
    ("stage, flower / ours", "flower", "ours", "x", "flower_over_ours"),
    ("stage, flower waits / ours", "flower waits", "ours", "x", "flower_waits_over_ours"),
    ("of a stage, Flower's waits", "flower waits", "ours", "s", "waits_seconds"),
    ("of a stage, its processes", "flower", "flower waits", "s", "processes_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Programs that a client may run.

    Attributes:
        programs: As for :class:`experiments.benchmarks.workloads.loopback.SmallFederation`.
        logged: Whether the executor writes how long its handlers take.
        counted: Rounds that suffice.
        seconds: No further round is waited for after this, where there are enough for a median.
        needed: Whether there is nothing to report without it.
    """

    programs: Programs
    logged: bool
    counted: int
    seconds: float
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rounds of one federation, without the first.

    Attributes:
        stages: Seconds, (rounds, 4) float64, in the order of ``STAGES``.
        handlers: Seconds of the slowest client's handler in the same stages; None where the
            executor does not tell them.
    """

    stages: NDArray[np.float64]
    handlers: NDArray[np.float64] | None

    @property
    def a_stage(self) -> NDArray[np.float64]:
        """Mean seconds of a stage of each round, (rounds,) float64."""
        return np.asarray(self.stages.mean(axis=1), dtype=np.float64)


def measure() -> list[Figure]:
    """Seconds of a stage over a SuperLink with our programs at the clients, and with Flower's.

    Measured: private rounds of three groups under secure aggregation, each with a client of its own
    against one SuperLink, all on loopback, with TLS and node keys; 24 people and a narrow head, so
    that training costs next to nothing. ``ours``: a node that asks every second, and one lasting
    process that runs the installed code. ``flower``: Flower's own ``flower-supernode`` and
    ``flower-superexec``, which wait up to 3 s and 1 s and start a process for every message that
    unpacks and runs the bundle. ``flower waits``: Flower's node with our executor behind it. The
    server, the groups' folders and the node's configuration are the same; what a fresh process
    loads and encodes again is part of its stages. A stage is what the server's ``rounds.jsonl``
    says of share, masked, confirm and unmask, the mean of the four; the first two rounds of a run
    do not count. Waiting is what is left of a stage without the handler of the slowest client, as
    the executors' logs have it: messages on their way are in it, too.

    The federations run one after another, for six minutes in all, eight on a busy machine, as
    their rounds cannot be taken in turns: a slow spell of the machine may be in one of them. Rows
    with "95 %" show the interval of a bootstrap over rounds in place of the middle half. ``flower
    waits`` is left out where time is short. Goal: none, these are there to be known.

    The clients refuse code that changes: no file of the project may be edited meanwhile.

    Not measured: a network, the start of a run, training, and groups that come and go.
    """
    end, measured = time.monotonic() + _LIMIT_SECONDS, dict[str, Measured]()
    with ending_in_order(), tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        for name, kind in KINDS.items():
            if not kind.needed and end - time.monotonic() < _LEAST_SECONDS:
                _say(name, "left out: no time")
                continue
            try:
                measured[name] = _observe(Path(folder) / _key(name), name, kind, end)
            except NotInTime as error:
                if kind.needed:
                    raise
                _say(name, f"left out: {error}")
    return figures_of(measured)


def flower_programs(home: Home, policy: GroupPolicy) -> dict[str, list[str]]:
    """Flower's own two programs, with the flags that ours have."""
    ours = join.programs(home, policy)
    given = ours["executor"]
    address, secret = (given[given.index(flag) + 1] for flag in ("--node", "--secret"))
    superexec = [
        *(_flower("superexec"), "--runtime-api-address", address, "--insecure"),
        *("--superexec-auth-secret-file", secret),
    ]
    return {**flower_node_programs(home, policy), "executor": superexec}


def flower_node_programs(home: Home, policy: GroupPolicy) -> dict[str, list[str]]:
    """Flower's own node with our executor behind it."""
    ours = join.programs(home, policy)
    # Without the interpreter, our module, and its waits.
    flags = ours["supernode"][ours["supernode"].index("clients.deployment.supernode") + 2 :]
    return {**ours, "supernode": [_flower("supernode"), *flags]}


KINDS: Mapping[str, Kind] = {
    "ours": Kind(programs=join.programs, logged=True, counted=10, seconds=90.0),
    "flower": Kind(programs=flower_programs, logged=False, counted=4, seconds=230.0),
    "flower waits": Kind(
        programs=flower_node_programs, logged=True, counted=5, seconds=110.0, needed=False
    ),
}


def _flower(name: str) -> str:
    return str(Path(sys.executable).with_name(f"flower-{name}"))


def _key(name: str) -> str:
    """The name of a kind in those of figures for programs."""
    return name.replace(" ", "_")


def _say(name: str, text: str) -> None:
    echo(f"  {name}: {text}", err=True)


def _observe(folder: Path, name: str, kind: Kind, end: float) -> Measured:
    """Run a federation until it has enough rounds or its time is over, and read what it left."""
    begun = time.monotonic()

    def say(text: str) -> None:
        _say(name, f"{text}, {time.monotonic() - begun:.0f} s")

    federation = SmallFederation(folder, _SETTINGS, kind.programs, say)
    try:
        told, soft = 0, min(end, begun + kind.seconds)

        def enough() -> bool:
            nonlocal told
            for row in federation.rounds()[told:]:
                told += 1
                spent = sum(row["seconds_stages"].values())
                say(f"round {row['round']} of {spent:.1f} s {row['aborted']}".rstrip())
            least = FEWEST_TURNS if time.monotonic() >= soft else kind.counted
            return told >= UNCOUNTED + least

        hard = (end if kind.needed else soft) + _GRACE_SECONDS
        wait_for(f"rounds of {name}", enough, max(1.0, hard - time.monotonic()))
        rows = federation.rounds()
        logs = [federation.log(group, "executor") for group in GROUPS] if kind.logged else None
    except NotInTime as error:
        raise NotInTime(f"{error}\n{federation.complaints()}") from error
    finally:
        federation.close()
    return read(rows, logs)


def read(rows: Sequence[Mapping[str, Any]], logs: Sequence[str] | None) -> Measured:
    """Seconds of stages and handlers, as rounds and logs give them.

    Args:
        rows: Of ``rounds.jsonl``, from round 1.
        logs: Of every client's executor from its first message to the last of these rounds or a
            little later; None where it tells no seconds.

    Raises:
        RuntimeError: There are too few rounds, one was aborted or went on without a group, or a log
            does not fit the rounds.
    """
    rounds = len(rows)
    if rounds < UNCOUNTED + FEWEST_TURNS:
        raise RuntimeError(f"{rounds} rounds, need {UNCOUNTED + FEWEST_TURNS}: on a busy machine?")
    for row in rows:
        if row["aborted"] or row["groups"] != len(GROUPS):
            raise RuntimeError(
                f"round {row['round']} is no measurement: {row['groups']} groups {row['aborted']}"
            )
    stages = np.array([[row["seconds_stages"][stage] for stage in STAGES] for row in rows])
    handlers = None
    if logs is not None:
        handlers = np.max([_handler_seconds(log, rounds) for log in logs], axis=0)[UNCOUNTED:]
    return Measured(stages=stages[UNCOUNTED:], handlers=handlers)


def _handler_seconds(log: str, rounds: int) -> NDArray[np.float64]:
    """Seconds of one client's handlers, (rounds, 4) float64."""
    taken: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for stage, seconds in _ANSWERED.findall(log):
        taken[stage].append(float(seconds))
    for stage, each in taken.items():
        # The next round may have begun, and no stage of these is done twice.
        if not rounds <= len(each) <= rounds + 1:
            raise RuntimeError(f"{len(each)} answers to {stage!r} in {rounds} rounds")
    return np.array([taken[stage][:rounds] for stage in STAGES]).T


def figures_of(measured: Mapping[str, Measured]) -> list[Figure]:
    """The figures of federations that have been measured, by name; ``ours`` and ``flower``."""
    figures = []
    for name, each in measured.items():
        key = _key(name)
        figures.append(Figure.of(f"{name}: a stage", each.a_stage, "s", key=f"{key}_stage_seconds"))
        figures += [
            Figure.of(f"{name}: {stage}", each.stages[:, i], "s", key=f"{key}_{stage}_seconds")
            for i, stage in enumerate(STAGES)
        ]
        if each.handlers is not None:
            waiting = 100 * (1 - each.handlers.sum(axis=1) / each.stages.sum(axis=1))
            figures.append(
                Figure.of(f"{name}: waiting in a round", waiting, "%", key=f"{key}_waiting_share")
            )
    return [*figures, *_comparisons({name: each.a_stage for name, each in measured.items()})]


def _comparisons(seconds: Mapping[str, NDArray[np.float64]]) -> list[Figure]:
    if not {"ours", "flower"} <= seconds.keys():
        raise ValueError(f"measured {', '.join(seconds) or 'nothing'}: need ours and flower")
    return [
        _compared(name, seconds[one], seconds[other], unit, key)
        for name, one, other, unit, key in _COMPARISONS
        if one in seconds and other in seconds
    ]


def _compared(
    name: str, one: NDArray[np.float64], other: NDArray[np.float64], unit: str, key: str
) -> Figure:
    """Two medians compared, with the interval of a bootstrap over the rounds of either."""
    generator = np.random.default_rng(0)
    how = np.divide if unit == "x" else np.subtract

    def medians(samples: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = generator.choice(samples, size=(_RESAMPLES, samples.size))
        return np.asarray(np.median(drawn, axis=1), dtype=np.float64)

    lower, upper = np.quantile(how(medians(one), medians(other)), _INTERVAL)
    return Figure(
        name=f"{name} (95 %)",
        value=float(how(np.median(one), np.median(other))),
        unit=unit,
        lower=float(lower),
        upper=float(upper),
        samples=min(one.size, other.size),
        key=key,
    )
