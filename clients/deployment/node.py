"""The interface of a SuperNode on this machine: where an executor gets its tasks.

Flower's own functions move inputs and outputs. What is added is an end to waiting: where a run is
over before a message has been fetched whole, Flower's node forgets the task without a word, and
its functions would ask for the rest of the message for two hours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.supercore.runtime import RuntimeHttpClient

logger = logging.getLogger("fedaccord.client")

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
#: So long may a node fetch a message from its server.
_INPUT_SECONDS = 1800.0


class TaskLost(RuntimeError):
    """The node has forgotten a task, or its message will never be whole."""


class Node:
    """A SuperNode, as its executor sees it.

    Args:
        address: Of its interface, on loopback.
        secret: Shared with it: no other program of this machine gets a task.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor

        signing = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        self._address = address
        self._client = self._connect("SuperExec", signing)
        self._lock = threading.Lock()
        self._next: str | None = None

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def acquire(self) -> str | None:
        """The token of the next task; None where there is none, or no node."""
        with self._lock:
            token, self._next = self._next or self._acquired(), None
            return token

    @contextmanager
    def task(self, token: str) -> Iterator[Task]:
        """A task, with heartbeats while it is worked on."""
        from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
        from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor

        client = self._connect("flwr-clientapp", RuntimeTokenHttpInterceptor(token))
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        try:
            yield Task(self, client)
        finally:
            if heartbeat.is_running:
                heartbeat.stop()
            client.close()

    def has_moved_on(self) -> bool:
        """Whether there is another task: a node works on one message at a time."""
        with self._lock:
            self._next = self._next or self._acquired()
            return self._next is not None

    def _acquired(self) -> str | None:
        import httpx
        from flwr.proto.runtime_pb2 import AcquireTaskRequest
        from flwr.supercore.constant import TaskType

        request = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
        try:
            acquired = self._client.AcquireTask(request)
        except httpx.HTTPError:
            return None
        return acquired.token if acquired.HasField("task") and acquired.token else None

    def _connect(self, component: str, interceptor: Any) -> RuntimeHttpClient:
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
        from flwr.supercore.runtime import RuntimeHttpClient

        return RuntimeHttpClient.from_server_address(
            self._address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=component), interceptor],
        )


class Task:
    """One message to be answered.

    Args:
        node: Where it comes from.
        client: Speaks for this task alone.
    """

    def __init__(self, node: Node, client: RuntimeHttpClient) -> None:
        self._node = node
        self._client = client

    def input(self) -> tuple[Message, Context, bytes]:
        """The message, what the node keeps of this client, and the server's bundle.

        Raises:
            TaskLost: The message will not come.
        """
        from flwr.supernode.runtime.run_clientapp import pull_task_input

        waiting: Any = _Impatient(self._client, self._node, time.monotonic() + _INPUT_SECONDS)
        message, context, _, bundle = pull_task_input(waiting)
        return message, context, bytes(bundle.content)

    def reply(self, message: Message, context: Context, *, failure: str = "") -> None:
        """Hand over the answer and what the node is to keep.

        Args:
            message: The answer.
            context: With the state that handlers have left.
            failure: Why there is no better answer; empty where there is.
        """
        from flwr.common.constant import SubStatus
        from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

        status = SubStatus.FAILED if failure else SubStatus.COMPLETED
        push_message(self._client, message, context)
        push_task_output(self._client, context, status, failure)

    def give_up(self) -> None:
        """Tell the node that there will be no answer."""
        from flwr.common.constant import SubStatus
        from flwr.supernode.runtime.run_clientapp import push_task_output

        push_task_output(self._client, None, SubStatus.FAILED, "the message never came whole")


class _Impatient:
    """A client that stops asking for an object once the node works on something else."""

    def __init__(self, client: RuntimeHttpClient, node: Node, deadline: float) -> None:
        self._client = client
        self._node = node
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def PullObject(self, request: Any) -> Any:
        """Ask for one object of a message."""
        response = self._client.PullObject(request)
        missing = response.object_found and not response.object_available
        if missing and (time.monotonic() > self._deadline or self._node.has_moved_on()):
            raise TaskLost("its message was never fetched whole")
        return response
