"""Published battles: two models answer one person, who names the winner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alignment.data.fields import InvalidRecordError, kind_of
from alignment.data.published.columns import TIE, LeftOut, Part, list_in, number_in, owner_of

_TIES = frozenset({"tie", "tie (bothbad)", "both_bad", "bothbad"})
#: Columns that name the person who judged. A session is none: one person has many.
_JUDGES = ("judge", "judge_hash")


def conversation_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """The winner of ``lmsys/chatbot_arena_conversations`` or ``lmarena-ai/arena-human-preference``.

    What both conversations begin with is the prompt. The annotator is the judge, where one is
    named: an ``evaluation_session_id`` names nobody, for one person has many sessions.

    Raises:
        LeftOut: Nobody won.
        InvalidRecordError: The winner is not known.
    """
    winner = row.get("winner")
    if isinstance(winner, str) and winner in _TIES:
        raise LeftOut(TIE)
    if winner not in ("model_a", "model_b"):
        remedy = "give model_a, model_b or tie"
        raise InvalidRecordError("winner", "is neither a model nor a tie", remedy)
    judge = next((row[each] for each in _JUDGES if row.get(each) is not None), None)
    a, b = list_in(row, "conversation_a"), list_in(row, "conversation_b")
    chosen, rejected = (a, b) if winner == "model_a" else (b, a)
    named = {} if judge is None else {"annotator": judge}
    yield "", {**named, **owner_of(row), "chosen": chosen, "rejected": rejected}


def response_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """The winner of ``lmarena-ai/arena-human-preference-55k``, whose turns are lists of texts.

    Raises:
        LeftOut: Nobody won.
        InvalidRecordError: The flags name no winner, or the turns do not fit together.
    """
    flags = [number_in(row, f"winner_{each}") for each in ("model_a", "model_b", "tie")]
    if sorted(flags) != [0, 0, 1]:
        problem = "and its two neighbours name no winner"
        raise InvalidRecordError("winner_model_a", problem, "set one of the three to 1")
    if flags[2]:
        raise LeftOut(TIE)
    asked = _turns(row, "prompt")
    a, b = (_spoken(row, asked, each) for each in ("response_a", "response_b"))
    chosen, rejected = (a, b) if flags[0] else (b, a)
    yield "", {**owner_of(row), "chosen": chosen, "rejected": rejected}


def _spoken(row: Mapping[str, object], asked: list[object], field: str) -> list[object]:
    """The conversation in which a model answered, turn by turn."""
    said = _turns(row, field)
    if len(said) != len(asked):
        problem = f"has {len(said)} turns for {len(asked)} of the prompt"
        raise InvalidRecordError(field, problem, "give one for each")
    return [
        {"role": role, "content": text}
        for pair in zip(asked, said, strict=True)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def _turns(row: Mapping[str, object], field: str) -> list[object]:
    """Texts in their order: a list, one that a text spells, or one text."""
    value = row.get(field)
    if not isinstance(value, str | list | tuple):
        problem = "is missing" if value is None else f"is {kind_of(value)}, not a list of texts"
        raise InvalidRecordError(field, problem, "give the turns")
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    try:
        return list_in(row, field)
    except InvalidRecordError:
        return [value]
