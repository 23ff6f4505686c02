"""What one group's client sees of a source of many groups."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from alignment.data.answers import GroupAnswers
from clients.data.datastore import Datastore, open_datastore
from clients.data.simulated import SimulatedClientConfig


@pytest.fixture(scope="session")
def opened(tiny_data: Path) -> Callable[..., Datastore | None]:
    def open_at(node: int, **changes: Any) -> Datastore | None:
        settings: dict[str, Any] = {"data": str(tiny_data), "split": "", "seed": 0}
        settings |= {"skip_invalid": False, "nodes": 6, "private": False, "secure": True}
        settings["fewest_members"] = 1
        settings |= {
            "ledgers": "",
            "unit": "respondent",
            "mechanism": "gradients",
            "respondents": 0,
            "budget_epsilon": 0.0,
            "budget_delta": 1e-5,
        }
        settings |= {"out": "runs/x", **changes}
        return open_datastore(SimulatedClientConfig(node=node, **settings))

    return open_at


def ids(answers: GroupAnswers) -> set[str]:
    return {question.question_id for question in answers.questions}


def test_every_group_is_one_clients(opened: Callable[..., Datastore | None]) -> None:
    stores = [opened(node) for node in range(6)]
    assert all(stores)
    assert {store.group for store in stores if store} == {f"Group {i}" for i in range(6)}
    for store in stores:
        assert store is not None
        assert store.answers.group == store.group


def test_a_client_either_trains_or_is_held_out(opened: Callable[..., Datastore | None]) -> None:
    for node in range(6):
        store = opened(node)
        assert store is not None
        assert (store.training is None) == (node >= 4) == bool(store.draws)


def test_questions_that_are_to_stay_new_are_not_trained_on(
    opened: Callable[..., Datastore | None],
) -> None:
    trained: set[str] = set()
    for node in range(4):
        store = opened(node)
        assert store is not None
        assert store.training is not None
        assert len(store.answers) == 12
        trained |= ids(store.training)
    assert len(trained) == 10  # 15 % of 12 questions, rounded, are held out


def test_more_nodes_than_groups_stay_idle(opened: Callable[..., Datastore | None]) -> None:
    assert opened(6, nodes=7) is None
    assert opened(100, nodes=101) is None


def test_a_store_prints_no_record(opened: Callable[..., Datastore | None]) -> None:
    store = opened(0)
    assert repr(store) == "Datastore(group='Group 0')"
    assert str(store) == repr(store)


def test_a_changed_file_is_read_again(
    tmp_path: Path, tiny_rows: tuple[dict[str, Any], ...], write_rows: Callable[..., Path]
) -> None:
    def first_target(data: Path) -> tuple[float, ...]:
        config = SimulatedClientConfig(
            data=str(data),
            split="",
            seed=0,
            skip_invalid=False,
            node=0,
            nodes=6,
            private=False,
            secure=True,
            fewest_members=2,
            out="",
            ledgers="",
            unit="respondent",
            mechanism="gradients",
            respondents=0,
            budget_epsilon=0.0,
            budget_delta=1e-5,
        )
        store = open_datastore(config)
        assert store is not None
        return store.answers.targets[0]

    data = write_rows(tmp_path / "a.jsonl", tiny_rows)
    before = first_target(data)
    write_rows(data, [{**row, "choice": 1 - row["choice"]} for row in tiny_rows[:-1]])
    assert first_target(data) != before


class TestConfig:
    def test_it_is_read_from_the_node_and_the_run(self) -> None:
        run: Mapping[str, object] = {
            "data": "d",
            "split": "s",
            "seed": 7,
            "skip_invalid": True,
            "privacy.mode": "local",
            "federation.secure_aggregation": True,
            "federation.minimum_groups": 2,
            "privacy.ledgers": "books",
            "privacy.unit": "record",
            "privacy.mechanism": "tally",
            "simulation.respondents": 9,
            "privacy.budget_epsilon": 3.0,
            "privacy.delta": 1e-6,
            "out": "runs/x",
            "other": 1,
        }
        assert SimulatedClientConfig.read(
            {"partition-id": 3, "num-partitions": 5}, run
        ) == SimulatedClientConfig(
            data="d",
            split="s",
            seed=7,
            skip_invalid=True,
            node=3,
            nodes=5,
            private=True,
            secure=True,
            fewest_members=2,
            out="runs/x",
            ledgers="books",
            unit="record",
            mechanism="tally",
            respondents=9,
            budget_epsilon=3.0,
            budget_delta=1e-6,
        )


def test_a_folder_of_records_is_read_again_when_a_file_of_it_changes(tmp_path: Path) -> None:
    from alignment.data.population import stamp

    folder = tmp_path / "records"
    (folder / "deep").mkdir(parents=True)
    empty = stamp(str(folder))
    (folder / "deep" / "a.jsonl").write_text("one")
    first = stamp(str(folder))
    (folder / "deep" / "a.jsonl").write_text("three")
    assert len({empty, first, stamp(str(folder))}) == 3
    assert stamp("owner/name") == stamp("") == (0, 0)
