import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from alignment.config import PredictorConfig, TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from experiments.benchmarks import __main__ as command
from experiments.benchmarks.harness import (
    BENCHMARKS,
    PICTURES,
    Figure,
    Goal,
    find,
    interleave,
    values_by_key,
)
from experiments.benchmarks.prefix import UncachedPredictor
from experiments.benchmarks.workloads.federation import TrainingRounds
from experiments.benchmarks.workloads.questions import batch_of, lengthened, training_step

AT_LEAST_TWO = Goal(sense="at least", bound=2.0)
ONE_STEP = TrainingConfig(local_epochs=0.01, batch_size=1)


class Clock:
    """A clock that only goes when told, and remembers who told it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function whose calls take so long, the last duration for all further calls."""
        left = list(seconds)

        def function() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return function


def test_functions_run_in_turns_and_the_first_turn_does_not_count() -> None:
    clock = Clock()
    functions = {"a": clock.takes("a", 50, 1, 2, 3), "b": clock.takes("b", 70, 2, 4, 6)}
    seconds = interleave(functions, turns=3, clock=clock)
    assert clock.calls == ["a", "b"] * 4
    assert seconds["a"].tolist() == [1, 2, 3]
    assert seconds["b"].tolist() == [2, 4, 6]


def test_ratios_are_paired_so_that_a_slow_spell_of_the_machine_cancels() -> None:
    clock = Clock()
    functions = {
        "fast": clock.takes("fast", 1, 1, 9, 1, 9, 1),
        "slow": clock.takes("slow", 2, 2, 18, 2, 18, 2),
    }
    seconds = interleave(functions, turns=5, limit_seconds=1000, clock=clock)
    ratio = Figure.of("fast / slow", seconds["fast"] / seconds["slow"], "x", AT_LEAST_TWO)
    assert (ratio.lower, ratio.value, ratio.upper) == (0.5, 0.5, 0.5)
    assert ratio.samples == 5
    assert not ratio.holds


def test_no_further_turn_begins_after_the_limit_but_three_are_taken() -> None:
    clock = Clock()
    assert (
        len(interleave({"a": clock.takes("a", 1)}, turns=50, limit_seconds=10, clock=clock)["a"])
        == 10
    )
    slow = interleave({"a": clock.takes("a", 99)}, turns=50, limit_seconds=10, clock=clock)
    assert len(slow["a"]) == 3


def test_too_few_turns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"turns = 2 is below 3: ask for more"):
        interleave({"a": lambda: None}, turns=2)


@pytest.mark.parametrize(
    ("sense", "value", "holds"),
    [
        ("at least", 1.9, False),
        ("at least", 2.0, True),
        ("at most", 2.0, True),
        ("at most", 2.1, False),
    ],
)
def test_a_goal_has_a_side(sense: str, value: float, holds: bool) -> None:
    assert Figure.of("f", [value], "x", Goal(sense=sense, bound=2.0)).holds is holds


def test_a_figure_without_a_goal_holds_and_gives_median_and_quartiles() -> None:
    figure = Figure.of("f", [5.0, 1.0, 2.0, 3.0, 4.0], "x")
    assert (figure.lower, figure.value, figure.upper) == (2.0, 3.0, 4.0)
    assert figure.as_dict()["holds"] is True


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_a_figure_of_nothing_or_of_no_number_is_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 1 and all finite"):
        Figure.of("f", samples, "x")


def test_values_have_the_keys_of_figures_that_are_no_part_of_a_series() -> None:
    figures = [
        Figure.of("f", [5.0], "x", key="ratio"),
        Figure.of("g", [1.0], "x"),
        *(Figure.of(f"h at {n}", [float(n)], "ms", key="ms", at={"n": n}) for n in (1, 2)),
    ]
    assert values_by_key(figures) == {"ratio": 5.0}
    assert figures[2].as_dict()["at"] == {"n": 1}
    with pytest.raises(ValueError, match=r"two figures share a key among \['ratio'\]"):
        values_by_key([*figures, figures[0]])


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_is_found_and_says_what_it_measures_and_what_not(name: str) -> None:
    text = find(name).__doc__ or ""
    assert "Measured:" in text
    assert "Not measured:" in text
    assert "Goal" in text


