"""Keeps the programs of a deployment running, with supervisord; of no room, used by both sides.

A program that ends is restarted, its output goes to a rotated log, and all programs stop together
with supervisord. systemd or a container runtime watches over supervisord.
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

#: No call home, no fork warnings, and threads that soon sleep while they wait. Threads that spin
#: make a step several times slower as soon as another program runs.
QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "20000",
}

_ENVIRONMENT = {**QUIET_ENVIRONMENT, "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}


def flower_home(folder: Path) -> Path:
    """The folder for Flower's own files, made where it is missing."""
    home = folder.resolve() / FLOWER_FOLDER
    home.mkdir(exist_ok=True)
    return home


def environment(folder: Path) -> dict[str, str]:
    """Variables that the programs of a folder have beyond those of their parent."""
    # Flower looks its own programs up by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**_ENVIRONMENT, "PATH": path, "FLWR_HOME": str(flower_home(folder))}


def write_configuration(folder: Path, programs: Mapping[str, Sequence[str]]) -> Path:
    """Write the configuration of supervisord; returns its path.

    Args:
        folder: Folder of the deployment; its logs lie there.
        programs: Command lines by name.
    """
    folder = folder.resolve()
    (folder / LOGS_FOLDER).mkdir(exist_ok=True)
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        # supervisord warns a root user who does not name one.
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
            # Without end: a server admits a node that vanished again after a minute.
            "startretries": "1000000",
            "stopwaitsecs": "20",
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # supervisord expands this value twice.
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
    """Replace this process by supervisord.

    Its programs inherit their environment, since no configuration file can quote every value.

    Args:
        configuration: File in the folder of the deployment.
    """
    os.execve(  # noqa: S606 - no shell is wanted
        sys.executable,
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
        {**os.environ, **environment(configuration.parent)},
    )


def _quoted(arguments: Sequence[str]) -> str:
    """A command line as supervisord splits it: as a shell does, without variables.

    In its files ``#`` and ``;`` after a space begin a comment, even within quotes, and ``%`` begins
    a variable.
    """
    quoted = shlex.join(arguments).replace("%", "%%")
    return re.sub(r"(?<=\s)([#;])", r"''\1", quoted)
