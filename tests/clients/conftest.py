"""A grid of real clients on the tiny federation, and plans to send them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from alignment.adapter import to_vector
from alignment.predictor import Predictor
from clients.app import app
from experiments.local_grid import LocalGrid
from server.config import RunConfig, read_run_config
from strategies.round_plan import RoundPlan

MakeGrid = Callable[..., LocalGrid]
MakePlan = Callable[..., RoundPlan]
Ask = Callable[..., Message]


@pytest.fixture(scope="session")
def config(tiny_settings: Mapping[str, Any]) -> RunConfig:
    """Vectors in the clear, so that a test sees what training made."""
    return read_run_config({**tiny_settings, "federation.secure_aggregation": False})


@pytest.fixture(scope="session")
def predictor(config: RunConfig) -> Predictor:
    """The predictor of the run's first round; its weights are never changed here."""
    return Predictor(config.predictor, seed=0)


@pytest.fixture(scope="session")
def vector(predictor: Predictor) -> np.ndarray:
    first = to_vector(predictor)
    first.setflags(write=False)
    return first


@pytest.fixture(scope="session")
def make_grid(config: RunConfig) -> MakeGrid:
    def make(nodes: int = 6, **changes: object) -> LocalGrid:
        return LocalGrid(
            client_app=app,
            node_configs=[{"partition-id": i, "num-partitions": nodes} for i in range(nodes)],
            run_config={**config.flat(), **changes},  # type: ignore[dict-item]
        )

    return make


@pytest.fixture(scope="session")
def make_plan(config: RunConfig) -> MakePlan:
    """A plan of round 3, which trains adapters and head; dotted keywords change it."""

    def make(**changes: object) -> RoundPlan:
        sections = {key: value for key, value in config.nested().items() if key in _SECTIONS}
        first = RoundPlan(
            round=3,
            seed=0,
            train_adapter=True,
            learning_rate_scale=1.0,
            **sections,  # type: ignore[arg-type]
        )
        return RoundPlan.from_wire({**first.to_wire(), **changes})

    return make


_SECTIONS = ("predictor", "training", "context")


@pytest.fixture(scope="session")
def ask(vector: np.ndarray, make_plan: MakePlan) -> Ask:
    """Send one node a message and return its reply; ``plan=None`` sends no plan."""

    def send(
        grid: LocalGrid,
        kind: str,
        place: int,
        plan: RoundPlan | None = None,
        *,
        arrays: Sequence[np.ndarray] | None = None,
    ) -> Message:
        node = list(grid.get_node_ids())[place]
        model = ArrayRecord([vector] if arrays is None else list(arrays))
        record = ConfigRecord(dict((plan or make_plan()).to_wire()))
        content = RecordDict({"model": model, "plan": record})
        if kind == "query.setup":
            content["setup"] = ConfigRecord({"version": 1, "unit": "", "secure": False})
        with grid.as_server():
            message = Message(content, node, kind)
            (reply,) = grid.send_and_receive([message])
        return reply

    return send
