"""The fields of a row: what each may hold, and one line on what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from texts import UnfitText, composed, name_of, spelled

MAX_OPTIONS = 64
#: More persons than one distribution, or weight than one answer, stands for.
MAX_RESPONDENTS = 10**9
MAX_WEIGHT = 1e6
#: Noise in a share: far more than leaves anything to learn, and its square is finite.
MAX_NOISE = 1e15
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


def respondents_of(value: object) -> int | None:
    """How many persons a row says to stand for; None where it does not say."""
    if value is None:
        return None
    remedy = "give the number of persons behind the distribution"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRecordError("respondents", f"is {kind_of(value)}, not a whole number", remedy)
    if not 1 <= value <= MAX_RESPONDENTS:
        raise InvalidRecordError("respondents", f"is not in 1 to {MAX_RESPONDENTS}", remedy)
    return value


def noise_of(value: object) -> float:
    """Standard deviation of the noise in a row's shares; 0 where it speaks of none."""
    if value is None:
        return 0.0
    remedy = "give the standard deviation of the noise in a share"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRecordError("noise", f"is {kind_of(value)}, not a number", remedy)
    if not 0 <= value <= MAX_NOISE:
        raise InvalidRecordError("noise", f"is not in 0 to {MAX_NOISE:g}", remedy)
    return float(value)


def weight_of(value: object) -> float:
    """How much a row says to count; 1 where it does not say."""
    if value is None:
        return 1.0
    remedy = "give how much the answer counts, above 0"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRecordError("weight", f"is {kind_of(value)}, not a number", remedy)
    # Comparing first spares the overflow of a huge integer.
    if not 0 < value <= MAX_WEIGHT:
        raise InvalidRecordError("weight", f"is not above 0 and at most {MAX_WEIGHT:g}", remedy)
    return float(value)


def options_of(value: object) -> tuple[str, ...]:
    """The options of a question: 2 or more different texts."""
    remedy = f"give a list of 2 to {MAX_OPTIONS} different texts"
    if not isinstance(value, list | tuple):
        problem = "is missing" if value is None else f"is {kind_of(value)}, not a list"
        raise InvalidRecordError("options", problem, remedy)
    if not 2 <= len(value) <= MAX_OPTIONS:
        problem = f"has {len(value)} options, outside 2 to {MAX_OPTIONS}"
        raise InvalidRecordError("options", problem, remedy)
    first_seen: dict[str, int] = {}
    for index, option in enumerate(value):
        check_text("options", option, f"option {index} ")
        first = first_seen.setdefault(composed(option).strip(), index)
        if first != index:
            raise InvalidRecordError("options", f"options {first} and {index} are equal", remedy)
    return tuple(value)


def distribution_of(value: object, options: int) -> tuple[float, ...]:
    """One probability for each of so many options, scaled to an exact sum of 1."""
    remedy = "give one probability per option"
    if not isinstance(value, list | tuple):
        raise InvalidRecordError("distribution", f"is {kind_of(value)}, not a list", remedy)
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
        problem = f"entry {index} is {kind_of(entry)}, not a number"
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


def name_in(row: Mapping[str, object], field: str) -> str:
    """The one spelling of what identifies a group, a person or a question."""
    text = text_in(row, field)
    try:
        return name_of(text) if field == "group" else spelled(text)
    except UnfitText as error:
        raise InvalidRecordError(field, error.problem, error.remedy) from error


def text_in(row: Mapping[str, object], field: str) -> str:
    """A text that says something and that every file takes."""
    return check_text(field, row.get(field))


def check_text(field: str, value: object, which: str = "", *, blank: bool = False) -> str:
    """A text that every file takes; one that says nothing only where ``blank`` allows it."""
    remedy = "give a text"
    if value is None:
        raise InvalidRecordError(field, f"{which}is missing", remedy)
    if not isinstance(value, str):
        raise InvalidRecordError(field, f"{which}is {kind_of(value)}, not a text", remedy)
    if not blank and (not value or value.isspace()):
        raise InvalidRecordError(field, f"{which}is empty", remedy)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half a character, which no encoder, hash or file takes.
        problem = f"{which}holds half a surrogate pair"
        raise InvalidRecordError(field, problem, "repair the text") from error
    return value


def kind_of(value: object) -> str:
    """Name the type of a value without showing it."""
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a text"}
    kinds |= {list: "a list", dict: "an object", type(None): "null"}
    return kinds.get(type(value), f"of type {type(value).__name__}")
