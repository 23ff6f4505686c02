"""Simulations side by side, on the cores of this machine or of a Ray cluster.

One Ray task is one whole simulation in a process of its own, on one thread. Nothing but settings
and results passes: data are read, and folders written, where the task runs, so on a cluster all
machines need this package and must see the same files under the same paths.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from server.config import ConfigError, RunConfig, read_run_config


class Simulated(Protocol):
    """Anything that one simulation makes."""

    @property
    def config(self) -> RunConfig:
        """Its settings, folder included."""


Run = TypeVar("Run", bound=Simulated)

#: Of every process that runs a task: cores are shared out by runs, not by the threads of one.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
MOST_WORKERS = 1024
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Processes that run simulations side by side.

    Attributes:
        count: At most so many simulations at a time; None takes as many as the cluster has cores.
        address: Of a Ray cluster; empty uses this machine, and starts nothing that listens to
            others.
    """

    count: int | None
    address: str = ""


def read_workers(count: int | None, address: str = "") -> Workers | None:
    """The workers that ``--workers`` and ``--ray-address`` ask for; None runs one by one, here.

    Raises:
        ConfigError: Nobody has so many, or no cluster answers: one line that names the option.
    """
    if count is not None and not 1 <= count <= MOST_WORKERS:
        raise ConfigError(f"--workers {count} must lie in [1, {MOST_WORKERS}]")
    match = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>\d{1,5})", address)
    if match is None and address not in ("", "auto"):
        raise ConfigError(f"--ray-address {address!r} must be host:port, ray://host:port or auto")
    if match is not None:
        _check_answer(address, match["host"], int(match["port"]))
    return Workers(count=count, address=address) if address or (count or 1) > 1 else None


def _check_answer(address: str, host: str, port: int) -> None:
    """Refuse a cluster that is not there; Ray itself would try for many minutes."""
    try:
        with socket.create_connection((host, port), _PATIENCE_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray-address {address}: nothing answers there ({error}); start a cluster by "
            "ray start --head, or correct the address"
        ) from error


def run_side_by_side(
    runs: Sequence[Run],
    workers: Workers,
    *,
    begins: Callable[[Run], None],
    finished: Callable[[Run, dict[str, Any]], None],
    failed: Callable[[Run, str], None] | None,
) -> None:
    """Run simulations side by side; they begin in their order and are told as they end.

    Whatever the folder of a run holds is replaced. Interrupted, what is under way is stopped.

    Args:
        runs: What is to be run.
        workers: Who runs them.
        begins: Told of each run as it is handed out.
        finished: Called once per run that succeeded.
        failed: Called once per run that did not, with the first line of why; None ends all.

    Raises:
        RuntimeError: A run failed, and nobody is told of failures.
    """
    with _ray(workers) as (ray, slots):
        task = ray.remote(num_cpus=1, max_retries=0)(_simulate)
        under_way: dict[Any, Run] = {}
        waiting = iter(runs)

        def hand_out() -> None:
            while len(under_way) < slots and (each := next(waiting, None)) is not None:
                begins(each)
                under_way[task.remote(each.config.flat())] = each

        hand_out()
        while under_way:
            # In short steps, so that Ctrl-C is heard while nothing ends.
            ended, _ = ray.wait(list(under_way), timeout=1.0)
            for reference in ended:
                each = under_way.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    # Not the run failed but the process around it, as where memory ran out.
                    outcome = {"failed": first_line(error)}
                hand_out()
                if "result" in outcome:
                    finished(each, outcome["result"])
                elif failed is None:
                    raise RuntimeError(f"{each}: {outcome['failed']}")
                else:
                    failed(each, outcome["failed"])


def _simulate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The task, one simulation; a failure comes back as words, whatever its class."""
    from experiments.simulation.run import run

    try:
        return {"result": run(read_run_config(settings), overwrite=True)}
    except Exception as error:
        return {"failed": first_line(error)}


def first_line(error: BaseException) -> str:
    """What is said of a failure: its class, unless it is about input, and its first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, ValueError) else f"{type(error).__name__}: {lines[0]}"


@contextmanager
def _ray(workers: Workers) -> Iterator[tuple[Any, int]]:
    """Ray, and how many runs it may have at a time; shut down in the end."""
    # Read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    here: dict[str, Any] = {
        "address": "local",
        "num_cpus": workers.count,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            **({"address": workers.address} if workers.address else here),
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _ONE_THREAD},
        )
    except (ConnectionError, RuntimeError) as error:
        where = f"--ray-address {workers.address}" if workers.address else "Ray"
        raise ConfigError(f"{where}: cannot be reached ({first_line(error)})") from error
    try:
        cluster: Any = ray.cluster_resources
        slots = workers.count or max(1, int(cluster().get("CPU", 1)))
        yield ray, slots
    finally:
        # Of a cluster of others only what this process has there.
        ray.shutdown()
