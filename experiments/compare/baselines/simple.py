"""Baselines without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from alignment.data.answers import NO_ANSWERS, GroupAnswers, questions_of
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.model.prediction import Distribution, Predict
from experiments.compare.baselines.methods import Fitted, Watch
from experiments.compare.baselines.sentences import Sentences
from experiments.simulation.baseline import even_shares, evenly, question_mean


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A baseline that counts answers: it reads no context, and has neither settings nor chance.

    Attributes:
        learn: Counts the answers of the train groups.
    """

    title: str
    learn: Callable[[Population], Predict]
    reads_context: bool = False
    settings: dict[str, object] = field(default_factory=dict)

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        """Count."""
        return Fitted(predict=self.learn(population))


def option_position(population: Population) -> Predict:
    """The train groups' mean share of the first option, the second, and so on.

    Questions with so many options count once for every group that answered them; a number of
    options that no train question has is guessed evenly.
    """
    shares: dict[int, list[Distribution]] = {}
    for answers in population.answers.values():
        for target in answers.targets:
            shares.setdefault(len(target), []).append(target)
    means = {
        count: tuple(np.asarray(each, dtype=np.float64).mean(axis=0).tolist())
        for count, each in shares.items()
    }

    def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
        return [means.get(len(q.options), evenly(q)) for q in questions]

    return predict


UNIFORM = Counted(title="uniform", learn=lambda _: even_shares)
OPTION_POSITION = Counted(title="option position", learn=option_position)
TRAIN_GROUP_MEAN = Counted(title="train groups' mean", learn=question_mean)


def match_options(asked: Sequence[str], known: Sequence[str]) -> list[int]:
    """Pair options: each asked one with a place among as many known ones, none used twice.

    Equal texts first, whatever their case and outer white space; what is left, in order.
    """
    places = {text.strip().casefold(): place for place, text in reversed([*enumerate(known)])}
    pairs = [places.pop(text.strip().casefold(), None) for text in asked]
    left = iter([place for place in range(len(known)) if place not in set(pairs)])
    return [next(left) if place is None else place for place in pairs]


@dataclass(frozen=True)
class NearestQuestion:
    """The train groups' mean answer to the most similar train question with as many options.

    Questions are compared by the cosine of what the frozen encoder sees in them, the mean over
    options of the embeddings of question and option; options are paired by :func:`match_options`.
    Without a train question of as many options, all are guessed evenly.

    Args:
        sentences: The embeddings.
    """

    sentences: Sentences
    title: str = "nearest question"
    reads_context: bool = False

    @property
    def settings(self) -> dict[str, object]:
        """The encoder."""
        return self.sentences.settings

    def _embed(self, questions: Sequence[Question]) -> torch.Tensor:
        means = torch.stack([each.mean(dim=0) for each in self.sentences.of(questions)])
        return functional.normalize(means, dim=-1)

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        """Embed the train questions."""
        mean = question_mean(population)
        known: dict[int, list[Question]] = {}
        for question in questions_of(population.answers.values()):
            known.setdefault(len(question.options), []).append(question)
        embedded = {count: self._embed(each) for count, each in known.items()}

        def answer(question: Question, row: torch.Tensor) -> Distribution:
            count = len(question.options)
            if count not in known:
                return evenly(question)
            nearest = known[count][int((embedded[count] @ row).argmax())]
            (shares,) = mean([nearest], NO_ANSWERS)
            return tuple(shares[i] for i in match_options(question.options, nearest.options))

        def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
            rows = self._embed(questions)
            return [answer(question, row) for question, row in zip(questions, rows, strict=True)]

        return Fitted(predict=predict)
