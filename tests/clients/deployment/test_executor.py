"""The process that works for a server: whose code it runs, and when it ends."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from clients.data.home import Home
from clients.deployment.bundle import CodeRefused, code_digest, installed_files
from clients.deployment.executor import HUNG, Watchdog, require_reviewed

ROOT = Path(__file__).parents[3]
Deployed = Any
Pack = Callable[[Mapping[str, bytes]], bytes]
SETUP = {"version": 2, "unit": "", "challenge": bytes(32)}


@pytest.fixture
def deployed(deploy: Callable[..., Deployed]) -> Deployed:
    return deploy(groups=2)


def setup(deployed: Deployed) -> RecordDict | str:
    content = RecordDict({"setup": ConfigRecord(dict(SETUP))})
    return deployed.ask("Group 0", "query.setup", content)


def refused(deployed: Deployed) -> list[Path]:
    return sorted((deployed.homes["Group 0"] / "refused").glob("*"))


class TestReviewedCode:
    def test_the_reviewed_code_answers(self, deployed: Deployed) -> None:
        reply = setup(deployed)
        assert not isinstance(reply, str)
        assert reply.config_records["setup"]["code"] == code_digest()
        assert not refused(deployed)

    @pytest.mark.parametrize("changed", ["clients/app.py", "atomic.py"])
    def test_a_bundle_of_other_code_is_refused_kept_and_can_be_looked_at(
        self, deployed: Deployed, bundle_of: Pack, command: Callable[..., Any], changed: str
    ) -> None:
        files = dict(installed_files())
        files[changed] += b"# one more line\n"
        deployed.bundle = bundle_of(files)
        reason = setup(deployed)
        assert isinstance(reason, str)
        assert reason.startswith("CodeRefused: the server's code (")
        assert reason.endswith(f"is not the reviewed ({code_digest()[:16]}): nothing of it was run")
        (kept,) = refused(deployed)
        assert kept.read_bytes() == deployed.bundle
        home = deployed.homes["Group 0"]
        listed = command("client", "review", home)
        assert (listed.code, f"refused/{kept.name}" in listed.out) == (0, True)
        shown = command("client", "review", home, f"refused/{kept.name}", "--diff")
        assert shown.code == 1
        assert f"changed  {changed}" in shown.out
        assert "+# one more line" in shown.out
        assert "privacy/" not in shown.out
        # What is not installed cannot be accepted: it would be accepted unseen, and never run.
        accepted = command("client", "review", home, f"refused/{kept.name}", "--accept")
        assert accepted.code == 2
        assert "install that code first" in accepted.err

    def test_code_that_was_sent_is_never_imported(
        self, deployed: Deployed, bundle_of: Pack, tmp_path: Path
    ) -> None:
        """In a process of its own: neither the server's modules run, nor the client's app."""
        trace = tmp_path / "trace"
        leaving = f"import pathlib; pathlib.Path({str(trace)!r}).write_text('ran')\n".encode()
        files = {
            name: leaving + data if name.endswith(("app.py", "__init__.py")) else data
            for name, data in {**installed_files(), "sitecustomize.py": b"", "app.py": b""}.items()
        }
        sent = tmp_path / "sent.fab"
        sent.write_bytes(bundle_of(files))
        code = (
            "import pathlib, sys\n"
            "from clients.deployment.bundle import CodeRefused\n"
            "from clients.deployment.executor import answer\n"
            "from clients.data.home import Home\n"
            "home, sent = map(pathlib.Path, sys.argv[1:])\n"
            "try:\n"
            "    answer(None, None, sent.read_bytes(), Home(folder=home))\n"
            "except CodeRefused as error:\n"
            "    never = {'clients.app', 'clients.data.datastore', 'flwr', 'torch'}\n"
            "    print(type(error).__name__, sorted(never & set(sys.modules)))\n"
        )
        home = deployed.homes["Group 0"]
        done = subprocess.run(
            [sys.executable, "-c", code, home, sent],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "CodeRefused []\n"
        assert not trace.exists()
        assert len(refused(deployed)) == 1

    def test_installed_code_that_nobody_has_reviewed_does_not_work(
        self, deployed: Deployed
    ) -> None:
        deployed.change("Group 0", accept__code="ab" * 32)
        assert setup(deployed) == (
            f"CodeRefused: the code installed here ({code_digest()[:16]}) is not the reviewed "
            "(abababababababab): nothing was run"
        )
        assert not refused(deployed)

    def test_a_bundle_that_is_the_reviewed_code_does_not_make_up_for_what_is_installed(
        self, deployed: Deployed, bundle_of: Pack
    ) -> None:
        """The server may send what was reviewed: what would run here is something else."""
        files = {**installed_files(), "clients/app.py": b"reviewed"}
        deployed.bundle = bundle_of(files)
        from clients.deployment.bundle import digest_of

        deployed.change("Group 0", accept__code=digest_of(files))
        reason = setup(deployed)
        assert isinstance(reason, str)
        assert reason.startswith("CodeRefused: the code installed here")

    @pytest.mark.parametrize("sent", [b"", b"no archive"])
    def test_no_bundle_at_all(self, deployed: Deployed, sent: bytes) -> None:
        deployed.bundle = sent
        words = "CodeRefused: the bundle cannot be read: nothing of it was run"
        assert setup(deployed) == words

    def test_a_server_cannot_fill_the_disk_with_bundles(
        self, deployed: Deployed, bundle_of: Pack
    ) -> None:
        home = Home(folder=deployed.homes["Group 0"])
        for number in range(30):
            with pytest.raises(CodeRefused):
                require_reviewed(bundle_of({"clients/app.py": str(number).encode()}), home)
        assert len(refused(deployed)) == 20

    def test_a_disk_that_is_full_refuses_all_the_same(
        self, deployed: Deployed, bundle_of: Pack
    ) -> None:
        home = deployed.homes["Group 0"]
        (home / "refused").write_text("no folder", encoding="utf-8")
        with pytest.raises(CodeRefused, match="nothing of it was run"):
            require_reviewed(bundle_of({}), Home(folder=home))


def test_a_policy_that_cannot_be_read_answers_nothing(deployed: Deployed) -> None:
    (deployed.homes["Group 0"] / "policy.toml").write_text("group = 3\n", encoding="utf-8")
    assert setup(deployed) == "GroupPolicyError: its text stays at the client"


def test_what_was_refused_is_logged_in_one_line(
    deployed: Deployed, caplog: pytest.LogCaptureFixture
) -> None:
    deployed.change("Group 0", accept__code="ab" * 32)
    with caplog.at_level(logging.INFO, "fedaccord.client"):
        setup(deployed)
    (record,) = caplog.records
    assert record.getMessage().startswith("query.setup refused: CodeRefused: the code installed")


class TestWatchdog:
    @pytest.fixture
    def ended(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Statuses with which the process would have ended; the real end is shown below."""
        statuses: list[int] = []
        monkeypatch.setattr(os, "_exit", statuses.append)
        return statuses

    def test_a_stage_that_hangs_ends_the_process(self, ended: list[int]) -> None:
        with Watchdog(0.05).watching("x"):
            time.sleep(0.3)
        assert ended == [HUNG]

    def test_a_stage_that_is_in_time_is_left_alone_also_afterwards(self, ended: list[int]) -> None:
        with Watchdog(0.2).watching("x"):
            pass
        time.sleep(0.4)
        assert not ended

    def test_an_error_passes_and_stops_the_clock(self, ended: list[int]) -> None:
        with pytest.raises(LookupError), Watchdog(0.2).watching("x"):
            raise LookupError
        time.sleep(0.4)
        assert not ended


def test_a_stage_that_hangs_ends_the_executor(deployed: Deployed, bundle: bytes) -> None:
    """Over the very method that carries out a task, with the seconds of the policy."""
    deployed.change("Group 0", machine__stage_seconds=0.5)
    code = (
        "import pathlib, sys, time\n"
        "from types import SimpleNamespace as Some\n"
        "from clients.deployment import executor\n"
        "from clients.data.home import Home\n"
        "message = Some(metadata=Some(message_type='query.setup'))\n"
        "task = Some(input=lambda: (message, None, b''))\n"
        "executor.answer = lambda *_: time.sleep(25)\n"
        "executor.Executor(Home(folder=pathlib.Path(sys.argv[1])), None)._carry_out(task)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, deployed.homes["Group 0"]],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == HUNG == 75, done.stderr
    assert done.stderr == b"query.setup has taken 0 s: the process ends\n"
