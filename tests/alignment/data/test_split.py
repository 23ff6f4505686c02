"""Splits: files of every wrong shape, draws by seed, and what a group may train on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.data.split import (
    CONTEXT_QUESTIONS,
    DRAWS,
    Draw,
    Split,
    SplitError,
    draw_split,
    draws_of,
    read_split,
)
from tests.hostile import FORGED, assert_seen

GOOD: dict[str, Any] = {
    "train_groups": ["a", "b"],
    "unseen_questions": ["q3"],
    "eval": {"c": {"0": {"context": ["q0"], "target": ["q1", "q3"]}}},
}
DRAW = GOOD["eval"]["c"]["0"]
#: Neither a list of texts, nor an object with something in it.
NO_TEXTS: list[Any] = [None, "q0", 3, {}, {"q0": 1}, [1], [None], [["q0"]], ["q0", 1]]
NO_OBJECT: list[Any] = [None, "c", 3, {}, [], ["c"], [DRAW]]


def answers_of(group: str, numbers: list[int]) -> GroupAnswers:
    questions = tuple(
        Question(question_id=f"q{n}", text=f"{n}?", options=("yes", "no")) for n in numbers
    )
    count = len(questions)
    return GroupAnswers(
        group=group, questions=questions, targets=((0.5, 0.5),) * count, counts=(1,) * count
    )


def population(groups: int, questions: int) -> dict[str, GroupAnswers]:
    return {f"g{i}": answers_of(f"g{i}", list(range(questions))) for i in range(groups)}


def ids(answers: GroupAnswers) -> set[str]:
    return {question.question_id for question in answers.questions}


# --- files -----------------------------------------------------------------------------------


def test_names_of_a_split_are_spelled_as_those_of_records(tmp_path: Path) -> None:
    """Was open: a group or question composed otherwise than in the data was not in the data."""
    file = tmp_path / "split.json"
    draw = {"context": ["que\u0301"], "target": [" q\u00a01"]}
    written = {"train_groups": ["Zoe\u0308  A"], "eval": {"Cafe\u0301": {"0": draw}}}
    text = json.dumps({**written, "unseen_questions": ["q\t2"]})
    file.write_text(f"\ufeff{text}", "utf-8")
    assert read_split(file) == Split(
        train_groups=("Zoë A",),
        draws={"Café": (Draw(context=("qué",), target=("q 1",)),)},
        unseen_questions=frozenset({"q 2"}),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"train_groups": ["é", "e\u0301"]},
        {"eval": {"é": {"0": DRAW}, "e\u0301": {"0": DRAW}}},
        {"eval": {"c": {"0": {**DRAW, "context": ["é", "e\u0301"]}}}},
    ],
    ids=["train", "held out", "questions"],
)
def test_two_spellings_of_one_name_are_named_twice(tmp_path: Path, changes: Any) -> None:
    """Was open: one group in two spellings trained, or was held out, twice."""
    file = tmp_path / "split.json"
    file.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(SplitError, match="names one twice; name each once"):
        read_split(file)


@pytest.mark.parametrize("name", FORGED, ids=ascii)
def test_a_split_names_no_group_that_records_could_not_have(tmp_path: Path, name: str) -> None:
    """Was open: a split named groups by any text, and errors repeated it."""
    file = tmp_path / "split.json"
    for changes in ({"train_groups": [name]}, {"eval": {name: {"0": DRAW}}}):
        file.write_text(json.dumps({**GOOD, **changes}))
        with pytest.raises(SplitError) as caught:
            read_split(file)
        assert_seen(str(caught.value))


def test_a_split_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps({**GOOD, "note": "ignored"}))
    assert read_split(file) == Split(
        train_groups=("a", "b"),
        draws={"c": (Draw(context=("q0",), target=("q1", "q3")),)},
        unseen_questions=frozenset({"q3"}),
    )


def test_unseen_questions_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps({key: GOOD[key] for key in ("train_groups", "eval")}))
    assert read_split(file).unseen_questions == frozenset()


def test_a_split_survives_the_way_through_a_file(tmp_path: Path) -> None:
    drawn = draw_split(population(9, 40), seed=3)
    file = tmp_path / "split.json"
    file.write_text(drawn.to_json())
    assert read_split(file) == drawn
    assert read_split(file).to_json() == drawn.to_json()


def refusal(file: Path) -> str:
    with pytest.raises(SplitError) as caught:
        read_split(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    return str(caught.value)


def drawn(**changes: Any) -> dict[str, Any]:
    """The good file with another draw."""
    return {**GOOD, "eval": {"c": {"0": {**DRAW, **changes}}}}


@pytest.mark.parametrize(
    "content",
    [
        None,
        1,
        1.5,
        True,
        "text",
        [],
        [GOOD],
        {},
        {"train_groups": ["a"]},
        {"eval": GOOD["eval"]},
        {**GOOD, "train_groups": []},
        {**GOOD, "eval": {**GOOD["eval"], "d": {}}},
        {**GOOD, "eval": {"c": {"0": {"context": ["q0"]}}}},
        {**GOOD, "eval": {"c": {"0": {"target": ["q0"]}}}},
        *({**GOOD, "train_groups": bad} for bad in NO_TEXTS),
        *({**GOOD, "unseen_questions": bad} for bad in NO_TEXTS),
        *(drawn(context=bad) for bad in NO_TEXTS),
        *(drawn(target=bad) for bad in NO_TEXTS),
        *({**GOOD, "eval": bad} for bad in NO_OBJECT),
        *({**GOOD, "eval": {"c": bad}} for bad in NO_OBJECT),
        *({**GOOD, "eval": {"c": {"0": bad}}} for bad in NO_OBJECT),
        {**GOOD, "train_groups": ["a", "b", "a"]},
        drawn(context=["q0", "q0"]),
        drawn(target=["q1", "q1"]),
        pytest.param(
            drawn(target=[]),
        ),
    ],
    ids=json.dumps,
)
def test_every_wrong_shape_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps(content))
    refusal(file)


def test_the_offending_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps(drawn(target="q1")))
    assert "eval.c.0.target must be a list of texts" in refusal(file)
    file.write_text(json.dumps({**GOOD, "unseen_questions": [3]}))
    assert "unseen_questions must be a list of texts" in refusal(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"train_groups: a\neval: b",
        b"\xff\xfe",
        b"\x00",
        pytest.param(
            b"[" * 100_000,
        ),
    ],
    ids=lambda content: repr(content[:8]),
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "split.json"
    file.write_bytes(content)
    assert "cannot be read as JSON" in refusal(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "none.json")
    refusal(tmp_path)


# --- the split against the data --------------------------------------------------------------


def fitting() -> Split:
    return Split(
        train_groups=("g0", "g1"),
        draws={"g2": (Draw(context=("q0",), target=("q1", "q2")),)},
        unseen_questions=frozenset({"q2"}),
    )


def test_a_fitting_split_passes() -> None:
    fitting().check(population(3, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"train_groups": ("g0", "g2")}, "'g2' trains and is held out"),
        (lambda s: {"train_groups": ("g0", "g9")}, "'g9' is not in the data"),
        (lambda s: {"draws": {**s.draws, "g8": s.draws["g2"]}}, "'g8' is not in the data"),
        (lambda s: {"draws": {"g2": (Draw(context=("q0",), target=("q7",)),)}}, "answer to 'q7'"),
        (lambda s: {"draws": {"g2": (Draw(context=("q8",), target=("q1",)),)}}, "answer to 'q8'"),
        (lambda s: {"draws": {"g2": (Draw(context=("q0",), target=("q0",)),)}}, "also a target"),
        (
            lambda s: {"unseen_questions": frozenset({"q0", "q1", "q2", "q3"})},
            "no question is left to train group 'g0'",
        ),
    ],
)
def test_a_split_that_does_not_fit_is_refused(
    change: Callable[[Split], dict[str, Any]], message: str
) -> None:
    split = fitting()
    wrong = Split(**{**vars(split), **change(split)})
    with pytest.raises(SplitError, match=message) as caught:
        wrong.check(population(3, 4))
    assert "\n" not in str(caught.value)


def test_unseen_questions_leave_the_training_answers() -> None:
    left = fitting().training_answers(population(3, 4)["g0"])
    assert ids(left) == {"q0", "q1", "q3"}


# --- drawing ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(groups=st.integers(3, 20), questions=st.integers(8, 60), seed=st.integers(0, 99))
def test_a_drawn_split_keeps_its_promises(groups: int, questions: int, seed: int) -> None:
    answers = population(groups, questions)
    split = draw_split(answers, seed=seed)
    split.check(answers)
    assert sorted([*split.train_groups, *split.draws]) == sorted(answers)
    assert 1 <= len(split.draws) == round(0.25 * groups)
    assert len(split.unseen_questions) == round(0.15 * questions)
    for group in split.train_groups:
        assert not ids(split.training_answers(answers[group])) & split.unseen_questions
    shown = min(CONTEXT_QUESTIONS, questions // 3)
    for group, draws in split.draws.items():
        assert len(draws) == DRAWS
        for draw in draws:
            assert len(draw.context) == shown
            assert len({*draw.context, *draw.target}) == len(draw.context) + len(draw.target)
            assert {*draw.context, *draw.target} == ids(answers[group])
            # A third is shown and 15 % is unseen: there is always enough without.
            assert not set(draw.context) & split.unseen_questions
            assert split.unseen_questions <= set(draw.target)


def test_a_split_is_drawn_by_its_seed_alone() -> None:
    answers = population(12, 40)
    backwards = dict(reversed(answers.items()))
    assert draw_split(answers, seed=1) == draw_split(answers, seed=1)
    assert draw_split(answers, seed=1) == draw_split(backwards, seed=1)
    others = [draw_split(answers, seed=seed) for seed in range(2, 6)]
    assert all(other != draw_split(answers, seed=1) for other in others)
    assert len({tuple(other.draws) for other in others}) > 1
    assert len({other.unseen_questions for other in others}) > 1


def test_draws_of_a_group_differ() -> None:
    (draws, *_) = draw_split(population(4, 40), seed=0).draws.values()
    assert len({draw.context for draw in draws}) == DRAWS


def test_unseen_questions_are_shown_only_where_nothing_else_is_left() -> None:
    answers = population(3, 40)
    for seed in range(30):
        split = draw_split(answers, seed=seed)
        (held_out,) = split.draws
        unseen = sorted(split.unseen_questions)
        # The held-out group has answered unseen questions and one other.
        scarce = answers_of(held_out, [39, *(int(name[1:]) for name in unseen if name != "q39")])
        again = draw_split({**answers, held_out: scarce}, seed=seed)
        assert tuple(again.draws) == (held_out,)
        assert again.unseen_questions == split.unseen_questions
        for draw in again.draws[held_out]:
            order = [name in again.unseen_questions for name in (*draw.context, *draw.target)]
            assert order == sorted(order)
            assert draw.context
            assert draw.target


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_too_few_groups_are_refused(groups: int) -> None:
    with pytest.raises(SplitError, match=rf"hold {groups} group.*at least 3") as caught:
        draw_split(population(groups, 10), seed=0)
    assert "\n" not in str(caught.value)


def test_a_held_out_group_with_one_answer_is_refused() -> None:
    answers = {name: answers_of(name, [0]) for name in ("g0", "g1", "g2")}
    with pytest.raises(SplitError, match=r"answered 1 question.*needs 2"):
        draw_split(answers, seed=0)


def test_a_drawn_split_leaves_every_train_group_something_to_train_on() -> None:
    # Groups that share no question, as with pairs: each has its own two.
    answers = {f"g{i}": answers_of(f"g{i}", [2 * i, 2 * i + 1]) for i in range(12)}
    for seed in range(60):
        draw_split(answers, seed=seed).check(answers)


class TestDrawsOfOneGroup:
    def test_they_part_the_questions_and_depend_on_the_seed_alone(self) -> None:
        own = answers_of("A", list(range(30)))
        draws = draws_of(own, seed=0)
        assert draws == draws_of(own, seed=0) != draws_of(own, seed=1)
        ids = sorted(question.question_id for question in own.questions)
        assert len(draws) == len(set(draws)) == 5
        for draw in draws:
            assert sorted((*draw.context, *draw.target)) == ids
            assert len(draw.context) == 10

    def test_a_group_that_answered_one_question_cannot_be_measured(self) -> None:
        with pytest.raises(SplitError, match="'A' answered 1 question"):
            draws_of(answers_of("A", [0]), seed=0)
