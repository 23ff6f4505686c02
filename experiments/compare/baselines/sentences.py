"""Sentence embeddings of options by the frozen encoder, for methods that train none of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from alignment.config import PredictorConfig
from alignment.data.records import Question
from alignment.model.encoders.base_model import load_base
from alignment.model.encoding import QuestionEncoder, pad_tokens

#: Texts that pass through the encoder together.
_BATCH = 64


class Sentences:
    """Embeds every option of a question after the question, each distinct text once.

    The mean of the encoder's last hidden states over all tokens of a text, scaled to length 1, as
    the default encoder was trained to be read. Kept in memory only: they are made of records.

    Args:
        config: Which encoder, and how long a text may be.
        say: Told when there is much to embed.
    """

    def __init__(self, config: PredictorConfig, *, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._known: dict[tuple[int, ...], Tensor] = {}

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, QuestionEncoder]:
        model, tokenizer = load_base(self._config.encoder)
        return model, QuestionEncoder(tokenizer, self._config.max_tokens)

    @property
    def settings(self) -> dict[str, object]:
        """Settings that embeddings depend on, besides the texts."""
        return {"encoder": self._config.encoder, "max_tokens": self._config.max_tokens}

    def of(self, questions: Sequence[Question]) -> list[Tensor]:
        """Embed the options of questions: of each (options, width) float32, rows of length 1."""
        _, encoder = self._loaded
        keys = [
            [each.token_ids for each in encoder.sequences(replace(question, together=False))]
            for question in questions
        ]
        self._embed({key for each in keys for key in each} - self._known.keys())
        return [torch.stack([self._known[key] for key in each]) for each in keys]

    @torch.no_grad()
    def _embed(self, missing: set[tuple[int, ...]]) -> None:
        model, _ = self._loaded
        order = sorted(missing, key=lambda key: (len(key), key))
        if len(order) > 10 * _BATCH:
            self._say(f"embedding {len(order):,} options")
        for at in range(0, len(order), _BATCH):
            part = order[at : at + _BATCH]
            token_ids, mask = pad_tokens(part, max(map(len, part)))
            hidden = model(input_ids=token_ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].to(hidden.dtype)
            means = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            self._known.update(zip(part, functional.normalize(means, dim=-1), strict=True))
