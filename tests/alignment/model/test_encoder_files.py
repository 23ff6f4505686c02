"""One digest names a predictor: its shape, and every byte of its base encoder."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from alignment.config import PredictorConfig
from alignment.model.encoders.encoder_files import model_fingerprint


@pytest.fixture
def encoder(tiny_encoder: str, tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    return folder


def test_the_default_encoder_has_one() -> None:
    first = model_fingerprint(PredictorConfig())
    assert len(first) == 64
    assert int(first, 16) >= 0
    assert model_fingerprint(PredictorConfig()) == first


@pytest.mark.parametrize(
    "name", [each.name for each in fields(PredictorConfig) if each.name != "encoder"]
)
def test_it_changes_with_every_part_of_the_shape(tiny_encoder: str, name: str) -> None:
    config = PredictorConfig(encoder=tiny_encoder)
    value = getattr(config, name)
    changed = {"scores": "policy", "lora_targets": "query", "dtype": "bfloat16"}
    other = replace(config, **{name: changed[name] if name in changed else value + 1})
    assert model_fingerprint(other) != model_fingerprint(config)


def test_it_changes_with_every_file_of_an_encoder(encoder: Path) -> None:
    config = PredictorConfig(encoder=str(encoder))
    before = model_fingerprint(config)
    files = [path for path in sorted(encoder.rglob("*")) if path.is_file()]
    assert {"config.json", "model.safetensors"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert model_fingerprint(config) != before, path.name
        path.write_bytes(content)
    assert model_fingerprint(config) == before
    (encoder / "more").mkdir()
    (encoder / "more" / "modules.json").write_text("[]", encoding="utf-8")
    assert model_fingerprint(config) != before


def test_files_that_change_places_change_it(encoder: Path) -> None:
    config = PredictorConfig(encoder=str(encoder))
    before = model_fingerprint(config)
    (encoder / "config.json").rename(encoder / "third.json")
    assert model_fingerprint(config) != before


@pytest.mark.parametrize("encoder", ["sentence-transformers/all-MiniLM-L6-v2", "nowhere", ""])
def test_what_a_hub_hands_out_cannot_be_agreed_to(encoder: str, tmp_path: Path) -> None:
    name = str(tmp_path / "nothing") if not encoder else encoder
    with pytest.raises(ValueError, match="is no folder here: download it into one"):
        model_fingerprint(PredictorConfig(encoder=name))
