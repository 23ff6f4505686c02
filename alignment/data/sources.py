"""Rows of files, folders and hub datasets, read as a stream and never cached.

Text formats are read line by line from their bytes, so that a bad line is named exactly. Parquet,
Arrow and everything on a hub go through the ``datasets`` library. The library is asked which files
a dataset has, and nothing else: the reader of a file is chosen here, by its suffix, from a short
list. So no format that can run code (pickles foremost) is ever opened, whatever the library would
infer. ``datasets.load_dataset`` is not used: it reports every load, local ones too, to a remote
counter, and leaves lock files in the user's cache.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import logging
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from alignment.data.fields import InvalidRecordError
from alignment.data.published.columns import text_or_messages
from alignment.data.published.shapes import adapter_for

#: Where a row stands, and its fields or what is wrong with it.
Row: TypeAlias = tuple[str, dict[str, object] | InvalidRecordError]

#: A longer line is no record, and would fill the memory.
MAX_LINE_BYTES = 16 * 2**20

_FORMATS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".jsonl.gz": "jsonl",
    ".json.gz": "jsonl",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_READABLE = ".jsonl, .json, .csv (each also .gz), .parquet or .arrow"
_PICKLED = frozenset(
    {".pkl", ".pickle", ".p", ".pt", ".pth", ".bin", ".npy", ".npz", ".joblib", ".ckpt", ".dill"}
)
_DOCUMENTS = frozenset({"", ".md", ".txt", ".yaml", ".yml", ".toml"})
_LIBRARY_FILES = frozenset(
    {"state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
)
_HUB_ID = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(:(?P<config>[\w.-]+))?")


#: Cells of a CSV file that are no texts, and what they hold.
_CSV_LIST = 'a JSON list such as ["Yes", "No"]'
_CSV_FORMS = {"options": _CSV_LIST, "distribution": _CSV_LIST, "choice": "an integer"}
#: Columns that some kinds of records read as numbers, and others may have for something else.
_CSV_NUMBERS = frozenset({"choice", "respondents", "weight", "noise"})


class DataError(ValueError):
    """Data cannot be used. The text is one line: file, line, field, remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One file to read.

    Attributes:
        location: A local path, or a URL of the hub.
        shown: How messages name it.
        format: ``jsonl``, ``csv``, ``parquet`` or ``arrow``.
    """

    location: str
    shown: str
    format: str


def suffix_of(name: str) -> str:
    """Give the suffix of a file name in lower case, ``.gz`` with the one before it."""
    plain = name.lower()
    packed = ".gz" if plain.endswith(".gz") else ""
    return os.path.splitext(plain.removesuffix(".gz"))[1] + packed


def find_files(source: str | Path, *, split: str) -> tuple[DataFile, ...]:
    """List the files of a source.

    A folder gives its files in the order of their paths, those of ``split`` where files or
    folders are named by split (``train.jsonl``, ``test-00000-of-00002.parquet``, ``test/``); a
    file which names no split belongs to ``train``. A single file is read whatever ``split`` is.

    Args:
        source: A file, a folder, or (text only, where no such path exists) a hub dataset
            ``owner/name`` or ``owner/name:config``.
        split: Part of a folder or hub dataset to read.

    Raises:
        DataError: There is nothing to read, or something that must not be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder_files(path, str(source), split)
    if path.exists():
        return (_data_file(os.path.abspath(path), str(source)),)
    hub = _HUB_ID.fullmatch(source) if isinstance(source, str) else None
    if hub is None or suffix_of(str(source)) in _FORMATS.keys() | _PICKLED:
        raise DataError(
            f"{source}: no such file or folder; check the path, or give a hub dataset 'owner/name'"
        )
    return _hub_files(hub["repository"], hub["config"], split)


def read_rows(file: DataFile) -> Iterator[Row]:
    """Stream the rows of a file; a row that cannot be decoded comes as an ``InvalidRecordError``.

    Raises:
        DataError: The file as a whole cannot be read.
    """
    rows = iter(_READERS[file.format](file))
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except DataError:
            raise
        except EOFError as error:
            raise DataError(f"{file.shown}: ends too early; copy it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{file.shown}: not valid gzip; copy it again") from error
        except Exception as error:
            # Codecs, Arrow and the network raise whatever they like, at times with data inside.
            problem = f"cannot be read as {file.format} ({type(error).__name__})"
            raise DataError(f"{file.shown}: {problem}; check the file") from error
        yield row


