"""The protocol of a comparison's methods: fitted to train groups, they answer for others.

A baseline is one class in one file: :class:`Baseline` says what it must have. It is fitted to what
the train groups may train on and to nothing else, and is then asked about held-out groups with
some of their own answers as context, on the same targets as everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from alignment.data.population import Population
from alignment.model.prediction import Predict


class Watch(Protocol):
    """Told how far a method is, and what it would predict if it stopped here."""

    def __call__(self, done: int, rounds: int, predict: Predict) -> None:
        """Take note of the rounds done, of how many; nothing is learned from it."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A method that has learned what it will.

    Attributes:
        predict: What it says of a group; the context is all it is told of it.
        parameters: That were trained.
        rounds: Of a federation; None where data were gathered in one place.
        bytes_up_per_client_per_round: What a group sends in a round; None as ``rounds``.
        steps: Of the optimiser, of every client; None where there is none.
    """

    predict: Predict
    parameters: int = 0
    rounds: int | None = None
    bytes_up_per_client_per_round: int | None = None
    steps: int | None = None


class Baseline(Protocol):
    """A method to be compared with."""

    @property
    def title(self) -> str:
        """What it is called in tables, a few words."""

    @property
    def reads_context(self) -> bool:
        """Whether what it predicts depends on the context at all."""

    @property
    def settings(self) -> dict[str, object]:
        """All that its predictions hang on besides data and seed, as JSON: a change refits it."""

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        """Learn from the train groups.

        Args:
            population: As :func:`training_part` leaves it: without any held-out group.
            seed: Draws whatever is drawn.
            watch: To be told after every round, where there are several.
        """


def training_part(population: Population) -> Population:
    """A population without what a method must not learn from: held-out groups, unseen questions."""
    split = population.split
    return Population(
        answers={
            group: split.training_answers(population.answers[group]) for group in split.train_groups
        },
        split=replace(split, draws={}),
        records={},
        skipped=(),
    )
