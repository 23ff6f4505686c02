"""All groups of a source with their split, loaded once per process. For simulations only.

In a deployment no process ever holds more than one group; there each client opens its own records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from alignment.data.answers import GroupAnswers, tally
from alignment.data.loading import load_records
from alignment.data.records import PreferenceRecord
from alignment.data.sources import DataError
from alignment.data.split import Split, draw_split, read_split
from alignment.data.units import UnitRecords, units_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """The answers of every group, and who trains.

    Attributes:
        answers: Every group's answers, groups in alphabetical order.
        split: Train groups and draws of the held-out ones.
        records: The records behind the answers, by group.
        skipped: One line for each invalid row that was left out.
        left_out: Sound rows without a record, by reason.
    """

    answers: Mapping[str, GroupAnswers]
    split: Split
    records: Mapping[str, tuple[PreferenceRecord, ...]]
    skipped: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """Train groups, then held-out groups: the order of simulated nodes."""
        return (*self.split.train_groups, *self.split.draws)

    @property
    def seen(self) -> frozenset[str]:
        """Ids of the questions that train groups train on."""
        train = (self.split.training_answers(self.answers[g]) for g in self.split.train_groups)
        return frozenset(q.question_id for each in train for q in each.questions)

    def training_records(self, group: str) -> tuple[PreferenceRecord, ...]:
        """The records of a train group that it may be trained on."""
        unseen = self.split.unseen_questions
        return tuple(r for r in self.records[group] if r.question.question_id not in unseen)

    def training_units(self, group: str, *, unit: str) -> tuple[UnitRecords, ...]:
        """The units of privacy of a train group, with what they may be trained on."""
        return _training_units(self, group, unit)


@lru_cache(maxsize=2048)
def _training_units(population: Population, group: str, unit: str) -> tuple[UnitRecords, ...]:
    return units_of(population.training_records(group), unit=unit)


def stamp(source: str) -> tuple[int, int]:
    """When a source was last written, and its size: it is read again when either changes.

    Of a folder the newest file and the size of all; of what is no file, as a hub id, nothing.
    """
    if not source:
        return 0, 0  # As a path it would be the folder one stands in, with all that is below.
    path = Path(source)
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    stats = [file.stat() for file in files if file.is_file()]
    return max((s.st_mtime_ns for s in stats), default=0), sum(s.st_size for s in stats)


def load_population(data: str, *, split: str, seed: int, skip_invalid: bool) -> Population:
    """Load a source and read its split from a file, or draw one by seed where ``split`` is empty.

    Raises:
        DataError: The source has invalid rows or cannot be read.
        SplitError: The split does not fit the data.
    """
    if not data:
        raise DataError("--data is empty: name a file, a folder, a hub id, or 'sample'")
    return _load(data, split, seed, skip_invalid, (stamp(data), stamp(split)))


@lru_cache(maxsize=2)
def _load(data: str, split: str, seed: int, skip_invalid: bool, _: object) -> Population:
    loaded = load_records(data, skip_invalid=skip_invalid)
    answers = tally(loaded.records)
    chosen = read_split(Path(split)) if split else draw_split(answers, seed=seed)
    chosen.check(answers)
    records: dict[str, list[PreferenceRecord]] = {group: [] for group in answers}
    for record in loaded.records:
        records[record.group].append(record)
    return Population(
        answers=answers,
        split=chosen,
        records={group: tuple(each) for group, each in records.items()},
        skipped=loaded.skipped,
        left_out=loaded.left_out,
    )
