"""Conversations: how messages are read, how they read as one text, and what they identify."""

import json
import math
import pickle
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.conversations import (
    MAX_DEPTH,
    MAX_MESSAGES,
    MAX_TOOL_CALLS,
    Conversation,
    Message,
    Turns,
    parse_messages,
)
from alignment.data.fields import InvalidRecordError
from alignment.data.records import (
    PairRecord,
    Question,
    parse_record,
    question_digest,
    record_to_row,
)
from alignment.data.units import UnitRecords, units_of
from clients.sessions.group_ledger import contents_of
from tests.alignment.data.test_records import JSON_VALUES

ASK, BLUE, GREEN = (
    {"role": role, "content": text}
    for role, text in (("user", "Sky?"), ("assistant", "Blue."), ("assistant", "Green."))
)
PAIR: dict[str, Any] = {"group": "north", "annotator": "ann", "prompt": [ASK]}
PAIR |= {"chosen": [BLUE], "rejected": [GREEN]}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
CALL_JSON = '[{"function":{"arguments":{"at":"sky"},"name":"look"},"type":"function"}]'
USED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "look", "tool_call_id": "7", "content": "blue"},
    BLUE,
]


def pair(**changes: Any) -> PairRecord:
    record = parse_record({**PAIR, **changes})
    assert isinstance(record, PairRecord)
    return record


def error_of(**changes: Any) -> InvalidRecordError:
    with pytest.raises(InvalidRecordError) as caught:
        parse_record({**PAIR, **changes})
    assert "\n" not in str(caught.value)
    return caught.value


def said(*turns: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in turns))


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "role"),
    [
        ("system", "system"),
        ("Developer", "system"),
        ("human", "user"),
        ("prompter", "user"),
        (" GPT ", "assistant"),
        ("bot", "assistant"),
        ("model", "assistant"),
        ("chatbot", "assistant"),
        ("function", "tool"),
        ("ipython", "tool"),
    ],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_a_role_has_one_name(written: str, role: str, keys: tuple[str, str]) -> None:
    message = dict(zip(keys, (written, "Hi."), strict=True))
    assert parse_messages("prompt", [message]) == (Message(role, "Hi."),)


def test_parts_that_are_texts_are_joined() -> None:
    parts = [{"type": "text", "text": "S", "image": None}, {"text": "ky?"}]
    assert parse_messages("prompt", [{**ASK, "content": parts}]) == (Message("user", "Sky?"),)


def test_fields_of_tables_that_hold_nothing_count_as_absent() -> None:
    """Parquet gives every message, and every argument of a call, the fields of all others."""
    empty = {"tool_calls": [], "name": None, "tool_call_id": None, "weight": 3}
    assert parse_messages("prompt", [{**ASK, **empty}]) == (Message("user", "Sky?"),)
    arguments = {"at": "sky", "city": None}
    call = {**CALL, "id": None, "function": {"name": "look", "arguments": arguments}}
    (used,) = parse_messages("prompt", [{**USED[0], "tool_calls": [call]}])
    assert used == Message("assistant", "", tool_calls=CALL_JSON)


