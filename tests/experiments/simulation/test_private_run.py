"""Whole private runs on the tiny federation, and servers that ask for what was not agreed."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

import clients.training.private_trainer
from alignment.data.population import load_population
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.app import app
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.run import run
from experiments.simulation.simulate import simulate
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from server.aggregation.private import PrivateAggregation
from server.aggregation.registration import register_plan
from server.config import RunConfig, read_run_config
from server.rounds.admission import MembershipTerms
from server.rounds.membership import Membership
from strategies.wire.round_plan import RoundPlan

PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Any:
    def configure(**changes: Any) -> RunConfig:
        out = {"out": str(tmp_path / "run")}
        return read_run_config({**tiny_settings, **PRIVATE, **out, **changes})

    return configure


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 4),
        ({"federation.secure_aggregation": False}, 4),
        ({"privacy.mode": "local", "privacy.mechanism": "gradients", "privacy.local_steps": 2}, 8),
    ],
    ids=["distributed", "distributed in the clear", "local"],
)
def test_a_private_run_trains_head_and_adapters_and_says_what_it_promises(
    configured: Any, changes: dict[str, Any], steps: int
) -> None:
    config = configured(**changes)
    result = run(config)
    privacy = result["privacy"]
    assert (privacy["epsilon"], privacy["unit"], privacy["steps"]) == (8.0, "respondent", steps)
    assert privacy["epsilon_pld"] <= 8 <= privacy["second_opinion"] <= 8.0125
    assert {each["units"] for each in privacy["groups"].values()} == {6}
    assert privacy["honest_shares"] == (3 if privacy["mode"] == "distributed" else 1)
    unseen = any("server itself" in line for line in privacy["outside"])
    assert unseen == ("federation.secure_aggregation" in changes)
    assert result["secure_aggregation"] is not unseen
    assert result["aborted_rounds"] == 0
    # The adapters that a run trains start at zero: B moves only if its coordinates do.
    from safetensors.numpy import load_file

    tensors = load_file(Path(config.out) / "adapter" / "adapter_model.safetensors")
    assert all(np.any(value) for name, value in tensors.items() if "lora_B" in name)


def test_no_seed_reaches_noise(configured: Any, tmp_path: Path) -> None:
    """Two runs with one seed differ; with seeded noise they would be equal to the last bit."""
    heads = []
    for name in ("one", "two"):
        config = configured(**{"federation.adapter_rounds": 0, "out": str(tmp_path / name)})
        population = load_population(
            config.data, split=config.split, seed=config.seed, skip_invalid=False
        )
        simulate(config, population)
        heads.append((Path(config.out) / "head.safetensors").read_bytes())
    assert heads[0] != heads[1]


def test_an_epsilon_that_cannot_be_kept_stops_the_run_before_it_trains(configured: Any) -> None:
    with pytest.raises(ValueError, match="delta"):
        run(configured(**{"privacy.delta": 0.5}))


class Asked:
    """One train group of a private run in the clear, and a server that may ask it for anything."""

    def __init__(self, config: RunConfig) -> None:
        self.out = config.out
        self.grid = LocalGrid(
            client_app=app,
            node_configs=[{"partition-id": i, "num-partitions": 6} for i in range(6)],
            run_config=config.flat(),
        )
        with self.grid.as_server():
            terms = MembershipTerms(minimum_groups=1, timeout_seconds=60, unit="respondent")
            cohort = Membership(self.grid, terms).gather()
        predictor = Predictor(config.predictor)
        Path(config.out).mkdir(parents=True, exist_ok=True)
        self.vector = to_vector(predictor)
        group = next(iter(cohort.train))
        self.node = cohort.train[group]
        registered = register_plan(config, cohort, predictor)
        self.run = registered.run
        self.work = dict(PrivateAggregation(registered, config).work(group))
        self._sections = {
            name: value for name, value in config.nested().items() if name in _SECTIONS
        }

    def ledgers(self) -> str:
        """All that the groups' ledgers hold."""
        files = Path(self.out, "ledgers", "groups").glob("*.jsonl")
        return "".join(path.read_text(encoding="utf-8") for path in files)

    def train(self, number: int, **work: Any) -> Message:
        plan = RoundPlan(
            run=self.run,
            round=number,
            seed=0,
            train_adapter=False,
            learning_rate_scale=1.0,
            privacy={**self.work, **work} if self.work else {},
            **self._sections,
        )
        content = RecordDict(
            {
                "model": ArrayRecord([self.vector]),
                "plan": ConfigRecord(dict(plan.to_wire())),
            }
        )
        with self.grid.as_server():
            (reply,) = self.grid.send_and_receive([Message(content, self.node, "train")])
        return reply


