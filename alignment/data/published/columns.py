"""The columns of published tables: what an adapter gives, and how it reads a cell."""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from alignment.data.fields import InvalidRecordError, kind_of

#: A row in the project's schema, with what places it within the published row.
Part: TypeAlias = tuple[str, dict[str, object]]
#: Turns a published row into rows in the project's schema.
Adapter: TypeAlias = Callable[[Mapping[str, object]], Iterator[Part]]

#: Longest literal that is parsed: the published ones stay below a tenth of it.
MAX_LITERAL_LENGTH = 200_000

#: Reasons to leave a row out.
TIE = "tie"
ALONE = "single response"


class LeftOut(Exception):
    """A sound row from which nothing can be learned: it is counted by its reason, and no more.

    Attributes:
        reason: A few words, the same for every row like it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def owner_of(row: Mapping[str, object]) -> dict[str, object]:
    """Group and annotator of a row, where somebody has added these columns."""
    return {name: row[name] for name in ("group", "annotator") if row.get(name) is not None}


def number_in(row: Mapping[str, object], field: str) -> float:
    """A finite number; a table of texts spells it.

    Raises:
        InvalidRecordError: It is none.
    """
    value = row.get(field)
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        problem = "is missing" if value is None else f"is {kind_of(value)}, not a finite number"
        raise InvalidRecordError(field, problem, "give a number")
    return number


def list_in(row: Mapping[str, object], field: str) -> list[object]:
    """A list; a table of texts spells it as JSON, or as Python prints it.

    Raises:
        InvalidRecordError: It is none.
    """
    value = row.get(field)
    if isinstance(value, str):
        value = _decoded(field, value)
    if not isinstance(value, list | tuple):
        problem = "is missing" if value is None else f"is {kind_of(value)}, not a list"
        raise InvalidRecordError(field, problem, "give a list")
    return list(value)


def text_or_messages(cell: str) -> object:
    """A cell of a table of texts: the messages that it spells, or else the text."""
    if not (cell.lstrip().startswith("[{") and cell.rstrip().endswith("}]")):
        return cell
    try:
        value = _decoded("", cell)
    except InvalidRecordError:
        return cell
    spoken = isinstance(value, list) and all(
        isinstance(each, Mapping) and ("role" in each or "from" in each) for each in value
    )
    return value if spoken else cell


def literal(field: str, text: str) -> Any:
    """Parse a printed Python literal; never evaluates anything.

    Raises:
        InvalidRecordError: It is none, or too long.
    """
    if len(text) > MAX_LITERAL_LENGTH:
        problem = f"has {len(text)} characters, more than {MAX_LITERAL_LENGTH}"
        raise InvalidRecordError(field, problem, "split the row")
    try:
        with warnings.catch_warnings():
            # The parser warns of backslashes in what is only data here.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        problem = f"is no printed list or dictionary ({type(error).__name__})"
        raise InvalidRecordError(field, problem, "copy it from the published table") from error


def _decoded(field: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return literal(field, text)