def test_a_message_is_what_a_chat_template_takes() -> None:
    used, answer, _ = parse_messages("chosen", USED)
    assert used.as_mapping() == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert answer.as_mapping() == {
        "role": "tool",
        "content": "blue",
        "name": "look",
        "tool_call_id": "7",
    }
    assert pickle.loads(pickle.dumps(used)) == used  # noqa: S301 our own bytes


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("Sky?", "message 0: is a text, not an object"),
        ({"content": "Sky?"}, "message 0: has no role"),
        ({**ASK, "role": "secret"}, "message 0: has an unknown role; give system, developer, user"),
        ({**ASK, "role": ["user"]}, "message 0: has an unknown role"),
        ({**ASK, "content": None}, "message 0: content is missing"),
        ({**ASK, "content": 3}, "message 0: content is an integer, not a text"),
        ({**ASK, "content": "\ud83c"}, "message 0: content holds half a surrogate pair"),
        ({**ASK, "content": [{"type": "image"}]}, "message 0: holds a part of type image; give"),
        ({**ASK, "content": [{"type": "video"}]}, "message 0: holds a part of type video; give"),
        ({**ASK, "content": [{"type": "secret"}]}, "message 0: holds a part that is no text"),
        ({**ASK, "content": [{"type": ["image"]}]}, "message 0: holds a part that is no text"),
        ({**ASK, "content": ["Sky?"]}, "message 0: holds a part that is no text"),
        ({**ASK, "content": [{"type": "text"}]}, "message 0: a part is missing"),
        ({**ASK, "name": 3}, "message 0: name is an integer, not a text"),
        ({**ASK, "tool_calls": "look"}, "message 0: tool_calls are no list of objects"),
        ({**ASK, "tool_calls": [None]}, "message 0: tool_calls are no list of objects"),
        ({**ASK, "tool_calls": [{"x": math.nan}]}, "message 0: tool_calls are no JSON"),
        ({**ASK, "tool_calls": [{"x": 10**5000}]}, "message 0: tool_calls are no JSON"),
        ({**ASK, "tool_calls": [{"x": "\ud83c"}]}, "message 0: tool_calls are no JSON"),
        ({**ASK, "tool_calls": [{3: "x"}]}, "message 0: tool_calls are no JSON"),
        ({**ASK, "tool_calls": [{"x": b"y"}]}, "message 0: tool_calls are no JSON"),
        ({**ASK, "tool_calls": [{"x": "y" * MAX_TOOL_CALLS}]}, "tool_calls have more than 200000"),
        ({**ASK, "content": " "}, "is empty"),
    ],
)
def test_a_message_that_is_none_is_one_line(message: Any, problem: str) -> None:
    error = error_of(prompt=[message])
    assert error.field == "prompt" and problem in str(error) and "secret" not in str(error)


def test_bounds_on_messages_and_brackets_are_inclusive() -> None:
    assert len(parse_messages("prompt", [ASK] * MAX_MESSAGES)) == MAX_MESSAGES
    assert "has 1001 messages, outside 1 to 1000" in str(error_of(prompt=[ASK] * 1001))
    assert "has 0 messages" in str(error_of(prompt=[]))
    for depth, fits in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        nested: Any = "x"
        for _ in range(depth - 1):
            nested = [nested]
        message = {**ASK, "tool_calls": [{"x": nested}]}
        if fits:
            assert parse_messages("prompt", [message])[0].tool_calls
        else:
            with pytest.raises(InvalidRecordError, match="brackets too deep"):
                parse_messages("prompt", [message])


# --- how they read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conversation", "plain"),
    [
        (said(("user", "Sky?")), "Sky?"),
        (said(("assistant", " Blue.")), " Blue."),
        (said(("system", "Rhyme.")), "\n\nSystem: Rhyme.\n\nAssistant:"),
        (
            said(("system", "Rhyme."), ("user", "Sky?")),
            "\n\nSystem: Rhyme.\n\nHuman: Sky?\n\nAssistant:",
        ),
        (
            said(("user", "Hi."), ("assistant", "Yes?"), ("user", "Sky?")),
            "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Sky?\n\nAssistant:",
        ),
        (
            said(("assistant", "Yes?"), ("user", "Sky?")),
            "\n\nAssistant: Yes?\n\nHuman: Sky?\n\nAssistant:",
        ),
        (said(("user", "Sky?"), ("assistant", "It is")), "\n\nHuman: Sky?\n\nAssistant: It is"),
        (
            Conversation(parse_messages("chosen", USED)),
            f"{CALL_JSON}\n\nTool: blue\n\nAssistant: Blue.",
        ),
        (said(("tool", "blue"), ("assistant", "Blue.")), "\n\nTool: blue\n\nAssistant: Blue."),
        (
            Conversation((Message("assistant", "Let me look.", tool_calls=CALL_JSON),)),
            f"Let me look.\n{CALL_JSON}",
        ),
        (Conversation(()), ""),
    ],
)
def test_a_conversation_reads_as_a_transcript(conversation: Conversation, plain: str) -> None:
    assert conversation.plain == plain


# --- the three parts of a pair ------------------------------------------------------------------

