"""A folder to hand on: what is in it, what is not, and when there is none."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import PeftModel
from transformers import AutoModel, AutoModelForSequenceClassification

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.answers import tally
from alignment.data.loading import load_records
from alignment.model.folder import load_predictor, save_predictor
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.reward.reward import RewardModel, best_of_n
from experiments.publishing.model_card import NO_GUARANTEE, model_card
from experiments.publishing.publish import Publication, _copy_predictor, publish
from experiments.simulation.run import run
from server.config import RunConfig

Command = Callable[..., Any]

#: The tiny encoder is a folder; where it is published, others find it under this name.
BASE = "tiny/encoder"
PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}


@pytest.fixture(autouse=True)
def hub(tiny_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where the tiny encoder can be found under its published name."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / BASE).symlink_to(tiny_encoder)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def private(
    tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., RunConfig]
) -> Path:
    """A private run: read its folder, never write there."""
    out = tmp_path_factory.mktemp("private") / "out"
    run(make_config(out, PRIVATE))
    return out


def published(model: Path, out: Path, **more: Any) -> tuple[str, ...]:
    return publish(Publication(model=model, out=out, base_model=BASE, **more))


def readme(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_what_is_published_rewards_and_loads_as_what_was_trained(
    finished: Any, tmp_path: Path, tiny_data: Path
) -> None:
    out = tmp_path / "published"
    files = published(finished.out, out)
    assert files == (
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "head.safetensors",
        "lineage.json",
    )
    (ours, _), (theirs, _) = load_predictor(out), load_predictor(finished.out)
    assert (to_vector(ours) == to_vector(theirs)).all()
    assert ours.config.encoder == BASE
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(BASE), str(out / "adapter"))
    values = {name: value for name, value in adapted.named_parameters() if "lora_B" in name}
    assert any(value.abs().sum() > 0 for value in values.values())
    # As the card says it is loaded: even groups choose what comes first.
    answers = tally(load_records(tiny_data).records)
    model = RewardModel.load(out, [answers["Group 0"], answers["Group 1"]])
    best = [
        best_of_n(model.select([group]), "do you like a j ?", ["more", "less"])[0].completion
        for group in model.groups
    ]
    assert best == ["more", "less"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_reward_is_published_as_a_sequence_classifier_with_its_tokenizer(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    model, out = tmp_path / "run", tmp_path / "published"
    run(make_config(model, {"predictor.scores": "reward", "federation.evaluate_every": 0}))
    files = published(model, out)
    assert {"adapter/tokenizer.json", "adapter/tokenizer_config.json"} <= set(files)
    assert {name for name in files if (out / name).is_file()} == set(files)
    (ours, _), (theirs, _) = load_predictor(out), load_predictor(model)
    assert (to_vector(ours) == to_vector(theirs)).all()
    base = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=1)
    adapted = PeftModel.from_pretrained(base, str(out / "adapter"))
    (last,) = [
        value
        for name, value in adapted.named_parameters()
        if name.endswith("classifier.modules_to_save.default.weight")
    ]
    assert last.abs().sum() > 0
    assert (last == ours.head.get_parameter("score.weight")).all()
    for name in files:
        assert str(tmp_path).encode() not in (out / name).read_bytes(), name


def test_a_reward_on_a_packaged_encoder_keeps_its_tokenizer_and_its_bytes(tmp_path: Path) -> None:
    model, out = tmp_path / "run", tmp_path / "published"
    save_predictor(Predictor(PredictorConfig(scores="reward")), model, ContextConfig())
    (model / "adapter" / "notes.txt").write_text("mine")
    out.mkdir()
    base = _copy_predictor(Publication(model=model, out=out), out)
    assert base == "sentence-transformers/all-MiniLM-L6-v2"
    files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert Path("adapter/tokenizer.json") in files
    mine = {path.relative_to(model) for path in model.rglob("*") if path.is_file()}
    assert mine - files == {Path("adapter/notes.txt")}
    assert all((out / name).read_bytes() == (model / name).read_bytes() for name in files)


def test_the_card_states_the_figures_of_the_run(finished: Any, tmp_path: Path) -> None:
    published(finished.out, tmp_path / "published", license="Apache-2.0", title="Tea [and] war")
    front, text = readme(tmp_path / "published")
    assert front["base_model"] == BASE
    assert front["library_name"] == "peft"
    assert front["license"] == "apache-2.0"
    assert {"fedaccord", "reward-model"} <= set(front["tags"])
    assert "# Tea \\[and\\] war" in text
    scores = finished.result["alignment"]
    for group, own in scores["unseen_groups"]["groups"].items():
        without = scores["without_context"]["groups"][group]
        row = f"| {group} | {own:.3f} | {without:.3f} |".replace(" 0.", " .")
        assert row in text
    assert f"{scores['uniform']['mean']:.3f}".removeprefix("0") in text
    assert NO_GUARANTEE in text
    assert f"{finished.result['parameters']:,} trained parameters" in text


def test_without_a_licence_the_blank_is_visible(finished: Any, tmp_path: Path) -> None:
    published(finished.out, tmp_path / "published")
    front, text = readme(tmp_path / "published")
    assert "license" not in front
    assert "Not stated" in text


def test_a_private_run_carries_its_privacy_card(private: Path, tmp_path: Path) -> None:
    out = tmp_path / "published"
    assert "card.json" in published(private, out)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert card["summary"]["failed"] == 0
    result = json.loads((private / "result.json").read_text(encoding="utf-8"))
    text = readme(out)[1]
    assert "No privacy is guaranteed" not in text
    assert f"| epsilon of the run | {result['privacy']['epsilon']:.4g} |" in text
    assert f"| delta | {result['privacy']['delta']:.4g} |" in text
    assert "| unit of privacy | respondent |" in text
    assert f"| blanks in the privacy card | {len(card['blanks'])} |" in text
    for line in card["not_covered"]:
        assert line[:40] in text
    # Measured on the train groups' own records, of which no epsilon speaks.
    for group in result["alignment"]["train_groups"]["groups"]:
        assert group not in text


def test_nothing_else_is_in_it(
    private: Path, tmp_path: Path, tiny_rows: tuple[Mapping[str, Any], ...], tiny_encoder: str
) -> None:
    out = tmp_path / "published"
    published(private, out)
    everything = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    words = {str(row["respondent"]) for row in tiny_rows} | {row["question"] for row in tiny_rows}
    places = {str(private), str(tmp_path), tiny_encoder, str(Path.home())}
    for text in words | places:
        assert text.encode() not in everything
    names = {file.name for file in out.rglob("*")}
    assert not any(re.search(r"jsonl|ledger|prediction|key|split|toml", name) for name in names)


def test_a_private_run_whose_books_do_not_hold_is_not_published(
    private: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(private, forged)
    ledger = min((forged / "ledgers" / "groups").glob("*.jsonl"))
    content = ledger.read_bytes()
    ledger.write_bytes(content.replace(b'"RELEASED"', b'"ABORTED"', 1))
    with pytest.raises(ValueError, match="its privacy cannot be vouched for") as error:
        published(forged, tmp_path / "published")
    assert "\n" not in str(error.value)
    shutil.rmtree(forged / "ledgers")
    with pytest.raises(ValueError, match="a private run without ledgers"):
        published(forged, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_a_model_that_was_changed_after_the_run_is_not_published(
    private: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(private, changed)
    head = changed / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-1] ^= 1
    head.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"cannot be vouched for.*head\.safetensors"):
        published(changed, tmp_path / "published")


def test_what_is_there_is_replaced_only_when_asked(finished: Any, tmp_path: Path) -> None:
    out = tmp_path / "published"
    publication = Publication(model=finished.out, out=out, base_model=BASE)
    publish(publication)
    with pytest.raises(ValueError, match="--overwrite"):
        publish(publication)
    publish(publication, overwrite=True)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which no publication wrote"):
        publish(publication, overwrite=True)
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    for place in (finished.out, finished.out.parent):
        with pytest.raises(ValueError, match="holds the run itself"):
            publish(Publication(model=finished.out, out=place, base_model=BASE), overwrite=True)
    assert not list(tmp_path.glob(".published*"))


def test_an_encoder_from_a_folder_needs_a_name_for_others(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="say by --base-model"):
        publish(Publication(model=finished.out, out=tmp_path / "published"))
    for name in ("/srv/encoder", "../encoder", "C:\\encoder"):
        with pytest.raises(ValueError, match="must be a hub id"):
            publish(Publication(model=finished.out, out=tmp_path / "published", base_model=name))
    assert not (tmp_path / "published").exists()


def test_persons_who_were_held_out_are_not_named(finished: Any) -> None:
    result = json.loads((finished.out / "result.json").read_text(encoding="utf-8"))
    for part in ("unseen_groups", "without_context"):
        groups = result["alignment"][part]["groups"]
        result["alignment"][part]["groups"] = {
            f"North / {name}": value for name, value in groups.items()
        }
    text = model_card(result, None, base_model=BASE, license=None, title=None)
    assert "North" not in text
    assert "all held-out groups, mean" in text


def test_the_command(command: Command, finished: Any, tmp_path: Path) -> None:
    words = ("publish", "--model", finished.out, "--base-model", BASE, "--out", tmp_path / "out")
    outcome = command(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert "head.safetensors" in json.loads(outcome.out)["files"]
    again = command(*words)
    assert again.code == 2
    assert again.err.startswith("error: --out") and len(again.err.splitlines()) == 1
    nothing = command("publish", "--model", tmp_path, "--out", tmp_path / "b")
    assert nothing.code == 2
    assert "no result.json" in nothing.err
    wrong = command(*words, "--overwrite", "--license", "my own!")
    assert "is no SPDX identifier" in wrong.err
