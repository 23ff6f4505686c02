"""Measured runs, and what they let one expect of others: the loss that privacy costs.

All figures stand in `MEASURED`; whoever measures anew changes that table alone. The noise of each
run is computed from its public numbers, as that of a forecast is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from experiments.counting.noise import CountNoise, Respondents, noise_of_counts
from privacy.accounting.choices import MAX_EPSILON, Unit

_DELTA = 1e-5


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data on which runs were measured.

    Attributes:
        name: In words.
        who: Its public numbers.
        answers_per_respondent: Answers of a person that were counted; 0 as a run has it.
        gradients_unit: Who was hidden in runs by gradients.
        plain: Alignment of groups never seen without privacy; None where it was not compared.
    """

    name: str
    who: Respondents
    answers_per_respondent: int = 0
    gradients_unit: Unit = Unit.RESPONDENT
    plain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Runs of one data set at one epsilon.

    Attributes:
        data: The data set.
        epsilon: Of the runs.
        tally: Alignment by noised counts; log-loss of question means where ``lower_is_better``.
        gradients: The same by noised gradients; None where it was not measured.
        lower_is_better: Whether the figures are log-losses: they tell which mechanism is better,
            and nothing of alignment.
    """

    data: DataSet
    epsilon: float
    tally: float
    gradients: float | None = None
    lower_is_better: bool = False

    @property
    def noise(self) -> CountNoise:
        """The noise of the tally."""
        return noise_of_counts(
            self.data.who,
            epsilon=self.epsilon,
            delta=_DELTA,
            answers_per_respondent=self.data.answers_per_respondent,
        )

    @property
    def tally_won(self) -> bool | None:
        """Whether the tally came out better; None where gradients were not measured."""
        if self.gradients is None:
            return None
        return (self.tally < self.gradients) == self.lower_is_better


SAMPLE = DataSet(
    name="the built-in sample data (9 groups, 160 people each, 72 questions, 25 answers)",
    who=Respondents(units_per_group=(160,) * 9, questions_per_group=(72,) * 9, answers=25),
    answers_per_respondent=25,
    plain=0.8652,
)


def _opinions(respondents: int) -> DataSet:
    return DataSet(
        name=f"GlobalOpinionQA (12 groups, {respondents:,} respondents assumed, 300 questions)",
        who=Respondents(
            units_per_group=(respondents,) * 12,
            questions_per_group=(300,) * 12,
            distributions=True,
        ),
        gradients_unit=Unit.RECORD,
        plain=0.8352,
    )


OPINIONS_1000 = _opinions(1000)
OPINIONS_300 = _opinions(300)

#: The consultations share no question. People give 20 to 149 answers on average.
POLIS = DataSet(
    name="polis (9 consultations, 95 to 400 people, 1,107 questions)",
    who=Respondents(
        units_per_group=(244, 267, 95, 282, 167, 181, 400, 345, 108),
        questions_per_group=(110, 99, 46, 74, 46, 37, 516, 153, 26),
    ),
    answers_per_respondent=32,
)

MEASURED = (
    Measured(data=SAMPLE, epsilon=8, tally=0.8637, gradients=0.817),
    Measured(data=SAMPLE, epsilon=4, tally=0.8537),
    Measured(data=SAMPLE, epsilon=2, tally=0.8431, gradients=0.813),
    Measured(data=SAMPLE, epsilon=1, tally=0.8183),
    Measured(data=OPINIONS_1000, epsilon=2, tally=0.8342, gradients=0.803),
    Measured(data=OPINIONS_1000, epsilon=1, tally=0.8310),
    Measured(data=OPINIONS_300, epsilon=8, tally=0.8342, gradients=0.816),
    Measured(data=OPINIONS_300, epsilon=2, tally=0.8261, gradients=0.803),
    Measured(data=POLIS, epsilon=8, tally=0.857, gradients=0.854, lower_is_better=True),
    Measured(data=POLIS, epsilon=2, tally=0.860, gradients=0.849, lower_is_better=True),
)


class Range(StrEnum):
    """Where something lies beside what was measured."""

    WITHIN = "within"
    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The alignment that privacy is expected to cost, against the same run without.

    Attributes:
        loss: Of alignment; outside of the range that was measured, the loss at its end.
        range: ``below``: the loss is at most that; ``above``: at least.
    """

    loss: float
    range: Range

    @property
    def text(self) -> str:
        """The loss in three digits; ``at most`` or ``at least`` outside of what was measured."""
        words = {Range.WITHIN: "", Range.BELOW: "at most ", Range.ABOVE: "at least "}
        return words[self.range] + f"{self.loss:.3f}".removeprefix("0")


