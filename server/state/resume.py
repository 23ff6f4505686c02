"""Resumption of a run whose server has stopped.

Without differential privacy the round that was under way is run again. In a private run its groups
may have paid for it, so it is lost; the run keeps its name, its plan and its ledgers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.identity.key_folder import SERVERS, KeyFolder
from privacy.ledger.paths import SERVER_LEDGER, ledgers_folder
from privacy.ledger.server_ledger import ServerLedger
from server.config import ConfigError, RunConfig
from server.rounds.admission import TakenSeats
from server.rounds.loop import INTERRUPTED, MOST_ABORTED, Position
from server.state.checkpoint import FOLDER, Checkpoint, latest, require_same
from server.state.ledger import open_server_ledger
from server.state.witness import LedgerWitness
from strategies.base import Strategy
from strategies.wire.round_plan import vector_digest

logger = logging.getLogger(__name__)


def find_checkpoint(config: RunConfig) -> Checkpoint:
    """The newest checkpoint of the run that is to go on.

    Raises:
        ConfigError: There is none, or it is of a run with other settings.
        CheckpointDamaged: It is not what was written.
    """
    checkpoint = latest(Path(config.out) / FOLDER)
    require_same(config, checkpoint)
    if is_done(config, checkpoint):
        logger.warning("round %d was the last: the model is published again", checkpoint.round)
    return checkpoint


def is_done(config: RunConfig, checkpoint: Checkpoint) -> bool:
    """Whether no round is left to run."""
    ended_early = checkpoint.aborted >= MOST_ABORTED
    return ended_early or checkpoint.round >= config.federation.rounds


def restore(
    checkpoint: Checkpoint, strategy: Strategy, start: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Position]:
    """Give a strategy its state back; the vector that the run goes on from, and where.

    Args:
        checkpoint: Of the run.
        strategy: Without a state.
        start: (d,) float32, what the run would begin from.

    Raises:
        ValueError: The checkpoint is of another model, or of another strategy.
    """
    vector = checkpoint.vector
    shapes = {each.shape for name, each in checkpoint.state.items() if name != "steps"}
    if vector.dtype != np.float32 or {vector.shape, *shapes} != {start.shape}:
        raise ConfigError(
            f"the checkpoint of round {checkpoint.round} holds {vector.dtype} vectors of shape "
            f"{vector.shape}, float32 of {start.shape} needed: give the encoder that the run had"
        )
    strategy.restore(checkpoint.state)
    return vector, Position(round=checkpoint.round, aborted=checkpoint.aborted)


class ReopenedLedger:
    """The server ledger of a private run that goes on.

    Args:
        server_ledger: Open.
        checkpoint: Where the run goes on.
        config: The run.

    Attributes:
        plan: The registered plan, as ``RegisteredPlan.as_dict`` gave it.
        taken: Its seats, and the keys of the groups that hold them.
    """

    def __init__(
        self, server_ledger: ServerLedger, checkpoint: Checkpoint, config: RunConfig
    ) -> None:
        if checkpoint.registered is None:
            raise ConfigError("the checkpoint is of a run without privacy: it keeps no ledger")
        server_ledger.require(checkpoint.registered.head)
        self._server_ledger = server_ledger
        self._checkpoint = checkpoint
        self._config = config
        self.plan: Mapping[str, Any] = checkpoint.registered.plan
        self._run = str(self.plan["run"])
        history = server_ledger.history(self._run)
        self.taken = TakenSeats(groups=history.seats, keys=history.keys)

    def go_on(self) -> tuple[LedgerWitness, Position]:
        """Write down that the run goes on; rounds that may have been paid for are lost."""
        checkpoint, secure = self._checkpoint, self._config.federation.secure_aggregation
        named = self._server_ledger.history(self._run).last
        # In the clear nothing shows whether the next round has been begun: it may have been.
        begun = named if secure else max(named, checkpoint.round) + 1
        last = min(begun, self._config.federation.rounds)
        if is_done(self._config, checkpoint):
            last = checkpoint.round
        lost = tuple(range(checkpoint.round + 1, last + 1))
        for number in () if secure else lost:
            if number > named:
                evidence = {"run": self._run, "round": number}
                self._server_ledger.lost(evidence, reason=INTERRUPTED)
        model = vector_digest(checkpoint.vector)
        self._server_ledger.resumed(self._run, round=checkpoint.round, model=model)
        after = Position(round=checkpoint.round, aborted=checkpoint.aborted, lost=lost)
        return LedgerWitness(self._server_ledger, self._run), after


@contextmanager
def reopened_ledger(config: RunConfig, checkpoint: Checkpoint) -> Iterator[ReopenedLedger]:
    """Open the server ledger of a private run that is to go on.

    Raises:
        ConfigError: Ledger or keys are gone.
        LedgerError: The ledger is open elsewhere, corrupt, or older than the checkpoint.
    """
    out, ledgers = Path(config.out), config.privacy.ledgers
    path = ledgers_folder(out, ledgers) / SERVER_LEDGER
    keys = KeyFolder.of_run(out, ledgers)
    for needed in (path, keys.folder / SERVERS):
        if not needed.exists():
            raise ConfigError(
                f"{needed}: is missing, and the run cannot go on without it: put it back, or begin "
                "another run"
            )
    with open_server_ledger(config) as server_ledger:
        yield ReopenedLedger(server_ledger, checkpoint, config)
