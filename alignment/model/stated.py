"""The settings that a published folder states of itself, read without torch and without trust.

They stand in the metadata of ``head.safetensors``: JSON, in a format that holds no code.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from alignment.config import ContextConfig, PredictorConfig
from alignment.model.file_names import HEAD_FILE

METADATA_KEY = "fedaccord"
FORMAT = "fedaccord-predictor-1"


class ModelFolderError(ValueError):
    """A folder does not hold a published predictor."""


def stated_settings(folder: Path) -> tuple[PredictorConfig, ContextConfig]:
    """The shape of the predictor in a published folder, and how it reads a group's context.

    Raises:
        ModelFolderError: One line that says what is missing or wrong.
    """
    head = folder / HEAD_FILE
    if not head.is_file():
        raise ModelFolderError(
            f"{folder}: no {HEAD_FILE} in it; give the --out folder of a finished run"
        )
    try:
        with safe_open(str(head), framework="numpy") as file:
            content = json.loads((file.metadata() or {})[METADATA_KEY])
        if content["format"] != FORMAT:
            raise ValueError(f"format is {content['format']!r}, not {FORMAT!r}: update one side")
        return PredictorConfig(**content["predictor"]), ContextConfig(**content["context"])
    except (SafetensorError, LookupError, TypeError, ValueError, OSError) as error:
        raise not_published(folder, error) from error


def not_published(folder: Path, error: Exception) -> ModelFolderError:
    """One line on what makes a folder no published predictor."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ModelFolderError(f"{folder}: not a published predictor: {reason}")