def tally_loss(noise: CountNoise) -> Expected:
    """The loss to expect of a tally, by the noise of the mean of all proportions.

    On that scale the runs of all measured data sets lie on one rising line, however many groups
    and questions each had. Where questions' own means are so noisy that gradients come out
    better, no alignment was measured: the loss is at least that of the line.
    """
    found = _read(tally_line(), noise.noise_of_all)
    if noise.per_multiplier > threshold():
        return Expected(loss=found.loss, range=Range.ABOVE)
    return found


def gradients_loss(epsilon: float, unit: Unit) -> Expected:
    """The loss to expect of gradients; measured by unit, each on one data set.

    The measured federations had some 1,500 people, or 3,600 records; smaller ones lose more.

    Raises:
        ValueError: For an epsilon that no plan has.
    """
    if not 0 < epsilon <= MAX_EPSILON:
        raise ValueError(
            f"epsilon = {epsilon} is outside (0, {MAX_EPSILON:g}]; choose a budget that protects, "
            "such as 1 to 8"
        )
    return _read(gradients_line(unit), -math.log(epsilon))


@lru_cache
def tally_line() -> tuple[tuple[float, float], ...]:
    """Noise of the mean of all proportions, and loss: rising, both."""
    return rising(
        (run.noise.noise_of_all, run.data.plain - run.tally)
        for run in MEASURED
        if run.data.plain is not None
    )


@lru_cache
def gradients_line(unit: Unit) -> tuple[tuple[float, float], ...]:
    """Minus the logarithm of epsilon, and loss: rising, both."""
    return rising(
        (-math.log(run.epsilon), run.data.plain - run.gradients)
        for run in MEASURED
        if run.gradients is not None
        and run.data.plain is not None
        and run.data.gradients_unit is unit
    )


@lru_cache
def threshold() -> float:
    """The noise of a question's mean, at a noise multiplier of 1, from which on gradients win.

    In the middle (of ratios) between the noisiest tally that was measured to be better than
    gradients and the least noisy one that was worse. At a multiplier of 1 and not at its own,
    because the noise of gradients grows with the multiplier as well: a small epsilon speaks
    against neither.
    """
    won = max(run.noise.per_multiplier for run in MEASURED if run.tally_won is True)
    lost = min(run.noise.per_multiplier for run in MEASURED if run.tally_won is False)
    return math.sqrt(won * lost)


def rising(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Points by their first number, with neighbours that would fall replaced by their mean.

    Pools adjacent violators: the rising line of least squares.
    """
    blocks: list[tuple[float, list[float]]] = []
    for at, value in sorted(points):
        mean, places = value, [at]
        if blocks and blocks[-1][1][-1] == at:
            before, earlier = blocks.pop()
            mean = (before * len(earlier) + mean) / (len(earlier) + 1)
            places = [*earlier, at]
        while blocks and blocks[-1][0] > mean:
            before, earlier = blocks.pop()
            total = len(earlier) + len(places)
            mean = (before * len(earlier) + mean * len(places)) / total
            places = earlier + places
        blocks.append((mean, places))
    return tuple(dict.fromkeys((place, mean) for mean, places in blocks for place in places))


def _read(line: Sequence[tuple[float, float]], at: float) -> Expected:
    """The line at a place, straight between its points; at its ends beyond them."""
    (least, lowest), (most, highest) = line[0], line[-1]
    if at < least and not math.isclose(at, least):
        return Expected(loss=lowest, range=Range.BELOW)
    if at > most and not math.isclose(at, most):
        return Expected(loss=highest, range=Range.ABOVE)
    for (low, lower), (high, higher) in pairwise(line):
        if at <= high:
            share = max(0.0, (at - low) / (high - low))
            return Expected(loss=lower + share * (higher - lower), range=Range.WITHIN)
    return Expected(loss=highest, range=Range.WITHIN)
