"""Measuring on groups that were never seen: own context, another's, or none."""

from collections.abc import Callable

import pytest
import torch

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.data.split import Draw
from alignment.evaluation.evaluation import Evaluator, Prediction
from alignment.evaluation.metrics import alignment_score, log_loss, summarise
from alignment.model.predictor import Predictor

MakePredictor = Callable[..., Predictor]
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


@pytest.fixture
def evaluator(predictor: Predictor) -> Evaluator:
    return Evaluator(predictor, ANSWERS, seen=frozenset({"q4", "q0"}), context=ContextConfig())


def mean(predictions: list[Prediction]) -> float:
    return summarise([prediction.score for prediction in predictions]).mean


def test_every_target_of_every_draw_is_predicted_once(evaluator: Evaluator) -> None:
    predictions = evaluator.evaluate(DRAWS)
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


def test_scores_hold_the_prediction_against_the_groups_own_answer(evaluator: Evaluator) -> None:
    for shown in ("own", "swapped", "none"):
        for prediction in evaluator.evaluate(DRAWS, shown=shown):
            score = prediction.score
            answers = ANSWERS[score.group].select([score.question_id])
            expected = alignment_score(prediction.predicted, answers.targets[0])
            assert score.score == pytest.approx(expected)
            loss = log_loss(prediction.predicted, answers.targets[0])
            assert score.log_loss == pytest.approx(loss)


@pytest.mark.parametrize("shown", ["own", "swapped", "none"])
def test_an_evaluation_predicts_what_the_predictor_predicts(
    predictor: Predictor, evaluator: Evaluator, shown: str
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
    predictions = iter(evaluator.evaluate(DRAWS, shown=shown))  # type: ignore[arg-type]
    all_draws = [(name, draw) for name, draws in DRAWS.items() for draw in draws]
    for number, (name, draw) in enumerate(all_draws):
        context = None
        if shown != "none":
            whose, questions = contexts[shown][number]
            context = ANSWERS[whose].select(questions)
        asked = ANSWERS[name].select(draw.target).questions
        for expected in predictor.predict(asked, context, ContextConfig()):
            assert next(predictions).predicted == pytest.approx(tuple(expected), abs=1e-5)
    assert next(predictions, None) is None


def test_a_groups_own_context_beats_none_and_another_groups_context(evaluator: Evaluator) -> None:
    own, none, swapped = (
        mean(evaluator.evaluate(DRAWS, shown=shown)) for shown in ("own", "none", "swapped")
    )
    assert own > none + 0.05
    assert none > swapped + 0.05


def test_a_context_of_no_strength_is_as_good_as_none(predictor: Predictor) -> None:
    torch.nn.init.zeros_(predictor.head.directions.weight)
    deaf = Evaluator(predictor, ANSWERS, seen=frozenset(), context=ContextConfig(strength=0))
    results = [deaf.evaluate(DRAWS, shown=shown) for shown in ("own", "swapped", "none")]
    assert results[0] == results[1] == results[2]


def test_an_empty_context_gives_the_prior(evaluator: Evaluator) -> None:
    draws = {"north": (Draw(context=(), target=("q4", "odd")),)}
    assert evaluator.evaluate(draws) == evaluator.evaluate(draws, shown="none")


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
    evaluator = Evaluator(predictor, answers, seen=frozenset(), context=ContextConfig())
    draws = {name: (Draw(context=SHOWN, target=("q4",)),) for name in answers}
    north, south = evaluator.evaluate(draws, shown="none")
    assert list(north.predicted) == pytest.approx(
        predictor.predict([QUESTIONS[4]], None, ContextConfig())[0], abs=1e-5
    )
    assert list(south.predicted) == pytest.approx(
        predictor.predict([other], None, ContextConfig())[0], abs=1e-5
    )
    assert north.predicted != south.predicted


def test_an_unanswered_question_is_refused(evaluator: Evaluator) -> None:
    draws = {"north": (Draw(context=("q0",), target=("q99",)),)}
    with pytest.raises(ValueError, match="'north' has no answer to question 'q99'"):
        evaluator.evaluate(draws)


def test_the_predictor_is_measured_as_it_was_when_the_evaluator_was_made(
    predictor: Predictor, evaluator: Evaluator
) -> None:
    before = evaluator.evaluate(DRAWS)
    for _, parameter in predictor.trainable():
        parameter.data.fill_(0.0)
    assert evaluator.evaluate(DRAWS) == before


def test_a_single_group_has_no_other_to_swap_with(evaluator: Evaluator) -> None:
    with pytest.raises(ValueError, match="swapped"):
        evaluator.evaluate({"north": DRAWS["north"]}, shown="swapped")
