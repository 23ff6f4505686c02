"""Preference records: the answer of a person or a survey, in one shape for the whole project.

A record is one row of an organisation's data: a survey distribution, one person's choice, or a
preferred response of two. All three are read alike: a group, a unit of privacy, a question and a
target over its options. Rows become records here and nowhere else, so that a record which exists
is a record that was checked. Cheap to import: neither torch nor any data library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from alignment.data.conversations import (
    Text,
    Turns,
    in_json,
    order_of,
    parse_pair,
    plain_of,
    turns_of,
)
from alignment.data.fields import (
    InvalidRecordError,
    distribution_of,
    kind_of,
    name_in,
    noise_of,
    options_of,
    respondents_of,
    text_in,
    weight_of,
)
from texts import composed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and the answers it offers.

    Attributes:
        question_id: The same for every record that answers this question.
        text: The question, or the prompt of a pair.
        options: The possible answers, in the order of every target.
        together: All options are shown in one sequence (survey, choice); otherwise every option
            is encoded alone after the text (pair: an option is a response).
        turns: The messages, where prompt or responses of a pair are conversations; ``text`` and
            ``options`` are then how they read without a chat template.
    """

    question_id: str
    text: str
    options: tuple[str, ...]
    together: bool = True
    turns: Turns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRecord:
    """The distribution of one group's answers to one question.

    Attributes:
        group: Whose answers these are.
        question: What was asked.
        distribution: One probability per option; ``math.fsum`` of it is exactly 1.
        respondents: How many persons stand behind it; None where that is not known.
        noise: Standard deviation of the noise in a probability, where noise was added to what was
            published; 0 where none was.
    """

    group: str
    question: Question
    distribution: tuple[float, ...]
    respondents: int | None = None
    noise: float = 0.0

    @property
    def unit(self) -> None:
        """Nobody: a distribution names no person."""

    @property
    def target(self) -> tuple[float, ...]:
        """The distribution."""
        return self.distribution

    @property
    def weight(self) -> float:
        """The number of persons behind it; 1 where that is not known."""
        return float(self.respondents or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRecord:
    """The choice of one respondent.

    Attributes:
        group: The group of the respondent.
        respondent: The person, the unit of privacy.
        question: What was asked.
        choice: Index of the chosen option.
        weight: How much the answer counts among those of its group, as survey weights say.
    """

    group: str
    respondent: str
    question: Question
    choice: int
    weight: float = 1.0

    @property
    def unit(self) -> str:
        """The respondent."""
        return self.respondent

    @property
    def target(self) -> tuple[float, ...]:
        """One at the chosen option, zero elsewhere."""
        return tuple(float(i == self.choice) for i in range(len(self.question.options)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecord:
    """A preference for one of two responses to a prompt.

    Attributes:
        group: The group of the annotator.
        annotator: The person, the unit of privacy; None where nobody is named.
        prompt: What the responses answer.
        chosen: The preferred response.
        rejected: The other one.

    All three are texts or conversations.
    """

    group: str
    annotator: str | None
    prompt: Text
    chosen: Text
    rejected: Text

    @property
    def unit(self) -> str | None:
        """The annotator, or None."""
        return self.annotator

    @property
    def weight(self) -> float:
        """1: all pairs count alike."""
        return 1.0

    @property
    def question(self) -> Question:
        """Prompt and sorted responses, so that annotators who disagree answer the same question."""
        first, second = sorted((self.chosen, self.rejected), key=order_of)
        text, options = plain_of(self.prompt), (plain_of(first), plain_of(second))
        turns = turns_of(self.prompt, first, second)
        return Question(
            question_id=f"pair-{question_digest(text, options, turns)[:32]}",
            text=text,
            options=options,
            together=False,
            turns=turns,
        )

    @property
    def target(self) -> tuple[float, ...]:
        """One at the preferred response, zero at the other, in the order of ``question``."""
        return (1.0, 0.0) if order_of(self.chosen) < order_of(self.rejected) else (0.0, 1.0)


PreferenceRecord: TypeAlias = SurveyRecord | ChoiceRecord | PairRecord


def question_digest(text: str, options: Sequence[str], turns: Turns | None = None) -> str:
    """Name a question by what it says: SHA-256 over text and options, 64 hexadecimal digits.

    Where there are turns, over these too. Composed and decomposed characters say the same.
    """
    said: list[object] = [composed(each) for each in (text, *options)]
    if turns is not None:
        said.append(turns.composed())
    return hashlib.sha256(json.dumps(said).encode("ascii")).hexdigest()


def same_options(options: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists of options say the same, in the same order."""
    return list(map(composed, options)) == list(map(composed, others))


def parse_record(
    row: Mapping[str, object], *, known: Mapping[str, Question] | None = None
) -> PreferenceRecord:
    """Check a row and turn it into a record.

    The fields present decide the kind; null counts as absent, fields of no kind are ignored::

        survey  group, question_id, question, options, distribution; respondents and noise may be
                absent
        choice  group, respondent, question_id, question, options, choice, weight (may be absent)
        pair    group, annotator (may be absent), prompt, chosen, rejected: texts, or lists of
                messages as for :func:`alignment.data.conversations.parse_pair`

    Names and ids are brought to one spelling (:func:`texts.spelled`), since two spellings of one
    respondent would be two units of privacy; that of a group is also one that others may be shown
    (:func:`texts.name_of`). Other texts stay as they are. A distribution is normalised.

    Args:
        row: The fields of one row.
        known: Questions met before, by id: a record that repeats one shares it.

    Raises:
        InvalidRecordError: The row is no record. Nothing else is raised for any mapping of strings
            to values of JSON.
    """
    if not isinstance(row, Mapping):
        raise InvalidRecordError("", f"a row is {kind_of(row)}", "give an object with named fields")
    parsers = {parser for field, parser in _PARSERS.items() if row.get(field) is not None}
    if len(parsers) != 1:
        problem = "fields of several kinds" if parsers else "no answer"
        remedy = "give exactly one of distribution, choice, or chosen and rejected"
        raise InvalidRecordError("", problem, remedy)
    return parsers.pop()(row, known or {})


def parse_question(row: Mapping[str, object]) -> Question:
    """Check a question that nobody has answered: ``question``, ``options``, perhaps an id.

    Raises:
        InvalidRecordError: The row is no question.
    """
    if row.get("question_id") is not None:
        return _question(row, {})
    text, options = text_in(row, "question"), options_of(row.get("options"))
    question_id = f"question-{question_digest(text, options)[:32]}"
    return Question(question_id=question_id, text=text, options=options)


def record_to_row(record: PreferenceRecord) -> dict[str, object]:
    """Give the fields of a record as ``parse_record`` reads them, ready for JSON."""
    if isinstance(record, PairRecord):
        return {
            "group": record.group,
            "annotator": record.annotator,
            "prompt": in_json(record.prompt),
            "chosen": in_json(record.chosen),
            "rejected": in_json(record.rejected),
        }
    asked = {
        "question_id": record.question.question_id,
        "question": record.question.text,
        "options": list(record.question.options),
    }
    if isinstance(record, SurveyRecord):
        said: dict[str, object] = {"distribution": list(record.distribution)}
        if record.respondents is not None:
            said["respondents"] = record.respondents
        if record.noise:
            said["noise"] = record.noise
        return {"group": record.group, **asked, **said}
    said = {"choice": record.choice}
    if record.weight != 1:
        said["weight"] = record.weight
    return {"group": record.group, "respondent": record.respondent, **asked, **said}


def _survey(row: Mapping[str, object], known: Mapping[str, Question]) -> SurveyRecord:
    question = _question(row, known)
    return SurveyRecord(
        group=name_in(row, "group"),
        question=question,
        distribution=distribution_of(row["distribution"], len(question.options)),
        respondents=respondents_of(row.get("respondents")),
        noise=noise_of(row.get("noise")),
    )


def _choice(row: Mapping[str, object], known: Mapping[str, Question]) -> ChoiceRecord:
    question = _question(row, known)
    choice, last = row["choice"], len(question.options) - 1
    if not isinstance(choice, int) or isinstance(choice, bool):
        remedy = f"give the index of an option, an integer from 0 to {last}"
        raise InvalidRecordError("choice", f"is {kind_of(choice)}, not an integer", remedy)
    if not 0 <= choice <= last:
        # An integer of thousands of digits cannot be printed at all.
        shown = str(choice) if abs(choice) < 10**9 else "far"
        remedy = "give the index of an option, counted from 0"
        raise InvalidRecordError("choice", f"is {shown}, outside 0 to {last}", remedy)
    return ChoiceRecord(
        group=name_in(row, "group"),
        respondent=name_in(row, "respondent"),
        question=question,
        choice=choice,
        weight=weight_of(row.get("weight")),
    )


def _pair(row: Mapping[str, object], known: Mapping[str, Question]) -> PairRecord:
    prompt, chosen, rejected = parse_pair(row)
    if order_of(chosen) == order_of(rejected):
        remedy = "leave out pairs without a preference"
        raise InvalidRecordError("rejected", "is the same text as chosen", remedy)
    return PairRecord(
        group=name_in(row, "group"),
        annotator=None if row.get("annotator") is None else name_in(row, "annotator"),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
    )


_PARSERS: dict[str, Callable[[Mapping[str, object], Mapping[str, Question]], PreferenceRecord]] = {
    "distribution": _survey,
    "choice": _choice,
    "chosen": _pair,
    "rejected": _pair,
}


def _question(row: Mapping[str, object], known: Mapping[str, Question]) -> Question:
    question_id = name_in(row, "question_id")
    options = row.get("options")
    met = known.get(question_id)
    if met is not None and met.text == row.get("question") and list(met.options) == options:
        return met
    text = text_in(row, "question")
    return Question(question_id=question_id, text=text, options=options_of(options))
