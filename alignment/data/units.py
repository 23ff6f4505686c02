"""Units of privacy: whose presence in the data a guarantee hides, with all that they said."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alignment.data.records import PreferenceRecord, Question, record_to_row


@dataclass(frozen=True, kw_only=True, repr=False)
class UnitRecords:
    """All that one unit of privacy said; not printable, for it is somebody's data.

    Attributes:
        unit: Name of the unit within its group.
        questions: What it answered, at least one.
        targets: Per question, a distribution over its options.
    """

    unit: str
    questions: tuple[Question, ...]
    targets: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a unit without records, or with a target too few."""
        if not 1 <= len(self.questions) == len(self.targets):
            raise ValueError(
                f"a unit has {len(self.questions)} questions and {len(self.targets)} targets: "
                "give one target per question, at least one"
            )


def units_of(records: Iterable[PreferenceRecord], *, unit: str) -> tuple[UnitRecords, ...]:
    """Gather the records of one group into units of privacy.

    Args:
        records: Of one group.
        unit: ``respondent`` (all records of a person) or ``record``.

    Returns:
        The units by name, and the records of a unit by question and target: the same for the same
        records in any order. A record is named by what was asked, and of whom, not by the answer:
        in a selection of the data, or relabelled, it goes on under its name. Where several have
        one name they are numbered, so that a selection has some of the same names.

    Raises:
        ValueError: Another unit, records of several groups, or a record that names no respondent.
    """
    if unit not in ("respondent", "record"):
        raise ValueError(f"unit = {unit!r} is neither 'respondent' nor 'record': choose one")
    gathered: dict[str, list[PreferenceRecord]] = {}
    groups, met = set(), Counter[str]()
    if unit == "record":
        records = sorted(records, key=lambda record: json.dumps(record_to_row(record)))
    for record in records:
        groups.add(record.group)
        name = record.unit
        if unit == "record":
            asked = json.dumps([record.question.question_id, record.unit])
            digest = hashlib.sha256(asked.encode()).hexdigest()
            met[digest] += 1
            name = f"{digest}-{met[digest]}"
        elif name is None:
            raise ValueError(
                f"unit = 'respondent' but a record of group {record.group!r} names nobody: "
                "use unit = 'record', or data with a respondent or annotator in every row"
            )
        gathered.setdefault(name, []).append(record)
    if len(groups) > 1:
        raise ValueError(f"records of {len(groups)} groups: make the units of each group apart")
    return tuple(_unit_records(name, gathered[name]) for name in sorted(gathered))


def _unit_records(name: str, records: Sequence[PreferenceRecord]) -> UnitRecords:
    said = sorted(
        ((record.question, record.target) for record in records),
        key=lambda pair: (pair[0].question_id, pair[1], pair[0].text, pair[0].options),
    )
    return UnitRecords(
        unit=name, questions=tuple(q for q, _ in said), targets=tuple(t for _, t in said)
    )
