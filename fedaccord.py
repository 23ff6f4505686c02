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

import click
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
from texts import shown, visible

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
        # Otherwise what was typed wrong would be printed as it was typed.
        code = app(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = where.command_path if where is not None else "fedaccord"
        echo(f"error: {visible(error.format_message())} ({shown(path)} --help)", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        echo("error: stopped before an answer", err=True)
        sys.exit(1)
    except Exception as error:
        if _debug:
            echo(traceback.format_exc(), err=True)
        lines = str(error).strip().split("\n") if str(error).strip() else [type(error).__name__]
        expected = isinstance(error, ValueError)
        kind = "" if expected else f"{type(error).__name__}: "
        hint = "" if _debug or expected else " (fedaccord --debug ... shows the traceback)"
        echo(f"error: {kind}{visible(lines[0])}{hint}", err=True)
        sys.exit(2 if expected else 1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
