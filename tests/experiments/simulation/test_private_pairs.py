"""Annotators as units of privacy: pairs under distributed noise, and what ledgers charge."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from alignment.data.split import Draw, Split
from experiments.simulation.run import run
from server.config import ConfigError, read_run_config

ANNOTATORS = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 4 groups, each annotator with 3 of them; one of the groups is held out."""
    rows = [
        {
            "group": f"group {group}",
            "annotator": f"person {group} {person}",
            "prompt": f"do you like {'abcdefg'[(person + k) % 7]} ?",
            "chosen": "yes yes " * (1 + k % 2) + "good",
            "rejected": "no" if (person + group) % 2 else "no no no no no",
        }
        for group in range(4)
        for person in range(ANNOTATORS)
        for k in range(3)
    ]
    folder = tmp_path_factory.mktemp("pairs")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_annotators_are_what_noise_hides_and_ledgers_charge(
    made: Path, tiny_settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alignment.data.answers import tally
    from alignment.data.loading import load_records
    from clients.training import private_trainer

    answers = tally(load_records(made / "pairs.jsonl").records)
    asked = tuple(q.question_id for q in answers["group 3"].questions)
    split = Split(
        train_groups=("group 0", "group 1", "group 2"),
        draws={"group 3": (Draw(context=(), target=asked),)},
    )
    (made / "split.json").write_text(split.to_json(), encoding="utf-8")

    shapes = []
    real: Callable[..., Any] = private_trainer.MicroBatchShape

    def noted(**given: Any) -> Any:
        shapes.append(given)
        return real(**given)

    monkeypatch.setattr(private_trainer, "MicroBatchShape", noted)
    private_trainer._trainer.cache_clear()
    config = read_run_config(
        {
            **tiny_settings,
            "data": str(made / "pairs.jsonl"),
            "split": str(made / "split.json"),
            "out": str(made / "run"),
            "privacy.mode": "distributed",
            "privacy.unit": "respondent",
            "privacy.delta": 1e-3,
            "privacy.micro_batch": 4,
            "privacy.options_apart": True,
            "privacy.records_per_unit": 3,
            "federation.warmup_rounds": 1,
            "federation.adapter_rounds": 1,
        }
    )
    result = run(config)
    assert shapes, "responses of pairs are read by the private trainer"
    assert all(shape["apart"] for shape in shapes)
    # Without room for them every pair would count as absent: whoever holds the data is told.
    with pytest.raises(
        ConfigError, match=r"^privacy.options_apart = false, but the data hold pair"
    ):
        blind = replace(config.privacy, options_apart=False)
        run(replace(config, privacy=blind), overwrite=True)

    privacy = result["privacy"]
    assert (privacy["unit"], privacy["mode"], privacy["steps"]) == ("respondent", "distributed", 2)
    assert {each["units"] for each in privacy["groups"].values()} == {ANNOTATORS}
    assert privacy["epsilon_pld"] <= privacy["epsilon"] == 8
    assert result["secure_aggregation"] is True
    assert result["aborted_rounds"] == 0
    assert result["choices"]["uniform"]["accuracy"] == 0.5
    tensors = load_file(made / "run" / "adapter" / "adapter_model.safetensors")
    assert all(np.any(value) for name, value in tensors.items() if "lora_B" in name)

    group_ledger = sorted((made / "run" / "ledgers" / "groups").glob("*.jsonl"))
    assert len(group_ledger) == 3
    for server_ledger in group_ledger:
        text = server_ledger.read_text(encoding="utf-8")
        events = [json.loads(line) for line in text.splitlines()]
        (known,) = (event["body"] for event in events if event["type"] == "DATASET")
        assert (known["unit"], known["units"]) == ("respondent", ANNOTATORS)
        spent = [event["body"] for event in events if event["type"] == "SPEND"]
        assert [body["round"] for body in spent] == [1, 2]
        assert all(float(body["q"]) == 1 for body in spent), "every annotator is in every step"
        assert "person" not in text, "a ledger names nobody"


def test_pairs_that_name_nobody_have_no_persons_to_hide(
    made: Path, tiny_settings: Mapping[str, Any], tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (made / "pairs.jsonl").read_text().splitlines()]
    for row in rows:
        del row["annotator"]
    data = tmp_path / "nobody.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {
        **tiny_settings,
        "data": str(data),
        "out": str(tmp_path / "run"),
        "privacy.mode": "distributed",
        "privacy.delta": 1e-3,
        "privacy.options_apart": True,
    }
    with pytest.raises((ValueError, RuntimeError), match="names nobody"):
        run(read_run_config(settings))
