"""Runs of a study: planned, what is kept of them and what refused, their rows and means."""

import json
import os
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignment.data.population import load_population
from alignment.data.split import SplitError
from experiments.studies.engine import MOST_DRAWS, check_draws, execute, finished_result, mean_rows
from experiments.studies.figures import FIGURES
from experiments.studies.file import Case, Study
from experiments.studies.plan import ConditionRun, fix_splits, plan_runs
from experiments.studies.summary import STUDY_FILE, summarise_study, write_study
from server.config import ConfigError, RunConfig
from server.presets import PRIVATE_DEFAULTS

PlanStudy = Callable[..., tuple[ConditionRun, ...]]
Epsilons = tuple[float | None, ...]


def study_of(
    data: str,
    *,
    epsilons: Epsilons = (1.0, 4.0, None),
    modes: Sequence[str] = ("distributed", "local"),
    draws: int = 1,
    split: str = "",
) -> Study:
    """Modes against epsilons, and beside them, for None, a case alone."""
    values = tuple(each for each in epsilons if each is not None)
    cases = {mode: Case(settings={"privacy.mode": mode}) for mode in modes if values}
    if None in epsilons:
        cases["non-private"] = Case(settings={"privacy.mode": "none"}, alone=True)
    return Study(
        source="the study", title="Trial", data=data, split=split, draws=draws,
        vary={"privacy.epsilon": values} if values else {}, cases=cases,
    )  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, tiny_data: Path) -> PlanStudy:
    """Plan a study of the tiny data in ``study``, changed: ``plan(draws=2)``."""

    def call(
        *,
        out: Path = tmp_path / "study",
        data: str = str(tiny_data),
        assignments: Sequence[str] = (),
        config: Path | None = None,
        **changes: Any,
    ) -> tuple[ConditionRun, ...]:
        study = study_of(data, **changes)
        runs = plan_runs(study, out, config=config, assignments=assignments)
        fix_splits(study, runs, out)
        return runs

    return call


def result_of(config: RunConfig, **figures: Any) -> dict[str, Any]:
    """A result with the shape of a real one; a better seed is better by .1."""
    score = 0.5 + 0.1 * config.seed
    own = {"mean": score, "seen_questions": 0.6, "unseen_questions": 0.4, "worst_group": 0.3}
    return {
        "alignment": {
            "unseen_groups": {**own, "log_loss": 1.1},
            "without_context": {"mean": 0.45, "log_loss": 1.2},
            "uniform": {"mean": 0.35, "log_loss": 1.3},
            "question_mean": {"mean": 0.48, "log_loss": 1.15},
        },
        "context_swap_drop": 0.02,
        "privacy": {"noise_multiplier": 2.5} if config.privacy.private else {},
        "seconds": {"total": 600.0},
        "data": {"train_groups": 4, "held_out_groups": 2},
        "config": config.nested(),
        **figures,
    }


