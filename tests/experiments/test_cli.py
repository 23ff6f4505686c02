"""The ``fedaccord`` command as its users meet it: what it prints, refuses and leaves behind."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from alignment.data.loading import load_records

Command = Callable[..., Any]
WriteRows = Callable[..., Path]

ONE_ROUND = (
    *("--set", "federation.warmup_rounds=0"),
    *("--set", "federation.adapter_rounds=1"),
    *("--set", "federation.evaluate_every=0"),
)


def one_line(outcome: Any) -> str:
    """The only line of an error, which is no traceback and follows nothing on stdout."""
    assert outcome.out == ""
    lines: list[str] = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    return lines[0]


class TestHelp:
    @pytest.mark.parametrize("name", ["demo", "simulate", "sample", "predict"])
    def test_every_command_has_an_example_and_explains_its_options(
        self, command: Command, name: str
    ) -> None:
        outcome = command(name, "--help")
        assert outcome.code == 0
        text = " ".join(outcome.out.split())
        assert f"Example: fedaccord {name} --" in text
        assert "--out" in text or "--model" in text

    def test_the_front_door_lists_the_commands(self, command: Command) -> None:
        outcome = command("--help")
        assert outcome.code == 0
        for name in ("demo", "simulate", "sample", "predict"):
            assert re.search(rf"^\W*{name}\s+\w+", outcome.out, re.MULTILINE), name
        assert "Start with: fedaccord demo" in outcome.out

    @pytest.mark.parametrize(
        "arguments",
        [("nonsense",), ("simulate",), ("sample", "--out", "x.jsonl", "--groups", "many")],
        ids=str,
    )
    def test_wrong_usage_exits_with_2(self, command: Command, arguments: Sequence[str]) -> None:
        outcome = command(*arguments)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err


class TestSimulate:
    def test_a_whole_run_through_the_real_command(
        self, shell: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        outcome = shell(
            "simulate", "--data", tiny_data, "--out", "out", "--track", "tensorboard", *as_options
        )
        assert (outcome.code, "Traceback" in outcome.err) == (0, False)
        out = tmp_path / "out"
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
        assert result["rounds"] == 4
        assert len((out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()) == 5
        assert list((out / "tensorboard").glob("events.out.tfevents.*"))
        assert "Groups never seen in training" in outcome.out
        for group, score in result["alignment"]["unseen_groups"]["groups"].items():
            assert re.search(rf"{group}\W+{score:.3f}", outcome.out)
        assert "No privacy is guaranteed" in outcome.out
        assert "out/report.html" in outcome.out
        # Progress goes to stderr, and nothing of other libraries with it.
        lines = outcome.err.splitlines()
        assert [line[:9] for line in lines[:3]] == ["round 0/4", "round 2/4", "round 4/4"]
        assert len(lines) <= 4

    def test_json_is_the_result_and_nothing_else(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        out = tmp_path / "out"
        outcome = command(
            *("simulate", "--data", tiny_data, "--out", out, "--json", *as_options, *ONE_ROUND)
        )
        assert outcome.code == 0
        assert json.loads(outcome.out) == json.loads((out / "result.json").read_text("utf-8"))

    def test_options_win_over_the_file_and_assignments_over_options(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        file = tmp_path / "run.toml"
        file.write_text(
            'data = "nowhere.jsonl"\nseed = 3\nout = "elsewhere"\n[context]\nstrength = 2.0\n',
            encoding="utf-8",
        )
        outcome = command(
            *("simulate", "--config", file, "--data", tiny_data, "--out", tmp_path / "out"),
            *(*as_options, *ONE_ROUND, "--set", "context.strength=3", "--json"),
        )
        assert outcome.code == 0
        config = json.loads(outcome.out)["config"]
        assert (config["data"], config["seed"]) == (str(tiny_data), 3)
        assert config["out"] == str(tmp_path / "out")
        assert config["context"]["strength"] == 3.0

    def test_a_finished_run_needs_overwrite(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        out = tmp_path / "out"
        words = ("simulate", "--data", tiny_data, "--out", out, *as_options, *ONE_ROUND)
        assert command(*words).code == 0
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        refused = command(*words)
        assert refused.code == 2
        assert one_line(refused).endswith("choose another or --overwrite")
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
        assert command(*words, "--overwrite").code == 0

    @pytest.mark.parametrize(
        ("assignment", "said"),
        [
            ("training.batchsize=3", "did you mean 'training.batch_size'?"),
            ("training.batch_size=none", "'training.batch_size'"),
            ("training.batch_size", "write key=value"),
            ("predictor.max_tokens=3", "max_tokens = 3 must be >= 16"),
            ("privacy.mode=secret", "'privacy.mode'"),
        ],
    )
    def test_a_bad_setting_is_one_line(
        self, command: Command, tmp_path: Path, assignment: str, said: str
    ) -> None:
        outcome = command("simulate", "--out", tmp_path / "out", "--set", assignment)
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["none.jsonl", "none.pkl", "none"])
    def test_data_that_do_not_exist_are_one_line(
        self, command: Command, tmp_path: Path, name: str
    ) -> None:
        outcome = command("simulate", "--data", tmp_path / name, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert str(tmp_path / name) in one_line(outcome)

    def test_invalid_rows_left_out_are_counted_in_what_is_shown(
        self,
        command: Command,
        tmp_path: Path,
        tiny_rows: tuple[dict[str, Any], ...],
        write_rows: WriteRows,
        as_options: Sequence[str],
    ) -> None:
        broken = [{**tiny_rows[0], "choice": "yes"}] * 3
        data = write_rows(tmp_path / "data.jsonl", [*tiny_rows, *broken])
        words = ("simulate", "--data", data, "--out", tmp_path / "out", *as_options, *ONE_ROUND)
        assert command(*words).code == 2
        outcome = command(*words, "--skip-invalid")
        assert outcome.code == 0
        assert "3 invalid rows were left out." in outcome.out

    def test_a_run_that_fails_exits_with_1_and_a_remedy(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        wild = ("--set", "training.learning_rate=1e30", "--set", "training.local_epochs=4")
        outcome = command(
            "simulate", "--data", tiny_data, "--out", tmp_path / "out", *as_options, *wild
        )
        assert outcome.code == 1
        last = outcome.err.splitlines()[-1]
        assert last.startswith("error: SimulationError: a client failed: ValueError: training div")
        assert "lower training.learning_rate" in last
        assert "fedaccord --debug" in last
        assert "Traceback" not in outcome.err

    @pytest.mark.parametrize("bracket", ["[red]", "[/red]"])
    def test_names_of_groups_are_shown_as_they_are(
        self,
        command: Command,
        tmp_path: Path,
        tiny_rows: tuple[dict[str, Any], ...],
        write_rows: WriteRows,
        as_options: Sequence[str],
        bracket: str,
    ) -> None:
        rows = [{**row, "group": f"{row['group']} {bracket}"} for row in tiny_rows]
        data = write_rows(tmp_path / "data.jsonl", rows)
        outcome = command(
            "simulate", "--data", data, "--out", tmp_path / "out", *as_options, *ONE_ROUND
        )
        assert outcome.code == 0
        assert len(re.findall(rf"Group \d {re.escape(bracket)}", outcome.out)) == 2


SURVEY: Mapping[str, object] = {
    "group": "A",
    "question_id": "q1",
    "question": "do you like tea ?",
    "options": ["yes", "no"],
    "distribution": [0.5, 0.5],
}
CHOICE: Mapping[str, object] = {
    "group": "A",
    "respondent": "r1",
    "question_id": "q1",
    "question": "do you like tea ?",
    "options": ["yes", "no"],
    "choice": 1,
}
PAIR: Mapping[str, object] = {
    "group": "A",
    "annotator": "a1",
    "prompt": "tea ?",
    "chosen": "yes .",
    "rejected": "no .",
}


class TestBrokenRecords:
    """What a new user's first file gets wrong: the line says where, what, and what to do."""

    @pytest.mark.parametrize(
        ("good", "changes", "field", "remedy"),
        [
            (SURVEY, {"distribution": [0.5, 0.6]}, "distribution", "one probability per option"),
            (SURVEY, {"distribution": [1.0]}, "distribution", "one probability per option"),
            (SURVEY, {"distribution": "50/50"}, "distribution", "one probability per option"),
            (SURVEY, {"distribution": [-0.5, 1.5]}, "distribution", "one probability per option"),
            (SURVEY, {"options": ["yes"]}, "options", "give a list of 2 to"),
            (SURVEY, {"options": ["yes", "yes"]}, "options", "different texts"),
            (SURVEY, {"question": None}, "question", "give a text"),
            (SURVEY, {"group": 7}, "group", "give a text"),
            (CHOICE, {"choice": 2}, "choice", "give the index of an option"),
            (CHOICE, {"choice": "no"}, "choice", "give the index of an option"),
            (CHOICE, {"choice": True}, "choice", "give the index of an option"),
            (CHOICE, {"respondent": None}, "respondent", "give a text"),
            (CHOICE, {"question_id": ""}, "question_id", "give a text"),
            (CHOICE, {"options": "yes,no"}, "options", "give a list of 2 to"),
            (PAIR, {"rejected": "yes ."}, "rejected", "leave out pairs without a preference"),
            (PAIR, {"rejected": None}, "rejected", "give a text"),
            (PAIR, {"prompt": ""}, "prompt", "give a text"),
        ],
    )
    def test_a_broken_field_is_one_line_with_file_line_field_and_remedy(
        self,
        command: Command,
        tmp_path: Path,
        write_rows: WriteRows,
        good: Mapping[str, object],
        changes: Mapping[str, object],
        field: str,
        remedy: str,
    ) -> None:
        data = write_rows(tmp_path / "data.jsonl", [good, {**good, **changes}])
        outcome = command("simulate", "--data", data, "--out", tmp_path / "out")
        assert outcome.code == 2
        line = one_line(outcome)
        assert line.startswith(f"error: {data}:2: field {field!r}: ")
        assert remedy in line
        for text in ("do you like tea", "yes .", "r1", "a1"):
            assert text not in line

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{broken", "not valid JSON at column"),
            ("[1, 2]", "not a JSON object; write one JSON object per line"),
            ('{"group": "A"}', "no answer; give exactly one of distribution, choice, or chosen"),
            (json.dumps({**SURVEY, "choice": 1}), "fields of several kinds; give exactly one of"),
            (json.dumps(CHOICE), "a choice record, but "),
        ],
    )
    def test_a_broken_line_is_one_line_with_file_and_line(
        self, command: Command, tmp_path: Path, line: str, said: str
    ) -> None:
        data = tmp_path / "data.jsonl"
        data.write_text(f"{json.dumps(SURVEY)}\n{line}\n", encoding="utf-8")
        outcome = command("simulate", "--data", data, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert one_line(outcome).startswith(f"error: {data}:2: ")
        assert said in outcome.err

    def test_too_few_groups_say_how_many_are_needed(
        self, command: Command, tmp_path: Path, write_rows: WriteRows
    ) -> None:
        data = write_rows(tmp_path / "data.jsonl", [CHOICE, {**CHOICE, "group": "B"}])
        outcome = command("simulate", "--data", data, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert "the data hold 2 group(s), a split needs at least 3" in one_line(outcome)

    def test_the_real_command_prints_that_line_alone(
        self, shell: Command, tmp_path: Path, write_rows: WriteRows
    ) -> None:
        data = write_rows(tmp_path / "data.jsonl", [CHOICE, {**CHOICE, "choice": 5}])
        outcome = shell("simulate", "--data", "data.jsonl", "--out", "out")
        assert outcome.code == 2
        line = one_line(outcome)
        assert line.startswith(f"error: {data.name}:2: field 'choice': is 5, outside 0 to 1; give")

    def test_broken_records_cost_no_finished_run(
        self,
        command: Command,
        tmp_path: Path,
        tiny_data: Path,
        write_rows: WriteRows,
        as_options: Sequence[str],
    ) -> None:
        out = tmp_path / "out"
        words = ("simulate", "--out", out, *as_options, *ONE_ROUND)
        assert command(*words, "--data", tiny_data).code == 0
        data = write_rows(tmp_path / "data.jsonl", [{**CHOICE, "choice": 5}])
        assert command(*words, "--data", data, "--overwrite").code == 2
        assert (out / "result.json").exists()


class TestDemo:
    def test_it_runs_on_any_data_and_replaces_its_folder(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        words = ("demo", "--out", tmp_path / "out", "--set", f"data={tiny_data}", "--json")
        for _ in range(2):
            outcome = command(*words, *as_options, *ONE_ROUND)
            assert outcome.code == 0
            assert json.loads(outcome.out)["config"]["data"] == str(tiny_data)

    def test_a_folder_that_is_set_is_the_folder(
        self, command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        words = ("demo", "--out", tmp_path / "a", "--set", f"data={tiny_data}", "--json")
        out = ("--set", f"out={tmp_path / 'b'}")
        assert command(*words, *out, *as_options, *ONE_ROUND).code == 0


class TestDebug:
    def test_a_traceback_is_shown_only_when_asked_for(
        self, command: Command, tmp_path: Path
    ) -> None:
        words = ("simulate", "--data", tmp_path / "no.jsonl", "--out", tmp_path / "out")
        assert "Traceback" not in command(*words).err
        outcome = command("--debug", *words)
        assert outcome.code == 2
        assert "Traceback (most recent call last)" in outcome.err
        assert outcome.err.splitlines()[-1].startswith("error: ")

    def test_an_unexpected_error_is_named_and_points_to_debug(
        self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def explode(*_: object, **__: object) -> None:
            raise ZeroDivisionError("of course\nnot")

        monkeypatch.setattr("experiments.simulation.run.run", explode)
        outcome = command("simulate", "--out", tmp_path / "out")
        assert outcome.code == 1
        assert one_line(outcome) == (
            "error: ZeroDivisionError: of course (fedaccord --debug ... shows the traceback)"
        )

    def test_an_error_without_a_text_has_a_name(
        self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def explode(*_: object, **__: object) -> None:
            raise MemoryError

        monkeypatch.setattr("experiments.simulation.run.run", explode)
        outcome = command("simulate", "--out", tmp_path / "out")
        assert outcome.code == 1
        assert "error: MemoryError" in one_line(outcome)


class TestPredict:
    @pytest.fixture
    def questions(self, tmp_path: Path, write_rows: WriteRows) -> Path:
        rows = [
            {"question": "do you like a j ?", "options": ["more", "less", "both"]},
            {"question": "is tea good ?", "options": ["yes", "no"]},
        ]
        return write_rows(tmp_path / "asked.jsonl", rows)

    @staticmethod
    def rows(outcome: Any) -> list[dict[str, Any]]:
        assert outcome.code == 0, outcome.err
        return [json.loads(line) for line in outcome.out.splitlines()]

    def test_without_context_it_says_what_anybody_would(
        self, command: Command, finished: Any, questions: Path
    ) -> None:
        words = ("predict", "--model", finished.out, "--questions", questions, "--json")
        rows = self.rows(command(*words))
        assert [row["question"] for row in rows] == ["do you like a j ?", "is tea good ?"]
        assert [len(row["distribution"]) for row in rows] == [3, 2]
        for row in rows:
            assert set(row) == {"question", "options", "distribution"}
            assert sum(row["distribution"]) == pytest.approx(1)

    def test_a_groups_answers_make_it_speak_for_the_group(
        self, command: Command, finished: Any, questions: Path, tiny_data: Path
    ) -> None:
        words = ("predict", "--model", finished.out, "--questions", questions, "--json")
        even, odd = (
            self.rows(command(*words, "--context", tiny_data, "--group", group))[0]["distribution"]
            for group in ("Group 0", "Group 1")
        )
        # Even groups choose the first option, odd groups the second, and nobody the third.
        assert even[0] > even[1] + 0.2 > even[2] + 0.2
        assert odd[1] > odd[0] + 0.2 > odd[2] + 0.2

    def test_a_file_of_one_group_needs_no_name(
        self,
        command: Command,
        finished: Any,
        questions: Path,
        tmp_path: Path,
        tiny_data: Path,
        tiny_rows: tuple[dict[str, Any], ...],
        write_rows: WriteRows,
    ) -> None:
        alone = write_rows(
            tmp_path / "one.jsonl", [row for row in tiny_rows if row["group"] == "Group 1"]
        )
        words = ("predict", "--model", finished.out, "--questions", questions, "--json")
        named = command(*words, "--context", tiny_data, "--group", "Group 1")
        assert self.rows(command(*words, "--context", alone)) == self.rows(named)

    def test_several_groups_need_a_choice(
        self, command: Command, finished: Any, questions: Path, tiny_data: Path
    ) -> None:
        words = ("predict", "--model", finished.out, "--questions", questions)
        outcome = command(*words, "--context", tiny_data)
        assert outcome.code == 2
        assert one_line(outcome) == (
            f"error: {tiny_data}: 6 groups; choose one by --group: "
            "Group 0, Group 1, Group 2, Group 3, Group 4, Group 5"
        )
        outcome = command(*words, "--context", tiny_data, "--group", "Group 9")
        assert outcome.code == 2
        assert one_line(outcome).startswith("error: --group 'Group 9' is not in ")

    def test_a_group_without_its_answers_is_refused(
        self, command: Command, finished: Any, questions: Path
    ) -> None:
        words = ("predict", "--model", finished.out, "--questions", questions)
        assert command(*words, "--group", "Group 0").code == 2

    def test_people_get_bars(
        self, command: Command, finished: Any, questions: Path, tiny_data: Path
    ) -> None:
        outcome = command("predict", "--model", finished.out, "--questions", questions)
        assert outcome.code == 0
        assert "is tea good ?" in outcome.out
        assert re.search(r"\d\d\.\d% +█+ +yes", outcome.out)

    @pytest.mark.parametrize("text", ["[tea]", "[/tea]"])
    def test_texts_are_shown_as_they_are(
        self, command: Command, finished: Any, tmp_path: Path, write_rows: WriteRows, text: str
    ) -> None:
        row = {"question": f"is {text} good ?", "options": [f"{text} yes", "no"]}
        asked = write_rows(tmp_path / "asked.jsonl", [row])
        outcome = command("predict", "--model", finished.out, "--questions", asked)
        assert outcome.code == 0
        assert outcome.out.count(text) == 2

    def test_a_folder_without_a_model_is_one_line(
        self, command: Command, tmp_path: Path, questions: Path
    ) -> None:
        outcome = command("predict", "--model", tmp_path, "--questions", questions)
        assert outcome.code == 2
        assert "give the --out folder of a finished run" in one_line(outcome)

    def test_broken_questions_are_one_line(
        self, command: Command, finished: Any, tmp_path: Path, write_rows: WriteRows
    ) -> None:
        asked = write_rows(tmp_path / "asked.jsonl", [{"question": "tea ?", "options": ["yes"]}])
        outcome = command("predict", "--model", finished.out, "--questions", asked)
        assert outcome.code == 2
        assert one_line(outcome).startswith(f"error: {asked}:1: field 'options': ")


class TestSample:
    @pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz"])
    @pytest.mark.parametrize("kind", ["choice", "survey"])
    def test_it_writes_a_file_that_loads(
        self, command: Command, tmp_path: Path, kind: str, name: str
    ) -> None:
        out = tmp_path / name
        words = ("--groups", 4, "--respondents", 3, "--seed", 2)
        outcome = command("sample", "--out", out, "--kind", kind, *words)
        assert (outcome.code, outcome.out) == (0, f"wrote {out}\n")
        records = load_records(out).records
        assert len({record.group for record in records}) == 4
        assert type(records[0]).__name__.lower() == f"{kind}record"

    def test_it_writes_what_a_source_with_the_same_parameters_holds(
        self, command: Command, tmp_path: Path
    ) -> None:
        out = tmp_path / "s.jsonl"
        words = ("--groups", 3, "--respondents", 2, "--severity", 2.5)
        assert command("sample", "--out", out, *words).code == 0
        alike = load_records("sample:groups=3,respondents=2,severity=2.5").records
        assert load_records(out).records == alike
        assert alike != load_records("sample:groups=3,respondents=2").records

    def test_it_writes_other_built_in_data_with_what_is_given(
        self, command: Command, tmp_path: Path
    ) -> None:
        out = tmp_path / "p.jsonl"
        words = ("--data", "sample-pairs:persons=3,groups=2", "--groups", 4)
        assert command("sample", "--out", out, *words).code == 0
        alike = load_records("sample-pairs:persons=3,groups=4").records
        assert load_records(out).records == alike
        refused = command("sample", "--out", out, "--overwrite", *words, "--respondents", 5)
        assert refused.code == 2
        assert "unknown parameter 'respondents'" in one_line(refused)

    def test_equal_seeds_give_equal_files(self, command: Command, tmp_path: Path) -> None:
        contents = []
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            out = tmp_path / f"{name}.jsonl"
            words = ("--groups", 3, "--respondents", 3)
            assert command("sample", "--out", out, "--seed", seed, *words).code == 0
            contents.append(out.read_bytes())
        assert contents[0] == contents[1] != contents[2]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--kind", "pair"), "kind is 'pair', must be 'choice' or 'survey'"),
            (("--groups", 0), "groups is 0, must be between 1 and 4096"),
            (("--respondents", 0), "respondents is 0, must be at least 1"),
            (("--seed", -1), "seed is -1, must be at least 0"),
            (("--severity", -1), "severity is -1.0, must be between 0 and 10"),
        ],
    )
    def test_a_bad_value_is_one_line_and_writes_nothing(
        self, command: Command, tmp_path: Path, words: Sequence[object], said: str
    ) -> None:
        outcome = command("sample", "--out", tmp_path / "s.jsonl", *words)
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert not list(tmp_path.iterdir())

    def test_a_name_that_is_no_json_is_one_line(self, command: Command, tmp_path: Path) -> None:
        outcome = command("sample", "--out", tmp_path / "s.csv", "--groups", 1)
        assert outcome.code == 2
        assert "end the name in .jsonl or .jsonl.gz" in one_line(outcome)


def test_help_needs_no_heavy_library(tmp_path: Path) -> None:
    program = tmp_path / "probe.py"
    program.write_text(
        "import sys, fedaccord\n"
        "print(sorted({'torch', 'transformers', 'peft', 'flwr', 'datasets'} & set(sys.modules)))\n",
        encoding="utf-8",
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, program],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
