"""What a model states of its privacy and of its starts: carried on whole, and refused if forged."""

import json
from pathlib import Path
from typing import Any

import pytest

from privacy.lineage import (
    files_digest,
    lineage_of,
    read_lineage,
    read_start,
    start_in_words,
    start_of,
    wrong_start,
)

MODEL, FILES = "ab" * 32, "cd" * 32
PRIVATE: dict[str, Any] = {
    "mode": "distributed",
    "unit": "respondent",
    "epsilon": 4.0,
    "delta": 1e-5,
    "run": "ef" * 16,
    "groups": ["North", "South"],
}


def start(**changes: Any) -> dict[str, Any]:
    made = start_of(lineage_of(MODEL, PRIVATE, None), name="spring", model=MODEL, files=FILES)
    return {**made, **changes}


def test_what_is_written_is_read_and_carried_on(tmp_path: Path) -> None:
    assert read_lineage(tmp_path) is None
    lineage = lineage_of(MODEL, PRIVATE, start(privacy={"mode": "none"}))
    (tmp_path / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
    assert read_lineage(tmp_path) == lineage
    next_start = start_of(read_lineage(tmp_path), name="autumn", model=MODEL, files=FILES)
    assert next_start["privacy"] == PRIVATE
    assert next_start["start"]["privacy"] == {"mode": "none"}
    (tmp_path / "start.json").write_text(json.dumps(next_start), encoding="utf-8")
    assert read_start(tmp_path / "start.json") == next_start


def test_a_folder_that_states_nothing_is_no_promise() -> None:
    stated = start_of(None, name="old", model=MODEL, files=FILES)
    assert (stated["privacy"], stated["start"], wrong_start(stated)) == (None, None, "")
    (sentence,) = start_in_words(stated, private=True)
    assert "nothing states how it was trained" in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "ab"},
        {"model": "AB" * 32},
        {"files": None},
        {"name": ""},
        {"name": 3},
        {"more": 1},
        {"start": "none"},
        {"start": {}},
        {"privacy": {"mode": "none", "epsilon": 1.0}},
        *(
            {"privacy": {**PRIVATE, **wrong}}
            for wrong in (
                {"epsilon": "4"},
                {"epsilon": 0},
                {"epsilon": True},
                {"delta": float("inf")},
                {"mode": []},
                {"unit": "person"},
                {"groups": "North"},
                {"groups": [1]},
                {"run": None},
            )
        ),
    ],
    ids=str,
)
def test_another_form_is_refused(changes: dict[str, Any]) -> None:
    assert wrong_start(start()) == ""
    assert wrong_start(start(**changes))
    assert wrong_start(start(start=start(**changes)))


def test_a_chain_ends() -> None:
    chain = None
    for _ in range(63):
        chain = start(start=chain)
    assert wrong_start(chain) == ""
    assert "more than 64 starts" in wrong_start(start(start=start(start=chain)))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"model": 1, "model": 2}', '{"model": NaN}', "[" * 9999]
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "lineage.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"lineage\.json") as refused:
        read_lineage(tmp_path)
    assert "\n" not in str(refused.value)


def test_words_say_who_pays_twice_and_show_every_character() -> None:
    (sentence,) = start_in_words(start(name="a\u202eb\n"), private=True)
    assert "a\\u202eb\\x0a (model abababababababab)" in sentence
    assert "epsilon = 4, delta = 1e-05 for every respondent of North, South" in sentence
    assert sentence.endswith("people in both pay both, the epsilons add up.")
    (sentence,) = start_in_words(start(), private=False)
    assert "pay both" not in sentence
    many = {**PRIVATE, "groups": [f"Group {number}" for number in range(40)]}
    (sentence,) = start_in_words(start(privacy=many), private=True)
    assert "Group 11 and 28 more (run" in sentence
    assert start_in_words(None, private=True) == []


def test_the_digest_of_files_is_of_names_and_contents(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    seen = {files_digest(tmp_path, names) for names in (["a"], ["c"], ["a", "b"], ["b", "c"])}
    assert len(seen) == 4
    assert files_digest(tmp_path, ["a", "b"]) == files_digest(tmp_path, ["b", "a"])
