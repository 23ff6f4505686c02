"""The question that ``fedaccord plan`` is asked, and the mechanisms that can be forecast for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.counting.measured import Expected, threshold
from experiments.counting.mechanism import KINDS, recommended
from experiments.counting.noise import Respondents, spread_options
from experiments.planning.tallies import (
    TallyForecast,
    choose_for,
    forecast_gradients,
    forecast_tallies,
)
from privacy.accounting.choices import AUTO, Mechanism, Mode, Unit


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Tallies and gradients side by side.

    Attributes:
        asked: The mechanism that was asked for, or ``auto``.
        recommended: The better one; empty where too little is known.
        reason: Why.
        tally: None where nothing is counted, or the questions are not given.
        gradients: The loss to expect by epsilon.
        shown: The mechanisms whose losses are shown.
        hints: Which numbers would show more.
    """

    asked: str
    recommended: str
    reason: str
    tally: TallyForecast | None
    gradients: tuple[tuple[float, Expected], ...]
    shown: tuple[str, ...]
    hints: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types."""
        by_gradients = [
            {
                "epsilon": epsilon,
                "expected_loss": expected.loss,
                "expected_range": str(expected.range),
            }
            for epsilon, expected in self.gradients
        ]
        return {
            "mechanism": {
                "asked": self.asked,
                "recommended": self.recommended or None,
                "reason": self.reason or None,
                "threshold_per_multiplier": threshold(),
            },
            "tally": self.tally.as_dict() if self.tally else None,
            "gradients": by_gradients if Mechanism.GRADIENTS.value in self.shown else None,
        }


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Public numbers as they were given on the command line; see its options.

    Raises:
        ValueError: If they do not go together, or too few are given for the mechanism.
    """

    mechanism: str
    kind: str
    unit: str
    mode: str | None
    epsilon: float
    delta: float
    groups: int
    units: int
    questions: int | None
    options: str
    answers: float | None
    largest_weight: float
    steps: Mapping[str, float | None]

    def __post_init__(self) -> None:
        """Refuse what cannot be forecast."""
        known = (AUTO, *map(str, Mechanism))
        for name, value, offered in (
            ("mechanism", self.mechanism, known),
            ("kind", self.kind, KINDS),
            ("unit", self.unit, tuple(map(str, Unit))),
            ("mode", self.mode or Mode.LOCAL.value, tuple(map(str, Mode))),
        ):
            if value not in offered:
                raise ValueError(f"{name} = {value!r} is not offered; use one of {[*offered]}")
        if self.mechanism == Mechanism.TALLY:
            self._check_tally()
        missing = [f"--{name.replace('_', '-')}" for name, v in self.steps.items() if v is None]
        none = len(missing) == len(self.steps)
        wanted = self.mechanism == Mechanism.GRADIENTS or not (none or self._counts_only)
        if missing and (wanted or (self.mechanism == AUTO and not self.shows_tally)):
            what = (
                "gradients need"
                if wanted or not self.can_count
                else ("a tally needs --questions, gradients need")
            )
            raise ValueError(f"{what} {', '.join(missing)}; give them")

    def _check_tally(self) -> None:
        if not self.can_count:
            raise ValueError(f"mechanism = tally: {self._recommended()[1]}; use gradients")
        if self.mode == Mode.DISTRIBUTED:
            raise ValueError(
                "mode = distributed with mechanism = tally: counts carry all of their own group's "
                "noise; use mode = local"
            )
        if self.questions is None:
            raise ValueError("a tally needs --questions, those that a group asks; give them")

    @property
    def _counts_only(self) -> bool:
        return self.mechanism == Mechanism.TALLY

    @property
    def can_count(self) -> bool:
        """Whether records of this kind, with this unit, can be counted at all."""
        return self.kind != "pair" and (self.kind, self.unit) != ("survey", Unit.RECORD.value)

    @property
    def shows_tally(self) -> bool:
        """Whether a tally is forecast."""
        return (
            self.mechanism != Mechanism.GRADIENTS and self.can_count and self.questions is not None
        )

    @property
    def shows_gradients(self) -> bool:
        """Whether a plan of gradients is made: it takes numbers of its own."""
        return not self._counts_only and None not in self.steps.values()

    def outlook(self) -> Outlook:
        """Forecast tallies, say which mechanism is better, and read the losses of both."""
        tally = self._tally() if self.shows_tally else None
        better, reason = self._recommended(tally)
        shown = [Mechanism.TALLY.value] if tally else []
        shown += [] if self._counts_only else [Mechanism.GRADIENTS.value]
        return Outlook(
            asked=self.mechanism,
            recommended=better,
            reason=reason,
            tally=tally,
            gradients=forecast_gradients(epsilon=self.epsilon, unit=Unit(self.unit)),
            shown=tuple(shown),
            hints=tuple(self._hints()),
        )

    def as_dict(self) -> dict[str, Any]:
        """What was given, where there is no plan of gradients to say so."""
        names = ("epsilon", "delta", "groups", "units", "unit")
        return {**{name: getattr(self, name) for name in names}, "mode": self.mode or "local"}

    def _hints(self) -> list[str]:
        if self.mechanism != AUTO:
            return []
        hints = []
        if self.can_count and self.questions is None:
            hints.append("With --questions and --answers, a tally is forecast beside gradients.")
        if not self.shows_gradients:
            hints.append(
                "With --sampling-rate, --rounds, --survivors and --colluding, a plan of gradients "
                "is made as well."
            )
        return hints

    def _tally(self) -> TallyForecast:
        questions = self.questions or 0
        if not 1 <= questions <= 10**6:
            raise ValueError(f"--questions {questions} is not in [1, 1000000]; give their number")
        if self.answers is not None and not 0 < self.answers <= questions:
            raise ValueError(
                f"--answers {self.answers:g} is not in (0, {questions}], the questions of a group; "
                "give those that a person answers"
            )
        who = Respondents(
            unit=Unit(self.unit),
            units_per_group=(self.units,) * self.groups,
            questions_per_group=(questions,) * self.groups,
            answers=float(questions) if self.answers is None else self.answers,
            largest_weight=self.largest_weight,
            distributions=self.kind == "survey",
            options=spread_options(self._options(), questions),
        )
        return forecast_tallies(who, epsilon=self.epsilon, delta=self.delta)

    def _options(self) -> list[int] | float:
        try:
            if "," in self.options:
                return [int(each) for each in self.options.split(",")]
            return float(self.options)
        except ValueError:
            raise ValueError(
                f"--options {self.options!r} is neither a number nor a list of whole ones like "
                "4,4,2; give one"
            ) from None

    def _recommended(self, tally: TallyForecast | None = None) -> tuple[str, str]:
        mode = Mode(self.mode or Mode.LOCAL)
        if tally is not None:
            return choose_for(tally, kind=self.kind, mode=mode)
        if self.can_count and mode is Mode.LOCAL:
            # Without the questions nothing can be compared.
            return "", ""
        return recommended(
            kind=self.kind,
            has_persons=True,
            unit=self.unit,
            mode=mode,
            scores="head",
            epsilon=self.epsilon,
            delta=self.delta,
            groups=1,
            units_per_group=(self.units,),
            questions_per_group=(1,),
        )
