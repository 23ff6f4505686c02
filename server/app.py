"""The ServerApp: sets up a run, runs its rounds, writes what they learned."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from atomic import write_atomically
from server.aggregation.base import Aggregation, MeanOfUpdates
from server.aggregation.compressed import MeanOfCompressed
from server.aggregation.robust import rule_for
from server.config import RunConfig, read_run_config
from server.rounds.cohort import Cohort
from server.rounds.collection import Collector, PlainCollector
from server.rounds.gossip import GossipCollector
from server.rounds.loop import Position, RoundLoop
from server.rounds.membership import Membership
from server.rounds.secagg_coordinator import SecureCollector
from server.state.checkpoint import FOLDER as CHECKPOINTS
from server.state.checkpoint import Checkpoint, Checkpoints, Registered
from server.state.resume import ReopenedLedger, find_checkpoint, reopened_ledger, restore
from server.state.telemetry import ROUNDS_FILE, observers
from server.state.witness import LedgerWitness
from strategies.base import Strategy, Visibility
from strategies.wire.round_plan import vector_digest

if TYPE_CHECKING:
    from alignment.model.predictor import Predictor

CONFIG_FILE = "config.toml"
PRIVACY_FILE = "privacy.json"

#: A node that comes later and does not say who it is keeps all others waiting for no longer.
_REFRESH_SECONDS = 60.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a federation as its run configuration says."""
    config = read_run_config(context.run_config)
    config.simulation.require_real_groups()
    run_federation(grid, config)


def run_federation(grid: Grid, config: RunConfig) -> None:
    """Run all rounds and leave model, rounds and configuration in ``config.out``.

    With ``config.resume`` the run that lies there goes on after its last checkpoint.

    Raises:
        ConfigError: There is nothing to go on from, or it is another run.
        CheckpointDamaged: The last checkpoint is not what was written.
        CheckpointUnwritable: The disk took no checkpoint; the one before is as it was.
    """
    from alignment.model.folder import save_predictor
    from alignment.model.predictor import Predictor
    from alignment.model.vector import load_vector, to_vector

    strategy = config.strategy.make()
    out = Path(config.out)
    kept = find_checkpoint(config) if config.resume else None
    with ExitStack() as stack:
        server_ledger = None
        if kept is not None and config.privacy.private:
            server_ledger = stack.enter_context(reopened_ledger(config, kept))
        _prepare(out, config)
        membership = _membership(grid, config, server_ledger)
        cohort = membership.gather()
        predictor = Predictor(config.predictor, seed=config.seed)
        first = vector = to_vector(predictor)
        after = None
        if kept is not None:
            vector, after = restore(kept, strategy, first)
        checkpoints = stack.enter_context(Checkpoints(out / CHECKPOINTS, also=(out / ROUNDS_FILE,)))
        promise = _PrivacySetup(aggregation=_unprotected(config, predictor, strategy), after=after)
        if config.privacy.private:
            promise = _privacy_setup(
                stack,
                config,
                cohort,
                predictor,
                server_ledger=server_ledger,
                start=vector_digest(first),
            )
        if kept is not None:
            promise.aggregation.restore(kept.aggregation)

        def keep(number: int, vector: NDArray[np.float32], aborted: int) -> None:
            checkpoints.hand_over(
                Checkpoint(
                    round=number,
                    aborted=aborted,
                    vector=vector,
                    state=strategy.state(),
                    aggregation=promise.aggregation.state(),
                    config=config.nested(),
                    registered=promise.registered(),
                )
            )

        loop = RoundLoop(
            grid=grid,
            cohort=cohort,
            config=config,
            strategy=strategy,
            aggregation=promise.aggregation,
            collector=_collector(grid, config, cohort, promise, checkpoints),
            observers=stack.enter_context(observers(config, after=kept.round if kept else None)),
            witness=promise.witness,
            membership=membership,
            keep=None if _meets(config) else keep,
        )
        vector = loop.run(vector, after=promise.after)
        checkpoints.settle()
        if _meets(config):
            # Every group has its own model; what the server holds is where they all began.
            return
        load_vector(predictor, vector)
        files = save_predictor(predictor, out, config.context)
        if promise.witness is not None:
            promise.witness.published(out, files, model=loop.last)


@dataclass(frozen=True, kw_only=True)
class _PrivacySetup:
    """What a run promises its groups, and who keeps watch.

    Attributes:
        aggregation: What is made of their vectors.
        run: Name of a private run.
        witness: Of a private run.
        plan: Of a private run, as JSON types.
        after: Where a run that was stopped goes on.
    """

    aggregation: Aggregation
    run: str = ""
    witness: LedgerWitness | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    after: Position | None = None

    def registered(self) -> Registered | None:
        """What a checkpoint keeps of it."""
        if self.witness is None:
            return None
        return Registered(plan=self.plan, head=self.witness.head)


