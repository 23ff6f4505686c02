"""Exchange of messages with nodes, with short waits: the trip that every stage of a round makes.

Flower's own ``send_and_receive`` looks for replies every three seconds and ends the run where the
SuperLink cannot be reached for a moment. Here a stage looks often at first and less often later,
survives a SuperLink that is restarted, and waits for nobody whom the grid has given up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx
from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from google.protobuf.message import DecodeError

logger = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_GROWTH = 1.5
#: The list of nodes is looked at so often while replies are awaited.
_LOOK_SECONDS = 10.0
#: A node that has been off the list for so long is not waited for. Nodes report to the SuperLink
#: twice a minute: after it was away itself, all of them are off its list for a moment.
_GRACE_SECONDS = 60.0
#: Refusals that a second request may not meet; any other refusal of the grid is for good.
_PASSING = frozenset({408, 425, 429})
#: What the grid raises where the bytes of a reply are those of no message.
_NO_MESSAGE = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    DecodeError,
)

_Answer = TypeVar("_Answer")


@dataclass
class Pause:
    """Waits that grow, up to a moment in time.

    Attributes:
        deadline: On the monotonic clock.
        seconds: Length of the next wait.
    """

    deadline: float
    seconds: float = _FIRST_WAIT_SECONDS

    @property
    def over(self) -> bool:
        """Whether the moment has come."""
        return time.monotonic() >= self.deadline

    def wait(self) -> None:
        """Wait once, at most until the moment comes."""
        time.sleep(max(0.0, min(self.seconds, self.deadline - time.monotonic())))
        self.seconds = min(self.seconds * _GROWTH, _LONGEST_WAIT_SECONDS)


def listed_nodes(grid: Grid, *, timeout_seconds: float) -> list[int]:
    """The ids of all nodes that the grid lists, in its order.

    None where the grid could not be reached until the timeout: a run goes on without them.
    """
    pause = Pause(time.monotonic() + timeout_seconds)
    nodes = _persist(lambda: list(grid.get_node_ids()), pause)
    return nodes or []


def exchange(
    grid: Grid, messages: Iterable[Message], *, timeout_seconds: float, log_as: str
) -> list[Message]:
    """Send messages and take the replies that come in time, in the order in which they come.

    Nodes that the grid does not list are not asked, nor waited for once they have been off its
    list for a minute. A reply is taken if it answers one of these messages and comes from a node:
    what is late for an earlier stage answers none, and where the grid itself says that there will
    be no reply, none is awaited, nor another where a reply is no message. Replies may be errors of
    the node that sent them.

    Args:
        grid: The way to the nodes.
        messages: At most one for a node.
        timeout_seconds: Replies that are not there by then are given up.
        log_as: What is going on, for the log.

    Raises:
        httpx.HTTPStatusError: The grid refuses requests for good, as where the run was stopped.
    """
    pause = Pause(time.monotonic() + timeout_seconds)
    listed = set(_persist(lambda: list(grid.get_node_ids()), pause) or ())
    reachable = [each for each in messages if each.metadata.dst_node_id in listed]
    accepted = set(_persist(lambda: _push(grid, reachable), pause) or ())
    waiting = {
        each.metadata.message_id: each.metadata.dst_node_id
        for each in reachable
        if each.metadata.message_id in accepted
    }
    if len(waiting) < len(reachable):
        logger.warning(
            "%s: %d messages could not be delivered", log_as, len(reachable) - len(waiting)
        )
    replies, absent = list[Message](), _Absent(grid)
    while waiting and not pause.over:
        came, damaged = _pull(grid, list(waiting))
        for message_id in damaged:
            waiting.pop(message_id)
        for reply in came:
            node = waiting.pop(reply.metadata.reply_to_message_id, None)
            if node is not None and reply.metadata.src_node_id == node:
                replies.append(reply)
        if not came and waiting:
            pause.wait()
            for node in absent.of(waiting.values()):
                waiting = {key: each for key, each in waiting.items() if each != node}
    if waiting:
        logger.warning("%s: %d nodes did not answer in time", log_as, len(waiting))
    return replies


class _Absent:
    """Nodes that the grid has given up, by a look from time to time."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._looked = time.monotonic()
        self._since: dict[int, float] = {}

    def of(self, nodes: Iterable[int]) -> list[int]:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return []
        self._looked = now
        try:
            listed = set(self._grid.get_node_ids())
        except httpx.HTTPError as error:
            _bear(error)
            return []
        missing = [node for node in nodes if node not in listed]
        self._since = {node: self._since.get(node, now) for node in missing}
        return [node for node in missing if now - self._since[node] >= _GRACE_SECONDS]


def _push(grid: Grid, messages: Sequence[Message]) -> list[str]:
    """The ids of the messages that the grid has taken; pushing one again changes nothing."""
    return [str(each) for each in grid.push_messages(messages) if each] if messages else []


def _pull(grid: Grid, message_ids: Sequence[str]) -> tuple[list[Message], list[str]]:
    """Replies that are there, and the ids of messages whose replies cannot be put together.

    What a node has sent is anything: the grid fails on what is no message, and says not whose it
    was. Then each is asked for alone, and that of nobody else is lost for it.
    """
    try:
        return list(grid.pull_messages(message_ids)), []
    except httpx.HTTPError as error:
        _bear(error)
        return [], []
    except _NO_MESSAGE as error:
        logger.warning("a reply cannot be put together (%s)", type(error).__name__)
    if len(message_ids) == 1:
        return [], list(message_ids)
    came, damaged = list[Message](), list[str]()
    for message_id in message_ids:
        replies, broken = _pull(grid, [message_id])
        came += replies
        damaged += broken
    return came, damaged


def _persist(call: Callable[[], _Answer], pause: Pause) -> _Answer | None:
    """Repeat a call while the grid cannot be reached; None where that lasts to the end."""
    while True:
        try:
            return call()
        except (httpx.HTTPError, ObjectPushError) as error:
            _bear(error)
        if pause.over:
            return None
        pause.wait()


def _bear(error: httpx.HTTPError | ObjectPushError) -> None:
    """Go on after a failure of transport that may pass; raise any other.

    A SuperLink that ends in the middle of a push knows nothing of it when it is back.
    """
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        if status < 500 and status not in _PASSING:
            raise error
    logger.warning("the grid cannot be reached (%s): trying again", type(error).__name__)
