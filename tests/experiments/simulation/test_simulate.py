"""A whole federation in one process: what it costs on the wire and what influences it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

import experiments.simulation.simulate
from alignment.data.population import load_population
from clients.sessions.group_ledger import RefusedByLedger
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.results import read_rounds
from experiments.simulation.simulate import SimulationError, simulate
from server.config import RunConfig
from server.rounds.cohort import CohortError

MakeConfig = Callable[..., RunConfig]
WriteRows = Callable[..., Path]


def rounds_of(config: RunConfig, *, serialize: bool = True) -> LocalGrid:
    population = load_population(
        config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
    )
    return simulate(config, population, serialize=serialize)


def model_bytes(out: Path) -> dict[str, bytes]:
    files = [out / "head.safetensors", *sorted((out / "adapter").iterdir())]
    return {file.name: file.read_bytes() for file in files}


def test_serialising_changes_no_bit_of_the_model(tmp_path: Path, make_config: MakeConfig) -> None:
    plain = rounds_of(make_config(tmp_path / "plain"), serialize=False)
    sent = rounds_of(make_config(tmp_path / "sent"))
    assert model_bytes(tmp_path / "plain") == model_bytes(tmp_path / "sent")
    assert len(model_bytes(tmp_path / "sent")) == 3
    assert sum(each.bytes_up for each in plain.traffic.values()) == 0
    assert sum(each.bytes_up for each in sent.traffic.values()) > 0


def test_the_model_trains_in_every_round(tmp_path: Path, make_config: MakeConfig) -> None:
    short, long = {}, {}
    for name, rounds, models in (("short", 1, short), ("long", 2, long)):
        rounds_of(make_config(tmp_path / name, {"federation.adapter_rounds": rounds}))
        models |= model_bytes(tmp_path / name)
    assert short["head.safetensors"] != long["head.safetensors"]
    assert short["adapter_model.safetensors"] != long["adapter_model.safetensors"]


def test_records_of_held_out_groups_cannot_influence_training(
    tmp_path: Path,
    make_config: MakeConfig,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: WriteRows,
) -> None:
    whole = load_population(make_config(tmp_path).data, split="", seed=0, skip_invalid=False)
    held_out = set(whole.split.draws)
    assert len(held_out) == 2
    turned = [
        {**row, "choice": 1 - row["choice"]} if row["group"] in held_out else row
        for row in tiny_rows
    ]
    data = write_rows(tmp_path / "data.jsonl", tiny_rows)
    rounds_of(make_config(tmp_path / "one", {"data": str(data)}))
    write_rows(data, turned)
    rounds_of(make_config(tmp_path / "two", {"data": str(data)}))
    assert model_bytes(tmp_path / "one") == model_bytes(tmp_path / "two")
    first, second = (read_rounds(tmp_path / name) for name in ("one", "two"))
    assert [row["loss"] for row in first] == [row["loss"] for row in second]
    # The change was heard where it should be: in the measurements.
    assert first[-1]["alignment"] != second[-1]["alignment"]


def test_answers_to_unseen_questions_cannot_influence_training(
    tmp_path: Path,
    make_config: MakeConfig,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: WriteRows,
) -> None:
    whole = load_population(make_config(tmp_path).data, split="", seed=0, skip_invalid=False)
    unseen = whole.split.unseen_questions
    assert len(unseen) == 2
    turned = [
        {**row, "choice": 1 - row["choice"]} if row["question_id"] in unseen else row
        for row in tiny_rows
    ]
    data = write_rows(tmp_path / "data.jsonl", turned)
    rounds_of(make_config(tmp_path / "one"))
    rounds_of(make_config(tmp_path / "two", {"data": str(data)}))
    assert model_bytes(tmp_path / "one") == model_bytes(tmp_path / "two")


def test_answers_of_train_groups_do_influence_training(
    tmp_path: Path,
    make_config: MakeConfig,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: WriteRows,
) -> None:
    """What the tests above rely on: the model does depend on the records it may depend on."""
    turned = [{**row, "choice": 1 - row["choice"]} for row in tiny_rows]
    data = write_rows(tmp_path / "data.jsonl", turned)
    rounds_of(make_config(tmp_path / "one"))
    rounds_of(make_config(tmp_path / "two", {"data": str(data)}))
    assert model_bytes(tmp_path / "one") != model_bytes(tmp_path / "two")


def test_only_train_groups_are_asked_to_train(tmp_path: Path, make_config: MakeConfig) -> None:
    grid = rounds_of(make_config(tmp_path))
    nodes = list(grid.get_node_ids())
    trained = {node for node, kind in grid.traffic if kind == "train.masked"}
    measured = {node for node, kind in grid.traffic if kind == "evaluate"}
    assert trained == set(nodes[:4])
    assert measured == set(nodes[4:])


class TestFailures:
    def test_a_client_that_fails_fails_the_simulation(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        wild = {"training.learning_rate": 1e30, "training.local_epochs": 4.0}
        with pytest.raises(SimulationError) as caught:
            rounds_of(make_config(tmp_path, wild))
        expected = "a client failed: ValueError: training diverged: lower training.learning_rate"
        assert str(caught.value) == expected
        assert not (tmp_path / "head.safetensors").exists()

    def test_one_failure_among_many_is_not_passed_over(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_once(monkeypatch)
        with pytest.raises(SimulationError, match="a client failed: ZeroDivisionError: once"):
            rounds_of(make_config(tmp_path))

    def test_a_failure_ends_the_run_at_once(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = _fail_once(monkeypatch)
        with pytest.raises(SimulationError):
            rounds_of(make_config(tmp_path))
        assert max(calls) == 1

    def test_words_of_a_refusal_make_none_of_a_fault(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = "\nclients.sessions.group_ledger.RefusedByLedger: the ledger does not allow it"
        calls = _fail_once(monkeypatch, RuntimeError(words))
        with pytest.raises(SimulationError, match="a client failed: clients"):
            rounds_of(make_config(tmp_path))
        assert max(calls) == 1

    def test_what_a_ledger_refuses_is_no_fault(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = _fail_once(monkeypatch, RefusedByLedger("BudgetExhausted: not allowed"))
        grid = rounds_of(make_config(tmp_path, {"federation.secure_aggregation": False}))
        assert len(grid.failures) == 1
        assert max(calls) == read_rounds(tmp_path)[-1]["round"]

    def test_too_few_groups_are_a_cohort_error(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        with pytest.raises(CohortError, match=r"^4 train group\(s\) answered and 0 failed; at "):
            rounds_of(make_config(tmp_path, {"federation.minimum_groups": 5}))

    def test_a_failure_of_the_server_passes_through(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        with pytest.raises(ValueError, match=r"lora_layers = 9 but .* has 4 layers"):
            rounds_of(make_config(tmp_path, {"predictor.lora_layers": 9}))


def _fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[int]:
    """Let the first message to train fail; returns the rounds that clients were asked for."""
    import clients.training.trainer

    original = clients.training.trainer.train_locally
    rounds: list[int] = []

    def train(vector: np.ndarray, answers: Any, plan: Any) -> Any:
        rounds.append(plan.round)
        if len(rounds) == 1:
            raise error or ZeroDivisionError("once")
        return original(vector, answers, plan)

    monkeypatch.setattr(clients.training.trainer, "train_locally", train)
    return rounds


def test_the_counted_bytes_are_those_of_the_message(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload weighs what its nested objects weigh when a deployment stores them."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    from clients.app import app

    sizes: list[int] = []

    def weighing(message: Message, context: Any) -> Message:
        reply: Message = app(message, context)
        if message.metadata.message_type == "train.masked":
            sizes.append(sum(len(o.deflate()) for o in get_all_nested_objects(reply).values()))
        return reply

    monkeypatch.setattr(experiments.simulation.simulate, "client_app", weighing)
    grid = rounds_of(make_config(tmp_path))
    up = sum(each.bytes_up for (_, kind), each in grid.traffic.items() if kind == "train.masked")
    assert len(sizes) == 4 * 4
    # Identity and time are filled in on the way: a few bytes a message.
    assert up == pytest.approx(sum(sizes), abs=32 * len(sizes))
