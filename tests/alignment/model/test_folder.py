"""The published folder: what it says, and what it is refused for."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.records import Question
from alignment.model.folder import load_predictor, save_predictor
from alignment.model.predictor import Predictor
from alignment.model.stated import ModelFolderError
from alignment.model.vector import to_vector

ROOT = Path(__file__).parents[3]
MakePredictor = Callable[..., Predictor]
Shake = Callable[[nn.Module, int], None]
CONTEXT = ContextConfig(strength=3.0, bandwidth=0.5)


@pytest.fixture
def predictor(make_predictor: MakePredictor, shake: Shake) -> Predictor:
    made = make_predictor()
    shake(made, 0)
    return made


@pytest.fixture
def published(predictor: Predictor, tmp_path: Path) -> Path:
    save_predictor(predictor, tmp_path / "out", CONTEXT)
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("layers", [0, 1, 4])
def test_a_published_predictor_predicts_the_same(
    make_predictor: MakePredictor,
    shake: Shake,
    tmp_path: Path,
    survey: tuple[Question, ...],
    layers: int,
) -> None:
    predictor = make_predictor(lora_layers=layers, lora_rank=3)
    shake(predictor, 1)
    save_predictor(predictor, tmp_path, CONTEXT)
    loaded, context = load_predictor(tmp_path)
    assert (loaded.config, context) == (predictor.config, CONTEXT)
    assert np.array_equal(to_vector(loaded), to_vector(predictor))
    assert torch.equal(loaded.prior(survey).scores, predictor.prior(survey).scores)
    assert (tmp_path / "adapter").is_dir() == (layers > 0)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_adapter_loads_with_peft_alone(
    predictor: Predictor, published: Path, bert: str
) -> None:
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    base = AutoModel.from_pretrained(bert)
    plain = base(input_ids=ids, attention_mask=mask).last_hidden_state
    adapted = PeftModel.from_pretrained(base, str(published / "adapter")).eval()
    states = adapted(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(states, predictor.encoder(ids, mask), atol=1e-6)
    assert not torch.allclose(states, plain, atol=1e-2)


def test_saving_again_replaces_what_was_there(
    predictor: Predictor, make_predictor: MakePredictor, published: Path
) -> None:
    (published / "adapter" / "old.bin").write_bytes(b"old")
    save_predictor(make_predictor(lora_rank=0), published, CONTEXT)
    assert set(contents(published)) == {"head.safetensors"}
    save_predictor(predictor, published, CONTEXT)
    assert set(contents(published)) == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "head.safetensors",
    }


def test_saving_leaves_the_predictor_as_it_was(
    predictor: Predictor, survey: tuple[Question, ...], tmp_path: Path
) -> None:
    before = predictor.prior(survey).scores
    names = [name for name, _ in predictor.trainable()]
    save_predictor(predictor, tmp_path, CONTEXT)
    assert [name for name, _ in predictor.trainable()] == names
    assert torch.equal(predictor.prior(survey).scores, before)


def test_two_saves_give_the_same_adapter_files(
    predictor: Predictor, published: Path, tmp_path: Path
) -> None:
    save_predictor(predictor, tmp_path / "again", CONTEXT)
    assert contents(tmp_path / "again" / "adapter") == contents(published / "adapter")


def test_many_saves_give_the_same_head_file(predictor: Predictor, tmp_path: Path) -> None:
    seen = set()
    for _ in range(24):  # six orders of three keys: 1 chance in 10^18 to see only one
        save_predictor(predictor, tmp_path, CONTEXT)
        seen.add((tmp_path / "head.safetensors").read_bytes())
    assert len(seen) == 1


SAVE = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from alignment.model.folder import save_predictor
from alignment.config import ContextConfig, PredictorConfig
from alignment.model.predictor import Predictor
shape = PredictorConfig(encoder=sys.argv[1], lora_layers=4, head_width=16, max_tokens=64)
save_predictor(Predictor(shape), Path(sys.argv[2]), ContextConfig())
"""


