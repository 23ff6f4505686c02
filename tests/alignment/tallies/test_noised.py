"""Answers out of a noised tally: nothing is lost without noise, nothing breaks with any."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.answers import GroupAnswers, reliability, tally
from alignment.data.records import ChoiceRecord, Question
from alignment.tallies.noised import (
    answers_from_tally,
    answers_per_question,
    nearest_distribution,
    unbiased_shares,
)


def questions(*options: int) -> tuple[Question, ...]:
    return tuple(
        Question(question_id=f"q{i}", text=f"Question {i}?", options=tuple("abcdefgh"[:k]))
        for i, k in enumerate(options)
    )


def noised(truth: list[list[float]], sigma: float, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.array(each) + sigma * generator.standard_normal(len(each)) for each in truth]


counted = st.lists(
    st.integers(1, 6).flatmap(
        lambda k: st.lists(st.integers(0, 300), min_size=k, max_size=k).filter(any)
    ),
    min_size=1,
    max_size=8,
)
hostile = st.lists(
    st.integers(1, 6).flatmap(lambda k: st.lists(st.floats(-1e15, 1e15), min_size=k, max_size=k)),
    min_size=1,
    max_size=8,
)


@given(counted)
def test_without_noise_the_answers_are_exactly_those_that_were_counted(
    counts: list[list[int]],
) -> None:
    asked = questions(*map(len, counts))
    records = [
        ChoiceRecord(group="north", respondent=f"r{n}", question=question, choice=choice)
        for question, each in zip(asked, counts, strict=True)
        for choice, count in enumerate(each)
        for n in range(count)
    ]
    assert answers_from_tally("north", asked, counts, sigma=0.0) == tally(records)["north"]


@given(hostile, st.sampled_from([0.0, 1e-12, 1.0, 50.0, 1e6, 1e15]))
def test_whatever_a_tally_holds_its_answers_are_sound(
    counts: list[list[float]], sigma: float
) -> None:
    answers = answers_from_tally("north", questions(*map(len, counts)), counts, sigma=sigma)
    for target, each in zip(answers.targets, counts, strict=True):
        assert len(target) == len(each)
        assert min(target) >= 0
        assert math.fsum(target) == pytest.approx(1, abs=1e-9)
    assert all(0 < count < math.inf for count in answers.counts)
    assert all(0 < share <= 1 for share in answers.evidence(0.25))
    assert 0 < answers.learning_share() <= 1


def test_shares_before_they_are_made_distributions_have_no_bias() -> None:
    truth = [[2.0, 18.0, 40.0, 0.0]] * 30
    numbers = np.full(30, 60.0)
    means = np.mean(
        [unbiased_shares(noised(truth, 12.0, seed), numbers) for seed in range(400)], axis=(0, 1)
    )
    # 12000 draws of a deviation of .2.
    assert means == pytest.approx(np.array(truth[0]) / 60, abs=0.008)


def test_noised_totals_are_drawn_towards_their_mean() -> None:
    truth = [[20.0, 20.0, 20.0], [30.0, 30.0]] * 30
    drawn = answers_per_question(noised(truth, 15.0, 1), sigma=15.0)
    raw = np.array([each.sum() for each in noised(truth, 15.0, 1)])
    assert np.sqrt(np.mean((drawn - 60) ** 2)) < np.sqrt(np.mean((raw - 60) ** 2)) / 2


def test_totals_that_differ_by_more_than_noise_stay_apart() -> None:
    truth = [[100.0, 100.0], [1000.0, 1000.0]] * 10
    drawn = answers_per_question(noised(truth, 5.0, 1), sigma=5.0)
    assert drawn == pytest.approx([200.0, 2000.0] * 10, abs=40)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_no_other_distribution_is_nearer(values: list[float]) -> None:
    shares = np.array(values) + (1 - sum(values)) / len(values)
    nearest = nearest_distribution(shares)
    generator = np.random.default_rng(0)
    others = generator.dirichlet(np.ones(len(values)), size=50)
    assert nearest.sum() == pytest.approx(1)
    distances = np.linalg.norm(others - shares, axis=1)
    assert np.linalg.norm(nearest - shares) <= distances.min() + 1e-9


@given(st.integers(2, 64), st.floats(0.001, 10))
def test_reliability_is_the_share_of_variance_that_even_draws_have(
    options: int, sigma: float
) -> None:
    signal = (options - 1) / (options**2 * (options + 1))
    noise = sigma**2 * (1 - 1 / options)
    assert reliability(options, sigma=sigma) == pytest.approx(signal / (signal + noise))


def test_the_more_noise_the_less_a_group_says_and_learns() -> None:
    truth = [[10.0, 20.0, 30.0]] * 20
    asked = questions(*[3] * 20)
    shares = [
        answers_from_tally("n", asked, noised(truth, sigma, 3), sigma=sigma).learning_share()
        for sigma in (0.0, 1.0, 4.0, 16.0, 64.0)
    ]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def test_selected_answers_keep_their_reliability() -> None:
    asked = questions(2, 4, 3)
    counts = [[30.0, 10.0], [5.0, 5.0, 50.0, 0.0], [10.0, 20.0, 30.0]]
    answers = answers_from_tally("north", asked, counts, sigma=4.0)
    part = answers.select(["q2", "q0"])
    assert part.reliability is not None and answers.reliability is not None
    assert part.reliability == (answers.reliability[2], answers.reliability[0])
    assert part.evidence(0.25) == part.reliability
    assert answers.without(frozenset(["q0"])).reliability == answers.reliability[1:]


def test_totals_may_be_noisier_than_counts() -> None:
    asked = questions(*[2] * 20)
    rough = [
        each + shift
        for each, shift in zip(
            noised([[30.0, 10.0]] * 20, 2.0, 5),
            np.random.default_rng(6).normal(0, 20, 20),
            strict=True,
        )
    ]
    answers = answers_from_tally("north", asked, rough, sigma=2.0, total_sigma=20.0 * 2**0.5)
    assert np.std(answers.counts) < 5
    assert np.std([target[0] for target in answers.targets]) < 0.1


@pytest.mark.parametrize(
    ("counts", "sigma"),
    [
        ([[1.0, 2.0]], 1.0),
        ([[1.0, 2.0, 3.0], [1.0]], 1.0),
        ([[1.0, 2.0, math.nan]], 1.0),
        ([[1.0, 2.0, math.inf]], 1.0),
        ([[1.0, 2.0, 3.0]], -1.0),
        ([[1.0, 2.0, 3.0]], math.nan),
    ],
)
def test_what_is_no_tally_is_refused(counts: list[list[float]], sigma: float) -> None:
    with pytest.raises(ValueError, match=r"tally|count|noise"):
        answers_from_tally("north", questions(3), counts, sigma=sigma)


def test_plain_answers_learn_at_the_whole_rate() -> None:
    plain = GroupAnswers(group="n", questions=questions(2), targets=((0.5, 0.5),), counts=(3,))
    assert plain.learning_share() == 1
    assert plain.evidence(0.25) == (1.0,)
