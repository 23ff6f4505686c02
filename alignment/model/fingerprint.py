"""Which predictor is meant: one digest over its shape and every file of its base encoder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from alignment.config import DEFAULT_ENCODER, PredictorConfig
from alignment.model.packaged import EncoderError, packaged_files


def model_fingerprint(config: PredictorConfig) -> str:
    """SHA-256 of a predictor's shape and of the files its frozen weights are read from.

    Raises:
        EncoderError: The encoder is missing, or named by a hub id: what a hub hands out may change,
            so a group can only agree to files that it holds.
    """
    folder = Path(config.encoder)
    if config.encoder == DEFAULT_ENCODER:
        files = packaged_files()
    elif folder.is_dir():
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    else:
        raise EncoderError(
            f"encoder {config.encoder!r} is no folder here: download it into one, so that its "
            "files can be pinned"
        )
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    shape = {"predictor": asdict(config), "files": dict(sorted(digests.items()))}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
