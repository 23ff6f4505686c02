"""Studies with commands of their own: ``fedaccord experiment epsilon`` and ``fairness``."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import SHIPPED
from experiments.studies.file import read_study
from experiments.studies.plan import plan_runs
from server.config import RunConfig

Command = Callable[..., Any]

REPOSITORY = Path(__file__).parents[3]
PRIVATE = ("--set", "privacy.delta=1e-3", "--set", "privacy.micro_batch=4")
SHORT = ("--set", "federation.warmup_rounds=1", "--set", "federation.adapter_rounds=0")


def one_line(outcome: Any) -> str:
    """The only line of an error, which is no traceback and follows nothing on stdout."""
    assert outcome.out == ""
    lines: list[str] = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    return lines[0]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def fake_result(config: RunConfig) -> dict[str, Any]:
    """A result with the shape of a real one, from settings alone."""
    loss = config.privacy.epsilon if config.privacy.private else 50.0
    score = 0.9 - 0.1 / loss + 0.001 * config.seed
    return {
        "alignment": {
            "unseen_groups": {"mean": score, "unseen_questions": 0.5, "worst_group": 0.4},
            "without_context": {"mean": 0.6},
            "uniform": {"mean": 0.55},
        },
        "fairness": {
            "unseen_groups": {"spread": {"value": 0.119}, "cov": {"value": 0.02}},
            "gap": {"value": 0.03},
        },
        "privacy": {"noise_multiplier": 2 / loss} if config.privacy.private else {},
        "seconds": {"total": 1.0},
        "data": {"train_groups": 4, "held_out_groups": 2},
        "bytes": {"up_per_client_per_round": 100},
        "config": config.nested(),
    }


class Runs:
    """Stands in for real simulations.

    Attributes:
        configs: Their settings.
        stop_at: The run at which Ctrl-C is pressed, from 1.
        loss: Whether runs measure their log-loss.
    """

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []
        self.stop_at = 0
        self.loss = False

    @property
    def names(self) -> list[str]:
        """Of the folders of the runs."""
        return [Path(config.out).name for config in self.configs]

    def __call__(self, config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
        assert overwrite, "a folder of the study may hold half a run"
        self.configs.append(config)
        if len(self.configs) == self.stop_at:
            raise KeyboardInterrupt
        result = fake_result(config)
        if self.loss:
            own = result["alignment"]["unseen_groups"]
            own["log_loss"] = 2.0 - own["mean"]
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr("experiments.simulation.run.run", runs)
    return runs


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time of what is not about them."""
    monkeypatch.setattr("experiments.studies.plots.draw_study", lambda folder, study: [])


@pytest.fixture
def study(command: Command, tmp_path: Path, tiny_data: Path) -> Command:
    """Run ``fedaccord experiment epsilon``, or another, on the tiny data into ``study``."""

    def call(*more: object, name: str = "epsilon") -> Any:
        given = ("--data", tiny_data, "--out", tmp_path / "study")
        return command("experiment", name, *given, *more)

    return call


class TestHelp:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("epsilon", "data out split epsilons modes draws config set workers overwrite json"),
            ("fairness", "data out split strengths modes draws config set workers overwrite json"),
            ("split-respondents", "data out share context seed overwrite"),
        ],
    )
    def test_each_has_an_example_and_explains_its_options(
        self, command: Command, name: str, options: str
    ) -> None:
        outcome = command("experiment", name, "--help")
        assert outcome.code == 0
        text = " ".join(outcome.out.split())
        assert f"Example: fedaccord experiment {name} --data" in text
        for option in options.split():
            assert re.search(rf" --{option} +([A-Z]+ +)?[A-Z]\w* \w+", outcome.out), option

    @pytest.mark.usefixtures("undrawn")
    def test_the_example_is_a_command_that_can_be_run(
        self, command: Command, tmp_path: Path, tiny_data: Path, simulated: Runs
    ) -> None:
        """Read from the help itself, with this test's files in place of the example's."""
        text = " ".join(command("experiment", "epsilon", "--help").out.split())
        words = text.partition("Example: fedaccord ")[2].split()
        made = command("experiment", "epsilon", "--data", tiny_data, "--out", tmp_path / "first")
        assert made.code == 0
        files = {"answers.jsonl.gz": tiny_data, "split.json": tmp_path / "first" / "split.json"}
        simulated.configs.clear()
        outcome = command(*(files.get(word, word) for word in words), "--out", tmp_path / "study")
        assert outcome.code == 0
        assert len(simulated.names) == 2 * (2 * 2 + 1)

    def test_the_front_door_names_the_studies(self, command: Command) -> None:
        assert re.search(r"^\W*experiment\s+Studies", command("--help").out, re.MULTILINE)
        listed = command("experiment", "--help")
        assert listed.code == 0
        for name in ("epsilon", "fairness", "run", "split-respondents"):
            assert re.search(rf"^\W*{name}\s+\w+", listed.out, re.MULTILINE), name


