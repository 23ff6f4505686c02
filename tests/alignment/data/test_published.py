"""Published shapes of pairs: what becomes one, what is counted, and what is refused."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.conversations import Conversation, Message, Text
from alignment.data.fields import InvalidRecordError
from alignment.data.loading import load_records
from alignment.data.published.columns import LeftOut
from alignment.data.published.shapes import SHAPES, adapter_for
from alignment.data.records import PairRecord, parse_record, record_to_row
from tests.alignment.data.test_loading import WRITERS, error_of, jsonl, table
from tests.alignment.data.test_records import JSON_VALUES

FORMATS = (".jsonl", ".csv", ".parquet", ".arrow")


def spoken(*texts: str) -> list[dict[str, str]]:
    """Messages of a user and an assistant by turns."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def said(*texts: str, role: str = "user") -> Conversation:
    other = {"user": "assistant", "assistant": "user"}[role]
    return Conversation(tuple(Message((role, other)[i % 2], text) for i, text in enumerate(texts)))


FRUIT = "Name a fruit"
APPLE, CHAIR = said("Apple", role="assistant"), said("Chair", role="assistant")
SPOKEN = (said(FRUIT), APPLE, CHAIR)
PLAIN = (FRUIT, "Apple", "Chair")

EXPLICIT: dict[str, Any] = {"prompt": spoken(FRUIT)}
EXPLICIT |= {"chosen": spoken(FRUIT, "Apple")[1:], "rejected": spoken(FRUIT, "Chair")[1:]}
WHOLE: dict[str, Any] = {"chosen": spoken(FRUIT, "Apple"), "rejected": spoken(FRUIT, "Chair")}
SCORED = {"prompt": FRUIT, **WHOLE, "messages": [], "score_chosen": 8.5, "score_rejected": 2.0}
FEEDBACK = {
    "instruction": FRUIT,
    "completions": [
        {"model": "m", "response": text, "overall_score": score}
        for text, score in (("Stone", 4.0), ("Apple", 8.5), ("Chair", 1.5), ("Pear", 8.5))
    ],
}
STEER3 = {
    "domain": "general",
    "context": spoken(FRUIT),
    "response1": "Apple",
    "response2": "Chair",
    "overall_preference": -2,
}
STEER2 = {"prompt": FRUIT, "response_1": "Chair", "response_2": "Apple", "preference_strength": 1}
NECTAR = {
    "prompt": FRUIT,
    "answers": [
        {"answer": text, "rank": rank} for text, rank in (("Stone", 2), ("Apple", 1), ("Chair", 3))
    ],
}
FORUM = {
    "post_id": "7",
    "domain": "askcooks_train",
    "history": FRUIT,
    "human_ref_A": "Chair",
    "human_ref_B": "Apple",
    "labels": 0,
}
ARENA = {
    "question_id": "ab",
    "model_a": "m",
    "model_b": "n",
    "winner": "model_b",
    "judge": "arena_user_1",
    "conversation_a": spoken(FRUIT, "Chair"),
    "conversation_b": spoken(FRUIT, "Apple"),
}
PARTED = {
    **{name: ARENA[name] for name in ("model_a", "model_b", "winner")},
    "evaluation_session_id": "s1",
    **{
        side: [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in turns]
        for side, turns in (
            ("conversation_a", spoken(FRUIT, "Chair")),
            ("conversation_b", spoken(FRUIT, "Apple")),
        )
    },
}
LISTED = {
    "model_a": "m",
    "model_b": "n",
    "prompt": json.dumps([FRUIT]),
    "response_a": json.dumps(["Apple"]),
    "response_b": json.dumps(["Chair"]),
    "winner_model_a": 1,
    "winner_model_b": 0,
    "winner_tie": 0,
}
SAFER = {
    "prompt": FRUIT,
    "response_0": "Apple",
    "response_1": "Chair",
    "is_response_0_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
SCORES = {"prompt": FRUIT, "responses": ["Stone", "Apple", "Chair"], "scores": [2, 3, 1]}
RANKS = {"prompt": FRUIT, "responses": ["Apple", "Stone", "Chair"], "ranks": [1, 2, 3]}

CASES: dict[str, tuple[dict[str, Any], tuple[Text, Text, Text]]] = {
    "trl, explicit": (EXPLICIT, SPOKEN),
    "trl, standard": ({"prompt": FRUIT, "chosen": "Apple", "rejected": "Chair"}, PLAIN),
    "trl, implicit": (WHOLE, SPOKEN),
    "HuggingFaceH4/ultrafeedback_binarized": (SCORED, SPOKEN),
    "openbmb/UltraFeedback": (FEEDBACK, PLAIN),
    "nvidia/HelpSteer3": (STEER3, (said(FRUIT), "Apple", "Chair")),
    "nvidia/HelpSteer2": (STEER2, PLAIN),
    "berkeley-nest/Nectar": (NECTAR, PLAIN),
    "stanfordnlp/SHP": (FORUM, PLAIN),
    "lmsys/chatbot_arena_conversations": (ARENA, SPOKEN),
    "lmarena-ai/arena-human-preference-140k": (PARTED, SPOKEN),
    "lmarena-ai/arena-human-preference-55k": (LISTED, SPOKEN),
    "PKU-Alignment/PKU-SafeRLHF": (SAFER, PLAIN),
    "scored": (SCORES, PLAIN),
    "ranked": (RANKS, PLAIN),
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_a_row_of_a_published_shape_is_one_pair(tmp_path: Path, name: str, suffix: str) -> None:
    row, (prompt, chosen, rejected) = CASES[name]
    loaded = load_records(WRITERS[suffix](tmp_path / f"fruit{suffix}", [row]))
    (record,) = loaded.records
    assert record == PairRecord(
        group="askcooks" if name == "stanfordnlp/SHP" else "fruit",
        annotator="arena_user_1" if "judge" in row else None,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
    )
    assert (loaded.skipped, loaded.left_out) == ((), {})
    assert parse_record(record_to_row(record)) == record


@pytest.mark.parametrize(
    "row",
    [row for name, (row, _) in CASES.items() if not name.startswith("trl") and row is not SCORED],
)
def test_groups_and_annotators_that_somebody_added_are_kept(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{**row, "group": "north", "annotator": "ann"}])
    (record,) = load_records(path).records
    assert (record.group, record.unit) == ("north", "ann")


def test_a_session_names_nobody(tmp_path: Path) -> None:
    """One person has many: a unit for each would hide a part of what she said."""
    (record,) = load_records(jsonl(tmp_path / "a.jsonl", [PARTED])).records
    assert record.unit is None
    hashed = {**PARTED, "judge_hash": "f00d"}
    (record,) = load_records(jsonl(tmp_path / "a.jsonl", [hashed])).records
    assert record.unit == "f00d"


def changed(entries: Any, field: str, values: list[Any]) -> list[dict[str, Any]]:
    return [{**each, field: value} for each, value in zip(entries, values, strict=True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**SCORED, "score_rejected": 8.5}, "tie"),
        ({**FEEDBACK, "completions": FEEDBACK["completions"][1::2]}, "tie"),
        ({**FEEDBACK, "completions": FEEDBACK["completions"][:1]}, "single response"),
        ({**FEEDBACK, "completions": []}, "single response"),
        ({**STEER3, "overall_preference": 0}, "tie"),
        ({**STEER2, "preference_strength": 0}, "tie"),
        ({**NECTAR, "answers": changed(NECTAR["answers"], "rank", [1, 1, 1])}, "tie"),
        ({**ARENA, "winner": "tie"}, "tie"),
        ({**ARENA, "winner": "tie (bothbad)"}, "tie"),
        ({**PARTED, "winner": "both_bad"}, "tie"),
        ({**LISTED, "winner_model_a": 0, "winner_tie": 1}, "tie"),
        ({**SCORES, "scores": [2, 2, 2]}, "tie"),
    ],
)
def test_rows_that_prefer_nothing_are_counted_by_their_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: dict[str, Any], reason: str
) -> None:
    path = jsonl(tmp_path / "a.jsonl", [row])
    assert error_of(path) == (
        f"{path}: no record, 1 row(s) left out: {reason} (1); give rows that prefer something"
    )
    jsonl(path, [row, {**SAFER}, row])
    with caplog.at_level(logging.WARNING):
        loaded = load_records(path)
    assert (len(loaded.records), loaded.left_out, loaded.skipped) == (1, {reason: 2}, ())
    assert caplog.messages == [f"{path}: 2 row(s) left out: {reason} (2)"]
    alone = load_records(path, alone=True)
    assert (alone.records, alone.left_out) == (loaded.records, {reason: 2})


