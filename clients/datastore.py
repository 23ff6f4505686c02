"""The records of one group, as its client sees them."""

from __future__ import annotations

from dataclasses import dataclass

from alignment.answers import GroupAnswers
from alignment.population import load_population
from alignment.split import Draw
from clients.config import SimulatedClientConfig


@dataclass(frozen=True, kw_only=True)
class Datastore:
    """What a client may read. Its printed form shows no record.

    Attributes:
        group: Name of the group.
        training: What it trains on; None for a held-out group.
        answers: All its answers.
        draws: Contexts and targets on which a held-out group measures; empty for a train group.
    """

    group: str
    training: GroupAnswers | None
    answers: GroupAnswers
    draws: tuple[Draw, ...]

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
    return Datastore(group=group, training=training, answers=answers, draws=draws)
