"""The process that works for a server: it runs the code installed here, never the server's.

Flower's own executor unpacks the bundle that a server sends and runs it in a fresh process for
every message. This one takes the same tasks from the same SuperNode, looks at the bundle without
unpacking it, refuses the task if it is not the code that the group policy names, and else hands
the message to the ClientApp that is installed on this machine. It stays alive between messages, so
that libraries, weights and the frozen activations of texts are there from the second one on.

Of an error the server is told its kind; its text only where that can quote nothing but what the
server itself has said.

Flower, the ClientApp and all that reads records are imported inside functions: nothing of them is
loaded before what is installed has been found to be the reviewed code. Then all of it is loaded at
once: what is stated is what runs, also where a file is replaced while the process works.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from atomic import write_atomically
from clients.data.home import REFUSED_FOLDER, Home
from clients.deployment.bundle import CodeRefused, bundle_digest, code_digest, running_digest
from clients.deployment.node import Node, Task
from terminal import log_to_stderr

if TYPE_CHECKING:
    from flwr.app import Context, Message

logger = logging.getLogger("fedaccord.client")

_IDLE_SECONDS = 0.2
#: Exit status after a stage that hung, so that whoever supervises starts the process anew.
HUNG = 75
_MOST_REFUSED = 20


class Watchdog:
    """Ends the process when a stage takes too long; a thread cannot be stopped, a process can.

    Args:
        seconds: The longest that a stage may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Watch over a block."""

        def end() -> None:
            logger.error("%s has taken %.0f s: the process ends", what, self._seconds)
            logging.shutdown()
            os._exit(HUNG)

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def require_reviewed(bundle: bytes, home: Home) -> None:
    """Refuse a bundle that is not the code which the group has reviewed and installed.

    A refused bundle is kept for ``fedaccord client review``, as bytes that nothing runs.

    Raises:
        CodeRefused: What is installed, reviewed, sent and running are not one and the same.
    """
    reviewed, installed, sent = home.group_policy.accept.code, code_digest(), bundle_digest(bundle)
    if installed != reviewed:
        raise CodeRefused(
            f"the code installed here ({installed[:16]}) is not the reviewed ({reviewed[:16]}): "
            "nothing was run"
        )
    if sent != reviewed:
        with suppress(OSError):
            _keep(bundle, home.file(REFUSED_FOLDER))
        raise CodeRefused(
            f"the server's code ({sent[:16]}) is not the reviewed ({reviewed[:16]}): nothing of "
            "it was run"
        )
    if running_digest() != reviewed:
        raise CodeRefused(
            f"the code that runs here is not the reviewed ({reviewed[:16]}): start the client anew"
        )


def _keep(bundle: bytes, folder: Path) -> None:
    """Keep a refused bundle, and only so many: a server must not fill the disk with them."""
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("*.fab"))) < _MOST_REFUSED:
        write_atomically(folder / f"{hashlib.sha256(bundle).hexdigest()[:16]}.fab", bundle)


def answer(message: Message, context: Context, bundle: bytes, home: Home) -> Message:
    """Answer one message with the code installed here.

    Raises:
        CodeRefused: The server's bundle is another; no record has been touched.
    """
    require_reviewed(bundle, home)
    from clients.app import app

    reply = app(message, context)
    if not isinstance(reply, type(message)):
        raise TypeError("the ClientApp returned no message")
    return reply


def warm_up(home: Home) -> None:
    """Load what every stage needs before the first message comes: a server waits only so long.

    What fails here fails again, and is reported, when a message asks for it.
    """
    try:
        if home.group_policy.accept.code != code_digest():
            # Nothing is loaded of what nobody has reviewed.
            logger.warning("the installed code is not the reviewed one: every task is refused")
            return
        logger.info("code %s", running_digest())
        from alignment.config import DEFAULT_ENCODER
        from alignment.model.encoders.encoder_files import packaged_files
        from clients.data.datastore import open_home

        store = open_home(home)
        if store.trains and store.private:
            store.units()
        packaged_files()
        logger.info("ready, with %s at hand", DEFAULT_ENCODER)
    except (CodeRefused, ValueError, OSError) as error:
        logger.warning("not ready: %s", type(error).__name__)


def reason_for_server(error: Exception) -> str:
    """The reason that a server gets for an error: its kind, and a text that quotes its own at most.

    Errors of the privacy room and refusals quote terms and plans, which the server has made. All
    other texts may be about a record, a file or a path of this machine.
    """
    from clients.sessions.group_ledger import RefusedByLedger
    from privacy.errors import ExecutionMismatch, PlanRefused, SecaggAbort

    told = (CodeRefused, RefusedByLedger, SecaggAbort, PlanRefused, ExecutionMismatch)
    kind = type(error).__name__
    if isinstance(error, told):
        return f"{kind}: {error}"
    return f"{kind}: its text stays at the client"


class Executor:
    """Takes tasks from a SuperNode on this machine and answers them, one after another.

    Args:
        home: Folder of the client.
        node: Where tasks come from.
    """

    def __init__(self, home: Home, node: Node) -> None:
        self._home = home
        self._node = node
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Take no further task."""
        self._stopped.set()

    def run(self) -> None:
        """Serve until stopped; a node that cannot be reached is waited for."""
        while not self._stopped.is_set():
            token = self._node.acquire()
            if token is None:
                self._stopped.wait(_IDLE_SECONDS)
            else:
                self._serve(token)

    def _serve(self, token: str) -> None:
        """Carry out one task from its input to its reply; what fails costs this task alone."""
        from httpx import HTTPError

        with self._node.task(token) as task:
            try:
                try:
                    self._carry_out(task)
                except RuntimeError as error:
                    logger.warning("a task was lost: %s", type(error).__name__)
                    task.give_up()
            except HTTPError as error:
                logger.warning("a task was lost: %s", type(error).__name__)

    def _carry_out(self, task: Task) -> None:
        from flwr.app import Error, Message
        from flwr.common.constant import ErrorCode

        message, context, bundle = task.input()
        kind = message.metadata.message_type
        started, failure = time.perf_counter(), ""
        try:
            seconds = self._home.group_policy.machine.stage_seconds
            with Watchdog(seconds).watching(kind):
                reply = answer(message, context, bundle, self._home)
            logger.info("%s answered in %.2f s", kind, time.perf_counter() - started)
        except Exception as error:
            failure = reason_for_server(error)
            # The frames, and not the text: that may quote a record.
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.warning("%s refused: %s", kind, failure)
            logger.debug("%s:\n%s", type(error).__name__, frames)
            refused = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=failure)
            reply = Message(refused, reply_to=message)
        task.reply(reply, context, failure=failure)


def main(arguments: list[str] | None = None) -> None:
    """Serve one SuperNode: ``python -m clients.deployment.executor HOME --node A --secret F``."""
    parser = argparse.ArgumentParser(prog="python -m clients.deployment.executor")
    parser.add_argument("home", type=Path)
    parser.add_argument("--node", required=True)
    parser.add_argument("--secret", type=Path, required=True)
    parser.add_argument("--debug", action="store_true")
    given = parser.parse_args(arguments)
    log_to_stderr(
        level=logging.DEBUG if given.debug else logging.INFO,
        layout="%(asctime)s %(levelname)s %(message)s",
    )
    for noisy in ("flwr", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from flwr.supercore.app_utils import start_parent_process_monitor

    home = Home(folder=given.home.resolve())
    warm_up(home)
    node = Node(given.node, given.secret.read_bytes())
    executor = Executor(home, node)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: executor.stop())
    start_parent_process_monitor(os.getppid())
    executor.run()
    node.close()


if __name__ == "__main__":
    main()
