"""The ServerApp: sets up a run, runs its rounds, writes what they learned."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import tomli_w
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.aggregation import Aggregation, MeanOfUpdates
from server.doorkeeper import gather_cohort
from server.collection import Collector, PlainCollector
from server.config import FederationConfig, RunConfig, read_run_config
from server.rounds import RoundLoop
from server.secagg_coordinator import SecureCollector
from server.telemetry import observers
from strategies.base import SumStrategy, require_visible
from strategies.fedavg import FedAvg
from strategies.fedopt import FedAdam
from strategies.round_plan import vector_digest

CONFIG_FILE = "config.toml"
PRIVACY_FILE = "privacy.json"

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a federation as its run configuration says."""
    run_federation(grid, read_run_config(context.run_config))


def run_federation(grid: Grid, config: RunConfig) -> None:
    """Run all rounds and leave model, rounds and configuration in ``config.out``."""
    from alignment.adapter import load_vector, save_predictor, to_vector
    from alignment.predictor import Predictor

    strategy, secure = _strategy(config.federation), config.federation.secure_aggregation
    require_visible(strategy, secure_aggregation=secure)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG_FILE).write_text(tomli_w.dumps(config.nested()), encoding="utf-8")
    cohort = gather_cohort(
        grid,
        minimum_groups=config.federation.minimum_groups,
        timeout_seconds=config.federation.round_timeout_seconds,
        unit=config.privacy.unit if config.privacy.private else "",
        secure=secure,
    )
    predictor = Predictor(config.predictor, seed=config.seed)
    start = to_vector(predictor)
    aggregation: Aggregation = MeanOfUpdates()
    run, witness = "", None
    (out / PRIVACY_FILE).unlink(missing_ok=True)
    with ExitStack() as stack:
        if config.privacy.private:
            # Not even imported where nothing is private: accountants take seconds.
            from server.private import PrivateAggregation, keep_book, register_plan

            registered = register_plan(config, cohort, predictor)
            run, aggregation = registered.run, PrivateAggregation(registered, config)
            book = keep_book(config, cohort, registered, model=vector_digest(start))
            witness = stack.enter_context(book)
        collector: Collector
        if secure:
            collector = SecureCollector(
                grid, cohort, config.federation, aggregation, run=run, witness=witness
            )
        else:
            collector = PlainCollector(grid, cohort, config.federation, aggregation)
        loop = RoundLoop(
            grid=grid,
            cohort=cohort,
            config=config,
            strategy=strategy,
            aggregation=aggregation,
            collector=collector,
            observers=stack.enter_context(observers(config)),
            witness=witness,
        )
        vector = loop.run(start)
        load_vector(predictor, vector)
        files = save_predictor(predictor, out, config.context)
        if witness is not None:
            witness.published(out, files, model=loop.last)


def _strategy(federation: FederationConfig) -> SumStrategy:
    if federation.server_optimizer == "average":
        return FedAvg(server_learning_rate=federation.server_learning_rate)
    return FedAdam(
        learning_rate=federation.server_learning_rate,
        momentum=federation.server_momentum,
        memory=federation.server_memory,
        averaging=federation.server_averaging,
    )
