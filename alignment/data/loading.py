"""Loading and writing records: any source to checked records, or one line that says why not.

A row is found and decoded by :mod:`alignment.data.sources`, adapted by
:mod:`alignment.data.published` where its shape is foreign, checked by
:mod:`alignment.data.records`, and compared here with the other rows of its source. Nothing is
dropped without a word, nothing is cached on disk.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from alignment.data.fields import InvalidRecordError
from alignment.data.published.columns import LeftOut
from alignment.data.published.runs import joined
from alignment.data.published.shapes import adapter_for
from alignment.data.records import (
    PairRecord,
    PreferenceRecord,
    Question,
    SurveyRecord,
    parse_question,
    parse_record,
    record_to_row,
    same_options,
)
from alignment.data.sample_source import is_sample, read_sample
from alignment.data.sources import DataError, Row, find_files, read_rows, suffix_of
from atomic import opened_atomically
from texts import shown

logger = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRecords:
    """The records of a source. The printed form shows none of them.

    Attributes:
        records: The records, in the order of the source; of one kind but where each is read alone.
        skipped: One line for every invalid row that was left out.
        source: What was loaded.
        left_out: How many sound rows give no record, by reason: of a published shape, those that
            prefer nothing.
    """

    records: tuple[PreferenceRecord, ...] = field(repr=False)
    skipped: tuple[str, ...] = field(repr=False)
    source: str
    left_out: Mapping[str, int] = field(default_factory=dict)


def load_records(
    source: str | Path,
    *,
    skip_invalid: bool = False,
    group: str | None = None,
    split: str = "train",
    alone: bool = False,
    row_by_row: bool = False,
) -> LoadedRecords:
    """Read and check all records of a source.

    Beyond each row, a source must be consistent: a question id stands for one list of options, a
    survey answers a question once per group, and all records are of one kind. The wording of a
    question may differ from row to row, as it does between waves and translations of a survey:
    each record keeps its own. Records of one wording share one ``Question``.

    Args:
        source: ``"sample"`` or ``"sample-pairs"`` for built-in data, with parameters as in
            ``"sample:groups=48,severity=2"`` (:mod:`alignment.data.sample_source`); a ``.jsonl``,
            ``.json``, ``.csv`` (each also ``.gz``), ``.parquet`` or ``.arrow`` file; a folder of
            such files, also one that ``datasets`` saved; otherwise a hub dataset ``owner/name`` or
            ``owner/name:config``.
        skip_invalid: Leave invalid rows out and list them in ``skipped`` instead of raising.
        group: Group of the rows that name none. For transcripts, which never do, the name of the
            file, folder or dataset stands in.
        split: Part of a folder or hub dataset to read.
        alone: Read each row for itself: invalid rows are left out, no row is held against another,
            and there may be none. What becomes of a record then depends on no other.
        row_by_row: Refuse tables of which several rows make one record; ``alone`` does so too.

    Rows of published shapes that prefer nothing are counted in ``left_out``, and a warning says so.

    Raises:
        DataError: One line with file, line, field and remedy: at the first invalid row, or where
            the source as a whole cannot be used (also with ``skip_invalid``).
    """
    collector = _Collector(
        skip_invalid=skip_invalid or alone, group=group, name=_name_of(source), alone=alone
    )
    for where, content in _rows(source, split, join=not (alone or row_by_row)):
        collector.add(where, content)
    skipped, left_out = collector.skipped, dict(sorted(collector.left_out.items()))
    if not collector.records and not alone:
        raise DataError(f"{source}: {_nothing(skipped, left_out)}")
    if left_out:
        logger.warning("%s: %s", shown(str(source)), told(left_out))
    return LoadedRecords(
        records=tuple(collector.records),
        skipped=tuple(skipped),
        source=str(source),
        left_out=left_out,
    )


def told(left_out: Mapping[str, int]) -> str:
    """How many sound rows give no record, as in "3 row(s) left out: tie (3)"."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in left_out.items())
    return f"{sum(left_out.values())} row(s) left out: {reasons}"


def _nothing(skipped: Sequence[str], left_out: Mapping[str, int]) -> str:
    """Why a source gives no record."""
    if skipped:
        return f"no valid record, the first problem is {skipped[0]}"
    if left_out:
        return f"no record, {told(left_out)}; give rows that prefer something"
    return "no records; write one record per line or row"


def load_questions(source: str | Path) -> tuple[Question, ...]:
    """Read questions that nobody has answered, from a file or folder as in ``load_records``.

    Raises:
        DataError: One line with file, line, field and remedy.
    """
    empty = "no questions; write one per line, with question and options"
    return load_rows(source, parse_question, empty=empty)


def load_rows(
    source: str | Path, parse: Callable[[Mapping[str, object]], Parsed], *, empty: str
) -> tuple[Parsed, ...]:
    """Read rows that stand each for themselves; ``empty`` is said where there is none.

    Raises:
        DataError: One line with file, line, field and remedy.
    """
    parsed = []
    for file in find_files(source, split="train"):
        for where, content in read_rows(file):
            try:
                if isinstance(content, InvalidRecordError):
                    raise content
                parsed.append(parse(content))
            except InvalidRecordError as error:
                raise DataError(f"{where}: {error}") from error
    if not parsed:
        raise DataError(f"{source}: {empty}")
    return tuple(parsed)


