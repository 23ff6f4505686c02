"""The records that a source holds of one group, read once and remembered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from alignment.data.answers import GroupAnswers, tally
from alignment.data.loading import load_records
from alignment.data.population import stamp
from alignment.data.records import PreferenceRecord, SurveyRecord
from alignment.data.sources import DataError
from alignment.data.units import UnitRecords, counted_units, unit_kind, units_of
from clients.data.home import POLICY_FILE

logger = logging.getLogger(__name__)


def persons_in(records: Sequence[PreferenceRecord], unit: str, *, counted: bool) -> int:
    """How many units of privacy records hold, those behind distributions included.

    Raises:
        ValueError: A record names nobody, and the unit is a person.
    """
    if not counted:
        return len(units_of(records, unit=unit))
    behind = [record.respondents or 0 for record in records if isinstance(record, SurveyRecord)]
    named = [len(counted_units(records, unit=unit, distributions=each)) for each in (False, True)]
    return max(*named, *behind)


def records_in(source: str, group: str) -> Sequence[PreferenceRecord]:
    """The records that a source holds of a group, which must hold nobody else's.

    Raises:
        DataError: The records cannot be read, or are not this group's.
    """
    _, records = own_records(source, group, False, stamp(source))
    return records


class OwnRecords(tuple[PreferenceRecord, ...]):
    """Records that are told apart by identity, so that what is made of them can be remembered."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@lru_cache(maxsize=2)
def own_records(
    source: str, group: str, skip_invalid: bool, _: object
) -> tuple[GroupAnswers, OwnRecords]:
    """All records of a source, tallied and as they are; the last argument is the source's stamp.

    Raises:
        DataError: The records cannot be read, or some are not this group's.
    """
    # What is refused here would count as absent where each record is read for itself.
    records = load_records(source, skip_invalid=skip_invalid, group=group, row_by_row=True).records
    others = sorted({record.group for record in records} - {group})
    if others:
        raise DataError(
            f"{source}: holds records of group {others[0]!r}, the policy is of {group!r}; give "
            f"each group its own file, or name the group as in {POLICY_FILE}"
        )
    return tally(records)[group], OwnRecords(records)


@lru_cache(maxsize=2)
def records_alone(source: str, group: str, unit: str, counted: bool, _: object) -> OwnRecords:
    """The records of a source, each read for itself: what is not this group's counts as absent.

    Args:
        source: What holds them.
        group: Whose records are kept.
        unit: What a unit of privacy is; where it is a person, records that name nobody are absent.
        counted: Whether the answers are counted, so that a distribution stands for persons.
        _: Stamp of the source: what has changed is read anew.
    """
    loaded = load_records(source, group=group, alone=True)
    people = unit_kind(unit).of_people
    kept = [
        record
        for record in loaded.records
        if record.group == group and (not people or _names_somebody(record, counted))
    ]
    if absent := len(loaded.records) + len(loaded.skipped) - len(kept):
        logger.warning(
            "%d record(s) count as absent: they do not load, name nobody or are another group's; "
            "fedaccord client check says more",
            absent,
        )
    return OwnRecords(kept)


def _names_somebody(record: PreferenceRecord, counted: bool) -> bool:
    """Whether a record says whose answer it is, or, where answers are counted, of how many."""
    if counted and isinstance(record, SurveyRecord):
        return record.respondents is not None
    return record.unit is not None


@lru_cache(maxsize=4)
def units_counted(records: OwnRecords, unit: str, distributions: bool) -> tuple[UnitRecords, ...]:
    """See :func:`alignment.data.units.counted_units`; made once for the same records."""
    return counted_units(records, unit=unit, distributions=distributions)


@lru_cache(maxsize=4)
def units_trained_on(records: OwnRecords, unit: str) -> tuple[UnitRecords, ...]:
    """See :func:`alignment.data.units.units_of`; made once for the same records."""
    return units_of(records, unit=unit)
