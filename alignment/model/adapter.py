"""What a federation trains as one flat vector, and the folder in which it is published.

The folder holds ``adapter/`` in PEFT format, which loads on its base model with
``PeftModel.from_pretrained``, and ``head.safetensors``, whose metadata carry the configuration.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from alignment.config import ContextConfig, PredictorConfig
from alignment.model.predictor import Predictor

ADAPTER_FOLDER = "adapter"
HEAD_FILE = "head.safetensors"
METADATA_KEY = "fedaccord"
FORMAT = "fedaccord-predictor-1"


class ModelFolderError(ValueError):
    """A folder does not hold a published predictor."""


@dataclass(frozen=True)
class AdapterLayout:
    """Where each named tensor lies in the flat vector of ``dimension`` float32 coordinates.

    Attributes:
        names: Names of the tensors, in the order of the vector.
        shapes: Their shapes.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, nn.Parameter]]) -> AdapterLayout:
        """The layout of named parameters, in their order."""
        named = [(name, tuple(parameter.shape)) for name, parameter in parameters]
        return cls(names=tuple(n for n, _ in named), shapes=tuple(s for _, s in named))

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def flatten(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> NDArray[np.float32]:
        """Copy parameters into a new vector, (d,) float32."""
        parts = [parameter.detach().cpu().numpy().ravel() for _, parameter in parameters]
        return np.concatenate(parts).astype(np.float32)

    def restore(
        self, vector: NDArray[np.float32], parameters: Iterable[tuple[str, nn.Parameter]]
    ) -> None:
        """Write a vector into parameters.

        Raises:
            ValueError: The vector has another length, or holds a number that is not finite.
        """
        if vector.shape != (self.dimension,):
            raise ValueError(
                f"vector has shape {vector.shape}, the layout needs ({self.dimension},): "
                "both sides must hold the same predictor configuration"
            )
        if not np.isfinite(vector).all():
            raise ValueError("vector holds NaN or infinity: lower the learning rate")
        at = 0
        with torch.no_grad():
            for (_, parameter), shape in zip(parameters, self.shapes, strict=True):
                size = int(np.prod(shape))
                values = np.array(vector[at : at + size], dtype=np.float32).reshape(shape)
                parameter.copy_(torch.from_numpy(values))
                at += size


def to_vector(predictor: Predictor) -> NDArray[np.float32]:
    """The trainable parameters of a predictor, (d,) float32."""
    layout = AdapterLayout.of(predictor.trainable())
    return layout.flatten(predictor.trainable())


def load_vector(predictor: Predictor, vector: NDArray[np.float32]) -> None:
    """Set the trainable parameters of a predictor; see :meth:`AdapterLayout.restore`."""
    AdapterLayout.of(predictor.trainable()).restore(vector, predictor.trainable())


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


def _tidy(adapter: Path) -> None:
    """Make PEFT's files reproducible and free of this machine's paths."""
    file = adapter / "adapter_config.json"
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
    head = folder / HEAD_FILE
    if not head.is_file():
        raise ModelFolderError(
            f"{folder}: no {HEAD_FILE} in it; give the --out folder of a finished run"
        )
    try:
        with safe_open(str(head), framework="pt") as file:
            content = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if content["format"] != FORMAT:
            raise ValueError(f"format is {content['format']!r}, not {FORMAT!r}: update one side")
        config = PredictorConfig(**content["predictor"])
        context = ContextConfig(**content["context"])
        adapter = folder / ADAPTER_FOLDER
        if config.lora_rank > 0 and config.lora_layers > 0 and not adapter.is_dir():
            raise ValueError(f"{ADAPTER_FOLDER}/ is missing; copy the whole folder")
        predictor = Predictor(config, adapter=adapter if adapter.is_dir() else None)
        predictor.head.load_state_dict(tensors)
        load_vector(predictor, to_vector(predictor))  # refuses what is not finite
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelFolderError(f"{folder}: not a published predictor: {reason}") from error
    return predictor, context