def _data_file(location: str, shown: str) -> DataFile:
    suffix = suffix_of(location)
    if suffix.removesuffix(".gz") in _PICKLED:
        problem = f"{suffix} files may hold pickles, which run code when read"
        raise DataError(f"{shown}: refused, {problem}; convert it to .jsonl or .parquet")
    if suffix not in _FORMATS:
        problem = f"unknown suffix {suffix!r}" if suffix else "no suffix"
        raise DataError(f"{shown}: {problem}; give {_READABLE}")
    return DataFile(location=location, shown=shown, format=_FORMATS[suffix])


def _folder_files(folder: Path, shown: str, split: str) -> tuple[DataFile, ...]:
    files = []
    for place, folders, names in os.walk(folder, onerror=_stop_walking):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for name in names:
            if name.startswith(".") or name in _LIBRARY_FILES or suffix_of(name) in _DOCUMENTS:
                continue
            relative = Path(place, name).relative_to(folder).as_posix()
            location = os.path.abspath(os.path.join(place, name))
            files.append((relative, _data_file(location, f"{shown.rstrip('/')}/{relative}")))
    if not files:
        raise DataError(f"{shown}: the folder holds no data; put {_READABLE} files into it")
    splits = {"train", "validation", "test", split, *_saved_splits(folder, shown)}
    by_split: dict[str, list[DataFile]] = {}
    for relative, file in sorted(files, key=lambda pair: pair[0]):
        by_split.setdefault(_split_of(relative, splits), []).append(file)
    if split not in by_split:
        raise DataError(f"{shown}: has no split {split!r}; choose one of {sorted(by_split)}")
    return tuple(by_split[split])


def _stop_walking(error: OSError) -> None:
    problem = f"the folder cannot be read ({type(error).__name__})"
    raise DataError(f"{error.filename}: {problem}; check its permissions") from error


def _split_of(relative: str, splits: Iterable[str]) -> str:
    for part in relative.split("/"):
        stem = re.split(r"\.|-\d", part, maxsplit=1)[0]
        if stem in splits:
            return stem
    return "train"


