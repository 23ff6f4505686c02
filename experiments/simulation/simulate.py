"""All rounds of a federation in one process: the same apps that a deployment runs."""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from alignment.data.population import Population
from clients.app import app as client_app
from clients.sessions.group_ledger import RefusedByLedger
from experiments.simulation.dropouts import Dropouts
from experiments.simulation.local_grid import LocalGrid, run_server_app
from experiments.simulation.traffic import add_bytes
from server.app import run_federation
from server.config import RunConfig, read_run_config
from server.rounds.cohort import CohortError

logger = logging.getLogger(__name__)

server_app = ServerApp()


@server_app.main()
def _main(grid: Grid, context: Context) -> None:
    """The server of a deployment, but for its refusal of what is done to simulated groups."""
    run_federation(grid, read_run_config(context.run_config))


class SimulationError(RuntimeError):
    """A simulated client failed: in one process that is a fault, unless its ledger refused."""


def simulate(config: RunConfig, population: Population, *, serialize: bool = True) -> LocalGrid:
    """Run every round of a federation in this process; the model lies in ``config.out``.

    The bytes of every round are added to its ``rounds.jsonl``.

    Args:
        config: The run.
        population: What ``config.data`` holds; the clients open it themselves.
        serialize: False passes messages as Python objects, for measuring what serialising costs.

    Returns:
        The grid with its counts of bytes and seconds.

    Raises:
        SimulationError: A client failed.
    """
    count = len(population.groups)
    settings = config.flat()
    dropouts = Dropouts(chance=config.simulation.dropout, seed=config.seed)
    grid = LocalGrid(
        client_app=client_app,
        node_configs=[{"partition-id": i, "num-partitions": count} for i in range(count)],
        run_config=settings,
        serialize=serialize,
        before_delivery=lambda message: not _faults(grid) and not dropouts.lost(message),
    )
    try:
        run_server_app(server_app, grid, run_config=settings)
    except CohortError as error:
        _refuse_failures(grid, error)
        if grid.failures:
            refusal = _first_cause(grid.failures[0].traceback).partition(": ")[2]
            raise SimulationError(
                f"{error}; {len(grid.failures)} times a group refused: {refusal}; "
                "fedaccord client status shows what is left"
            ) from error
        raise
    finally:
        add_bytes(Path(config.out), grid)
    _refuse_failures(grid)
    return grid


def _faults(grid: LocalGrid) -> list[str]:
    """Tracebacks of failures that are no refusals of a ledger: those are what groups are for."""
    refusal = f"{RefusedByLedger.__module__}.{RefusedByLedger.__name__}: "
    traces = [failure.traceback for failure in grid.failures]
    return [trace for trace in traces if not _first_cause(trace).startswith(refusal)]


def _refuse_failures(grid: LocalGrid, cause: Exception | None = None) -> None:
    for trace in _faults(grid)[:1]:
        logger.debug("first failure of a client:\n%s", trace)
        raise SimulationError(f"a client failed: {_first_cause(trace)}") from cause


def _first_cause(trace: str) -> str:
    """The last line of a traceback, or of the first one where one error caused another."""
    first = trace.split("\nThe above exception was the direct cause", maxsplit=1)[0]
    return first.strip().splitlines()[-1]
