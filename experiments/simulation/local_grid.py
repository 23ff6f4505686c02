"""A whole Flower federation in one process.

`LocalGrid` stands where a SuperLink and its SuperNodes stand in a deployment: the ServerApp hands
it messages, it calls the ClientApp once per message, and hands the replies back. There is no
network, no Ray and no thread, so a round costs what its handlers cost. By default every message is
still taken apart into the bytes that a deployment would send and put together again from them:
what would fail on the wire fails here, and nobody shares memory with anybody.

What one process cannot imitate: nodes answer one after another, in the order of the messages, and
module-level variables of the ClientApp are shared by all nodes and live as long as the process,
where a deployment starts afresh for every message. Keep what a node must remember in
`context.state` or on disk.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict, UserConfigValue
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.server.superlink.linkstate.utils import create_message_error_unavailable_ins_message
from flwr.server.utils.validator import validate_message
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from experiments.simulation.grid_records import GridSeconds, HandlerFailure, Traffic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Parcel:
    """A message under way: the bytes of its nested objects, or the message itself."""

    message_id: str
    contents: Mapping[str, bytes]
    message: Message | None = None

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.contents.values()))


class LocalGrid(Grid):
    """Deliver messages to a ClientApp in this process, as a SuperLink would to its SuperNodes.

    Each node has a `Context` of its own whose state survives stages and rounds, and a node id that
    depends on its index alone. Build messages inside a ServerApp run by `run_server_app`, or
    under `as_server()`. Flower keeps the identity of the running task in class attributes, hence
    one thread at a time; grids may follow one another or be nested.

    Where a deployment would leave the server waiting in vain, because a reply or a state cannot be
    serialised or a handler returns no reply, this grid answers with an error.

    Args:
        client_app: The app that every node runs.
        node_configs: One mapping of scalars per node, read by the handlers as
            `context.node_config`; Flower's own simulation puts "partition-id" and "num-partitions".
        run_config: Scalars that every node reads as `context.run_config`.
        serialize: False passes messages and contexts on as Python objects, unchecked and uncounted.
        before_delivery: Called with each message as the node would receive it; False means that
            the node is unreachable: its handler does not run and no reply comes.

    Raises:
        ValueError: If there is no node, or a configuration value is not a bool, int, float or str.
    """

    def __init__(
        self,
        *,
        client_app: ClientApp,
        node_configs: Sequence[Mapping[str, UserConfigValue]],
        run_config: Mapping[str, UserConfigValue],
        serialize: bool = True,
        before_delivery: Callable[[Message], bool] | None = None,
    ) -> None:
        if not node_configs:
            raise ValueError("node_configs holds 0 nodes, need at least 1: add a mapping per node")
        self._client_app = client_app
        self._serialize = serialize
        self._before_delivery = before_delivery
        self._run = Run.create_empty(run_id=secrets.randbits(63) + 1)
        self._contexts: dict[int, Context] = {}
        for index, node_config in enumerate(node_configs):
            node_id = _stable_id(f"node {index}")
            self._contexts[node_id] = self._new_context(node_id, node_config, run_config)
        self._pending: dict[str, _Parcel] = {}
        self._traffic: dict[tuple[int, str], Traffic] = {}
        self._traffic_by_group: dict[tuple[str, str], Traffic] = {}
        self._seconds = {"serialization": 0.0, "handlers": 0.0}
        self._failures: list[HandlerFailure] = []

    @property
    def traffic(self) -> Mapping[tuple[int, str], Traffic]:
        """Traffic so far, by node id and message type."""
        return MappingProxyType(dict(self._traffic))

    @property
    def traffic_by_group(self) -> Mapping[tuple[str, str], Traffic]:
        """The same of all nodes together, by group id of the messages and message type."""
        return MappingProxyType(dict(self._traffic_by_group))

    @property
    def seconds(self) -> GridSeconds:
        """The time spent so far."""
        return GridSeconds(**self._seconds)

    @property
    def failures(self) -> Sequence[HandlerFailure]:
        """The messages that were answered with an error so far, oldest first."""
        return tuple(self._failures)

    @property
    def contexts(self) -> Mapping[int, Context]:
        """The contexts that the nodes keep between messages, by node id."""
        return MappingProxyType(dict(self._contexts))

    @property
    def run(self) -> Run:
        """Run information."""
        return Run(**vars(self._run))

    def set_run(self, run: Run) -> None:
        """Set the run that messages and contexts carry."""
        if not isinstance(run, Run):
            raise TypeError(f"run is a {type(run).__name__}, need a Run: use Run.create_empty()")
        self._run = run
        for context in self._contexts.values():
            context.run_id = run.run_id

    @contextmanager
    def as_server(self) -> Iterator[None]:
        """Let messages be built as the server's, for those who drive the grid without an app."""
        with _task_identity(run_id=self._run.run_id, node_id=SUPERLINK_NODE_ID):
            yield

    def _new_context(
        self,
        node_id: int,
        node_config: Mapping[str, UserConfigValue],
        run_config: Mapping[str, UserConfigValue],
    ) -> Context:
        """Build an empty context of this run for a node or, with the SuperLink's id, the server."""
        context = Context(
            run_id=self._run.run_id,
            node_id=node_id,
            node_config=dict(node_config),
            state=RecordDict(),
            run_config=dict(run_config),
        )
        return self._reload(context)

    def _reload(self, context: Context) -> Context:
        """Pass a context through its serialised form, as every task of a deployment does."""
        if not self._serialize:
            return context
        return context_from_proto(context_to_proto(context))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message of the server; the `Message` constructor is the way of new code."""
        with self.as_server():
            return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Get the ids of all nodes, in the order of their configurations."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Serialise messages and keep them until their replies are pulled.

        Returns:
            One message id per message, empty where no node has the destination's id.

        Raises:
            ValueError: If a SuperLink would refuse a message; nothing is kept then.
        """
        parcels = self._pack(messages := list(messages), is_reply=False)
        message_ids = []
        for message, parcel in zip(messages, parcels, strict=True):
            known = message.metadata.dst_node_id in self._contexts
            message_ids.append(parcel.message_id if known else "")
            if known:
                self._pending[parcel.message_id] = parcel
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Deliver pushed messages up to the first that is answered, and get its reply.

        Time passes while a node answers: like a SuperLink, this grid returns what is there and
        leaves the rest for the next pull, so that whoever pulls decides when it is too late for
        more. A message to an unreachable node leaves no reply.

        An id that is not waiting (empty, or pulled before) gets an error reply with the code
        MESSAGE_UNAVAILABLE, which comes from the SuperLink and does not name the node.
        """
        asked = list(dict.fromkeys(message_ids))
        waiting = [message_id for message_id in asked if message_id in self._pending]
        gone = [message_id for message_id in asked if message_id not in self._pending]
        errors = [reply for each in gone if (reply := self._reply_to(each)) is not None]
        answers = (self._reply_to(message_id) for message_id in waiting)
        first = next((reply for reply in answers if reply is not None), None)
        return [*errors, *([] if first is None else [first])]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push messages and get the replies, in the order of the messages.

        Args:
            messages: Messages to nodes.
            timeout: Seconds after which no further message is delivered: the nodes that did not
                get their turn are absent and their messages are dropped. A handler that has
                begun is not interrupted and its reply counts. None sets no limit.
        """
        message_ids = dict.fromkeys(self.push_messages(messages))
        deadline = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        for message_id in message_ids:
            if deadline is not None and time.monotonic() >= deadline:
                self._pending.pop(message_id, None)
            elif (reply := self._reply_to(message_id)) is not None:
                replies.append(reply)
        return replies

    def _reply_to(self, message_id: str) -> Message | None:
        """Deliver the pending message and return the reply, None if its node is unreachable."""
        parcel = self._pending.pop(message_id, None)
        if parcel is None:
            return create_message_error_unavailable_ins_message(message_id, self._run.run_id)
        message = self._open(parcel)
        if self._before_delivery is not None and not self._before_delivery(message):
            return None
        self._count(message, Traffic(messages_down=1, bytes_down=parcel.size_bytes))
        node_id = message.metadata.dst_node_id
        with _task_identity(run_id=self._run.run_id, node_id=node_id):
            answer = self._answer(message)
        self._count(message, Traffic(messages_up=1, bytes_up=answer.size_bytes))
        return self._open(answer)

    def _answer(self, message: Message) -> _Parcel:
        """Run the handler; whatever goes wrong in it or after it becomes an error reply."""
        try:
            reply = self._run_handler(message)
            if (
                not isinstance(reply, Message)
                or reply.metadata.reply_to_message_id != message.metadata.message_id
            ):
                raise TypeError(
                    f"the handler of {message.metadata.message_type!r} returned no reply to its "
                    "message: return Message(content, reply_to=message)"
                )
            (parcel,) = self._pack([reply], is_reply=True)
        except Exception as error:
            (parcel,) = self._pack([self._error_reply(message, error)], is_reply=True)
        return parcel

    def _error_reply(self, message: Message, error: Exception) -> Message:
        """Keep the error for the caller and tell the server what a SuperNode would tell it."""
        node_id, message_type = message.metadata.dst_node_id, message.metadata.message_type
        # The text of an exception may quote a record: only its class is logged.
        logger.warning("node %d failed on %s: %s", node_id, message_type, type(error).__name__)
        self._failures.append(HandlerFailure.of(error, node_id=node_id, message_type=message_type))
        reason = f"{type(error)}:<'{error}'>"
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        return Message(Error(code=code, reason=reason), reply_to=message)

    def _run_handler(self, message: Message) -> Message:
        """Call the ClientApp and keep the state it leaves, also when it raises."""
        node_id = message.metadata.dst_node_id
        with self._timed("serialization"):
            context = self._reload(self._contexts[node_id])
        try:
            with self._timed("handlers"):
                return self._client_app(message, context)
        finally:
            with self._timed("serialization"):
                self._contexts[node_id] = self._reload(context)

    def _pack(self, messages: Sequence[Message], *, is_reply: bool) -> list[_Parcel]:
        """Give the messages their ids and turn them into what travels.

        An object that several messages carry, such as the model sent to every node, is hashed and
        serialised once: its bytes are immutable, and each receiver copies them when it inflates.
        """
        parcels = []
        known: dict[str, bytes] = {}
        with self._timed("serialization"), no_object_id_recompute():
            for message in messages:
                message_id = message.object_id if self._serialize else uuid4().hex
                message.metadata.__dict__["_message_id"] = message_id
                if errors := validate_message(message, is_reply_message=is_reply):
                    raise ValueError(
                        f"message {message.metadata.message_type!r} would be refused on the wire "
                        f"({'; '.join(errors)}): build it anew with the Message constructor"
                    )
                if not self._serialize:
                    parcels.append(_Parcel(message_id=message_id, contents={}, message=message))
                    continue
                objects = get_all_nested_objects(message)
                for object_id, nested in objects.items():
                    if object_id not in known:
                        known[object_id] = nested.deflate()
                contents = {object_id: known[object_id] for object_id in objects}
                parcels.append(_Parcel(message_id=message_id, contents=contents))
        return parcels

    def _open(self, parcel: _Parcel) -> Message:
        """Put a message together from its bytes, as the receiver does."""
        if parcel.message is not None:
            return parcel.message
        with self._timed("serialization"):
            inflated = inflate_object_from_contents(parcel.message_id, dict(parcel.contents))
        message = cast(Message, inflated)
        # The id is the hash of the serialised message, so it cannot be inside it.
        message.metadata.__dict__["_message_id"] = parcel.message_id
        return message

    def _count(self, message: Message, traffic: Traffic) -> None:
        metadata = message.metadata
        node = (metadata.dst_node_id, metadata.message_type)
        self._traffic[node] = self._traffic.get(node, Traffic()) + traffic
        group = (metadata.group_id, metadata.message_type)
        self._traffic_by_group[group] = self._traffic_by_group.get(group, Traffic()) + traffic

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[activity] += time.perf_counter() - start


def run_server_app(
    server_app: ServerApp, grid: LocalGrid, *, run_config: Mapping[str, UserConfigValue]
) -> Context:
    """Run a ServerApp to its end on a grid and return the context it leaves.

    Exceptions of the ServerApp propagate.
    """
    context = grid._new_context(SUPERLINK_NODE_ID, {}, run_config)
    with grid.as_server():
        server_app(grid, context)
    return grid._reload(context)


@contextmanager
def _task_identity(*, run_id: int, node_id: int) -> Iterator[None]:
    """Act as a node, or as the server, and put back who was acting before.

    The identity is process-wide and may be unset, which its public setters cannot express.
    """
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
    TaskIdentity.task_id = _stable_id(f"task of {node_id}")
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def _stable_id(name: str) -> int:
    """Derive a 64-bit id from a name, with the top bit set: unsigned, as real ids may be."""
    digest = hashlib.sha256(f"fedaccord local grid: {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") | 1 << 63
