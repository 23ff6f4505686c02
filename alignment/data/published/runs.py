"""Tables with one response a row: rows that follow each other and share a prompt become one.

The pair that such rows give depends on all of them. Where the privacy unit is the record, it is
that pair, and no row of the table; so a client, whose records must each be read for itself, takes
no such table (:func:`alignment.data.published.rankings.lone_rows`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from alignment.data.fields import InvalidRecordError
from alignment.data.published.columns import owner_of
from alignment.data.published.rankings import lone_rows
from alignment.data.published.shapes import adapter_for
from alignment.data.sources import Row

#: What rows have in common that are one.
_SHARED = ("prompt", "group", "annotator")


def joined(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows as they are, but for those with one response of several: they become one scored row.

    It stands where the first of them stood; a row that cannot be decoded parts no others.
    """
    run: list[dict[str, object]] = []
    place = ""
    for where, content in rows:
        if isinstance(content, InvalidRecordError) or not (run or "response" in content):
            yield where, content
            continue
        lone = "response" in content and adapter_for(content) is lone_rows
        if run and not (lone and all(run[0].get(each) == content.get(each) for each in _SHARED)):
            yield place, _scored(run)
            run = []
        if lone:
            place = place if run else where
            run.append(content)
        else:
            yield where, content
    if run:
        yield place, _scored(run)


def _scored(run: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {
        **owner_of(run[0]),
        "prompt": run[0].get("prompt"),
        "responses": [each.get("response") for each in run],
        "scores": [each.get("helpfulness") for each in run],
    }
