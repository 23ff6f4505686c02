"""The base model and its tokenizer: found, loaded, frozen, and refused where a text would fail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from alignment.config import DEFAULT_ENCODER
from alignment.model.encoder_files import EncoderError, packaged_files


@contextmanager
def _source(encoder: str) -> Iterator[str]:
    """The place to load an encoder from; of the package only the checked files are in reach."""
    if encoder != DEFAULT_ENCODER:
        yield encoder
        return
    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        for name, path in packaged_files().items():
            (Path(folder) / name).symlink_to(path)
        yield folder


def reason_of(error: Exception) -> str:
    """The first line of an error, or its name where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep a bar that counts tensors out of a run's own progress."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_base(
    encoder: str, kind: Any = AutoModel
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base encoder and its tokenizer, frozen, in float32 and without dropout.

    Weights are read from safetensors only: nothing pickled, and no code from a hub.

    Args:
        encoder: The packaged one, a folder, or a hub id.
        kind: The auto class of ``transformers`` that builds it.

    Raises:
        EncoderError: The encoder cannot be found, was changed, or has no fast tokenizer.
    """
    try:
        with _source(encoder) as source, _no_progress_bar():
            model, report = kind.from_pretrained(
                source,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderError(
            f"cannot load encoder {encoder!r}: {reason_of(error)} Give a folder in Hugging Face "
            f"format, a hub id, or {DEFAULT_ENCODER!r}"
        ) from error
    # Whatever is missing was drawn at random: every party would hold another encoder.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise EncoderError(f"encoder {encoder!r} lacks weights {missing[0]}: give a complete one")
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise EncoderError(f"encoder {encoder!r} has no fast tokenizer: add its tokenizer.json")
    _require_known_tokens(encoder, model, tokenizer)
    model.requires_grad_(False)
    model.eval()
    return model, tokenizer


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