def test_of_equals_the_first_is_best_and_the_last_is_worst(tmp_path: Path) -> None:
    row = {**SCORES, "responses": ["a", "b", "c", "d"], "scores": [2, 2, 1, 1]}
    (record,) = load_records(jsonl(tmp_path / "a.jsonl", [row])).records
    assert isinstance(record, PairRecord)
    assert (record.chosen, record.rejected) == ("a", "d")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**SCORED, "score_chosen": "high"}, "'score_chosen': is a text, not a finite number"),
        ({**SCORED, "prompt": "Name a tree"}, "'chosen': answers with a message of the user"),
        ({**FEEDBACK, "completions": "none"}, "'completions': is no printed list"),
        ({**FEEDBACK, "completions": ["x", "y"]}, "'completions': entry 0 is no object"),
        ({**FEEDBACK, "completions": [{"response": "x"}]}, "'overall_score': is missing"),
        ({**FEEDBACK, "instruction": None}, "'prompt': is missing"),
        ({**STEER3, "overall_preference": -100}, "'overall_preference': is outside -3 to 3"),
        ({**STEER3, "overall_preference": None}, "'overall_preference': is missing"),
        ({**STEER3, "response1": None}, "'chosen': is missing"),
        ({**STEER2, "preference_strength": float("inf")}, "is a number, not a finite number"),
        ({**STEER2, "preference_strength": 10**400}, "is an integer, not a finite number"),
        ({**NECTAR, "answers": 3}, "'answers': is an integer, not a list"),
        ({**FORUM, "labels": 2}, "'labels': is neither 0 nor 1"),
        ({**FORUM, "domain": "a\u200bb"}, "'group': holds an invisible"),
        ({**ARENA, "winner": "secret"}, "'winner': is neither a model nor a tie"),
        ({**ARENA, "winner": ["tie"]}, "'winner': is neither a model nor a tie"),
        ({**ARENA, "conversation_a": spoken("Name a tree", "Chair")}, "shares no message"),
        (
            {**PARTED, "conversation_a": [{"role": "user", "content": [{"type": "image"}]}]},
            "message 0: holds a part of type image",
        ),
        ({**LISTED, "winner_tie": 1}, "name no winner"),
        ({**LISTED, "response_a": '["a", "b"]'}, "'response_a': has 2 turns for 1 of the prompt"),
        ({**LISTED, "response_a": "[null]"}, "message 1: content is missing"),
        ({**LISTED, "response_a": '["\\ud83c"]'}, "half a surrogate pair"),
        ({**LISTED, "prompt": 3}, "'prompt': is an integer, not a list of texts"),
        ({**SAFER, "better_response_id": 2}, "'better_response_id': is neither 0 nor 1"),
        ({**SCORES, "scores": [1, 2]}, "'responses': has 3 entries for 2 scores"),
        ({**SCORES, "responses": ["x"] * 65, "scores": [1] * 65}, "has 65 entries, more than 64"),
        ({**SCORES, "responses": ["x", "x", "x"]}, "'rejected': is the same text as chosen"),
    ],
)
def test_a_bad_row_of_a_published_shape_is_one_line(
    tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row).replace("Infinity", "1e999"), encoding="utf-8")
    message = error_of(path)
    assert message.startswith(f"{path}:1: field ") and problem in message
    assert "secret" not in message


