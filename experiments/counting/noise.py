"""The noise of a tally, from public numbers alone: of a count, of a proportion, of their means.

Arithmetic, without torch and without a search: at a sampling rate of 1 the least noise has a closed
form. What rounding costs is in it, as all figures come from the bounds by which answers are
counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privacy.accounting.accountant import GAUSSIAN_ORDER, rdp_budget
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import terms_of_counts
from privacy.kernel.tally import CountBounds

OPTIONS = 4
"""Options of a question where nothing is known of them; they change noise by a few percent."""


@dataclass(frozen=True, kw_only=True)
class Respondents:
    """What is public of a federation whose answers could be counted.

    Attributes:
        unit: The unit of privacy; where it is a record, one answer is counted of each.
        units_per_group: Public bounds on people (or records), one for each group.
        questions_per_group: Questions that each group asks.
        answers: Answers that a person gives; None takes them to give all that are counted.
        largest_weight: The most that one answer counts.
        distributions: Whether groups hold distributions of many persons' answers.
        options: Of the questions, the widest first, repeated where there are more questions.

    Raises:
        ValueError: For numbers that describe no federation.
    """

    unit: Unit = Unit.RESPONDENT
    units_per_group: tuple[int, ...]
    questions_per_group: tuple[int, ...]
    answers: float | None = None
    largest_weight: float = 1.0
    distributions: bool = False
    options: tuple[int, ...] = (OPTIONS,)

    def __post_init__(self) -> None:
        """Refuse numbers that describe no federation."""
        for name in ("units_per_group", "questions_per_group"):
            given = getattr(self, name)
            if not given or min(given) < 1:
                raise ValueError(f"{name} = {given!r}: give at least 1 for every group")
        if len(self.units_per_group) != len(self.questions_per_group):
            raise ValueError(
                f"units_per_group has {len(self.units_per_group)} entries, questions_per_group "
                f"{len(self.questions_per_group)}; give one of each for every group"
            )
        if self.answers is not None and not 0 < self.answers < math.inf:
            raise ValueError(f"answers = {self.answers} is not positive; give those of a person")
        if not self.options or not 1 <= min(self.options):
            raise ValueError(f"options = {self.options!r}: a question has at least 1")

    @property
    def questions(self) -> int:
        """Questions of all groups, each counted in every group that asks it."""
        return sum(self.questions_per_group)

    @property
    def sharing(self) -> float:
        """Groups that can ask the same question, on average.

        At most: there are no fewer questions than the largest questionnaire has.
        """
        return self.questions / max(self.questions_per_group)

    def options_of(self, questions: int) -> tuple[int, ...]:
        """The options of so many questions."""
        times = -(-questions // len(self.options))
        return (self.options * times)[:questions]


@dataclass(frozen=True, kw_only=True)
class CountNoise:
    """The noise of one tally in each group.

    Attributes:
        noise_multiplier: Standard deviation over what one person can change.
        noise_std: Standard deviation on a count, in answers, in the group of the typical question.
        answers_of_question: Answers to it that its group counts, in those of a full ballot.
        noise_of_proportion: Of an option of it; half of all questions have less.
        noise_of_mean: Of its mean over the groups that can share it.
        noise_of_all: Of the mean of all proportions of all groups: what learning can average over.
    """

    noise_multiplier: float
    noise_std: float
    answers_of_question: float
    noise_of_proportion: float
    noise_of_mean: float
    noise_of_all: float

    @property
    def per_multiplier(self) -> float:
        """Noise of a question's mean at a noise multiplier of 1: of any epsilon."""
        return self.noise_of_mean / self.noise_multiplier


