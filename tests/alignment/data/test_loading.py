"""Loading: every source gives the same records, and every defect one line that says where."""

import csv
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alignment.data.loading import load_records, write_records
from alignment.data.published import shapes
from alignment.data.published.shapes import PublishedShape
from alignment.data.records import (
    ChoiceRecord,
    PairRecord,
    PreferenceRecord,
    SurveyRecord,
    parse_record,
)
from alignment.data.sample_data import sample_rows, survey_rows
from alignment.data.sample_source import SampleSource, read_sample
from alignment.data.sources import DataError

ROOT = Path(__file__).parents[3]
OPTIONS = ["Yes", "No", "NA"]
SURVEY: dict[str, Any] = {
    "group": "north",
    "question_id": "tea",
    "question": "Is tea, with “milk”, nice?",
    "options": OPTIONS,
    "distribution": [0.5, 0.25, 0.25],
}
PAIR: dict[str, Any] = {
    "group": "north",
    "annotator": None,
    "prompt": "Say\nhello.",
    "chosen": "Good day!",
    "rejected": "None",
}


def choices(people: int = 3) -> list[dict[str, Any]]:
    asked = {field: SURVEY[field] for field in ("question_id", "question", "options")}
    return [
        {"group": "north", "respondent": f"00{i}", **asked, "choice": i % 3} for i in range(people)
    ]


def jsonl(path: Path, rows: list[Any], *, end: str = "\n") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write CSV: lists as JSON, None as an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            cells = {f: json.dumps(v) if isinstance(v, list) else v for f, v in row.items()}
            writer.writerow(cells)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def arrow(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow

    content = pyarrow.Table.from_pylist(rows)
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, content.schema) as w:
        w.write_table(content)
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    ".jsonl": jsonl,
    ".json": jsonl,
    ".jsonl.gz": jsonl,
    ".JSONL": jsonl,
    ".csv": table,
    ".csv.gz": table,
    ".parquet": parquet,
    ".arrow": arrow,
}


def error_of(source: str | Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_records(source, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("rows", [[SURVEY], choices(), [PAIR]], ids=["survey", "choice", "pair"])
def test_every_format_gives_the_same_records(
    tmp_path: Path, suffix: str, rows: list[dict[str, Any]]
) -> None:
    path = WRITERS[suffix](tmp_path / f"data {{[1]*?#}}{suffix}", rows)
    loaded = load_records(path)
    assert loaded.records == tuple(map(parse_record, rows))
    assert (loaded.skipped, loaded.source) == ((), str(path))


def test_records_of_a_question_share_it_and_print_nothing(tmp_path: Path) -> None:
    loaded = load_records(jsonl(tmp_path / "a.jsonl", choices(5)))
    assert len({id(record.question) for record in loaded.records}) == 1
    assert "tea" not in repr(loaded)


def test_json_lines_may_hold_blank_lines_a_byte_order_mark_and_foreign_line_ends(
    tmp_path: Path,
) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["", *choices(2), "   ", choices(3)[2]], end="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_records(path).records) == 3


GOOD = json.dumps(SURVEY, ensure_ascii=False)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            json.dumps({**SURVEY, "distribution": [0.7, 0.7, 0]}),
            "field 'distribution': sums to 1.4, not 1; give one probability per option",
        ),
        ('{"group": "north"', "not valid JSON at column"),
        ("[1, 2]", "not a JSON object; write one JSON object per line"),
        ('{"group": "a", "group": "b"}', "a field is given twice"),
        (GOOD.replace("0.5", "NaN"), "NaN is no JSON"),
        (GOOD.replace("0.5", "-Infinity"), "-Infinity is no JSON"),
        (GOOD.replace("0.5", "1e999"), "field 'distribution': entry 0"),
        (GOOD.replace("0.5", "9" * 5000), "a number too long"),
        ("[" * 100_000, "brackets too deep"),
        (GOOD.replace("“", "\udc93"), "not valid UTF-8"),
    ],
)
def test_a_bad_line_is_named_or_skipped(tmp_path: Path, line: str, problem: str) -> None:
    lines = [GOOD, "", line, GOOD.replace("north", "south")]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8", "surrogateescape")))
    message = error_of(path)
    assert message.startswith(f"{path}:3: ") and problem in message
    loaded = load_records(path, skip_invalid=True)
    assert [record.group for record in loaded.records] == ["north", "south"]
    assert loaded.skipped == (message,)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary() | st.text('{}[]",:0123456789.eE-\\unltrfasgop \n').map(str.encode))
