"""The terms of counting answers once: the public bounds of the one release of a group's data.

Where the questions are public, the counts of the answers are a sufficient statistic of a group.
They are taken once, noised in integers and stored; all that is computed of them afterwards is
post-processing (sufficient-statistics perturbation). So such a plan has one step, at q = 1.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from privacy.errors import PlanRefused

NOISE_LOG2 = 20
"""k of the noise on counts: so fine that neither weights nor shares lose anything on the grid."""

ANSWERS = 32
"""Answers of a person that are counted where nothing else is said."""

_MOST_ANSWERS = 10**6
# One answer of weight 1 is a number of steps that floats hold exactly.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-3, 1000.0
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")


@dataclass(frozen=True, kw_only=True)
class CountTerms:
    """Public bounds on what one person adds to the counts of a group.

    Attributes:
        answers_per_respondent: m, answers of a person that are counted; which of more is drawn.
        largest_weight: the most that one answer counts; of published distributions, in which
            weights are normalised already, the bound on a weight over the mean weight.
        questionnaires: digest of the questionnaire of each group, 64 hexadecimal digits; empty
            where a seat is free. What is in no questionnaire is not counted.

    Raises:
        PlanRefused: for a bound that is no number or bounds nothing, or a digest that is none.
    """

    answers_per_respondent: int
    largest_weight: float
    questionnaires: tuple[str, ...]

    def __post_init__(self) -> None:
        answers, weight = self.answers_per_respondent, self.largest_weight
        if type(answers) is not int or not 1 <= answers <= _MOST_ANSWERS:
            raise PlanRefused(
                f"counts.answers_per_respondent = {answers!r} is not an integer in "
                f"[1, {_MOST_ANSWERS}]; give the answers of a person that count"
            )
        if type(weight) is not float or not _LEAST_WEIGHT <= weight <= _MOST_WEIGHT:
            raise PlanRefused(
                f"counts.largest_weight = {weight!r} is not a number in [{_LEAST_WEIGHT:g}, "
                f"{_MOST_WEIGHT:g}]; 1.0 is for data without weights"
            )
        given = self.questionnaires
        if not isinstance(given, tuple) or not all(
            isinstance(each, str) and _DIGEST.fullmatch(each) for each in given
        ):
            raise PlanRefused("counts.questionnaires are no digests; give one for each group")

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return {**asdict(self), "questionnaires": list(self.questionnaires)}

    @classmethod
    def read(cls, values: object) -> Self:
        """Read what `as_dict` gave, also where floats are strings, as in a ledger.

        Raises:
            PlanRefused: for a missing or unknown field as well.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise PlanRefused(f"counts has other fields than {sorted(names)}; give exactly these")
        listed = values["questionnaires"]
        try:
            weight = float(values["largest_weight"])
        except (TypeError, ValueError, OverflowError):
            raise PlanRefused("counts.largest_weight is not a number; give one") from None
        return cls(
            answers_per_respondent=values["answers_per_respondent"],
            largest_weight=weight,
            questionnaires=tuple(listed) if isinstance(listed, list | tuple) else listed,
        )
