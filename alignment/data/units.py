"""Units of privacy: the persons, or the records, whose presence in the data a guarantee hides.

:data:`UNITS` is the one place that says how a unit behaves.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from alignment.data.records import PreferenceRecord, Question, SurveyRecord, record_to_row


@dataclass(frozen=True, kw_only=True, repr=False)
class UnitRecords:
    """All that one unit of privacy said; not printable, for it is somebody's data.

    Attributes:
        unit: Name of the unit within its group.
        questions: What it answered, at least one.
        targets: Per question, a distribution over its options.
        weights: Per question, how much the answer counts.
    """

    unit: str
    questions: tuple[Question, ...]
    targets: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a unit without records, or with a target too few; weights not given are 1."""
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.questions))
        if not 1 <= len(self.questions) == len(self.targets) == len(self.weights):
            raise ValueError(
                f"a unit has {len(self.questions)} questions and {len(self.targets)} targets: "
                "give one target per question, at least one"
            )


@dataclass(frozen=True, kw_only=True)
class UnitKind:
    """The behaviour of one unit of privacy.

    Attributes:
        named: Gives each record beside the name of its unit, in any order.
        most_records: Records that a unit can have; None bounds them by a setting alone.
        of_people: A unit is all that a person said to the group, so that a person who answers in
            several groups is a unit of each.
    """

    named: Callable[[Iterable[PreferenceRecord]], Iterator[tuple[str, PreferenceRecord]]]
    most_records: int | None = None
    of_people: bool = False


def _by_respondent(records: Iterable[PreferenceRecord]) -> Iterator[tuple[str, PreferenceRecord]]:
    for record in records:
        if record.unit is None:
            raise ValueError(
                f"unit = 'respondent' but a record of group {record.group!r} names nobody: "
                "use unit = 'record', or data with a respondent or annotator in every row"
            )
        yield record.unit, record


#: Stands for all persons behind the distributions of a group, none of whom can be told apart.
EVERYBODY = "respondents of distributions"


def _by_respondent_or_all(
    records: Iterable[PreferenceRecord],
) -> Iterator[tuple[str, PreferenceRecord]]:
    for record in records:
        if isinstance(record, SurveyRecord) and record.respondents is None:
            raise ValueError(
                f"unit = 'respondent' but a distribution of group {record.group!r} does not say "
                "how many persons stand behind it: give respondents in every row, or better the "
                "answers of each person"
            )
        if isinstance(record, SurveyRecord):
            yield EVERYBODY, record
        else:
            yield from _by_respondent([record])


def _by_record(records: Iterable[PreferenceRecord]) -> Iterator[tuple[str, PreferenceRecord]]:
    """Name a record by what was asked, and of whom, not by the answer; equal names are numbered."""
    met = Counter[str]()
    for record in sorted(records, key=lambda record: json.dumps(record_to_row(record))):
        asked = json.dumps([record.question.question_id, record.unit])
        digest = hashlib.sha256(asked.encode()).hexdigest()
        met[digest] += 1
        yield f"{digest}-{met[digest]}", record


#: All that sets one unit of privacy apart from another, by the name that settings give it.
UNITS: Mapping[str, UnitKind] = {
    "respondent": UnitKind(named=_by_respondent, of_people=True),
    "record": UnitKind(named=_by_record, most_records=1),
}


def unit_kind(unit: str) -> UnitKind:
    """The unit of privacy of a name.

    Raises:
        ValueError: There is none.
    """
    if unit not in UNITS:
        names = " nor ".join(map(repr, UNITS))
        raise ValueError(f"unit = {unit!r} is neither {names}: choose one")
    return UNITS[unit]


def contribution_cap(unit: str, records_per_unit: int) -> int:
    """Records of a unit that count in a step: no more than the setting, nor than there can be."""
    most = unit_kind(unit).most_records
    return records_per_unit if most is None else min(most, records_per_unit)


def counted_units(
    records: Iterable[PreferenceRecord], *, unit: str, distributions: bool
) -> tuple[UnitRecords, ...]:
    """The units whose answers are counted: as :func:`units_of`, and all behind distributions.

    Those are one unit here, its weights the numbers of persons: a budget is theirs together.

    Args:
        records: Of one group.
        unit: As for :func:`units_of`.
        distributions: Whether distributions are counted, or single answers. Of the other kind no
            record counts: the weight of an answer is no number of persons.

    Raises:
        ValueError: As :func:`units_of`, or where a distribution does not say of how many it is.
    """
    named = unit_kind(unit).named
    kept = (record for record in records if isinstance(record, SurveyRecord) == distributions)
    return _gathered(_by_respondent_or_all(kept) if unit_kind(unit).of_people else named(kept))


def units_of(records: Iterable[PreferenceRecord], *, unit: str) -> tuple[UnitRecords, ...]:
    """Gather the records of one group into units of privacy.

    Args:
        records: Of one group.
        unit: ``respondent`` (all records of a person) or ``record``.

    Returns:
        The units by name, and the records of a unit by question and target: the same for the same
        records in any order. A record goes on under its name in a selection of the data, or
        relabelled; where several have one name, a selection has some of the same names.

    Raises:
        ValueError: Another unit, records of several groups, or a record that names no respondent.
    """
    return _gathered(unit_kind(unit).named(records))


def _gathered(named: Iterable[tuple[str, PreferenceRecord]]) -> tuple[UnitRecords, ...]:
    gathered: dict[str, list[PreferenceRecord]] = {}
    for name, record in named:
        gathered.setdefault(name, []).append(record)
    groups = {record.group for each in gathered.values() for record in each}
    if len(groups) > 1:
        raise ValueError(f"records of {len(groups)} groups: make the units of each group apart")
    return tuple(_unit_records(name, gathered[name]) for name in sorted(gathered))


def _unit_records(name: str, records: Sequence[PreferenceRecord]) -> UnitRecords:
    said = sorted(
        ((record.question, record.target, record.weight) for record in records),
        key=lambda each: (each[0].question_id, each[1], *_letters(each[0]), each[2]),
    )
    return UnitRecords(
        unit=name,
        questions=tuple(question for question, _, _ in said),
        targets=tuple(target for _, target, _ in said),
        weights=tuple(weight for _, _, weight in said),
    )


def _letters(question: Question) -> tuple[str, tuple[str, ...], str]:
    """What tells questions of one id apart: they say the same, but not letter by letter."""
    turns = "" if question.turns is None else question.turns.to_json()
    return question.text, question.options, turns