class Runs:
    """Stands in for real simulations: leaves their files, and remembers what was asked for."""

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []
        self.overwrites: list[bool] = []

    def __call__(self, config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
        self.configs.append(config)
        self.overwrites.append(overwrite)
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        result = result_of(config)
        population = load_population(
            config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
        )
        (out / "split.json").write_text(population.split.to_json(), encoding="utf-8")
        usual = {"groups": 4, "seconds_train": 1.0, "seconds_secagg": 0.5}
        rounds = [
            {**usual, "round": i, "alignment": 0.4 + i, "log_loss": 1.4 - i} for i in range(2)
        ]
        lines = "".join(json.dumps(record) + "\n" for record in rounds)
        (out / "rounds.jsonl").write_text(lines, encoding="utf-8")
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result

    @property
    def names(self) -> list[str]:
        return [Path(config.out).name for config in self.configs]


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Every simulation, none of which is real."""
    runs = Runs()
    monkeypatch.setattr("experiments.simulation.run.run", runs)
    yield runs


class Heard:
    """What a study says and hands over, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.results: dict[ConditionRun, dict[str, Any]] = {}

    def finished(self, run: ConditionRun, result: dict[str, Any]) -> None:
        assert run not in self.results, "handed over twice"
        self.results[run] = result

    def execute(self, runs: Sequence[ConditionRun], *, overwrite: bool = False) -> None:
        execute(runs, overwrite=overwrite, say=self.said.append, finished=self.finished)


@pytest.fixture
def heard() -> Heard:
    return Heard()


class TestPlan:
    def test_draw_by_draw_the_first_value_first_in_folders_of_their_own(
        self, plan: PlanStudy, tmp_path: Path
    ) -> None:
        runs = plan(epsilons=(0.5, 4.0, None), draws=2)
        assert [str(run) for run in runs] == [
            f"{condition}, draw {draw}"
            for draw in (1, 2)
            for condition in (
                *("distributed, epsilon 0.5", "distributed, epsilon 4"),
                *("local, epsilon 0.5", "local, epsilon 4", "non-private"),
            )
        ]
        assert [run.out.relative_to(tmp_path / "study").as_posix() for run in runs[5:]] == [
            "runs/distributed,epsilon=0.5-seed1",
            "runs/distributed,epsilon=4-seed1",
            "runs/local,epsilon=0.5-seed1",
            "runs/local,epsilon=4-seed1",
            "runs/non-private-seed1",
        ]
        assert len({run.out for run in runs}) == len(runs)

    def test_every_run_has_the_settings_of_its_condition(
        self, plan: PlanStudy, tiny_data: Path
    ) -> None:
        runs = plan(draws=2, assignments=["privacy.unit=record", "predictor.lora_rank=2"])
        modes = [("distributed", 1.0), ("distributed", 4.0), ("local", 1.0), ("local", 4.0)]
        for run in runs:
            config = run.config
            assert (config.data, config.seed) == (str(tiny_data), run.seed)
            assert (config.privacy.unit, config.predictor.lora_rank) == ("record", 2)
            alone = run.condition == 4
            if not alone:
                found = (config.privacy.mode, config.privacy.epsilon)
                assert found == modes[run.condition]
            # Each kind has the defaults that the product gives it.
            width, counted = PRIVATE_DEFAULTS["predictor.head_width"], config.privacy.counted
            assert counted == (config.privacy.mode == "local")
            assert (config.predictor.head_width == width) == (not alone and not counted)
            assert (config.privacy.mode == "none") == alone

    def test_what_stands_alone_meets_no_value(self, plan: PlanStudy) -> None:
        assert [run.kind for run in plan(epsilons=(1.0,))] == [
            "distributed, epsilon 1",
            "local, epsilon 1",
        ]
        assert [run.kind for run in plan(epsilons=(None,))] == ["non-private"]

    def test_a_split_is_drawn_once_and_holds_for_every_draw(
        self, plan: PlanStudy, tmp_path: Path, tiny_data: Path
    ) -> None:
        runs = plan(draws=3)
        file = tmp_path / "study" / "split.json"
        assert {run.config.split for run in runs} == {str(file)}
        drawn = load_population(str(tiny_data), split="", seed=0, skip_invalid=False).split
        assert file.read_text(encoding="utf-8") == drawn.to_json()
        os.utime(file, ns=(1, 1))
        plan(draws=1)
        assert file.stat().st_mtime_ns == 1

    def test_a_split_that_is_given_is_used_as_it_is(self, plan: PlanStudy, tmp_path: Path) -> None:
        plan()
        mine = (tmp_path / "study" / "split.json").rename(tmp_path / "mine.json")
        runs = plan(split=str(mine), out=tmp_path / "other", draws=2)
        assert {run.config.split for run in runs} == {str(mine)}
        assert not (tmp_path / "other").exists()

    @pytest.mark.parametrize(
        "assignment",
        [
            "privacy.epsilon=3", "privacy.mode=none", "seed=7", "out=elsewhere", "data=sample",
            "split=other.json",
        ],
    )  # fmt: skip
    def test_what_the_study_sets_itself_cannot_be_set(
        self, plan: PlanStudy, tmp_path: Path, assignment: str
    ) -> None:
        with pytest.raises(ConfigError) as refused:
            plan(assignments=[assignment])
        key = assignment.partition("=")[0]
        assert str(refused.value) == f"--set {key}: the study sets it; change it there"
        assert not (tmp_path / "study").exists()

    def test_a_file_of_settings_counts_for_all_runs(self, plan: PlanStudy, tmp_path: Path) -> None:
        file = tmp_path / "study.toml"
        file.write_text("[privacy]\nunit = 'record'\ndelta = 1e-4\n", encoding="utf-8")
        runs = plan(config=file, assignments=["privacy.delta=1e-3"])
        assert {run.config.privacy.unit for run in runs} == {"record"}
        assert {run.config.privacy.delta for run in runs} == {1e-3}

    def test_a_file_is_no_folder_for_a_study(self, plan: PlanStudy, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ConfigError, match="file: is a file; name a folder"):
            plan(out=tmp_path / "file")

    def test_bad_settings_and_bad_data_write_nothing(self, plan: PlanStudy, tmp_path: Path) -> None:
        nowhere = str(tmp_path / "nowhere")
        for changes, said in (
            ({"assignments": ["privacy.epsilonn=1"]}, "unknown setting 'privacy.epsilonn'"),
            ({"data": nowhere}, nowhere),
            ({"split": nowhere}, f"{nowhere}: cannot be read"),
        ):
            with pytest.raises(ValueError, match=re.escape(said)):
                plan(**changes)
            assert not (tmp_path / "study").exists()


class TestFinished:
    def test_nothing_there_is_nothing_finished(self, plan: PlanStudy) -> None:
        (run,) = plan(epsilons=(None,))
        assert finished_result(run) is None
        run.out.mkdir(parents=True)
        assert finished_result(run) is None

    def test_a_run_of_the_same_settings_is_found(self, plan: PlanStudy, simulated: Runs) -> None:
        (run,) = plan(epsilons=(None,))
        assert finished_result(run) is None
        result = simulated(run.config)
        assert finished_result(run) == result

    def test_a_folder_that_was_moved_is_the_same_run(
        self, plan: PlanStudy, simulated: Runs, tmp_path: Path
    ) -> None:
        split = tmp_path / "split.json"
        (run,) = plan(epsilons=(None,))
        Path(run.config.split).rename(split)
        (run,) = plan(epsilons=(None,), split=str(split))
        simulated(run.config)
        (tmp_path / "study").rename(tmp_path / "moved")
        (moved,) = plan(epsilons=(None,), split=str(split), out=tmp_path / "moved")
        assert finished_result(moved) is not None

    def test_other_settings_are_named_with_a_remedy(self, plan: PlanStudy, simulated: Runs) -> None:
        (run,) = plan(epsilons=(None,), assignments=["training.batch_size=4"])
        simulated(run.config)
        (other,) = plan(epsilons=(None,), assignments=["training.batch_size=5"])
        with pytest.raises(ConfigError) as refused:
            finished_result(other)
        assert str(refused.value) == (
            f"{run.out}: was run with training.batch_size = 4, not 5; "
            "choose another --out, or --overwrite to run it again"
        )

    @pytest.mark.parametrize("more", ["then", "now"])
    def test_a_setting_that_only_one_version_knows_is_another(
        self, plan: PlanStudy, simulated: Runs, more: str
    ) -> None:
        (run,) = plan(epsilons=(None,))
        result = simulated(run.config)
        if more == "then":
            result["config"]["training"]["bravery"] = 9
            said = "training.bravery = 9, not None"
        else:
            del result["config"]["training"]["batch_size"]
            said = f"training.batch_size = None, not {run.config.training.batch_size}"
        (run.out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            finished_result(run)

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", "null", "{}", '{"config": 7}', '{"config": {"seed": [1]}}', "\x00",
            "no seconds", "seconds unknown",
        ],
    )  # fmt: skip
    def test_a_damaged_file_is_named_with_a_remedy(
        self, plan: PlanStudy, simulated: Runs, text: str
    ) -> None:
        (run,) = plan(epsilons=(None,))
        result = simulated(run.config)
        if text == "no seconds":
            del result["seconds"]
            text = json.dumps(result)
        elif text == "seconds unknown":
            text = json.dumps({**result, "seconds": {"total": None}})
        (run.out / "result.json").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as refused:
            finished_result(run)
        assert str(refused.value) == (
            f"{run.out / 'result.json'}: is not the result of a run; "
            "choose another --out, or --overwrite to run it again"
        )

    def test_another_split_under_the_same_name_is_another_run(
        self, plan: PlanStudy, simulated: Runs
    ) -> None:
        (run,) = plan(epsilons=(None,))
        simulated(run.config)
        file = Path(run.config.split)
        split = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(split), encoding="utf-8")
        assert finished_result(run) is not None, "written otherwise, it says the same"
        split["train_groups"].pop()
        file.write_text(json.dumps(split), encoding="utf-8")
        with pytest.raises(ConfigError, match=f"^{run.out}: was run with another split; choose"):
            finished_result(run)

    def test_a_split_that_is_gone_is_the_splits_error(
        self, plan: PlanStudy, simulated: Runs
    ) -> None:
        (run,) = plan(epsilons=(None,))
        simulated(run.config)
        Path(run.config.split).unlink()
        with pytest.raises(SplitError, match=r"split\.json: cannot be read"):
            finished_result(run)


