"""Measuring on groups that were never seen: own context, another's, or none."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.config import ContextConfig
from alignment.data.answers import NO_ANSWERS, GroupAnswers, questions_of
from alignment.data.records import Question
from alignment.data.split import Draw
from alignment.evaluation.held_out import (
    Prediction,
    Shown,
    predict_draws,
    summarise_predictions,
)
from alignment.evaluation.metrics import alignment_score, log_loss
from alignment.model.folder import save_predictor
from alignment.model.prediction import ContextPredictor, Predict
from alignment.model.predictor import Predictor

MakePredictor = Callable[..., Predictor]
ALL: tuple[Shown, ...] = ("own", "swapped", "none")
TOPICS = ["tea", "coffee", "war", "peace", "tax", "care", "the state", "the market"]
QUESTIONS = tuple(
    Question(question_id=f"q{i}", text=f"do you like {topic} ?", options=("good yes", "bad no"))
    for i, topic in enumerate(TOPICS)
)
ODD = Question(question_id="odd", text="tea or war ?", options=("tea", "war", "both"))


def group(name: str, share: float) -> GroupAnswers:
    """A group of which so many like everything; an odd question of three options comes last."""
    return GroupAnswers(
        group=name,
        questions=(*QUESTIONS, ODD),
        targets=((share, 1 - share),) * len(QUESTIONS) + ((0.2, 0.3, 0.5),),
        counts=(10,) * (len(QUESTIONS) + 1),
    )


ANSWERS = {"north": group("north", 0.95), "south": group("south", 0.05)}
SHOWN = ("q0", "q1", "q2", "q3")
DRAWS = {
    "north": (
        Draw(context=SHOWN, target=("q4", "q5", "odd")),
        Draw(context=("q4", "q5"), target=("q0",)),
    ),
    "south": (Draw(context=("q6", "q7", "odd"), target=("q4", "q5")),),
}


@pytest.fixture
def predictor(make_predictor: MakePredictor) -> Predictor:
    return make_predictor()


SEEN = frozenset({"q4", "q0"})


@pytest.fixture
def predict(predictor: Predictor) -> ContextPredictor:
    questions = questions_of(ANSWERS.values())
    return ContextPredictor(predictor, ContextConfig(), questions=questions)


def predicted(
    predict: Predict, draws: Mapping[str, Sequence[Draw]] = DRAWS, shown: Shown = "own"
) -> list[Prediction]:
    return predict_draws(predict, ANSWERS, draws, seen=SEEN, shown=shown)


def mean(predictions: list[Prediction]) -> float:
    return summarise_predictions(predictions).mean


def test_every_target_of_every_draw_is_predicted_once(predict: ContextPredictor) -> None:
    predictions = predicted(predict)
    places = [(p.score.group, p.score.draw, p.score.question_id) for p in predictions]
    assert places == [
        ("north", 0, "q4"),
        ("north", 0, "q5"),
        ("north", 0, "odd"),
        ("north", 1, "q0"),
        ("south", 0, "q4"),
        ("south", 0, "q5"),
    ]
    assert [p.score.seen for p in predictions] == [True, False, False, True, True, False]
    assert [len(p.predicted) for p in predictions] == [2, 2, 3, 2, 2, 2]
    assert all(sum(p.predicted) == pytest.approx(1) for p in predictions)


def test_scores_hold_the_prediction_against_the_groups_own_answer(
    predict: ContextPredictor,
) -> None:
    for shown in ALL:
        for prediction in predicted(predict, DRAWS, shown):
            score = prediction.score
            answers = ANSWERS[score.group].select([score.question_id])
            expected = alignment_score(prediction.predicted, answers.targets[0])
            assert score.score == pytest.approx(expected)
            loss = log_loss(prediction.predicted, answers.targets[0])
            assert score.log_loss == pytest.approx(loss)


@pytest.mark.parametrize("shown", ALL)
def test_an_evaluation_predicts_what_the_predictor_predicts(
    predictor: Predictor, predict: ContextPredictor, shown: Shown
) -> None:
    contexts = {
        "own": (("north", SHOWN), ("north", ("q4", "q5")), ("south", ("q6", "q7", "odd"))),
        # The next group's draw of the same number, or its first again; after the last the first.
        "swapped": (
            ("south", ("q6", "q7", "odd")),
            ("south", ("q6", "q7", "odd")),
            ("north", SHOWN),
        ),
    }
    predictions = iter(predicted(predict, DRAWS, shown))
    all_draws = [(name, draw) for name, draws in DRAWS.items() for draw in draws]
    for number, (name, draw) in enumerate(all_draws):
        context = NO_ANSWERS
        if shown != "none":
            whose, questions = contexts[shown][number]
            context = ANSWERS[whose].select(questions)
        asked = ANSWERS[name].select(draw.target).questions
        served = ContextPredictor(predictor, ContextConfig())(asked, context)
        for expected, exactly in zip(served, predict(asked, context), strict=True):
            found = next(predictions).predicted
            assert found == exactly
            # A prior of other questions beside it is rounded otherwise.
            assert found == pytest.approx(expected, abs=1e-5)
    assert next(predictions, None) is None


def test_a_groups_own_context_beats_none_and_another_groups_context(
    predict: ContextPredictor,
) -> None:
    own, none, swapped = (
        mean(predicted(predict, DRAWS, shown)) for shown in ("own", "none", "swapped")
    )
    assert own > none + 0.05
    assert none > swapped + 0.05


def test_a_context_of_no_strength_is_as_good_as_none(predictor: Predictor) -> None:
    torch.nn.init.zeros_(predictor.head.directions.weight)
    deaf = ContextPredictor(
        predictor, ContextConfig(strength=0), questions=questions_of(ANSWERS.values())
    )
    results = [predicted(deaf, DRAWS, shown) for shown in ALL]
    assert results[0] == results[1] == results[2]


def test_an_empty_context_gives_the_prior(predict: ContextPredictor) -> None:
    draws = {"north": (Draw(context=(), target=("q4", "odd")),)}
    assert predicted(predict, draws) == predicted(predict, draws, "none")


def test_questions_of_one_id_and_different_wording_stay_apart(predictor: Predictor) -> None:
    other = Question(question_id="q4", text="war , war , war ?", options=("bad no", "good yes"))
    answers = {
        "north": ANSWERS["north"],
        "south": GroupAnswers(
            group="south",
            questions=(*QUESTIONS[:4], other),
            targets=((0.05, 0.95),) * 5,
            counts=(1,) * 5,
        ),
    }
    draws = {name: (Draw(context=SHOWN, target=("q4",)),) for name in answers}
    predict = ContextPredictor(predictor, ContextConfig(), questions=questions_of(answers.values()))
    north, south = predict_draws(predict, answers, draws, seen=frozenset(), shown="none")
    assert list(north.predicted) == pytest.approx(
        ContextPredictor(predictor, ContextConfig())([QUESTIONS[4]], NO_ANSWERS)[0], abs=1e-5
    )
    assert list(south.predicted) == pytest.approx(
        ContextPredictor(predictor, ContextConfig())([other], NO_ANSWERS)[0], abs=1e-5
    )
    assert north.predicted != south.predicted


def test_an_unanswered_question_is_refused(predict: ContextPredictor) -> None:
    draws = {"north": (Draw(context=("q0",), target=("q99",)),)}
    with pytest.raises(ValueError, match="'north' has no answer to question 'q99'"):
        predicted(predict, draws)


def test_the_predictor_is_measured_as_it_was_when_its_prior_was_remembered(
    predictor: Predictor, predict: ContextPredictor
) -> None:
    before = predicted(predict)
    for _, parameter in predictor.trainable():
        parameter.data.fill_(0.0)
    assert predicted(predict) == before


def test_a_single_group_has_no_other_to_swap_with(predict: ContextPredictor) -> None:
    with pytest.raises(ValueError, match="swapped"):
        predicted(predict, {"north": DRAWS["north"]}, "swapped")


def test_what_the_command_serves_is_what_is_measured_to_the_last_digit(
    predictor: Predictor,
    command: Callable[..., Any],
    write_rows: Callable[..., Path],
    tmp_path: Path,
) -> None:
    save_predictor(predictor, tmp_path / "model", ContextConfig())
    draw = DRAWS["north"][0]
    asked, shown = (ANSWERS["north"].select(ids) for ids in (draw.target, draw.context))
    questions = [{"question": q.text, "options": q.options} for q in asked.questions]
    answers = [
        {
            "group": "north",
            "question_id": question.question_id,
            "question": question.text,
            "options": question.options,
            "distribution": target,
        }
        for question, target in zip(shown.questions, shown.targets, strict=True)
    ]
    served = command(
        "predict", "--json", "--model", tmp_path / "model",
        "--questions", write_rows(tmp_path / "asked.jsonl", questions),
        "--context", write_rows(tmp_path / "ours.jsonl", answers),
    )  # fmt: skip
    assert served.code == 0, served.err
    measured = predicted(
        ContextPredictor(predictor, ContextConfig()), {"north": DRAWS["north"][:1]}
    )
    rows = [json.loads(line)["distribution"] for line in served.out.splitlines()]
    assert rows == [list(each.predicted) for each in measured]