def test_another_process_writes_the_same_bytes(
    make_predictor: MakePredictor, bert: str, tmp_path: Path
) -> None:
    # 24 adapted modules: from 20 on PEFT itself shortens the list, by way of sets.
    save_predictor(make_predictor(lora_layers=4), tmp_path / "here", ContextConfig())
    there = tmp_path / "there"
    environment = {**os.environ, "PYTHONHASHSEED": "20", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SAVE, bert, str(there)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert contents(there / "adapter") == contents(tmp_path / "here" / "adapter")
    ours = load_file(tmp_path / "here" / "head.safetensors")
    theirs = load_file(there / "head.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_no_path_of_this_machine_is_published_with_the_default_encoder(tmp_path: Path) -> None:
    save_predictor(Predictor(PredictorConfig()), tmp_path / "out", CONTEXT)
    files = contents(tmp_path / "out")
    for place in (sys.prefix, str(ROOT), str(tmp_path), str(Path.home()) + "/", "site-packages"):
        assert not [name for name, content in files.items() if place.encode() in content], place
    config = json.loads(files["adapter/adapter_config.json"])
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"


# --- folders that are refused ----------------------------------------------------------------


def set_head(folder: Path, **changes: object) -> None:
    """Write the head again with other metadata; None leaves a key out."""
    file = folder / "head.safetensors"
    with safe_open(str(file), framework="pt") as opened:
        kept = {**json.loads(opened.metadata()["fedaccord"]), **changes}
    content = {key: value for key, value in kept.items() if value is not None}
    save_file(load_file(file), file, metadata={"fedaccord": json.dumps(content)})


def set_shape(folder: Path, predictor: Predictor, **changes: Any) -> None:
    set_head(folder, predictor={**asdict(predictor.config), **changes})


def refusal(folder: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        load_predictor(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_folder_without_its_parts_is_refused(published: Path, tmp_path: Path) -> None:
    assert "no head.safetensors" in refusal(tmp_path)
    shutil.rmtree(published / "adapter")
    assert "adapter/ is missing" in refusal(published)


@pytest.mark.parametrize(
    "metadata",
    [
        {"predictor": None},
        {"context": None},
        {"predictor": []},
        {"predictor": {"unknown": 1}},
        {"predictor": {"max_tokens": "many"}},
        {"predictor": {"max_tokens": 3}},
        {"context": {"strength": -1}},
        {"format": "fedaccord-predictor-2"},
    ],
    ids=str,
)
def test_wrong_metadata_are_refused(published: Path, metadata: dict[str, object]) -> None:
    set_head(published, **metadata)
    refusal(published)


def test_a_head_without_metadata_is_refused(published: Path) -> None:
    file = published / "head.safetensors"
    tensors = load_file(file)
    for metadata in ({"format": "pt"}, {"fedaccord": "no JSON"}, {"fedaccord": "[]"}):
        save_file(tensors, file, metadata=metadata)
        refusal(published)


def test_a_head_of_another_shape_or_of_no_format_is_refused(
    published: Path, predictor: Predictor
) -> None:
    set_shape(published, predictor, head_width=15)
    refusal(published)
    (published / "head.safetensors").write_bytes(b"nothing")
    refusal(published)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_model.safetensors", b"nothing"),
        pytest.param("adapter_model.safetensors", None),
    ],
)
def test_a_broken_adapter_is_refused(published: Path, name: str, content: bytes | None) -> None:
    file = published / "adapter" / name
    file.unlink() if content is None else file.write_bytes(content)
    refusal(published)


@pytest.mark.parametrize("content", [b"{", None])
def test_a_broken_description_of_the_adapter_is_refused_or_not_needed(
    published: Path, predictor: Predictor, content: bytes | None
) -> None:
    file = published / "adapter" / "adapter_config.json"
    file.unlink() if content is None else file.write_bytes(content)
    try:
        loaded, _ = load_predictor(published)
    except ModelFolderError as error:
        assert "\n" not in str(error)
    else:
        assert np.array_equal(to_vector(loaded), to_vector(predictor))


def test_pickled_adapters_are_never_opened(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    load = torch.load

    def noted(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", noted)
    weights = published / "adapter" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    refusal(published)
    assert opened == []


class _Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_a_malicious_pickle_beside_the_weights_is_not_run(published: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    poison = pickle.dumps(_Trap(str(trap)))
    (published / "adapter" / "adapter_model.bin").write_bytes(poison)
    load_predictor(published)
    assert not trap.exists()


@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
def test_an_adapter_that_lacks_a_tensor_is_refused(published: Path) -> None:
    weights = published / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, weights, metadata={"format": "pt"})
    refusal(published)


@pytest.mark.parametrize(
    "changes", [{"lora_layers": 2}, {"lora_layers": 3}, {"lora_rank": 0}, {"lora_rank": 2}], ids=str
)
def test_an_adapter_that_contradicts_the_configuration_is_refused(
    published: Path, predictor: Predictor, changes: dict[str, int]
) -> None:
    set_shape(published, predictor, **changes)
    refusal(published)


def test_a_head_with_no_number_is_refused(published: Path) -> None:
    file = published / "head.safetensors"
    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    tensors["score.bias"][:] = torch.nan
    save_file(tensors, file, metadata=metadata)
    refusal(published)
