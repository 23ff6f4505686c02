"""The questionnaire of a group: its questions and options, which are public.

Only what stands in it is ever counted, so it is known before anybody has answered: the length of
what a group releases, and whatever else is public of its data, follows from this file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.data.fields import InvalidRecordError
from alignment.data.records import (
    PairRecord,
    PreferenceRecord,
    Question,
    SurveyRecord,
    parse_question,
    same_options,
)
from texts import read_text, shown

VERSION = 1


class QuestionnaireError(ValueError):
    """A questionnaire cannot be read, or the data hold a question that it does not have."""


@dataclass(frozen=True, kw_only=True)
class Questionnaire:
    """Questions in a fixed order.

    Attributes:
        questions: Each once.
        distributions: Whether the group holds distributions of many persons' answers, and not the
            answers of single persons.
    """

    questions: tuple[Question, ...]
    distributions: bool = False

    def __post_init__(self) -> None:
        """Refuse one that asks nothing, or one thing twice."""
        if not self.questions:
            raise QuestionnaireError("a questionnaire has no question: give at least one")
        if len(self._places) < len(self.questions):
            raise QuestionnaireError("a questionnaire has two questions of one question_id")

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {question.question_id: place for place, question in enumerate(self.questions)}

    @property
    def options(self) -> tuple[int, ...]:
        """How many options each question has."""
        return tuple(len(question.options) for question in self.questions)

    def by_question(self, cells: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Numbers of all options in their order, (options,), parted by question."""
        return np.split(cells, np.cumsum(self.options)[:-1])

    def place(self, question: Question) -> int:
        """The place of a question, by its id and its options; -1 where it is not in here."""
        place = self._places.get(question.question_id, -1)
        if place >= 0 and same_options(self.questions[place].options, question.options):
            return place
        return -1

    def as_dict(self) -> dict[str, Any]:
        """JSON types, as in its file."""
        return {
            "version": VERSION,
            "answers": "distributions" if self.distributions else "choices",
            "questions": [
                {
                    "question_id": question.question_id,
                    "question": question.text,
                    "options": list(question.options),
                }
                for question in self.questions
            ],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that it says, 64 hexadecimal digits."""
        said = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(said.encode("ascii")).hexdigest()

    def to_json(self) -> str:
        """The text of its file."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def require(self, records: Iterable[PreferenceRecord], *, where: str) -> None:
        """Refuse records that would not be counted, for their owner to see.

        Args:
            records: Of the group.
            where: Name of the questionnaire's file.

        Raises:
            QuestionnaireError: A question, or the kind of a record, is not in here.
        """
        for record in records:
            question = record.question
            if isinstance(record, PairRecord):
                raise QuestionnaireError(
                    "pairs have private texts and no questionnaire: use privacy.mechanism = "
                    "gradients"
                )
            if isinstance(record, SurveyRecord) != self.distributions:
                kinds = ("distributions", "choices")
                held, asked = kinds if not self.distributions else kinds[::-1]
                raise QuestionnaireError(
                    f"{where}: is of {asked}, but the data hold {held}; make it anew from the data"
                )
            if self.place(question) < 0:
                name = shown(question.question_id[:100])
                known = question.question_id in self._places
                what = "other options there" if known else "no place there"
                raise QuestionnaireError(
                    f"{where}: question {name} of the data has {what}, and would not be counted; "
                    "add it to the questionnaire, or leave it out of the data"
                )


def questionnaire_of(records: Iterable[PreferenceRecord]) -> Questionnaire:
    """The questions of records, in the order of their ids; for their owner to look at.

    Raises:
        QuestionnaireError: There is none, or pairs have none.
    """
    found: dict[str, Question] = {}
    distributions = False
    for record in records:
        if isinstance(record, PairRecord):
            raise QuestionnaireError(
                "pairs have private texts and no questionnaire: use privacy.mechanism = gradients"
            )
        found.setdefault(record.question.question_id, record.question)
        distributions |= isinstance(record, SurveyRecord)
    return Questionnaire(
        questions=tuple(found[name] for name in sorted(found)), distributions=distributions
    )


def parse_questionnaire(values: object, *, where: str) -> Questionnaire:
    """Read what ``as_dict`` gave.

    Raises:
        QuestionnaireError: One line that names file, place and remedy.
    """
    if not isinstance(values, Mapping) or set(values) != {"version", "answers", "questions"}:
        raise QuestionnaireError(f"{where}: a questionnaire holds version, answers and questions")
    if values["version"] != VERSION or values["answers"] not in ("choices", "distributions"):
        raise QuestionnaireError(f"{where}: is of another version: make it anew from the data")
    if not isinstance(values["questions"], list):
        raise QuestionnaireError(f"{where}: questions is no list")
    questions = []
    for number, row in enumerate(values["questions"], start=1):
        try:
            if not isinstance(row, Mapping) or set(row) != {"question_id", "question", "options"}:
                raise InvalidRecordError("", "has other fields", "question_id, question, options")
            questions.append(parse_question(row))
        except InvalidRecordError as error:
            raise QuestionnaireError(f"{where}: question {number}: {error}") from error
    try:
        distributions = values["answers"] == "distributions"
        return Questionnaire(questions=tuple(questions), distributions=distributions)
    except QuestionnaireError as error:
        raise QuestionnaireError(f"{where}: {error}") from error


def read_questionnaire(path: Path) -> Questionnaire:
    """Read the file of a questionnaire.

    Raises:
        QuestionnaireError: One line that names file, place and remedy.
    """
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionnaireError(f"{path}: cannot be read as JSON: {error}") from error
    return parse_questionnaire(values, where=str(path))
