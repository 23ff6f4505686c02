"""Federated DPO from end to end: pairs in which one word decides, and a tiny GPT-2."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from alignment.data.records import Question
from alignment.model.folder import load_predictor
from alignment.model.predictor import Predictor
from clients.sessions.group_ledger import forget_ledgers
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.run import run
from server.config import ConfigError, RunConfig, read_run_config

THINGS = "tea coffee war peace state market tax care".split()
PRIVATE = {
    "privacy.mode": "distributed",
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 8,
    "privacy.records_per_unit": 2,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five groups of 30 pairs, of 15 annotators each: what is called good is preferred."""
    rows = []
    triples = itertools.cycle(itertools.permutations(THINGS, 3))
    for group, number in itertools.product(range(5), range(30)):
        asked, one, other = next(triples)
        form = ("{} is {} .", "{1} {0} .")[number % 2]
        rows.append(
            {
                "group": f"Group {group}",
                "annotator": f"person {group} {number % 15}",
                "prompt": f"do you like {asked} ?",
                "chosen": " " + form.format(one, "good"),
                "rejected": " " + form.format(other, "bad"),
            }
        )
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(causal_model: str, pairs: Path) -> dict[str, Any]:
    return {
        "data": str(pairs),
        "predictor.encoder": causal_model,
        "predictor.scores": "policy",
        "predictor.lora_layers": 1,
        "predictor.max_tokens": 16,
        "training.adapter_learning_rate": 0.01,
        "federation.adapter_rounds": 4,
        "federation.evaluate_every": 0,
    }


@pytest.fixture
def configured(settings: dict[str, Any], tmp_path: Path) -> Callable[..., RunConfig]:
    return lambda name="run", **changes: read_run_config(
        {**settings, "out": str(tmp_path / name), **changes}
    )


def new_pairs() -> list[Question]:
    """Pairs that no group has: the good response comes first."""
    return [
        Question(
            question_id=thing,
            text=f"you like {thing} .",
            options=(f" {thing} is good .", f" {thing} is bad ."),
            together=False,
        )
        for thing in THINGS
    ]


def accuracy(out: Path) -> float:
    """Share of the held-out pairs whose preferred response is the more probable one."""
    lines = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    right = [row["actual"].index(1) == row["without_context"].index(max(row["without_context"]))
             for row in rows]  # fmt: skip
    return sum(right) / len(right)


def test_a_federated_policy_learns_what_is_preferred(
    command: Callable[..., Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = [w for k, v in settings.items() if k != "data" for w in ("--set", f"{k}={v}")]
    outcome = command("simulate", "--data", settings["data"], "--out", out, *options)
    assert outcome.code == 0, outcome.err
    result = json.loads((out / "result.json").read_text())
    found = result["alignment"]
    assert result["rounds"] == 4
    assert accuracy(out) > 0.9
    assert found["unseen_groups"]["mean"] > found["uniform"]["mean"] + 0.01
    # Nothing is read of the context, whoever's it is.
    assert found["unseen_groups"] == found["without_context"] == found["swapped_context"] or (
        found["swapped_context"] is None and found["unseen_groups"] == found["without_context"]
    )

    trained, _ = load_predictor(out)
    ratios = trained.pooled(trained.batch(new_pairs())).squeeze(-1)
    gained = ratios[:, 0] - ratios[:, 1]
    # Untrained it is 0: log p(chosen) - log p(rejected) rises against that of the base model.
    untrained = Predictor(trained.config)
    assert untrained.pooled(untrained.batch(new_pairs())).abs().max() < 1e-5
    assert (gained > 0.5).all()

    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"question": "do you like tea ?", "options": ["good", "bad"]}))
    predicted = command("predict", "--model", out, "--questions", asked, "--json")
    assert predicted.code == 0
    assert json.loads(predicted.out)["distribution"][0] > 0.5
    refused = command(
        "predict", "--model", out, "--questions", asked, "--context", settings["data"],
        "--group", "Group 0",
    )  # fmt: skip
    assert refused.code != 0 and "a causal model reads none" in refused.err


def test_a_private_policy_keeps_its_books(
    command: Callable[..., Any], configured: Callable[..., RunConfig]
) -> None:
    config = configured(**PRIVATE, **{"federation.adapter_rounds": 3})
    result = run(config)
    privacy = result["privacy"]
    assert (privacy["mode"], privacy["unit"], privacy["steps"]) == ("distributed", "respondent", 3)
    assert result["secure_aggregation"] and result["aborted_rounds"] == 0
    registered = json.loads((Path(config.out) / "privacy.json").read_text())
    assert registered["tensors"] and all(".lora_B." in name for name in registered["tensors"])
    from safetensors.numpy import load_file

    tensors = load_file(Path(config.out) / "adapter" / "adapter_model.safetensors")
    assert all(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)
    outcome = command("audit", "verify", config.out)
    assert outcome.code == 0 and " 0 fail" in outcome.out


class Killed(BaseException):
    """The server is gone."""


@pytest.mark.parametrize("private", [False, True], ids=["without privacy", "private"])
def test_a_policy_goes_on_where_it_was_stopped(
    command: Callable[..., Any],
    configured: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    private: bool,
) -> None:
    changes: dict[str, Any] = {**(PRIVATE if private else {}), "federation.adapter_rounds": 3}
    parts = configured("parts", **changes)
    handle, left = LocalGrid._run_handler, [6]

    def handling(grid: LocalGrid, message: Message) -> Message:
        if message.metadata.message_type in ("train", "train.masked"):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return handle(grid, message)

    with monkeypatch.context() as inner:
        inner.setattr(LocalGrid, "_run_handler", handling)
        with pytest.raises(Killed):
            run(parts)
    forget_ledgers()
    result = run(replace(parts, resume=True))
    assert result["rounds"] == 3
    if private:
        assert command("audit", "verify", parts.out).code == 0
        return
    whole = configured("whole", **changes)
    run(whole)
    names = ("head.safetensors", "adapter/adapter_model.safetensors")
    files = [[(Path(c.out) / name).read_bytes() for name in names] for c in (parts, whole)]
    assert files[0] == files[1]


def test_a_policy_has_defaults_of_its_own_and_no_head_to_warm_up(
    configured: Callable[..., RunConfig], settings: dict[str, Any]
) -> None:
    assert configured().federation.warmup_rounds == 0
    private = configured(**PRIVATE)
    assert (private.federation.warmup_rounds, private.privacy.max_options) == (0, 2)
    assert private.strategy.name == "fedadam"
    with pytest.raises(ConfigError, match=r"warmup_rounds = 5 .* there is none: use 0") as caught:
        configured(**{"federation.warmup_rounds": 5})
    assert "\n" not in str(caught.value)
