"""A federation over loopback as people set one up: every step is a command of ``fedaccord``."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks.workloads.loopback import Program, free_port, read_rounds, wait_for

FEDACCORD = [sys.executable, "-m", "fedaccord"]
#: Only a test that fails waits so long; one that passes on a busy machine may need minutes.
PATIENCE_SECONDS = 900.0


class Failed(AssertionError):
    """A command failed that should not have."""


def fedaccord(*arguments: str | Path, code: int = 0, seconds: float = PATIENCE_SECONDS) -> str:
    """Run a command; its output, stdout first."""
    done = subprocess.run(
        [*FEDACCORD, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    if done.returncode != code:
        words = f"{done.returncode} instead of {code}\n{done.stdout}{done.stderr}"
        raise Failed(f"{arguments}: {words}")
    return done.stdout + done.stderr


class Tap:
    """Ends TLS between clients and server as the server would, and keeps every byte in clear.

    The test owns the server's key; to clients this is the server.

    Args:
        tls: Folder of the server's certificates.
        target: Port of the server.
        kept: File for the bytes, of both directions.
    """

    def __init__(self, tls: Path, target: int, kept: Path) -> None:
        self.port = free_port()
        self._target = target
        self._kept = kept.open("ab")
        self._inner = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        self._outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._outer.load_cert_chain(tls / "server.crt", tls / "server.key")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._kept.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._outer)
        server = self._loop.run_until_complete(listening)
        self._loop.run_forever()
        server.close()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(
                "127.0.0.1", self._target, ssl=self._inner, server_hostname="127.0.0.1"
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self._kept.write(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Lab:
    """A server, groups, and what has to be carried between them by hand.

    Args:
        folder: For everything.
        settings: Of runs.
    """

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        self.folder = folder
        self.server = folder / "server"
        self.port = free_port()
        given = [word for setting in settings for word in ("--set", setting)]
        fedaccord(
            *("server", "init", self.server, "--host", "127.0.0.1", "--bind", "127.0.0.1"),
            *("--port", str(self.port), *given),
        )
        self.tap = Tap(self.server / "tls", self.port, folder / "wire.bin")
        self.running: list[Program] = []
        self.groups: dict[str, Program] = {}

    def home(self, group: str) -> Path:
        return self.folder / group.lower()

    def set_up(self, group: str, data: Path, *options: str) -> None:
        """What an organisation does first; its policy then goes through the tap."""
        fedaccord(
            *("client", "init", self.home(group), "--invitation", self.server / "invitation.json"),
            *("--group", group, "--data", data, "--port", str(free_port()), *options),
            # The delta of so few people is larger than the built-in default.
            "--accept-weaker",
        )
        policy = self.home(group) / "policy.toml"
        text = policy.read_text().replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{self.tap.port}")
        policy.write_text(text.replace("poll_seconds = 1.0", "poll_seconds = 0.5"))

    def admit(self, *groups: str) -> None:
        cards = [self.home(group) / "card.json" for group in groups]
        fedaccord("server", "admit", self.server, *cards, "--yes")

    def pin(self, *groups: str) -> None:
        for group in groups:
            fedaccord("client", "roster", self.home(group), self.server / "roster.json", "--yes")

    def start_server(self) -> Program:
        program = Program(self.server, [*FEDACCORD, "server", "start", str(self.server)])
        self.running.append(program)
        wait_for(
            "the SuperLink",
            lambda: json.loads(fedaccord("server", "status", self.server, "--json"))["running"],
            PATIENCE_SECONDS,
            every=2,
        )
        return program

    def join(self, group: str) -> Program:
        program = Program(self.home(group), [*FEDACCORD, "client", "join", str(self.home(group))])
        self.running.append(program)
        self.groups[group] = program
        return program

    def wait_online(self, count: int) -> None:
        def online() -> bool:
            told = json.loads(fedaccord("server", "status", self.server, "--json"))
            return sum(each["node"] == "online" for each in told["groups"]) >= count

        wait_for(f"{count} nodes online", online, PATIENCE_SECONDS, every=2)

    def rounds(self, run: str) -> list[dict[str, Any]]:
        return read_rounds(self.server / "runs" / run / "rounds.jsonl")

    def wait_round(self, run: str, number: int) -> None:
        def reached() -> bool:
            return any(row["round"] >= number for row in self.rounds(run))

        wait_for(f"round {number}", reached, PATIENCE_SECONDS)

    def kill_run(self) -> None:
        """End the server's side of a run as a power cut would; what started it lives on."""
        mine = f"127.0.0.1:{self.port}".encode()
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes()
            except OSError:
                continue
            if b"flwr-serverapp" in words and mine in words:
                os.kill(int(entry.parent.name), signal.SIGKILL)
                return
        raise Failed("no run of this server is under way")

    def status_of(self, run: str) -> str:
        told = json.loads(fedaccord("server", "status", self.server, "--json"))
        return next(str(each["status"]) for each in told["runs"] if each["run"] == run)

    def ledgers(self) -> Path:
        """What groups and server would hand to a reviewer, in one folder."""
        handed = self.folder / "handed"
        shutil.copytree(
            self.server / "ledgers", handed, ignore=shutil.ignore_patterns("identities")
        )
        (handed / "groups").mkdir()
        for group in self.groups:
            for ledger in (self.home(group) / "ledgers" / "groups").glob("*.jsonl"):
                shutil.copy(ledger, handed / "groups")
        return handed

    def close(self) -> None:
        for program in reversed(self.running):
            program.stop()
        self.tap.close()


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[Sequence[str]], Lab]]:
    """Make a lab; every process of it is stopped afterwards."""
    labs: list[Lab] = []

    def make(settings: Sequence[str]) -> Lab:
        labs.append(Lab(tmp_path, settings))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def command() -> Callable[..., str]:
    return fedaccord


@pytest.fixture
def wait() -> Callable[..., Any]:
    return partial(wait_for, seconds=PATIENCE_SECONDS)
