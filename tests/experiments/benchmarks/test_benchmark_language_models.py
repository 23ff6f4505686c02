"""The benchmarks of language models, beside trl and on an accelerator, with tiny models."""

import os
import sys
from collections.abc import Callable

import pytest
import torch
from typer.testing import CliRunner

from alignment.model.encoders.device import VARIABLE, DeviceError
from alignment.model.predictor import Predictor
from experiments.benchmarks import beside_trl, gpu
from experiments.benchmarks.__main__ import app
from experiments.benchmarks.beside_trl import Setting
from experiments.benchmarks.harness import BENCHMARKS, NAMED_ONLY, find
from experiments.benchmarks.workloads.conversations import made_up_pairs, messages
from experiments.benchmarks.workloads.memory import MemoryPeak

pytestmark = [
    # trl 1.16 asks transformers 5.23 by a name that it gives up.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def setting(encoder: str, scores: str = "reward", **more: object) -> Setting:
    given: dict[str, object] = {"layers": 2, "dtype": "float32", "steps": 3, **more}
    return Setting(encoder=encoder, scores=scores, **given)  # type: ignore[arg-type] # of its fields


def test_made_up_pairs_are_always_the_same_and_differ() -> None:
    pairs = made_up_pairs(8)
    assert pairs == made_up_pairs(8)
    assert len(set(pairs.questions)) == 8
    assert all(question.options[0] != question.options[1] for question in pairs.questions)
    prompt, response = messages(pairs.questions[0], 1)
    assert prompt == [{"role": "user", "content": pairs.questions[0].text}]
    assert response == [{"role": "assistant", "content": pairs.questions[0].options[1]}]


@pytest.mark.parametrize(
    ("scores", "beforehand"), [("reward", True), ("policy", True), ("policy", False)]
)
def test_both_sides_train_the_same(
    chat_model: str,
    scores: str,
    beforehand: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(beside_trl, "_RATE", 0.03)
    run = beside_trl.in_turns(setting(chat_model, scores, beforehand=beforehand))
    assert {side: taken.shape for side, taken in run.seconds.items()} == {
        side: (2,) for side in ("trl", "cached", "first")
    }
    # Both begin with an even chance.
    assert run.losses[0] == pytest.approx(0.6931472, abs=1e-6)
    moved = max(abs(loss - run.losses[0]) for loss in run.losses)
    assert moved > 1e-3
    # Adam makes much of the last bits of small gradients.
    assert run.loss_gap < 0.02 * moved
    assert run.tokens.min() > 4 * 2 * 10
    assert run.parameters > 0
    # What is printed there is for the report alone.
    assert capsys.readouterr().out == ""


def test_sides_that_read_other_tokens_are_not_compared(
    chat_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside_trl, "_texts_of_trl", lambda trainer: [])
    with pytest.raises(RuntimeError, match="reads other tokens"):
        beside_trl.in_turns(setting(chat_model))


@pytest.mark.parametrize("side", ["ours", "trl"])
def test_the_memory_of_a_side_is_that_of_its_steps(chat_model: str, side: str) -> None:
    peak = beside_trl.peak_of_steps(side, setting(chat_model), torch.get_num_threads())
    assert 0.05 < peak < 100


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_forgets_what_was_before() -> None:
    peak = MemoryPeak()
    peak.reset()
    before = peak.gigabytes()
    held = torch.ones(60_000_000)
    with_it = peak.gigabytes()
    assert with_it > before + 0.2
    del held
    peak.reset()
    assert peak.gigabytes() < with_it - 0.1


def test_settings_are_chosen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(beside_trl.SETTINGS, "policy-online/4/float32, reward/30/bfloat16")
    online, reward = beside_trl.chosen_settings("folder")
    assert (online.scores, online.beforehand, online.layers) == ("policy", False, 4)
    assert (reward.scores, reward.beforehand, reward.dtype) == ("reward", True, "bfloat16")
    monkeypatch.setenv(beside_trl.SETTINGS, "reward/5/float32")
    with pytest.raises(ValueError, match="names 'reward/5/float32': choose from reward/4/float32"):
        beside_trl.chosen_settings("folder")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_SIZES", {"cpu": gpu._Size(matrix=16, pairs=2, rows=2, turns=3)})


@pytest.mark.usefixtures("few")
def test_the_processor_stands_in_for_an_accelerator(chat_model: str) -> None:
    figures = {figure.name: figure for figure in gpu.measure(chat_model, "cpu")}
    assert VARIABLE not in os.environ
    for scores in ("reward", "policy"):
        for dtype in ("float32", "bfloat16"):
            name = f"{scores}, {dtype}"
            gap = figures[f"{name}: scores, largest difference to the processor"].value
            spread = figures[f"{name}: scores, standard deviation"].value
            # In float32 it is the processor itself.
            assert gap < (1e-5 if dtype == "float32" else spread)
            assert spread > 0
            assert figures[f"{name}: step"].value > 0
        assert figures[f"{scores}, float32: rows know no companions"].value == 1
    assert not any("memory" in name for name in figures)


def test_work_is_counted_by_the_weights_of_matrices(chat_model: str) -> None:
    predictor: Predictor = gpu._predictor("policy", chat_model, 1, "float32")
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48
    assert gpu._weights(predictor) == (2 * layer, layer)
    answers = made_up_pairs(1)
    work = gpu._Work.of(predictor, answers)
    texts = predictor.questions.sequences(answers.questions[0])
    assert work.tokens == sum(len(text.token_ids) for text in texts)
    assert work.frozen == 2 * 2 * layer * work.tokens
    said = sum(end - start for text in texts for start, end in text.spans)
    assert work.step == 4 * layer * work.tokens + 4 * 32 * gpu._vocabulary(predictor) * said


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has one")
def test_without_an_accelerator_it_says_so_in_a_line() -> None:
    with pytest.raises(DeviceError, match="device = 'cuda' but this machine has none"):
        gpu.measure()


def test_they_are_known_and_run_only_where_they_are_named() -> None:
    assert find("trl") is beside_trl.measure
    assert find("gpu") is gpu.measure
    assert set(NAMED_ONLY) < set(BENCHMARKS)


def test_what_is_said_of_an_accelerator_reaches_its_benchmark_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, str] = {}

    def measure(**given: str) -> list[object]:
        told.update(given)
        return []

    monkeypatch.setattr(gpu, "measure", measure)
    run: Callable[..., object] = CliRunner().invoke
    threads = torch.get_num_threads()
    try:
        run(app, ["gpu", "--device", "cpu", "--encoder", "here"], catch_exceptions=False)
        assert told == {"device": "cpu", "encoder": "here"}
        with pytest.raises(ValueError, match="--device is for the benchmark gpu: name it"):
            run(app, ["grid", "--device", "cpu"], catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
