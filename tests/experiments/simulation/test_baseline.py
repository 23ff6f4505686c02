"""The mean answer of the train groups, by hand on a handful of answers."""

import math
from collections.abc import Sequence

import pytest

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.data.split import Draw, Split
from alignment.evaluation.evaluation import Prediction
from alignment.evaluation.metrics import TargetScore, alignment_score, log_loss
from experiments.simulation.baseline import question_mean, question_mean_summary

YES_NO = ("yes", "no")
Q = {
    name: Question(question_id=name, text=f"{name} ?", options=options)
    for name, options in {
        "tea": YES_NO,
        "coffee": YES_NO,
        "war": ("good", "bad", "both"),
        "hidden": YES_NO,
        "turned": ("no", "yes"),
    }.items()
}


def answers(group: str, said: dict[str, tuple[Sequence[float], int]]) -> GroupAnswers:
    return GroupAnswers(
        group=group,
        questions=tuple(Q[name] for name in said),
        targets=tuple(tuple(target) for target, _ in said.values()),
        counts=tuple(count for _, count in said.values()),
    )


def population_of(*, unseen: frozenset[str] = frozenset({"hidden"})) -> Population:
    everyone = {
        "large": answers("large", {"tea": ((1.0, 0.0), 8), "hidden": ((0.0, 1.0), 50)}),
        "small": answers("small", {"tea": ((0.5, 0.5), 2), "coffee": ((0.25, 0.75), 4)}),
        "other": answers(
            "other",
            {
                "tea": ((0.0, 1.0), 1000),
                "hidden": ((0.5, 0.5), 2),
                "war": ((0.0, 0.0, 1.0), 1),
                "turned": ((1.0, 0.0), 1),
            },
        ),
    }
    draws = (Draw(context=(), target=("tea", "hidden", "war", "turned")),)
    split = Split(train_groups=("large", "small"), draws={"other": draws}, unseen_questions=unseen)
    return Population(answers=everyone, split=split, records={}, skipped=())


def prediction(name: str, *, draw: int = 0) -> Prediction:
    score = TargetScore(
        group="other", draw=draw, question_id=name, seen=name == "tea", score=0.3, log_loss=9.0
    )
    return Prediction(score=score, predicted=(0.9, 0.1))


#: Nobody trained on it: the mean of nine in ten, one in four, and even shares.
HIDDEN = ((0.9 + 0.25 + 0.5) / 3, (0.1 + 0.75 + 0.5) / 3)
#: Nine records of ten say yes, and one is added that answers as the questions like it.
TEA = ((9 + HIDDEN[0]) / 11, (1 + HIDDEN[1]) / 11)
COFFEE = ((1 + HIDDEN[0]) / 5, (3 + HIDDEN[1]) / 5)


def test_a_question_is_predicted_by_the_mean_over_records_of_train_groups() -> None:
    predict = question_mean(population_of())
    assert predict(Q["tea"]) == pytest.approx(TEA)
    assert predict(Q["coffee"]) == pytest.approx(COFFEE)


def test_a_question_without_training_answers_takes_the_mean_of_its_options() -> None:
    """The large group's fifty answers to it are no training answers."""
    assert question_mean(population_of())(Q["hidden"]) == pytest.approx(HIDDEN)
    trained = question_mean(population_of(unseen=frozenset()))
    like_it = (0.9 + 0.25 + 0.0 + 0.5) / 4
    assert trained(Q["hidden"]) == pytest.approx((like_it / 51, 1 - like_it / 51))


def test_options_that_no_train_question_offers_are_guessed_evenly() -> None:
    predict = question_mean(population_of())
    assert predict(Q["war"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    # The same options in another order are others.
    assert predict(Q["turned"]) == (0.5, 0.5)


def test_an_id_that_means_other_options_elsewhere_is_another_question() -> None:
    tea = Question(question_id="tea", text="tea ?", options=("a", "b", "c"))
    assert question_mean(population_of())(tea) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_predictions_sum_to_one_and_rule_nothing_out() -> None:
    predict = question_mean(population_of(unseen=frozenset()))
    for question in Q.values():
        assert math.fsum(predict(question)) == pytest.approx(1)
        assert min(predict(question)) > 0


def test_the_summary_is_of_the_same_targets() -> None:
    given = [prediction("tea"), prediction("hidden"), prediction("war", draw=1)]
    summary = question_mean_summary(given, population_of())
    tea = ((0.0, 1.0), TEA)
    hidden = ((0.5, 0.5), HIDDEN)
    war = ((0.0, 0.0, 1.0), (1 / 3,) * 3)
    scores = [alignment_score(predicted, actual) for actual, predicted in (tea, hidden, war)]
    losses = [log_loss(predicted, actual) for actual, predicted in (tea, hidden, war)]
    assert summary.mean == pytest.approx(((scores[0] + scores[1]) / 2 + scores[2]) / 2)
    assert summary.log_loss == pytest.approx(((losses[0] + losses[1]) / 2 + losses[2]) / 2)
    assert summary.seen_questions == pytest.approx(scores[0])
    assert set(summary.groups) == {"other"}


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no score"):
        question_mean_summary([], population_of())
