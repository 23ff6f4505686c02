"""Accuracy, margin and calibration of pairs against values worked out by hand."""

import math
from typing import Any

import pytest

from alignment.data.records import Question
from alignment.evaluation.pairs import (
    JudgedPair,
    are_pairs,
    margin,
    summarise_accuracy,
    summarise_pairs,
    wilson,
)


def judged(first: float, share: float, **others: Any) -> JudgedPair:
    given = {"group": "g", "draw": 0, "pair": "p", "answers": 1, **others}
    return JudgedPair(predicted=(first, 1 - first), actual=(share, 1 - share), **given)


class TestMargin:
    def test_it_is_the_log_odds_of_the_preferred_response(self) -> None:
        assert margin((0.8, 0.2), (1, 0)) == pytest.approx(math.log(4))
        assert margin((0.8, 0.2), (0, 1)) == pytest.approx(-math.log(4))
        assert margin((0.8, 0.2), (0.75, 0.25)) == pytest.approx(math.log(4) / 2)
        assert margin((1.0, 0.0), (1, 0)) == pytest.approx(27.631, abs=1e-3)

    def test_more_than_two_options_are_refused(self) -> None:
        with pytest.raises(ValueError, match="3 options"):
            margin((0.5, 0.3, 0.2), (1, 0, 0))


class TestWilson:
    def test_the_published_example(self) -> None:
        """Newcombe (1998), table I: 81 of 263 and 15 of 148."""
        for right, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
            found = wilson(right / count, [1] * count)
            assert found.low == pytest.approx(low, abs=5e-5)
            assert found.high == pytest.approx(high, abs=5e-5)

    def test_all_right_keeps_a_width(self) -> None:
        found = wilson(1.0, [1] * 20)
        assert found.high == 1.0
        assert found.low == pytest.approx(0.8389, abs=5e-5)  # Newcombe: 0 of 20 mirrored

    def test_answers_to_one_pair_count_as_one_pair(self) -> None:
        assert wilson(0.6, [3] * 10) == wilson(0.6, [1] * 10)
        uneven, even = wilson(0.6, [9, *[1] * 9]), wilson(0.6, [1] * 10)
        assert uneven.low is not None and even.low is not None
        assert uneven.low < even.low


class TestSummary:
    def test_every_answer_counts(self) -> None:
        found = summarise_pairs(
            [judged(0.8, 1.0, pair="a"), judged(0.8, 1 / 3, pair="b", answers=3)]
        )
        assert found.accuracy.value == pytest.approx(2 / 4)
        assert found.margin == pytest.approx(0.0)
        assert found.log_loss == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)
        assert found.brier == pytest.approx((2 * 0.04 + 2 * 0.64) / 4)
        assert found.calibration_error == pytest.approx(0.3)
        assert (found.pairs, found.answers) == (2, 4)
        assert found.reliability[0].count == 4

    def test_a_tied_prediction_is_half_right(self) -> None:
        assert summarise_pairs([judged(0.5, 1.0)]).accuracy.value == 0.5

    def test_draws_are_averaged_and_pairs_counted_once(self) -> None:
        found = summarise_pairs(
            [judged(0.9, 1.0), judged(0.9, 0.0, pair="q"), judged(0.9, 1.0, draw=1)]
        )
        assert found.accuracy.value == pytest.approx((0.5 + 1.0) / 2)
        assert found.pairs == 2

    def test_groups_and_the_worst_of_them(self) -> None:
        pairs = [
            judged(0.7, float(i < right), group=group, pair=f"p{i}")
            for group, right in (("a", 9), ("b", 6))
            for i in range(10)
        ]
        found = summarise_pairs(pairs)
        assert {name: each.accuracy.value for name, each in found.groups.items()} == {
            "a": pytest.approx(0.9),
            "b": pytest.approx(0.6),
        }
        alone, worst = found.groups["b"].accuracy, found.worst_group
        assert worst is not None and worst.value == pytest.approx(0.6)
        assert worst.low is not None and alone.low is not None
        assert worst.low < alone.low
        assert summarise_pairs(pairs[:10]).worst_group is None
        rule = summarise_accuracy(pairs)
        assert (rule.accuracy, rule.worst_group) == (found.accuracy, found.worst_group)

    def test_nothing_to_summarise_is_refused(self) -> None:
        for function in (summarise_pairs, summarise_accuracy):
            with pytest.raises(ValueError, match="no targets"):
                function([])


def test_pairs_are_two_responses_apart() -> None:
    def asked(options: int, *, together: bool) -> Question:
        names = tuple("abc"[:options])
        return Question(question_id="q", text="t", options=names, together=together)

    assert are_pairs([asked(2, together=False)])
    assert not are_pairs([asked(2, together=True)])
    assert not are_pairs([asked(2, together=False), asked(3, together=False)])