def test_any_bytes_give_records_or_one_line(tmp_path: Path, data: bytes) -> None:
    for name in ("a.jsonl", "a.csv", "a.jsonl.gz", "a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(data)
        assert name in error_of(tmp_path / name)


def test_nothing_valid_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{**SURVEY, "options": ["Yes"]}])
    message = error_of(path, skip_invalid=True)
    assert "no valid record" in message and f"{path}:1: field 'options'" in message


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", b"", "no records"),
        ("a.jsonl.gz", gzip.compress(b"\n\n", mtime=0), "no records"),
        ("a.csv", b"group,question\n", "no records"),
        ("a.jsonl.gz", gzip.compress(b"\n" * 9999, mtime=0)[:-9], "ends too early; copy it again"),
        ("a.jsonl.gz", GOOD.encode(), "not valid gzip; copy it again"),
        ("a.jsonl", gzip.compress(GOOD.encode(), mtime=0), "is compressed; end its name in .gz"),
        ("a.csv", b"group,group\na,b\n", "a.csv:1: two columns have one name"),
        ("a.csv", b'group,question\na,"b\n', "a.csv:2: not valid CSV"),
        ("a.csv", b"group,question\na,\xff\n", "a.csv:2: not valid UTF-8"),
        ("a.csv", b"group,question\na,b,c\n", "a.csv:2: 3 cells for 2 columns"),
        ("a.csv", b"group,choice\na,one\n", "a.csv:2: field 'choice': the cell is not valid JSON"),
        ("a.csv", b"group,options\na,Yes|No\n", "a.csv:2: field 'options': the cell is not"),
        ("a.parquet", b"not parquet", "cannot be read as parquet (ArrowInvalid)"),
        ("a.arrow", b"not arrow", "cannot be read as arrow (ArrowInvalid)"),
        ("a.xlsx", b"", "unknown suffix '.xlsx'; give .jsonl"),
        ("a", b"", "no suffix; give .jsonl"),
    ],
)
def test_an_unusable_file_is_one_line(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = error_of(path)
    assert message.startswith(str(path)) and problem in message


@pytest.mark.parametrize("source", ["/nowhere/a.jsonl", "nowhere/a.jsonl", "a.csv", "./x", "x"])
def test_a_missing_path_is_one_line_and_no_question_to_a_hub(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignment.data.sources._hub_files", None)
    assert error_of(source).startswith(f"{source}: no such file or folder; check the path")


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alignment.data.sources.MAX_LINE_BYTES", 1000)
    path = jsonl(tmp_path / "a.jsonl.gz", [SURVEY, "x" * 100_000])
    assert f"{path}:2: the line is longer than 1000 bytes" in error_of(path, skip_invalid=True)


def test_numbers_of_csv_are_those_of_json(tmp_path: Path) -> None:
    asked = "group,question_id,question,options,"
    shares = tmp_path / "shares.csv"
    shares.write_text(
        f"{asked}distribution,respondents,noise\n"
        'A,q,Q?,"[""a"",""b""]","[0.5,0.5]",9.0,0.25\n'
        'B,q,Q?,"[""a"",""b""]","[0.5,0.5]",,\n'
    )
    first, second = load_records(shares).records
    assert isinstance(first, SurveyRecord) and isinstance(second, SurveyRecord)
    assert (first.respondents, first.noise) == (9, 0.25)
    assert (second.respondents, second.noise) == (None, 0)
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(f'{asked}respondent,choice,weight\nA,q,Q?,"[""a"",""b""]",p1,1.0,2.5\n')
    (record,) = load_records(chosen).records
    assert isinstance(record, ChoiceRecord) and (record.choice, record.weight) == (1, 2.5)
    chosen.write_text(f'{asked}respondent,choice\nA,q,Q?,"[""a"",""b""]",p1,0.5\n')
    with pytest.raises(DataError, match="'choice': is a number, not an integer"):
        load_records(chosen)
    # Where it is no number of a record, a column may say what it likes.
    compared = tmp_path / "pairs.csv"
    compared.write_text("group,prompt,chosen,rejected,weight,noise\nA,p,c,r,heavy,[\n")
    assert isinstance(load_records(compared).records[0], PairRecord)
    chosen.write_text(f'{asked}respondent,choice,weight\nA,q,Q?,"[""a"",""b""]",p1,1,heavy\n')
    with pytest.raises(DataError, match="'weight': is a text, not a number"):
        load_records(chosen)


def test_csv_keeps_texts_and_names_the_line_where_a_row_starts(tmp_path: Path) -> None:
    rows = [*choices(2), {**choices(1)[0], "respondent": "007", "choice": 9}]
    for row in rows:
        row["question"] = "Two\nlines"
    path = table(tmp_path / "a.csv", rows)
    assert f"{path}:6: field 'choice': is 9, outside 0 to 2" in error_of(path)
    loaded = load_records(path, skip_invalid=True)
    assert [record.unit for record in loaded.records] == ["000", "001"]
    assert loaded.records[0].question.options[2] == "NA"


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [*choices(2), {**choices(1)[0], "choice": 3}])
    assert error_of(path).startswith(f"{path}:row 3: field 'choice'")


def test_an_empty_parquet_file_holds_no_records(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"group": pyarrow.array([], pyarrow.string())}), path)
    assert "no records" in error_of(path)