# --- the command


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command with ``planted``, whose figure misses its goal, and ``fine``."""

    def plant(name: str, value: float) -> None:
        def measure() -> Sequence[Figure]:
            """Nothing real."""
            return [Figure.of(f"ratio of {name}", [value] * 3, "x", AT_LEAST_TWO, key="ratio")]

        def draw(figures: Sequence[Figure], path: Path) -> None:
            path.write_text(", ".join(figure.name for figure in figures))

        module = ModuleType(f"{name}_benchmark")
        module.measure = measure
        if name == "planted":
            module.draw = draw
            monkeypatch.setitem(PICTURES, name, module.__name__)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(BENCHMARKS, name, module.__name__)

    for name in list(BENCHMARKS):
        monkeypatch.delitem(BENCHMARKS, name)
    plant("planted", 0.5)
    plant("fine", 3.0)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            command.main()
        return int(stop.value.code or 0)

    return call


def test_json_holds_the_machine_and_every_figure(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert report["machine"]["threads"] >= 1
    assert {"python", "torch"} <= set(report["machine"]["versions"])
    assert list(report["benchmarks"]) == ["planted", "fine"]
    planted = report["benchmarks"]["planted"]
    assert planted["measures"] == "Nothing real."
    assert planted["ratio"] == 0.5
    (figure,) = planted["figures"]
    assert figure["value"] == 0.5
    assert figure["goal"] == {"sense": "at least", "bound": 2.0}
    assert figure["holds"] is False
    assert report["benchmarks"]["fine"]["figures"][0]["holds"] is True
    assert "planted took" in captured.err


def test_named_benchmarks_alone_run_and_the_json_goes_into_a_file_too(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fine", "--out", tmp_path / "b.json") == 0
    assert list(json.loads((tmp_path / "b.json").read_text())["benchmarks"]) == ["fine"]
    shown = capsys.readouterr().out
    assert "ratio of fine" in shown
    assert "planted" not in shown


def test_a_picture_lies_beside_the_file_where_a_benchmark_draws_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", tmp_path / "b.json", "--json") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b-planted.png", "b.json"]
    assert (tmp_path / "b-planted.png").read_text() == "ratio of planted"
    captured = capsys.readouterr()
    assert f"planted: drawn as {tmp_path / 'b-planted.png'}" in captured.err
    assert json.loads(captured.out) == json.loads((tmp_path / "b.json").read_text())


def test_the_table_shows_figures_goals_and_verdicts(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run()
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if "ratio of planted" in line]
    assert "0.5 to 0.5" in row
    assert "at least 2: missed" in row
    (row,) = [line for line in lines if "ratio of fine" in line]
    assert "at least 2: holds" in row


def test_a_missed_goal_fails_the_check_alone(run: Run) -> None:
    assert run("planted") == 0
    assert run("planted", "--check") == 1
    assert run("fine", "--check") == 0


def test_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.app(["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    assert [name for name in BENCHMARKS if name not in text] == []
    assert "Example: python -m experiments.benchmarks" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "error: unknown benchmark 'nope': choose from planted, fine\n"),
        (["fine", "--out", "/nowhere/b.json"], "error: --out /nowhere/b.json: its folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


# --- what is compared


@pytest.fixture
def answers() -> GroupAnswers:
    texts = ("do you like tea ?", "war or peace ?", "is coffee good and tea bad ?")
    options = (("yes", "no"), ("more", "less", "both"), ("yes", "no"))
    return GroupAnswers(
        group="g",
        questions=tuple(
            Question(question_id=f"q{i}", text=text, options=each)
            for i, (text, each) in enumerate(zip(texts, options, strict=True))
        ),
        targets=((0.8, 0.2), (0.5, 0.3, 0.2), (0.1, 0.9)),
        counts=(5, 10, 10),
    )


def test_the_step_without_the_cache_is_the_same_computation(
    tiny_encoder: str, answers: GroupAnswers
) -> None:
    config = PredictorConfig(encoder=tiny_encoder, head_width=8, early_features=False)
    cached, whole = Predictor(config), UncachedPredictor(config)
    before = to_vector(cached)
    steps = training_step(cached, answers), training_step(whole, answers)
    for _ in range(3):
        losses = [step() for step in steps]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    np.testing.assert_allclose(to_vector(cached), to_vector(whole), atol=1e-4)
    assert np.abs(to_vector(cached) - before).max() > 1e-3
    assert len(cached.cache) == 3
    assert len(whole.cache) == 0


def test_the_step_without_the_cache_runs_every_layer_and_records_only_the_adapted(
    tiny_encoder: str, answers: GroupAnswers
) -> None:
    config = PredictorConfig(
        encoder=tiny_encoder, head_width=8, lora_layers=2, early_features=False
    )
    whole = UncachedPredictor(config)
    recorded: list[bool] = []
    for layer in whole.encoder._layers:
        layer.register_forward_hook(
            lambda _, __, output: recorded.append(
                (output[0] if isinstance(output, tuple) else output).requires_grad
            )
        )
    training_step(whole, answers)()
    assert recorded == [False, False, True, True]


def test_a_batch_goes_round_where_there_are_fewer_questions(answers: GroupAnswers) -> None:
    batch = batch_of(answers, 5)
    assert [q.question_id for q in batch.questions] == ["q0", "q1", "q2", "q0", "q1"]
    assert batch.targets[3:] == answers.targets[:2]


@pytest.mark.parametrize(("tokens", "others"), [(1, 1), (100, 2)])
def test_lengthened_questions_are_as_near_to_the_length_as_they_can_be(
    tiny_encoder: str, answers: GroupAnswers, tokens: int, others: int
) -> None:
    encoder = Predictor(PredictorConfig(encoder=tiny_encoder, head_width=8)).questions
    longer = lengthened(answers, 2, tokens=tokens, encoder=encoder)
    for question, target in zip(longer.questions, longer.targets, strict=True):
        original = answers.questions[answers.targets.index(target)]
        assert question.options == original.options
        assert question.text.endswith(f" {original.text}")
        preceding = [q for q in answers.questions if q is not original and q.text in question.text]
        assert len(preceding) == others


def test_bytes_are_those_of_the_vector_and_little_more() -> None:
    up, down, beside = find("bytes")()
    vector = 4 * to_vector(Predictor(PredictorConfig())).size
    assert vector < up.value < vector + 2000
    assert vector < down.value < vector + 2500  # The plan, with all settings.
    assert up.samples == 9
    assert beside.value == pytest.approx(2_852_872 / up.value)


def test_a_call_of_training_rounds_sends_train_messages_and_goes_on_from_the_last() -> None:
    rounds = TrainingRounds(serialize=True, groups=2, training=ONE_STEP)
    vectors = [rounds.vector]
    for _ in range(2):
        rounds()
        vectors.append(rounds.vector)
    kinds = [kind for _, kind in rounds.grid.traffic]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"query.setup": 12, "train": 2}
    assert all(
        each.messages_up == 2 for (_, k), each in rounds.grid.traffic.items() if k == "train"
    )
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[1], vectors[2])
