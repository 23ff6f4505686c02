import logging
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

import experiments.simulation.local_grid
from experiments.simulation.grid_records import Traffic
from experiments.simulation.local_grid import LocalGrid, run_server_app
from tests.server.clock import Clock


def client_app() -> ClientApp:
    """Echo on train, count visits on evaluate, misbehave on query as the message asks."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        seen = context.state.config_records.get("seen", ConfigRecord({"visits": 0}))
        visits = int(seen["visits"]) + 1
        context.state["seen"] = ConfigRecord({"visits": visits})
        partition = int(context.node_config["partition-id"])
        metrics = MetricRecord({"visits": visits, "partition": partition})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query("setup")
    def setup(message: Message, context: Context) -> Message:
        context.state["begun"] = ConfigRecord({"rate": context.run_config["rate"]})
        if context.node_config["partition-id"] == 1:
            raise ZeroDivisionError("secret record 4711")
        return Message(RecordDict(), reply_to=message)

    return app


def new_grid(nodes: int = 3, app: ClientApp | None = None, **options: object) -> LocalGrid:
    node_configs = [{"partition-id": i, "num-partitions": nodes} for i in range(nodes)]
    return LocalGrid(
        client_app=app or client_app(),
        node_configs=node_configs,
        run_config={"rate": 0.5},
        **options,
    )


def exchange(
    grid: Grid,
    message_type: str,
    content: RecordDict | None = None,
    *,
    node_ids: Iterable[int] | None = None,
    timeout: float | None = None,
) -> list[Message]:
    """Send the same content to every node, or to some, as the server."""
    assert isinstance(grid, LocalGrid)
    with grid.as_server():
        messages = [
            Message(content or RecordDict(), dst_node_id=node_id, message_type=message_type)
            for node_id in (grid.get_node_ids() if node_ids is None else node_ids)
        ]
        return list(grid.send_and_receive(messages, timeout=timeout))


def app_that_answers(reply: RecordDict | None) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if reply is None:
            return None
        return Message(reply, reply_to=message)

    return app


class TestRecords:
    @pytest.mark.parametrize(
        "array",
        [
            np.array([0, 1, 2**31, 2**32 - 1], dtype=np.uint32),
            np.array([-0.0, np.nan, np.inf, 1e-45], dtype=np.float32),
            np.zeros((0,), dtype=np.uint32),
            np.zeros((3, 0), dtype=np.float32),
            np.array(7, dtype=np.uint32),
            np.zeros(4_500_000, dtype=np.float32),
        ],
        ids=["uint32", "float32", "empty", "no columns", "scalar", "four chunks, two alike"],
    )
    def test_arrays_return_bitwise(self, array: np.ndarray) -> None:
        content = RecordDict({"arrays": ArrayRecord({"x": Array(array)})})
        (reply,) = exchange(new_grid(1), "train", content)
        echo = reply.content.array_records["arrays"]["x"].numpy()
        assert (echo.dtype, echo.shape) == (array.dtype, array.shape)
        assert echo.tobytes() == array.tobytes()

    def test_scalars_and_lists_return_with_value_type_and_order(self) -> None:
        config = {
            "flag": True,
            "int": -(2**63),
            "uint": 2**64 - 1,
            "float": 0.1,
            "text": "é",
            "bytes": b"\x00\xff",
            "no bytes": b"",
            "no text": "",
            "list": [1, 2**63],
            "texts": ["", "b"],
            "none": [],
        }
        metrics = {"loss": 1e-300, "losses": [0.1, float("inf")], "count": 3}
        content = RecordDict(
            {"c": ConfigRecord(config), "m": MetricRecord(metrics), "empty": ConfigRecord()}
        )
        content["no arrays"] = ArrayRecord()
        (reply,) = exchange(new_grid(1), "train", content)
        echoed = {**reply.content["c"], **reply.content["m"]}
        assert list(echoed.items()) == list({**config, **metrics}.items())
        assert [type(v) for v in echoed.values()] == [
            type(v) for v in {**config, **metrics}.values()
        ]
        assert dict(reply.content["empty"]) == {}
        assert dict(reply.content["no arrays"]) == {}

    def test_an_empty_content_returns_empty(self) -> None:
        (reply,) = exchange(new_grid(1), "train")
        assert reply.has_content()
        assert len(reply.content) == 0

    def test_no_memory_is_shared_between_sender_and_receivers(self) -> None:
        received: list[RecordDict] = []
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            received.append(message.content)
            message.content["c"]["list"].append(99)
            message.content["a"]["x"] = Array(np.ones(2))
            return Message(RecordDict({"c": message.content["c"]}), reply_to=message)

        sent = RecordDict(
            {"c": ConfigRecord({"list": [1]}), "a": ArrayRecord({"x": Array(np.zeros(2))})}
        )
        replies = exchange(new_grid(2, app), "train", sent)
        assert sent["c"]["list"] == [1]
        assert not sent["a"]["x"].numpy().any()
        assert received[0] is not received[1]
        assert [reply.content["c"]["list"] for reply in replies] == [[1, 99], [1, 99]]
        received[0]["c"]["list"].append(7)
        assert replies[0].content["c"]["list"] == [1, 99]

    def test_content_changed_between_two_sends_arrives_changed(self) -> None:
        grid = new_grid(1)
        content = RecordDict(
            {"c": ConfigRecord({"round": 1}), "a": ArrayRecord({"x": Array(np.zeros(2))})}
        )
        exchange(grid, "train", content)
        content["c"]["round"] = 2
        content["a"]["x"] = Array(np.ones(2))
        (reply,) = exchange(grid, "train", content)
        assert reply.content["c"]["round"] == 2
        assert reply.content["a"]["x"].numpy().tolist() == [1, 1]

    def test_without_serialisation_the_objects_themselves_are_passed(self) -> None:
        grid = new_grid(1, serialize=False)
        content = RecordDict({"c": ConfigRecord({"round": 1})})
        (reply,) = exchange(grid, "train", content)
        assert reply.content is content
        (traffic,) = grid.traffic.values()
        assert traffic == Traffic(messages_down=1, messages_up=1)


class TestWire:
    # Within the types of a ConfigRecord, but beyond the 64 bits of its serialised form.
    TOO_WIDE = 2**70

    def test_what_the_server_cannot_serialise_is_raised_and_nothing_is_sent(self) -> None:
        grid = new_grid(2)
        with grid.as_server():
            good, bad = (
                Message(RecordDict({"c": ConfigRecord({"n": n})}), node_id, "evaluate")
                for n, node_id in zip((1, self.TOO_WIDE), grid.get_node_ids(), strict=True)
            )
            with pytest.raises(ValueError, match="range"):
                grid.send_and_receive([good, bad])
        assert not grid.traffic

    def test_what_a_client_cannot_serialise_becomes_an_error_reply(self) -> None:
        reply = RecordDict({"c": ConfigRecord({"n": self.TOO_WIDE})})
        grid = new_grid(1, app_that_answers(reply))
        (answer,) = exchange(grid, "train")
        assert answer.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "range" in grid.failures[0].traceback
        (unserialised,) = exchange(new_grid(1, app_that_answers(reply), serialize=False), "train")
        assert unserialised.content["c"]["n"] == self.TOO_WIDE

    def test_a_state_that_cannot_be_serialised_becomes_an_error_and_is_not_kept(self) -> None:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            context.state["seed"] = ConfigRecord({"n": TestWire.TOO_WIDE})
            return Message(RecordDict(), reply_to=message)

        grid = new_grid(1, app)
        (reply,) = exchange(grid, "train")
        assert reply.has_error()
        (context,) = grid.contexts.values()
        assert len(context.state) == 0

    def test_a_configuration_that_cannot_be_serialised_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Accepted types"):
            LocalGrid(
                client_app=client_app(),
                node_configs=[{"partition-id": None}],
                run_config={},
            )

    def test_a_handler_that_returns_no_reply_becomes_an_error_reply(self) -> None:
        grid = new_grid(1, app_that_answers(None))
        (reply,) = exchange(grid, "train")
        assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "returned no reply" in str(reply.error.reason)

    def test_a_message_that_is_not_the_servers_is_refused(self) -> None:
        grid = new_grid(1)
        (node_id,) = grid.get_node_ids()
        with grid.as_server():
            TaskIdentity.node_id = node_id
            message = Message(RecordDict(), node_id, "train")
        with pytest.raises(ValueError, match="src_node_id"):
            grid.push_messages([message])

    def test_bytes_are_those_of_the_objects_that_travel(self) -> None:
        grid = new_grid(2)
        vector = Array(np.arange(3_000_000, dtype=np.float32))
        content = RecordDict(
            {"big": ArrayRecord({"x": vector}), "small": ConfigRecord({"text": "a" * 100})}
        )
        with grid.as_server():
            messages = [Message(content, node_id, "train") for node_id in grid.get_node_ids()]
            replies = list(grid.send_and_receive(messages))
        for sent, reply, node_id in zip(messages, replies, grid.get_node_ids(), strict=True):
            traffic = grid.traffic[node_id, "train"]
            assert 12_000_000 < traffic.bytes_down < 12_003_000
            assert traffic.bytes_down == sum(
                len(nested.deflate()) for nested in get_all_nested_objects(sent).values()
            )
            assert traffic.bytes_up == sum(
                len(nested.deflate()) for nested in get_all_nested_objects(reply).values()
            )

    def test_equal_objects_in_one_message_travel_once(self) -> None:
        vector = np.arange(10_000, dtype=np.uint32)
        twice = {name: ArrayRecord({"x": Array(vector)}) for name in ("a", "b")}
        grid = new_grid(1)
        (reply,) = exchange(grid, "train", RecordDict(twice))
        (traffic,) = grid.traffic.values()
        assert 40_000 < traffic.bytes_down < 42_000
        for name in ("a", "b"):
            assert (reply.content[name]["x"].numpy() == vector).all()

    def test_traffic_is_kept_by_node_and_type_and_adds_up(self) -> None:
        grid = new_grid(2)
        exchange(grid, "train")
        exchange(grid, "train")
        exchange(grid, "evaluate")
        first, second = grid.get_node_ids()
        assert set(grid.traffic) == {
            (node_id, kind) for node_id in (first, second) for kind in ("train", "evaluate")
        }
        assert grid.traffic[first, "train"].messages_down == 2
        total = sum(grid.traffic.values(), start=Traffic())
        assert (total.messages_down, total.messages_up) == (6, 6)
        assert total.bytes_up == sum(t.bytes_up for t in grid.traffic.values()) > 0

    def test_time_is_told_apart(self) -> None:
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            time.sleep(0.05)
            return Message(message.content, reply_to=message)

        grid = new_grid(2, app)
        start = time.perf_counter()
        exchange(grid, "train", RecordDict({"c": ConfigRecord({"a": 1})}))
        elapsed = time.perf_counter() - start
        assert 0.1 <= grid.seconds.handlers
        assert 0 < grid.seconds.serialization <= elapsed - 0.1


class TestNodes:
    def test_ids_are_stable_distinct_and_64_bit(self) -> None:
        ids = list(new_grid(5).get_node_ids())
        assert ids == list(new_grid(5).get_node_ids())
        assert ids[:3] == list(new_grid(3).get_node_ids())
        assert len(set(ids)) == 5
        assert all(2**63 <= node_id < 2**64 for node_id in ids)
        assert [node.node_id for node in new_grid(5).get_nodes()] == ids

    def test_no_node_is_refused(self) -> None:
        with pytest.raises(ValueError, match="node_configs holds 0 nodes"):
            new_grid(0)

    def test_state_persists_per_node_across_message_types_and_rounds(self) -> None:
        grid = new_grid(3)
        first, second, third = grid.get_node_ids()
        exchange(grid, "evaluate", node_ids=[first, third])
        exchange(grid, "train")
        replies = exchange(grid, "evaluate")
        metrics = [reply.content.metric_records["metrics"] for reply in replies]
        assert [m["visits"] for m in metrics] == [2, 1, 2]
        assert [m["partition"] for m in metrics] == [0, 1, 2]
        assert [reply.metadata.src_node_id for reply in replies] == [first, second, third]
        assert grid.contexts[third].state["seen"]["visits"] == 2

    def test_a_handler_cannot_reach_the_kept_state_later(self) -> None:
        held: list[Context] = []
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            held.append(context)
            context.state["c"] = ConfigRecord({"list": [1]})
            return Message(RecordDict(), reply_to=message)

        grid = new_grid(1, app)
        exchange(grid, "train")
        held[0].state["c"]["list"].append(2)
        (context,) = grid.contexts.values()
        assert context.state["c"]["list"] == [1]

    def test_an_exception_is_an_error_reply_while_the_others_answer(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        grid = new_grid(3)
        failing = list(grid.get_node_ids())[1]
        with caplog.at_level(logging.WARNING):
            replies = exchange(grid, "query.setup")
        assert [reply.has_error() for reply in replies] == [False, True, False]
        error = replies[1]
        assert error.metadata.src_node_id == failing
        assert error.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert error.error.reason == "<class 'ZeroDivisionError'>:<'secret record 4711'>"
        (failure,) = grid.failures
        assert (failure.node_id, failure.message_type) == (failing, "query.setup")
        assert "raise ZeroDivisionError" in failure.traceback
        assert isinstance(failure.error, ZeroDivisionError)
        assert failure.first_cause is failure.error
        (line,) = [record.getMessage() for record in caplog.records]
        assert "ZeroDivisionError" in line
        assert "4711" not in line + repr(failure)
        # What the handler wrote before it failed is kept, as a SuperNode keeps it.
        assert grid.contexts[failing].state["begun"]["rate"] == 0.5

    def test_a_failure_tells_what_was_raised_first_and_holds_no_frames(self) -> None:
        app = ClientApp()

        @app.query("setup")
        def setup(message: Message, context: Context) -> Message:
            try:
                try:
                    raise KeyError("first")
                except KeyError as error:
                    raise ValueError("from it") from error
            except ValueError:
                raise RuntimeError("meanwhile")  # noqa: B904 - a context without a cause

        grid = LocalGrid(client_app=app, node_configs=[{}], run_config={})
        exchange(grid, "query.setup")
        (failure,) = grid.failures
        error = failure.error
        assert isinstance(error, RuntimeError)
        assert failure.first_cause is error
        before = error.__context__
        assert isinstance(before, ValueError)
        assert replace(failure, error=before).first_cause is before.__cause__
        chain = (error, before, before.__cause__)
        assert [each and each.__traceback__ for each in chain] == [None] * 3
        assert "KeyError: 'first'" in failure.traceback

    def test_a_message_without_a_handler_is_an_error_reply(self) -> None:
        (reply,) = exchange(new_grid(1), "query.nobody")
        assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "nobody" in str(reply.error.reason)

    def test_an_unknown_node_is_an_error_reply_of_the_superlink(self) -> None:
        grid = new_grid(1)
        (node_id,) = grid.get_node_ids()
        replies = exchange(grid, "train", node_ids=[12345, node_id])
        assert [reply.has_error() for reply in replies] == [True, False]
        assert replies[0].error.code == ErrorCode.MESSAGE_UNAVAILABLE
        assert replies[0].metadata.src_node_id == 1
        assert set(grid.traffic) == {(node_id, "train")}

    def test_a_reply_is_pulled_once(self) -> None:
        grid = new_grid(1)
        with grid.as_server():
            message = Message(RecordDict(), next(iter(grid.get_node_ids())), "evaluate")
            (message_id,) = grid.push_messages([message])
        assert not grid.traffic
        (reply,) = grid.pull_messages([message_id, message_id])
        assert reply.metadata.reply_to_message_id == message_id
        assert reply.content["metrics"]["visits"] == 1
        (again,) = grid.pull_messages([message_id])
        assert again.error.code == ErrorCode.MESSAGE_UNAVAILABLE
        assert again.metadata.reply_to_message_id == message_id

    def test_unreachable_nodes_are_absent_and_do_not_run(self) -> None:
        seen: list[tuple[int, str]] = []

        def before_delivery(message: Message) -> bool:
            seen.append((message.metadata.dst_node_id, message.metadata.message_type))
            return seen[-1] != (second, "evaluate")

        grid = new_grid(2, before_delivery=before_delivery)
        first, second = grid.get_node_ids()
        assert len(exchange(grid, "train")) == 2
        (reply,) = exchange(grid, "evaluate")
        assert reply.metadata.src_node_id == first
        assert len(seen) == 4
        assert (second, "evaluate") not in grid.traffic
        assert len(grid.contexts[second].state) == 0

    def test_nodes_whose_turn_comes_after_the_timeout_are_absent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        monkeypatch.setattr(experiments.simulation.local_grid, "time", clock)
        ran: list[int] = []
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            ran.append(int(context.node_config["partition-id"]))
            clock.sleep(0.2)
            return Message(RecordDict(), reply_to=message)

        grid = new_grid(3, app)
        replies = exchange(grid, "train", timeout=0.1)
        assert [reply.metadata.src_node_id for reply in replies] == list(grid.get_node_ids())[:1]
        assert exchange(grid, "train", timeout=0) == []
        assert ran == [0]
        assert len(exchange(grid, "train", timeout=60)) == 3


class TestServerApp:
    def test_a_federation_runs_to_its_end(self) -> None:
        app = ServerApp()

        @app.main()
        def main(grid: Grid, context: Context) -> None:
            visits = 0
            for round_number in range(3):
                replies = grid.send_and_receive(
                    [
                        Message(RecordDict(), node_id, "evaluate", group_id=str(round_number))
                        for node_id in grid.get_node_ids()
                    ]
                )
                assert {reply.metadata.group_id for reply in replies} == {str(round_number)}
                visits = sum(int(reply.content["metrics"]["visits"]) for reply in replies)
            assert context.run_id == grid.run.run_id
            context.state["total"] = ConfigRecord(
                {"visits": visits, "rounds": context.run_config["rounds"]}
            )

        context = run_server_app(app, new_grid(4), run_config={"rounds": 3})
        assert dict(context.state["total"]) == {"visits": 12, "rounds": 3}
        assert context.node_id == 1

    def test_the_identity_is_the_servers_then_the_nodes_and_is_put_back(self) -> None:
        before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
        client, server = ClientApp(), ServerApp()
        nodes: list[int] = []

        @client.train()
        def train(message: Message, context: Context) -> Message:
            assert TaskIdentity.run_id == context.run_id == message.metadata.run_id
            assert TaskIdentity.node_id == context.node_id
            nodes.append(TaskIdentity.node_id)
            return Message(RecordDict(), reply_to=message)

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            assert not any(reply.has_error() for reply in exchange(grid, "train"))
            assert TaskIdentity.node_id == context.node_id == 1
            raise RuntimeError("over")

        grid = new_grid(2, client)
        with pytest.raises(RuntimeError, match="over"):
            run_server_app(server, grid, run_config={})
        assert nodes == list(grid.get_node_ids())
        assert (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id) == before

    def test_grids_one_after_another_and_nested_do_not_disturb_each_other(self) -> None:
        inner = new_grid(1)
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            (reply,) = exchange(inner, "evaluate")
            assert reply.metadata.run_id == inner.run.run_id != context.run_id
            assert TaskIdentity.node_id == context.node_id
            return Message(reply.content, reply_to=message)

        outer = new_grid(2, app)
        replies = exchange(outer, "train")
        assert [reply.content["metrics"]["visits"] for reply in replies] == [1, 2]
        assert {reply.metadata.run_id for reply in replies} == {outer.run.run_id}
        (after,) = exchange(inner, "evaluate")
        assert after.content["metrics"]["visits"] == 3
        (fresh,) = exchange(new_grid(1), "evaluate")
        assert fresh.content["metrics"]["visits"] == 1

    def test_the_run_can_be_set(self) -> None:
        grid = new_grid(1)
        grid.set_run(Run.create_empty(run_id=77))
        (reply,) = exchange(grid, "train")
        assert (grid.run.run_id, reply.metadata.run_id) == (77, 77)
        assert [context.run_id for context in grid.contexts.values()] == [77]
        with pytest.raises(TypeError, match="need a Run"):
            grid.set_run(77)

    def test_create_message_needs_no_identity(self) -> None:
        grid = new_grid(1)
        (node_id,) = grid.get_node_ids()
        message = grid.create_message(RecordDict(), "train", node_id, "5")
        (reply,) = grid.send_and_receive([message])
        assert (reply.metadata.group_id, reply.metadata.src_node_id) == ("5", node_id)
