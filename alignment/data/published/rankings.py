"""Published rankings: several responses to a prompt, of which the best and the worst are a pair.

A row gives one pair and no more, for a row is what the privacy unit ``record`` hides: pairs made of
all its responses would be several records of one unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alignment.data.fields import MAX_OPTIONS, InvalidRecordError
from alignment.data.published.columns import (
    ALONE,
    TIE,
    LeftOut,
    Part,
    list_in,
    number_in,
    owner_of,
)


def scored_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """``prompt``, ``responses`` and their ``scores``, of which the highest is the best.

    Raises:
        LeftOut: There are not two responses, or all have one score.
        InvalidRecordError: There is not one score for each response.
    """
    yield _best_and_worst(row, "prompt", list_in(row, "responses"), _numbers(row, "scores"))


def ranked_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """``prompt``, ``responses`` and their ``ranks``, of which the lowest is the best.

    Raises:
        LeftOut, InvalidRecordError: As :func:`scored_rows`.
    """
    scores = [-rank for rank in _numbers(row, "ranks")]
    yield _best_and_worst(row, "prompt", list_in(row, "responses"), scores)


def completion_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """``completions`` of ``openbmb/UltraFeedback``, by their ``overall_score``.

    Raises:
        LeftOut, InvalidRecordError: As :func:`scored_rows`.
    """
    given = _objects(row, "completions")
    scores = [number_in(each, "overall_score") for each in given]
    yield _best_and_worst(row, "instruction", [each.get("response") for each in given], scores)


def answer_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """``answers`` of ``berkeley-nest/Nectar``, by their ``rank``.

    Raises:
        LeftOut, InvalidRecordError: As :func:`scored_rows`.
    """
    given = _objects(row, "answers")
    scores = [-number_in(each, "rank") for each in given]
    yield _best_and_worst(row, "prompt", [each.get("answer") for each in given], scores)


def lone_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """Refuse a row with one response of several: see :mod:`alignment.data.published.runs`.

    Raises:
        InvalidRecordError: Always.
    """
    raise InvalidRecordError(
        "response",
        "is one of several to its prompt, in rows of their own, and each row is read for itself",
        "read it with alignment.data.loading.load_records and give what write_records makes of it",
    )
    yield  # An adapter is a generator.


def _objects(row: Mapping[str, object], field: str) -> list[Mapping[str, object]]:
    given = list_in(row, field)
    for index, each in enumerate(given):
        if not isinstance(each, Mapping):
            raise InvalidRecordError(field, f"entry {index} is no object", "give objects")
    return [each for each in given if isinstance(each, Mapping)]


def _numbers(row: Mapping[str, object], field: str) -> list[float]:
    given = list_in(row, field)
    return [number_in({field: each}, field) for each in given]


def _best_and_worst(
    row: Mapping[str, object], prompt: str, responses: Sequence[object], scores: Sequence[float]
) -> Part:
    """The pair of a row; of equals the first is the best, the last is the worst."""
    if len(responses) != len(scores):
        problem = f"has {len(responses)} entries for {len(scores)} scores"
        raise InvalidRecordError("responses", problem, "give one for each")
    if len(responses) > MAX_OPTIONS:
        problem = f"has {len(responses)} entries, more than {MAX_OPTIONS}"
        raise InvalidRecordError("responses", problem, "give fewer")
    if len(responses) < 2:
        raise LeftOut(ALONE)
    best, worst = max(scores), min(scores)
    if best == worst:
        raise LeftOut(TIE)
    last = len(scores) - 1 - scores[::-1].index(worst)
    sides = {"chosen": responses[scores.index(best)], "rejected": responses[last]}
    return "", {**owner_of(row), "prompt": row.get(prompt), **sides}
