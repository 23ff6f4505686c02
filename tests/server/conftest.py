"""A server's side of a federation without models: scripted clients and a small vector."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from experiments.simulation.local_grid import LocalGrid
from server.aggregation.base import MeanOfUpdates
from server.config import RunConfig, read_run_config
from server.rounds import delivery, membership
from server.rounds.admission import MembershipTerms, TakenSeats
from server.rounds.cohort import Cohort
from server.rounds.collection import PlainCollector
from server.rounds.evaluation import HeldOutEvaluation
from server.rounds.loop import Position, RoundLoop, RoundRecord
from server.rounds.membership import Membership
from strategies.wire.round_plan import RoundPlan
from tests.server.clock import Clock
from tests.server.door import Door

DIMENSION = 5
LOSS = 0.5

Answer = Callable[[str, RoundPlan, np.ndarray], np.ndarray]


def away_from_zero(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
    """A group's update depends on its name; loss and weight are the same for all."""
    generator = np.random.default_rng([plan.round, *group.encode()])
    delta = generator.normal(size=DIMENSION) * 10.0 ** generator.integers(-4, 4)
    return np.append(delta, (LOSS, 1.0)).astype(np.float32)


@dataclass(kw_only=True)
class Scripted:
    """A federation whose clients do as they are told, and what they were asked.

    Attributes:
        groups: Role of each node's group, in the order of the nodes.
        answer: What a train group releases.
        targets: Targets and alignment that each held-out group reports.
        asked: Kind, group and plan of every message that reached a client.
        received: The vectors that came with them.
        reverse: Give the server the replies in the opposite order.
        unreachable: Groups that do not answer after the setup.
    """

    groups: list[tuple[str, str]]
    answer: Answer = away_from_zero
    targets: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    asked: list[tuple[str, str, RoundPlan]] = field(default_factory=list)
    received: list[np.ndarray] = field(default_factory=list)
    reverse: bool = False
    unreachable: frozenset[str] = frozenset()

    def _take(self, kind: str, message: Message, context: Context) -> tuple[str, RoundPlan]:
        group, _ = self.groups[int(str(context.node_config["partition-id"]))]
        plan = RoundPlan.from_wire(message.content.config_records["plan"])
        self.asked.append((kind, group, plan))
        self.received.append(message.content.array_records["model"].to_numpy_ndarrays()[0])
        return group, plan

    def app(self) -> ClientApp:
        app = ClientApp()

        @app.query("setup")
        def setup(message: Message, context: Context) -> Message:
            group, role = self.groups[int(str(context.node_config["partition-id"]))]
            if role == "broken":
                raise ValueError("no records here")
            answer = ConfigRecord({"group": group, "role": role})
            return Message(RecordDict({"setup": answer}), reply_to=message)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            group, plan = self._take("train", message, context)
            released = self.answer(group, plan, self.received[-1])
            return Message(RecordDict({"update": ArrayRecord([released])}), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            group, _ = self._take("evaluate", message, context)
            targets, alignment = self.targets.get(group, (1, 0.5))
            figures = {"alignment": alignment, "log_loss": 2 * alignment, "targets": targets}
            metrics = MetricRecord({**figures, "public": 1})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        return app

    def grid(self) -> LocalGrid:
        names = {}

        def reachable(message: Message) -> bool:
            kind = message.metadata.message_type
            return kind == "query.setup" or (
                names[message.metadata.dst_node_id] not in self.unreachable
            )

        count = len(self.groups)
        grid = _Grid(
            client_app=self.app(),
            node_configs=[{"partition-id": i, "num-partitions": count} for i in range(count)],
            run_config={},
            before_delivery=reachable,
        )
        grid.reverse = self.reverse
        names.update(dict(zip(grid.get_node_ids(), (g for g, _ in self.groups), strict=True)))
        return grid


class _Grid(LocalGrid):
    reverse = False

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ids = list(message_ids)
        return super().pull_messages(ids[::-1] if self.reverse else ids)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a loop left: the last vector, the records of its rounds, and what it gave to keep."""

    vector: np.ndarray
    records: list[RoundRecord]
    kept: list[tuple[int, np.ndarray, int]]
    cohort: Cohort
    grid: LocalGrid


RunLoop = Callable[..., Ran]


@pytest.fixture
def federation() -> Callable[..., Scripted]:
    """Make scripted clients; by default three groups train and two are held out."""

    def make(**settings: Any) -> Scripted:
        groups = [("B", "train"), ("A", "train"), ("C", "train"), ("Y", "held_out")]
        return Scripted(**{"groups": [*groups, ("X", "held_out")], **settings})

    return make


@pytest.fixture
def settings() -> Callable[..., RunConfig]:
    """A configuration; names without a section are of ``federation``."""

    def make(**federation: object) -> RunConfig:
        small: dict[str, object] = {"warmup_rounds": 1, "adapter_rounds": 2, "evaluate_every": 0}
        flat = {
            key if "." in key else f"federation.{key}": value
            for key, value in {**small, **federation}.items()
        }
        return read_run_config(flat)

    return make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have time pass, for whoever waits for nodes and replies, by their waiting alone."""
    made = Clock()
    for module in (delivery, membership):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def run_loop() -> RunLoop:
    """Gather the cohort and run all rounds on scripted clients, from a vector of zeros."""

    def run(
        scripted: Scripted,
        config: RunConfig,
        start: np.ndarray | None = None,
        *,
        after: Position | None = None,
    ) -> Ran:
        grid = scripted.grid()
        records: list[RoundRecord] = []
        kept: list[tuple[int, np.ndarray, int]] = []
        with grid.as_server():
            terms = MembershipTerms(minimum_groups=1, timeout_seconds=60)
            cohort = Membership(grid, terms).gather()
            aggregation = MeanOfUpdates()
            strategy = config.strategy.make()
            loop = RoundLoop(
                config=config,
                cohort=cohort,
                strategy=strategy,
                aggregation=aggregation,
                collector=PlainCollector(grid, cohort, config.federation, aggregation),
                evaluation=HeldOutEvaluation(grid, cohort, config.federation),
                observers=[records.append],
                keep=lambda *what: kept.append(what),
            )
            first = np.zeros(DIMENSION, dtype=np.float32) if start is None else start
            vector = strategy.published(loop.run(first, after=after))
        return Ran(vector=vector, records=records, kept=kept, cohort=cohort, grid=grid)

    return run


@pytest.fixture
def door() -> Iterator[Door]:
    grid = Door()
    with grid.as_server():
        yield grid


@pytest.fixture
def opened(door: Door) -> Callable[..., Membership]:
    """Gather the cohort of the nodes that are online."""

    def open_(taken: TakenSeats | None = None, **settings: Any) -> Membership:
        terms = MembershipTerms(**{"minimum_groups": 1, "timeout_seconds": 60.0, **settings})
        keeper = Membership(door, terms, taken=taken)
        keeper.gather()
        door.forget()
        return keeper

    return open_
