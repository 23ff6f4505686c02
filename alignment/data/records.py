"""Preference records: the answer of a person or a survey, in one shape for the whole project.

A record is one row of an organisation's data: a survey distribution, one person's choice, or a
preferred response of two. All three are read alike: a group, a unit of privacy, a question and a
target over its options. Rows become records here and nowhere else, so that a record which exists
is a record that was checked. Cheap to import: neither torch nor any data library.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from texts import UnfitText, composed, name_of, spelled

MAX_OPTIONS = 64
#: More persons than one distribution, or weight than one answer, stands for.
MAX_RESPONDENTS = 10**9
MAX_WEIGHT = 1e6
#: Published tables are rounded: probabilities may miss a sum of 1 by so much.
SUM_TOLERANCE = 0.02


class InvalidRecordError(ValueError):
    """A row is not a record. The text is one line: field, problem, remedy.

    Positional arguments, so that the error survives the way between two processes. Texts of the
    row never enter the message, for messages travel further than records may.

    Attributes:
        field: Name of the offending field; empty where the row as a whole is at fault.
        problem: What is wrong with it.
        remedy: What to do about it.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(field, problem, remedy)
        self.field = field
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        subject = f"field {self.field!r}: " if self.field else ""
        return f"{subject}{self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and the answers it offers.

    Attributes:
        question_id: The same for every record that answers this question.
        text: The question, or the prompt of a pair.
        options: The possible answers, in the order of every target.
        together: All options are shown in one sequence (survey, choice); otherwise every option
            is encoded alone after the text (pair: an option is a response).
    """

    question_id: str
    text: str
    options: tuple[str, ...]
    together: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRecord:
    """The distribution of one group's answers to one question.

    Attributes:
        group: Whose answers these are.
        question: What was asked.
        distribution: One probability per option; ``math.fsum`` of it is exactly 1.
        respondents: How many persons stand behind it; None where that is not known.
    """

    group: str
    question: Question
    distribution: tuple[float, ...]
    respondents: int | None = None

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
    """

    group: str
    annotator: str | None
    prompt: str
    chosen: str
    rejected: str

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
        first, second = sorted((self.chosen, self.rejected), key=composed)
        options = (first, second)
        question_id = f"pair-{question_digest(self.prompt, options)[:32]}"
        return Question(question_id=question_id, text=self.prompt, options=options, together=False)

    @property
    def target(self) -> tuple[float, ...]:
        """One at the preferred response, zero at the other, in the order of ``question``."""
        return (1.0, 0.0) if composed(self.chosen) < composed(self.rejected) else (0.0, 1.0)


PreferenceRecord: TypeAlias = SurveyRecord | ChoiceRecord | PairRecord


def question_digest(text: str, options: Sequence[str]) -> str:
    """Name a question by what it says: SHA-256 over text and options, 64 hexadecimal digits.

    Composed and decomposed characters say the same.
    """
    said = [composed(each) for each in (text, *options)]
    return hashlib.sha256(json.dumps(said).encode("ascii")).hexdigest()


