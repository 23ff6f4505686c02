"""``fedaccord experiment`` as its users meet it: one real study, and what is said of many."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.studies.epsilon_study import CAVEATS
from experiments.studies.plot_epsilon import ALIGNMENT_PICTURE, LOG_LOSS_PICTURE
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
        "privacy": {"noise_multiplier": 2 / loss} if config.privacy.private else {},
        "seconds": {"total": 1.0},
        "data": {"train_groups": 4, "held_out_groups": 2},
        "config": config.nested(),
    }


class Runs:
    """Stands in for real simulations.

    Attributes:
        names: Of the folders of the runs.
        stop_at: The run at which Ctrl-C is pressed, from 1.
        loss: Whether runs measure their log-loss.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stop_at = 0
        self.loss = False

    def __call__(self, config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
        assert overwrite, "a folder of the study may hold half a run"
        self.names.append(Path(config.out).name)
        if len(self.names) == self.stop_at:
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
def study(command: Command, tmp_path: Path, tiny_data: Path) -> Command:
    """Run ``fedaccord experiment epsilon`` on the tiny data into ``study``."""

    def call(*more: object) -> Any:
        given = ("--data", tiny_data, "--out", tmp_path / "study")
        return command("experiment", "epsilon", *given, *more)

    return call


class TestHelp:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("epsilon", "data out split epsilons modes draws config set overwrite json"),
            ("fairness", "data out split strengths modes draws config set overwrite json"),
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

    def test_the_example_is_a_command_that_can_be_run(
        self, command: Command, tmp_path: Path, tiny_data: Path, simulated: Runs
    ) -> None:
        """Read from the help itself, with this test's files in place of the example's."""
        text = " ".join(command("experiment", "epsilon", "--help").out.split())
        words = text.partition("Example: fedaccord ")[2].split()
        made = command("experiment", "epsilon", "--data", tiny_data, "--out", tmp_path / "first")
        assert made.code == 0
        files = {"answers.jsonl.gz": tiny_data, "split.json": tmp_path / "first" / "split.json"}
        simulated.names.clear()
        outcome = command(*(files.get(word, word) for word in words), "--out", tmp_path / "study")
        assert outcome.code == 0
        assert len(simulated.names) == 2 * (2 * 2 + 1)

    def test_the_front_door_names_the_studies(self, command: Command) -> None:
        assert re.search(r"^\W*experiment\s+Studies", command("--help").out, re.MULTILINE)
        listed = command("experiment", "--help")
        assert listed.code == 0
        for name in ("epsilon", "split-respondents"):
            assert re.search(rf"^\W*{name}\s+\w+", listed.out, re.MULTILINE), name


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--epsilons", "1,much"), "--epsilons '1,much': 'much' must be 'none' or a number"),
            (("--epsilons", "0"), "'0' must be 'none' or a number in (0, 50]"),
            (("--modes", "central"), "--modes 'central': 'central' must be 'distributed' or"),
            (("--draws", "0"), "--draws 0 must lie in [1, 1000]"),
            (("--set", "seed=3"), "--set seed=3: the study sets it itself; use --data"),
            (("--set", "privacy.epsilon=3"), "--set privacy.epsilon=3.0: the study sets it"),
            (("--set", "training.batchsize=3"), "did you mean 'training.batch_size'?"),
            (("--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
            (("--split", "nowhere.json"), "nowhere.json: cannot be read"),
        ],
    )
    def test_bad_input_is_one_line_and_runs_nothing(
        self,
        study: Command,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        words: Sequence[str],
        said: str,
    ) -> None:
        def never(*_: object, **__: object) -> None:
            raise AssertionError("trained")

        monkeypatch.setattr("experiments.simulation.simulate.simulate", never)
        outcome = study(*words)
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert not (tmp_path / "study").exists()

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

    def test_other_settings_need_overwrite(
        self, study: Command, tmp_path: Path, simulated: Runs
    ) -> None:
        words = ("--epsilons", "1,none", "--modes", "local", "--draws", "1")
        assert study(*words).code == 0
        before = {p: p.read_bytes() for p in (tmp_path / "study").rglob("*") if p.is_file()}
        simulated.names.clear()
        refused = study(*words, "--set", "training.batch_size=5")
        assert refused.code == 2
        assert "was run with training.batch_size = 16, not 5; choose another --out" in one_line(
            refused
        )
        assert simulated.names == []
        assert {p: p.read_bytes() for p in before} == before
        assert study(*words, "--set", "training.batch_size=5", "--overwrite").code == 0
        assert simulated.names == ["local-eps1-seed0", "none-seed0"]

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
        assert outcome.err.splitlines()[-1].startswith("error: RuntimeError: no (fedaccord")
        assert read(tmp_path / "study" / "epsilon.json")["finished"] == 1


class TestTable:
    def test_a_row_for_each_place_with_the_spread_of_its_draws(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        outcome = study("--epsilons", "1,none", "--draws", "3")
        assert outcome.code == 0
        rows = [" ".join(line.split()) for line in outcome.out.splitlines()]
        assert rows[1:3] == [
            "unseen worst noise",
            "mode epsilon draws alignment questions group multiplier",
        ]
        assert rows[4:7] == [
            "distributed 1 3 0.801 ± 0.001 0.500 0.400 2.000",
            "local 1 3 0.801 ± 0.001 0.500 0.400 2.000",
            "none none 3 0.899 ± 0.001 0.500 0.400 \N{EN DASH}",
        ]
        for caveat in CAVEATS:
            assert caveat in " ".join(rows)
        assert f"Picture: {tmp_path / 'study' / ALIGNMENT_PICTURE}" in outcome.out
        assert (tmp_path / "study" / ALIGNMENT_PICTURE).exists()
        assert not (tmp_path / "study" / LOG_LOSS_PICTURE).exists()

    def test_all_columns_fit_a_terminal_of_80(
        self, study: Command, simulated: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        simulated.loss = True
        monkeypatch.setenv("COLUMNS", "80")
        lines = study("--epsilons", "12.345", "--modes", "distributed").out.splitlines()
        assert "log-loss" in lines[2]
        row = "distributed 12.345 3 0.893 ± 0.001 0.500 0.400 1.107 ± 0.001 0.162"
        assert " ".join(lines[4].split()) == row

    def test_one_draw_has_no_spread(self, study: Command, simulated: Runs) -> None:
        outcome = study("--epsilons", "1", "--modes", "local", "--draws", "1")
        assert "0.800" in outcome.out
        assert "±" not in outcome.out

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

    def test_json_is_the_file_and_nothing_else(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        outcome = study("--epsilons", "1,none", "--modes", "local", "--draws", "1", "--json")
        assert outcome.code == 0
        assert outcome.out == (tmp_path / "study" / "epsilon.json").read_text(encoding="utf-8")
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
        assert "0.800" in stopped.out
        assert read(tmp_path / "study" / "epsilon.json")["finished"] == 2
        assert (tmp_path / "study" / ALIGNMENT_PICTURE).exists()
        simulated.names.clear()
        done = study(*words)
        assert done.code == 0
        assert simulated.names == ["none-seed0"]
        assert read(tmp_path / "study" / "epsilon.json")["finished"] == 3

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
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("round 0/"):
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
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
    study = read(out / "epsilon.json")
    assert [(row["mode"], row["epsilon"]) for row in study["rows"]] == [
        ("distributed", 8.0),
        ("none", None),
    ]
    for row, name in zip(study["rows"], ("distributed-eps8-seed0", "none-seed0"), strict=True):
        check_row(row, out / "runs" / name)
    private, free = (
        read(out / "runs" / n / "split.json") for n in ("distributed-eps8-seed0", "none-seed0")
    )
    assert private == free == read(out / "split.json")
    assert study["finished"] == study["runs"] == 2
    assert (study["train_groups"], study["held_out_groups"]) == (4, 2)
    assert f"{study['rows'][0]['alignment']:.3f}" in outcome.out
    for picture in (ALIGNMENT_PICTURE, LOG_LOSS_PICTURE):
        assert f"Picture: {out / picture}" in outcome.out
        assert (out / picture).stat().st_size > 10_000
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
    assert (row["noise_multiplier"] is None) == (row["mode"] == "none")
    assert (row["mode"], row["epsilon"]) == (
        result["privacy"]["mode"],
        result["privacy"]["epsilon"],
    )
    first = json.loads((folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["round"] == 0
    assert row["untrained"] == first["alignment"]
    assert row["untrained"] is not None
    assert row["untrained_log_loss"] == first.get("log_loss")
    measured = {name: value for name, value in row.items() if value is None}
    assert set(measured) <= {"epsilon", "noise_multiplier", "untrained_log_loss"}
