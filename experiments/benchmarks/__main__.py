"""The command ``python -m experiments.benchmarks``: run benchmarks, print a table or JSON.

A benchmark reports and does not judge: a goal that is missed ends the command with 1 only under
``--check``.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from functools import partial, update_wrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from experiments.benchmarks.harness import (
    BENCHMARKS,
    NAMED_ONLY,
    Benchmark,
    Figure,
    find,
    find_picture,
    values_by_key,
)
from experiments.simulation.provenance import versions
from terminal import Terminal, echo
from texts import json_text, shown, visible

_VERSIONS = ("python", "torch", "numpy", "transformers", "peft", "flwr")

_HELP = f"""Measure speed and size as ratios inside one run, beside their goals.

NAMES are any of {", ".join(BENCHMARKS)}; without any, all but
{" and ".join(NAMED_ONLY)} run, in about twenty minutes, six of them for deployment.

Torch runs on one thread: two wait for each other wherever other work wants a core, and then
measure that work. On a quiet machine more --threads show what a run sees.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def machine() -> dict[str, Any]:
    """The cores that this process may use, and its libraries; the load hints at noise."""
    import torch

    affinity, installed = getattr(os, "sched_getaffinity", None), versions()
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed[name] for name in _VERSIONS},
    }


def _measure(name: str, benchmark: Benchmark) -> tuple[dict[str, Any], Sequence[Figure]]:
    echo(f"{name} ...", err=True)
    start = time.perf_counter()
    figures = benchmark()
    seconds = time.perf_counter() - start
    echo(f"{name} took {seconds:.0f} s", err=True)
    described = {
        "measures": " ".join((benchmark.__doc__ or "").split()),
        "seconds": seconds,
        **values_by_key(figures),
        "figures": [figure.as_dict() for figure in figures],
    }
    return described, figures


def _draw(results: dict[str, Sequence[Figure]], out: Path) -> None:
    """Draw what can be drawn, as OUT-NAME.png beside the JSON."""
    for name, figures in results.items():
        picture = find_picture(name)
        if picture is not None:
            path = out.with_name(f"{out.stem}-{name}.png")
            picture(figures, path)
            echo(f"{name}: drawn as {shown(str(path))}", err=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _show(results: dict[str, Sequence[Figure]], facts: dict[str, Any]) -> None:
    table = Table(title="Benchmarks: medians and the middle half of the samples")
    for title in ("", "median", "unit", "middle half", "goal"):
        table.add_column(title, justify="right" if title in ("median", "middle half") else "left")
    for name, figures in results.items():
        table.add_section()
        table.add_row(name, style="bold")
        for figure in figures:
            goal = figure.goal
            verdict = "" if goal is None else "holds" if figure.holds else "missed"
            table.add_row(
                figure.name,
                _number(figure.value),
                figure.unit,
                f"{_number(figure.lower)} to {_number(figure.upper)}",
                f"{goal.sense} {_number(goal.bound)}: {verdict}" if goal else "",
            )
    console = Terminal()
    console.print(table)
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    console.print(f"{facts['cores']} cores, {facts['threads']} threads, {versions}")


@app.command(help=_HELP, epilog="Example: python -m experiments.benchmarks prefix --json")
def benchmarks(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also write the JSON into a file, and pictures beside it.")
    ] = None,
    thread_count: Annotated[int, typer.Option("--threads", min=1, help="Threads of torch.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a goal is missed.")] = False,
    device: Annotated[str, typer.Option(help="Of gpu: cuda, mps, or cpu for a trial.")] = "",
    encoder: Annotated[str, typer.Option(help="Of gpu: a folder or a hub id.")] = "",
) -> None:
    """Run the named benchmarks, or all, and report their figures.

    Raises:
        ValueError: A name is unknown, ``out`` lies in no folder, the device is not there, or
            something is said of ``gpu`` where it does not run.
        typer.Exit: With 1, a goal is missed under ``--check``.
    """
    chosen = {name: find(name) for name in names or BENCHMARKS if names or name not in NAMED_ONLY}
    said = {name: value for name, value in (("device", device), ("encoder", encoder)) if value}
    if said and "gpu" not in chosen:
        raise ValueError(f"--{next(iter(said))} is for the benchmark gpu: name it")
    if said:
        chosen["gpu"] = update_wrapper(partial(chosen["gpu"], **said), chosen["gpu"])
    if out is not None and not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: its folder does not exist; make it first")
    import torch

    torch.set_num_threads(thread_count)
    facts = machine()
    results: dict[str, Sequence[Figure]] = {}
    report: dict[str, Any] = {"machine": facts, "benchmarks": {}}
    for name, benchmark in chosen.items():
        report["benchmarks"][name], results[name] = _measure(name, benchmark)
    text = json_text(report, indent=2)
    if out is not None:
        out.write_text(f"{text}\n", encoding="utf-8")
        _draw(results, out)
    if as_json:
        echo(text)
    else:
        _show(results, facts)
    if check and not all(figure.holds for each in results.values() for figure in each):
        raise typer.Exit(1)


def main() -> None:
    """Run the command: exit 0, 1 when ``--check`` finds a missed goal, 2 on bad input."""
    try:
        app()
    except ValueError as error:
        echo(f"error: {visible(str(error))}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
