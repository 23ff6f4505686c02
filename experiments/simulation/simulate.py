"""All rounds of a federation in one process: the same apps that a deployment runs."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from alignment.data.population import Population
from clients.app import app as client_app
from clients.sessions.group_ledger import RefusedByLedger
from experiments.simulation.dropouts import Dropouts
from experiments.simulation.grid_records import HandlerFailure
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.traffic import add_bytes
from server.app import run_federation
from server.config import RunConfig
from server.rounds.cohort import CohortError

logger = logging.getLogger(__name__)


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
    dropouts = Dropouts(chance=config.simulation.dropout, seed=config.seed)
    grid = LocalGrid(
        client_app=client_app,
        node_configs=[{"partition-id": i, "num-partitions": count} for i in range(count)],
        run_config=config.flat(),
        serialize=serialize,
        before_delivery=lambda message: not _faults(grid) and not dropouts.lost(message),
    )
    try:
        with grid.as_server():
            run_federation(grid, config)
    except CohortError as error:
        _raise_fault(grid, error)
        if grid.failures:
            raise SimulationError(
                f"{error}; {len(grid.failures)} times a group refused: "
                f"{grid.failures[0].first_cause}; fedaccord client status shows what is left"
            ) from error
        raise
    finally:
        add_bytes(Path(config.out), grid)
    _raise_fault(grid)
    return grid


def _faults(grid: LocalGrid) -> list[HandlerFailure]:
    """Failures that are no refusals of a ledger: those are what groups are for."""
    return [each for each in grid.failures if not isinstance(each.first_cause, RefusedByLedger)]


def _raise_fault(grid: LocalGrid, cause: Exception | None = None) -> None:
    for fault in _faults(grid)[:1]:
        logger.debug("first failure of a client:\n%s", fault.traceback)
        text = "".join(traceback.format_exception_only(fault.first_cause))
        raise SimulationError(f"a client failed: {text.strip().splitlines()[-1]}") from cause
