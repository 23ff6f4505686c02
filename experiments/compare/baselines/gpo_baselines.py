"""Group Preference Optimization as a baseline: trained in one place, or by federated averaging.

The federated one is the setting of PluralLLM (https://arxiv.org/abs/2503.09925) with its published
defaults: every round all groups take six steps of Adam on batches of their own answers, keep the
optimiser's state to themselves, and the server averages their parameters. In one place a step takes
a batch of every group. Both take the same number of steps, and the model is that of the last one.

Where this departs from PluralLLM's code: groups train on all that they may train on and not on nine
tenths of it; averages are weighted by the number of a group's questions and not by the size of one
batch; nothing is chosen by the scores of held-out groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.model.prediction import Distribution, Predict
from experiments.compare.baselines.gpo import GroupPreferenceOptimization, Points, Shape
from experiments.compare.baselines.methods import Fitted, Watch
from experiments.compare.baselines.sentences import Sentences

#: Steps of a group in a round, and rounds, by PluralLLM's defaults.
LOCAL_STEPS = 6
ROUNDS = 100
_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings of a network; the defaults are PluralLLM's.

    Attributes:
        rounds: Of so many steps.
        local_steps: Of a round.
        learning_rate: Of Adam at its highest.
        half_period: Steps in which the learning rate falls to 0 by a cosine, and in as many
            rises again.
        fewest_questions: Of a context, and of the targets; both drawn evenly for each batch.
        most_questions: The same.
    """

    rounds: int = ROUNDS
    local_steps: int = LOCAL_STEPS
    learning_rate: float = 3e-4
    half_period: int = 100
    fewest_questions: int = 9
    most_questions: int = 90

    def __post_init__(self) -> None:
        """Refuse a training that could not be one."""
        if min(self.rounds, self.local_steps, self.fewest_questions) < 1:
            raise ValueError(
                f"rounds = {self.rounds}, local_steps = {self.local_steps} and fewest_questions = "
                f"{self.fewest_questions} must be >= 1: raise them"
            )


class _Optimizer:
    """Adam under a learning rate that falls and rises by a cosine."""

    def __init__(self, network: GroupPreferenceOptimization, recipe: Recipe) -> None:
        self._network = network
        self._adam = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, fused=True)
        half = recipe.half_period
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: (1 + math.cos(math.pi * step / half)) / 2
        )

    def step(self, context: Sequence[Points], targets: Sequence[Points]) -> float:
        """One step on a batch; returns its loss."""
        self._adam.zero_grad()
        loss = self._network.loss(context, targets)
        loss.backward()
        self._adam.step()
        self._schedule.step()
        return loss.item()


@dataclass(frozen=True, kw_only=True)
class _TrainingTasks:
    """The training questions of a group, embedded.

    Attributes:
        inputs: Of each question, (options, d) float32.
        shares: Of each question, the group's answer.
    """

    inputs: tuple[Tensor, ...]
    shares: tuple[Distribution, ...]

    def draw(self, shown: int, asked: int, generator: np.random.Generator) -> tuple[Points, Points]:
        """Context and targets: about so many questions, at least one of each, none in both."""
        order = generator.permutation(len(self.inputs)).tolist()
        shown = min(shown, len(order) - 1)
        context, targets = order[:shown], order[shown : shown + asked]
        return self._points(context), self._points(targets)

    def _points(self, rows: Sequence[int]) -> Points:
        return Points.gather([self.inputs[i] for i in rows], [self.shares[i] for i in rows])


def _sizes(recipe: Recipe, generator: np.random.Generator) -> tuple[int, int]:
    shown, asked = generator.integers(
        recipe.fewest_questions, recipe.most_questions, size=2, endpoint=True
    ).tolist()
    return shown, asked


