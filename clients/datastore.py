"""The records of one group, as its client sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.answers import GroupAnswers
from alignment.population import load_population
from alignment.split import Draw
from alignment.units import UnitRecords
from clients.config import SimulatedClientConfig
from privacy.key_folder import KeyFolder
from privacy.ledger.places import group_ledger, ledgers_folder


@dataclass(frozen=True, kw_only=True)
class Datastore:
    """What a client may read. Its printed form shows no record.

    Attributes:
        group: Name of the group.
        training: What it trains on; None for a held-out group.
        answers: All its answers.
        draws: Contexts and targets on which a held-out group measures; empty for a train group.
        units: Its units of privacy, by the name of the unit; what they may be trained on.
        private: Whether records of this run may be trained on under a privacy plan only.
        secure: Whether its vectors leave under masks only.
        fewest_members: Into a sum over fewer groups than these no vector goes.
        keys: Where keys and rosters lie.
        ledger: File of the group's budget ledger.
        budget_epsilon: What its data may ever spend; 0 for the first run's plan and no more.
        budget_delta: Delta of that.
        evaluation_is_public: Whether what is measured on its draws may leave as it is.
    """

    group: str
    training: GroupAnswers | None
    answers: GroupAnswers
    draws: tuple[Draw, ...]
    units: Callable[[str], Sequence[UnitRecords]]
    private: bool
    secure: bool
    fewest_members: int
    keys: KeyFolder
    ledger: Path
    budget_epsilon: float
    budget_delta: float
    evaluation_is_public: bool

    def __repr__(self) -> str:
        return f"Datastore(group={self.group!r})"


def open_datastore(config: SimulatedClientConfig) -> Datastore | None:
    """Open the records of one simulated group; None where there are more nodes than groups.

    Raises:
        ValueError: There are fewer nodes than groups: some would be left out without a word.
    """
    population = load_population(
        config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
    )
    if config.places < len(population.groups):
        needed = len(population.groups)
        raise ValueError(
            f"the simulation has {config.places} nodes for {needed} groups: num-supernodes={needed}"
        )
    if config.place >= len(population.groups):
        return None
    group = population.groups[config.place]
    answers = population.answers[group]
    draws = population.split.draws.get(group, ())
    training = None if draws else population.split.training_answers(answers)
    return Datastore(
        group=group,
        training=training,
        answers=answers,
        draws=draws,
        units=lambda unit: population.training_units(group, unit=unit),
        private=config.private,
        secure=config.secure,
        fewest_members=config.fewest_members,
        keys=KeyFolder.of_run(Path(config.out), config.ledgers),
        ledger=group_ledger(ledgers_folder(Path(config.out), config.ledgers), group),
        budget_epsilon=config.budget_epsilon,
        budget_delta=config.budget_delta,
        # Held-out groups of a simulation are there to be measured; their data are the researcher's.
        evaluation_is_public=True,
    )
