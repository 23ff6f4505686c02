"""Forecast of tallies, before anything is counted: noise by epsilon and cap, and what it costs.

Beside it stands what gradients are expected to cost at the same epsilons. Nothing is read and
nothing searched for: a forecast takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.counting.measured import Expected, gradients_loss, tally_loss
from experiments.counting.mechanism import recommended
from experiments.counting.noise import CountNoise, Respondents, noise_of_counts
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.counts import ANSWERS
from privacy.accounting.terms import PrivacyTerms, terms_of_counts

#: Budgets that are compared, beside the one that was asked for.
EPSILONS = (1.0, 2.0, 4.0, 8.0)
#: Caps that are compared, beside all questions and the answers that a person gives.
CAPS = (10, ANSWERS, 50)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A tally at one epsilon and one cap.

    Attributes:
        epsilon: Promised.
        answers_per_respondent: m, answers of a person that are counted.
        noise: Of its counts.
        expected: The loss of alignment.
    """

    epsilon: float
    answers_per_respondent: int
    noise: CountNoise
    expected: Expected

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types."""
        return {
            "epsilon": self.epsilon,
            "answers_per_respondent": self.answers_per_respondent,
            **asdict(self.noise),
            "expected_loss": self.expected.loss,
            "expected_range": str(self.expected.range),
        }


@dataclass(frozen=True, kw_only=True)
class TallyForecast:
    """Tallies of one federation.

    Attributes:
        who: Public numbers.
        epsilon: The epsilon that was asked for.
        delta: The failure probability.
        rows: By cap, then by epsilon.
        best_cap: The largest cap that people reach; no other has less noise of a proportion.
        units: Units of all groups.
    """

    who: Respondents
    epsilon: float
    delta: float
    rows: tuple[Tally, ...]
    best_cap: int
    units: int

    def at(self, *, epsilon: float, cap: int) -> Tally:
        """One row."""
        return next(
            row for row in self.rows if (row.epsilon, row.answers_per_respondent) == (epsilon, cap)
        )

    @property
    def best(self) -> Tally:
        """The tally at the epsilon that was asked for, with the best cap."""
        return self.at(epsilon=self.epsilon, cap=self.best_cap)

    @property
    def caps(self) -> tuple[int, ...]:
        """The caps there are, rising."""
        return tuple(sorted({row.answers_per_respondent for row in self.rows}))

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The epsilons there are, rising."""
        return tuple(sorted({row.epsilon for row in self.rows}))

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types."""
        return {
            "questions": self.who.questions_per_group[0],
            "options": list(self.who.options),
            "answers": self.who.answers,
            "largest_weight": self.who.largest_weight,
            "distributions": self.who.distributions,
            "best_answers_per_respondent": self.best_cap,
            "best": self.best.as_dict(),
            "rows": [row.as_dict() for row in self.rows],
        }


def forecast_tallies(who: Respondents, *, epsilon: float, delta: float) -> TallyForecast:
    """Compute the noise of tallies at `EPSILONS` and the one given, for several caps.

    Raises:
        PlanRefused: If epsilon or delta cannot be promised to so many people.
    """
    terms = _terms(who, epsilon=epsilon, delta=delta)
    rows = []
    caps = _caps(who)
    for cap in caps:
        for each in sorted({*EPSILONS, epsilon}):
            noise = noise_of_counts(who, epsilon=each, delta=delta, answers_per_respondent=cap)
            rows.append(
                Tally(
                    epsilon=each,
                    answers_per_respondent=cap,
                    noise=noise,
                    expected=tally_loss(noise),
                )
            )
    return TallyForecast(
        who=who,
        epsilon=epsilon,
        delta=delta,
        rows=tuple(rows),
        # All above it are as good: who gives fewer answers counts for more in each.
        best_cap=next((cap for cap in caps if cap >= (who.answers or math.inf)), caps[-1]),
        units=terms.units,
    )


def forecast_gradients(*, epsilon: float, unit: Unit) -> tuple[tuple[float, Expected], ...]:
    """The loss to expect of gradients, at `EPSILONS` and the one given."""
    return tuple((each, gradients_loss(each, unit)) for each in sorted({*EPSILONS, epsilon}))


def choose_for(made: TallyForecast, *, kind: str, mode: Mode) -> tuple[str, str]:
    """The mechanism for the people of a forecast, with the best cap, and why."""
    return recommended(
        kind=kind,
        has_persons=True,
        unit=made.who.unit,
        mode=mode,
        scores="head",
        epsilon=made.epsilon,
        delta=made.delta,
        groups=len(made.who.units_per_group),
        units_per_group=made.who.units_per_group,
        questions_per_group=made.who.questions_per_group,
        answers_per_person=made.best_cap,
        largest_weight=made.who.largest_weight,
        distributions=made.who.distributions,
        answers_given=made.who.answers,
    )


def _terms(who: Respondents, *, epsilon: float, delta: float) -> PrivacyTerms:
    """The terms of all groups together, which refuse what cannot be promised."""
    return terms_of_counts(
        unit=who.unit,
        epsilon=epsilon,
        delta=delta,
        units_per_group=who.units_per_group,
        options=[who.options_of(questions) for questions in who.questions_per_group],
        questionnaires=[""] * len(who.units_per_group),
        distributions=who.distributions,
        largest_weight=who.largest_weight,
    )


def _caps(who: Respondents) -> Sequence[int]:
    """Caps worth comparing, rising; one where only one makes sense."""
    most = max(who.questions_per_group)
    if who.unit is Unit.RECORD:
        return (1,)
    if who.distributions:
        # Of distributions a cap would leave questions out.
        return (most,)
    given = {math.ceil(who.answers)} if who.answers is not None else set()
    return sorted({max(1, min(cap, most)) for cap in {*CAPS, *given, most}})