class TestStudies:
    """The options become the study that a file of the same name describes."""

    @pytest.mark.usefixtures("undrawn")
    @pytest.mark.parametrize("name", ["epsilon", "fairness"])
    def test_without_options_it_is_the_shipped_study(
        self, study: Command, simulated: Runs, tmp_path: Path, tiny_data: Path, name: str
    ) -> None:
        assert study(name=name).code == 0
        shipped = replace(read_study(SHIPPED[name]), data=str(tiny_data))
        runs = plan_runs(shipped, tmp_path / "study")
        assert simulated.configs == [run.config for run in runs]
        found = read(tmp_path / "study" / "study.json")
        assert found["title"] == shipped.title
        assert found["figures"] == list(shipped.figures)
        assert found["references"] == list(shipped.references)
        assert set(shipped.caveats) <= set(found["caveats"])

    @pytest.mark.usefixtures("undrawn")
    def test_epsilons_rise_each_once_and_none_stands_alone(
        self, study: Command, simulated: Runs
    ) -> None:
        words = ("--epsilons", "8, none,1,1.0,none", "--modes", "local, distributed,local")
        assert study(*words, "--draws", 1).code == 0
        found = [(c.privacy.mode, c.privacy.epsilon) for c in simulated.configs[:4]]
        assert found == [
            ("local", 1.0), ("local", 8.0), ("distributed", 1.0), ("distributed", 8.0),
        ]  # fmt: skip
        assert [config.privacy.mode for config in simulated.configs[4:]] == ["none"]
        simulated.configs.clear()
        assert study("--epsilons", "none", "--draws", 2).code == 0
        assert simulated.names == ["non-private-seed1"]

    @pytest.mark.usefixtures("undrawn")
    def test_every_run_of_fairness_has_its_settings_and_its_folder_draw_by_draw(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        words = ("--strengths", "1.5,0,1.50", "--modes", "none,distributed,none", "--draws", 2)
        assert study(*words, "--set", "privacy.epsilon=4", name="fairness").code == 0
        assert simulated.names == [
            f"{mode},fairness={strength}-seed{seed}"
            for seed in (0, 1)
            for mode in ("non-private", "distributed")
            for strength in ("0", "1.5")
        ]
        for config in simulated.configs:
            private = Path(config.out).name.startswith("distributed")
            assert config.privacy.mode == ("distributed" if private else "none")
            assert config.training.fairness == (1.5 if "1.5" in config.out else 0)
            assert config.privacy.epsilon == 4
            assert config.split == str(tmp_path / "study" / "split.json")

    @pytest.mark.usefixtures("undrawn")
    def test_a_file_of_settings_counts_for_all_runs_below_the_studys_own(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        file = tmp_path / "study.toml"
        text = "data = 'other'\nseed = 7\n[privacy]\nunit = 'record'\ndelta = 1e-4\nepsilon = 3\n"
        file.write_text(text, encoding="utf-8")
        words = ("--epsilons", "1", "--config", file, "--set", "privacy.delta=1e-3")
        assert study(*words, "--draws", 1).code == 0
        for config in simulated.configs:
            assert (config.seed, config.privacy.epsilon, config.privacy.unit) == (0, 1, "record")
            assert config.privacy.delta == 1e-3
            assert config.data != "other"


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--epsilons", "1,much"), "--epsilons '1,much': 'much' must be 'none' or a number"),
            *(
                (("--epsilons", f"1,{word}"), f"{word!r} must be 'none' or a number in (0, 50], as")
                for word in ("", "0", "-1", "50.1", "nan", "inf", "None", "1;4")
            ),
            (("--modes", "central"), "--modes 'central': 'central' must be 'distributed' or"),
            (("--modes", "local,none"), "'none' must be 'distributed' or 'local'"),
            (("--draws", "0"), "--draws 0 must lie in [1, 1000]"),
            (("--workers", "0"), "--workers 0 must lie in [1, 1024]"),
            (
                ("--set", "seed=3"),
                "--set seed: fedaccord experiment epsilon sets it; use --data, --split, --out, "
                "--epsilons, --modes or --draws",
            ),
            (("--set", "privacy.epsilon=3"), "--set privacy.epsilon: fedaccord experiment epsilon"),
            (("--set", "privacy.mode=none"), "--set privacy.mode: fedaccord experiment epsilon"),
            (("--set", "training.batchsize=3"), "did you mean 'training.batch_size'?"),
            (("--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
            (("--split", "nowhere.json"), "nowhere.json: cannot be read"),
        ],
    )
    def test_bad_input_is_one_line_and_runs_nothing(
        self, study: Command, simulated: Runs, tmp_path: Path, words: Sequence[str], said: str
    ) -> None:
        outcome = study(*words)
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert (simulated.configs, (tmp_path / "study").exists()) == ([], False)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            *(
                (
                    ("--strengths", f"0,{word}"),
                    f"--strengths '0,{word}': {word!r} must be a number in [0, 10], as in "
                    "--strengths 0,1,2",
                )
                for word in ("", "two", "-1", "10.1", "nan", "inf", "none")
            ),
            (("--modes", "central"), "'central' must be 'none', 'distributed' or 'local'"),
            (
                ("--set", "training.fairness=3"),
                "--set training.fairness: fedaccord experiment fairness sets it; use --data, "
                "--split, --out, --strengths, --modes or --draws",
            ),
        ],
    )
    def test_bad_input_of_fairness_is_one_line_as_well(
        self, study: Command, simulated: Runs, tmp_path: Path, words: Sequence[str], said: str
    ) -> None:
        outcome = study(*words, name="fairness")
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert (simulated.configs, (tmp_path / "study").exists()) == ([], False)

    def test_data_that_do_not_exist_are_one_line(self, command: Command, tmp_path: Path) -> None:
        words = ("experiment", "epsilon", "--data", tmp_path / "no.jsonl", "--out", tmp_path / "o")
        outcome = command(*words)
        assert outcome.code == 2
        assert str(tmp_path / "no.jsonl") in one_line(outcome)
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize("words", [("epsilon",), ("epsilons",), ("epsilon", "--data", "x")])
    def test_wrong_usage_exits_with_2(self, command: Command, words: Sequence[str]) -> None:
        outcome = command("experiment", *words)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err

    @pytest.mark.usefixtures("undrawn")
    def test_other_settings_need_overwrite(
        self, study: Command, tmp_path: Path, simulated: Runs
    ) -> None:
        words = ("--epsilons", "1,none", "--modes", "local", "--draws", "1")
        assert study(*words).code == 0
        before = {p: p.read_bytes() for p in (tmp_path / "study").rglob("*") if p.is_file()}
        simulated.configs.clear()
        refused = study(*words, "--set", "training.batch_size=5")
        assert refused.code == 2
        assert "was run with training.batch_size = 16, not 5; choose another --out" in one_line(
            refused
        )
        assert simulated.names == []
        assert {p: p.read_bytes() for p in before} == before
        assert study(*words, "--set", "training.batch_size=5", "--overwrite").code == 0
        assert simulated.names == ["local,epsilon=1-seed0", "non-private-seed0"]

    @pytest.mark.usefixtures("undrawn")
    def test_a_run_that_fails_exits_with_1_and_keeps_the_others(
        self, study: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Runs()

        def fail(config: RunConfig, *, overwrite: bool) -> dict[str, Any]:
            if not config.privacy.private:
                raise RuntimeError("no")
            return real(config, overwrite=overwrite)

        monkeypatch.setattr("experiments.simulation.run.run", fail)
        outcome = study("--epsilons", "1,none", "--modes", "local", "--draws", "1")
        assert outcome.code == 1
        assert "non-private, draw 1: failed, RuntimeError: no" in outcome.err.splitlines()
        assert read(tmp_path / "study" / "study.json")["finished"] == 1


class TestTable:
    def test_a_row_for_each_condition_with_the_spread_of_its_draws(
        self, study: Command, simulated: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All columns fit a terminal of 80; pictures and caveats are named below."""
        monkeypatch.setenv("COLUMNS", "80")
        simulated.loss = True
        outcome = study("--epsilons", "1,12.345,none", "--draws", "3")
        assert outcome.code == 0
        rows = [" ".join(line.split()) for line in outcome.out.splitlines()]
        assert rows[1:3] == [
            "unseen worst noise",
            "case epsilon draws alignment questions group log-loss multiplier",
        ]
        assert rows[4:9] == [
            "distributed 1 3 .8010 ± .0010 .5000 .4000 1.1990 2",
            "distributed 12.345 3 .8929 ± .0010 .5000 .4000 1.1071 0.162",
            "local 1 3 .8010 ± .0010 .5000 .4000 1.1990 2",
            "local 12.345 3 .8929 ± .0010 .5000 .4000 1.1071 0.162",
            "non-private \N{EN DASH} 3 .8990 ± .0010 .5000 .4000 1.1010 \N{EN DASH}",
        ]
        for caveat in read_study(SHIPPED["epsilon"]).caveats:
            assert caveat in " ".join(rows)
        drawn = sorted((tmp_path / "study").glob("*_by_value.png"))
        assert [path.stem for path in drawn] == ["alignment_by_value", "log_loss_by_value"]
        for path in drawn:
            assert f"Picture: {path}" in outcome.out

    def test_fairness_shows_its_price(
        self, study: Command, simulated: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        simulated.loss = True
        outcome = study("--strengths", "0,2", "--draws", "3", name="fairness")
        rows = [" ".join(line.split()) for line in outcome.out.splitlines()]
        assert "case fairness draws alignment group spread cov gap log-loss" in rows
        assert "non-private 0 3 .8990 ± .0010 .4000 .1190 .0200 +.0300 1.1010" in rows
        for caveat in read_study(SHIPPED["fairness"]).caveats:
            assert caveat in " ".join(rows)
        drawn = sorted((tmp_path / "study").glob("*_by_value.png"))
        assert [path.stem for path in drawn] == ["alignment_by_value", "worst_group_by_value"]

    @pytest.mark.usefixtures("undrawn")
    def test_one_draw_has_no_spread(self, study: Command, simulated: Runs) -> None:
        outcome = study("--epsilons", "1", "--modes", "local", "--draws", "1")
        table = outcome.out.partition("Each run")[0]
        assert ".8000" in table
        assert "±" not in table

    @pytest.mark.usefixtures("undrawn")
    def test_progress_is_on_stderr_and_tells_what_is_kept(
        self, study: Command, simulated: Runs
    ) -> None:
        first = study("--epsilons", "1", "--modes", "local", "--draws", "2")
        assert first.err.splitlines() == [
            "run 1 of 2: local, epsilon 1, draw 1",
            "run 2 of 2: local, epsilon 1, draw 2, a minute left",
        ]
        again = study("--epsilons", "1", "--modes", "local", "--draws", "2")
        assert again.err.splitlines() == ["2 of 2 runs had finished before"]
        assert again.out == first.out
        assert len(simulated.names) == 2

    @pytest.mark.usefixtures("undrawn")
    def test_json_is_the_file_and_nothing_else(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        outcome = study("--epsilons", "1,none", "--modes", "local", "--draws", "1", "--json")
        assert outcome.code == 0
        assert outcome.out == (tmp_path / "study" / "study.json").read_text(encoding="utf-8")
        printed = json.loads(outcome.out)
        assert [row["alignment"] for row in printed["rows"]] == pytest.approx([0.8, 0.898])
        assert (printed["runs"], printed["finished"]) == (2, 2)


class TestStopping:
    def test_ctrl_c_keeps_what_has_finished_and_the_same_command_goes_on(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        words = ("--epsilons", "1,4,none", "--modes", "local", "--draws", "1")
        simulated.stop_at = 3
        stopped = study(*words)
        assert stopped.code == 130
        assert stopped.err.splitlines()[-1] == (
            "stopped: 2 of 3 runs have finished and are kept; the same command goes on with the "
            "others"
        )
        assert "Traceback" not in stopped.err
        assert ".8000" in stopped.out
        assert read(tmp_path / "study" / "study.json")["finished"] == 2
        assert (tmp_path / "study" / "alignment_by_value.png").exists()
        simulated.configs.clear()
        done = study(*words)
        assert done.code == 0
        assert simulated.names == ["non-private-seed0"]
        assert read(tmp_path / "study" / "study.json")["finished"] == 3

    def test_ctrl_c_before_anything_has_finished_leaves_no_figures(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        simulated.stop_at = 1
        stopped = study("--json")
        assert (stopped.code, stopped.out) == (130, "")
        assert stopped.err.splitlines()[-1].startswith("stopped: 0 of 27 runs have finished")
        assert [path.name for path in (tmp_path / "study").iterdir()] == ["split.json"]

    def test_a_real_ctrl_c_in_the_middle_of_a_run(
        self, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
    ) -> None:
        """A process of its own, for the signal; most of its seconds are imports."""
        words = ("--data", tiny_data, "--out", "study", "--epsilons", "none", "--draws", "2")
        long = ("--set", "federation.adapter_rounds=400")
        split = tmp_path / "study" / "split.json"
        with subprocess.Popen(
            [
                *(sys.executable, str(REPOSITORY / "fedaccord.py"), "experiment", "epsilon"),
                *(str(word) for word in (*words, *as_options, *long)),
            ],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Shells have what they start in the background ignore the signal, and its children too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("round 0/"):
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=600)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1].startswith("stopped: 0 of 2 runs have finished and are kept")
        assert "Traceback" not in err
        assert split.exists()
        assert not list(tmp_path.rglob("result.json"))


def test_a_whole_study_through_the_real_command(
    command: Command,
    tmp_path: Path,
    tiny_data: Path,
    as_options: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two real runs of two rounds; the only ones of this file that train."""
    monkeypatch.setenv("COLUMNS", "140")
    out = tmp_path / "study"
    words = ("experiment", "epsilon", "--data", tiny_data, "--out", out, "--modes", "distributed")
    options = (*as_options, *PRIVATE, *SHORT, "--epsilons", "8,none", "--draws", "1")
    outcome = command(*words, *options)
    assert (outcome.code, "Traceback" in outcome.err) == (0, False)
    study = read(out / "study.json")
    names = ("distributed,epsilon=8-seed0", "non-private-seed0")
    assert tuple(row["run"] for row in study["rows"]) == names
    for row in study["rows"]:
        check_row(row, out / "runs" / row["run"])
    private, free = (read(out / "runs" / name / "split.json") for name in names)
    assert private == free == read(out / "split.json")
    assert study["finished"] == study["runs"] == 2
    for row in study["rows"]:
        assert (row["train_groups"], row["held_out_groups"]) == (4, 2)
    assert f"{study['rows'][0]['alignment']:.4f}".removeprefix("0") in outcome.out
    again = command(*words, *options, "--json")
    assert (again.code, json.loads(again.out)) == (0, study)
    assert again.err.splitlines() == ["2 of 2 runs had finished before"]


def check_row(row: Mapping[str, Any], folder: Path) -> None:
    """A row says what the run's own files say."""
    result = read(folder / "result.json")
    scores = result["alignment"]
    own = scores["unseen_groups"]
    for name, source in (
        ("without_context", "without_context"),
        ("uniform", "uniform"),
        ("question_mean", "question_mean"),
    ):
        assert row[name] == scores[source]["mean"]
        assert row[f"{name}_log_loss"] == scores[source]["log_loss"]
    for name in ("seen_questions", "unseen_questions", "worst_group", "log_loss"):
        assert row[name] == own[name]
    assert row["alignment"] == own["mean"]
    assert row["context_swap_drop"] == result["context_swap_drop"]
    assert row["seconds"] == result["seconds"]["total"]
    assert row["seed"] == result["seed"] == 0
    assert row["noise_multiplier"] == result["privacy"].get("noise_multiplier")
    private = result["privacy"]["mode"] != "none"
    assert (row["noise_multiplier"] is not None) == private
    assert row["run"].startswith("distributed") == private
    fair = result["fairness"]
    for name in ("spread", "cov"):
        assert row[name] == fair["unseen_groups"][name]["value"]
    assert row["gap"] == fair["gap"]["value"]
    assert row["worst_group"] == pytest.approx(fair["unseen_groups"]["worst_group"]["value"])
    first = json.loads((folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["round"] == 0
    assert row["untrained"] == first["alignment"]
    assert row["untrained"] is not None
    assert row["untrained_log_loss"] == first.get("log_loss")


def test_a_real_study_of_fairness(
    study: Command, as_options: Sequence[str], tmp_path: Path
) -> None:
    """Four runs of one round: figures of each, and fairness changes the model."""
    words = ("--strengths", "0,10", "--modes", "none,distributed", "--draws", "1", "--json")
    outcome = study(*words, *as_options, *SHORT, *PRIVATE, name="fairness")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["rows"]
    assert [row["run"] for row in rows] == [
        f"{mode},fairness={q}-seed0" for mode in ("non-private", "distributed") for q in (0, 10)
    ]
    figures = read_study(SHIPPED["fairness"]).figures
    assert all(isinstance(row[name], float) for row in rows for name in figures)
    assert rows[0]["alignment"] != rows[1]["alignment"]
    runs = tmp_path / "study" / "runs"
    heads = {(runs / row["run"] / "head.safetensors").read_bytes() for row in rows}
    assert len(heads) == 4
