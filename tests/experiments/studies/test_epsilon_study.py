"""A study of epsilon: its runs, what is kept of them and what refused, its rows and means."""

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
from experiments.studies.engine import MOST_DRAWS, execute, finished_result
from experiments.studies.epsilon_study import (
    CAVEATS,
    STUDY_FILE,
    EpsilonRun,
    describe,
    mean_rows,
    plan_study,
    read_epsilons,
    read_modes,
    row_of,
    summarise_study,
    write_study,
)
from server.config import PRIVATE_DEFAULTS, ConfigError, RunConfig

PlanStudy = Callable[..., tuple[EpsilonRun, ...]]


@pytest.fixture
def plan(tmp_path: Path, tiny_data: Path) -> PlanStudy:
    """Plan a study of the tiny data in ``study``, changed: ``plan(draws=2)``."""

    def call(**changes: Any) -> tuple[EpsilonRun, ...]:
        given: dict[str, Any] = {
            "data": str(tiny_data),
            "split": None,
            "out": tmp_path / "study",
            "epsilons": (1.0, 4.0, None),
            "modes": ("distributed", "local"),
            "draws": 1,
        }
        return plan_study(**{**given, **changes})

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
        rounds = [{"round": i, "alignment": 0.4 + i, "log_loss": 1.4 - i} for i in range(2)]
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
        self.results: dict[EpsilonRun, dict[str, Any]] = {}

    def finished(self, run: EpsilonRun, result: dict[str, Any]) -> None:
        assert run not in self.results, "handed over twice"
        self.results[run] = result

    def execute(self, runs: Sequence[EpsilonRun], *, overwrite: bool = False) -> None:
        execute(runs, overwrite=overwrite, say=self.said.append, finished=self.finished)


@pytest.fixture
def heard() -> Heard:
    return Heard()


class TestReading:
    def test_epsilons_rise_each_once_and_none_comes_last(self) -> None:
        assert read_epsilons("8, none,1,2.5,1.0,none") == (1.0, 2.5, 8.0, None)
        assert read_epsilons("none") == (None,)
        assert read_epsilons("1e-3,50") == (0.001, 50.0)

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("", ""), ("1,", ""), ("1,two", "two"), ("0", "0"), ("-1", "-1"), ("50.1", "50.1"),
            ("nan", "nan"), ("inf", "inf"), ("None", "None"), ("1;4", "1;4"),
        ],
    )  # fmt: skip
    def test_what_is_no_epsilon_is_named_with_bound_and_remedy(self, text: str, word: str) -> None:
        with pytest.raises(ConfigError) as refused:
            read_epsilons(text)
        assert str(refused.value) == (
            f"--epsilons {text!r}: {word!r} must be 'none' or a number in (0, 50], "
            "as in --epsilons 1,4,none"
        )

    def test_modes_keep_their_order_each_once(self) -> None:
        assert read_modes("local, distributed,local") == ("local", "distributed")
        assert read_modes("distributed") == ("distributed",)

    @pytest.mark.parametrize(("text", "word"), [("", ""), ("local,none", "none"), ("l", "l")])
    def test_what_is_no_mode_is_named(self, text: str, word: str) -> None:
        with pytest.raises(ConfigError) as refused:
            read_modes(text)
        assert str(refused.value) == (
            f"--modes {text!r}: {word!r} must be 'distributed' or 'local'"
        )

    def test_places_in_words(self) -> None:
        assert describe("local", 0.5) == "local, epsilon 0.5"
        assert describe("none", None) == "no privacy"


