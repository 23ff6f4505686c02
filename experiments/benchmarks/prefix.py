"""Benchmark ``prefix``: stored output of the frozen layers against the full forward pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from alignment.config import PredictorConfig
from alignment.data.answers import GroupAnswers
from alignment.model.encoders.encoder import Encoder
from alignment.model.encoders.layers import take_tokens
from alignment.model.encoding import PrefixCache, TokenSequence, pad_tokens
from alignment.model.predictor import Predictor
from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.benchmarks.workloads.questions import (
    batch_of,
    lengthened,
    mean_tokens,
    sample_answers,
    training_step,
)

_BATCH = 16
_LONG_TOKENS = 70
_TURNS = 30
_LIMIT_SECONDS = 12.0
_GOAL = Goal(sense="at least", bound=2.0)


class _WholeEncoder(Encoder):
    """Gets token ids where the suffix expects activations, and runs all layers on all tokens."""

    def suffix(self, hidden: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
        output: Tensor = self(hidden, mask)
        return output if read is None else take_tokens(output, read)


class _NarrowedWholeEncoder(Encoder):
    """The same, but its last layer too handles only the tokens that are read."""

    def suffix(self, hidden: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
        if read is None:
            raise ValueError("read is None: the benchmark compares batches of free shape")
        with self._last_layer_narrowed(read):
            output: Tensor = self(hidden, mask)
        return output


class _TokenIds(PrefixCache):
    """Computes nothing beforehand: hands on token ids, padded alike."""

    def fetch(self, sequences: Sequence[TokenSequence], length: int) -> Tensor:
        return pad_tokens([sequence.token_ids for sequence in sequences], length)[0]


class UncachedPredictor(Predictor):
    """The same predictor, but every pass runs the whole encoder from the token ids.

    Frozen layers record nothing for a gradient here either: neither their weights nor their
    inputs ask for one.
    """

    def __init__(
        self, config: PredictorConfig, *, seed: int = 0, kind: type[Encoder] = _WholeEncoder
    ) -> None:
        super().__init__(config, seed=seed)
        self.encoder = kind(config, seed=seed)
        self.cache = _TokenIds(self.encoder)


def _compare(
    config: PredictorConfig, answers: GroupAnswers, name: str, goal: Goal | None
) -> list[Figure]:
    cached, whole = Predictor(config), UncachedPredictor(config)
    narrowed = UncachedPredictor(config, kind=_NarrowedWholeEncoder)
    sequences = [s for q in answers.questions for s in cached.questions.sequences(q)]
    length = max(len(sequence.token_ids) for sequence in sequences)
    seconds = interleave(
        {
            "cached": training_step(cached, answers),
            "whole": training_step(whole, answers),
            "narrowed": training_step(narrowed, answers),
            "fill": lambda: PrefixCache(cached.encoder).fetch(sequences, length),
        },
        turns=_TURNS,
        limit_seconds=_LIMIT_SECONDS,
    )
    ratios = {kind: taken / seconds["cached"] for kind, taken in seconds.items()}
    return [
        Figure.of(f"{name}: full / cached step", ratios["whole"], "x", goal),
        Figure.of(f"{name}: of which by the cache alone", ratios["narrowed"], "x"),
        Figure.of(f"{name}: cache filled once", ratios["fill"], "cached steps"),
    ]


def measure() -> list[Figure]:
    """Time of a training step with the whole encoder, over that on stored activations.

    The full forward is PEFT's plain one: all layers, all tokens. The cached step also spares the
    last layer's feed-forward part the tokens that nobody reads; what the cache saves without that
    is reported beside it.

    Measured: gathering the batch, forward, backward and AdamW of one step on 16 questions of the
    built-in survey, then on texts of about 70 tokens, default encoder, adapters on the last 2 of
    its 6 layers, then on the last alone. Both sides see the same questions, padded to the same
    length, and neither computes gradients inside the frozen layers. Goal with 2 layers: at least
    2 x. Filling the cache for these questions is reported in cached steps; it is paid once a text.

    Not measured: early features, which are read from the stored activations; the loss in context,
    which costs both sides alike; activations read from a disk;
    and what dropout below the adapters would gain, with which nothing could be stored.
    """
    answers = sample_answers()
    tokens = Predictor(PredictorConfig()).questions
    short = batch_of(answers, _BATCH)
    long = lengthened(answers, _BATCH, tokens=_LONG_TOKENS, encoder=tokens)
    figures = []
    for layers, batch, goal in ((2, short, _GOAL), (2, long, _GOAL), (1, short, None)):
        name = f"{layers} of 6 layers, {mean_tokens(batch, tokens):.0f} tokens"
        config = PredictorConfig(lora_layers=layers, early_features=False)
        figures += _compare(config, batch, name, goal)
    return figures
