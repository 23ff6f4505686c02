"""The preference predictor: encoder, head, and the scores of options.

A causal language model takes the place of both where ``scores = "policy"``
(:mod:`alignment.model.causal`), and nothing else changes.

The prior holds the scores of a question before anything is known of a group.
:mod:`alignment.model.context` corrects them by the group's own answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from alignment.config import DEFAULT_ENCODER, PredictorConfig
from alignment.data.records import Question
from alignment.model.causal import CausalEncoder, ImplicitReward, ResponseEncoder
from alignment.model.context import ABSENT, Prior
from alignment.model.encoder import Encoder
from alignment.model.encoder_files import model_fingerprint
from alignment.model.encoding import (
    PrefixCache,
    QuestionBatch,
    QuestionEncoder,
    TextEncoder,
    collate,
)

_DIRECTION_STD = 0.01
#: Questions per forward pass where no gradient is wanted, and questions remembered at most.
_BATCH = 32
_POOLED_LIMIT = 50_000


class Dropout:
    """Zeroes a share of numbers and scales the others up (Srivastava et al. 2014).

    Args:
        share: In [0, 1).
        generator: Draws them: torch's own would be shared by all groups of a process.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self._kept = 1.0 - share
        self._generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        """Drop some of them, anew for each call; float32 of any shape."""
        if self._kept == 1.0:
            return values
        kept = torch.full_like(values, self._kept).bernoulli(generator=self._generator)
        return values * kept / self._kept


