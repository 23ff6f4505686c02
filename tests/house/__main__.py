"""The house in figures: ``python -m tests.house`` counts a checkout of the project.

Room by room: sizes of modules and functions, circles of imports, ignores without a reason. Or the
way of a record through the code (``--way``).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.house.figures import MOST_ARGUMENTS, MOST_LINES, House, measure_house
from tests.house.way import Mode, Way, follow_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LISTS = {
    f"functions above {MOST_LINES} lines": "long",
    f"commands above {MOST_LINES} lines": "long_commands",
    f"functions of more than {MOST_ARGUMENTS} arguments": "many_arguments",
    "public without docstring or annotation": "bare",
    "ignores without a reason": "unexplained",
}


@app.command(epilog="Example: python -m tests.house --tree ../before --json")
def house(
    tree: Annotated[Path, typer.Option(help="The checkout to count.", show_default=False)] = Path(
        __file__
    ).parents[2],
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
    found = measure_house(tree) if way is None else follow_record(tree, way)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    elif isinstance(found, Way):
        for caller, callee in found.hops:
            typer.echo(f"{caller} -> {callee}")
        typer.echo(f"{len(found.hops)} hops, {len(found.files)} files, {found.returns} returns")
    else:
        _show(found)


def _show(house: House) -> None:
    table = Table(title="The house; lines of Python, and of functions with their docstrings")
    titles = ("lines", "others", "modules", "at one level", "functions", "median", "p90")
    columns = ("", *titles, f"> {MOST_LINES}", f"> {MOST_ARGUMENTS} given", "bare", "unexplained")
    for title in columns:
        table.add_column(title, justify="right" if title else "left")
    for name, room in house.rooms.items():
        lists = (room.long, room.many_arguments, room.bare, room.unexplained)
        table.add_row(
            name,
            *(f"{count:,}" for count in (room.lines, room.other_lines, room.modules)),
            f"{room.fullest_modules} in {room.fullest}",
            f"{room.functions:,}",
            f"{room.median_lines:g}",
            f"{room.p90_lines:.0f}",
            *(str(len(each)) for each in lists),
        )
    Console(width=140).print(table)
    listed = {
        title: [name for room in house.rooms.values() for name in getattr(room, attribute)]
        for title, attribute in _LISTS.items()
    }
    listed["ignores without a reason in tests"] = list(house.unexplained_in_tests)
    listed["circles"] = [" <-> ".join(circle) for circle in house.circles]
    listed["circles at load"] = [" <-> ".join(circle) for circle in house.circles_at_load]
    for title, names in listed.items():
        typer.echo("\n  ".join((f"{title}: {len(names)}", *names)))


if __name__ == "__main__":
    try:
        app()
    except ValueError as error:
        sys.exit(f"error: {error}")