def test_plain_turns_of_a_battle_may_be_texts(tmp_path: Path) -> None:
    row = {**LISTED, "prompt": "[Name] a fruit", "response_a": "Apple", "response_b": "Chair"}
    (record,) = load_records(jsonl(tmp_path / "a.jsonl", [row])).records
    assert isinstance(record, PairRecord) and record.prompt == said("[Name] a fruit")
    two = {**LISTED, "prompt": ["A?", "B?"], "response_a": ["a", "b"], "response_b": ["a", "c"]}
    (record,) = load_records(jsonl(tmp_path / "a.jsonl", [two])).records
    assert isinstance(record, PairRecord)
    assert (record.prompt, record.chosen) == (said("A?", "a", "B?"), said("b", role="assistant"))


def test_tables_of_texts_may_hold_what_python_prints(tmp_path: Path) -> None:
    """As a table library writes lists."""
    for name in ("trl, explicit", "trl, implicit", "openbmb/UltraFeedback", "nvidia/HelpSteer3"):
        row, expected = CASES[name]
        printed = {field: str(value) for field, value in row.items()}
        (record,) = load_records(table(tmp_path / "a.csv", [printed])).records
        assert isinstance(record, PairRecord)
        assert (record.prompt, record.chosen, record.rejected) == expected


def test_the_projects_own_rows_are_no_published_shape(tmp_path: Path) -> None:
    own = {"group": "north", "prompt": "Tea?", "chosen": "yes", "rejected": "no"}
    others = ({}, {"annotator": "ann"}, {"score_chosen": 1, "score_rejected": 1}, SAFER, SCORES)
    for more in others:
        assert adapter_for({**more, **own}) is None
    assert adapter_for({**own, "annotator": None}) is None
    choice = {"group": "a", "respondent": "b", "question_id": "q", "choice": 0, **ARENA}
    assert adapter_for(choice) is None
    # What names its annotator and no group has forgotten it.
    path = jsonl(tmp_path / "a.jsonl", [{**own, "group": None, "annotator": "ann"}])
    assert "'group': is missing" in error_of(path)


