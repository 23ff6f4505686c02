"""Keeps the programs of a deployment alive, with supervisord; used by both sides, of no room.

A program that ends is started anew, its output goes to a log that is rotated, and all end together
when supervisord is told to. systemd or a container runtime watches over supervisord.
"""

from __future__ import annotations

import configparser
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from atomic import write_atomically

LOGS_FOLDER = "logs"
FLOWER_FOLDER = "flower"
CONFIGURATION_FILE = "supervisord.conf"

_LOG_BYTES = 10 * 2**20
_LOG_FILES = 5

#: No call home, no installing of packages, and threads that soon sleep while they wait.
_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "20000",
}


def flower_home(folder: Path) -> Path:
    """Where Flower keeps what it needs of its own, made if it is not there."""
    home = folder.resolve() / FLOWER_FOLDER
    home.mkdir(exist_ok=True)
    return home


def environment(folder: Path) -> dict[str, str]:
    """What the programs of a folder have in their environment beyond that of their parent."""
    # Flower looks its own programs up by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**_ENVIRONMENT, "PATH": path, "FLWR_HOME": str(flower_home(folder))}


def write_configuration(folder: Path, programs: Mapping[str, Sequence[str]]) -> Path:
    """Write the configuration of supervisord; returns its path.

    Args:
        folder: Of the deployment; logs lie in it.
        programs: Command lines by name.
    """
    folder = folder.resolve()
    (folder / LOGS_FOLDER).mkdir(exist_ok=True)
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        # Said for a user who is root already: supervisord warns where nothing is said.
        **({"user": "root"} if os.getuid() == 0 else {}),
        "logfile": f"%(here)s/{LOGS_FOLDER}/supervisord.log",
        "pidfile": "%(here)s/supervisord.pid",
        "umask": "077",
    }
    for name, arguments in programs.items():
        config[f"program:{name}"] = {
            "command": _quoted(arguments),
            "autorestart": "true",
            "startsecs": "5",
            # As long as it takes: a server lets a node that vanished in again after a minute.
            "startretries": "1000000",
            "stopwaitsecs": "20",
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # Read as a variable in the second of two readings, so that none is left to read.
            "stdout_logfile": f"%%(here)s/{LOGS_FOLDER}/{name}.log",
            "stdout_logfile_maxbytes": str(_LOG_BYTES),
            "stdout_logfile_backups": str(_LOG_FILES),
        }
    path = folder / CONFIGURATION_FILE
    text = io.StringIO()
    config.write(text)
    write_atomically(path, text.getvalue())
    return path


def supervise(configuration: Path) -> NoReturn:
    """Become supervisord; the environment of its programs is handed down, as no file can quote all.

    Args:
        configuration: In the folder of the deployment.
    """
    os.execve(  # noqa: S606 - no shell is wanted
        sys.executable,
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
        {**os.environ, **environment(configuration.parent)},
    )


def _quoted(arguments: Sequence[str]) -> str:
    """A command line as supervisord splits it: like a shell's, without variables.

    Its files take ``#`` and ``;`` behind a space for comments, within quotes too, and ``%`` for the
    beginning of a variable.
    """
    quoted = shlex.join(arguments).replace("%", "%%")
    return re.sub(r"(?<=\s)([#;])", r"''\1", quoted)
