"""The command ``fedaccord strategies``: a table of all, what goes with each, and checks of one."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from terminal import Terminal, echo
from texts import json_text, shown

if TYPE_CHECKING:
    from experiments.planning.strategy_table import Row

app = typer.Typer()


@app.command(epilog="Example: fedaccord strategies --check my_strategy.py:MyStrategy")
def strategies(
    check: Annotated[
        str,
        typer.Option(help="Run the conformance suite on one: a name, or path/to/file.py:Class."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the strategies and say which go with secure sums and differential privacy, and why.

    A strategy is chosen by --set strategy.name=NAME and set by --set strategy.SETTING=VALUE.
    """
    from experiments.planning.strategy_table import row, rows

    if check:
        _check(check, row(check), as_json=as_json)
        return
    known = rows()
    if as_json:
        echo(json_text([asdict(each) for each in known], indent=2))
        return
    _show(known, Terminal(soft_wrap=True))


def _show(rows: tuple[Row, ...], console: Terminal) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Strategies: + goes, - is refused")
    table.add_column("strategy")
    for mode, sums in itertools.product(("no DP", "distributed", "local"), ("secure", "open")):
        table.add_column(f"{mode}\n{sums}", justify="center")
    for each in rows:
        table.add_row(
            shown(each.name), *("-" if reason else "+" for reason in each.refusals.values())
        )
    console.print(table)
    for each in rows:
        settings = "  ".join(f"{key}={value}" for key, value in each.settings.items())
        console.print(f"{shown(each.name)}: {shown(each.about)}")
        console.print(f"    {settings}")
    from experiments.planning.strategy_table import by_rule

    rules = by_rule((each.name, reason) for each in rows for reason in each.refusals.values())
    console.print("\nRefused:")
    for rule, names in rules.items():
        console.print(f"- {', '.join(map(shown, names))}: it {rule}")


def _check(name: str, row: Row, *, as_json: bool) -> None:
    """Run every check under every variant; ends with 1 where one does not hold."""
    from strategies.checks.conformance import CHECKS, variants
    from strategies.registry import find

    strategy = find(name)
    results: list[dict[str, Any]] = []
    for settings in variants(strategy):
        for check in CHECKS:
            problem = ""
            try:
                check(partial(strategy, **settings))
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            words = check.__name__.replace("_", " ")
            results.append({"check": words, "settings": settings, "problem": problem})
    failed = [each for each in results if each["problem"]]
    if as_json:
        echo(json_text({**asdict(row), "checks": results}, indent=2))
    else:
        console = Terminal(soft_wrap=True)
        for each in results:
            given = "".join(f", {key}={value}" for key, value in each["settings"].items())
            mark = "FAIL" if each["problem"] else "ok  "
            said = f": {each['problem']}" if each["problem"] else ""
            console.print(f"{mark} {each['check']}{given}{said}")
        for title, reason in row.refusals.items():
            goes = f"refused: {reason}" if reason else "goes"
            console.print(f"     {title}: {goes}")
        console.print(f"{len(results) - len(failed)} of {len(results)} checks hold")
    if failed:
        raise typer.Exit(1)
