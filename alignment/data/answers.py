"""The answers of a group: its records, counted per question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from alignment.data.records import PreferenceRecord, Question, SurveyRecord

#: One number for each option.
Target: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GroupAnswers:
    """The answers of one group, question by question.

    Attributes:
        group: Whose answers.
        questions: The questions, each once, in the order of the records.
        targets: Per question, the distribution of the answers over its options; sums to 1.
        counts: Per question, the number of records behind it; of a noised tally an estimate.
        noise: Per question, the standard deviation of the noise of a share of ``targets``, before
            they were made to sum to 1. None of answers without noise.
    """

    group: str
    questions: tuple[Question, ...]
    targets: tuple[tuple[float, ...], ...]
    counts: tuple[float, ...]
    noise: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def reliability(self) -> tuple[float, ...] | None:
        """Per question, the share of the variance of ``targets`` that is no noise, above 0."""
        if self.noise is None:
            return None
        pairs = zip(self.targets, self.noise, strict=True)
        return tuple(reliability(len(target), sigma=sigma) for target, sigma in pairs)

    def evidence(self, single_choice: float) -> tuple[float, ...]:
        """The evidence of each answer: 1 where many share it, less where it is one person's choice.

        Args:
            single_choice: The evidence of one record that chose one option alone.
        """
        known = self.reliability
        if known is not None:
            return known
        pairs = zip(self.targets, self.counts, strict=True)
        return tuple(single_choice if n == 1 and max(t) == 1 else 1.0 for t, n in pairs)

    def learning_share(self) -> float:
        """Share of a learning rate that noised answers deserve: how reliable they are on average.

        A step of Adam is as long whatever it rests on: what is noise would be learned as fast.
        """
        known = self.reliability
        return 1.0 if known is None else math.fsum(known) / len(known)

    def select(self, question_ids: Sequence[str]) -> GroupAnswers:
        """The answers to some questions, in the order asked for.

        Raises:
            ValueError: The group has not answered one of them.
        """
        places = {question.question_id: i for i, question in enumerate(self.questions)}
        missing = [question_id for question_id in question_ids if question_id not in places]
        if missing:
            raise ValueError(
                f"group {self.group!r} has no answer to question {missing[0]!r} "
                f"({len(missing)} in all): take the split and the data from one source"
            )
        return self._at([places[question_id] for question_id in question_ids])

    def without(self, question_ids: frozenset[str]) -> GroupAnswers:
        """The answers to all other questions."""
        keep = [i for i, q in enumerate(self.questions) if q.question_id not in question_ids]
        return self._at(keep)

    def _at(self, places: Sequence[int]) -> GroupAnswers:
        noise = self.noise
        return GroupAnswers(
            group=self.group,
            questions=tuple(self.questions[i] for i in places),
            targets=tuple(self.targets[i] for i in places),
            counts=tuple(self.counts[i] for i in places),
            noise=noise and tuple(noise[i] for i in places),
        )


#: Of a group of which nothing is known.
NO_ANSWERS = GroupAnswers(group="", questions=(), targets=(), counts=())


def reliability(options: int, *, sigma: float) -> float:
    """The share of the variance of noised shares that is no noise, above 0 and at most 1.

    Before anything is known, all distributions over the options count as equally likely.

    Args:
        options: K, their number.
        sigma: Standard deviation of the noise of a share before it sums to 1.
    """
    if options == 1 or sigma == 0:
        return 1.0
    # Over K: the variance of a share is (K - 1) / (K^2 (K + 1)), that of its noise sigma^2 (K-1)/K.
    return 1 / (1 + options * (options + 1) * sigma**2)


def questions_of(answers: Iterable[GroupAnswers]) -> tuple[Question, ...]:
    """The questions of several groups, each once, in the order in which they come."""
    return tuple(dict.fromkeys(question for each in answers for question in each.questions))


def tally(records: Iterable[PreferenceRecord]) -> dict[str, GroupAnswers]:
    """Count records per group and question; groups in alphabetical order.

    A survey distribution counts as one record, and one with noise as the persons behind it, whom
    the noise is measured against; choices, by their weights, and pairs add up to shares.
    """
    said: dict[str, dict[str, _Said]] = {}
    for record in records:
        question = record.question
        asked = said.setdefault(record.group, {})
        each = asked.setdefault(question.question_id, _Said(question))
        each.targets.append(record.target)
        each.weights.append(record.weight)
        if isinstance(record, SurveyRecord):
            each.noise = record.noise
    return {group: _group_answers(group, list(said[group].values())) for group in sorted(said)}


@dataclass
class _Said:
    """What a group has said to one question, record by record."""

    question: Question
    targets: list[Target] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    noise: float = 0.0


def _group_answers(group: str, said: Sequence[_Said]) -> GroupAnswers:
    noise = tuple(each.noise for each in said)
    return GroupAnswers(
        group=group,
        questions=tuple(each.question for each in said),
        targets=tuple(_shares(each.targets, each.weights) for each in said),
        counts=tuple(sum(each.weights) if each.noise else len(each.targets) for each in said),
        noise=noise if any(noise) else None,
    )


def _shares(targets: Sequence[Target], weights: Sequence[float]) -> Target:
    # Weights of 1 change no bit.
    total = np.sum(np.asarray(targets) * np.asarray(weights)[:, None], axis=0)
    return tuple((total / total.sum()).tolist())
