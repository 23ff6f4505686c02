"""The server ledger of a run, opened with the server's own key, and the public keys beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atomic import write_atomically
from privacy.file_names import ROSTER_FILE
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.ledger.paths import SERVER_LEDGER, ledgers_folder
from privacy.ledger.server_ledger import ServerLedger
from server.config import RunConfig
from server.rounds.cohort import Cohort
from server.state.witness import LedgerWitness

if TYPE_CHECKING:
    from server.aggregation.registration import RegisteredPlan


@contextmanager
def open_server_ledger(config: RunConfig) -> Iterator[ServerLedger]:
    """Open the server ledger of a run, and leave the keys of all parties beside it.

    Raises:
        LedgerError: The ledger is open elsewhere, or corrupt.
    """
    out, ledgers = Path(config.out), config.privacy.ledgers
    keys, folder = KeyFolder.of_run(out, ledgers), ledgers_folder(out, ledgers)
    identity = keys.own(SERVER, role=SERVERS)
    folder.mkdir(parents=True, exist_ok=True)
    with ServerLedger.open(folder / SERVER_LEDGER, identity, name=SERVER) as server_ledger:
        _write_pins(config, keys, identity)
        try:
            yield server_ledger
        finally:
            # Groups may have come since.
            _write_pins(config, keys, identity)


@contextmanager
def begun_ledger(
    config: RunConfig, cohort: Cohort, registered: RegisteredPlan, *, model: str
) -> Iterator[LedgerWitness]:
    """Begin a run in the server ledger.

    Args:
        config: The run.
        cohort: Who takes part.
        registered: The plan.
        model: Digest of the vector the run starts from.
    """
    members = Roster({name: cohort.identities[name] for name in registered.groups if name})
    with open_server_ledger(config) as server_ledger:
        server_ledger.begin(
            registered.run,
            registered.plan,
            groups=members,
            model=model,
            secure=config.federation.secure_aggregation,
            pairs=config.strategy.in_pairs,
            epsilons={
                "dp-accounting PLD": registered.epsilon_pld,
                "Opacus PRV": registered.epsilon_opacus,
            },
        )
        yield LedgerWitness(server_ledger, registered.run)


def _write_pins(config: RunConfig, keys: KeyFolder, server: Identity) -> None:
    """Leave the keys of all parties beside the ledgers: those admitted, or those of a simulation.

    A reviewer who has them from the groups themselves takes those instead.
    """
    admitted = config.federation.roster
    members = Roster.read(Path(admitted)) if admitted else keys.roster()
    text = rosters_json(members, Roster({SERVER: server.public}))
    folder = ledgers_folder(Path(config.out), config.privacy.ledgers)
    write_atomically(folder / ROSTER_FILE, text + "\n")
