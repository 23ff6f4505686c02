"""Counting records: the same as a naive count, for all three kinds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.answers import GroupAnswers, tally
from alignment.data.records import (
    ChoiceRecord,
    PairRecord,
    PreferenceRecord,
    Question,
    SurveyRecord,
)

QUESTIONS = [
    Question(question_id=f"q{k}", text=f"Question {k}?", options=tuple("abcde"[:k]))
    for k in (2, 3, 5)
]
groups = st.sampled_from(["north", "south", "east"])
choices = st.lists(
    st.tuples(groups, st.sampled_from(QUESTIONS), st.integers(0, 10)), max_size=40
).map(
    lambda rows: [
        ChoiceRecord(group=g, respondent=f"r{i}", question=q, choice=c % len(q.options))
        for i, (g, q, c) in enumerate(rows)
    ]
)
pairs = st.lists(
    st.tuples(groups, st.sampled_from("pr"), st.permutations(["x", "y", "z"])), max_size=40
).map(
    lambda rows: [
        PairRecord(group=g, annotator=None, prompt=p, chosen=order[0], rejected=order[1])
        for g, p, order in rows
    ]
)
surveys = st.lists(
    st.tuples(groups, st.sampled_from(QUESTIONS), st.integers(1, 9)), max_size=20
).map(
    lambda rows: [
        SurveyRecord(
            group=g,
            question=q,
            distribution=(w / 10, *((1 - w / 10) / (len(q.options) - 1) for _ in q.options[1:])),
        )
        for g, q, w in rows
    ]
)
records = st.one_of(choices, pairs, surveys)


@given(records)
def test_a_tally_is_a_naive_count(rows: list[PreferenceRecord]) -> None:
    answers = tally(iter(rows))
    assert list(answers) == sorted({row.group for row in rows})
    for group, each in answers.items():
        own = [row for row in rows if row.group == group]
        assert each.group == group
        assert list(each.questions) == list(dict.fromkeys(row.question for row in own))
        counted = Counter(row.question.question_id for row in own)
        for question, target, count in zip(each.questions, each.targets, each.counts, strict=True):
            rows_of = [row for row in own if row.question == question]
            naive = [
                sum(row.target[i] for row in rows_of) / len(rows_of)
                for i in range(len(question.options))
            ]
            assert count == counted[question.question_id] == len(rows_of)
            assert list(target) == pytest.approx(naive, abs=1e-12)
            assert sum(target) == pytest.approx(1, abs=1e-12)


@given(records)
def test_a_tally_of_plain_numbers_can_be_written_down(rows: list[PreferenceRecord]) -> None:
    for each in tally(rows).values():
        assert len(each) == len(each.questions) == len(each.targets) == len(each.counts)
        assert all(type(p) is float for target in each.targets for p in target)
        assert all(type(count) is int for count in each.counts)


def test_annotators_who_disagree_answer_one_question() -> None:
    def pair(chosen: str, rejected: str) -> PairRecord:
        return PairRecord(group="g", annotator=None, prompt="p", chosen=chosen, rejected=rejected)

    (answers,) = tally([pair("b", "a"), pair("a", "b"), pair("b", "a")]).values()
    assert answers.questions[0].options == ("a", "b")
    assert answers.targets[0] == pytest.approx((1 / 3, 2 / 3))
    assert answers.counts == (3,)


def test_a_repeated_question_keeps_its_first_wording() -> None:
    first, second = (
        Question(question_id="q", text=text, options=("a", "b")) for text in ("Tea?", "Tee?")
    )
    rows = [
        ChoiceRecord(group="g", respondent=r, question=q, choice=c)
        for r, q, c in (("1", first, 0), ("2", second, 1))
    ]
    (answers,) = tally(rows).values()
    assert answers.questions == (first,)
    assert (answers.targets, answers.counts) == (((0.5, 0.5),), (2,))


def test_no_records_are_no_groups() -> None:
    assert tally([]) == {}


@pytest.fixture
def answers() -> GroupAnswers:
    return GroupAnswers(
        group="north",
        questions=tuple(QUESTIONS),
        targets=((0.5, 0.5), (0.2, 0.3, 0.5), (0.2,) * 5),
        counts=(4, 5, 6),
    )


def test_some_answers_come_in_the_order_asked_for(answers: GroupAnswers) -> None:
    some = answers.select(["q5", "q2"])
    assert some.group == "north"
    assert [q.question_id for q in some.questions] == ["q5", "q2"]
    assert (some.targets, some.counts) == (((0.2,) * 5, (0.5, 0.5)), (6, 4))
    assert len(answers.select([])) == 0


def test_an_unanswered_question_is_named(answers: GroupAnswers) -> None:
    with pytest.raises(ValueError, match=r"group 'north' .* question 'q9' \(2 in all\)") as caught:
        answers.select(["q2", "q9", "q7"])
    assert "\n" not in str(caught.value)


def test_some_answers_can_be_left_out(answers: GroupAnswers) -> None:
    rest = answers.without(frozenset({"q3", "q9"}))
    assert [q.question_id for q in rest.questions] == ["q2", "q5"]
    assert (rest.targets, rest.counts) == (((0.5, 0.5), (0.2,) * 5), (4, 6))
    assert answers.without(frozenset()) == answers


def test_the_choice_of_one_person_says_less_than_an_answer_that_many_share() -> None:
    answers = GroupAnswers(
        group="north",
        questions=tuple(QUESTIONS),
        targets=((1.0, 0.0), (0.0, 1.0, 0.0), (0.2,) * 5),
        counts=(1, 7, 1),
    )
    assert answers.evidence(0.25) == (0.25, 1.0, 1.0)
    assert answers.evidence(1.0) == (1.0, 1.0, 1.0)
