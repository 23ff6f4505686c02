"""The mean answer of the train groups, by hand on a handful of answers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from alignment.data.answers import NO_ANSWERS, GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.data.split import Draw, Split
from alignment.evaluation.held_out import predict_held_out, summarise_predictions
from alignment.evaluation.metrics import alignment_score, log_loss
from alignment.model.prediction import Distribution
from experiments.simulation.baseline import even_shares, question_mean

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


def mean_of(population: Population, question: Question) -> Distribution:
    (shares,) = question_mean(population)([question], NO_ANSWERS)
    return shares


#: Nobody trained on it: the mean of nine in ten, one in four, and even shares.
HIDDEN = ((0.9 + 0.25 + 0.5) / 3, (0.1 + 0.75 + 0.5) / 3)
#: Nine records of ten say yes, and one is added that answers as the questions like it.
TEA = ((9 + HIDDEN[0]) / 11, (1 + HIDDEN[1]) / 11)
COFFEE = ((1 + HIDDEN[0]) / 5, (3 + HIDDEN[1]) / 5)


def test_a_question_is_predicted_by_the_mean_over_records_of_train_groups() -> None:
    population = population_of()
    assert mean_of(population, Q["tea"]) == pytest.approx(TEA)
    assert mean_of(population, Q["coffee"]) == pytest.approx(COFFEE)


def test_a_question_without_training_answers_takes_the_mean_of_its_options() -> None:
    """The large group's fifty answers to it are no training answers."""
    assert mean_of(population_of(), Q["hidden"]) == pytest.approx(HIDDEN)
    trained = population_of(unseen=frozenset())
    like_it = (0.9 + 0.25 + 0.0 + 0.5) / 4
    assert mean_of(trained, Q["hidden"]) == pytest.approx((like_it / 51, 1 - like_it / 51))


def test_options_that_no_train_question_offers_are_guessed_evenly() -> None:
    population = population_of()
    assert mean_of(population, Q["war"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    # The same options in another order are others.
    assert mean_of(population, Q["turned"]) == (0.5, 0.5)


def test_an_id_that_means_other_options_elsewhere_is_another_question() -> None:
    tea = Question(question_id="tea", text="tea ?", options=("a", "b", "c"))
    assert mean_of(population_of(), tea) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_predictions_sum_to_one_and_rule_nothing_out() -> None:
    population = population_of(unseen=frozenset())
    for question in Q.values():
        assert math.fsum(mean_of(population, question)) == pytest.approx(1)
        assert min(mean_of(population, question)) > 0


def test_it_is_measured_as_everything_else_is() -> None:
    population = population_of()
    draws = (
        Draw(context=("turned",), target=("tea", "hidden")),
        Draw(context=(), target=("war",)),
    )
    population = replace(population, split=replace(population.split, draws={"other": draws}))
    summary = summarise_predictions(predict_held_out(question_mean(population), population))
    tea = ((0.0, 1.0), TEA)
    hidden = ((0.5, 0.5), HIDDEN)
    war = ((0.0, 0.0, 1.0), (1 / 3,) * 3)
    scores = [alignment_score(predicted, actual) for actual, predicted in (tea, hidden, war)]
    losses = [log_loss(predicted, actual) for actual, predicted in (tea, hidden, war)]
    assert summary.mean == pytest.approx(((scores[0] + scores[1]) / 2 + scores[2]) / 2)
    assert summary.log_loss == pytest.approx(((losses[0] + losses[1]) / 2 + losses[2]) / 2)
    assert summary.seen_questions == pytest.approx(scores[0])
    assert set(summary.groups) == {"other"}


def test_even_shares_depend_on_the_number_of_options_alone() -> None:
    assert even_shares([Q["tea"], Q["war"]], NO_ANSWERS) == [(0.5, 0.5), (1 / 3,) * 3]


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no score"):
        summarise_predictions([])