_SECTIONS = ("predictor", "training", "context")


@pytest.fixture
def asked(configured: Any) -> Asked:
    return Asked(configured(**{"federation.secure_aggregation": False}))


def test_a_round_is_answered_once(asked: Asked) -> None:
    for number in (1, 3, 2):
        assert not asked.train(number).has_error()
        assert "AlreadyCharged" in asked.train(number).error.reason


def test_no_more_steps_are_taken_than_the_plan_has_charged(asked: Asked) -> None:
    for number in (1, 2, 3, 4):
        assert not asked.train(number).has_error()
    assert "AlreadyCharged" in asked.train(5).error.reason


def test_who_joins_within_a_run_is_not_trained_on_in_it_and_nothing_tells(
    configured: Any,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Was open: a round was refused because somebody had joined; nobody has charged them."""
    trained: list[set[str]] = []
    train = clients.training.private_trainer.train_privately

    def watch(vector: Any, units: Any, task: Any, **given: Any) -> Any:
        trained.append({unit.unit for unit in units})
        return train(vector, units, task, **given)

    monkeypatch.setattr(clients.training.private_trainer, "train_privately", watch)
    data = write_rows(tmp_path / "data.jsonl", tiny_rows)
    asked = Asked(configured(**{"data": str(data), "federation.secure_aggregation": False}))
    assert not asked.train(1).has_error()
    changed = [{**row, "respondent": row["respondent"].replace(" 5", " 9")} for row in tiny_rows]
    write_rows(data, changed)
    assert not asked.train(2).has_error()
    assert len(trained[0]) == 6
    assert trained[1] == {name for name in trained[0] if not name.endswith(" 5")}
    ledger = next((tmp_path / "run" / "ledgers" / "groups").glob("*.jsonl"))
    types = [json.loads(line)["type"] for line in ledger.read_text().splitlines()]
    assert types == ["DATASET", "BUDGET", "PLAN", *["SPEND", "RELEASED"] * 2]


@pytest.mark.parametrize("bound", [5, 6, 7])
def test_a_bound_of_the_servers_counts_nobody(asked: Asked, bound: int) -> None:
    """Was open: a plan for fewer units than there are was refused, and so told how many.

    What the group has declared, here 6, decides; in a deployment that is a bound of its policy.
    """
    plan = PrivacyPlan.from_dict(json.loads(asked.work["plan"]))
    terms = {each.name: getattr(plan, each.name) for each in fields(PrivacyTerms)}
    sizes = {"units_per_group": [6, bound, 6, 6]}
    other = PrivacyPlan.calibrate(PrivacyTerms(**{**terms, **sizes}))
    text = json.dumps(other.as_dict(), sort_keys=True)
    reply = asked.train(1, plan=text, group_index=1)
    if bound < 6:
        assert "the bound of 6 units is above the 5 accounted for" in reply.error.reason
        assert asked.ledgers() == ""
        return
    assert not reply.has_error()
    (event,) = [e for e in map(json.loads, asked.ledgers().splitlines()) if e["type"] == "DATASET"]
    assert event["body"]["units"] == bound


def half_the_noise(plan: dict[str, Any]) -> dict[str, Any]:
    return {
        **plan,
        "noise_multiplier": plan["noise_multiplier"] / 2,
        "sensitivity": plan["sensitivity"] * 2,
    }


@pytest.mark.parametrize(
    "extra",
    [
        {"sampling": "shuffled"},
        {"sampling_rate": 0.5},
        {"clipping_norm": 1e9},
        {"rounds": 400},
        {"local_steps": 2},
        {"place": 0},
    ],
    ids=lambda extra: str(next(iter(extra))),
)
def test_what_the_plan_says_alone_cannot_be_said_beside_it(
    asked: Asked, extra: dict[str, Any]
) -> None:
    reply = asked.train(1, **extra)
    assert reply.has_error()
    assert f"privacy.{next(iter(extra))} is missing or unknown" in reply.error.reason
    assert "SPEND" not in asked.ledgers()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"group_index": 99}, "ExecutionMismatch"),
        ({"group_index": -1}, "ExecutionMismatch"),
        ({"freeze_a": 1}, "privacy.freeze_a is not bool"),
        ({"local_learning_rate": float("nan")}, "local_learning_rate = nan must be finite"),
        ({"micro_batch": 4}, "privacy.micro_batch is missing or unknown"),
        ({"shape": {"micro_batch": 0}}, "shape.micro_batch = 0 is not an integer"),
        ({"shape": {"records_per_unit": 2.0}}, "shape.records_per_unit = 2.0 is not an integer"),
        ({"shape": {"max_options": 1}}, "shape.max_options = 1 is not an integer"),
        ({"shape": {"options_apart": 1}}, "shape.options_apart = 1 is not true or false"),
        ({"shape": {"max_tokens": 47}}, "predictor.max_tokens = 64 would be executed but 47"),
        ({"shape": None}, "the plan states no shape"),
    ],
    ids=lambda value: "-".join(map(str, *value.items())) if isinstance(value, dict) else "",
)
def test_a_server_that_asks_for_something_else_than_was_accounted_for_is_refused(
    asked: Asked, change: dict[str, Any], error: str
) -> None:
    """Was open: bounds of a step were the server's word, and some were found wrong once charged."""
    if "shape" in change:
        plan = json.loads(asked.work["plan"])
        plan["shape"] = change["shape"] and {**plan["shape"], **change["shape"]}
        change = {"plan": json.dumps(plan, sort_keys=True)}
    reply = asked.train(1, **change)
    assert reply.has_error()
    assert error in reply.error.reason
    assert "SPEND" not in asked.ledgers()


def test_a_predictor_that_is_not_as_accounted_for_is_not_trained(asked: Asked) -> None:
    """A plan that keeps its promise, for a predictor of another size."""
    plan = PrivacyPlan.from_dict(json.loads(asked.work["plan"]))
    terms = {each.name: getattr(plan, each.name) for each in fields(PrivacyTerms)}
    other = PrivacyPlan.calibrate(PrivacyTerms(**{**terms, "dimension": 1}))
    text = json.dumps(other.as_dict(), sort_keys=True)
    reply = asked.train(1, plan=text, group_index=1)
    assert "ExecutionMismatch" in reply.error.reason
    assert "dimension" in reply.error.reason
    assert "SPEND" not in asked.ledgers()


def test_a_plan_with_half_the_noise_is_refused_by_the_client(asked: Asked) -> None:
    weak = json.dumps(half_the_noise(json.loads(asked.work["plan"])), sort_keys=True)
    assert "EpsilonExceeded" in asked.train(1, plan=weak).error.reason


def test_a_private_run_answers_no_round_without_a_plan(asked: Asked) -> None:
    asked.work = {}
    assert "is private" in asked.train(1).error.reason


def test_what_is_sent_has_one_size_whoever_is_sampled(asked: Asked) -> None:
    plan = json.loads(asked.work["plan"])
    (sent,) = asked.train(1).content.array_records["update"].to_numpy_ndarrays()
    assert sent.dtype == np.dtype(f"uint{plan['modulus_bits']}")
    assert sent.shape == (plan["dimension"],)
