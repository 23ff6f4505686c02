"""Published preference data in shapes of their own, brought into the project's row schema.

An adapter turns one row of a published table into rows for
:func:`alignment.data.records.parse_record`, which checks them like any other. The columns present
choose it, so a local copy of a published file reads like the original, whatever its name.

A new shape is a function of this file and its line in :data:`SHAPES`, and nothing elsewhere.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from alignment.data.fields import InvalidRecordError
from alignment.data.records import (
    question_digest,
)

#: Rows in the project's schema, each with what places it within the published row.
Adapter: TypeAlias = Callable[[Mapping[str, object]], Iterator[tuple[str, dict[str, object]]]]

#: Longest literal that is parsed: the published ones stay below a tenth of it.
MAX_LITERAL_LENGTH = 200_000
_ASSISTANT_TURN = "\n\nAssistant:"
_DEFAULTDICT = "defaultdict(<class 'list'>, "


def country_rows(row: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """Split a row of ``Anthropic/llm_global_opinions`` into one survey row per country.

    ``selections`` is the printed form of a dictionary from country to probabilities, ``options``
    that of a list. Both are parsed as literals; no code in them is run.

    Raises:
        InvalidRecordError: A column is missing or does not have this form.
    """
    text = row.get("question")
    if not isinstance(text, str):
        raise InvalidRecordError("question", "is missing or not a text", "give the question")
    options = _options(row.get("options"))
    for country, distribution in _selections(row.get("selections")).items():
        yield (
            f"country {country[:100]!r}",
            {
                "group": country,
                "question_id": f"goqa-{question_digest(text, options)[:12]}",
                "question": text,
                "options": options,
                "distribution": distribution,
            },
        )


def transcript_rows(row: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    r"""Split a row of ``Anthropic/hh-rlhf``, two transcripts, into a prompt and two responses.

    The prompt is what both share up to and including the last common ``"\n\nAssistant:"``;
    prompt and response together are the transcript again, letter by letter. Such rows name no
    group: the caller does.

    Raises:
        InvalidRecordError: A transcript is missing, or the two share no prompt.
    """
    transcripts = [row.get("chosen"), row.get("rejected")]
    for field, transcript in zip(("chosen", "rejected"), transcripts, strict=True):
        if not isinstance(transcript, str):
            raise InvalidRecordError(field, "is missing or not a text", "give a transcript")
    chosen, rejected = (str(transcript) for transcript in transcripts)
    shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 letter by letter is the point
    turn = shared.rfind(_ASSISTANT_TURN)
    if turn < 0:
        remedy = f"start both transcripts alike, up to a turn {_ASSISTANT_TURN!r}"
        raise InvalidRecordError("rejected", "shares no prompt with chosen", remedy)
    cut = turn + len(_ASSISTANT_TURN)
    answer: dict[str, object] = {"chosen": chosen[cut:], "rejected": rejected[cut:]}
    own = {"group": row["group"]} if row.get("group") is not None else {}
    yield "", {**own, "prompt": chosen[:cut], **answer}


@dataclass(frozen=True, kw_only=True)
class PublishedShape:
    """One published shape of preference data.

    Attributes:
        dataset: A data set that has it.
        present: Columns that a row must have.
        absent: Columns that it must not have, for they mark other shapes.
        adapter: Turns a row into rows of the project's schema.
    """

    dataset: str
    present: frozenset[str]
    absent: frozenset[str]
    adapter: Adapter


#: Every shape that is read besides the project's own; the first that fits is taken.
SHAPES = (
    PublishedShape(
        dataset="Anthropic/llm_global_opinions",
        present=frozenset({"selections"}),
        absent=frozenset({"group"}),
        adapter=country_rows,
    ),
    PublishedShape(
        dataset="Anthropic/hh-rlhf",
        present=frozenset({"chosen"}),
        absent=frozenset({"prompt", "annotator"}),
        adapter=transcript_rows,
    ),
)


def adapter_for(columns: Collection[str]) -> Adapter | None:
    """Choose the adapter for a row by its columns; None for rows in the project's own schema."""
    found = frozenset(columns)
    for shape in SHAPES:
        if shape.present <= found and shape.absent.isdisjoint(found):
            return shape.adapter
    return None


def _options(value: object) -> list[str]:
    options = _literal("options", value) if isinstance(value, str) else value
    if not isinstance(options, list) or not all(_is_label(option) for option in options):
        raise InvalidRecordError("options", "is not a list of texts", "write \"['Yes', 'No']\"")
    return [str(option) for option in options]


def _is_label(option: object) -> bool:
    """Scales print their middle steps as numbers: ``['Never', 2, 3, 'Always']``."""
    return isinstance(option, str | int | float) and not isinstance(option, bool)


def _selections(value: object) -> dict[str, list[object]]:
    remedy = "write \"{'Country': [0.4, 0.6]}\""
    if not isinstance(value, str):
        raise InvalidRecordError("selections", "is missing or not a text", remedy)
    text = value.strip()
    if text.startswith(_DEFAULTDICT) and text.endswith(")"):
        text = text[len(_DEFAULTDICT) : -1]
    selections = _literal("selections", text)
    if not isinstance(selections, dict) or not selections:
        raise InvalidRecordError("selections", "is not a dictionary with entries", remedy)
    for country, distribution in selections.items():
        if not isinstance(country, str) or not isinstance(distribution, list):
            problem = "is not a dictionary from texts to lists"
            raise InvalidRecordError("selections", problem, remedy)
    return selections


def _literal(field: str, text: str) -> Any:
    """Parse a printed Python literal; never evaluates anything."""
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