class TestPlan:
    def test_draw_by_draw_the_least_epsilon_first_in_folders_of_their_own(
        self, plan: PlanStudy, tmp_path: Path
    ) -> None:
        runs = plan(epsilons=(0.5, 4.0, None), draws=2)
        assert [str(run) for run in runs] == [
            f"{place}, draw {draw}"
            for draw in (1, 2)
            for place in (
                *("distributed, epsilon 0.5", "local, epsilon 0.5"),
                *("distributed, epsilon 4", "local, epsilon 4", "no privacy"),
            )
        ]
        assert [run.out.relative_to(tmp_path / "study").as_posix() for run in runs[5:]] == [
            "runs/distributed-eps0.5-seed1",
            "runs/local-eps0.5-seed1",
            "runs/distributed-eps4-seed1",
            "runs/local-eps4-seed1",
            "runs/none-seed1",
        ]
        assert len({run.out for run in runs}) == len(runs)

    def test_every_run_has_the_settings_of_its_place(
        self, plan: PlanStudy, tiny_data: Path
    ) -> None:
        for run in plan(draws=2, assignments=["privacy.unit=record", "predictor.lora_rank=2"]):
            config = run.config
            assert (config.data, config.seed) == (str(tiny_data), run.seed)
            assert (config.privacy.mode, config.privacy.unit) == (run.mode, "record")
            assert config.predictor.lora_rank == 2
            if run.epsilon is not None:
                assert config.privacy.epsilon == run.epsilon
            # Each kind has the defaults that the product gives it.
            width = PRIVATE_DEFAULTS["predictor.head_width"]
            assert (config.predictor.head_width == width) == (run.mode != "none")

    def test_without_none_every_run_is_private(self, plan: PlanStudy) -> None:
        assert [run.mode for run in plan(epsilons=(1.0,))] == ["distributed", "local"]
        assert [run.mode for run in plan(epsilons=(None,))] == ["none"]

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
        runs = plan(split=mine, out=tmp_path / "other", draws=2)
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
        assert str(refused.value) == (
            f"--set {assignment.replace('=3', '=3.0')}: the study sets it itself; use --data, "
            "--split, --out, --epsilons, --modes or --draws"
        )
        assert not (tmp_path / "study").exists()

    def test_a_file_of_settings_counts_for_all_runs(self, plan: PlanStudy, tmp_path: Path) -> None:
        file = tmp_path / "study.toml"
        file.write_text("[privacy]\nunit = 'record'\ndelta = 1e-4\n", encoding="utf-8")
        runs = plan(config=file, assignments=["privacy.delta=1e-3"])
        assert {run.config.privacy.unit for run in runs} == {"record"}
        assert {run.config.privacy.delta for run in runs} == {1e-3}

    @pytest.mark.parametrize("draws", [0, -1, MOST_DRAWS + 1])
    def test_draws_out_of_bounds(self, plan: PlanStudy, draws: int) -> None:
        with pytest.raises(ConfigError, match=rf"^--draws {draws} must lie in \[1, 1000\]$"):
            plan(draws=draws)

    def test_a_file_is_no_folder_for_a_study(self, plan: PlanStudy, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ConfigError, match="file: is a file; name a folder"):
            plan(out=tmp_path / "file")

    def test_bad_settings_and_bad_data_write_nothing(self, plan: PlanStudy, tmp_path: Path) -> None:
        nowhere = str(tmp_path / "nowhere")
        for changes, said in (
            ({"assignments": ["privacy.epsilonn=1"]}, "unknown setting 'privacy.epsilonn'"),
            ({"data": nowhere}, nowhere),
            ({"split": Path(nowhere)}, f"{nowhere}: cannot be read"),
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
        (run,) = plan(epsilons=(None,), split=split)
        simulated(run.config)
        (tmp_path / "study").rename(tmp_path / "moved")
        (moved,) = plan(epsilons=(None,), split=split, out=tmp_path / "moved")
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
            "run 3 of 6: no privacy, draw 1, about 0 h 40 min left",
            "run 4 of 6: distributed, epsilon 1, draw 2, about 0 h 30 min left",
            "run 5 of 6: local, epsilon 1, draw 2, about 0 h 20 min left",
            "run 6 of 6: no privacy, draw 2, about 0 h 10 min left",
        ]

    def test_what_has_finished_is_kept_and_counted(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        runs = plan()
        for run in (runs[1], runs[3]):
            simulated(run.config)
        simulated.configs.clear()
        heard.execute(runs)
        assert simulated.names == ["distributed-eps1-seed0", "distributed-eps4-seed0", "none-seed0"]
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
        assert simulated.names == ["none-seed1", "none-seed2"]

    def test_a_run_with_other_settings_stops_all_before_anything_happens(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        Heard().execute(plan(epsilons=(1.0,)))
        simulated.configs.clear()
        # A finished run of this very study comes before the one that is refused.
        runs = plan(epsilons=(0.5, 1.0), assignments=["training.batch_size=5"])
        simulated(runs[0].config)
        simulated.configs.clear()
        with pytest.raises(ConfigError, match=r"distributed-eps1-seed0: was run with training\.b"):
            heard.execute(runs)
        assert simulated.configs == []
        assert (heard.said, heard.results) == ([], {})

    def test_overwriting_replaces_what_differs_and_nothing_else(
        self, plan: PlanStudy, simulated: Runs, heard: Heard
    ) -> None:
        Heard().execute(plan(epsilons=(1.0,)))
        runs = plan(epsilons=(1.0, 4.0), assignments=["training.batch_size=5"])
        simulated(runs[2].config)
        (runs[3].out).mkdir(parents=True)
        (runs[3].out / "result.json").write_text("{", encoding="utf-8")
        simulated.configs.clear()
        heard.execute(runs, overwrite=True)
        assert simulated.configs == [runs[0].config, runs[1].config, runs[3].config]
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

    def test_the_time_left_goes_by_mode_and_ends_within_a_minute(
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


def a_run(out: Path, mode: str = "local", epsilon: float | None = 1.0, seed: int = 0) -> EpsilonRun:
    return EpsilonRun(
        kind=describe(mode, epsilon),
        mode=mode,
        epsilon=epsilon,
        seed=seed,
        config=RunConfig(out=str(out)),
    )


class TestRows:
    def test_a_row_holds_the_figures_of_the_run_and_of_round_0(
        self, plan: PlanStudy, simulated: Runs
    ) -> None:
        run = plan()[1]
        assert row_of(run, simulated(run.config)) == {
            "mode": "local",
            "epsilon": 1.0,
            "seed": 0,
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

    @pytest.mark.parametrize("result", [{}, {"alignment": None}, {"alignment": {"uniform": None}}])
    def test_what_is_missing_is_none(self, tmp_path: Path, result: Mapping[str, Any]) -> None:
        row = row_of(a_run(tmp_path), result)
        assert (row.pop("mode"), row.pop("epsilon"), row.pop("seed")) == ("local", 1.0, 0)
        assert len(row) == 16
        assert set(row.values()) == {None}

    @pytest.mark.parametrize(
        ("text", "untrained"),
        [
            ('{"round": 0, "alignment": 0.7, "log_loss": 1.0}\n{"round": 1}\n', (0.7, 1.0)),
            ('{"round": 0, "alignment": 0.7}\n', (0.7, None)),
            ('{"round": 0, "alignment": null, "log_loss": null}', (None, None)),
            ('{"round": 1, "alignment": 0.7, "log_loss": 1.0}\n', (None, None)),
            ("", (None, None)),
            ("{broken\n", (None, None)),
            ("[0]\n", (None, None)),
        ],
    )
    def test_what_came_before_training_is_read_as_far_as_it_is_there(
        self, tmp_path: Path, text: str, untrained: tuple[float | None, float | None]
    ) -> None:
        (tmp_path / "rounds.jsonl").write_text(text, encoding="utf-8")
        row = row_of(a_run(tmp_path), {})
        assert (row["untrained"], row["untrained_log_loss"]) == untrained


class TestMeans:
    def test_mean_and_spread_over_the_draws_of_each_place(self, tmp_path: Path) -> None:
        rows = []
        for mode, epsilon, scores in (
            ("local", 1.0, (0.5, 0.6, 0.8)), ("local", 4.0, (0.7,)), ("none", None, (0.8, 0.9)),
        ):  # fmt: skip
            for seed, score in enumerate(scores):
                own = {"unseen_groups": {"mean": score}}
                rows.append(row_of(a_run(tmp_path, mode, epsilon, seed), {"alignment": own}))
        first, second, third = mean_rows(rows)
        assert (first["mode"], first["epsilon"], first["draws"]) == ("local", 1.0, 3)
        assert first["alignment"]["mean"] == pytest.approx(1.9 / 3)
        assert first["alignment"]["spread"] == pytest.approx(statistics.stdev((0.5, 0.6, 0.8)))
        assert (second["draws"], second["alignment"]) == (1, {"mean": 0.7, "spread": None})
        assert (third["mode"], third["epsilon"], third["draws"]) == ("none", None, 2)
        assert third["alignment"]["mean"] == pytest.approx(0.85)
        assert first["log_loss"] == {"mean": None, "spread": None}

    def test_draws_that_were_not_measured_do_not_count(self, tmp_path: Path) -> None:
        scores = (0.5, None, float("nan"), 0.7)
        rows = [
            row_of(
                a_run(tmp_path, seed=seed), {"alignment": {"unseen_groups": {"mean": score}}}
            )
            for seed, score in enumerate(scores)
        ]  # fmt: skip
        (mean,) = mean_rows(rows)
        assert mean["draws"] == 4
        assert mean["alignment"]["mean"] == pytest.approx(0.6)
        assert mean["alignment"]["spread"] == pytest.approx(statistics.stdev((0.5, 0.7)))

    def test_no_rows_no_means(self) -> None:
        assert mean_rows([]) == []


class TestStudy:
    def test_rows_stand_in_the_order_of_modes_epsilons_and_draws(
        self, plan: PlanStudy, simulated: Runs, heard: Heard, tiny_data: Path, tmp_path: Path
    ) -> None:
        runs = plan(modes=("local", "distributed"), draws=2, assignments=["privacy.delta=1e-4"])
        heard.execute(runs)
        study = summarise_study(runs, heard.results)
        places = [(row["mode"], row["epsilon"], row["seed"]) for row in study["rows"]]
        assert places == [
            *(("distributed", epsilon, seed) for epsilon in (1.0, 4.0) for seed in (0, 1)),
            *(("local", epsilon, seed) for epsilon in (1.0, 4.0) for seed in (0, 1)),
            *(("none", None, seed) for seed in (0, 1)),
        ]
        means = [(mean["mode"], mean["epsilon"], mean["draws"]) for mean in study["means"]]
        assert means == [(mode, epsilon, 2) for mode, epsilon, seed in places if seed == 0]
        assert study["means"][0]["alignment"]["mean"] == pytest.approx(0.55)
        assert {name: value for name, value in study.items() if name not in ("rows", "means")} == {
            "runs": 10,
            "finished": 10,
            "data": str(tiny_data),
            "split": str(tmp_path / "study" / "split.json"),
            "unit": "respondent",
            "delta": 1e-4,
            "train_groups": 4,
            "held_out_groups": 2,
            "caveats": list(CAVEATS),
        }

    def test_an_unfinished_study_counts_what_it_has(self, plan: PlanStudy, simulated: Runs) -> None:
        runs = plan()
        study = summarise_study(runs, {runs[2]: simulated(runs[2].config)})
        assert (study["runs"], study["finished"], len(study["rows"])) == (5, 1, 1)
        assert study["rows"][0]["epsilon"] == 4.0
        empty = summarise_study(runs, {})
        assert (empty["finished"], empty["rows"], empty["train_groups"]) == (0, [], None)

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

    def test_caveats_say_that_runs_add_up_and_that_none_differs_by_more_than_noise(self) -> None:
        adds_up, differs = CAVEATS
        assert "runs on the same data add up" in adds_up
        assert "differ from private runs by more than noise" in differs


def test_runs_can_be_told_apart_and_looked_up(plan: PlanStudy) -> None:
    runs = plan(draws=2)
    assert len({run: 0 for run in runs}) == len(runs)
    assert replace(runs[0]) in {run: 0 for run in runs}