def _unprotected(config: RunConfig, predictor: Predictor, strategy: Strategy) -> Aggregation:
    """What is made of updates without differential privacy."""
    from server.aggregation.step_sizes import steps_of

    training = replace(config.training, **strategy.tasks())  # type: ignore[arg-type]
    steps, rule = steps_of(predictor, training), rule_for(strategy)
    if config.compression.bits == 0:
        return MeanOfUpdates(steps, rule)
    return MeanOfCompressed(steps, config.compression, rule)


def _privacy_setup(
    stack: ExitStack,
    config: RunConfig,
    cohort: Cohort,
    predictor: Predictor,
    *,
    server_ledger: ReopenedLedger | None,
    start: str,
) -> _PrivacySetup:
    """Register the plan of a private run, or take up that of one that goes on.

    Args:
        stack: Closes the server's book when the run is over.
        config: The run.
        cohort: Who takes part.
        predictor: What is trained.
        server_ledger: Of a run that goes on.
        start: Digest of the vector that the run began from.
    """
    # Not even imported where nothing is private: accountants take seconds.
    from server.aggregation.private import (
        PrivateAggregation,
        keep_seats,
        keep_server_ledger,
        register_plan,
        restored_plan,
    )

    if server_ledger is None:
        registered, after = register_plan(config, cohort, predictor), None
        witness = stack.enter_context(keep_server_ledger(config, cohort, registered, model=start))
    else:
        registered = restored_plan(
            server_ledger.plan, config, cohort, predictor, server_ledger.seats
        )
        witness, after = server_ledger.go_on()
        stack.callback(keep_seats, registered, config, cohort)
    return _PrivacySetup(
        aggregation=PrivateAggregation(registered, config, cohort),
        run=registered.run,
        witness=witness,
        plan=registered.as_dict(),
        after=after,
    )


def _collector(
    grid: Grid, config: RunConfig, cohort: Cohort, promise: _PrivacySetup, checkpoints: Checkpoints
) -> Collector:
    # Groups pay for nothing before it is on disk what they have paid for.
    before_vectors = checkpoints.settle if config.privacy.private else None
    if _meets(config):
        return GossipCollector(
            grid,
            cohort,
            config.federation,
            promise.aggregation,
            run=promise.run,
            strategy=config.strategy.as_dict(),
            witness=promise.witness,
        )
    if not config.federation.secure_aggregation:
        return PlainCollector(
            grid, cohort, config.federation, promise.aggregation, before_vectors=before_vectors
        )
    return SecureCollector(
        grid,
        cohort,
        config.federation,
        promise.aggregation,
        run=promise.run,
        witness=promise.witness,
        before_vectors=before_vectors,
    )


def _meets(config: RunConfig) -> bool:
    """Whether groups meet each other, and the server has no model."""
    return config.strategy.make().visibility is Visibility.NOTHING


def _prepare(out: Path, config: RunConfig) -> None:
    """Make the folder of a run, with its settings and nothing of a run before."""
    out.mkdir(parents=True, exist_ok=True)
    if not config.resume:
        # First of all: nobody may go on from what another run has left.
        if (out / CHECKPOINTS).exists():
            shutil.rmtree(out / CHECKPOINTS)
        (out / PRIVACY_FILE).unlink(missing_ok=True)
    # That it was resumed is no part of what repeats a run.
    settings = tomli_w.dumps(replace(config, resume=False).nested())
    write_atomically(out / CONFIG_FILE, settings)


def _membership(grid: Grid, config: RunConfig, server_ledger: ReopenedLedger | None) -> Membership:
    federation, privacy = config.federation, config.privacy
    return Membership(
        grid,
        minimum_groups=federation.minimum_groups,
        timeout_seconds=federation.round_timeout_seconds,
        unit=privacy.unit if privacy.private else "",
        # Partners, like members of a sum, must have pinned each other's keys.
        secure=federation.secure_aggregation or _meets(config),
        roster=federation.roster,
        seats=federation.seats,
        units_per_seat=privacy.units_per_seat,
        seated=server_ledger.seats if server_ledger else (),
        keys=server_ledger.keys if server_ledger else None,
        refresh_timeout_seconds=min(federation.stage_timeout_seconds, _REFRESH_SECONDS),
    )
