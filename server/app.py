"""The ServerApp of a federation: sets up a run, runs its rounds, writes what they learned."""

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
from privacy.file_names import CONFIG_FILE, LINEAGE_FILE, PRIVACY_FILE, START_FILE
from server.aggregation.base import Aggregation, MeanOfUpdates
from server.aggregation.compressed import MeanOfCompressed
from server.aggregation.robust import rule_for
from server.config import RunConfig, read_run_config
from server.rounds.admission import MembershipTerms
from server.rounds.cohort import Cohort
from server.rounds.collection import Collector, PlainCollector
from server.rounds.evaluation import HeldOutEvaluation
from server.rounds.gossip import GossipCollector
from server.rounds.loop import Keeper, Position, RoundLoop
from server.rounds.membership import Membership
from server.rounds.secagg_coordinator import SecureCollector
from server.state.checkpoint import FOLDER as CHECKPOINTS
from server.state.checkpoint import Checkpoint, Checkpoints, Registered
from server.state.ledger import begun_ledger
from server.state.resume import ReopenedLedger, find_checkpoint, reopened_ledger, restore
from server.state.start import Start, read_start, resumed_start, told, write_lineage
from server.state.telemetry import ROUNDS_FILE, observers
from server.state.witness import Witness
from strategies.base import Strategy
from strategies.wire.round_plan import vector_digest

if TYPE_CHECKING:
    from alignment.model.predictor import Predictor


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
    out = Path(config.out)
    checkpoint = find_checkpoint(config) if config.resume else None
    with ExitStack() as stack:
        ledger = None
        if checkpoint is not None and config.privacy.private:
            ledger = stack.enter_context(reopened_ledger(config, checkpoint))
        # First of all: what cannot be begun from must not cost what a folder held.
        start = read_start(config) if checkpoint is None else resumed_start(config, checkpoint)
        _prepare(out, config, start)
        membership = Membership(
            grid, MembershipTerms.of(config), taken=ledger.taken if ledger else None
        )
        cohort = membership.gather()
        learner = _learner(config, checkpoint, start)
        checkpoints = stack.enter_context(Checkpoints(out / CHECKPOINTS, also=(out / ROUNDS_FILE,)))
        setup = _setup(stack, config, cohort, learner, ledger)
        if checkpoint is not None:
            setup.aggregation.restore(checkpoint.aggregation)
        after = checkpoint.round if checkpoint else None
        loop = RoundLoop(
            config=told(config, start),
            cohort=cohort,
            strategy=learner.strategy,
            aggregation=setup.aggregation,
            collector=_collector(grid, config, cohort, setup, checkpoints),
            evaluation=HeldOutEvaluation(grid, cohort, config.federation),
            observers=stack.enter_context(observers(config, after=after)),
            witness=setup.witness,
            membership=membership,
            keep=_keeper(config, learner, setup, checkpoints),
        )
        vector = loop.run(learner.vector, after=setup.after)
        checkpoints.settle()
        # In pairs every group has its own model; the server holds where they all began.
        if not config.strategy.in_pairs:
            _publish(config, cohort, learner, vector, setup)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Learner:
    """Model and strategy, and how far they have come.

    Attributes:
        predictor: Of the shape that is trained.
        strategy: In the state from which the run goes on.
        first: Digest of the vector that the run began from.
        vector: (d,) float32, from which it goes on.
        after: Where; None begins the run.
        start: What it began from; None where its first values were drawn.
    """

    predictor: Predictor
    strategy: Strategy
    first: str
    vector: NDArray[np.float32]
    after: Position | None
    start: Start | None


def _learner(config: RunConfig, checkpoint: Checkpoint | None, start: Start | None) -> _Learner:
    # Torch takes seconds to import: what is refused before it is refused at once.
    from alignment.model.predictor import Predictor
    from alignment.model.vector import to_vector

    predictor = start.predictor if start else None
    predictor = predictor or Predictor(config.predictor, seed=config.seed)
    strategy = config.strategy.make()
    first = vector = to_vector(predictor)
    after = None
    if checkpoint is not None:
        vector, after = restore(checkpoint, strategy, first)
    return _Learner(
        predictor=predictor,
        strategy=strategy,
        first=start.model if start else vector_digest(first),
        vector=vector,
        after=after,
        start=start,
    )


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """Aggregation of a run and, where it is private, its plan and witness.

    Attributes:
        aggregation: Of the groups' vectors.
        after: Where a run that was stopped goes on; None begins it.
        run: Name of a private run.
        witness: Keeps what a reviewer will ask about.
        plan: Of a private run, as JSON types.
    """

    aggregation: Aggregation
    after: Position | None
    run: str = ""
    witness: Witness = field(default_factory=Witness)
    plan: Mapping[str, Any] = field(default_factory=dict)