def same_options(options: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists of options say the same, in the same order."""
    return list(map(composed, options)) == list(map(composed, others))


def parse_record(
    row: Mapping[str, object], *, known: Mapping[str, Question] | None = None
) -> PreferenceRecord:
    """Check a row and turn it into a record.

    The fields present decide the kind; null counts as absent, fields of no kind are ignored::

        survey  group, question_id, question, options, distribution, respondents (may be absent)
        choice  group, respondent, question_id, question, options, choice, weight (may be absent)
        pair    group, annotator (may be absent), prompt, chosen, rejected

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
        raise InvalidRecordError("", f"a row is {_kind(row)}", "give an object with named fields")
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
    text, options = _text(row, "question"), _options(row.get("options"))
    question_id = f"question-{question_digest(text, options)[:32]}"
    return Question(question_id=question_id, text=text, options=options)


def record_to_row(record: PreferenceRecord) -> dict[str, object]:
    """Give the fields of a record as ``parse_record`` reads them, ready for JSON."""
    if isinstance(record, PairRecord):
        return {
            "group": record.group,
            "annotator": record.annotator,
            "prompt": record.prompt,
            "chosen": record.chosen,
            "rejected": record.rejected,
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
        return {"group": record.group, **asked, **said}
    said = {"choice": record.choice}
    if record.weight != 1:
        said["weight"] = record.weight
    return {"group": record.group, "respondent": record.respondent, **asked, **said}


def _survey(row: Mapping[str, object], known: Mapping[str, Question]) -> SurveyRecord:
    question = _question(row, known)
    return SurveyRecord(
        group=_name(row, "group"),
        question=question,
        distribution=_distribution(row["distribution"], len(question.options)),
        respondents=_respondents(row.get("respondents")),
    )


def _choice(row: Mapping[str, object], known: Mapping[str, Question]) -> ChoiceRecord:
    question = _question(row, known)
    choice, last = row["choice"], len(question.options) - 1
    if not isinstance(choice, int) or isinstance(choice, bool):
        remedy = f"give the index of an option, an integer from 0 to {last}"
        raise InvalidRecordError("choice", f"is {_kind(choice)}, not an integer", remedy)
    if not 0 <= choice <= last:
        # An integer of thousands of digits cannot be printed at all.
        shown = str(choice) if abs(choice) < 10**9 else "far"
        remedy = "give the index of an option, counted from 0"
        raise InvalidRecordError("choice", f"is {shown}, outside 0 to {last}", remedy)
    return ChoiceRecord(
        group=_name(row, "group"),
        respondent=_name(row, "respondent"),
        question=question,
        choice=choice,
        weight=_weight(row.get("weight")),
    )


def _respondents(value: object) -> int | None:
    if value is None:
        return None
    remedy = "give the number of persons behind the distribution"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRecordError("respondents", f"is {_kind(value)}, not a whole number", remedy)
    if not 1 <= value <= MAX_RESPONDENTS:
        raise InvalidRecordError("respondents", f"is not in 1 to {MAX_RESPONDENTS}", remedy)
    return value


def _weight(value: object) -> float:
    if value is None:
        return 1.0
    remedy = "give how much the answer counts, above 0"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRecordError("weight", f"is {_kind(value)}, not a number", remedy)
    # Comparing first spares the overflow of a huge integer.
    if not 0 < value <= MAX_WEIGHT:
        raise InvalidRecordError("weight", f"is not above 0 and at most {MAX_WEIGHT:g}", remedy)
    return float(value)


def _pair(row: Mapping[str, object], known: Mapping[str, Question]) -> PairRecord:
    chosen, rejected = _text(row, "chosen"), _text(row, "rejected")
    if composed(chosen) == composed(rejected):
        remedy = "leave out pairs without a preference"
        raise InvalidRecordError("rejected", "is the same text as chosen", remedy)
    return PairRecord(
        group=_name(row, "group"),
        annotator=None if row.get("annotator") is None else _name(row, "annotator"),
        prompt=_text(row, "prompt"),
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
    question_id = _name(row, "question_id")
    options = row.get("options")
    met = known.get(question_id)
    if met is not None and met.text == row.get("question") and list(met.options) == options:
        return met
    text = _text(row, "question")
    return Question(question_id=question_id, text=text, options=_options(options))


def _options(value: object) -> tuple[str, ...]:
    remedy = f"give a list of 2 to {MAX_OPTIONS} different texts"
    if not isinstance(value, list | tuple):
        problem = "is missing" if value is None else f"is {_kind(value)}, not a list"
        raise InvalidRecordError("options", problem, remedy)
    if not 2 <= len(value) <= MAX_OPTIONS:
        problem = f"has {len(value)} options, outside 2 to {MAX_OPTIONS}"
        raise InvalidRecordError("options", problem, remedy)
    first_seen: dict[str, int] = {}
    for index, option in enumerate(value):
        _check_text("options", option, f"option {index} ")
        first = first_seen.setdefault(composed(option).strip(), index)
        if first != index:
            raise InvalidRecordError("options", f"options {first} and {index} are equal", remedy)
    return tuple(value)


def _distribution(value: object, options: int) -> tuple[float, ...]:
    remedy = "give one probability per option"
    if not isinstance(value, list | tuple):
        raise InvalidRecordError("distribution", f"is {_kind(value)}, not a list", remedy)
    if len(value) != options:
        problem = f"has {len(value)} entries for {options} options"
        raise InvalidRecordError("distribution", problem, remedy)
    numbers = [_probability(entry, index, remedy) for index, entry in enumerate(value)]
    total = math.fsum(numbers)
    if abs(total - 1) > SUM_TOLERANCE + 1e-9:
        raise InvalidRecordError("distribution", f"sums to {total:.6g}, not 1", remedy)
    return _normalised(numbers, total)


def _probability(entry: object, index: int, remedy: str) -> float:
    if not isinstance(entry, int | float) or isinstance(entry, bool):
        problem = f"entry {index} is {_kind(entry)}, not a number"
        raise InvalidRecordError("distribution", problem, remedy)
    # Above 1 a sum is too large anyway; comparing first spares the overflow of a huge integer.
    if not 0 <= entry <= 1 + SUM_TOLERANCE:
        raise InvalidRecordError("distribution", f"entry {index} is not within 0 to 1", remedy)
    return abs(float(entry))  # abs turns -0.0 into 0.0


def _normalised(numbers: Sequence[float], total: float) -> tuple[float, ...]:
    """Scale to an exact sum of 1; numbers which sum to 1 already stay as they are."""
    scaled = [number / total for number in numbers]
    # The largest entry takes up the few units in the last place that division leaves.
    largest = scaled.index(max(scaled))
    while (gap := 1 - math.fsum(scaled)) != 0:
        scaled[largest] += gap
    return tuple(scaled)


def _name(row: Mapping[str, object], field: str) -> str:
    """The one spelling of what identifies a group, a person or a question."""
    text = _text(row, field)
    try:
        return name_of(text) if field == "group" else spelled(text)
    except UnfitText as error:
        raise InvalidRecordError(field, error.problem, error.remedy) from error


def _text(row: Mapping[str, object], field: str) -> str:
    return _check_text(field, row.get(field))


def _check_text(field: str, value: object, which: str = "") -> str:
    remedy = "give a text"
    if value is None:
        raise InvalidRecordError(field, f"{which}is missing", remedy)
    if not isinstance(value, str):
        raise InvalidRecordError(field, f"{which}is {_kind(value)}, not a text", remedy)
    if not value or value.isspace():
        raise InvalidRecordError(field, f"{which}is empty", remedy)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half a character, which no encoder, hash or file takes.
        problem = f"{which}holds half a surrogate pair"
        raise InvalidRecordError(field, problem, "repair the text") from error
    return value


def _kind(value: object) -> str:
    """Name the type of a value without showing it."""
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a text"}
    kinds |= {list: "a list", dict: "an object", type(None): "null"}
    return kinds.get(type(value), f"of type {type(value).__name__}")