def noise_of_counts(
    who: Respondents, *, epsilon: float, delta: float, answers_per_respondent: int = 0
) -> CountNoise:
    """Return the noise of a tally of these people at an epsilon.

    Args:
        who: Public numbers.
        epsilon: Promised.
        delta: The failure probability.
        answers_per_respondent: m, answers of a person that are counted; 0 as a run has it.

    Raises:
        PlanRefused: If no such tally can be planned.
    """
    plan = tally_plan(
        who, epsilon=epsilon, delta=delta, answers_per_respondent=answers_per_respondent
    )
    most = 1 if plan.counts is None else plan.counts.answers_per_respondent
    ballots = {
        questions: _Ballots.of(plan.count_bounds(who.options_of(questions)), plan.noise_log2)
        for questions in set(who.questions_per_group)
    }
    found = []
    for units, questions in zip(who.units_per_group, who.questions_per_group, strict=True):
        given = min(most, questions, who.answers or math.inf)
        counted = units * ballots[questions].answers(given) / questions
        deviation = ballots[questions].deviation
        found.append((deviation / counted, questions, counted, deviation))
    proportion, _, counted, deviation = _typical(found)
    return CountNoise(
        noise_multiplier=plan.noise_multiplier,
        noise_std=deviation,
        answers_of_question=counted,
        noise_of_proportion=proportion,
        noise_of_mean=proportion / math.sqrt(who.sharing),
        noise_of_all=proportion / math.sqrt(who.questions),
    )


@dataclass(frozen=True, kw_only=True)
class _Ballots:
    """What ballots of one questionnaire count.

    Attributes:
        deviation: Of the noise on a count, in answers of a full ballot.
        square: The squared norm of a full ballot, in such answers; 0 where there are none.
        square_of_answer: The same of one answer to any question, on average.
    """

    deviation: float
    square: float
    square_of_answer: float

    @classmethod
    def of(cls, bounds: CountBounds, noise_log2: int) -> _Ballots:
        kept = float(bounds.total_share)
        # A full ballot answers the widest questions.
        squares = sorted((1 - (1 - kept**2) / each for each in bounds.options), reverse=True)
        return cls(
            deviation=2.0**noise_log2 / bounds.step,
            square=0.0 if bounds.distributions else sum(squares[: bounds.answers]),
            square_of_answer=sum(squares) / len(squares),
        )

    def answers(self, given: float) -> float:
        """Those of a full ballot that so many count for: all ballots are of one size."""
        if not self.square:
            return given
        return given * math.sqrt(self.square / (given * self.square_of_answer))


def tally_plan(
    who: Respondents, *, epsilon: float, delta: float, answers_per_respondent: int = 0
) -> PrivacyPlan:
    """Return the plan of one group's counts, of the group that asks and holds most.

    Its noise is that of all groups. It is the least by the closed form of Balle and Wang 2018,
    theorem 8, less than 1e-5 below what `PrivacyPlan.calibrate` finds by privacy loss
    distributions.
    """
    terms = terms_of_counts(
        unit=who.unit,
        epsilon=epsilon,
        delta=delta,
        units_per_group=[max(who.units_per_group)],
        options=[who.options_of(max(who.questions_per_group))],
        questionnaires=[""],
        distributions=who.distributions,
        answers_per_respondent=answers_per_respondent,
        largest_weight=who.largest_weight,
    )
    budget = rdp_budget(epsilon=epsilon, delta=terms.accounted_delta, order=GAUSSIAN_ORDER)
    return PrivacyPlan.with_noise(terms, 1 / math.sqrt(2 * budget))


def _typical(
    found: Iterable[tuple[float, int, float, float]],
) -> tuple[float, int, float, float]:
    """Of groups by noise, that of the question in the middle."""
    ordered = sorted(found)
    left: float = sum(questions for _, questions, _, _ in ordered) / 2
    for group in ordered:
        left -= group[1]
        if left <= 0:
            return group
    return ordered[-1]


def spread_options(options: Sequence[int] | float, questions: int) -> tuple[int, ...]:
    """Options of each of so many questions, from a list of them or from their average.

    Raises:
        ValueError: For a list of another length, or fewer than one option.
    """
    if isinstance(options, Sequence):
        if len(options) != questions or min(options) < 1:
            raise ValueError(
                f"{len(options)} options are listed for {questions} questions; give one number, "
                "at least 1, for each, or their average"
            )
        return tuple(sorted(options, reverse=True))
    if not 1 <= options <= 1000:
        raise ValueError(f"{options:g} options of a question are not in [1, 1000]; give an average")
    wider = round((options - math.floor(options)) * questions)
    return (math.floor(options) + 1,) * wider + (math.floor(options),) * (questions - wider)
