"""Benchmark ``gpu``: an encoder on an accelerator, against its roofline and the processor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alignment.config import LANGUAGE_MODEL, PredictorConfig
from alignment.data.answers import GroupAnswers
from alignment.data.units import UnitRecords
from alignment.model.context import ABSENT
from alignment.model.encoders.device import computing_on
from alignment.model.encoding import pad_tokens
from alignment.model.predictor import Predictor
from alignment.model.vector import load_vector, to_vector
from alignment.training.gradients import UnitGradients
from alignment.training.independence import CompanionsShow, require_independent_rows
from alignment.training.private_layout import MicroBatchShape, private_layout
from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.benchmarks.workloads.conversations import made_up_pairs
from experiments.benchmarks.workloads.questions import training_step

_DTYPES = ("float32", "bfloat16")
_ADAPTED = 4
_MAX_TOKENS = 256
_MATMULS = 4
_LIMIT_SECONDS = 45.0
_COMPARED = 4
_HOLDS = Goal(sense="at least", bound=1.0)
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class _Size:
    """How much is computed at once: a processor could not wait for what fills an accelerator."""

    matrix: int
    pairs: int
    rows: int
    turns: int


_SIZES = {"cpu": _Size(matrix=1024, pairs=2, rows=2, turns=3)}
_FULL = _Size(matrix=8192, pairs=64, rows=16, turns=12)


def measure(encoder: str = LANGUAGE_MODEL, device: str = "cuda") -> list[Figure]:
    """Speed of a causal language model on an accelerator, as shares of what the machine can do.

    Measured: in turns, in float32 and bfloat16, as a reward and as a policy, on 64 made-up pairs
    with texts of 79 to 202 tokens, adapters on the last 4 layers: the frozen layers, with the way
    of what they make to the processor; a training step on stored activations, with gathering,
    forward, backward and AdamW; and the gradients by unit of a private step, 16 pairs at a time.
    Tokens per second are those of texts, padding left out. The roofline is a large matrix product
    in bfloat16, measured in the same turns. A token costs 2 operations for each weight of a matrix
    on the way forward and 2 on the way back, where frozen weights only hand on gradients; the
    adapters' own third product, and attention between tokens, are left out, as is whatever is
    computed again.

    Also reported: whether rows of gradients know no companions, to the last bit (a private run
    refuses to start where this does not hold). Goal: it does. Then; the largest difference of
    scores to those of the processor in float32 after the same training; and with CUDA the
    peak of memory of a step with adapters on all layers, with and without recomputing activations.

    ``--device cpu`` runs a small version, 2 pairs, that says nothing of an accelerator;
    ``--encoder`` takes a larger model.

    Not measured: several accelerators, compiled kernels, attention over long texts.

    Args:
        encoder: A causal language model: the packaged one, a folder or a hub id.
        device: Where it runs.

    Raises:
        DeviceError: There is no such device.
    """
    with computing_on(device) as chosen:
        found = chosen.type
        size = _SIZES.get(found, _FULL)
        answers = made_up_pairs(size.pairs)
        layers = _depth(encoder)
        figures: list[Figure] = []
        for scores in ("reward", "policy"):
            figures += _of_kind(scores, encoder, min(_ADAPTED, max(1, layers - 1)), answers, size)
        if found == "cuda":
            figures += _memory(encoder, layers, answers)
    return figures


def _predictor(scores: str, encoder: str, layers: int, dtype: str) -> Predictor:
    config: dict[str, Any] = {"scores": scores, "dtype": dtype}
    return Predictor(
        PredictorConfig(encoder=encoder, lora_layers=layers, max_tokens=_MAX_TOKENS, **config)
    )


def _depth(encoder: str) -> int:
    """How many layers an encoder has."""
    return _predictor("reward", encoder, 1, "bfloat16").encoder.first + 1


def _of_kind(
    scores: str, encoder: str, layers: int, answers: GroupAnswers, size: _Size
) -> Iterator[Figure]:
    """All figures of a reward or a policy, on both precisions in turns."""
    both = {dtype: _predictor(scores, encoder, layers, dtype) for dtype in _DTYPES}
    rows = {dtype: _unit_gradients(each, answers, size) for dtype, each in both.items()}
    todo: dict[str, Callable[[], object]] = {"roofline": _matmuls(both["bfloat16"], size.matrix)}
    for dtype, predictor in both.items():
        todo[f"{dtype} step"] = training_step(predictor, answers)
        todo[f"{dtype} private"] = rows[dtype].step
        if scores == "reward":
            todo[f"{dtype} frozen"] = _frozen_forward(predictor, answers)
    seconds = interleave(todo, turns=size.turns, limit_seconds=_LIMIT_SECONDS)
    peak = _MATMULS * 2 * size.matrix**3 / seconds["roofline"]
    yield Figure.of(f"{scores}: roofline, product in bfloat16", peak / 1e12, "TFLOP/s")
    for dtype, predictor in both.items():
        name, work = f"{scores}, {dtype}", _Work.of(predictor, answers)
        for kind in ("frozen", "step"):
            if f"{dtype} {kind}" in seconds:
                spent = seconds[f"{dtype} {kind}"]
                share = 100 * getattr(work, kind) / spent / peak
                yield Figure.of(f"{name}: {kind}", work.tokens / spent, "tokens/s")
                yield Figure.of(f"{name}: {kind}, of the roofline", share, "%")
        private = seconds[f"{dtype} private"] / seconds[f"{dtype} step"]
        yield Figure.of(f"{name}: gradients by unit / plain step", private, "x")
        yield Figure.of(f"{name}: rows know no companions", [rows[dtype].holds()], "1 yes", _HOLDS)
        yield from _against_processor(name, predictor, answers)
    for kind in ("frozen", "step", "private"):
        if f"float32 {kind}" in seconds:
            ratio = seconds[f"float32 {kind}"] / seconds[f"bfloat16 {kind}"]
            yield Figure.of(f"{scores}: {kind}, float32 / bfloat16", ratio, "x")


def _matmuls(predictor: Predictor, size: int) -> Callable[[], float]:
    """Some large products in bfloat16, where the encoder computes."""
    left, right = torch.randn(2, size, size, device=predictor.encoder.device, dtype=torch.bfloat16)

    def multiply() -> float:
        for _ in range(_MATMULS):
            product = left @ right
        # To read a number waits for all that was asked for.
        return float(product[0, 0].item())

    return multiply


def _frozen_forward(predictor: Predictor, answers: GroupAnswers) -> Callable[[], object]:
    texts = [s.token_ids for q in answers.questions for s in predictor.questions.sequences(q)]
    token_ids, mask = pad_tokens(texts, max(map(len, texts)))
    return lambda: predictor.encoder.prefix(token_ids, mask)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is computed of some pairs: tokens, and operations of the frozen layers and of a step."""

    tokens: int
    frozen: float
    step: float

    @classmethod
    def of(cls, predictor: Predictor, answers: GroupAnswers) -> _Work:
        texts = [s for q in answers.questions for s in predictor.questions.sequences(q)]
        tokens = sum(len(text.token_ids) for text in texts)
        below, above = _weights(predictor)
        step = 4.0 * above * tokens
        if predictor.config.scores == "policy":
            said = sum(end - start for text in texts for start, end in text.spans)
            step += 4.0 * predictor.encoder.hidden_size * _vocabulary(predictor) * said
        return cls(tokens=tokens, frozen=2.0 * below * tokens, step=step)


