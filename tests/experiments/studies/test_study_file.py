"""Study files: what they mean, and one line for each way to get them wrong."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import SHIPPED
from experiments.studies.file import Study, find_study, read_study, text_of
from experiments.studies.plan import plan_runs
from server.config import ConfigError

REPOSITORY = Path(__file__).parents[3]
GRID = """
title = "Trial"
draws = 2

[settings]
federation.warmup_rounds = 3
privacy.mode = "distributed"

[vary]
"federation.secure_aggregation" = [true, false]
training.batch_size = [8, 16]

[[cases]]
name = "short"
settings = { federation.adapter_rounds = 1 }

[[cases]]
name = "long"
settings.federation.adapter_rounds = 9
"""

Read = Callable[[str], Study]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def made(text: str) -> Study:
        path = tmp_path / "s.toml"
        path.write_text(text, encoding="utf-8")
        return read_study(path)

    return made


class TestGrid:
    def test_every_case_meets_every_combination_draw_by_draw(self, read: Read) -> None:
        runs = plan_runs(read(GRID), Path("out"))
        found = [
            (
                run.seed,
                run.config.federation.adapter_rounds,
                run.config.federation.secure_aggregation,
                run.config.training.batch_size,
            )
            for run in runs
        ]
        assert found == list(product((0, 1), (1, 9), (True, False), (8, 16)))
        assert [run.condition for run in runs] == [*range(8), *range(8)]
        assert {run.config.federation.warmup_rounds for run in runs} == {3}
        assert {run.config.seed == run.seed for run in runs} == {True}
        # Defaults of private runs hold where the file says nothing, as in any run.
        assert {run.config.predictor.head_width for run in runs} == {64}

    def test_runs_are_named_by_what_sets_them_apart(self, read: Read) -> None:
        first, *_, last = plan_runs(read(GRID), Path("out"))
        assert str(first) == "short, secure aggregation on, batch size 8, draw 1"
        assert first.out == Path("out/runs/short,secure_aggregation=on,batch_size=8-seed0")
        assert last.out == Path("out/runs/long,secure_aggregation=off,batch_size=16-seed1")

    def test_the_folder_of_a_run_does_not_depend_on_what_else_is_run(self, read: Read) -> None:
        whole = {run.out for run in plan_runs(read(GRID), Path("out"))}
        some = GRID.replace("[8, 16]", "[16]").replace("[true, false]", "[false, true]")
        part = plan_runs(read(some), Path("out"))
        assert {run.out for run in part} < whole

    def test_names_that_are_no_file_names_still_tell_runs_apart(self, read: Read) -> None:
        names = ["a/b", "a b", "a-b", "A" * 200, "A" * 201, "..", "é"]
        cases = "".join(f'[[cases]]\nname = "{name}"\n' for name in names)
        outs = [run.out.name for run in plan_runs(read("draws = 1\n" + cases), Path("out"))]
        assert len(set(outs)) == len(names)
        for out in outs:
            assert re.fullmatch(r"[A-Za-z0-9.,=_+-]{1,120}", out) and not out.startswith(".")

    def test_without_grid_and_cases_a_study_is_its_draws(self, read: Read) -> None:
        runs = plan_runs(read('title = "Alone"'), Path("out"))
        assert [str(run) for run in runs] == [f"Alone, draw {n}" for n in (1, 2, 3)]
        assert [run.config.data for run in runs] == ["sample"] * 3

    def test_keys_that_end_alike_are_called_by_all_of_their_names(self, read: Read) -> None:
        study = read("[vary]\ntraining.dropout = [0.1, 0.2]\nsimulation.dropout = [0.0, 0.5]")
        assert set(study.names().values()) == {"training.dropout", "simulation.dropout"}

    def test_a_target_has_every_round_measured_unless_the_file_says_otherwise(
        self, read: Read
    ) -> None:
        every = {
            text: plan_runs(read(text), Path("out"))[0].config.federation.evaluate_every
            for text in (
                "",
                "target = 0.8",
                "target = 0.8\n[settings]\nfederation.evaluate_every = 4",
            )
        }
        assert list(every.values()) == [5, 1, 4]

    def test_strategies_are_settings_like_any_other(self, read: Read) -> None:
        study = read(
            "draws = 1\n[[cases]]\nname = 'mean'\n[[cases]]\nname = 'near'\n"
            "settings = { strategy.name = 'fedprox', strategy.proximal = 0.5 }\n"
        )
        mean, near = (run.config.strategy for run in plan_runs(study, Path("out")))
        assert (mean.name, near.name) == ("fedavg", "fedprox")
        assert dict(near.settings)["proximal"] == 0.5

    def test_set_changes_all_runs_but_not_what_the_study_varies(self, read: Read) -> None:
        study = read(GRID)
        runs = plan_runs(study, Path("out"), assignments=["federation.warmup_rounds=7"])
        assert {run.config.federation.warmup_rounds for run in runs} == {7}
        for key in ("training.batch_size", "federation.adapter_rounds", "seed", "data"):
            with pytest.raises(ConfigError, match=rf"^--set {key}: .*s\.toml sets it"):
                plan_runs(study, Path("out"), assignments=[f"{key}=3"])


class TestData:
    def test_parameters_of_sample_data_become_its_name(self, read: Read) -> None:
        study = read(
            'data = "sample:groups=9,severity=3"\ndraws = 1\n[settings]\nsample.respondents = 7\n'
            "[vary]\nsample.severity = [0, 0.5, 1]"
        )
        configs = [run.config for run in plan_runs(study, Path("out"))]
        assert [config.data for config in configs] == [
            "sample:groups=9,respondents=7,severity=0",
            "sample:groups=9,respondents=7,severity=0.5",
            "sample:groups=9,respondents=7",
        ]
        # Each has a split of its own groups, the same for all draws.
        assert len({config.split for config in configs}) == 3
        assert study.axis() == "sample.severity"

    def test_parameters_are_those_of_the_built_in_data_that_are_named(self, read: Read) -> None:
        text = 'data = "sample-pairs:pairs=3"\ndraws = 1\n[vary]\nsample.persons = [5, 60]'
        runs = plan_runs(read(text), Path("out"))
        assert [run.config.data for run in runs] == [
            "sample-pairs:persons=5,pairs=3",
            "sample-pairs:pairs=3",
        ]
        with pytest.raises(ConfigError, match="unknown parameter 'respondents': known are groups"):
            plan_runs(read(text.replace("persons", "respondents")), Path("out"))

    def test_data_may_be_varied_as_a_whole(self, read: Read) -> None:
        study = read('draws = 1\n[vary]\ndata = ["a.jsonl", "b.jsonl"]')
        runs = plan_runs(study, Path("out"))
        assert [run.config.data for run in runs] == ["a.jsonl", "b.jsonl"]
        assert runs[0].config.split != runs[1].config.split

    def test_one_split_is_kept_for_one_data_and_a_given_one_for_all(self, read: Read) -> None:
        assert plan_runs(read(GRID), Path("out"))[0].config.split == "out/split.json"
        given = read('split = "my.json"\n[vary]\nsample.groups = [4, 6]')
        assert {run.config.split for run in plan_runs(given, Path("out"))} == {"my.json"}

    def test_parameters_without_sample_data_are_refused(self, read: Read) -> None:
        study = read('data = "a.jsonl"\n[vary]\nsample.groups = [4, 6]')
        with pytest.raises(ConfigError, match=r"s\.toml: sample\.groups: data are 'a\.jsonl', not"):
            plan_runs(study, Path("out"))


class TestAxis:
    @pytest.mark.parametrize(
        ("vary", "axis"),
        [
            ("training.batch_size = [8, 16]", "training.batch_size"),
            ("training.batch_size = [8]", None),
            ("federation.secure_aggregation = [true, false]", None),
            (
                'privacy.unit = ["respondent", "record"]\nprivacy.epsilon = [1, 2]',
                "privacy.epsilon",
            ),
            ("training.batch_size = [8, 16]\nprivacy.epsilon = [1, 2.5]", None),
        ],
    )
    def test_it_is_the_only_key_of_several_numbers(
        self, read: Read, vary: str, axis: str | None
    ) -> None:
        assert read(f"[vary]\n{vary}").axis() == axis


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("titel = 'x'", "s.toml: unknown key 'titel': did you mean 'title'?"),
            ("colour = 1", "unknown key 'colour': known are title, data, split, draws"),
            ("title = 3", "title = 3 must be a text"),
            ("draws = 0", "draws = 0 must be a number in [1, 1000]"),
            ("draws = true", "draws = True must be a number in"),
            ("target = 1.2", "target = 1.2 must be an alignment in (0, 1)"),
            ("title = ", "s.toml: Invalid value"),
            ("settings = 3", "s.toml: settings must be a table"),
            (
                "[settings]\ntraining.batchsize = 3",
                "s.toml: settings: unknown key 'training.batchsize': did you mean "
                "'training.batch_size'?",
            ),
            ("[settings]\nbatch_size = 3", "did you mean 'training.batch_size'?"),
            ("[settings]\nseed = 3", "settings: seed is set by the study itself; use draws"),
            ("[settings]\ndata = 'x'", "settings: data is set by the study itself; use the key"),
            ("[settings]\ntraining.batch_size = [1]", "values to vary belong into vary"),
            ("[vary]\ntraining.batch_size = 3", "vary: training.batch_size = 3 must be a list"),
            ("[vary]\ntraining.batch_size = []", "= [] must be a list of values"),
            ("[vary]\ntraining.batch_size = [1, 1]", "names a value twice"),
            ("[vary]\ntraining.batch_size = [[1]]", "must hold numbers, texts or truths"),
            ("[vary]\nsample.group = [1]", "did you mean 'sample.groups'?"),
            ("[vary]\nout = ['a']", "vary: out is set by the study itself; use --out"),
            ("[cases]\nname = 'x'", "cases must be a list of tables"),
            ("[[cases]]\nnam = 'x'", "case 1: unknown key 'nam': did you mean 'name'?"),
            ("[[cases]]\nname = ' '", "case 1: name = ' ' must be a text"),
            ("[[cases]]\nname = 'a'\n[[cases]]\nname = 'a'", "case 2: name = 'a' is that of"),
            (
                "[[cases]]\nname = 'a'\nsettings = {seeds = 3}",
                "case 'a': unknown key 'seeds'",
            ),
            ("[[cases]]\nname = 'a'\nalone = 1", "case 1: alone = 1 must be true or false"),
            (
                "figures = ['alinment']",
                "figures: unknown key 'alinment': did you mean 'alignment'?",
            ),
            ("figures = 'alignment'", "figures = 'alignment' must be a list of texts"),
            ("pictures = ['rounds']", "pictures: unknown key 'rounds'"),
            ("references = ['alignment']", "references: unknown key 'alignment'"),
            ("caveats = [1]", "caveats = [1] must be a list of texts"),
            (
                "[vary]\nseed = [1]",
                "vary: seed is set by the study itself; use draws, which counts them up from 0",
            ),
            (
                "[vary]\nprivacy.delta = [1e-5]\n[[cases]]\nname = 'a'\nsettings.privacy.delta = 1",
                "case 'a' sets privacy.delta, which is varied",
            ),
            (
                f"draws = 1000\n[vary]\ntraining.batch_size = {list(range(1, 12))}",
                "makes 11,000 runs, at most 10,000",
            ),
        ],
    )
    def test_a_bad_file_is_one_line_that_names_it_and_the_key(
        self, read: Read, text: str, said: str
    ) -> None:
        with pytest.raises(ConfigError) as refused:
            read(text)
        assert said in str(refused.value)
        assert "s.toml: " in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "[vary]\nprivacy.epsilon = [1, 99]",
                "s.toml: epsilon 99: setting 'privacy': epsilon = 99.0 must lie in (0, 50]",
            ),
            ("[settings]\ntraining.batch_size = 'x'", "setting 'training.batch_size' = 'x'"),
            ("[vary]\nsample.groups = [4, 5000]", "s.toml: sample: groups is 5000, must be"),
            ("data = 'sample:grups=3'", "did you mean 'groups'?"),
            (
                "[[cases]]\nname = 'a'\nsettings.strategy.speed = 3",
                "s.toml: a: strategy.speed is no setting of fedavg",
            ),
        ],
    )
    def test_a_bad_value_is_one_line_that_names_file_and_condition(
        self, read: Read, text: str, said: str
    ) -> None:
        with pytest.raises(ConfigError) as refused:
            plan_runs(read(text), Path("out"))
        assert said in str(refused.value)
        assert "s.toml: " in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_file_that_is_not_there_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no\.toml: cannot be read"):
            read_study(tmp_path / "no.toml")


class TestAlone:
    TEXT = """
    draws = 2
    [vary]
    privacy.epsilon = [1, 4]
    [[cases]]
    name = "private"
    settings = { privacy.mode = "distributed" }
    [[cases]]
    name = "non-private"
    alone = true
    settings = { privacy.mode = "none", privacy.epsilon = 9 }
    """

    def test_a_case_alone_meets_no_value_and_may_set_what_is_varied(self, read: Read) -> None:
        runs = plan_runs(read(self.TEXT), Path("out"))
        assert [str(run) for run in runs[:3]] == [
            "private, epsilon 1, draw 1", "private, epsilon 4, draw 1", "non-private, draw 1",
        ]  # fmt: skip
        assert (len(runs), runs[2].out.name) == (6, "non-private-seed0")
        assert (runs[2].config.privacy.mode, runs[2].config.privacy.epsilon) == ("none", 9)

    def test_it_counts_once_among_runs(self, read: Read) -> None:
        many = f"draws = 1000\n[vary]\ntraining.batch_size = {list(range(1, 10))}\n"
        assert read(f"{many}[[cases]]\nname = 'a'\n[[cases]]\nname = 'b'\nalone = true").cases


class TestShipped:
    def test_there_are_studies_and_the_package_holds_them(self) -> None:
        import tomllib

        folder = REPOSITORY / "experiments" / "studies" / "files"
        assert SHIPPED == {path.stem: path for path in sorted(folder.glob("*.toml"))}
        assert {"epsilon", "fairness", "strategies"} < set(SHIPPED)
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
        assert "*.toml" in project["tool"]["setuptools"]["package-data"]["*"]

    def test_each_is_found_by_its_name_unless_a_file_is_called_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name, path in SHIPPED.items():
            assert find_study(Path(name)).samefile(path)
        Path("severity").write_text("")
        assert find_study(Path("severity")) == Path("severity")
        with pytest.raises(ConfigError) as refused:
            find_study(Path("severty.toml"))
        assert str(refused.value) == (
            f"severty.toml: is no file, and no study of {', '.join(SHIPPED)}"
        )

    def test_a_file_in_their_folder_is_a_study_and_nothing_else_need_be_touched(
        self, tmp_path: Path
    ) -> None:
        """The package, copied with one more file, in a process that has never seen it."""
        for name in ("alignment", "experiments", "privacy", "server", "strategies", "clients"):
            (tmp_path / name).symlink_to(REPOSITORY / name)
        package = tmp_path / "experiments"
        package.unlink()
        package.mkdir()
        for each in (REPOSITORY / "experiments").iterdir():
            if each.name != "studies":
                (package / each.name).symlink_to(each)
        shutil.copytree(REPOSITORY / "experiments" / "studies", package / "studies")
        added = package / "studies" / "files" / "mine.toml"
        added.write_text("title = 'Mine'\n", encoding="utf-8")
        told = (
            "from pathlib import Path; from experiments.studies.file import *; "
            "print(read_study(find_study(Path('mine'))).title)"
        )
        done = subprocess.run(
            [sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == "Mine\n"

    @pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
    def test_each_plans_runs_on_sample_data(self, path: Path) -> None:
        study = read_study(path)
        runs = plan_runs(study, Path("out"))
        assert len(runs) == len({run.out for run in runs}) > study.draws
        assert {run.config.data.partition(":")[0] for run in runs} == {"sample"}

    @pytest.mark.parametrize(
        ("name", "axis"),
        [
            ("dropouts", "simulation.dropout"),
            ("epsilon", "privacy.epsilon"),
            ("fairness", "training.fairness"),
            ("groups", "sample.groups"),
            ("local-epochs", "training.local_epochs"),
            ("rank", "predictor.lora_rank"),
            ("severity", "sample.severity"),
            ("units", "privacy.epsilon"),
            # These compare cases by their curves alone.
            ("bytes", None),
            ("strategies", None),
        ],
    )
    def test_numbers_that_are_varied_are_an_axis(self, name: str, axis: str | None) -> None:
        assert read_study(SHIPPED[name]).axis() == axis

    def test_the_documentation_names_them_by_their_titles(self) -> None:
        text = (REPOSITORY / "docs" / "researcher.md").read_text(encoding="utf-8")
        listed = text.partition("| study | what it asks |\n|---|---|\n")[2].partition("\n\n")[0]
        known = [f"| `{name}` | {read_study(path).title} |" for name, path in SHIPPED.items()]
        assert len(listed.splitlines()) >= 10
        assert set(listed.splitlines()) <= set(known)

    def test_the_help_of_the_command_names_all(self, command: Callable[..., Any]) -> None:
        # Lines end anywhere, also after a hyphen.
        text = re.sub(r"\s+", "", command("experiment", "run", "--help").out)
        assert f"Studiestostartfrom:{','.join(SHIPPED)}." in text


@pytest.mark.parametrize(
    ("value", "text"), [(True, "on"), (False, "off"), (0.1 + 0.2, "0.3"), (3, "3"), ("a", "a")]
)
def test_values_are_written_as_people_write_them(value: bool | float | str, text: str) -> None:
    assert text_of(value) == text
