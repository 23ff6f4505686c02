"""Progress, Ctrl-C and figures on a terminal, alike for the commands of all studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from terminal import Terminal, echo
from texts import json_text, shown, visible

if TYPE_CHECKING:
    from experiments.studies.engine import StudyRun
    from experiments.studies.parallel import Workers

    Run = TypeVar("Run", bound=StudyRun)


_KINDS = {".png": "Picture", ".html": "Report", ".json": "Figures"}

DataOption = Annotated[
    str,
    typer.Option(
        help="A file, a folder, a hub id, or built-in data: 'sample' or 'sample-pairs', also as "
        "in sample:groups=48,severity=2."
    ),
]
SplitOption = Annotated[
    Path | None,
    typer.Option(help="Which groups train and which are held out; drawn once without it."),
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with settings.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Runs at a time, each in a process and on a core of its own. One by one without it; "
        "on a cluster, as many as that has cores."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Run again what was run with other settings.")
]


def carry_out(
    runs: Sequence[Run],
    *,
    overwrite: bool,
    keep: Callable[[Mapping[Run, dict[str, Any]]], None],
    publish: Callable[[Mapping[Run, dict[str, Any]]], None],
    go_on: bool = False,
    workers: Workers | None = None,
) -> None:
    """Run a study to its end, or until Ctrl-C: what has finished is kept and shown.

    Args:
        runs: Of the study.
        overwrite: Run again what was run with other settings.
        keep: Told after every run what has finished.
        publish: Told once, at the end.
        go_on: Name a run that fails, and go on with the others; the command fails in the end.
        workers: Processes that run them; without any they are run here, one by one.
    """
    from experiments.studies.engine import execute

    say, stopped = sayer(), False
    results: dict[Run, dict[str, Any]] = {}
    failures: list[Run] = []

    def finished(run: Run, result: dict[str, Any]) -> None:
        results[run] = result
        keep(results)

    def failed(run: Run, line: str) -> None:
        failures.append(run)
        say(f"{run}: failed, {visible(line)}")

    try:
        execute(
            runs,
            overwrite=overwrite,
            say=say,
            finished=finished,
            failed=failed if go_on else None,
            workers=workers,
        )
    except KeyboardInterrupt:
        stopped = True
    if results:
        publish(results)
    _end(say, len(runs), finished=len(results), failures=failures, stopped=stopped)


def _end(
    say: Callable[[str], None],
    count: int,
    *,
    finished: int,
    failures: Sequence[Run],
    stopped: bool,
) -> None:
    """Say how to go on with what is missing, and fail."""
    if stopped:
        say(
            f"stopped: {finished} of {count} runs have finished and are kept; the same command "
            "goes on with the others"
        )
        raise typer.Exit(130)
    if failures:
        say(
            f"{len(failures)} of {count} runs failed, {failures[0]} for one; the others are "
            "kept, and the same command tries those again"
        )
        raise typer.Exit(1)


def sayer() -> Callable[[str], None]:
    """Tells people how a study goes on, a line at a time, beside what a program may read."""
    console = Terminal(stderr=True, soft_wrap=True)

    def say(text: str) -> None:
        console.print(visible(text))

    return say


def show_study(
    study: Mapping[str, Any],
    table: Table,
    files: Iterable[Path],
    *,
    as_json: bool,
    sentences: Iterable[str] = (),
) -> None:
    """Print a study: as JSON, or its table, what is to be said of it, and where the rest lies.

    Args:
        study: With ``caveats``.
        table: Its main figures.
        files: Pictures and tables that were written.
        as_json: Print the whole study instead.
        sentences: What it found, before the caveats.
    """
    if as_json:
        echo(json_text(study, indent=2))
        return
    console = Terminal()
    console.print(table)
    for sentence in (*sentences, *study["caveats"]):
        console.print(visible(sentence))
    for path in files:
        kind = _KINDS.get(path.suffix, "Table")
        console.print(f"{kind}: {shown(str(path))}", soft_wrap=True)
