"""``fedaccord experiment compare``: what it plans, keeps and refuses, and one real comparison."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from alignment.config import PredictorConfig, TrainingConfig
from alignment.data.answers import GroupAnswers, tally
from alignment.data.loading import load_records
from alignment.data.population import Population, load_population
from alignment.data.records import Question
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.task import read_task
from clients.training import trainer
from experiments.compare.baselines import runs as baseline_runs
from experiments.compare.baselines.gpo_baselines import GpoBaseline, Recipe
from experiments.compare.baselines.methods import Fitted, Watch
from experiments.compare.baselines.registry import baselines
from experiments.compare.baselines.runs import BaselineRun
from experiments.compare.baselines.simple import Counted
from experiments.compare.comparison import BASELINES, METHODS, OWN, plan_comparison, read_methods
from experiments.compare.plots import CONVERGENCE_PICTURE, METHODS_PICTURE
from server.config import ConfigError, RunConfig, read_run_config
from strategies.wire.round_plan import RoundPlan

Command = Callable[..., Any]
SIMPLE = ("--methods", "uniform,position,train-mean")


@pytest.fixture
def compare(
    command: Command, tmp_path: Path, tiny_data: Path, as_options: Sequence[str]
) -> Command:
    """Run ``fedaccord experiment compare`` on the tiny data into ``study``."""

    def call(*more: object) -> Any:
        given = ("--data", tiny_data, "--out", tmp_path / "study", *as_options)
        without = [w for w in given if w != "federation.evaluate_every=2"]
        # Its "--set" went with it.
        place = given.index("federation.evaluate_every=2")
        del without[place - 1]
        return command("experiment", "compare", *without, *more)

    return call


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def one_line(outcome: Any) -> str:
    assert outcome.out == ""
    lines: list[str] = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    return lines[0]


class TestPlan:
    def plan(self, tiny_data: Path, out: Path, **changes: Any) -> Any:
        given: dict[str, Any] = {"methods": METHODS, "draws": 2, "gpo_rounds": 3, "split": None}
        return plan_comparison(data=str(tiny_data), out=out, **{**given, **changes})

    def test_every_method_is_planned_for_every_draw(self, tiny_data: Path, tmp_path: Path) -> None:
        plan = self.plan(tiny_data, tmp_path)
        assert [(run.method, run.seed) for run in plan.baselines] == [
            (method, seed) for seed in (0, 1) for method in BASELINES
        ]
        assert [(run.method, run.seed) for run in plan.runs] == [
            (method, seed) for seed in (0, 1) for method in OWN
        ]
        assert {run.config.split for run in plan.runs} == {str(tmp_path / "split.json")}
        assert len({run.out for run in plan.runs}) == 6
        assert len({run.path for run in plan.baselines}) == 16
        assert plan.count == 22

    def test_ways_of_running_differ_in_what_they_are_named_after(
        self, tiny_data: Path, tmp_path: Path
    ) -> None:
        product, frozen, private = (
            run.config for run in self.plan(tiny_data, tmp_path, draws=1).runs
        )
        default = RunConfig()
        assert product.federation == replace(default.federation, evaluate_every=1)
        assert product.federation.secure_aggregation
        assert (product.predictor, product.training) == (default.predictor, default.training)
        assert frozen.predictor == replace(product.predictor, lora_rank=0)
        assert (frozen.federation, frozen.training) == (product.federation, product.training)
        assert (private.privacy.mode, private.privacy.unit) == ("distributed", "record")
        assert private.privacy.epsilon == 8
        assert {product.privacy.mode, frozen.privacy.mode} == {"none"}

    def test_every_round_is_measured_unless_it_is_said_otherwise(
        self, tiny_data: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "some.toml"
        file.write_text("[federation]\nevaluate_every = 7\n", encoding="utf-8")
        for given, every in (
            ({}, 1),
            ({"config": file}, 7),
            ({"assignments": ["federation.evaluate_every=3"]}, 3),
        ):
            plan = self.plan(tiny_data, tmp_path / "out", **given)
            assert {run.config.federation.evaluate_every for run in plan.runs} == {every}

    def test_baselines_embed_with_the_encoder_of_the_runs(
        self, tiny_data: Path, tmp_path: Path, tiny_encoder: str
    ) -> None:
        plan = self.plan(
            tiny_data, tmp_path, assignments=[f"predictor.encoder={tiny_encoder}"], gpo_rounds=7
        )
        for run in plan.baselines:
            if run.method not in ("uniform", "position", "train-mean"):
                assert run.baseline.settings["encoder"] == tiny_encoder
            if run.method.startswith(("gpo", "pluralllm")):
                assert run.baseline.settings["rounds"] == 7

    def test_gpo_is_one_method_in_four_settings(self) -> None:
        known = baselines(PredictorConfig(), recipe=Recipe(), say=lambda _: None)
        settings = {
            name: (each.federated, each.rescaled)
            for name, each in known.items()
            if isinstance(each, GpoBaseline)
        }
        assert settings == {
            "gpo": (False, False),
            "gpo-rescaled": (False, True),
            "pluralllm": (True, False),
            "pluralllm-rescaled": (True, True),
        }
        assert tuple(known) == BASELINES

    def test_methods_are_read_in_their_order_each_once(self) -> None:
        assert read_methods("fedaccord, uniform,fedaccord") == ("uniform", "fedaccord")
        assert read_methods("all") == METHODS
        with pytest.raises(ConfigError, match="'much' must be one of uniform, position"):
            read_methods("uniform,much")


class TestFrozenControl:
    """Without adapters the adapter rounds train the head alone, as often and as fast."""

    def plan(self, config: RunConfig, *, train_adapter: bool) -> RoundPlan:
        from dataclasses import asdict

        return RoundPlan(
            run="run",
            round=3,
            seed=0,
            train_adapter=train_adapter,
            learning_rate_scale=0.5,
            predictor=asdict(config.predictor),
            training=asdict(config.training),
            context=asdict(config.context),
        )

    def train(
        self,
        settings: Mapping[str, Any],
        answers: GroupAnswers,
        monkeypatch: pytest.MonkeyPatch,
        *,
        train_adapter: bool,
        **changes: object,
    ) -> tuple[int, np.ndarray]:
        config = read_run_config({**settings, **changes})
        steps: list[int] = []
        step = trainer.torch.optim.AdamW.step

        def count(self: Any, *args: Any) -> Any:
            steps.append(1)
            return step(self, *args)

        with monkeypatch.context() as patched:
            patched.setattr(trainer.torch.optim.AdamW, "step", count)
            vector = to_vector(Predictor(config.predictor))
            task = read_task(self.plan(config, train_adapter=train_adapter))
            delta = trainer.train_locally(vector, answers, task).delta
        return len(steps), delta

    def test_it_takes_the_steps_of_the_run_with_adapters(
        self, tiny_settings: Mapping[str, Any], tiny_data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = tally(load_records(str(tiny_data)).records)["Group 0"]
        without, delta = self.train(
            tiny_settings, answers, monkeypatch, train_adapter=True, **{"predictor.lora_rank": 0}
        )
        adapted, _ = self.train(tiny_settings, answers, monkeypatch, train_adapter=True)
        assert without == adapted == 3
        assert np.abs(delta).max() > 0

    def test_each_is_a_step_of_the_head_as_in_warm_up(
        self, tiny_settings: Mapping[str, Any], tiny_data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = tally(load_records(str(tiny_data)).records)["Group 0"]
        changes = {"predictor.lora_rank": 0, "training.context_weight": 0}
        (one, warm), (two, frozen) = (
            self.train(tiny_settings, answers, monkeypatch, train_adapter=phase, **changes)
            for phase in (False, True)
        )
        assert one == two
        np.testing.assert_allclose(frozen, warm, atol=1e-6)
        assert TrainingConfig().learning_rate > 0
        assert np.abs(warm).max() > 1e-5


class Curious:
    """A baseline that remembers what it was given."""

    title = "curious"
    reads_context = True
    settings: ClassVar[dict[str, object]] = {}

    def __init__(self) -> None:
        self.given: list[tuple[Population, int]] = []

    def fit(self, population: Population, seed: int, *, watch: Watch) -> Fitted:
        self.given.append((population, seed))

        def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Any]:
            return [(1 / len(q.options),) * len(q.options) for q in questions]

        for done in range(8):
            watch(done, 7, predict)
        return Fitted(predict=predict, parameters=5)


class TestFitting:
    def test_a_baseline_is_given_train_groups_and_the_seed_alone(
        self, tmp_path: Path, tiny_data: Path
    ) -> None:
        population = load_population(str(tiny_data), split="", seed=0, skip_invalid=False)
        curious = Curious()
        run = BaselineRun(method="x", baseline=curious, seed=3, path=tmp_path / "x.json")
        told: list[tuple[int, bool]] = []
        result = baseline_runs.fit_baseline(
            run,
            population,
            data="digest",
            watch=lambda done, rounds, score: told.append((done, score is not None)),
        )
        ((given, seed),) = curious.given
        assert seed == 3
        assert set(given.answers) == set(population.split.train_groups)
        asked = {q.question_id for each in given.answers.values() for q in each.questions}
        assert asked and not asked & population.split.unseen_questions
        # Measured every fifth round and after the last, told of every one.
        assert told == [(done, done in (0, 5, 7)) for done in range(8)]
        assert [point["round"] for point in result["curve"]] == [0, 5, 7]
        assert result == read(tmp_path / "x.json")


class TestKeeping:
    def test_what_was_fitted_is_not_fitted_again(
        self, compare: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = compare(*SIMPLE, "--draws", "1", "--json")
        assert first.code == 0
        assert first.err.splitlines() == [
            "baseline 1 of 3: uniform, draw 1",
            "baseline 2 of 3: option position, draw 1",
            "baseline 3 of 3: train groups' mean, draw 1",
        ]
        assert json.loads(first.out) == read(tmp_path / "study" / "compare.json")
        monkeypatch.setattr(Counted, "fit", None)
        more = compare(*SIMPLE, "--draws", "1", "--json")
        assert (more.code, more.out) == (0, first.out)
        assert more.err.splitlines() == ["3 of 3 baselines had been fitted before"]

    def test_other_settings_are_refused_before_anything_is_done(
        self, compare: Command, tmp_path: Path, tiny_encoder: str
    ) -> None:
        words = ("--methods", "nearest", "--draws", "1")
        assert compare(*words).code == 0
        path = tmp_path / "study" / "baselines" / "nearest-seed0.json"
        before = path.read_bytes()
        changed = (*words, "--set", "predictor.max_tokens=32")
        refused = compare(*changed)
        assert refused.code == 2
        assert "was fitted with max_tokens = 64, not 32; choose another --out" in one_line(refused)
        assert path.read_bytes() == before
        assert compare(*changed, "--overwrite").code == 0
        assert read(path)["settings"]["max_tokens"] == 32

    def test_other_data_under_the_same_name_are_refused(
        self, command: Command, tmp_path: Path, tiny_rows: Sequence[Any], write_rows: Any
    ) -> None:
        data = write_rows(tmp_path / "mine.jsonl", tiny_rows)
        words = ("experiment", "compare", "--data", data, "--out", tmp_path / "study", *SIMPLE)
        assert command(*words, "--draws", "1").code == 0
        rows = [{**row, "choice": 0} for row in tiny_rows]
        write_rows(tmp_path / "mine.jsonl", rows)
        refused = command(*words, "--draws", "1")
        assert refused.code == 2
        assert "was fitted to other data or another split" in one_line(refused)

    def test_a_file_that_is_no_result_is_named(self, compare: Command, tmp_path: Path) -> None:
        path = tmp_path / "study" / "baselines" / "uniform-seed0.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}", encoding="utf-8")
        refused = compare(*SIMPLE)
        assert refused.code == 2
        assert f"{path}: is not the result of a baseline" in one_line(refused)

    def test_ctrl_c_keeps_what_has_been_fitted(
        self, compare: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, fitted = baseline_runs.fit_baseline, []

        def stop(run: Any, *args: Any, **more: Any) -> Any:
            if len(fitted) == 2:
                raise KeyboardInterrupt
            fitted.append(run)
            return real(run, *args, **more)

        monkeypatch.setattr(baseline_runs, "fit_baseline", stop)
        stopped = compare(*SIMPLE, "--draws", "1")
        assert stopped.code == 130
        assert "stopped: 2 of 3 baselines have been fitted and are kept" in stopped.err
        assert read(tmp_path / "study" / "compare.json")["finished"] == 2
        assert (tmp_path / "study" / METHODS_PICTURE).exists()
        monkeypatch.setattr(baseline_runs, "fit_baseline", real)
        assert compare(*SIMPLE, "--draws", "1").code == 0
        assert read(tmp_path / "study" / "compare.json")["finished"] == 3

    def test_a_simulation_with_other_settings_is_refused_before_any_fit(
        self, compare: Command, tmp_path: Path, tiny_settings: Mapping[str, Any]
    ) -> None:
        out = tmp_path / "study" / "runs" / "fedaccord-seed0"
        out.mkdir(parents=True)
        config = read_run_config({**tiny_settings, "training.batch_size": 7})
        result = {"config": config.nested(), "seconds": {"total": 1.0}}
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        refused = compare("--methods", "uniform,fedaccord", "--draws", "1")
        assert refused.code == 2
        assert f"{out}: was run with" in one_line(refused)
        assert not (tmp_path / "study" / "baselines").exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--methods", "magic"), "--methods 'magic': 'magic' must be one of uniform"),
            (("--draws", "0"), "--draws 0 must lie in [1, 1000]"),
            (("--gpo-rounds", "0"), "--gpo-rounds 0 must lie in [1, 100000]"),
            (("--set", "seed=3"), "--set seed=3: the study sets it itself; use --data"),
            (("--set", "training.batchsize=3"), "did you mean 'training.batch_size'?"),
            (("--split", "nowhere.json"), "nowhere.json: cannot be read"),
        ],
    )
    def test_bad_input_is_one_line_and_leaves_nothing(
        self, compare: Command, tmp_path: Path, words: Sequence[str], said: str
    ) -> None:
        outcome = compare(*words)
        assert outcome.code == 2
        assert said in one_line(outcome)
        assert not (tmp_path / "study").exists()

    def test_help_has_an_example_and_explains_its_options(self, command: Command) -> None:
        outcome = command("experiment", "compare", "--help")
        assert outcome.code == 0
        assert "Example: fedaccord experiment compare --data" in " ".join(outcome.out.split())
        options = "data out split methods draws gpo-rounds config set overwrite json"
        for option in options.split():
            assert re.search(rf" --{option} +([A-Z]+ +)?[A-Z]\w* \w+", outcome.out), option
        listed = command("experiment", "--help").out
        assert re.search(r"^\W*compare\s+\w+", listed, re.MULTILINE)


def test_a_whole_comparison_through_the_real_command(
    compare: Command, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All methods, each as short as it can be."""
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "study"
    short = ("--set", "federation.warmup_rounds=1", "--set", "federation.adapter_rounds=1")
    private = ("--set", "privacy.delta=1e-3", "--set", "privacy.micro_batch=16")
    words = ("--draws", "1", "--gpo-rounds", "1", *short, *private)
    outcome = compare(*words)
    assert (outcome.code, "Traceback" in outcome.err) == (0, False), outcome.err
    study = read(out / "compare.json")
    assert [row["method"] for row in study["rows"]] == list(METHODS)
    assert study["finished"] == study["runs"] == len(METHODS)
    rows = {row["method"]: row for row in study["rows"]}
    for method in OWN:
        check_own(rows[method], out / "runs" / f"{method}-seed0")
    for method in BASELINES:
        check_baseline(rows[method], out / "baselines" / f"{method}-seed0.json")
    simulated = read(out / "runs" / "fedaccord-seed0" / "result.json")["alignment"]
    assert rows["uniform"]["alignment"] == pytest.approx(simulated["uniform"]["mean"])
    assert rows["train-mean"]["alignment"] == pytest.approx(simulated["question_mean"]["mean"])
    assert rows["uniform"]["groups"] == pytest.approx(simulated["uniform"]["groups"])
    assert len(study["claims"]) == 6
    assert {each["method"] for each in study["to_reach"]["methods"]} == {
        "pluralllm", "pluralllm-rescaled", *OWN,
    }  # fmt: skip
    for name in ("compare.md", METHODS_PICTURE, CONVERGENCE_PICTURE):
        assert f": {out / name}\n" in outcome.out
        assert (out / name).stat().st_size > 1000
    assert max(len(line) for line in outcome.out.splitlines() if str(out) not in line) <= 80
    population = load_population(
        str(tiny_data), split=str(out / "split.json"), seed=0, skip_invalid=False
    )
    assert study["targets"] == {
        group: len(draws[0].target) for group, draws in population.split.draws.items()
    }
    again = compare(*words, "--json")
    assert (again.code, json.loads(again.out)) == (0, study)
    assert again.err.splitlines() == [
        "8 of 8 baselines had been fitted before",
        "3 of 3 runs had finished before",
    ]


