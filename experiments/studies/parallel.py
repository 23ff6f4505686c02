"""Runs of a study side by side, on the cores of this machine or of a Ray cluster.

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
from typing import Any, TypeVar

from experiments.studies.engine import StudyRun, first_line
from server.config import ConfigError, read_run_config

Run = TypeVar("Run", bound=StudyRun)

#: Of every process that runs a task: cores are shared out by runs, not by the threads of one.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
MOST_WORKERS = 1024
_PATIENCE_SECONDS = 10.0


def check_cluster(*, workers: int | None, address: str) -> None:
    """Refuse a number of workers that nobody has, and a cluster that is not there.

    Raises:
        ConfigError: One line that names the option.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"--workers {workers} must lie in [1, {MOST_WORKERS}]")
    match = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+)\]?:(?P<port>\d{1,5})", address)
    if match is None:
        if address in ("", "auto"):
            return
        raise ConfigError(f"--ray-address {address!r} must be host:port, ray://host:port or auto")
    try:
        # Ray itself would try for many minutes.
        with socket.create_connection((match["host"], int(match["port"])), _PATIENCE_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray-address {address}: nothing answers there ({error}); start a cluster by "
            "ray start --head, or correct the address"
        ) from error


def run_side_by_side(
    runs: Sequence[Run],
    *,
    workers: int | None,
    address: str,
    begins: Callable[[Run], None],
    finished: Callable[[Run, dict[str, Any]], None],
    failed: Callable[[Run, str], None],
) -> None:
    """Run simulations side by side; they begin in their order and are told as they end.

    Whatever the folder of a run holds is replaced. Interrupted, what is under way is stopped.

    Args:
        runs: What is to be run.
        workers: At most so many at a time; None takes as many as the cluster has cores.
        address: Of a Ray cluster; empty uses this machine, and starts nothing that listens to
            others.
        begins: Told of each run as it is handed out.
        finished: Called once per run that succeeded.
        failed: Called once per run that did not, with the first line of why.
    """
    with _ray(workers, address) as (ray, slots):
        task = ray.remote(num_cpus=1, max_retries=0)(_carry_out)
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
                if "failed" in outcome:
                    failed(each, outcome["failed"])
                else:
                    finished(each, outcome["result"])


def _carry_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The task: run one simulation; a failure comes back as words, whatever its class."""
    from experiments.simulation.run import run

    try:
        return {"result": run(read_run_config(settings), overwrite=True)}
    except Exception as error:
        return {"failed": first_line(error)}


@contextmanager
def _ray(workers: int | None, address: str) -> Iterator[tuple[Any, int]]:
    """Ray, and how many runs it may have at a time; shut down in the end."""
    # Read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    here: dict[str, Any] = {
        "address": "local",
        "num_cpus": workers,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            **({"address": address} if address else here),
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _ONE_THREAD},
        )
    except (ConnectionError, RuntimeError) as error:
        where = f"--ray-address {address}" if address else "Ray"
        raise ConfigError(f"{where}: cannot be reached ({first_line(error)})") from error
    try:
        cluster: Any = ray.cluster_resources
        slots = workers or max(1, int(cluster().get("CPU", 1)))
        yield ray, slots
    finally:
        # Of a cluster of others only what this process has there.
        ray.shutdown()