def test_parquet_metadata_cannot_make_the_library_open_files(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{**row, "photo": {"bytes": None, "path": "/nowhere/photo.png"}} for row in choices()]
    features: dict[str, Any] = {
        field: {"dtype": "string", "_type": "Value"}
        for field in ("group", "respondent", "question_id", "question")
    }
    features["options"] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
    features["choice"] = {"dtype": "int64", "_type": "Value"}
    features["photo"] = {"_type": "Image"}
    content = pyarrow.Table.from_pylist(rows)
    photo = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    content = content.set_column(6, "photo", content["photo"].cast(photo))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(content.replace_schema_metadata(metadata), path)
    assert len(load_records(path).records) == 3


def test_a_question_id_stands_for_one_list_of_options(tmp_path: Path) -> None:
    first, second, third = choices()
    rows = [first, {**second, "question": "Coffee?"}, {**third, "options": ["No", "Yes", "NA"]}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    loaded = load_records(path, skip_invalid=True)
    # Another wording is kept as it is, other options would misalign the answers.
    assert [r.question.text for r in loaded.records] == [first["question"], "Coffee?"]
    (message,) = loaded.skipped
    assert message.startswith(f"{path}:3: field 'options': differ from those of question_id 'tea'")
    assert f"at {path}:1" in message


def test_an_invalid_row_does_not_define_a_question(tmp_path: Path) -> None:
    first, second = choices(2)
    path = jsonl(tmp_path / "a.jsonl", [{**first, "choice": 7, "question": "Wrong?"}, second])
    assert load_records(path, skip_invalid=True).records == (parse_record(second),)


def test_a_survey_answers_once_per_group_across_files(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [SURVEY])
    jsonl(tmp_path / "b.jsonl", [{**SURVEY, "group": "south"}, SURVEY])
    message = error_of(tmp_path)
    assert message.startswith(f"{tmp_path}/b.jsonl:2: field 'question_id'")
    assert f"stands already at {tmp_path}/a.jsonl:1" in message


def test_kinds_do_not_mix_even_when_skipping(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"bad": 1}, SURVEY, choices(1)[0]])
    message = error_of(path, skip_invalid=True)
    assert message.startswith(f"{path}:3: a choice record, but {path}:2 is a survey record")