def _unprotected(config: RunConfig, learner: _Learner) -> Aggregation:
    """The aggregation of updates without differential privacy."""
    from server.aggregation.step_sizes import steps_of

    tasks: dict[str, Any] = dict(learner.strategy.tasks())
    training = replace(config.training, **tasks)
    steps, rule = steps_of(learner.predictor, training), rule_for(learner.strategy)
    if config.compression.bits == 0:
        return MeanOfUpdates(steps, rule)
    return MeanOfCompressed(steps, config.compression, rule)


def _setup(
    stack: ExitStack,
    config: RunConfig,
    cohort: Cohort,
    learner: _Learner,
    ledger: ReopenedLedger | None,
) -> _Setup:
    """The aggregation; a private run registers its plan, or takes up that of one that goes on.

    Args:
        stack: Closes the server ledger when the run is over.
        config: The run.
        cohort: Who takes part.
        learner: What is trained.
        ledger: Of a private run that goes on.
    """
    if not config.privacy.private:
        return _Setup(aggregation=_unprotected(config, learner), after=learner.after)
    # Not even imported where nothing is private: accountants take seconds.
    from server.aggregation.counted import CountedAggregation
    from server.aggregation.private import PrivateAggregation
    from server.aggregation.registration import (
        PlanSections,
        keep_seats,
        register_plan,
        restored_plan,
    )

    if ledger is None:
        stated = learner.start.stated if learner.start else None
        registered, after = register_plan(config, cohort, learner.predictor, stated), None
        witness = stack.enter_context(begun_ledger(config, cohort, registered, model=learner.first))
    else:
        registered = restored_plan(
            ledger.plan, config, cohort, learner.predictor, ledger.taken.groups
        )
        witness, after = ledger.go_on()
    # Groups may come later and take free seats.
    stack.callback(keep_seats, registered, config, cohort)
    aggregation: Aggregation
    if config.privacy.counted:
        sections = PlanSections(registered, config, cohort)
        aggregation = CountedAggregation(_unprotected(config, learner), sections)
    else:
        aggregation = PrivateAggregation(registered, config, cohort)
    return _Setup(
        aggregation=aggregation,
        after=after,
        run=registered.run,
        witness=witness,
        plan=registered.as_dict(),
    )


def _collector(
    grid: Grid, config: RunConfig, cohort: Cohort, setup: _Setup, checkpoints: Checkpoints
) -> Collector:
    given = (grid, cohort, config.federation, setup.aggregation)
    if config.strategy.in_pairs:
        strategy = config.strategy.as_dict()
        return GossipCollector(*given, run=setup.run, witness=setup.witness, strategy=strategy)
    kind = SecureCollector if config.federation.secure_aggregation else PlainCollector
    collector = kind(*given, run=setup.run, witness=setup.witness)
    if config.privacy.private:
        # Groups pay for nothing before it is on disk what they have paid for.
        collector.before_vectors = checkpoints.settle
    return collector


def _keeper(
    config: RunConfig, learner: _Learner, setup: _Setup, checkpoints: Checkpoints
) -> Keeper:
    """A callable that has a checkpoint written of every round, where the server has a model."""
    if config.strategy.in_pairs:
        return lambda *_: None

    def keep(number: int, vector: NDArray[np.float32], aborted: int) -> None:
        private = config.privacy.private
        registered = Registered(plan=setup.plan, head=setup.witness.head) if private else None
        checkpoints.hand_over(
            Checkpoint(
                round=number,
                aborted=aborted,
                vector=vector,
                state=learner.strategy.state(),
                aggregation=setup.aggregation.state(),
                config=config.nested(),
                registered=registered,
            )
        )

    return keep


def _publish(
    config: RunConfig,
    cohort: Cohort,
    learner: _Learner,
    vector: NDArray[np.float32],
    setup: _Setup,
) -> None:
    """Leave the model and its lineage in the folder of the run; a private one signs them."""
    from alignment.model.folder import save_predictor
    from alignment.model.vector import load_vector

    out, published = Path(config.out), learner.strategy.published(vector)
    load_vector(learner.predictor, published)
    files = save_predictor(learner.predictor, out, config.context)
    write_lineage(
        out,
        vector_digest(published),
        plan=setup.plan,
        groups=tuple(cohort.group_indices),
        start=learner.start,
    )
    setup.witness.published(out, (*files, LINEAGE_FILE), model=vector_digest(vector))


def _prepare(out: Path, config: RunConfig, start: Start | None) -> None:
    """Make the folder of a run, with its settings and nothing of a run before."""
    out.mkdir(parents=True, exist_ok=True)
    if not config.resume:
        # First of all: nobody may go on from what another run has left.
        if (out / CHECKPOINTS).exists():
            shutil.rmtree(out / CHECKPOINTS)
        for name in (PRIVACY_FILE, LINEAGE_FILE, START_FILE):
            (out / name).unlink(missing_ok=True)
        if start is not None:
            start.write(out)
    # That it was resumed is no part of what repeats a run.
    settings = tomli_w.dumps(replace(config, resume=False).nested())
    write_atomically(out / CONFIG_FILE, settings)
