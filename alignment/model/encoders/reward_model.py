"""A reward model as other libraries have it: an encoder with adapters, and one linear layer on top.

What the layer reads is what the model's own sequence classifier would hand to its last layer: of a
causal model the state of the last token, of a text encoder what its pooler makes of the first. So
what a federation has trained loads as ``AutoModelForSequenceClassification`` with ``PeftModel``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from alignment.config import PredictorConfig
from alignment.model.encoders.base_model import ADAPTED_PREFIX, REWARD_LAYERS
from alignment.model.encoders.device import CPU, widened
from alignment.model.encoders.encoder import Encoder
from alignment.model.encoders.encoder_files import EncoderError
from alignment.model.encoding import QuestionBatch


class _Read(Exception):
    """Ends a forward pass with what the last layer was about to read."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class RewardEncoder(Encoder):
    """An encoder with adapters that gives what the last layer of its reward model reads.

    Args:
        config: Which encoder, and where its adapters sit.
        seed: Draws the first values of the adapters.
        adapter: A folder in PEFT format to load the adapters from instead.

    Attributes:
        last_layer: Name of the layer that is trained as the head.

    Raises:
        EncoderError: The model has no sequence classifier of one linear layer.
    """

    _kind: ClassVar[Any] = AutoModelForSequenceClassification
    #: Ends a prompt, where the model reads what belongs to it and what to the response.
    _separator: int | None = None

    def __init__(
        self, config: PredictorConfig, *, seed: int = 0, adapter: Path | None = None
    ) -> None:
        super().__init__(config, seed=seed, adapter=adapter)
        self.pooled_width = self.hidden_size
        self._can_narrow = False
        ending = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        #: What others pad with, the end token where there is none: of a text they skip it, too.
        self._padding = next((each for each in ending if each is not None), -1)
        if self._reads_types():
            self._separator = int(self.tokenizer.sep_token_id)

    @property
    def last_layer(self) -> str:
        """Name of the layer that is trained as the head, in the base model."""
        base = self._base
        for name in REWARD_LAYERS:
            if type(getattr(base, name, None)) is nn.Linear:
                return name
        raise EncoderError(
            f"{type(base).__name__} ends in no single linear layer: scores = 'reward' wants a "
            "model whose sequence classifier does, 'head' takes any"
        )

    def state_of_last_layer(self, weight: Tensor) -> dict[str, Tensor]:
        """The last layer as PEFT writes it beside adapters, from the weight of the head."""
        layer: nn.Linear = getattr(self._base, self.last_layer)
        state = {"weight": weight.detach().clone()}
        if layer.bias is not None:
            state["bias"] = torch.zeros_like(layer.bias, dtype=weight.dtype, device=CPU)
        return {f"{ADAPTED_PREFIX}{self.last_layer}.{name}": t for name, t in state.items()}

    @property
    def _base(self) -> Any:
        """The base model within the adapters, or without any."""
        return getattr(self.model, "get_base_model", lambda: self.model)()

    def _run(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer reads: (texts, tokens, hidden), or (texts, hidden) where pooled."""

        def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
            raise _Read(args[0])

        base = self._base
        hook = cast(nn.Module, getattr(base, self.last_layer)).register_forward_pre_hook(stop)
        try:
            self.model(input_ids=token_ids, attention_mask=mask, **self._types(token_ids, mask))
        except _Read as read:
            return read.features
        finally:
            hook.remove()
        raise EncoderError(f"{type(base).__name__} never ran its layer {self.last_layer!r}")

    def _reads_types(self) -> bool:
        """Whether the tokenizer tells prompt and response apart, and the model reads it."""
        types = self.tokenizer("a", "b").get("token_type_ids", [])
        kinds: int = getattr(self._base.config, "type_vocab_size", 0)
        return not self.causal and kinds > 1 and any(types)

    def _types(self, token_ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Of a prompt and its response as others hand them over: 0 up to the prompt's end."""
        if self._separator is None:
            return {}
        ends = token_ids == self._separator
        response = (ends.cumsum(dim=1) - ends.to(torch.int64)).clamp(max=1)
        return {"token_type_ids": response * mask}

    def _reads_backwards_only(self, vocabulary: int) -> bool:
        token_ids = torch.zeros((1, 2), dtype=torch.int64, device=self.device)
        read = self._run(token_ids, torch.ones_like(token_ids))
        return read.dim() == 3 and super()._reads_backwards_only(vocabulary)

    @property
    def shared_columns(self) -> slice:
        """None: every option has a text of its own."""
        return slice(0, 0)

    def pooled(self, batch: QuestionBatch) -> Tensor:
        """What the last layer reads of each option: (questions, K, hidden) float32."""
        read = widened(self.suffix(batch.hidden, batch.mask))
        if read.dim() == 3:
            said = batch.mask * (batch.token_ids != self._padding)
            last = (said * torch.arange(said.shape[1])).argmax(dim=1).to(self.device)
            read = read[torch.arange(len(last), device=self.device), last]
        width = batch.pooling.shape[1]
        return read.to(CPU).repeat_interleave(width, dim=0)[batch.slots]
