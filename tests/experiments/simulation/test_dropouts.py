"""Groups that drop out at random: who is lost, and what a federation under masks makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from alignment.data.population import load_population
from experiments.simulation.dropouts import Dropouts
from experiments.simulation.local_grid import LocalGrid, run_server_app
from experiments.simulation.results import read_rounds
from experiments.simulation.simulate import simulate
from server.app import app as server_app
from server.config import RunConfig

MakeConfig = Callable[..., RunConfig]


def message(kind: str, round_number: int, node: int) -> Message:
    content = RecordDict({"plan": ConfigRecord({})})
    return Message(content, node, kind, group_id=str(round_number))


@pytest.fixture(autouse=True)
def as_server(request: pytest.FixtureRequest) -> Any:
    """Messages are the server's to make."""
    from clients.app import app

    with LocalGrid(client_app=app, node_configs=[{}], run_config={}).as_server():
        yield


def lost(dropouts: Dropouts, rounds: int, nodes: int) -> np.ndarray:
    """Who is lost, (rounds, nodes)."""
    return np.array(
        [
            [dropouts.lost(message("train", number, node + 1)) for node in range(nodes)]
            for number in range(1, rounds + 1)
        ]
    )


class TestWhoIsLost:
    def test_each_group_with_its_chance_in_every_round(self) -> None:
        """Within 5 standard deviations, and rounds and groups know nothing of each other."""
        found = lost(Dropouts(chance=0.3, seed=4), rounds=100, nodes=40)
        assert abs(found.mean() - 0.3) < 5 * (0.3 * 0.7 / found.size) ** 0.5
        for both in (found[1:] & found[:-1], found[:, 1:] & found[:, :-1]):
            assert abs(both.mean() - 0.09) < 5 * (0.09 * 0.91 / both.size) ** 0.5

    def test_the_seed_decides(self) -> None:
        one, again, other = (lost(Dropouts(chance=0.5, seed=s), 10, 10) for s in (1, 1, 2))
        assert (one == again).all()
        assert (one != other).any()

    def test_a_higher_chance_loses_who_was_lost_before_and_more(self) -> None:
        few, many = (lost(Dropouts(chance=c, seed=1), 20, 20) for c in (0.2, 0.4))
        assert (many | ~few).all()
        assert many.sum() > few.sum()

    def test_no_chance_loses_nobody(self) -> None:
        assert not lost(Dropouts(chance=0.0, seed=1), 20, 20).any()

    def test_it_misses_training_and_the_rest_of_the_round_and_nothing_else(self) -> None:
        dropouts = Dropouts(chance=1 - 1e-12, seed=0)
        kinds = {
            **dict.fromkeys(("train", "train.masked", "query.confirm"), True),
            **dict.fromkeys(("query.advertise", "query.share", "query.unmask"), False),
            **dict.fromkeys(("query.setup", "query.close", "evaluate"), False),
        }
        assert {kind: dropouts.lost(message(kind, 1, 5)) for kind in kinds} == kinds
        one = Dropouts(chance=0.5, seed=0)
        for node in range(30):
            stages = [one.lost(message(k, 1, node + 1)) for k in ("train.masked", "query.confirm")]
            assert stages[0] == stages[1]


#: Rounds of one run: chosen so that groups are lost singly, and once so many that a round ends.
CHANCE, SEED, ROUNDS = 0.3, 1, 6


@pytest.mark.parametrize("secure", [True, False])
def test_rounds_go_on_with_those_who_are_there_and_too_few_abort_them(
    tmp_path: Path, make_config: MakeConfig, secure: bool
) -> None:
    """Under masks 3 of the 4 groups are needed; in the clear one is."""
    changes = {
        "simulation.dropout": CHANCE,
        "seed": SEED,
        "federation.warmup_rounds": ROUNDS,
        "federation.adapter_rounds": 0,
        "federation.secure_aggregation": secure,
    }
    config = make_config(tmp_path, changes)
    population = load_population(config.data, split="", seed=SEED, skip_invalid=False)
    grid = simulate(config, population)
    with grid.as_server():
        dropouts = Dropouts(chance=CHANCE, seed=SEED)
        names = dict(zip(grid.get_node_ids(), population.groups, strict=True))
        missing = [
            [
                names[node]
                for node in names
                if names[node] in population.split.train_groups
                and dropouts.lost(message("train", number, node))
            ]
            for number in range(1, ROUNDS + 1)
        ]
    rows = read_rounds(tmp_path)[1:]
    aborted = [len(each) > 1 and secure for each in missing]
    assert {len(each) for each in missing} >= {0, 1, 2}
    assert [bool(row["aborted"]) for row in rows] == aborted
    for row, gone in zip(rows, missing, strict=True):
        if row["aborted"]:
            assert row["aborted"].startswith(
                f"TooFewMembers: {4 - len(gone)} members have sent a vector, 3 needed"
            )
            assert (row["groups"], row["loss"]) == (0, None)
        else:
            assert (row["groups"], row["dropped"]) == (4 - len(gone), gone)
            assert row["loss"] > 0


class TestRefusal:
    def test_the_server_of_a_deployment_refuses_to_be_told(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        from clients.app import app

        config = make_config(tmp_path / "out", {"simulation.dropout": 0.1})
        grid = LocalGrid(client_app=app, node_configs=[{}], run_config=config.flat())
        with pytest.raises(ValueError, match=r"^simulation") as refused:
            run_server_app(server_app, grid, run_config=config.flat())
        assert str(refused.value) == (
            "simulation.dropout = 0.1: only fedaccord simulate can do that to its groups; leave "
            "it out"
        )
        assert not (tmp_path / "out").exists()