def _weights(predictor: Predictor) -> tuple[int, int]:
    """Numbers in the frozen matrices of the layers below the first adapter, and from there on."""
    found = [0, 0]
    for name, parameter in predictor.encoder.model.named_parameters():
        layer = _LAYER.search(name)
        if layer and parameter.dim() == 2 and not parameter.requires_grad:
            found[int(layer[1]) >= predictor.encoder.first] += parameter.numel()
    return found[0], found[1]


def _vocabulary(predictor: Predictor) -> int:
    model: Any = predictor.encoder.model
    return int(model.get_base_model().get_output_embeddings().weight.shape[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _UnitGradients:
    """Rows of gradients of pairs, each the record of a unit of its own."""

    gradients: UnitGradients
    predictor: Predictor
    shape: MicroBatchShape
    units: list[UnitRecords]

    def step(self) -> list[NDArray[np.float32]]:
        """Rows of all units."""
        rows = self.gradients.rows(
            self.units, micro_batches=-(-len(self.units) // self.shape.rows), uniforms=np.zeros
        )
        return [each.gradients for each in rows]

    def holds(self) -> float:
        """1 where a row depends on its unit alone, to the last bit, else 0."""
        try:
            require_independent_rows(self.gradients, self.predictor, self.shape)
        except CompanionsShow:
            return 0.0
        return 1.0


def _unit_gradients(predictor: Predictor, answers: GroupAnswers, size: _Size) -> _UnitGradients:
    batch = predictor.batch(answers.questions)
    shape = MicroBatchShape(
        rows=size.rows,
        length=batch.mask.shape[1],
        options=2,
        apart=True,
        read=None if batch.read is None else batch.read.shape[1],
    )
    return _UnitGradients(
        gradients=UnitGradients(
            predictor, layout=private_layout(predictor), shape=shape, metric_scale=1.0
        ),
        predictor=predictor,
        shape=shape,
        units=[
            UnitRecords(unit=str(place), questions=(question,), targets=(target,), weights=(1.0,))
            for place, (question, target) in enumerate(
                zip(answers.questions, answers.targets, strict=True)
            )
        ],
    )


def _against_processor(name: str, trained: Predictor, answers: GroupAnswers) -> Iterator[Figure]:
    """How far scores are from those that the processor gives in float32, on the same weights."""
    asked = answers.questions[:_COMPARED]
    with computing_on("cpu"):
        reference = _predictor(
            trained.config.scores, trained.config.encoder, trained.config.lora_layers, "float32"
        )
    load_vector(reference, to_vector(trained))
    found, expected = (_scores(each, asked) for each in (trained, reference))
    gap = np.abs(found - expected).max()
    yield Figure.of(f"{name}: scores, largest difference to the processor", [gap], "logits")
    yield Figure.of(f"{name}: scores, standard deviation", [expected.std()], "logits")


def _scores(predictor: Predictor, questions: Sequence[Any]) -> NDArray[np.float64]:
    scores = predictor.prior(questions).scores
    return scores[scores > ABSENT].numpy()


def _memory(encoder: str, layers: int, answers: GroupAnswers) -> Iterator[Figure]:
    """The peak of a step with adapters on all layers, with activations kept and recomputed."""
    for dtype in _DTYPES:
        predictor = _predictor("reward", encoder, layers, dtype)
        step, peaks = training_step(predictor, answers), {}
        for words, recomputes in (("kept", False), ("recomputed", True)):
            predictor.encoder.recomputes = recomputes
            torch.cuda.reset_peak_memory_stats()
            step()
            peaks[words] = torch.cuda.max_memory_allocated() / 1e9
            name = f"reward, {dtype}: memory, all layers, activations {words}"
            yield Figure.of(name, [peaks[words]], "GB")
        share = peaks["recomputed"] / peaks["kept"]
        yield Figure.of(f"reward, {dtype}: memory, recomputed / kept", [share], "x")
