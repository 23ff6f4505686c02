"""The answers of a group: its records, counted per question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from alignment.data.records import PreferenceRecord, Question

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
        reliability: Per question, the share of the variance of ``targets`` that is no noise, above
            0 and at most 1. None of answers without noise.
    """

    group: str
    questions: tuple[Question, ...]
    targets: tuple[tuple[float, ...], ...]
    counts: tuple[float, ...]
    reliability: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def evidence(self, single_choice: float) -> tuple[float, ...]:
        """The evidence of each answer: 1 where many share it, less where it is one person's choice.

        Args:
            single_choice: The evidence of one record that chose one option alone.
        """
        if self.reliability is not None:
            return self.reliability
        pairs = zip(self.targets, self.counts, strict=True)
        return tuple(single_choice if n == 1 and max(t) == 1 else 1.0 for t, n in pairs)

    def learning_share(self) -> float:
        """Share of a learning rate that noised answers deserve: how reliable they are on average.

        A step of Adam is as long whatever it rests on: what is noise would be learned as fast.
        """
        reliability = self.reliability
        return 1.0 if reliability is None else math.fsum(reliability) / len(reliability)

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
        reliability = self.reliability
        return GroupAnswers(
            group=self.group,
            questions=tuple(self.questions[i] for i in places),
            targets=tuple(self.targets[i] for i in places),
            counts=tuple(self.counts[i] for i in places),
            reliability=reliability and tuple(reliability[i] for i in places),
        )


#: Of a group of which nothing is known.
NO_ANSWERS = GroupAnswers(group="", questions=(), targets=(), counts=())


def questions_of(answers: Iterable[GroupAnswers]) -> tuple[Question, ...]:
    """The questions of several groups, each once, in the order in which they come."""
    return tuple(dict.fromkeys(question for each in answers for question in each.questions))


def tally(records: Iterable[PreferenceRecord]) -> dict[str, GroupAnswers]:
    """Count records per group and question; groups in alphabetical order.

    A survey distribution counts as one record; choices, by their weights, and pairs add up to
    shares.
    """
    said: dict[str, dict[str, tuple[Question, list[Target], list[float]]]] = {}
    for record in records:
        question = record.question
        asked = said.setdefault(record.group, {})
        _, targets, weights = asked.setdefault(question.question_id, (question, [], []))
        targets.append(record.target)
        weights.append(record.weight)
    return {
        group: GroupAnswers(
            group=group,
            questions=tuple(question for question, _, _ in said[group].values()),
            targets=tuple(
                _shares(targets, weights) for _, targets, weights in said[group].values()
            ),
            counts=tuple(len(targets) for _, targets, _ in said[group].values()),
        )
        for group in sorted(said)
    }


def _shares(targets: Sequence[Target], weights: Sequence[float]) -> Target:
    # Weights of 1 change no bit.
    total = np.sum(np.asarray(targets) * np.asarray(weights)[:, None], axis=0)
    return tuple((total / total.sum()).tolist())
