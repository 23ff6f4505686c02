"""The folder in which a predictor is published.

It holds ``adapter/`` in PEFT format, which loads on its base model with
``PeftModel.from_pretrained`` (a reward model as a sequence classifier, its tokenizer beside it),
and ``head.safetensors``, whose metadata carry the configuration.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from alignment.config import ContextConfig
from alignment.model.encoders.base_model import reward_layer_in
from alignment.model.encoders.reward_model import RewardEncoder
from alignment.model.file_names import (
    ADAPTER_FOLDER,
    ADAPTER_SETTINGS,
    ADAPTER_WEIGHTS,
    HEAD_FILE,
)
from alignment.model.predictor import Predictor
from alignment.model.stated import FORMAT, METADATA_KEY, not_published, stated_settings
from alignment.model.vector import load_vector, to_vector

_TOKENIZER_SETTINGS = "tokenizer_config.json"
#: What a tokenizer notes of where and how it was read.
_OF_THIS_MACHINE = ("name_or_path", "is_local", "local_files_only")


def save_predictor(predictor: Predictor, folder: Path, context: ContextConfig) -> tuple[str, ...]:
    """Write ``adapter/`` and ``head.safetensors`` into a folder, replacing what was there.

    Returns:
        Names of the files, within the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    adapter = folder / ADAPTER_FOLDER
    if adapter.is_dir():
        shutil.rmtree(adapter)
    if isinstance(predictor.encoder.model, PeftModel):
        predictor.encoder.model.save_pretrained(
            str(adapter),
            # Otherwise PEFT asks a hub whether the base model's vocabulary has grown.
            save_embedding_layers=False,
        )
        if isinstance(predictor.encoder, RewardEncoder):
            _write_reward(predictor.encoder, predictor.head, adapter)
        _tidy(adapter)
    content = {
        "format": FORMAT,
        "predictor": asdict(predictor.config),
        "context": asdict(context),
    }
    # One key: safetensors writes several in chance order, and equal models give equal bytes.
    metadata = {METADATA_KEY: json.dumps(content, sort_keys=True)}
    tensors = {name: tensor.contiguous() for name, tensor in predictor.head.state_dict().items()}
    save_file(tensors, str(folder / HEAD_FILE), metadata=metadata)
    files = sorted(path for path in adapter.rglob("*") if path.is_file())
    return (HEAD_FILE, *(path.relative_to(folder).as_posix() for path in files))


def _write_reward(encoder: RewardEncoder, head: nn.Module, adapter: Path) -> None:
    """Let PEFT and others see a sequence classifier: last layer, kind of task, and tokenizer."""
    weights, settings = adapter / ADAPTER_WEIGHTS, adapter / ADAPTER_SETTINGS
    last = encoder.state_of_last_layer(head.get_parameter("score.weight"))
    save_file({**load_file(weights), **last}, str(weights), metadata={"format": "pt"})
    content = json.loads(settings.read_text(encoding="utf-8"))
    content |= {"task_type": "SEQ_CLS", "modules_to_save": [encoder.last_layer]}
    settings.write_text(json.dumps(content), encoding="utf-8")
    encoder.tokenizer.save_pretrained(str(adapter))
    file = adapter / _TOKENIZER_SETTINGS
    content = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in content.items() if name not in _OF_THIS_MACHINE}
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _require_same_reward(encoder: RewardEncoder, head: nn.Module, adapter: Path) -> None:
    """Refuse a folder that scores otherwise here than where others load it."""
    written = {n: t for n, t in load_file(adapter / ADAPTER_WEIGHTS).items() if reward_layer_in(n)}
    last = encoder.state_of_last_layer(head.get_parameter("score.weight"))
    if written.keys() != last.keys() or not all(
        torch.equal(last[n], t) for n, t in written.items()
    ):
        raise ValueError(f"{HEAD_FILE} and {ADAPTER_FOLDER}/ are of two models; copy one whole run")


def _tidy(adapter: Path) -> None:
    """Make PEFT's files reproducible and free of this machine's paths."""
    file = adapter / ADAPTER_SETTINGS
    content = json.loads(file.read_text(encoding="utf-8"))
    content["target_modules"] = sorted(content["target_modules"])
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # PEFT's template of a model card names the folder that the base model was read from.
    (adapter / "README.md").unlink(missing_ok=True)


def load_predictor(folder: Path) -> tuple[Predictor, ContextConfig]:
    """Load a published predictor and how strongly it reads a group's context.

    Raises:
        ModelFolderError: One line that says what is missing or wrong.
    """
    config, context = stated_settings(folder)
    try:
        tensors = load_file(folder / HEAD_FILE)
        adapter = folder / ADAPTER_FOLDER
        if config.adapted and not adapter.is_dir():
            raise ValueError(f"{ADAPTER_FOLDER}/ is missing; copy the whole folder")
        predictor = Predictor(config, adapter=adapter if adapter.is_dir() else None)
        predictor.head.load_state_dict(tensors)
        if isinstance(predictor.encoder, RewardEncoder) and config.adapted:
            _require_same_reward(predictor.encoder, predictor.head, adapter)
        load_vector(predictor, to_vector(predictor))  # refuses what is not finite
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise not_published(folder, error) from error
    return predictor, context
