"""The ``fedaccord`` command: mounts the commands of each room, nothing else."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Annotated

from supervision import QUIET_ENVIRONMENT

# Before any library reads them.
for _name, _value in QUIET_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import typer

from alignment.cli import app as alignment_app
from clients.deployment.cli import app as clients_app
from experiments.cli import app as experiments_app
from experiments.planning.cli import app as plan_app
from experiments.planning.strategies_cli import app as strategies_app
from experiments.publishing.cli import app as publish_app
from experiments.studies.cli import app as study_app
from privacy.cli import app as privacy_app
from server.deployment.cli import app as server_app
from terminal import echo, log_to_stderr
from texts import visible

app = typer.Typer(
    name="fedaccord",
    help="Train one preference predictor across organisations that may not share their data.",
    epilog="Start with: fedaccord demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _mounted in (
    experiments_app,
    plan_app,
    strategies_app,
    study_app,
    publish_app,
    alignment_app,
    clients_app,
    server_app,
    privacy_app,
):
    app.add_typer(_mounted)

_debug = False


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    global _debug
    _debug = debug
    log_to_stderr(level=logging.DEBUG if debug else logging.WARNING)
    for noisy in ("flwr", "matplotlib", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main() -> None:
    """Run the command: exit 0 when all is well, 1 when a run or a check failed, 2 on bad input."""
    try:
        app()
    except Exception as error:
        if _debug:
            echo(traceback.format_exc(), err=True)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        expected = isinstance(error, ValueError)
        kind = "" if expected else f"{type(error).__name__}: "
        hint = "" if _debug or expected else " (fedaccord --debug ... shows the traceback)"
        echo(f"error: {kind}{visible(lines[0])}{hint}", err=True)
        sys.exit(2 if expected else 1)


if __name__ == "__main__":
    main()
