"""The preference predictor: encoder, head, and the scores of options.

A reward model, or the implicit rewards of a causal language model, take the place of both where
``scores`` says so (:mod:`alignment.model.encoders.reward_model`,
:mod:`alignment.model.encoders.causal`), and nothing else changes.

The prior holds the scores of a question before anything is known of a group.
:mod:`alignment.model.context` corrects them by the group's own answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from alignment.config import DEFAULT_ENCODER, PredictorConfig
from alignment.data.records import Question
from alignment.model.context import ABSENT, Prior
from alignment.model.encoders.causal import CausalEncoder, ImplicitReward, ResponseEncoder
from alignment.model.encoders.encoder import Encoder
from alignment.model.encoders.encoder_files import model_fingerprint
from alignment.model.encoders.reward_model import RewardEncoder
from alignment.model.encoding import (
    PrefixCache,
    QuestionBatch,
    QuestionEncoder,
    TextEncoder,
    collate,
    within_tokens,
)
from alignment.model.heads import PreferenceHead, RewardHead
from alignment.model.rendering import ChatTemplate

#: Questions per forward pass where no gradient is wanted, and questions remembered at most.
_BATCH = 32
#: Tokens of such a pass, padding included.
_TOKENS = 1 << 14
_POOLED_LIMIT = 50_000


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
        kind = {"head": Encoder, "reward": RewardEncoder, "policy": CausalEncoder}[config.scores]
        self.encoder: Encoder = kind(config, seed=seed, adapter=adapter)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = self._head(config, self.encoder.pooled_width)
        self.questions = self._text_encoder()
        self.cache = PrefixCache(self.encoder)
        self._pooled: dict[Question, Tensor] = {}
        self._pooled_version = b""

    @staticmethod
    def _head(config: PredictorConfig, size: int) -> PreferenceHead | RewardHead | ImplicitReward:
        if config.scores == "policy":
            return ImplicitReward(config.beta)
        if config.scores == "reward":
            return RewardHead(size, config.context_rank)
        return PreferenceHead(size, config.head_width, config.context_rank)

    def _text_encoder(self) -> TextEncoder:
        """A new reader of texts, which remembers what it has read."""
        tokenizer, longest = self.encoder.tokenizer, self.config.max_tokens
        templated = self.config.chat_template and tokenizer.chat_template is not None
        chat = ChatTemplate(tokenizer) if templated else None
        if self.config.scores == "policy":
            return ResponseEncoder(tokenizer, longest, chat)
        if self.config.scores == "reward" and self.encoder.causal:
            return ResponseEncoder(tokenizer, longest, chat, joined=True)
        return QuestionEncoder(tokenizer, longest, chat, apart=self.config.apart)

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
        self._pooled |= self._pool(missing, self.questions, self.cache)
        return pad_options([self._pooled[question] for question in questions])

    def _pool(
        self, questions: Sequence[Question], encoder: TextEncoder, cache: PrefixCache
    ) -> dict[Question, Tensor]:
        """Pooled options of different questions, (options, width) float32 each."""
        ordered = sorted(questions, key=lambda question: len(question.text))
        pooled = {}
        size = partial(tokens_in, encoder=encoder)
        for part in within_tokens(ordered, size, tokens=_TOKENS, most=_BATCH):
            batch = collate(part, encoder, cache)
            for question, row in zip(part, self.pooled(batch), strict=True):
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
        pooled = self._pool(list(dict.fromkeys(questions)), encoder, cache)
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
                digest.update(parameter.detach().cpu().numpy().tobytes())
        return digest.digest()


def tokens_in(question: Question, *, encoder: TextEncoder) -> int:
    """Tokens that a question takes in a batch, beside others no longer than it.

    Args:
        question: Of which all texts count.
        encoder: Reads it, and remembers that.
    """
    texts = encoder.sequences(question)
    return len(texts) * max(len(text.token_ids) for text in texts)


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
