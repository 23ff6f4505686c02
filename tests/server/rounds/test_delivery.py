"""Messages and replies on grids that are slow, away, or have lost nodes; time is made up."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_ins_message
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from google.protobuf.message import DecodeError

from experiments.simulation.local_grid import LocalGrid
from server.config import FederationConfig
from server.rounds.collection import ask
from server.rounds.delivery import exchange, listed_nodes
from tests.server.clock import Clock

HOUR = 3600.0


class SlowGrid(LocalGrid):
    """Like a SuperLink: replies are there after a while, and pulled when they are asked for.

    Attributes:
        after: Seconds until a node's reply is there, by its place; None for never.
        listed: Nodes that are on the list.
        failing: Raised by the calls named here, while it says so.
        late: Replies that are handed out whatever is asked for.
    """

    def __init__(self, clock: Clock, nodes: int = 3) -> None:
        app = ClientApp()

        @app.query("echo")
        def echo(message: Message, context: Context) -> Message:
            record = ConfigRecord({"place": context.node_config["partition-id"]})
            return Message(RecordDict({**message.content, "node": record}), reply_to=message)

        super().__init__(
            client_app=app,
            node_configs=[{"partition-id": place} for place in range(nodes)],
            run_config={},
        )
        self.clock = clock
        self.places = {node: place for place, node in enumerate(super().get_node_ids())}
        self.after: dict[int, float | None] = dict.fromkeys(range(nodes), 0.0)
        self.listed: Callable[[], Iterable[int]] = lambda: self.places
        self.failing: Callable[[str], Exception | None] = lambda call: None
        self.late: list[Message] = []
        self.pushed: list[Message] = []
        self.calls: list[str] = []
        self._due: dict[str, float | None] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if error := self.failing(name):
            raise error

    def get_node_ids(self) -> Iterable[int]:
        self._call("list")
        return list(self.listed())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self._call("push")
        self.pushed += (messages := list(messages))
        ids = list(super().push_messages(messages))
        for message, message_id in zip(messages, ids, strict=True):
            wait = self.after[self.places[message.metadata.dst_node_id]]
            self._due[message_id] = None if wait is None else self.clock.now + wait
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self._call("pull")
        late, self.late = self.late, []
        due = [i for i in message_ids if (at := self._due[i]) is not None and at <= self.clock.now]
        return [
            *late,
            *(reply for each in due for reply in super(SlowGrid, self).pull_messages([each])),
        ]


@pytest.fixture
def grid(clock: Clock) -> Iterator[SlowGrid]:
    made = SlowGrid(clock)
    with made.as_server():
        yield made


def send(grid: SlowGrid, timeout_seconds: float = HOUR, **content: Any) -> list[int]:
    """The places of the nodes that answered, in the order of their replies."""
    record = RecordDict({"asked": ConfigRecord(content)})
    messages = [Message(record, node, "query.echo") for node in grid.places]
    replies = exchange(grid, messages, timeout_seconds=timeout_seconds, log_as="test")
    return [int(str(reply.content["node"]["place"])) for reply in replies]


def test_waits_are_short_at_first_and_never_long(grid: SlowGrid, clock: Clock) -> None:
    grid.after = {0: 0.1, 1: 30.0, 2: 0.0}
    assert send(grid) == [2, 0, 1]
    assert clock.slept[0] == 0.05
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == max(clock.slept) == 1.0
    assert sum(clock.slept) < 31.5


def test_replies_that_never_come_are_given_up_at_the_timeout(grid: SlowGrid, clock: Clock) -> None:
    grid.after[1] = None
    begun = clock.now
    assert send(grid, timeout_seconds=20.0) == [0, 2]
    assert clock.now - begun == pytest.approx(20.0)


def test_a_reply_to_an_earlier_message_is_no_answer_to_a_later_one(
    grid: SlowGrid, clock: Clock
) -> None:
    """Node 1 answers the first stage when the second is under way."""
    grid.after[1] = 50.0
    assert send(grid, timeout_seconds=20.0, stage=1) == [0, 2]
    clock.now += 40
    (id_of_the_late,) = [
        m.metadata.message_id for m in grid.pushed if grid.places[m.metadata.dst_node_id] == 1
    ]
    grid.late = list(LocalGrid.pull_messages(grid, [id_of_the_late]))
    assert grid.late[0].content["asked"]["stage"] == 1
    grid.after[1] = 5.0
    nodes = {f"g{place}": node for node, place in grid.places.items()}
    contents = {name: RecordDict({"asked": ConfigRecord({"stage": 2})}) for name in nodes}
    config = FederationConfig(stage_timeout_seconds=20.0)
    answers = ask(grid, nodes, "query.echo", contents, round_number=2, config=config)
    assert {name: each["asked"]["stage"] for name, each in answers.items()} == {
        "g0": 2, "g1": 2, "g2": 2,
    }  # fmt: skip


def test_a_reply_in_the_name_of_another_node_is_not_taken(grid: SlowGrid) -> None:
    """An error that comes from the SuperLink ends the waiting and is no answer."""
    grid.after[0] = None
    pull = grid.pull_messages

    def lost(message_ids: Iterable[str]) -> Iterable[Message]:
        first = grid.pushed[0].metadata.message_id
        told = create_message_error_unavailable_ins_message(first, grid.run.run_id)
        return [*pull(message_ids), told]

    grid.pull_messages = lost
    assert send(grid) == [1, 2]
    assert grid.clock.slept == []


def test_an_error_of_a_node_is_a_reply(grid: SlowGrid) -> None:
    message = Message(RecordDict(), next(iter(grid.places)), "query.nobody")
    (reply,) = exchange(grid, [message], timeout_seconds=HOUR, log_as="test")
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert isinstance(reply.error, Error)


class TestAway:
    """The SuperLink cannot be reached for a while."""

    ERRORS = (
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut off"),
        httpx.HTTPStatusError(
            "starting", request=httpx.Request("POST", "https://x"), response=httpx.Response(503)
        ),
    )

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("call", ["list", "push", "pull"])
    def test_a_stage_goes_on_when_it_is_back(
        self, grid: SlowGrid, clock: Clock, call: str, error: Exception
    ) -> None:
        grid.after[1] = 25.0
        back = clock.now + 20.0
        grid.failing = lambda name: error if name == call and clock.now < back else None
        assert sorted(send(grid)) == [0, 1, 2]
        assert len(grid.pushed) == 3
        assert clock.now - back < 30

    def test_a_push_that_it_has_forgotten_is_made_again(self, grid: SlowGrid, clock: Clock) -> None:
        back = clock.now + 1.0
        forgotten = ObjectPushError("1a", 1, "session of the SuperLink that was there before")
        grid.failing = lambda name: forgotten if name == "push" and clock.now < back else None
        assert sorted(send(grid)) == [0, 1, 2]
        assert len(grid.pushed) == 3

    @pytest.mark.parametrize("call", ["list", "push", "pull"])
    def test_where_it_stays_away_nobody_has_answered(
        self, grid: SlowGrid, clock: Clock, call: str
    ) -> None:
        grid.failing = lambda name: self.ERRORS[0] if name == call else None
        begun = clock.now
        assert send(grid, timeout_seconds=60.0) == []
        assert clock.now - begun == pytest.approx(60.0)

    def test_a_refusal_for_good_ends_the_run(self, grid: SlowGrid) -> None:
        request = httpx.Request("POST", "https://x")
        error = httpx.HTTPStatusError("no", request=request, response=httpx.Response(403))
        grid.failing = lambda name: error if name == "pull" else None
        with pytest.raises(httpx.HTTPStatusError):
            send(grid)

    def test_the_list_of_nodes_is_waited_for(self, grid: SlowGrid, clock: Clock) -> None:
        back = clock.now + 20.0
        grid.failing = lambda name: self.ERRORS[0] if clock.now < back else None
        assert listed_nodes(grid, timeout_seconds=60.0) == list(grid.places)
        back = clock.now + 1000.0
        assert listed_nodes(grid, timeout_seconds=60.0) == []

    def test_what_failed_is_not_quoted(
        self, grid: SlowGrid, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        back = clock.now + 1.0
        secret = httpx.ConnectError("secret 4711")
        grid.failing = lambda name: secret if clock.now < back else None
        send(grid)
        assert "ConnectError" in caplog.text
        assert "4711" not in caplog.text


class TestGone:
    """Nodes that the grid does not list."""

    def test_they_are_not_asked(self, grid: SlowGrid, clock: Clock) -> None:
        grid.listed = lambda: [node for node, place in grid.places.items() if place != 1]
        assert send(grid) == [0, 2]
        assert {grid.places[m.metadata.dst_node_id] for m in grid.pushed} == {0, 2}
        assert clock.slept == []

    def test_a_stage_without_anybody_sends_nothing(self, grid: SlowGrid) -> None:
        grid.listed = list
        assert send(grid) == []
        assert grid.calls == ["list"]

    def test_messages_that_were_not_taken_are_not_waited_for(
        self, grid: SlowGrid, clock: Clock
    ) -> None:
        push = grid.push_messages

        def refused(messages: Iterable[Message]) -> Iterable[Any]:
            ids = list(push(messages))
            return [None, *ids[1:]]

        grid.push_messages = refused
        assert send(grid) == [1, 2]
        assert clock.slept == []

    def test_one_that_goes_meanwhile_is_given_up_long_before_the_timeout(
        self, grid: SlowGrid, clock: Clock
    ) -> None:
        grid.after[1] = None
        leaves = clock.now + 30.0
        grid.listed = lambda: [
            node for node, place in grid.places.items() if place != 1 or clock.now < leaves
        ]
        assert send(grid) == [0, 2]
        assert 60 <= clock.now - leaves < 120

    def test_one_that_is_missing_for_a_moment_is_waited_for(
        self, grid: SlowGrid, clock: Clock
    ) -> None:
        grid.after[1] = 300.0
        begun = clock.now
        grid.listed = lambda: [
            node
            for node, place in grid.places.items()
            if place != 1 or (clock.now - begun) % 100 < 60
        ]
        assert send(grid) == [0, 2, 1]

    def test_looking_at_the_list_is_rare(self, grid: SlowGrid) -> None:
        grid.after[1] = 300.0
        send(grid)
        assert grid.calls.count("list") <= 31


class TestLocalGrid:
    """The grid of simulations, whose handlers take their time."""

    @pytest.fixture
    def local(self, clock: Clock) -> Iterator[LocalGrid]:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            clock.sleep(0.2)
            return Message(RecordDict(), reply_to=message)

        grid = LocalGrid(
            client_app=app,
            node_configs=[{"partition-id": place} for place in range(3)],
            run_config={},
            before_delivery=lambda m: m.metadata.group_id != "silent",
        )
        with grid.as_server():
            yield grid

    @pytest.mark.parametrize("silent", [(0,), (2,), (0, 1, 2)])
    def test_unreachable_nodes_are_not_waited_for(
        self, local: LocalGrid, clock: Clock, silent: tuple[int, ...]
    ) -> None:
        messages = [
            Message(RecordDict(), node, "train", group_id="silent" if at in silent else "")
            for at, node in enumerate(local.get_node_ids())
        ]
        begun = clock.now
        replies = exchange(local, messages, timeout_seconds=60, log_as="test")
        assert len(replies) == 3 - len(silent)
        assert clock.now - begun < 5

    def test_nodes_whose_turn_comes_after_the_timeout_are_absent(self, local: LocalGrid) -> None:
        messages = [Message(RecordDict(), node, "train") for node in local.get_node_ids()]
        replies = exchange(local, messages, timeout_seconds=0.1, log_as="test")
        assert [r.metadata.src_node_id for r in replies] == list(local.get_node_ids())[:1]
        assert len(local.traffic) == 1


@pytest.mark.parametrize(
    "error", [AttributeError, ValueError, TypeError, KeyError, DecodeError, RecursionError]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_reply_that_is_no_message_is_lost_alone(
    grid: SlowGrid, caplog: pytest.LogCaptureFixture, error: type[Exception], place: int
) -> None:
    """Was open: a node that sent what is no message ended the run in the hands of the grid."""
    pull = grid.pull_messages

    def damaged(message_ids: Iterable[str]) -> Iterable[Message]:
        asked = list(message_ids)
        (broken,) = [
            m.metadata.message_id
            for m in grid.pushed
            if grid.places[m.metadata.dst_node_id] == place
        ]
        if broken in asked:
            raise error("respondent 4711")
        return pull(asked)

    grid.pull_messages = damaged  # type: ignore[method-assign]  # of one grid
    assert send(grid) == [other for other in range(3) if other != place]
    assert f"a reply cannot be put together ({error.__name__})" in caplog.text
    assert "4711" not in caplog.text