def test_a_group_can_be_given_for_rows_without_one(tmp_path: Path) -> None:
    row = choices(1)[0]
    unnamed = {**choices(2)[1], "group": None}
    path = jsonl(tmp_path / "a.jsonl", [row, unnamed])
    assert [r.group for r in load_records(path, group="south").records] == ["north", "south"]
    assert f"{path}:2: field 'group': is missing" in error_of(path)


# Folders and hubs


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    rows = choices()
    parquet(tmp_path / "deep" / "b.parquet", rows[1:2])
    jsonl(tmp_path / "a.jsonl", rows[:1])
    table(tmp_path / "z.csv", rows[2:])
    (tmp_path / "README.md").write_text("About.")
    (tmp_path / ".hidden.jsonl").write_text("not data")
    assert [r.unit for r in load_records(tmp_path).records] == ["000", "001", "002"]


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl.gz"),
        ("people.jsonl", "test.jsonl"),
        ("train-00000-of-00001.jsonl", "test-00000-of-00001.jsonl"),
        ("deep/train.jsonl", "deep/test.jsonl"),
        ("train/a.jsonl", "test/a.jsonl"),
    ],
)
def test_a_folder_gives_one_split(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, row in zip(names, choices(2), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        jsonl(tmp_path / name, [row])
    assert [r.unit for r in load_records(tmp_path).records] == ["000"]
    assert [r.unit for r in load_records(tmp_path, split="test").records] == ["001"]
    message = error_of(tmp_path, split="validation")
    assert "no split 'validation'; choose one of ['test', 'train']" in message


def test_a_folder_saved_by_the_library_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    rows = choices()
    saved = datasets.Dataset.from_list(rows)
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    parts = {"people": saved.select([0]), "others": saved.select([1, 2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "many")
    assert load_records(tmp_path / "one").records == tuple(map(parse_record, rows))
    assert len(load_records(tmp_path / "many", split="others").records) == 2
    assert "choose one of ['others', 'people']" in error_of(tmp_path / "many")
    (tmp_path / "many" / "dataset_dict.json").write_text("[")
    assert "dataset_dict.json: cannot be read" in error_of(tmp_path / "many")


def test_a_folder_without_data_or_with_foreign_files_is_one_line(tmp_path: Path) -> None:
    assert "the folder holds no data; put .jsonl" in error_of(tmp_path)
    jsonl(tmp_path / "a.jsonl", choices())
    (tmp_path / "b.xlsx").write_bytes(b"")
    assert f"{tmp_path}/b.xlsx: unknown suffix" in error_of(tmp_path)


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[bytes]:
    marker = tmp_path / "marker"
    data = pickle.dumps(Bomb(marker))
    pickle.loads(data)  # noqa: S301 it must be able to go off
    assert marker.exists()
    marker.unlink()
    yield data
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt", ".bin", ".npy", ".pkl.gz", ".PKL"])
def test_pickles_are_refused_by_name(tmp_path: Path, bomb: bytes, suffix: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / f"a{suffix}"
    path.write_bytes(gzip.compress(bomb) if suffix.endswith(".gz") else bomb)
    for source in (path, folder):
        assert "may hold pickles, which run code when read; convert it" in error_of(source)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_pickle_under_another_name_is_not_unpickled(
    tmp_path: Path, bomb: bytes, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bomb)
    assert str(path) in error_of(path, skip_invalid=True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the repository ``owner/name``: same rules, no network."""
    import datasets

    folder = tmp_path / "hub"
    folder.mkdir()
    resolve = datasets.load_dataset_builder

    def fake(path: str, name: str | None, *, cache_dir: str) -> Any:
        assert path == "owner/name"
        return resolve(str(folder), name, cache_dir=cache_dir)

    monkeypatch.setattr(datasets, "load_dataset_builder", fake)
    return folder


def test_a_hub_dataset_is_read_by_split(hub: Path) -> None:
    train, test = choices(2)
    jsonl(hub / "train.jsonl.gz", [train])
    jsonl(hub / "test.jsonl.gz", [test])
    loaded = load_records("owner/name")
    assert ([r.unit for r in loaded.records], loaded.source) == (["000"], "owner/name")
    assert [r.unit for r in load_records("owner/name", split="test").records] == ["001"]
    message = error_of("owner/name", split="other")
    assert message == "owner/name: has no split 'other'; choose one of ['test', 'train']"


def test_a_hub_dataset_is_read_by_config(hub: Path) -> None:
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in "ab")
    (hub / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for name, row in zip(("a.csv", "b.csv"), choices(2), strict=True):
        table(hub / name, [row])
    assert [r.unit for r in load_records("owner/name:b").records] == ["001"]
    assert "Config name is missing" in error_of("owner/name")


def test_a_pickle_on_a_hub_is_never_read(hub: Path, bomb: bytes) -> None:
    (hub / "data.pkl").write_bytes(bomb)
    assert "owner/name" in error_of("owner/name")
    (hub / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: data.pkl\n---\n")
    assert "owner/name" in error_of("owner/name")
    (hub / "README.md").unlink()
    jsonl(hub / "data.jsonl", choices())
    assert len(load_records("owner/name").records) == 3


def test_a_builder_that_unpickles_is_not_run(
    bomb: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the library would choose, only the names of the files count."""
    import datasets

    (tmp_path / "a.pkl").write_bytes(bomb)

    class Builder:
        config = SimpleNamespace(data_files={"train": [str(tmp_path / "a.pkl")]})

        def as_streaming_dataset(self, split: str) -> Any:
            return pickle.loads(bomb)  # noqa: S301 - the careless reader

    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder())
    assert "may hold pickles" in error_of("owner/name")


def test_a_loading_script_is_not_run(hub: Path, tmp_path: Path) -> None:
    (hub / "hub.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    assert "scripts are no longer supported" in error_of("owner/name")
    assert not (tmp_path / "marker").exists()


def test_nothing_is_cached_printed_or_sent(tmp_path: Path) -> None:
    """In a process of its own: the library fixes its folders when it is imported."""
    data, home = tmp_path / "data", tmp_path / "home"
    data.mkdir()
    (home / "tmp").mkdir(parents=True)
    private = "a-confidential-respondent"
    rows = [{**row, "respondent": f"{private}-{i}"} for i, row in enumerate(choices())]
    paths = [WRITERS[suffix](data / f"a{suffix}", rows) for suffix in WRITERS]
    bad = data / "bad.parquet"
    bad.write_text("not parquet")
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('called')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from alignment.data.loading import load_records\n"
        "for path in sys.argv[2:]: print(len(load_records(path).records))\n"
        "try: load_records(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home / "tmp")}
    environment |= {"HF_HOME": str(home / "hf"), "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(bad), *map(str, paths)],
        cwd=home, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    *counts, message = done.stdout.splitlines()
    assert counts == ["3"] * len(paths) and "bad.parquet: cannot be read" in message
    assert [file for file in home.rglob("*") if file.is_file()] == []


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    message = error_of("owner/name")
    assert "(ConnectionError: Couldn't reach the hub); check the name, the network" in message


# Published shapes

OPINIONS = [
    {
        "question": "Is rain nice?",
        "selections": "defaultdict(<class 'list'>, {'North (a)': [0.4, 0.61], 'South': [1, 0]})",
        "options": "['Yes', \"Don't know\"]",
        "source": "A",
    },
    {
        "question": "Is rain nice?",
        "selections": "{'South': [0.5, 0.5], 'East': [0.0, 0.0], 'West': [0.5, 0.5]}",
        "options": "['Yes', \"Don't know\"]",
        "source": "B",
    },
    {
        "question": "How nice?",
        "selections": "defaultdict(<class 'list'>, {'North (a)': [0.2, 0.3, 0.5]})",
        "options": "['Not at all', 2, 'Very']",
        "source": "B",
    },
]
TALK = "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Tea?\n\nAssistant:"
TRANSCRIPTS = [{"chosen": TALK + " Gladly.", "rejected": TALK + " Go\n\nHuman: No."}]


@pytest.mark.parametrize("suffix", WRITERS)
def test_published_opinions_become_a_survey_per_country(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"a{suffix}", OPINIONS)
    loaded = load_records(path, skip_invalid=True)
    assert all(isinstance(record, SurveyRecord) for record in loaded.records)
    groups = [record.group for record in loaded.records]
    assert groups == ["North (a)", "South", "West", "North (a)"]
    ids = [record.question.question_id for record in loaded.records]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert re.fullmatch("goqa-[0-9a-f]{12}", ids[0])
    assert loaded.records[0].target == pytest.approx((0.4 / 1.01, 0.61 / 1.01))
    assert loaded.records[0].question.options == ("Yes", "Don't know")
    assert loaded.records[3].question.options == ("Not at all", "2", "Very")
    again, zero = loaded.skipped
    assert ", country 'South': field 'question_id'" in again and "stands already at" in again
    assert again.endswith("give one row per group and question")
    assert ", country 'East': field 'distribution': sums to 0, not 1" in zero


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"selections": "__import__('os').abort()"}, "'selections': is no printed list"),
        ({"selections": "defaultdict(<class 'list'>, {'A': [abort()]})"}, "is no printed"),
        ({"selections": "[" * 5000}, "'selections': is no printed list"),
        ({"selections": "-" * 50_000 + "1"}, "'selections': is no printed list"),
        ({"selections": "{[]: 1}"}, "'selections': is no printed list"),
        ({"selections": "{'A': 1}"}, "'selections': is not a dictionary from texts to lists"),
        ({"selections": "{1: [1]}"}, "'selections': is not a dictionary from texts to lists"),
        ({"selections": "{}"}, "'selections': is not a dictionary with entries"),
        ({"selections": "1" * 300_000}, "'selections': has 300000 characters, more than 200000"),
        ({"selections": None}, "'selections': is missing"),
        ({"options": "['Yes', True]"}, "'options': is not a list of texts"),
        ({"options": "['Yes', 'Yes']"}, "country 'North (a)': field 'options'"),
        ({"options": None}, "'options': is not a list of texts"),
        ({"question": None}, "'question': is missing"),
    ],
)
def test_a_bad_opinion_is_one_line(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{**OPINIONS[0], **change}])
    message = error_of(path)
    assert message.startswith(f"{path}:1") and problem in message


def test_a_backslash_in_a_literal_is_data(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{**OPINIONS[0], "options": r"['\d', 'No']"}])
    filters = list(warnings.filters)
    assert load_records(path).records[0].question.options == ("\\d", "No")
    assert warnings.filters == filters


@pytest.mark.parametrize("suffix", WRITERS)
def test_published_transcripts_become_pairs(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"tea{suffix}", TRANSCRIPTS)
    (record,) = load_records(path).records
    assert record == PairRecord(
        group="tea",
        annotator=None,
        prompt=TALK,
        chosen=" Gladly.",
        rejected=" Go\n\nHuman: No.",
    )
    assert load_records(path, group="north").records[0].group == "north"


def test_transcripts_of_a_hub_dataset_carry_its_name(hub: Path) -> None:
    jsonl(hub / "train.jsonl", TRANSCRIPTS)
    assert load_records("owner/name").records[0].group == "owner/name"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rejected": "\n\nHuman: Ho.\n\nAssistant: No."}, "'rejected': shares no prompt"),
        ({"rejected": TALK + " Gladly."}, "'rejected': is the same text as chosen"),
        ({"rejected": TALK}, "'rejected': is empty"),
        ({"rejected": None}, "'rejected': is missing"),
        ({"chosen": 3}, "'chosen': is missing or not a text"),
    ],
)
def test_a_bad_transcript_is_one_line(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{**TRANSCRIPTS[0], **change}])
    message = error_of(path)
    assert message.startswith(f"{path}:1: field ") and problem in message


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_published_shape_is_read_once_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def versus(row: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
        pair = {"chosen": row["winner"], "rejected": row["loser"]}
        yield "", {"group": "arena", "prompt": row["prompt"], **pair}

    path = WRITERS[suffix](
        tmp_path / f"a{suffix}", [{"prompt": "Tea?", "winner": "[yes]", "loser": "no"}]
    )
    assert "no answer" in error_of(path)
    shape = PublishedShape(
        dataset="owner/arena", present=frozenset({"winner"}), absent=frozenset(), adapter=versus
    )
    monkeypatch.setattr(shapes, "SHAPES", (*shapes.SHAPES, shape))
    monkeypatch.setattr(shapes, "_adapter_for", shapes._adapter_for.__wrapped__)
    (record,) = load_records(path).records
    assert record == PairRecord(
        group="arena", annotator=None, prompt="Tea?", chosen="[yes]", rejected="no"
    )


# Sample data and writing


def test_the_sample_data_load() -> None:
    loaded = load_records("sample")
    assert isinstance(loaded.records[0], ChoiceRecord) and loaded.skipped == ()
    assert len({record.group for record in loaded.records}) > 2


def test_sample_data_take_parameters() -> None:
    loaded = load_records("sample:groups=14, respondents=2,severity=2,seed=3,kind=survey")
    rows = survey_rows(sample_rows(seed=3, groups=14, respondents=2, severity=2.0))
    assert loaded.records == tuple(map(parse_record, rows))
    assert read_sample("sample:groups=12,severity=0.50,respondents=3") == SampleSource(
        severity=0.5, respondents=3
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sample:", "sample:: '' must be name=value, as in sample:groups=48,severity=2"),
        ("sample:groups", "sample:groups: 'groups' must be name=value"),
        ("sample:=3", "'=3' must be name=value"),
        ("sample:group=3", "unknown parameter 'group': did you mean 'groups'?"),
        ("sample:colour=3", "unknown parameter 'colour': known are groups, respondents, severity"),
        ("sample:groups=3,groups=4", "'groups' is given twice"),
        ("sample:groups=many", "sample:groups=many: groups = 'many' must be a whole number"),
        ("sample:severity=high", "severity = 'high' must be a number"),
        ("sample:groups=5000", "groups is 5000, must be between 1 and 4096"),
        ("sample:severity=nan", "severity is nan, must be between 0 and 10"),
        ("sample:kind=pair", "kind is 'pair', must be 'choice' or 'survey'"),
    ],
)
def test_a_bad_parameter_of_sample_data_is_one_line(source: str, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load_records(source)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (SampleSource(), "sample"),
        (SampleSource(severity=0.1 + 0.2, groups=48), "sample:groups=48,severity=0.3"),
        (SampleSource(kind="survey", seed=2), "sample:seed=2,kind=survey"),
    ],
)
def test_sample_data_are_named_by_what_is_unusual(made: SampleSource, text: str) -> None:
    assert str(made) == text
    assert str(read_sample(text)) == text


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
def test_written_records_load_again(tmp_path: Path, name: str) -> None:
    records = tuple(map(parse_record, choices()))
    path = tmp_path / name
    write_records(records, path)
    assert load_records(path).records == records
    assert path.stat().st_mode & 0o077 == 0
    first = path.read_bytes()
    assert first.startswith(b"\x1f\x8b") == name.endswith(".gz")
    write_records(records, tmp_path / f"other{path.suffix}" if path.suffix != ".gz" else path)
    assert path.read_bytes() == first


def test_compressed_bytes_carry_neither_time_nor_name(tmp_path: Path) -> None:
    write_records([parse_record(SURVEY)], tmp_path / "a.jsonl.gz")
    header = (tmp_path / "a.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0 and header[4:8] == bytes(4)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [SURVEY])

    def failing() -> Iterator[PreferenceRecord]:
        yield from load_records(path).records
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_records(failing(), path)
    assert load_records(path).records == (parse_record(SURVEY),)
    assert list(tmp_path.iterdir()) == [path]


def test_records_are_written_only_where_they_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are written as JSON Lines; end the name"):
        write_records([], tmp_path / "a.csv")
    with pytest.raises(DataError, match="no such folder; create it first"):
        write_records([], tmp_path / "no" / "a.jsonl")
