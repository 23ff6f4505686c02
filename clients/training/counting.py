"""Answers of units as the kernel counts them: places in the questionnaire instead of texts.

Total: what is not in the questionnaire, or points at no option, gets no place and is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.tallies.questionnaire import Questionnaire
from privacy.kernel.tally import Answers, Distributions


def answers_in(
    units: Sequence[UnitRecords], questionnaire: Questionnaire
) -> Answers | Distributions:
    """The answers of units, in places of a questionnaire."""
    if questionnaire.distributions:
        return _distributions(units, questionnaire)
    places: dict[Question, int] = {}
    persons, questions, options, weights = [], [], [], []
    for person, unit in enumerate(units):
        for question, target, weight in zip(
            unit.questions, unit.targets, unit.weights, strict=True
        ):
            place = places.get(question)
            if place is None:
                place = places[question] = questionnaire.place(question)
            persons.append(person)
            questions.append(place)
            # A choice is 1 at one option; a distribution is nobody's choice.
            options.append(target.index(1.0) if 1.0 in target else -1)
            weights.append(weight)
    return Answers(
        persons=np.array(persons, dtype=np.int64),
        questions=np.array(questions, dtype=np.int64),
        options=np.array(options, dtype=np.int64),
        weights=np.array(weights, dtype=np.float64),
    )


def _distributions(units: Sequence[UnitRecords], questionnaire: Questionnaire) -> Distributions:
    said = [
        (questionnaire.place(question), round(weight) if math.isfinite(weight) else 0, target)
        for unit in units
        for question, target, weight in zip(unit.questions, unit.targets, unit.weights, strict=True)
    ]
    return Distributions(
        questions=[place for place, _, _ in said],
        respondents=[respondents for _, respondents, _ in said],
        shares=[shares for _, _, shares in said],
    )
