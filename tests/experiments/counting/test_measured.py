"""What measured runs let one expect: their own losses, rising lines, and a stated threshold."""

import math
from itertools import pairwise

import pytest

import experiments.counting.measured as measured
from experiments.counting.measured import (
    MEASURED,
    POLIS,
    SAMPLE,
    Range,
    gradients_line,
    gradients_loss,
    rising,
    tally_line,
    tally_loss,
    threshold,
)
from experiments.counting.noise import noise_of_counts
from privacy.accounting.choices import Unit


def test_every_measured_run_is_expected_to_lose_what_it_lost() -> None:
    """Where two runs contradict each other, their mean takes their place."""
    compared = [run for run in MEASURED if run.data.plain is not None]
    assert len(compared) == 8
    for run in compared:
        assert run.data.plain is not None
        expected = tally_loss(run.noise)
        assert expected.loss == pytest.approx(run.data.plain - run.tally, abs=0.0015)
        assert expected.range is Range.WITHIN


def test_lines_rise() -> None:
    for line in (tally_line(), gradients_line(Unit.RECORD), gradients_line(Unit.RESPONDENT)):
        assert len(line) >= 2
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(line))


def test_less_epsilon_is_never_expected_to_cost_less() -> None:
    epsilons = [0.1 * 1.2**step for step in range(30)]
    for unit in Unit:
        losses = [gradients_loss(epsilon, unit).loss for epsilon in epsilons]
        assert all(a >= b for a, b in pairwise(losses))
    tallies = [
        tally_loss(noise_of_counts(SAMPLE.who, epsilon=each, delta=1e-5)).loss for each in epsilons
    ]
    assert all(a >= b for a, b in pairwise(tallies))
    assert tallies[0] > 10 * tallies[-1]


def test_outside_of_what_was_measured_it_says_so() -> None:
    assert gradients_loss(8, Unit.RESPONDENT).range is Range.WITHIN
    assert gradients_loss(2, Unit.RESPONDENT).text == ".052"
    assert gradients_loss(1.9, Unit.RESPONDENT).text == "at least .052"
    assert gradients_loss(8.1, Unit.RESPONDENT).text == "at most .048"
    noisy = tally_loss(noise_of_counts(SAMPLE.who, epsilon=0.5, delta=1e-5))
    quiet = tally_loss(noise_of_counts(SAMPLE.who, epsilon=40, delta=1e-5))
    assert (noisy.range, quiet.range) == (Range.ABOVE, Range.BELOW)
    assert noisy.loss == pytest.approx(max(loss for _, loss in tally_line()))
    assert quiet.text == "at most .001"


def test_where_question_means_are_worse_than_gradients_no_loss_was_measured() -> None:
    noise = noise_of_counts(POLIS.who, epsilon=8, delta=1e-5)
    assert tally_line()[0][0] < noise.noise_of_all < tally_line()[-1][0]
    assert tally_loss(noise).range is Range.ABOVE


def test_the_threshold_parts_the_runs_that_won_from_those_that_lost() -> None:
    judged = {(run.data.name, run.epsilon): run.tally_won for run in MEASURED}
    assert {run.data for run in MEASURED if judged[run.data.name, run.epsilon] is False} == {POLIS}
    for run in MEASURED:
        if run.tally_won is not None:
            assert (run.noise.per_multiplier < threshold()) is run.tally_won
    # Of the question in the middle, by hand: a norm of sqrt(m (1 - 3/16)), over the answers to it,
    # over the root of the groups that share it.
    won = math.sqrt(25 * 13 / 16) / (160 * 25 / 72) / math.sqrt(9)
    lost = math.sqrt(32 * 13 / 16) / (95 * 32 / 46) / math.sqrt(1107 / 516)
    assert threshold() == pytest.approx(math.sqrt(won * lost), rel=1e-4)
    assert threshold() == pytest.approx(0.0377, abs=1e-4)
    assert lost / threshold() > 1.3
    assert threshold() / won > 1.3


def test_the_threshold_is_that_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MEASURED", [run for run in MEASURED if run.data is not SAMPLE])
    threshold.cache_clear()
    try:
        assert threshold() == pytest.approx(0.0352, abs=1e-4)
    finally:
        threshold.cache_clear()


def test_figures_that_fall_are_pooled() -> None:
    assert rising([(3, 1.0), (1, 0.0), (2, 2.0)]) == ((1, 0.0), (2, 1.5), (3, 1.5))
    assert rising([(1, 1.0), (1, 3.0), (2, 4.0)]) == ((1, 2.0), (2, 4.0))
    assert rising([(1, 3.0), (2, 2.0), (3, 1.0)]) == ((1, 2.0), (2, 2.0), (3, 2.0))


def test_between_two_epsilons_it_lies_between() -> None:
    low, high = gradients_loss(8, Unit.RECORD).loss, gradients_loss(2, Unit.RECORD).loss
    assert gradients_loss(4, Unit.RECORD).loss == pytest.approx((low + high) / 2)
    assert math.isclose(low, 0.8352 - 0.816)
