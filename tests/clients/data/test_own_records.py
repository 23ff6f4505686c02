"""The records of a client's own source: what it refuses that a simulation reads."""

import json
import logging
from pathlib import Path

import pytest

from alignment.data.sources import DataError
from clients.data.own_records import own_records, records_alone, records_in

PROMPT = {"prompt": "Name a fruit"}
LONE = [{**PROMPT, "response": "Apple", "helpfulness": 4}, {**PROMPT, "response": "Chair"}]
BATTLE = {**PROMPT, "responses": ["Apple", "Chair"]}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_table_of_which_several_rows_make_one_record_is_refused(tmp_path: Path) -> None:
    """Read for itself, as in a private step, each of its rows would be absent without a word."""
    source = write(tmp_path / "a.jsonl", *LONE)
    with pytest.raises(DataError, match="is one of several to its prompt"):
        records_in(source, "north")
    with pytest.raises(DataError, match="is one of several"):
        own_records(source, "north", True, None)
    assert len(records_alone(source, "north", "record", False, None)) == 0


def test_rows_that_prefer_nothing_are_told_once_and_none_counts_as_absent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**BATTLE, "scores": scores} for scores in ([2, 1], [1, 1], [1, 2])]
    source = write(tmp_path / "a.jsonl", *rows)
    with caplog.at_level(logging.WARNING):
        assert len(records_in(source, "north")) == 2
        assert len(records_alone(source, "north", "record", False, None)) == 2
    assert caplog.messages == [f"{source}: 1 row(s) left out: tie (1)"] * 2
