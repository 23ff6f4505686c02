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
from privacy.audit.evidence import gather
from privacy.ledger.paths import group_ledger, ledgers_folder
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


def left_out(config: RunConfig, population: Population) -> dict[str, int]:
    """Count the people of each train group whom a finished run has left out, for lack of budget.

    A deployed group learns that of itself alone. All ledgers of a simulation are the researcher's.

    Args:
        config: The run.
        population: What ``config.data`` holds.

    Returns:
        By group, all who took no part in some round for what earlier runs have spent; empty where
        the run has ledgers of its own or is not private.

    Raises:
        SimulationError: Nobody took part in any round, so that the run has made nothing but noise.
    """
    if not (config.privacy.private and config.privacy.ledgers):
        return {}
    folder = ledgers_folder(Path(config.out), config.privacy.ledgers)
    files = {group_ledger(folder, group): group for group in population.split.train_groups}
    counts: dict[str, int] = {}
    met: list[bool] = []
    for ledger in gather([path for path in files if path.is_file()]).ledgers:
        if ledger.state is None:
            raise SimulationError(f"{ledger.file}: {ledger.error}")
        # Of the run itself, or of the counts that it was trained on.
        counted = config.privacy.counted
        plans = [
            run for run, each in ledger.state.plans.items() if bool(each.plan.counts) == counted
        ]
        spends = ledger.state.left_out.get(plans[-1] if plans else "", [])
        counts[files[ledger.file]] = max((absent for absent, _ in spends), default=0)
        met += [absent < everybody for absent, everybody in spends]
    if met and not any(met):
        raise SimulationError(
            f"nobody took part: by the ledgers in {config.privacy.ledgers} earlier runs have spent "
            "the budget of everybody in the data, and the model is noise alone; use other data, or "
            "see what is left by fedaccord client status"
        )
    return counts


def _faults(grid: LocalGrid) -> list[HandlerFailure]:
    """Failures that are no refusals of a ledger: those are what groups are for."""
    return [each for each in grid.failures if not isinstance(each.first_cause, RefusedByLedger)]


def _raise_fault(grid: LocalGrid, cause: Exception | None = None) -> None:
    for fault in _faults(grid)[:1]:
        logger.debug("first failure of a client:\n%s", fault.traceback)
        text = "".join(traceback.format_exception_only(fault.first_cause))
        raise SimulationError(f"a client failed: {text.strip().splitlines()[-1]}") from cause