class TestExecute:
    def test_all_is_run_in_order_and_said(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        runs = plan(epsilons=(1.0, None), draws=2)
        heard.execute(runs)
        assert simulated.configs == [run.config for run in runs]
        assert list(heard.results) == list(runs)
        assert heard.results == {run: result_of(run.config) for run in runs}
        assert heard.said == [
            "run 1 of 6: distributed, epsilon 1, draw 1",
            "run 2 of 6: local, epsilon 1, draw 1, about 0 h 50 min left",
            "run 3 of 6: non-private, draw 1, about 0 h 40 min left",
            "run 4 of 6: distributed, epsilon 1, draw 2, about 0 h 30 min left",
            "run 5 of 6: local, epsilon 1, draw 2, about 0 h 20 min left",
            "run 6 of 6: non-private, draw 2, about 0 h 10 min left",
        ]

    def test_what_has_finished_is_kept_and_counted(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        runs = plan()
        for run in (runs[1], runs[3]):
            simulated(run.config)
        simulated.configs.clear()
        heard.execute(runs)
        assert simulated.names == [
            "distributed,epsilon=1-seed0", "local,epsilon=1-seed0", "non-private-seed0",
        ]  # fmt: skip
        assert set(heard.results) == set(runs)
        assert list(heard.results)[:2] == [runs[1], runs[3]]
        assert heard.said[0] == "2 of 5 runs had finished before"
        assert heard.said[1].startswith("run 3 of 5: distributed, epsilon 1, draw 1, about 0 h 30")

    def test_a_study_that_has_finished_runs_nothing(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        runs = plan(draws=2)
        Heard().execute(runs)
        simulated.configs.clear()
        heard.execute(runs, overwrite=True)
        assert simulated.configs == []
        assert len(heard.results) == len(runs)
        assert heard.said == ["10 of 10 runs had finished before"]

    def test_more_draws_go_on_from_fewer(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        Heard().execute(plan(epsilons=(None,)))
        simulated.configs.clear()
        heard.execute(plan(epsilons=(None,), draws=3))
        assert simulated.names == ["non-private-seed1", "non-private-seed2"]

    def test_a_run_with_other_settings_stops_all_before_anything_happens(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        Heard().execute(plan(epsilons=(1.0,)))
        simulated.configs.clear()
        # A finished run of this very study comes before the one that is refused.
        runs = plan(epsilons=(0.5, 1.0), assignments=["training.batch_size=5"])
        simulated(runs[0].config)
        simulated.configs.clear()
        with pytest.raises(
            ConfigError, match=r"distributed,epsilon=1-seed0: was run with training\.b"
        ):
            heard.execute(runs)
        assert simulated.configs == []
        assert (heard.said, heard.results) == ([], {})

    def test_overwriting_replaces_what_differs_and_nothing_else(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        Heard().execute(plan(epsilons=(1.0,)))
        runs = plan(epsilons=(1.0, 4.0), assignments=["training.batch_size=5"])
        simulated(runs[1].config)
        (runs[3].out).mkdir(parents=True)
        (runs[3].out / "result.json").write_text("{", encoding="utf-8")
        simulated.configs.clear()
        heard.execute(runs, overwrite=True)
        assert simulated.configs == [runs[0].config, runs[2].config, runs[3].config]
        assert simulated.overwrites[-3:] == [True] * 3
        assert heard.said[0] == "1 of 4 runs had finished before"
        assert all(finished_result(run) is not None for run in runs)

    def test_what_finished_before_a_failure_has_been_handed_over(
        self, plan: PlanStudy, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs, real = plan(epsilons=(1.0,)), Runs()

        def fail(config: RunConfig, *, overwrite: bool) -> dict[str, Any]:
            if config.privacy.mode == "local":
                raise RuntimeError("no")
            return real(config, overwrite=overwrite)

        monkeypatch.setattr("experiments.simulation.run.run", fail)
        with pytest.raises(RuntimeError):
            heard.execute(runs)
        assert list(heard.results) == [runs[0]]

    def test_the_time_left_goes_by_kind_and_ends_within_a_minute(
        self, plan: PlanStudy, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds = {"distributed": 4000.0, "local": 10.0, "none": 5.0}

        def quick(config: RunConfig, *, overwrite: bool) -> dict[str, Any]:
            return result_of(config, seconds={"total": seconds[config.privacy.mode]})

        monkeypatch.setattr("experiments.simulation.run.run", quick)
        heard.execute(plan(epsilons=(1.0, None), draws=2))
        left = [line.partition(", about ")[2] for line in heard.said]
        # 5, then 4, 3 and 2 runs; unknown modes take as long as the mean of all.
        assert left[1:4] == ["5 h 33 min left", "2 h 14 min left", "1 h 07 min left"]
        assert [line.rpartition(", ")[2] for line in heard.said[4:]] == ["a minute left"] * 2


def rows_of(run: ConditionRun, result: Mapping[str, Any], data: Path) -> Mapping[str, Any]:
    """The only row of a study of one finished run."""
    study = study_of(str(data))
    runs = plan_runs(study, run.out.parents[1])
    return dict(summarise_study(study, runs, {run: result})["rows"][0])


class TestRows:
    def test_a_row_holds_the_figures_of_the_run_and_of_round_0(
        self, plan: PlanStudy, simulated: Runs, tiny_data: Path
    ) -> None:
        run = plan()[2]
        row = rows_of(run, simulated(run.config), tiny_data)
        expected = {
            "condition": 2,
            "seed": 0,
            "run": "local,epsilon=1-seed0",
            "alignment": 0.5,
            "seen_questions": 0.6,
            "unseen_questions": 0.4,
            "worst_group": 0.3,
            "without_context": 0.45,
            "uniform": 0.35,
            "question_mean": 0.48,
            "log_loss": 1.1,
            "without_context_log_loss": 1.2,
            "uniform_log_loss": 1.3,
            "question_mean_log_loss": 1.15,
            "context_swap_drop": 0.02,
            "noise_multiplier": 2.5,
            "seconds": 600.0,
            "untrained": 0.4,
            "untrained_log_loss": 1.4,
        }
        assert {name: row[name] for name in expected} == expected

    @pytest.mark.parametrize("result", [{}, {"alignment": None}, {"alignment": {"uniform": None}}])
    def test_what_is_missing_is_none(
        self, plan: PlanStudy, tiny_data: Path, result: Mapping[str, Any]
    ) -> None:
        row = rows_of(plan()[0], result, tiny_data)
        assert {row[name] for name in FIGURES} == {None}

    @pytest.mark.parametrize(
        ("record", "untrained"),
        [
            ({"round": 0, "alignment": 0.7, "log_loss": 1.0}, (0.7, 1.0)),
            ({"round": 0, "alignment": 0.7}, (0.7, None)),
            ({"round": 0, "alignment": None, "log_loss": None}, (None, None)),
            ({"round": 1, "alignment": 0.7, "log_loss": 1.0}, (None, None)),
        ],
    )
    def test_what_came_before_training_is_read_as_far_as_it_is_there(
        self,
        plan: PlanStudy,
        tiny_data: Path,
        record: Mapping[str, Any],
        untrained: tuple[float | None, float | None],
    ) -> None:
        run = plan()[0]
        run.out.mkdir(parents=True)
        usual = {"groups": 4, "seconds_train": 1.0, "seconds_secagg": 0.5}
        text = json.dumps({**usual, **record})
        (run.out / "rounds.jsonl").write_text(text, encoding="utf-8")
        row = rows_of(run, {}, tiny_data)
        assert (row["untrained"], row["untrained_log_loss"]) == untrained


class TestMeans:
    def test_mean_and_spread_over_the_draws_of_each_condition(self) -> None:
        rows = [
            {"mode": mode, "epsilon": epsilon, "alignment": score, "log_loss": None}
            for mode, epsilon, scores in (
                ("local", 1.0, (0.5, 0.6, 0.8)), ("local", 4.0, (0.7,)), ("none", None, (0.8, 0.9)),
            )
            for score in scores
        ]  # fmt: skip
        figures = ("alignment", "log_loss")
        first, second, third = mean_rows(rows, by=("mode", "epsilon"), figures=figures)
        assert (first["mode"], first["epsilon"], first["draws"]) == ("local", 1.0, 3)
        assert first["alignment"]["mean"] == pytest.approx(1.9 / 3)
        assert first["alignment"]["spread"] == pytest.approx(statistics.stdev((0.5, 0.6, 0.8)))
        assert (second["draws"], second["alignment"]) == (1, {"mean": 0.7, "spread": None})
        assert (third["mode"], third["epsilon"], third["draws"]) == ("none", None, 2)
        assert third["alignment"]["mean"] == pytest.approx(0.85)
        assert first["log_loss"] == {"mean": None, "spread": None}

    def test_draws_that_were_not_measured_do_not_count(self) -> None:
        rows = [{"mode": "local", "alignment": a} for a in (0.5, None, float("nan"), 0.7)]
        (mean,) = mean_rows(rows, by=("mode",), figures=("alignment",))
        assert mean["draws"] == 4
        assert mean["alignment"]["mean"] == pytest.approx(0.6)
        assert mean["alignment"]["spread"] == pytest.approx(statistics.stdev((0.5, 0.7)))

    def test_no_rows_no_means(self) -> None:
        assert mean_rows([], by=("mode",), figures=("alignment",)) == []


class TestStudy:
    def test_rows_stand_in_the_order_of_conditions_and_draws(
        self, plan: PlanStudy, simulated: Runs, heard: Heard, tiny_data: Path
    ) -> None:
        runs = plan(draws=2, assignments=["privacy.delta=1e-4"])
        heard.execute(runs)
        study = summarise_study(study_of(str(tiny_data), draws=2), runs, heard.results)
        conditions = [(row["condition"], row["seed"]) for row in study["rows"]]
        assert conditions == [(condition, seed) for condition in range(5) for seed in (0, 1)]
        means = [(mean["condition"], mean["draws"]) for mean in study["means"]]
        assert means == [(condition, 2) for condition in range(5)]
        assert study["means"][0]["alignment"]["mean"] == pytest.approx(0.55)
        assert (study["runs"], study["finished"], study["data"]) == (10, 10, str(tiny_data))
        config = study["conditions"][0]["config"]
        assert (config["privacy.delta"], config["privacy.unit"]) == (1e-4, "respondent")
        assert [each["varied"] for each in study["conditions"]] == [
            *({"privacy.epsilon": e} for e in (1.0, 4.0, 1.0, 4.0)), {},
        ]  # fmt: skip
        assert {row["train_groups"] for row in study["rows"]} == {4}
        assert {row["held_out_groups"] for row in study["rows"]} == {2}

    def test_an_unfinished_study_counts_what_it_has(
        self, plan: PlanStudy, simulated: Runs, tiny_data: Path
    ) -> None:
        runs, named = plan(), study_of(str(tiny_data))
        study = summarise_study(named, runs, {runs[1]: simulated(runs[1].config)})
        assert (study["runs"], study["finished"], len(study["rows"])) == (5, 1, 1)
        assert study["rows"][0]["condition"] == 1
        empty = summarise_study(named, runs, {})
        assert (empty["finished"], empty["rows"], empty["means"]) == (0, [], [])

    def test_it_is_written_completely_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "study"
        out.mkdir()
        assert write_study(out, {"rows": [1]}) == out / STUDY_FILE
        assert json.loads((out / STUDY_FILE).read_text(encoding="utf-8")) == {"rows": [1]}

        def full(*_: Any) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as context:
            context.setattr("os.replace", full)
            with pytest.raises(OSError, match="no space left"):
                write_study(out, {"rows": [1, 2]})
        assert json.loads((out / STUDY_FILE).read_text(encoding="utf-8")) == {"rows": [1]}
        write_study(out, {"rows": [1, 2]})
        assert [path.name for path in out.iterdir()] == [STUDY_FILE]


@pytest.mark.parametrize("draws", [0, -1, MOST_DRAWS + 1])
def test_draws_out_of_bounds(draws: int) -> None:
    with pytest.raises(ConfigError, match=rf"^--draws {draws} must lie in \[1, 1000\]$"):
        check_draws(draws)


def test_runs_can_be_told_apart_and_looked_up(plan: PlanStudy) -> None:
    runs = plan(draws=2)
    assert len({run: 0 for run in runs}) == len(runs)
    assert replace(runs[0]) in {run: 0 for run in runs}
