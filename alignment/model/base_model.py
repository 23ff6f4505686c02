"""The base model and its tokenizer: found, loaded, frozen, and refused where a text would fail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from alignment.config import DEFAULT_ENCODER
from alignment.model.encoder_files import PACKAGED, EncoderError, packaged_files

_GGUF = ".gguf"
#: The last layer of a reward model, by the names of its kinds: a base model has none of its own.
REWARD_LAYERS = ("score", "classifier")
#: PEFT's, before the name of a module of the base model.
ADAPTED_PREFIX = "base_model.model."


def reward_layer_in(name: str) -> str | None:
    """The last layer of a reward model that a tensor of a PEFT file belongs to, or None."""
    layer = name.removeprefix(ADAPTED_PREFIX).split(".")[0]
    return layer if layer in REWARD_LAYERS else None


@contextmanager
def _source(encoder: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where to load an encoder from, and how; of a package only the checked files are in reach."""
    if encoder not in PACKAGED:
        yield encoder, {}
        return
    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        files = packaged_files(encoder)
        for name, path in files.items():
            (Path(folder) / name).symlink_to(path)
        packed = [name for name in files if name.endswith(_GGUF)]
        yield folder, {"gguf_file": packed[0]} if packed else {}


def reason_of(error: Exception) -> str:
    """The first line of an error, or its name where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep bars that count tensors, and reports of weights, out of a run's own progress."""
    shown, level = (
        transformers_logging.is_progress_bar_enabled(),
        transformers_logging.get_verbosity(),
    )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()


def load_base(
    encoder: str, kind: Any = AutoModel, *, depth: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base encoder and its tokenizer, frozen and without dropout, on the processor.

    Weights are read from safetensors or GGUF only: nothing pickled, and no code from a hub.

    Args:
        encoder: A packaged one, a folder, or a hub id.
        kind: The auto class of ``transformers`` that builds it.
        depth: Layers to keep, from below; 0 keeps all.
        dtype: Of all weights.

    Raises:
        EncoderError: The encoder cannot be found, was changed, or has no fast tokenizer.
    """
    shape: dict[str, Any] = {"num_hidden_layers": depth} if depth else {}
    rewards = kind is AutoModelForSequenceClassification
    if rewards:
        shape["num_labels"] = 1
    try:
        with _source(encoder) as (source, how), _quiet():
            model, report = kind.from_pretrained(
                source,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32 if how else dtype,
                output_loading_info=True,
                **shape,
                **how,
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **how)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise EncoderError(
            f"cannot load encoder {encoder!r}: {reason_of(error)} Give a folder in Hugging Face "
            f"format, a hub id, or {DEFAULT_ENCODER!r}"
        ) from error
    if how:
        model = _unpacked(model, dtype)
    _require_complete(encoder, report["missing_keys"], depth=depth, rewards=rewards)
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise EncoderError(f"encoder {encoder!r} has no fast tokenizer: add its tokenizer.json")
    _require_known_tokens(encoder, model, tokenizer)
    model.requires_grad_(False)
    model.eval()
    return model, tokenizer


def _unpacked(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A model of plain weights, that knows nothing of the packed file it was read from."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: PreTrainedModel = type(model)(config)
    plain.load_state_dict(model.state_dict())
    # Weights alone: where a token stands is told in float32, also where a folder is read.
    for weights in cast(nn.Module, plain).parameters():
        weights.data = weights.data.to(dtype)
    return plain


def _require_complete(encoder: str, missing: Iterable[str], *, depth: int, rewards: bool) -> None:
    """Refuse weights that were drawn at random: every party would hold another encoder."""
    # The last layer of a reward is trained; a pooler that nothing reads does not matter.
    trained = {f"{layer}.{part}" for layer in REWARD_LAYERS for part in ("weight", "bias")}
    found = sorted(
        name for name in missing if (name not in trained if rewards else "pooler" not in name)
    )
    if found:
        remedy = f" or lower depth = {depth}" if depth else ""
        raise EncoderError(
            f"encoder {encoder!r} lacks weights {found[0]}: give a complete one{remedy}"
        )


def _require_known_tokens(
    encoder: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer that knows a token without a row of the embedding.

    A step over a text with such a token would fail, and so tell that somebody's record has it.
    """
    highest = max(tokenizer.get_vocab().values())
    rows = cast(nn.Embedding, model.get_input_embeddings()).weight.shape[0]
    if highest >= rows:
        raise EncoderError(
            f"encoder {encoder!r} has a tokenizer with token {highest} and an embedding of {rows} "
            "rows: resize the embedding, or give the tokenizer that the model was made with"
        )


def save_base(encoder: str, folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write a base model as a folder in Hugging Face format, for libraries that read no package.

    Args:
        encoder: As for :func:`load_base`; a causal language model.
        folder: Where to.
        dtype: Of the weights.
    """
    from transformers import AutoModelForCausalLM

    model, tokenizer = load_base(encoder, AutoModelForCausalLM, dtype=dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
