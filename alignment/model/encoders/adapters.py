"""LoRA adapters on the last layers of a base model, and their files."""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from alignment.config import PredictorConfig
from alignment.model.encoders.base_model import reason_of, reward_layer_in
from alignment.model.encoders.encoder_files import EncoderError
from alignment.model.encoders.layers import layer_list
from alignment.model.file_names import ADAPTER_WEIGHTS


def lora_config(
    model: nn.Module, first: int, config: PredictorConfig, task: str | None
) -> LoraConfig:
    """Where adapters sit, and their shape.

    Args:
        model: The base model.
        first: Index of the first layer that may carry them.
        config: Asks for them.
        task: What PEFT calls what the model is for.

    Raises:
        EncoderError: They would sit nowhere.
    """
    name, layers = layer_list(model)
    ends = tuple(end.strip() for end in config.lora_targets.split(","))
    if not all(ends):
        raise EncoderError(
            f"lora_targets = {config.lora_targets!r} names nothing: use 'all-linear' or ends such "
            "as 'query,value'"
        )
    targets = [
        f"{name}.{index}.{inner}"
        for index in range(first, len(layers))
        for inner, module in layers[index].named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and (ends == ("all-linear",) or inner.endswith(ends))
    ]
    if not targets:
        raise EncoderError(
            f"lora_targets = {config.lora_targets!r} names no linear module of layers "
            f"{first}..{len(layers) - 1}: use 'all-linear' or ends such as 'query,value'"
        )
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=targets,
        # GPT-2 and its kin keep the transposed weight; the adapters are plain linear all the same.
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in targets),
        task_type=task,
    )


def fill(model: PeftModel, adapter: Path) -> None:
    """Read adapters from a folder in PEFT format: safetensors only, and exactly those there are."""
    file = adapter / ADAPTER_WEIGHTS
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{file}: cannot be read: {reason_of(error)}") from error
    # The last layer of a reward lies beside them for other libraries; ours is the head's.
    tensors = {n: t for n, t in tensors.items() if reward_layer_in(n) is None}
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
        raise EncoderError(
            f"{file}: holds other adapters than the configuration: copy the whole folder of one run"
        )
    set_peft_model_state_dict(model, tensors)
