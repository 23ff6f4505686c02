"""A federation over loopback: a real SuperLink and real clients, as processes that are ended again.

What a benchmark and the tests of deployments share: programs with all the processes under them, and
a small federation that is set up without a word to anybody.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np

import supervision
from clients.data.group_policy import GroupPolicy
from clients.data.home import Home
from clients.deployment import enrolment
from privacy.file_names import INVITATION_FILE, ROSTER_FILE
from privacy.identity.enrolment import Card, Invitation
from server.deployment import home as deployment
from server.deployment.control import Control, ControlError
from server.state.telemetry import ROUNDS_FILE

LOOPBACK = "127.0.0.1"
GROUPS = ("North", "South", "East")

_STOPPING_SECONDS = 30.0
_STARTING_SECONDS = 90.0
_RUN = "measured"
_PEOPLE = 24
_QUESTIONS = 6

_Found = TypeVar("_Found")
#: The command lines of a client's processes, by name, as `clients.deployment.join.programs` gives.
Programs = Callable[[Home, GroupPolicy], Mapping[str, Sequence[str]]]


class NotInTime(RuntimeError):
    """A program did not do in time what was waited for."""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        return int(listening.getsockname()[1])


def wait_for(what: str, holds: Callable[[], _Found], seconds: float, every: float = 0.2) -> _Found:
    """Wait until something holds; returns what it is.

    Args:
        what: For the error.
        holds: Gives something true once it holds.
        seconds: How long it is waited for.
        every: Seconds between two looks.

    Raises:
        NotInTime: It does not hold by then.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(every)
    raise NotInTime(f"{what}: not within {seconds:g} s")


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """The rounds of a ``rounds.jsonl`` that have ended; none where there is no file yet."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Program:
    """A command that becomes supervisord and runs until it is stopped, with all under it.

    It has a session of its own, by which its processes are found even where it is dead itself.

    Args:
        folder: Of a server or a client: logs lie in it.
        command: What is run.
        environment: Of the command; None for that of this process.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        with (folder / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - no shell, and no words of others
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def child(self, name: str) -> int:
        """The process id of the newest program of that name under supervisord.

        Raises:
            NotInTime: There is none.
        """
        log = self.folder / supervision.LOGS_FOLDER / "supervisord.log"

        def spawned() -> list[str]:
            text = log.read_text() if log.exists() else ""
            return re.findall(rf"spawned: '{name}' with pid (\d+)", text)

        return int(wait_for(f"{name} in {self.folder.name}", spawned, 30)[-1])

    def kill(self, name: str) -> None:
        """End a program as a power cut would."""
        os.kill(self.child(name), signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Let everything end in order, and do not wait for it."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self, seconds: float = _STOPPING_SECONDS) -> None:
        """Let everything end in order; what is left after some time is killed."""
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        for process in _of_session(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()


def _of_session(session: int) -> list[int]:
    """The ids of all processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before may hold anything, a parenthesis too.
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                found.append(int(entry.parent.name))
    return found


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have what comes in ``finally`` done where this process is told to end."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def write_answers(path: Path, group: str) -> Path:
    """Answers of some people to a few questions, all of one group; returns the path."""
    generator = np.random.default_rng(0)
    rows = (
        {
            "group": group,
            "respondent": f"person {person}",
            "question_id": f"{number}",
            "question": f"Is it number {number}?",
            "options": ["yes", "no"],
            "choice": int(generator.random() < 0.3 + 0.1 * number),
        }
        for person, number in product(range(_PEOPLE), range(_QUESTIONS))
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class SmallFederation:
    """A server, three groups with keys of their own, and one run that goes on.

    Everything listens on loopback alone and ends with :meth:`close`.

    Args:
        folder: For everything; made here.
        settings: Of the run, with dotted keys.
        programs: Of every client.
        say: Told what goes on.

    Raises:
        NotInTime: The SuperLink does not answer; everything has been stopped.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        programs: Programs,
        say: Callable[[str], None],
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._server: Program | None = None
        self._clients: list[Program] = []
        try:
            self._begin(settings, programs, say)
        except BaseException:
            self.close()
            raise

    def home(self, group: str) -> Home:
        """The folder of a group's client."""
        return Home(folder=self._folder / group.lower())

    def rounds(self) -> list[dict[str, Any]]:
        """The rounds that have ended, without the measurement before them."""
        path = self._folder / "server" / deployment.RUNS_FOLDER / _RUN / ROUNDS_FILE
        return [row for row in read_rounds(path) if row["round"] > 0]

    def log(self, group: str, program: str) -> str:
        """Output of a program of a client."""
        path = self.home(group).file(supervision.LOGS_FOLDER) / f"{program}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def complaints(self) -> str:
        """The last warnings and errors of all programs, one line each."""
        lines = [
            f"{path.parent.parent.name}/{path.name}: {line.strip()[:300]}"
            for path in sorted(self._folder.glob(f"*/{supervision.LOGS_FOLDER}/*.log"))
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if re.search(r"warning|error|refused|exception", line, re.IGNORECASE)
            and "EXPERIMENTAL" not in line
        ]
        return "\n".join(lines[-20:])

    def close(self) -> None:
        """Stop everything: the clients first, since they take leave of the server."""
        for client in self._clients:
            client.ask_to_stop()
        for program in (*self._clients, *([self._server] if self._server else [])):
            program.stop()

    def _begin(
        self, settings: Mapping[str, object], programs: Programs, say: Callable[[str], None]
    ) -> None:
        server = deployment.ServerHome(
            folder=self._folder / "server",
            federation="benchmark",
            host=LOOPBACK,
            port=free_port(),
            bind=LOOPBACK,
        )
        server = deployment.set_up(server, settings)
        self._server = _supervised(server.folder, deployment.programs(server))
        cards = [self._set_up(server, group) for group in GROUPS]
        control = Control(server, supervision.environment(server.folder))
        wait_for("the SuperLink", lambda: _answers(control), _STARTING_SECONDS)
        say("the SuperLink answers")
        for card in cards:
            control.register(card.node, card.group)
        for group in GROUPS:
            home = self.home(group)
            enrolment.pin_roster(home, enrolment.compare_roster(home, server.file(ROSTER_FILE)))
            self._clients.append(_supervised(home.folder, programs(home, home.group_policy)))
        control.start(server.run_config(_RUN, {}, resume=False).flat())
        say("three clients and a run are started")

    def _set_up(self, server: deployment.ServerHome, group: str) -> Card:
        folder, invitation = self.home(group).folder, Invitation.read(server.file(INVITATION_FILE))
        data = write_answers(self._folder / f"{group}.jsonl", group)
        asked = enrolment.questionnaire_for(invitation, group=group, data=data)
        policy = enrolment.policy_for(
            folder, invitation, group=group, data=data, port=free_port(), questionnaire=asked
        )
        card = enrolment.set_up(folder, invitation, policy, asked)
        deployment.admit(server, card)
        return card


def _supervised(folder: Path, programs: Mapping[str, Sequence[str]]) -> Program:
    """Programs under supervisord, as the commands of both sides have them run."""
    configuration = supervision.write_configuration(folder, programs)
    return Program(
        folder,
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
        {**os.environ, **supervision.environment(folder)},
    )


def _answers(control: Control) -> bool:
    try:
        control.nodes()
    except ControlError:
        return False
    return True
