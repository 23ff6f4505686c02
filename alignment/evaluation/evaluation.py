"""Measuring a predictor on groups it never saw: with their context, without, and with another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers
from alignment.data.split import Draw
from alignment.evaluation.metrics import TargetScore, alignment_score, log_loss
from alignment.model.context import Prior, predict_in_context
from alignment.model.encoding import pad_targets
from alignment.model.predictor import Predictor

#: Whose answers are shown: the group's own, another group's, or nobody's.
Shown = Literal["own", "swapped", "none"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One prediction beside what the group answered."""

    score: TargetScore
    predicted: tuple[float, ...]


class Evaluator:
    """Predicts the targets of draws; the prior of every question is computed once.

    Args:
        predictor: What is measured, as it is now.
        answers: The groups that will be asked about.
        seen: Ids of the questions that train groups answered.
        context: How strongly the context speaks.
    """

    def __init__(
        self,
        predictor: Predictor,
        answers: Mapping[str, GroupAnswers],
        *,
        seen: frozenset[str],
        context: ContextConfig,
    ) -> None:
        self._answers = answers
        self._seen = seen
        self._context = context
        questions = dict.fromkeys(q for each in answers.values() for q in each.questions)
        self._rows = {question: row for row, question in enumerate(questions)}
        self._prior = predictor.prior(list(questions))

    def _prior_of(self, answers: GroupAnswers) -> Prior:
        return self._prior.at([self._rows[q] for q in answers.questions])

    def predict(
        self, group: str, number: int, draw: Draw, context: GroupAnswers | None
    ) -> list[Prediction]:
        """Predict the targets of one draw, given a context (None or empty: none)."""
        asked = self._answers[group].select(draw.target)
        prior = self._prior_of(asked)
        if context is None or len(context) == 0:
            distributions = prior.probabilities()
        else:
            shown = self._prior_of(context)
            answers = pad_targets(context.targets, shown.present.shape[1])
            evidence = context.evidence(self._context.single_choice)
            distributions = predict_in_context(
                prior, shown, answers, self._context, evidence=evidence
            )
        predictions = []
        for question, actual, row in zip(
            asked.questions, asked.targets, distributions.tolist(), strict=True
        ):
            predicted = tuple(row[: len(question.options)])
            score = TargetScore(
                group=group,
                draw=number,
                question_id=question.question_id,
                seen=question.question_id in self._seen,
                score=alignment_score(predicted, actual),
                log_loss=log_loss(predicted, actual),
            )
            predictions.append(Prediction(score=score, predicted=predicted))
        return predictions

    def evaluate(
        self, draws: Mapping[str, Sequence[Draw]], *, shown: Shown = "own"
    ) -> list[Prediction]:
        """Predict all targets of all draws.

        With ``shown="swapped"`` every group is read with the contexts of the next group of the
        mapping, answers and questions alike.
        """
        names = list(draws)
        if shown == "swapped" and len(names) < 2:
            raise ValueError(
                f"swapped contexts need 2 held-out groups, there is {len(names)}: hold out more"
            )
        predictions = []
        for place, group in enumerate(names):
            other = names[(place + 1) % len(names)]
            for number, draw in enumerate(draws[group]):
                context = None
                if shown == "own":
                    context = self._answers[group].select(draw.context)
                elif shown == "swapped":
                    foreign = draws[other][number % len(draws[other])].context
                    context = self._answers[other].select(foreign)
                predictions += self.predict(group, number, draw, context)
        return predictions
