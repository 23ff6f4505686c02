"""Bytes of every round stand in the run's own record, and code and versions in its result."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import experiments.simulation.provenance
from experiments.simulation.grid_records import Traffic
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.provenance import code, versions
from experiments.simulation.results import read_rounds
from experiments.simulation.traffic import add_bytes


def counted(traffic: dict[tuple[str, str], tuple[int, int]]) -> Any:
    made = {key: Traffic(bytes_up=up, bytes_down=down) for key, (up, down) in traffic.items()}
    return SimpleNamespace(traffic_by_group=made)


def written(out: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "rounds.jsonl").write_text(text, encoding="utf-8")


class TestBytes:
    def test_a_run_has_those_of_its_rounds(self, finished: Any) -> None:
        """4 rounds of 4 groups: their mean is what the result says, and none is measuring."""
        first, *rows = read_rounds(finished.out)
        assert (first["bytes_up"], first["bytes_down"]) == (0, 0)
        for direction in ("up", "down"):
            sent = [row[f"bytes_{direction}"] for row in rows]
            mean = finished.result["bytes"][f"{direction}_per_client_per_round"]
            assert sum(sent) / 16 == pytest.approx(mean, abs=0.5)
            assert min(sent) > 0

    def test_each_stage_counts_for_its_own_round(self, tmp_path: Path) -> None:
        written(tmp_path, [{"round": number, "loss": 0.5} for number in range(3)])
        grid = counted(
            {
                ("1", "train.masked"): (100, 200),
                ("1", "query.share"): (10, 20),
                ("2", "train"): (3, 4),
                ("2", "evaluate"): (7, 7),
                ("0", "evaluate"): (7, 7),
                ("", "query.setup"): (7, 7),
            }
        )
        add_bytes(tmp_path, grid)
        rows = read_rounds(tmp_path)
        assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [
            (0, 0), (110, 220), (3, 4),
        ]  # fmt: skip
        assert {row["loss"] for row in rows} == {0.5}

    def test_a_run_that_goes_on_keeps_those_of_its_first_rounds(self, tmp_path: Path) -> None:
        """Round 2 was counted by a process that was killed; nobody knows its bytes."""
        written(
            tmp_path,
            [{"round": 1, "bytes_up": 5, "bytes_down": 6}, {"round": 2}, {"round": 3}],
        )
        add_bytes(tmp_path, counted({("3", "train"): (8, 9)}))
        rows = read_rounds(tmp_path)
        assert [(row["bytes_up"], row["bytes_down"]) for row in rows] == [
            (5, 6), (None, None), (8, 9),
        ]  # fmt: skip

    def test_a_grid_that_does_not_serialise_says_nothing(self, tmp_path: Path) -> None:
        written(tmp_path, [{"round": 1}])
        add_bytes(tmp_path, counted({("1", "train"): (0, 0)}))
        assert read_rounds(tmp_path) == [{"round": 1}]
        add_bytes(tmp_path / "nothing", counted({("1", "train"): (1, 1)}))
        assert not (tmp_path / "nothing").exists()

    def test_both_counts_of_a_grid_are_one(self) -> None:
        from flwr.app import Context, Message, RecordDict
        from flwr.clientapp import ClientApp

        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            return Message(RecordDict(), reply_to=message)

        grid = LocalGrid(client_app=app, node_configs=[{}, {}], run_config={})
        with grid.as_server():
            for number in ("1", "2", "2"):
                messages = [
                    Message(RecordDict(), node, "train", group_id=number)
                    for node in grid.get_node_ids()
                ]
                assert len(list(grid.send_and_receive(messages))) == 2
        by_node = sum(grid.traffic.values(), start=Traffic())
        assert sum(grid.traffic_by_group.values(), start=Traffic()) == by_node
        one, two = (grid.traffic_by_group[number, "train"] for number in ("1", "2"))
        assert (one.messages_up, two.messages_down) == (2, 4)
        assert two.bytes_up == pytest.approx(2 * one.bytes_up, abs=16)


class TestProvenance:
    @pytest.fixture
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        def git(*words: str) -> None:
            who = ("-c", "user.name=n", "-c", "user.email=e")
            subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

        git("init", "-q")
        (tmp_path / "file").write_text("1")
        git("add", "file")
        git("commit", "-q", "-m", "first")
        monkeypatch.setattr(experiments.simulation.provenance, "_ROOT", tmp_path)
        code.cache_clear()
        yield tmp_path
        code.cache_clear()

    def test_a_checkout_names_its_commit_and_whether_it_was_changed(self, checkout: Path) -> None:
        found = code()
        assert len(str(found["commit"])) == 40
        assert found["changed"] is False
        (checkout / "file").write_text("2")
        code.cache_clear()
        assert code() == {**found, "changed": True}

    def test_what_is_installed_has_a_version_alone(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also within a checkout of something else, as a virtual environment is."""
        inside = checkout / "lib"
        inside.mkdir()
        monkeypatch.setattr(experiments.simulation.provenance, "_ROOT", inside)
        assert (code()["commit"], code()["changed"]) == (None, None)

    def test_a_result_says_what_made_it(self, finished: Any) -> None:
        assert finished.result["code"] == code()
        assert finished.result["versions"] == versions()
        for name in ("python", "numpy", "torch", "flwr", "transformers", "peft"):
            assert finished.result["versions"][name]
