"""Where and how finely encoders compute: half precision beside float32, and devices by name."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.records import Question
from alignment.model.encoders.device import (
    VARIABLE,
    DeviceError,
    compute_device,
    computing_on,
    widened,
)
from alignment.model.encoding import PrefixCache, pad_targets
from alignment.model.folder import load_predictor, save_predictor
from alignment.model.predictor import Predictor
from alignment.model.vector import load_vector, to_vector
from alignment.training.objectives import cross_entropy

SCORES = [("bert", "head"), ("bert", "reward"), ("llama", "head"), ("llama", "reward")]
SCORES += [("llama", "policy"), ("gpt2", "policy")]


@pytest.fixture
def make(
    encoder_folder: Callable[[str], str],
    make_predictor: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
) -> Callable[..., Predictor]:
    """A predictor in half precision, its trainable values drawn anew."""

    def made(kind: str, scores: str, dtype: str = "bfloat16", **shape: object) -> Predictor:
        settings = {"lora_layers": 2, "dtype": dtype, "scores": scores, **shape}
        predictor = make_predictor(encoder=encoder_folder(kind), **settings)
        shake(predictor, 1)
        return predictor

    return made


# --- half precision ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_only_the_frozen_weights_are_of_half_precision(
    make: Callable[..., Predictor], pairs: Sequence[Question], kind: str, scores: str
) -> None:
    predictor = make(kind, scores)
    assert predictor.encoder.dtype is torch.bfloat16 and not predictor.encoder.is_reference
    trained = dict(predictor.trainable())
    assert {p.dtype for p in trained.values()} == {torch.float32}
    frozen = {p.dtype for name, p in predictor.named_parameters() if name not in trained}
    assert frozen == {torch.bfloat16}
    batch = predictor.batch(pairs)
    assert batch.hidden.dtype is torch.bfloat16
    assert predictor.pooled(batch).dtype is torch.float32
    assert predictor(batch).dtype is torch.float32
    assert predictor.prior(pairs).scores.dtype is torch.float64


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_scores_are_near_those_of_the_reference(
    make: Callable[..., Predictor], pairs: Sequence[Question], kind: str, scores: str
) -> None:
    found = [make(kind, scores, dtype).prior(pairs).scores for dtype in ("float32", "bfloat16")]
    assert 0 < (found[1] - found[0]).abs().max() < 0.08 * max(1.0, found[0].abs().max().item())


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_the_cache_gives_back_every_bit_from_memory_and_from_its_file(
    make: Callable[..., Predictor], pairs: Sequence[Question], kind: str, scores: str
) -> None:
    predictor = make(kind, scores)
    texts = [text for question in pairs for text in predictor.questions.sequences(question)]
    length = max(len(text.token_ids) for text in texts)
    wide = PrefixCache(predictor.encoder)
    narrow = PrefixCache(predictor.encoder, memory_limit_bytes=0)
    expected = wide.fetch(texts, length)
    assert expected.dtype is torch.bfloat16
    width = predictor.encoder.prefix_width
    for cache in (narrow, narrow, wide):
        assert torch.equal(cache.fetch(texts, length).view(torch.int16), expected.view(torch.int16))
    different = {text.token_ids for text in texts}
    assert narrow.memory_bytes == 0
    assert narrow.disk_bytes == wide.memory_bytes == 2 * width * sum(map(len, different))
    # A row is what the frozen layers make of its text alone.
    alone = torch.tensor([texts[0].token_ids])
    row = predictor.encoder.prefix(alone, torch.ones_like(alone))[0]
    size = len(texts[0].token_ids)
    one = PrefixCache(predictor.encoder, batch=1).fetch(texts[:1], size)[0]
    assert torch.equal(one.view(torch.int16), row.view(torch.int16))


def test_every_pattern_of_bits_survives_the_cache() -> None:
    """The bits of a float32 ride in two columns: halves that as numbers are NaN come back, too."""
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)

    class Layers:
        prefix_width, dtype = 256, torch.bfloat16

        def prefix(self, token_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return patterns.reshape(1, 256, 256).view(torch.bfloat16)

    from alignment.model.encoding import TokenSequence

    text = TokenSequence(token_ids=tuple(range(256)), spans=(), lengths=())
    for limit in (0, 1 << 30):
        found = PrefixCache(Layers(), memory_limit_bytes=limit).fetch([text], 256)
        assert torch.equal(found.view(torch.int16).ravel(), patterns)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_log_probabilities_of_the_base_model_ride_as_float32(
    make: Callable[..., Predictor], pairs: Sequence[Question], kind: str
) -> None:
    predictor = make(kind, "policy")
    batch = predictor.batch(pairs)
    ridden = batch.hidden[..., -2:].contiguous().view(torch.float32).squeeze(-1)
    with torch.no_grad(), predictor.encoder.model.disable_adapter():
        for row, size in enumerate(batch.mask.sum(dim=1).tolist()):
            ids = batch.token_ids[row : row + 1, :size]
            logits = predictor.encoder.suffix(
                batch.hidden[row : row + 1, :size, :-2].contiguous(), torch.ones_like(ids)
            )
            said = logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            assert torch.allclose(ridden[row, 1:size], said, atol=1e-5)
            # No number of half precision: most of its digits would be lost.
            assert not torch.equal(ridden[row].bfloat16().float(), ridden[row])
            assert not ridden[row, size:].any() and ridden[row, 0] == 0


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_vector_and_folder_come_back_bit_for_bit(
    make: Callable[..., Predictor],
    make_predictor: Callable[..., Predictor],
    pairs: Sequence[Question],
    tmp_path: Path,
    kind: str,
    scores: str,
) -> None:
    predictor = make(kind, scores)
    vector = to_vector(predictor)
    assert vector.dtype == np.float32
    fresh = Predictor(predictor.config)
    load_vector(fresh, vector)
    assert np.array_equal(to_vector(fresh), vector)
    assert torch.equal(fresh.prior(pairs).scores, predictor.prior(pairs).scores)
    save_predictor(predictor, tmp_path, ContextConfig())
    again, _ = load_predictor(tmp_path)
    assert again.config.dtype == "bfloat16"
    assert np.array_equal(to_vector(again), vector)


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_training_in_half_precision_lowers_the_loss(
    make_predictor: Callable[..., Predictor],
    encoder_folder: Callable[[str], str],
    pairs: Sequence[Question],
    kind: str,
    scores: str,
) -> None:
    predictor = make_predictor(
        encoder=encoder_folder(kind), scores=scores, dtype="bfloat16", beta=1.0
    )
    optimizer = torch.optim.AdamW([p for _, p in predictor.trainable()], lr=0.03)
    targets, losses = pad_targets([(1.0, 0.0)] * len(pairs), 2), []
    for _ in range(20):
        loss = cross_entropy(predictor(predictor.batch(pairs)), targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    moved = [name for name, p in predictor.trainable() if p.grad is not None and p.grad.any()]
    assert any(".lora_" in name for name in moved)


# --- devices ----------------------------------------------------------------------------------


def test_without_a_word_the_processor_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in (None, "", "cpu"):
        monkeypatch.delenv(VARIABLE, raising=False)
        if said is not None:
            monkeypatch.setenv(VARIABLE, said)
        assert compute_device() == torch.device("cpu")


@pytest.mark.parametrize(("cuda", "mps", "expected"), [
    (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"),
])  # fmt: skip
def test_auto_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    with computing_on("auto") as device:
        assert device == torch.device(expected)
        assert os.environ[VARIABLE] == "auto" and compute_device() == torch.device(expected)
    assert os.environ[VARIABLE] == "cpu"


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda", "this machine has none: use 'auto' or 'cpu'"), ("gpu", "none of")],
)
def test_what_is_not_there_is_refused_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=message) as caught, computing_on(name):
        pass
    assert os.environ[VARIABLE] == "cpu" and "\n" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(DeviceError, match=message):
        compute_device()


def test_half_precision_is_widened_and_nothing_is_narrowed() -> None:
    for dtype, expected in {
        torch.bfloat16: torch.float32,
        torch.float16: torch.float32,
        torch.float32: torch.float32,
        torch.float64: torch.float64,
    }.items():
        assert widened(torch.ones(2, dtype=dtype)).dtype is expected


@pytest.mark.parametrize("dtype", ["float16", "float64", ""])
def test_another_precision_is_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match="is none of float32, bfloat16"):
        PredictorConfig(dtype=dtype)


# --- less memory ------------------------------------------------------------------------------


def saved_and_gradients(
    predictor: Predictor, questions: Sequence[Question], *, recomputes: bool
) -> tuple[int, torch.Tensor]:
    """Numbers that a step keeps for its way back, and its gradient."""
    predictor.encoder.recomputes = recomputes
    batch = predictor.batch(questions)
    known = {p.data_ptr() for p in predictor.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in known:
            kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), tensor.numel())
        return tensor

    predictor.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = predictor(batch)
    held = sum(kept.values())
    cross_entropy(scores, pad_targets([(1.0, 0.0)] * len(questions), 2)).mean().backward()
    gradients = [p.grad.ravel() for _, p in predictor.trainable() if p.grad is not None]
    return held, torch.cat(gradients)


@pytest.mark.parametrize(("kind", "scores"), SCORES, ids=str)
def test_recomputing_keeps_less_and_changes_no_gradient(
    make: Callable[..., Predictor], pairs: Sequence[Question], kind: str, scores: str
) -> None:
    predictor = make(kind, scores, "float32", lora_layers=4)
    kept, expected = saved_and_gradients(predictor, pairs, recomputes=False)
    less, gradient = saved_and_gradients(predictor, pairs, recomputes=True)
    assert expected.norm() > 1e-3
    assert (gradient - expected).norm() < 1e-5 * expected.norm()
    assert less < 0.5 * kept
    with torch.no_grad():
        assert torch.equal(predictor.prior(pairs).scores, predictor.prior(pairs).scores)


def test_recomputed_layers_are_put_back(
    make: Callable[..., Predictor], pairs: Sequence[Question]
) -> None:
    predictor = make("llama", "reward", "float32")
    layers = list(predictor.encoder._layers)
    saved_and_gradients(predictor, pairs, recomputes=True)
    assert list(predictor.encoder._layers) == layers
    names = [name for name, _ in predictor.named_parameters()]
    assert len(names) == len(set(names))


def test_the_nameless_file_stays_nameless(
    make: Callable[..., Predictor],
    pairs: Sequence[Question],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    predictor = make("bert", "head")
    cache = PrefixCache(predictor.encoder, memory_limit_bytes=0)
    cache.fetch(predictor.questions.sequences(pairs[0]), 64)
    assert cache.disk_bytes > 0 and list(tmp_path.iterdir()) == []