SYSTEM = {"role": "system", "content": "Rhyme."}
LONG = [ASK, BLUE, {"role": "user", "content": "Sea?"}]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": None, "chosen": [ASK, BLUE], "rejected": [ASK, GREEN]},
        {"prompt": "Sky?", "chosen": [ASK, BLUE], "rejected": [ASK, GREEN]},
        {"prompt": " Sky?\n", "chosen": [ASK, BLUE], "rejected": [ASK, GREEN]},
        {"chosen": [ASK, BLUE], "rejected": [ASK, GREEN]},
        {"chosen": [ASK, ASK, BLUE], "rejected": [ASK, ASK, GREEN]},
    ],
)
def test_every_way_to_give_a_pair_gives_the_same(row: dict[str, Any]) -> None:
    assert pair(**row) == PairRecord(
        group="north",
        annotator="ann",
        prompt=said(("user", "Sky?")),
        chosen=said(("assistant", "Blue.")),
        rejected=said(("assistant", "Green.")),
    )


def test_texts_and_conversations_stand_side_by_side() -> None:
    mixed = pair(chosen="Blue.", rejected=[GREEN])
    assert (mixed.chosen, mixed.rejected) == ("Blue.", said(("assistant", "Green.")))
    spoken = pair(prompt="Sky?")
    assert spoken.prompt == "Sky?"
    # What they ask is the same question.
    assert mixed.question == spoken.question == pair().question


def test_the_longest_common_beginning_is_the_prompt() -> None:
    record = pair(prompt=None, chosen=[SYSTEM, *LONG, BLUE], rejected=[SYSTEM, *LONG, *USED])
    assert record.prompt == Conversation(parse_messages("prompt", [SYSTEM, *LONG]))
    assert record.rejected == Conversation(parse_messages("rejected", USED))
    shorter = pair(prompt=None, chosen=LONG[:2], rejected=[*LONG, GREEN])
    assert shorter.prompt == said(("user", "Sky?"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": None, "chosen": [BLUE], "rejected": [GREEN]}, "shares no message with chosen"),
        ({"prompt": None, "chosen": [ASK, BLUE], "rejected": "Green."}, "'prompt': is missing"),
        (
            {"prompt": None, "chosen": [ASK, *LONG], "rejected": [ASK, BLUE]},
            "'chosen': answers with",
        ),
        (
            {"prompt": "Sea?", "chosen": [ASK, BLUE], "rejected": [ASK, GREEN]},
            "message of the user",
        ),
        ({"chosen": [SYSTEM, BLUE]}, "'chosen': answers with a message of the system"),
        ({"chosen": "Green."}, "'rejected': is the same text as chosen"),
        ({"chosen": [GREEN]}, "'rejected': is the same text as chosen"),
        ({"rejected": [{**GREEN, "content": ""}]}, "'rejected': is empty"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(row: dict[str, Any], problem: str) -> None:
    assert problem in str(error_of(**row))


# --- what is the same ---------------------------------------------------------------------------


def test_plain_pairs_are_named_as_before_there_were_conversations() -> None:
    """Golden: ledgers and splits hold these names."""
    record = PairRecord(
        group="north",
        annotator="ann",
        prompt="Say hello.",
        chosen="Good day!",
        rejected="Cafe\u0301",
    )
    digest = "77855f65da333189db4636571416aada5df23e408fd8049bbb43884255069bf3"
    assert question_digest("Say hello.", ["Good day!", "Caf\u00e9"]) == digest
    assert record.question.question_id == "pair-c45bed16f29d81f2687da58f51b6b8f7"
    contents = "1af571100393ea6649bc77697c0ce9f2d6219cb4e8ee3696d0b11c4f964abc22"
    names = {
        "respondent": "ann",
        "record": "40037ddc92f708e29f9065128b7a56597bcac04a5ad4e87d674ee21e59221d66-1",
    }
    for unit, name in names.items():
        (made,) = units_of([record], unit=unit)
        assert (made.unit, contents_of(made).hex()) == (name, contents)


def test_the_question_of_a_conversation_holds_its_messages() -> None:
    question = pair(chosen="Green.", rejected=[BLUE]).question
    assert (question.text, question.options) == ("Sky?", ("Blue.", "Green."))
    assert question.turns == Turns(
        (Message("user", "Sky?"),),
        ((Message("assistant", "Blue."),), (Message("assistant", "Green."),)),
    )


#: Conversations that read alike, and differ.
ALIKE = [
    {"chosen": [BLUE]},
    {"chosen": [{**BLUE, "name": "ann"}]},
    {"chosen": [{**BLUE, "name": "bob"}]},
    {"chosen": [{**BLUE, "content": CALL_JSON}]},
    {"chosen": [{"role": "assistant", "tool_calls": [CALL]}]},
    {"prompt": [SYSTEM, ASK]},
    {"prompt": [{"role": "user", "content": "\n\nSystem: Rhyme.\n\nHuman: Sky?\n\nAssistant:"}]},
]


def test_records_whose_messages_differ_are_told_apart_everywhere() -> None:
    records = [pair(**each) for each in ALIKE]
    questions = [record.question for record in records]
    assert len({(question.text, question.options) for question in questions}) == 3
    assert len(set(questions)) == len({each.question_id for each in questions}) == len(records)
    units = units_of(records, unit="record")
    assert len({unit.unit.partition("-")[0] for unit in units}) == len(records)
    assert len({contents_of(unit) for unit in units}) == len(records)


def test_a_ledger_tells_messages_apart_under_one_id() -> None:
    """Whatever names a question: its contents are what was paid for."""
    turns = [pair(**each).question.turns for each in ALIKE[:3]]
    asked = [
        Question(question_id="q", text="Sky?", options=("a", "b"), together=False, turns=each)
        for each in (*turns, None)
    ]
    units = [UnitRecords(unit="u", questions=(q,), targets=((1.0, 0.0),)) for q in asked]
    assert len({contents_of(unit) for unit in units}) == len(asked)


def test_the_records_of_a_unit_have_one_order() -> None:
    composed = [{**BLUE, "name": name} for name in ("\u00e9", "e\u0301")]
    records = [pair(chosen=[each]) for each in composed]
    assert records[0].question.question_id == records[1].question.question_id
    orders = [units_of(each, unit="respondent") for each in (records, records[::-1])]
    assert contents_of(orders[0][0]) == contents_of(orders[1][0])


@pytest.mark.parametrize(("one", "other"), [*product(ALIKE[:5], ["Green.", [GREEN]])])
def test_annotators_of_conversations_who_disagree_answer_one_question(
    one: dict[str, Any], other: Any
) -> None:
    agrees = pair(**one, rejected=other)
    disagrees = pair(chosen=other, rejected=one["chosen"])
    assert agrees.question == disagrees.question
    assert agrees.target == tuple(reversed(disagrees.target))


def test_responses_that_read_alike_are_two_while_their_messages_differ() -> None:
    record = pair(chosen=[{**BLUE, "name": "ann"}], rejected=[{**BLUE, "name": "bob"}])
    turned = pair(chosen=[{**BLUE, "name": "bob"}], rejected=[{**BLUE, "name": "ann"}])
    assert record.question == turned.question and record.target != turned.target


# --- hostile rows -------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "tool_calls", "name"]),
        st.sampled_from(["user", "assistant", "tool", "system"]) | JSON_VALUES,
        max_size=4,
    ),
    max_size=4,
)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "chosen", "rejected"]), MESSAGES | JSON_VALUES, max_size=3
    )
)
def test_any_lists_of_objects_are_a_record_or_an_invalid_record(changes: dict[str, Any]) -> None:
    try:
        record = parse_record({**PAIR, **changes})
    except InvalidRecordError as error:
        assert str(error)
    else:
        assert parse_record(record_to_row(record)) == record


