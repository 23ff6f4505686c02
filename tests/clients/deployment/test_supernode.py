"""Flower's node with shorter waits, and no node at all where Flower waits in another way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flwr.supercore import app_utils
from flwr.supernode import cli, start_client_internal

from clients.deployment import supernode


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the node was started with, and the sleeps of its loop."""
    seen: list[Any] = []

    def run() -> None:
        begun = time.monotonic()
        start_client_internal.time.sleep(3)
        start_client_internal.time.sleep(0.01)
        seen.append((list(sys.argv), time.monotonic() - begun))

    monkeypatch.setattr(cli, "flower_supernode", run)
    monkeypatch.setattr(app_utils, "start_parent_process_monitor", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(start_client_internal, "time", time)
    yield seen


def test_no_wait_is_longer_than_asked_for(started: list[Any]) -> None:
    supernode.main(["0.2", "--superlink", "127.0.0.1:1"])
    ((arguments, seconds),) = started
    assert arguments == ["flower-supernode", "--superlink", "127.0.0.1:1"]
    assert 0.2 < seconds < 2


def test_a_flower_that_waits_in_another_way_is_refused(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(start_client_internal, "time")
    with pytest.raises(RuntimeError, match=r"install flwr 1\.42"):
        supernode.main(["0.2"])
    assert not started


def test_flowers_loop_sleeps_by_the_name_that_is_replaced() -> None:
    """Else the waits would be Flower's again, and nobody would notice."""
    source = start_client_internal.__loader__.get_source(start_client_internal.__name__)
    assert "time.sleep(3)" in source and "from time import" not in source