def _saved_splits(folder: Path, shown: str) -> list[str]:
    """Names of the splits of a dataset that the library saved to disk."""
    try:
        index = json.loads((folder / "dataset_dict.json").read_bytes())
        return [str(split) for split in index["splits"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        problem = f"cannot be read ({type(error).__name__})"
        raise DataError(f"{shown}/dataset_dict.json: {problem}; save the data again") from error


def _hub_files(repository: str, config: str | None, split: str) -> tuple[DataFile, ...]:
    """Ask the hub which files a split has; builders and rules of the library end here."""
    import datasets

    try:
        with tempfile.TemporaryDirectory() as nowhere:
            builder = datasets.load_dataset_builder(repository, config, cache_dir=nowhere)
        by_split = dict(builder.config.data_files or {})
    except Exception as error:
        # Every release of the two hub libraries has its own errors for "not there".
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        remedy = "check the name, the network, and that it holds data files and no script"
        raise DataError(
            f"{repository}: no local path, nor a hub dataset ({reason}); {remedy}"
        ) from error
    if split not in by_split:
        splits = sorted(map(str, by_split))
        raise DataError(f"{repository}: has no split {split!r}; choose one of {splits}")
    return tuple(
        _data_file(str(url), f"{repository}/{re.split('@[^/]*/', str(url))[-1]}")
        for url in by_split[split]
    )


def _open_bytes(file: DataFile) -> IO[bytes]:
    if os.path.isabs(file.location):
        return open(file.location, "rb")
    # The library's own opener for streams: it signs in and reconnects. Its text mode would drop
    # the encoding asked for, so bytes it is.
    from datasets.utils.file_utils import xopen

    stream: IO[bytes] = xopen(file.location, "rb")
    return stream


def _lines(file: DataFile) -> Iterator[tuple[int, bytes]]:
    """Number the lines of a file from 1, decompressed, without a byte order mark."""
    with contextlib.ExitStack() as stack:
        stream: IO[bytes] | gzip.GzipFile = stack.enter_context(_open_bytes(file))
        packed = file.location.lower().endswith(".gz")
        if packed:
            stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                problem = f"the line is longer than {MAX_LINE_BYTES} bytes"
                raise DataError(f"{file.shown}:{number}: {problem}; write one record per line")
            if number == 1:
                if line.startswith(b"\x1f\x8b") and not packed:
                    raise DataError(f"{file.shown}: is compressed; end its name in .gz")
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield number, line


def _refuse_constant(name: str) -> None:
    raise InvalidRecordError("", f"{name} is no JSON", "give a finite number")


def _unique_fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRecordError("", "a field is given twice", "give every field once")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_fields, parse_constant=_refuse_constant)


def _json_row(line: bytes) -> dict[str, object] | InvalidRecordError:
    remedy = "write one JSON object per line"
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except InvalidRecordError as error:
        return error
    except UnicodeDecodeError:
        return InvalidRecordError("", "not valid UTF-8", "save the file as UTF-8")
    except json.JSONDecodeError as error:
        return InvalidRecordError("", f"not valid JSON at column {error.colno}", remedy)
    except (ValueError, RecursionError):
        return InvalidRecordError("", "a number too long or brackets too deep", remedy)
    if not isinstance(row, dict):
        return InvalidRecordError("", "not a JSON object", remedy)
    return row


def _jsonl_rows(file: DataFile) -> Iterator[Row]:
    for number, line in _lines(file):
        if line.strip():
            yield f"{file.shown}:{number}", _json_row(line)


def _csv_rows(file: DataFile) -> Iterator[Row]:
    def texts() -> Iterator[str]:
        for number, line in _lines(file):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = "not valid UTF-8; save the file as UTF-8"
                raise DataError(f"{file.shown}:{number}: {problem}") from error

    reader = csv.reader(texts(), strict=True)
    columns: list[str] = []
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not valid CSV ({error}); quote texts with commas, quotes or line breaks"
            raise DataError(f"{file.shown}:{start}: {problem}") from error
        where, start = f"{file.shown}:{start}", reader.line_num + 1
        if not cells:
            continue
        if columns:
            yield where, _csv_row(columns, cells)
        elif len({cell.strip() for cell in cells}) < len(cells):
            raise DataError(f"{where}: two columns have one name; rename one")
        else:
            columns = [cell.strip() for cell in cells]


def _csv_row(columns: list[str], cells: list[str]) -> dict[str, object] | InvalidRecordError:
    """Give the cells their types: text as it is ("NA" too), lists as JSON; empty means absent.

    Messages are a list in any column, for what is a text in one row is a conversation in another.
    """
    if len(cells) != len(columns):
        problem = f"{len(cells)} cells for {len(columns)} columns"
        return InvalidRecordError("", problem, "quote texts with commas or line breaks")
    row = {c: text_or_messages(cell) for c, cell in zip(columns, cells, strict=True) if cell}
    if adapter_for(columns) is not None:
        return row
    for field in [each for each in row if each in _CSV_FORMS or each in _CSV_NUMBERS]:
        try:
            value = _DECODER.decode(str(row[field]))
        except (ValueError, RecursionError):
            if (form := _CSV_FORMS.get(field)) is not None:
                return InvalidRecordError(field, "the cell is not valid JSON", f"write {form}")
            continue
        # A table with a gap in a column of integers is written with 3.0 for 3.
        whole = field in _CSV_NUMBERS and isinstance(value, float) and value.is_integer()
        row[field] = int(value) if whole else value
    return row


def _table_rows(file: DataFile) -> Iterator[Row]:
    """Rows of a Parquet or Arrow file, plain values only: no column is decoded or followed."""
    number = 0
    with tempfile.TemporaryDirectory() as nowhere, _quiet_library():
        for table in _stream_tables(file, nowhere):
            for fields in table.to_pylist():
                number += 1
                yield f"{file.shown}:row {number}", fields


def _stream_tables(file: DataFile, cache_dir: str) -> Iterable[Any]:
    # Builders by class, files by name: nothing is inferred, matched against patterns or looked up.
    from datasets.data_files import DataFilesDict, DataFilesList

    files = DataFilesDict({"train": DataFilesList([file.location], [("",)])})
    if file.format == "parquet":
        from datasets.packaged_modules.parquet.parquet import Parquet

        builder = Parquet(cache_dir=cache_dir, data_files=files, batch_size=1024)
    else:
        from datasets.packaged_modules.arrow.arrow import Arrow

        builder = Arrow(cache_dir=cache_dir, data_files=files)
    stream = builder.as_streaming_dataset(split="train").with_format("arrow")
    tables: Iterable[Any] = stream.iter(batch_size=1024)
    return tables


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Silence the library, which logs an error before it raises it."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


_READERS: dict[str, Callable[[DataFile], Iterable[Row]]] = {
    "jsonl": _jsonl_rows,
    "csv": _csv_rows,
    "parquet": _table_rows,
    "arrow": _table_rows,
}
