"""Control of a SuperLink on this machine, through Flower's own command line.

The interface behind it starts runs and admits nodes, and knows no passwords: it answers on
loopback only (see :mod:`server.deployment.superlink`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from flwr.common.constant import PUBLIC_KEY_ALREADY_IN_USE_MESSAGE

from atomic import write_atomically
from server.deployment.certificates import CA_CERTIFICATE
from server.deployment.home import CONNECTION, TLS_FOLDER, ServerHome
from strategies.wire.round_plan import Scalar

_SECONDS = 60.0
#: The bundle holds the rooms as they lie beside the project's file.
_APP = Path(__file__).parents[2]


class ControlError(RuntimeError):
    """The SuperLink is not running, or refused; the message is the start of its own."""


class Control:
    """Drives Flower's command line.

    Args:
        home: Folder of the server.
        environment: Beyond that of this process; names Flower's own folder.
    """

    def __init__(self, home: ServerHome, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = {**os.environ, **environment}
        connection = {
            "address": home.loopback,
            "root-certificates": str(home.file(TLS_FOLDER, CA_CERTIFICATE)),
        }
        config = Path(environment["FLWR_HOME"]) / "config.toml"
        superlink = {"default": CONNECTION, CONNECTION: connection}
        write_atomically(config, tomli_w.dumps({"superlink": superlink}))

    def register(self, public_key: str, name: str) -> int | None:
        """Let a node in that holds the private key to a line of OpenSSH.

        Returns:
            The server's number of the node; None where it is known already.
        """
        path = self._home.file(".node.pub")
        path.write_text(public_key + "\n", encoding="utf-8")
        try:
            return int(self._flwr("supernode", "register", str(path), CONNECTION)["node-id"])
        except ControlError as error:
            # Flower's command tells its refusals apart by their text alone.
            if PUBLIC_KEY_ALREADY_IN_USE_MESSAGE not in str(error):
                raise ControlError(f"{name}: {error}") from error
            return None
        finally:
            path.unlink()

    def nodes(self) -> dict[int, str]:
        """States of nodes, as ``online`` or ``offline``, by the server's number."""
        found = self._flwr("supernode", "list", CONNECTION).get("nodes", [])
        return {int(node["node-id"]): str(node["status"]) for node in found}

    def unregister(self, node_id: int) -> None:
        """Let a node in no longer."""
        self._flwr("supernode", "unregister", str(node_id), CONNECTION)

    def start(self, settings: Mapping[str, Scalar]) -> int:
        """Start a run; returns Flower's number of it.

        Args:
            settings: All of them, with dotted keys.
        """
        if not (_APP / "pyproject.toml").exists():
            raise ControlError(
                f"{_APP} has no pyproject.toml: install from a checkout, pip install -e ."
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.toml"
            path.write_text(tomli_w.dumps(dict(settings)), encoding="utf-8")
            app = staged_app(_APP, Path(folder) / "fedaccord")
            answer = self._flwr("run", str(app), CONNECTION, "--run-config", str(path))
        return int(answer["run-id"])

    def status(self, run: int) -> str:
        """State of a run, as ``pending``, ``running`` or ``finished:completed``."""
        runs = self._flwr("list", CONNECTION, "--run-id", str(run)).get("runs", [])
        return str(runs[0]["status"]) if runs else "unknown"

    def stop(self, run: int) -> None:
        """Stop a run."""
        self._flwr("stop", str(run), CONNECTION)

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("flwr")), *arguments, "--format", "json"]
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and no text of others
                command,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ControlError(f"flwr {arguments[0]} gave no answer in {_SECONDS:g} s") from error
        answer = _json(done.stdout)
        if done.returncode != 0 or answer.get("success") is False:
            text = str(answer.get("error-message") or done.stderr.strip() or done.stdout).split()
            raise ControlError(
                f"flwr {' '.join(arguments[:2])}: {' '.join(text)[:300] or 'failed'}; is "
                "fedaccord server start running?"
            )
        return answer


def staged_app(root: Path, target: Path) -> Path:
    """Copy what goes into a bundle into a folder of its own; returns that.

    Flower walks through the whole of a folder, an environment of thousands of files included,
    before it leaves out what no pattern names.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["flwr"]["app"]["fab-include"]
    target.mkdir()
    for name in sorted({"pyproject.toml"} | {pattern.split("/")[1] for pattern in patterns}):
        source = root / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, ignore=left_out)
        else:
            shutil.copy(source, target / name)
    return target


def _json(text: str) -> dict[str, Any]:
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