def check_own(row: Mapping[str, Any], folder: Path) -> None:
    """A row of ours says what the run's own files say."""
    result = read(folder / "result.json")
    own = result["alignment"]["unseen_groups"]
    assert (row["baseline"], row["alignment"], row["groups"]) == (False, own["mean"], own["groups"])
    for name in ("seen_questions", "unseen_questions", "worst_group", "cov", "log_loss"):
        assert row[name] == own[name]
    for name in ("context_swap_drop", "parameters", "rounds"):
        assert row[name] == result[name]
    assert row["bytes_up_per_client_per_round"] == result["bytes"]["up_per_client_per_round"]
    assert row["seconds"] == result["seconds"]["train"] + result["seconds"]["secagg"]
    assert [point["round"] for point in row["curve"]] == [0, 1, 2]
    assert row["curve"][-1]["alignment"] == pytest.approx(own["mean"], abs=1e-6)


def check_baseline(row: Mapping[str, Any], path: Path) -> None:
    """A row of a baseline says what its file says."""
    result = read(path)
    assert (row["baseline"], row["alignment"]) == (True, result["own"]["mean"])
    trained = row["method"].startswith(("gpo", "pluralllm"))
    assert (row["context_swap_drop"] is not None) == trained
    if trained:
        assert row["context_swap_drop"] == row["alignment"] - result["swapped"]["mean"]
        assert [point["round"] for point in row["curve"]] == [0, 1]
        assert row["curve"][-1]["alignment"] == row["alignment"]
        assert row["steps"] == 6
    federated = row["method"].startswith("pluralllm")
    assert row["bytes_up_per_client_per_round"] == (4 * row["parameters"] if federated else None)
