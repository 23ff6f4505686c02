"""The command ``python -m experiments.benchmarks house``: figures of the code, room by room."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.house.figures import (
    MOST_ARGUMENTS,
    MOST_LINES,
    House,
    measure_house,
)
from experiments.benchmarks.house.way import Mode, follow_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_OWN = Path(__file__).parents[3]


@app.command(epilog="Example: python -m experiments.benchmarks house --tree ../before --json")
def house(
    tree: Annotated[Path, typer.Option(help="The checkout to count.", show_default=False)] = _OWN,
    way: Annotated[
        Mode | None,
        typer.Option(help="Follow a record through a tiny run instead; takes a minute."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count a checkout of the project, whatever its layout, from its syntax trees alone.

    Raises:
        ValueError: The folder is no checkout of the project.
        RuntimeError: The run that shows the way failed.
    """
    if way is not None:
        found = follow_record(tree, way)
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
            return
        for caller, callee in found.hops:
            typer.echo(f"{caller} -> {callee}")
        typer.echo(f"{len(found.hops)} hops, {len(found.files)} files, {found.returns} returns")
        return
    figures = measure_house(tree)
    if as_json:
        typer.echo(json.dumps(asdict(figures), indent=2))
    else:
        _show(figures)


def _show(house: House) -> None:
    table = Table(title="The house; lines of Python, and of functions with their docstrings")
    titles = ("lines", "others", "modules", "at one level", "functions", "median", "p90")
    columns = ("", *titles, f"> {MOST_LINES}", f"> {MOST_ARGUMENTS} given", "bare", "unexplained")
    for title in columns:
        table.add_column(title, justify="right" if title else "left")
    for name, room in house.rooms.items():
        counts = (room.lines, room.other_lines, room.modules)
        lists = (room.long, room.many_arguments, room.bare, room.unexplained)
        table.add_row(
            name,
            *(f"{count:,}" for count in counts),
            f"{room.fullest_modules} in {room.fullest}",
            f"{room.functions:,}",
            f"{room.median_lines:g}",
            f"{room.p90_lines:.0f}",
            *(str(len(each)) for each in lists),
        )
    Console(width=140).print(table)
    rooms = house.rooms.values()
    _list("functions above 60 lines", [name for room in rooms for name in room.long])
    _list("commands above 60 lines", [name for room in rooms for name in room.long_commands])
    _list("functions of more than 6 arguments", [n for room in rooms for n in room.many_arguments])
    _list("public without docstring or annotation", [name for room in rooms for name in room.bare])
    _list("circles", [" <-> ".join(circle) for circle in house.circles])
    _list("circles at load", [" <-> ".join(circle) for circle in house.circles_at_load])
    ignores = [line for room in rooms for line in room.unexplained]
    _list("ignores without a reason", ignores)
    _list("ignores without a reason in tests", house.unexplained_in_tests)


def _list(title: str, names: Sequence[str]) -> None:
    typer.echo(f"{title}: {len(names)}")
    for name in names:
        typer.echo(f"  {name}")