class PreferenceHead(nn.Module):
    """Scores an option from its own tokens and the whole question.

    Args:
        size: Width of a pooled option.
        width: Hidden width of the head.
        context_rank: Directions in which groups may differ.

    Attributes:
        reads_context: A group's own answers can correct its scores.
    """

    reads_context = True

    def __init__(self, size: int, width: int, context_rank: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, width)
        self.score = nn.Linear(width, 1)
        self.directions = nn.Linear(size, context_rank, bias=False)
        # Untrained, they are a weak linear kernel on what the encoder sees in an option.
        nn.init.normal_(self.directions.weight, std=_DIRECTION_STD)

    def features(self, pooled: Tensor) -> Tensor:
        """Features of options: (..., size) float32 to (..., width) float32."""
        return functional.gelu(self.inner(pooled))

    def forward(self, pooled: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Score options: (..., size) float32 to (...) float32."""
        features = self.features(pooled)
        scores: Tensor = self.score(features if dropout is None else dropout(features))
        return scores.squeeze(-1)

    def with_slopes(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features and scores of options, and between them the slopes of the scores.

        Args:
            pooled: (options, size) float32.

        Returns:
            Features (options, width), derivatives of the scores by what ``inner`` gives (options,
            width), and scores (options,), float32 each and without gradients.
        """
        with torch.no_grad():
            inner = self.inner(pooled)
        with torch.enable_grad():
            features = functional.gelu(inner.requires_grad_())
            (slopes,) = torch.autograd.grad(features.sum(), inner)
        features = features.detach()
        with torch.no_grad():
            return features, slopes * self.score.weight, self.score(features).squeeze(-1)

    def prior(self, pooled: Tensor, present: Tensor) -> Prior:
        """The prior of pooled options, in their precision; gradients reach the directions only.

        So the loss in context cannot wear down the prior, which must stand without any context.
        """
        with torch.no_grad():
            features = self.features(pooled)
            scores: Tensor = self.score(features).squeeze(-1).masked_fill(~present, ABSENT)
        return Prior(
            scores=scores,
            features=functional.normalize(features, dim=-1),
            directions=self.directions(pooled.detach()),
            present=present,
        )


class Predictor(nn.Module):
    """Encoder with adapters, and head: the part that a federation trains.

    Args:
        config: Its shape.
        seed: Draws the first values of adapters and head.
        adapter: A folder in PEFT format to take the adapters from.
    """

    def __init__(
        self, config: PredictorConfig, *, seed: int = 0, adapter: Path | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder
        self.head: PreferenceHead | ImplicitReward
        if config.scores == "policy":
            self.encoder = CausalEncoder(config, seed=seed, adapter=adapter)
            self.head = ImplicitReward(config.beta)
        else:
            self.encoder = Encoder(config, seed=seed, adapter=adapter)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.head = PreferenceHead(
                    self.encoder.pooled_width, config.head_width, config.context_rank
                )
        self.questions = self._text_encoder()
        self.cache = PrefixCache(self.encoder)
        self._pooled: dict[Question, Tensor] = {}
        self._pooled_version = b""

    def _text_encoder(self) -> TextEncoder:
        kind = ResponseEncoder if self.config.scores == "policy" else QuestionEncoder
        return kind(self.encoder.tokenizer, self.config.max_tokens)

    def batch(self, questions: Sequence[Question], *, length: int | None = None) -> QuestionBatch:
        """Gather questions for :meth:`forward`; see :func:`alignment.model.encoding.collate`."""
        return collate(questions, self.questions, self.cache, length=length)

    def pooled(self, batch: QuestionBatch) -> Tensor:
        """Pooled activations of each option, (questions, K, width) float32, for the head."""
        return self.encoder.pooled(batch)

    def forward(self, batch: QuestionBatch) -> Tensor:
        """Scores of options, (questions, K) float32; ``ABSENT`` where there is no option."""
        scores: Tensor = self.head(self.pooled(batch))
        return scores.masked_fill(~batch.present, ABSENT)

    @torch.no_grad()
    def pooled_now(self, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """Pooled options under the adapters as they are, remembered until the adapters change.

        Args:
            questions: At least one.

        Returns:
            Pooled options (questions, K, width) float32, zero where there is no option, and
            which exist, (questions, K) bool.
        """
        version = self.adapter_version()
        if version != self._pooled_version or len(self._pooled) > _POOLED_LIMIT:
            self._pooled, self._pooled_version = {}, version
        missing = [q for q in dict.fromkeys(questions) if q not in self._pooled]
        self._pooled |= self._pool(missing, self.batch)
        return pad_options([self._pooled[question] for question in questions])

    def _pool(
        self, questions: Sequence[Question], batch: Callable[[Sequence[Question]], QuestionBatch]
    ) -> dict[Question, Tensor]:
        """Pooled options of different questions, (options, width) float32 each."""
        ordered = sorted(questions, key=lambda question: len(question.text))
        pooled = {}
        for at in range(0, len(ordered), _BATCH):
            part = ordered[at : at + _BATCH]
            for question, row in zip(part, self.pooled(batch(part)), strict=True):
                pooled[question] = row[: len(question.options)].clone()
        return pooled

    @torch.no_grad()
    def prior(self, questions: Sequence[Question]) -> Prior:
        """The prior of questions, float64."""
        return self._prior(*self.pooled_now(questions))

    @torch.no_grad()
    def prior_unremembered(self, questions: Sequence[Question]) -> Prior:
        """The same, with nothing kept of the questions: for texts that do not come again."""
        encoder, cache = self._text_encoder(), PrefixCache(self.encoder)
        pooled = self._pool(
            list(dict.fromkeys(questions)), lambda part: collate(part, encoder, cache)
        )
        return self._prior(*pad_options([pooled[question] for question in questions]))

    def _prior(self, pooled: Tensor, present: Tensor) -> Prior:
        prior = self.head.prior(pooled, present)
        return Prior(
            scores=prior.scores.to(torch.float64),
            features=functional.normalize(prior.features.to(torch.float64), dim=-1),
            directions=prior.directions.to(torch.float64),
            present=present,
        )

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters that a federation trains, in a fixed order."""
        return iter(self._trainable)

    @cached_property
    def _trainable(self) -> tuple[tuple[str, nn.Parameter], ...]:
        # Looked up once: to walk all modules takes longer than a small step.
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        return tuple(sorted(named, key=lambda item: item[0]))

    def adapter_version(self) -> bytes:
        """Digest of the adapters as they are: what was computed under another is out of date."""
        digest = hashlib.sha256()
        for name, parameter in self.trainable():
            if name.startswith("encoder."):
                digest.update(parameter.detach().numpy().tobytes())
        return digest.digest()


def loadable_fingerprint(config: PredictorConfig) -> str:
    """The fingerprint of a predictor that was loaded and checked: what a group may agree to.

    The files of the default encoder are pinned by the program itself and need no look.

    Raises:
        EncoderError: It cannot be loaded, or would fail on some text.
    """
    if config.encoder != DEFAULT_ENCODER:
        Predictor(config)
    return model_fingerprint(config)


def pad_options(rows: Sequence[Tensor], options: int | None = None) -> tuple[Tensor, Tensor]:
    """Options of questions side by side, zero where there is none, and which exist.

    Args:
        rows: Of each question, (options, width) float32.
        options: Room of each; None is what the longest takes.
    """
    present = torch.zeros((len(rows), options or max(map(len, rows))), dtype=torch.bool)
    pooled = torch.zeros((*present.shape, rows[0].shape[-1]))
    for i, row in enumerate(rows):
        pooled[i, : len(row)] = row
        present[i, : len(row)] = True
    return pooled, present
