"""The text encoder with its adapters, cut in two: frozen layers below, adapted ones above.

Layers below the first adapter never change, so what they make of a text is computed once
(:meth:`Encoder.prefix`); a training step runs the layers above (:meth:`Encoder.suffix`).
The cut works on any Hugging Face encoder that keeps its layers in one ``ModuleList``: the model's
own ``forward`` runs, with the frozen layers replaced by a no-operation and the stored activations
handed to the first adapted layer. Masks and positions stay the model's own business.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from peft import (
    PeftModel,
    get_peft_model,
)
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel

from alignment.config import PredictorConfig
from alignment.model.encoders.adapters import fill, lora_config
from alignment.model.encoders.base_model import load_base
from alignment.model.encoders.device import CPU, DTYPES, compute_device, widened
from alignment.model.encoders.encoder_files import EncoderError, hub_id_of
from alignment.model.encoders.layers import PrefixDone, Recomputed, Skipped, layer_list, take_tokens
from alignment.model.encoding import QuestionBatch

#: How far two activations may be apart that must be the same number.
_TOLERANCE = 1e-3
#: Tokens of an option of middling length, and how much more its length counts than an activation.
_LENGTH, _LENGTH_SCALE = 40.0, 4.0


class Encoder(nn.Module):
    """A frozen base encoder with trainable LoRA adapters on its last layers.

    Args:
        config: Which encoder, and where its adapters sit.
        seed: Draws the first values of the adapters (A uniform, B zero).
        adapter: A folder in PEFT format to load the adapters from instead.

    Attributes:
        first: Index of the first layer that may carry adapters: all below is computed once a text.
        recomputes: Whether steps keep what goes into each adapted layer but the last alone, and
            compute the rest again on the way back: less memory, about a third more time (gradient
            checkpointing).
    """

    #: The auto class of the base model, and what PEFT calls its task.
    _kind: ClassVar[Any] = AutoModel
    _task: ClassVar[str | None] = None
    _layers: nn.ModuleList

    def __init__(
        self, config: PredictorConfig, *, seed: int = 0, adapter: Path | None = None
    ) -> None:
        super().__init__()
        self.device, self.dtype = compute_device(), DTYPES[config.dtype]
        base, self.tokenizer = load_base(
            config.encoder, self._kind, depth=config.depth, dtype=self.dtype
        )
        _, layers = layer_list(base)
        if config.lora_layers > len(layers):
            raise EncoderError(
                f"lora_layers = {config.lora_layers} but {config.encoder} has {len(layers)} layers"
            )
        if config.depth not in (0, len(layers)):
            raise EncoderError(
                f"depth = {config.depth} but {config.encoder} runs {len(layers)} layers all the "
                "same: use 0"
            )
        positions = self._positions(base)
        if positions is not None and config.max_tokens > positions:
            raise EncoderError(
                f"max_tokens = {config.max_tokens} but {config.encoder} reads {positions} tokens: "
                "lower it"
            )
        # Keys and values need not outlive their layer, which would find them twice on a second run.
        base.config.use_cache = False
        adapted = config.adapted
        self.first = len(layers) - config.lora_layers
        self.recomputes = False
        self.hidden_size: int = base.config.hidden_size
        #: Numbers that :meth:`prefix` gives for a token.
        self.prefix_width = self.hidden_size
        #: Numbers that :meth:`pooled` gives for an option.
        self.pooled_width = (3 if config.early_features else 2) * self.hidden_size
        self.pooled_width += 2 * config.option_length
        self._early_features = config.early_features
        self._option_length = config.option_length
        self.model: nn.Module = base
        if adapter is not None and not adapted:
            raise EncoderError(f"{adapter} holds adapters, the configuration has none: remove one")
        if adapted:
            self.model = self._adapted(base, config, seed=seed, adapter=adapter)
        cast(nn.Module, self.model).to(self.device)
        self.model.eval()
        # Past the registry of modules: the layers are parts of the model already.
        self.__dict__["_layers"] = layer_list(self.model)[1]
        self._returns_tuple = False
        # BERT and its kin: attention with its residual, then a feed-forward part per token.
        parts = {name for name, _ in self._layers[-1].named_children()}
        self._can_narrow = parts == {"attention", "intermediate", "output"}
        self.causal = self._reads_backwards_only(base.config.vocab_size)

    @contextmanager
    def base_alone(self) -> Iterator[None]:
        """The base model without its adapters, while the context lasts."""
        with ExitStack() as stack:
            if isinstance(self.model, PeftModel):
                stack.enter_context(self.model.disable_adapter())
            yield

    @property
    def is_reference(self) -> bool:
        """Whether it computes where and as every change is tested: on the processor in float32."""
        return self.device == CPU and self.dtype is torch.float32

    @torch.no_grad()
    def _reads_backwards_only(self, vocabulary: int) -> bool:
        """Whether what the model makes of a token is the same whatever comes after it."""
        token_ids = torch.tensor([[0, 0], [0, vocabulary - 1]], device=self.device)
        one, other = self._run(token_ids, torch.ones_like(token_ids))[:, 0]
        return torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)

    def _adapted(
        self, base: PreTrainedModel, config: PredictorConfig, *, seed: int, adapter: Path | None
    ) -> PeftModel:
        """Put adapters on the base: new ones, or those of a folder."""
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # PEFT 0.21 reads an attribute that transformers 5.23 has renamed.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            torch.manual_seed(seed)
            lora = lora_config(base, self.first, config, self._task)
            model = cast(PeftModel, get_peft_model(base, lora))
        # A path of this machine has no place in a published adapter.
        model.peft_config["default"].base_model_name_or_path = hub_id_of(config.encoder)
        if adapter is not None:
            fill(model, adapter)
        return model

    @staticmethod
    def _positions(base: PreTrainedModel) -> int | None:
        """The longest text that the base model was made for, in tokens; None where any is."""
        for name, table in base.named_modules():
            if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
                # RoBERTa and its kin count positions from behind the padding.
                unused = 0 if table.padding_idx is None else table.padding_idx + 1
                return table.num_embeddings - unused
        longest: int | None = getattr(base.config, "max_position_embeddings", None)
        return longest

    def train(self, mode: bool = True) -> Encoder:
        """Stay in evaluation mode: dropout would make a unit's gradient depend on chance."""
        return super().train(False)

    def _run(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        output = self.model(input_ids=token_ids, attention_mask=mask)
        return cast(Tensor, output.last_hidden_state)

    @torch.no_grad()
    def prefix(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Run the frozen layers.

        Args:
            token_ids: (sequences, tokens) int64.
            mask: (sequences, tokens) int64, 1 for a token and 0 for padding.

        Returns:
            What goes into the first adapted layer, or comes out of the last one where there is
            none: (sequences, tokens, hidden) in the encoder's precision, on the processor.
        """
        token_ids, mask = token_ids.to(self.device), mask.to(self.device)
        if self.first == len(self._layers):
            return self._run(token_ids, mask).to(CPU)

        def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise PrefixDone(args[0] if args else kwargs["hidden_states"])

        def note(_: nn.Module, __: object, output: object) -> None:
            self._returns_tuple = isinstance(output, tuple)

        hooks = [self._layers[self.first].register_forward_pre_hook(stop, with_kwargs=True)]
        if self.first > 0:
            hooks.append(self._layers[0].register_forward_hook(note))
        try:
            self._run(token_ids, mask)
        except PrefixDone as done:
            return done.hidden.to(CPU)
        finally:
            for hook in hooks:
                hook.remove()
        raise EncoderError(f"{type(self.model).__name__} never ran its layer {self.first}")

    @contextmanager
    def _prefix_replaced(self, hidden: Tensor) -> Iterator[None]:
        def inject(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        whole = self._layers._modules
        skipped = {
            str(i): Skipped(self._layers[i], returns_tuple=self._returns_tuple)
            for i in range(self.first)
        }
        adapted: dict[str, nn.Module] = {}
        if self.recomputes and torch.is_grad_enabled():
            # What the last layer keeps is the first to go: to compute it again would spare nothing.
            again = range(self.first, len(whole) - 1)
            adapted = {str(i): Recomputed(self._layers[i]) for i in again}
        # Before a stand-in, which computes again from what it was given, and not within it.
        begun = adapted.get(str(self.first), self._layers[self.first])
        hook = begun.register_forward_pre_hook(inject, with_kwargs=True)
        self._layers._modules = {**whole, **skipped, **adapted}
        try:
            yield
        finally:
            self._layers._modules = whole
            hook.remove()

    @contextmanager
    def _last_layer_narrowed(self, read: Tensor) -> Iterator[None]:
        """Let the last layer's feed-forward part see only the tokens that are read.

        It is two thirds of a layer's work and handles every token by itself.
        """

        def narrow(_: nn.Module, __: object, output: Any) -> Any:
            if isinstance(output, tuple):
                return (take_tokens(output[0], read), *output[1:])
            return take_tokens(output, read)

        hook = cast(nn.Module, self._layers[-1].attention).register_forward_hook(narrow)
        try:
            yield
        finally:
            hook.remove()

    def suffix(self, hidden: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
        """Run the adapted layers on stored activations.

        Args:
            hidden: What :meth:`prefix` returned, (sequences, tokens, hidden).
            mask: (sequences, tokens) int64.
            read: (sequences, read tokens) int64, places of the tokens wanted; None wants all.

        Returns:
            Last hidden states of the tokens wanted, (sequences, tokens, hidden), in the encoder's
            precision and on its device; equal to those of :meth:`forward` up to float rounding.
        """
        hidden, mask = hidden.to(self.device), mask.to(self.device)
        read = None if read is None else read.to(self.device)
        if self.first == len(self._layers):
            return hidden if read is None else take_tokens(hidden, read)
        with ExitStack() as stack:
            stack.enter_context(self._prefix_replaced(hidden))
            early = read is not None and self._can_narrow
            if early and read is not None:
                stack.enter_context(self._last_layer_narrowed(read))
            last = self._run(torch.zeros_like(mask), mask)
        return last if read is None or early else take_tokens(last, read)

    @property
    def shared_columns(self) -> slice:
        """Where :meth:`pooled` holds what is alike for all options of one text; may be empty."""
        start = self.hidden_size
        return slice(start, start) if self.causal else slice(start, 2 * start)

    def pooled(self, batch: QuestionBatch) -> Tensor:
        """Pooled activations of each option: (questions, K, pooled_width) float32.

        The mean of the option's own tokens; the sequence's first token, or of a causal model, whose
        first token has seen nothing, the option's last; and with early features the mean below the
        adapted layers. Each is normalised without parameters. The length of an option comes last.
        """
        last = widened(self.suffix(batch.hidden, batch.mask, batch.read))
        pooling = batch.pooling_of_read().to(self.device)
        options = torch.bmm(pooling, last)
        whole = last[:, :1].expand_as(options)
        if self.causal:
            whole = last.gather(1, _last_places(pooling).expand_as(options))
        parts = [options, whole]
        if self._early_features:
            below = widened(batch.hidden.to(self.device))
            parts.append(torch.bmm(batch.pooling.to(self.device), below))
        columns = [functional.layer_norm(part, (self.hidden_size,)).to(CPU) for part in parts]
        if self._option_length:
            columns.append(_length_columns(batch.lengths))
        return torch.cat(columns, dim=-1).flatten(0, 1)[batch.slots]

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Run the whole encoder: (sequences, tokens) int64 to (sequences, tokens, hidden)."""
        return self._run(token_ids, mask)


def _last_places(pooling: Tensor) -> Tensor:
    """Of each option the place of its last token, (sequences, slots, 1) int64; 0 of none."""
    places = torch.arange(pooling.shape[-1], device=pooling.device)
    return torch.where(pooling > 0, places, 0).amax(dim=-1, keepdim=True)


def _length_columns(lengths: Tensor) -> Tensor:
    """What a reader sees of lengths, (...) float32 in tokens: logarithm and number, (..., 2)."""
    # Some texts say nothing to a tokenizer, and nothing has no logarithm.
    shares = lengths.clamp(min=1) / _LENGTH
    return _LENGTH_SCALE * torch.stack([shares.log(), (shares - 1) / 2], dim=-1)