def write_records(records: Iterable[PreferenceRecord], path: str | Path) -> None:
    """Write records as JSON Lines, compressed when the name ends in ``.gz``.

    The file appears complete or not at all, readable by its owner only. Equal records give equal
    bytes.

    Raises:
        DataError: The name does not end in ``.jsonl``, ``.json`` or one of these with ``.gz``, or
            the folder does not exist.
    """
    path = Path(path)
    if suffix_of(path.name).removesuffix(".gz") not in {".jsonl", ".json"}:
        raise DataError(
            f"{path}: records are written as JSON Lines; end the name in .jsonl or .jsonl.gz"
        )
    if not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder; create it first")
    with opened_atomically(path, durable=True, mode=0o600) as file:
        if path.name.lower().endswith(".gz"):
            # Neither name nor time in the header: the bytes depend on the records alone.
            with gzip.GzipFile("", "wb", 6, fileobj=file, mtime=0) as packed:
                _write_lines(records, packed)
        else:
            _write_lines(records, file)


def _write_lines(records: Iterable[PreferenceRecord], file: IO[bytes] | gzip.GzipFile) -> None:
    for record in records:
        line = json.dumps(record_to_row(record), ensure_ascii=False, separators=(",", ":"))
        file.write(line.encode("utf-8") + b"\n")


def _rows(source: str | Path, split: str, *, join: bool) -> Iterator[Row]:
    if is_sample(source):
        for number, row in enumerate(read_sample(str(source)).rows(), start=1):
            yield f"{source}, row {number}", row
        return
    # One stream for all files: rows of one prompt may begin in one and end in the next.
    rows = (row for file in find_files(source, split=split) for row in read_rows(file))
    yield from joined(rows) if join else rows


def _name_of(source: str | Path) -> str:
    """Name a source for the rows that name no group."""
    if isinstance(source, str) and not Path(source).exists():
        return source
    name = Path(source).resolve().name
    return name[: len(name) - len(suffix_of(name))] or name


class _Collector:
    """Turns rows into records and holds them against each other."""

    def __init__(
        self, *, skip_invalid: bool, group: str | None, name: str, alone: bool = False
    ) -> None:
        self._alone = alone
        self.records: list[PreferenceRecord] = []
        self.skipped: list[str] = []
        self.left_out = Counter[str]()
        self._skip_invalid = skip_invalid
        self._group = group
        self._name = name
        self._first_place = ""
        self._questions: dict[str, Question] = {}
        self._question_places: dict[str, str] = {}
        self._survey_places: dict[tuple[str, str], str] = {}

    def add(self, where: str, content: dict[str, object] | InvalidRecordError) -> None:
        """Take a row in, or note or raise what is wrong with it."""
        if isinstance(content, InvalidRecordError):
            self._refuse(where, content)
            return
        adapter = adapter_for(content)
        if adapter is None:
            self._add_row(where, content, self._group)
            return
        try:
            for part, row in adapter(content):
                place = f"{where}, {part}" if part else where
                self._add_row(place, row, self._group or self._name)
        except LeftOut as left:
            self.left_out[left.reason] += 1
        except InvalidRecordError as error:
            self._refuse(where, error)

    def _add_row(self, where: str, row: Mapping[str, object], group: str | None) -> None:
        if group is not None and row.get("group") is None:
            row = {**row, "group": group}
        try:
            record = parse_record(row, known=self._questions)
            if self._alone:
                self._questions.setdefault(record.question.question_id, record.question)
            else:
                self._compare(where, record)
        except InvalidRecordError as error:
            self._refuse(where, error)
        else:
            self.records.append(record)

    def _compare(self, where: str, record: PreferenceRecord) -> None:
        """Hold a record against those before it."""
        self._check_kind(where, record)
        if not isinstance(record, PairRecord):
            self._check_question(where, record.question)
        if isinstance(record, SurveyRecord):
            self._check_once(where, record)

    def _refuse(self, where: str, error: InvalidRecordError) -> None:
        message = f"{where}: {error}"
        if not self._skip_invalid:
            raise DataError(message) from error
        self.skipped.append(message)

    def _check_kind(self, where: str, record: PreferenceRecord) -> None:
        if not self.records:
            self._first_place = where
        elif type(record) is not type(self.records[0]):
            # Not one bad row: two data sets, with different units of privacy, in one.
            kinds = [type(r).__name__.removesuffix("Record") for r in (record, self.records[0])]
            now, first = (kind.lower() for kind in kinds)
            places = f"{where}: a {now} record, but {self._first_place} is a {first} record"
            raise DataError(f"{places}; load each kind from its own source")

    def _check_question(self, where: str, question: Question) -> None:
        question_id = question.question_id
        first = self._questions.setdefault(question_id, question)
        if first is question:
            self._question_places.setdefault(question_id, where)
        elif not same_options(first.options, question.options):
            place = self._question_places[question_id]
            problem = f"differ from those of question_id {question_id[:100]!r} at {place}"
            remedy = "give every question an id of its own"
            raise InvalidRecordError("options", problem, remedy)

    def _check_once(self, where: str, record: SurveyRecord) -> None:
        key = (record.group, record.question.question_id)
        first = self._survey_places.setdefault(key, where)
        if first != where:
            problem = f"{key[1][:100]!r} of group {key[0]!r} stands already at {first}"
            raise InvalidRecordError("question_id", problem, "give one row per group and question")