TEXTS = st.text("ab é\u0301\n", max_size=4)
SPOKEN = st.builds(
    lambda role, content, name, calls: {
        "role": role,
        "content": content,
        **({"name": name} if name else {}),
        **({"tool_calls": calls} if calls else {}),
    },
    st.sampled_from(["user", "assistant", "tool", "system"]),
    TEXTS,
    st.none() | TEXTS.filter(str.strip),
    st.none()
    | st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(0, 1)), max_size=2),
)


@given(st.lists(SPOKEN, max_size=3), st.lists(SPOKEN, max_size=3), st.lists(SPOKEN, max_size=3))
def test_a_conversation_survives_the_way_to_a_row_and_back(
    prompt: list[Any], chosen: list[Any], rejected: list[Any]
) -> None:
    begin = [ASK, *prompt]
    row = {**PAIR, "prompt": begin, "chosen": [BLUE, *chosen], "rejected": [GREEN, *rejected]}
    record = parse_record(row)
    written = record_to_row(record)
    assert parse_record(json.loads(json.dumps(written))) == record
    whole = {**row, "prompt": None}
    whole |= {side: begin + row[side] for side in ("chosen", "rejected")}
    assert parse_record(whole) == record
    assert sum(record.target) == 1 and isinstance(record.prompt, Conversation)
