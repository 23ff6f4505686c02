"""The one protocol of prediction: how a group answers questions, given some of its answers.

The commands serve by it, held-out groups are measured by it, and baselines implement it: what is
measured is what serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import torch

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.model.context import Prior, Reading, read_context
from alignment.model.encoding import pad_targets
from alignment.model.predictor import Predictor

Distribution: TypeAlias = tuple[float, ...]


class Predict(Protocol):
    """Predicts how a group answers questions, given its answers to others (its context)."""

    def __call__(self, questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
        """Predict a distribution over the options of each question.

        Args:
            questions: At least one.
            context: All that is known of the group; may be empty.
        """


class ContextPredictor:
    """A trained predictor as :class:`Predict`: its prior, corrected by a group's context.

    A causal model reads no context: it predicts the same for every group.

    Args:
        predictor: Its weights are not to change while it predicts.
        config: How strongly the context speaks.
        questions: Their prior is computed once, together and here; that of any other question
            when it is asked.
    """

    def __init__(
        self, predictor: Predictor, config: ContextConfig, *, questions: Iterable[Question] = ()
    ) -> None:
        self._predictor = predictor
        self._config = config
        self._rows = {question: row for row, question in enumerate(dict.fromkeys(questions))}
        self._remembered = predictor.prior(list(self._rows)) if self._rows else None

    def _prior(self, questions: Sequence[Question]) -> Prior:
        if self._remembered is None or not self._rows.keys() >= set(questions):
            return self._predictor.prior(questions)
        return self._remembered.at([self._rows[question] for question in questions])

    def require_context(self, context: GroupAnswers) -> None:
        """Refuse a context that the predictor would not read.

        Raises:
            ValueError: It is a causal model, and a context is given.
        """
        if not self._predictor.head.reads_context:
            raise ValueError(
                f"context of {len(context)} answers, but a causal model reads none: leave it out"
            )

    def read(self, context: GroupAnswers) -> Reading:
        """Read a group's answers, at least one, so that any options can be scored as it would.

        Raises:
            ValueError: The predictor reads no context.
        """
        self.require_context(context)
        shown = self._prior(context.questions)
        answers = pad_targets(context.targets, shown.present.shape[1])
        evidence = context.evidence(self._config.single_choice)
        return read_context(shown, answers, self._config, evidence=evidence)

    def __call__(self, questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
        """Predict a distribution over the options of each question."""
        prior = self._prior(questions)
        if len(context) == 0 or not self._predictor.head.reads_context:
            distributions = prior.probabilities()
        else:
            distributions = torch.softmax(self.read(context).scores(prior), dim=-1)
        rows = zip(questions, distributions.tolist(), strict=True)
        return [tuple(row[: len(question.options)]) for question, row in rows]
