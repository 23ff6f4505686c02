"""Tasks from a node: taken once, given up when the node has moved on, and never the end of all."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from clients.deployment.executor import Executor
from clients.deployment.node import Node, TaskLost, _Impatient


class FakeNode(Node):
    """A node whose tasks are tokens in a list."""

    def __init__(self, *tokens: str) -> None:
        super().__init__("127.0.0.1:1", b"secret")
        self.tokens = list(tokens)

    def _acquired(self) -> str | None:
        return self.tokens.pop(0) if self.tokens else None


def answering(*, found: bool = True, available: bool = True) -> Any:
    response = SimpleNamespace(object_found=found, object_available=available)
    return SimpleNamespace(PullObject=lambda _: response, Other=lambda: "other")


LATER = time.monotonic() + 3600


class TestWaitingForAMessage:
    def test_an_object_that_is_there_is_taken(self) -> None:
        client = _Impatient(answering(), FakeNode("next"), LATER)
        assert client.PullObject(None).object_available
        assert client.Other() == "other"

    def test_one_that_may_still_come_is_waited_for(self) -> None:
        assert (
            not _Impatient(answering(available=False), FakeNode(), LATER)
            .PullObject(None)
            .object_available
        )

    def test_the_node_has_another_task(self) -> None:
        """It works on one message at a time: the one before has been forgotten."""
        node = FakeNode("next", "after")
        client = _Impatient(answering(available=False), node, LATER)
        for _ in range(2):
            with pytest.raises(TaskLost):
                client.PullObject(None)
        assert [node.acquire(), node.acquire(), node.acquire()] == ["next", "after", None]

    def test_it_takes_too_long(self) -> None:
        client = _Impatient(answering(available=False), FakeNode(), time.monotonic() - 1)
        with pytest.raises(TaskLost):
            client.PullObject(None)

    def test_an_object_that_is_gone_is_told_by_flower(self) -> None:
        node = FakeNode("next")
        assert not _Impatient(answering(found=False), node, 0.0).PullObject(None).object_found


def test_a_node_that_is_away_has_no_task() -> None:
    node = Node("127.0.0.1:1", b"secret")
    assert node.acquire() is None
    node.close()


@pytest.mark.parametrize(
    "error", [TaskLost("gone"), RuntimeError("No messages received"), httpx.ConnectError("away")]
)
def test_a_task_that_is_lost_costs_itself_alone(error: Exception) -> None:
    served: list[str] = []
    given_up: list[str] = []

    class Task:
        def __init__(self, token: str) -> None:
            self.token = token

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            served.append(self.token)
            if len(served) == 2:
                executor.stop()

        def input(self) -> Any:
            raise error

        def give_up(self) -> None:
            given_up.append(self.token)
            raise httpx.ReadTimeout("away too")

    tokens = ["first", "second"]
    node: Any = SimpleNamespace(acquire=lambda: tokens.pop(0), task=Task)
    executor = Executor(None, node)
    executor.run()
    assert served == ["first", "second"]
    assert given_up == ([] if isinstance(error, httpx.HTTPError) else ["first", "second"])
