"""The choice between the two private mechanisms, by whoever has all the data at hand.

It rests on what is public of them: kinds of records, questions, bounds on people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alignment.data.population import Population, load_population
from alignment.data.records import PairRecord, PreferenceRecord, SurveyRecord
from alignment.data.sources import DataError
from alignment.data.split import SplitError
from experiments.counting.mechanism import recommended
from privacy.accounting.choices import AUTO, NO_PRIVACY, Mechanism, Unit
from server.config import ConfigError, RunConfig, read_run_config

logger = logging.getLogger(__name__)

_KEY = "privacy.mechanism"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A mechanism, and why.

    Attributes:
        mechanism: ``tally`` or ``gradients``.
        reason: One sentence.
    """

    mechanism: Mechanism
    reason: str


def choose(flat: Mapping[str, object]) -> Mapping[str, object]:
    """Settings that follow where ``privacy.mechanism`` is ``auto``; see ``assemble``."""
    if flat.get("privacy.mode", NO_PRIVACY) == NO_PRIVACY or flat.get(_KEY, AUTO) != AUTO:
        return {}
    try:
        config = read_run_config(flat)
        population = load_population(
            config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
        )
    except (ConfigError, DataError, SplitError):
        # It is told where the run begins.
        return {}
    choice = choice_for(config, population)
    logger.info("privacy.mechanism = %s: %s", choice.mechanism, choice.reason)
    return {_KEY: str(choice.mechanism)}


def choice_for(config: RunConfig, population: Population) -> Choice:
    """The mechanism that suits the train groups of a run better.

    Args:
        config: The run; what it has for a mechanism does not matter.
        population: Its groups.
    """
    train = population.split.train_groups
    records = [population.training_records(group) for group in train]
    first = next(record for each in records for record in each)
    assumed = config.simulation.respondents
    mechanism, reason = recommended(
        kind={PairRecord: "pair", SurveyRecord: "survey"}.get(type(first), "choice"),
        has_persons=all(_persons(record, assumed) for each in records for record in each),
        unit=config.privacy.unit,
        mode=config.privacy.mode,
        scores=config.predictor.scores,
        epsilon=config.privacy.epsilon,
        delta=config.privacy.delta,
        groups=len(train),
        units_per_group=[_units(each, config.privacy.unit, assumed) for each in records],
        questions_per_group=[len({r.question.question_id for r in each}) for each in records],
        answers_per_person=config.privacy.answers_per_respondent,
        largest_weight=config.privacy.largest_weight,
        distributions=isinstance(first, SurveyRecord),
    )
    return Choice(mechanism=Mechanism(mechanism), reason=reason)


def _persons(record: PreferenceRecord, assumed: int) -> int:
    """Persons that a record speaks of; 0 where it does not say."""
    if isinstance(record, SurveyRecord):
        return record.respondents or assumed
    return int(record.unit is not None)


def _units(records: Sequence[PreferenceRecord], unit: str, assumed: int) -> int:
    """Units of privacy of a group, at least 1."""
    if unit == Unit.RECORD:
        return len(records)
    behind = max((_persons(record, assumed) for record in records), default=1)
    return max(1, behind, len({record.unit for record in records}))
