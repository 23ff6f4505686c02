"""Predictions in context: what moves them, and what is remembered of the prior."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from alignment.config import ContextConfig
from alignment.data.answers import NO_ANSWERS, GroupAnswers
from alignment.data.records import Question
from alignment.model.prediction import ContextPredictor
from alignment.model.predictor import Predictor

MakePredictor = Callable[..., Predictor]
Questions = tuple[Question, ...]


@pytest.fixture
def predictor(make_predictor: MakePredictor, shake: Callable[[nn.Module, int], None]) -> Predictor:
    """All trainable values non-zero."""
    made = make_predictor()
    shake(made, 0)
    return made


def answered(questions: Questions, first: float = 0.9) -> GroupAnswers:
    """Answers that favour the first option of every question."""
    targets = [
        (first, *((1 - first) / (len(q.options) - 1) for _ in q.options[1:])) for q in questions
    ]
    return GroupAnswers(
        group="north", questions=questions, targets=tuple(targets), counts=(1,) * len(questions)
    )


def test_without_a_context_the_prior_is_predicted(
    predictor: Predictor, survey: Questions, pairs: Questions
) -> None:
    asked = (*survey, *pairs)
    predict = ContextPredictor(predictor, ContextConfig())
    plain = predict(asked, NO_ANSWERS)
    empty = predict(asked, answered(()))
    torch.nn.init.zeros_(predictor.head.directions.weight)
    deaf = ContextPredictor(predictor, ContextConfig(strength=0))(asked, answered(asked))
    assert [len(row) for row in plain] == [2, 3, 4, 2, 2]
    assert all(sum(row) == pytest.approx(1, abs=1e-12) for row in plain)
    assert plain == empty
    assert plain == deaf


def test_a_context_moves_the_prediction_towards_what_it_shows(
    make_predictor: MakePredictor, survey: Questions
) -> None:
    predict = ContextPredictor(make_predictor(), ContextConfig())
    plain = predict(survey, NO_ANSWERS)
    for index, question in enumerate(survey):
        shown = answered((question,), first=0.97)
        moved = predict(survey, shown)[index]
        wanted = shown.targets[0]
        assert sum(abs(a - b) for a, b in zip(moved, wanted, strict=True)) < 0.5 * sum(
            abs(a - b) for a, b in zip(plain[index], wanted, strict=True)
        )


def test_an_answer_of_more_options_than_are_asked_for_can_be_read(
    predictor: Predictor, survey: Questions
) -> None:
    predict = ContextPredictor(predictor, ContextConfig())
    (row,) = predict(survey[:1], answered(survey[2:]))
    assert len(row) == 2
    assert sum(row) == pytest.approx(1)
    (row,) = predict(survey[2:], answered(survey[:1]))
    assert len(row) == 4
    assert sum(row) == pytest.approx(1)


@pytest.mark.parametrize("remembered", [1, 3, 5])
def test_a_remembered_prior_predicts_as_one_computed_when_asked(
    predictor: Predictor, survey: Questions, pairs: Questions, remembered: int
) -> None:
    every = (*survey, *pairs)
    asked = ContextPredictor(predictor, ContextConfig())
    # Of some questions only, the prior of all is computed when they are asked.
    known = ContextPredictor(predictor, ContextConfig(), questions=every[:remembered] * 2)
    for questions in (survey[:1], survey, (*pairs, survey[0])):
        for context in (answered(survey[1:]), NO_ANSWERS):
            rows = zip(asked(questions, context), known(questions, context), strict=True)
            assert all(one == pytest.approx(other, abs=1e-5) for one, other in rows)


def test_a_prior_is_remembered_until_another_is_made(
    predictor: Predictor, survey: Questions
) -> None:
    predict = ContextPredictor(predictor, ContextConfig(), questions=survey)
    before = predict(survey, answered(survey[:1]))
    for _, parameter in predictor.trainable():
        parameter.data.fill_(0.0)
    assert predict(survey, answered(survey[:1])) == before
    again = ContextPredictor(predictor, ContextConfig(), questions=survey)
    assert again(survey, answered(survey[:1])) != before