@dataclass(frozen=True, kw_only=True)
class GpoBaseline:
    """Group Preference Optimization.

    Args:
        sentences: Embeddings of options.
        federated: Federated averaging over the train groups; else all data in one place.
        rescaled: Embeddings are multiplied by the root of their width, so that their components
            are about 1 in size as those of the large models that both papers embed with; else they
            are as the encoder gives them, of length 1.
        recipe: Of the training.
        shape: Of the network.
    """

    sentences: Sentences
    federated: bool
    rescaled: bool = False
    recipe: Recipe = field(default_factory=Recipe)
    shape: Shape = field(default_factory=Shape)
    reads_context: bool = True

    @property
    def title(self) -> str:
        """Its name in tables."""
        name = "PluralLLM (federated GPO)" if self.federated else "GPO, one place"
        return f"{name}, rescaled" if self.rescaled else name

    @property
    def settings(self) -> dict[str, object]:
        """Encoder, training and network."""
        given = {"federated": self.federated, "rescaled": self.rescaled}
        return {**self.sentences.settings, **given, **asdict(self.recipe), **asdict(self.shape)}

    def _inputs(self, questions: Sequence[Question]) -> list[Tensor]:
        embedded = self.sentences.of(questions)
        return [row * row.shape[-1] ** 0.5 for row in embedded] if self.rescaled else embedded

    def _predict(self, network: GroupPreferenceOptimization) -> Predict:
        def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
            asked = Points.gather(
                self._inputs(questions), [(0.0,) * len(q.options) for q in questions]
            )
            known = Points.none(asked.inputs.shape[1])
            if len(context):
                known = Points.gather(self._inputs(context.questions), context.targets)
            return [_exact(row) for row in network.predict(known, asked)]

        return predict

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        """Train on the groups that have two answers and more: one to show and one to predict.

        Raises:
            ValueError: There is no such group.
        """
        tasks = {
            group: _TrainingTasks(inputs=tuple(self._inputs(each.questions)), shares=each.targets)
            for group, each in population.answers.items()
            if len(each) > 1
        }
        if not tasks:
            raise ValueError(
                "no train group has 2 answers, one to show and one to predict: add answers"
            )
        width = next(iter(tasks.values())).inputs[0].shape[1]
        network = GroupPreferenceOptimization(width, self.shape, seed=seed)
        rounds = self._federated if self.federated else self._gathered
        predict = self._predict(network)
        watch(0, self.recipe.rounds, predict)
        for done in rounds(network, tasks, np.random.default_rng(seed)):
            watch(done, self.recipe.rounds, predict)
        return Fitted(
            predict=predict,
            parameters=network.size,
            rounds=self.recipe.rounds if self.federated else None,
            bytes_up_per_client_per_round=(
                _BYTES_PER_PARAMETER * network.size if self.federated else None
            ),
            steps=self.recipe.rounds * self.recipe.local_steps,
        )

    def _gathered(
        self,
        network: GroupPreferenceOptimization,
        tasks: Mapping[str, _TrainingTasks],
        generator: np.random.Generator,
    ) -> Iterator[int]:
        """Train in one place; yields after every so many steps as a round of the other takes."""
        optimizer = _Optimizer(network, self.recipe)
        for done in range(1, self.recipe.rounds + 1):
            for _ in range(self.recipe.local_steps):
                sizes = _sizes(self.recipe, generator)
                pairs = [each.draw(*sizes, generator) for each in tasks.values()]
                optimizer.step([context for context, _ in pairs], [asked for _, asked in pairs])
            yield done

    def _federated(
        self,
        network: GroupPreferenceOptimization,
        tasks: Mapping[str, _TrainingTasks],
        generator: np.random.Generator,
    ) -> Iterator[int]:
        """Train by federated averaging; the network is the global one after every round."""
        width = tasks[next(iter(tasks))].inputs[0].shape[1]
        clients = {group: GroupPreferenceOptimization(width, self.shape) for group in tasks}
        optimizers = {group: _Optimizer(each, self.recipe) for group, each in clients.items()}
        total = sum(len(each.inputs) for each in tasks.values())
        weights = [len(each.inputs) / total for each in tasks.values()]
        for done in range(1, self.recipe.rounds + 1):
            for group, client in clients.items():
                client.load_state_dict(network.state_dict())
                for _ in range(self.recipe.local_steps):
                    context, asked = tasks[group].draw(*_sizes(self.recipe, generator), generator)
                    optimizers[group].step([context], [asked])
            _average(network, list(clients.values()), weights)
            yield done


@torch.no_grad()
def _average(
    network: GroupPreferenceOptimization,
    clients: Sequence[GroupPreferenceOptimization],
    weights: Sequence[float],
) -> None:
    """Set the network's parameters to the weighted mean of the clients'."""
    of_clients = zip(*(client.parameters() for client in clients), strict=True)
    for parameter, theirs in zip(network.parameters(), of_clients, strict=True):
        parameter.copy_(
            sum((w * each for w, each in zip(weights, theirs, strict=True)), torch.zeros(()))
        )


def _exact(row: Sequence[float]) -> Distribution:
    """Shares that sum to 1 in double precision, too."""
    total = math.fsum(row)
    return tuple(share / total for share in row)