def test_conversations_of_the_own_schema_stand_in_cells_as_json(tmp_path: Path) -> None:
    row = {"group": "north", "annotator": "ann", **EXPLICIT}
    (record,) = load_records(table(tmp_path / "a.csv", [row])).records
    assert record == parse_record(row)
    kept = {**row, "chosen": '[{"a": 1}]', "rejected": "[{b}]"}
    (record,) = load_records(table(tmp_path / "a.csv", [kept])).records
    assert isinstance(record, PairRecord)
    assert (record.chosen, record.rejected) == ('[{"a": 1}]', "[{b}]")


# --- one response a row -------------------------------------------------------------------------


def steered(prompt: str, *scored: tuple[str, float], **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": prompt, "response": text, "helpfulness": score, "verbosity": 2, **more}
        for text, score in scored
    ]


RUN = steered(FRUIT, ("Stone", 2), ("Apple", 4), ("Chair", 1))


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_of_one_prompt_are_one_pair(tmp_path: Path, suffix: str) -> None:
    rows = [
        *RUN,
        *steered("Tea?", ("yes", 3), ("no", 3)),
        *steered("Rain?", ("no", 3)),
        *steered("Sky?", ("green", 0), ("blue", 4)),
    ]
    loaded = load_records(WRITERS[suffix](tmp_path / f"fruit{suffix}", rows))
    pairs = [(r.prompt, r.chosen, r.rejected) for r in loaded.records if isinstance(r, PairRecord)]
    assert pairs == [PLAIN, ("Sky?", "blue", "green")]
    assert loaded.left_out == {"single response": 1, "tie": 1}


def test_rows_of_one_prompt_go_on_in_the_next_file_and_past_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data/train-0.jsonl", [RUN[0], "{", RUN[1]])
    jsonl(tmp_path / "data/train-1.jsonl", [RUN[2], SAFER])
    loaded = load_records(tmp_path / "data", skip_invalid=True, group="north")
    assert len(loaded.records) == 2 and len(loaded.skipped) == 1
    assert {record.question.options for record in loaded.records} == {("Apple", "Chair")}


def test_rows_of_other_groups_or_annotators_are_no_run(tmp_path: Path) -> None:
    rows = [
        *steered(FRUIT, ("Apple", 4), ("Chair", 1), annotator="ann"),
        *steered(FRUIT, ("Apple", 1), ("Chair", 4), annotator="bob"),
    ]
    records = load_records(jsonl(tmp_path / "a.jsonl", rows)).records
    assert [(record.unit, record.target) for record in records] == [
        ("ann", (1.0, 0.0)),
        ("bob", (0.0, 1.0)),
    ]


def test_a_bad_score_is_told_at_the_first_row_of_its_prompt(tmp_path: Path) -> None:
    rows = [SAFER, *RUN[:2], {**RUN[2], "helpfulness": None}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert error_of(path).startswith(f"{path}:2: field 'scores': is missing")


def test_rows_of_one_prompt_are_refused_where_each_is_read_for_itself(tmp_path: Path) -> None:
    """The pair that they give depends on all of them."""
    path = jsonl(tmp_path / "a.jsonl", [*RUN, SAFER])
    message = error_of(path, row_by_row=True)
    assert message.startswith(f"{path}:1: field 'response': is one of several to its prompt")
    assert "write_records" in message
    loaded = load_records(path, alone=True)
    assert (len(loaded.records), len(loaded.skipped)) == (1, 3)


# --- hostile rows -------------------------------------------------------------------------------

COLUMNS = sorted({column for shape in SHAPES for column in shape.present})


@given(
    st.sampled_from([row for row, _ in CASES.values()] + RUN),
    st.dictionaries(
        st.sampled_from([*COLUMNS, "group", "domain", "judge"]), JSON_VALUES, max_size=3
    ),
)
def test_any_row_of_a_published_shape_gives_one_pair_or_one_line(
    base: Mapping[str, Any], changes: dict[str, Any]
) -> None:
    row = {**base, **changes}
    adapter = adapter_for(row)
    if adapter is None:
        return
    try:
        parts = list(adapter(row))
        records = [parse_record({"group": "north", **part}) for _, part in parts]
    except LeftOut as left:
        assert left.reason in ("tie", "single response")
    except InvalidRecordError as error:
        assert "\n" not in str(error)
    else:
        assert len(records) == 1 or "selections" in row
