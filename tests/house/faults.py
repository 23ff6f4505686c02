"""Plant the fault of every claim of SECURITY.md's table, and see that its test fails.

``python -m tests.house.faults`` copies the checkout into temporary folders, runs each test as it
is, plants its fault and runs it again. It exits with 1 where a test was not green
before, or does not fail with the fault. ``--notes`` prints the list that stands below the table.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import typer

from tests.house.claims import CLAIMS, Claim, Fault

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "SECURITY.md"
_FAILED = 1
_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", "runs", "build", "*.egg-info", "__pycache__", ".hypothesis"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"),
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table.

    Attributes:
        row: Who; the text of the row's first cell.
        column: Head of the cell's column.
        notes: Numbers of its claims.
    """

    row: str
    column: str
    notes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the test of a claim ended with its fault planted.

    Attributes:
        claim: Of a cell.
        green: Whether the test passed without the fault.
        red: Whether the test failed with it, and did not merely fail to run.
        tail: The end of what pytest said last.
    """

    claim: Claim
    green: bool
    red: bool
    tail: str


def cells(text: str) -> list[Cell]:
    """The cells of the first table of a page, without those that say who."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = takewhile(lambda line: line.startswith("|"), lines[first:])
    head, _, *table = (re.split(r"\s*\|\s*", row.strip("| ")) for row in rows)
    return [
        Cell(
            row=row[0].replace("**", ""),
            column=column,
            notes=tuple(int(note) for note in re.findall(r"\[(\d+)\]", cell)),
        )
        for row in table
        for column, cell in zip(head[1:], row[1:], strict=True)
    ]


def notes(claims: Sequence[Claim] = CLAIMS) -> str:
    """The list of claims as it stands below the table."""
    lines = ["| note | claim | test | planted fault |", "|---|---|---|---|"]
    for claim in claims:
        test = f"`{claim.test}`" if claim.test else "none"
        fault = f"in `{claim.fault.file}`" if claim.fault else claim.why
        lines.append(f"| {claim.note} | {claim.says} | {test} | {fault} |")
    return "\n".join(lines) + "\n"


def test_exists(node: str, root: Path = ROOT) -> bool:
    """Whether ``path::name`` or ``path::Class::name`` is a test of a checkout."""
    path, *names = node.split("::")
    file = root / path
    if not (path.startswith("tests/") and file.is_file() and names):
        return False
    body: Sequence[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for name in names:
        found = [
            each
            for each in body
            if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == name
        ]
        if not found:
            return False
        body = found[0].body
    return names[-1].startswith("test_")


# It begins like a test, and is none.
test_exists.__test__ = False  # type: ignore[attr-defined]  # read by pytest


def planted(text: str, fault: Fault) -> str:
    """A file with its fault.

    Raises:
        ValueError: The old text does not stand there once, or nothing changes.
        SyntaxError: The new text is no Python.
    """
    if text.count(fault.old) != 1 or fault.old == fault.new:
        raise ValueError(
            f"{fault.file}: {fault.old.strip()!r} stands there {text.count(fault.old)} times, and "
            "once is needed; bring the fault up to the code"
        )
    changed = text.replace(fault.old, fault.new)
    ast.parse(changed)
    return changed


def run_test(tree: Path, test: str) -> tuple[int, str]:
    """Exit status and output of pytest over a test of a tree, and of no other checkout."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "-p", "no:cacheprovider", test]
    # Of a pytest around this one, options and workers are its own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {
        **kept,
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        # Bytecode of a file that was changed twice within a second would be taken for current.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def plant(tree: Path, claim: Claim) -> Outcome:
    """Run the test of a claim, plant its fault, run it again, and take the fault out again."""
    assert claim.fault is not None
    status, said = run_test(tree, claim.test)
    if status != 0:
        return Outcome(claim=claim, green=False, red=False, tail=said[-1500:])
    file = tree / claim.fault.file
    before = file.read_text(encoding="utf-8")
    file.write_text(planted(before, claim.fault), encoding="utf-8")
    try:
        status, said = run_test(tree, claim.test)
    finally:
        file.write_text(before, encoding="utf-8")
    red = status == _FAILED and f"FAILED {claim.test.split('::')[0]}" in said
    return Outcome(claim=claim, green=True, red=red, tail=said[-1500:])


def plant_all(claims: Sequence[Claim], *, workers: int = 2) -> Iterator[Outcome]:
    """Plant the faults of claims, each by itself, in so many copies of the checkout at once."""
    faulty = [claim for claim in claims if claim.fault is not None]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        trees = [Path(folder, str(number)) for number in range(workers)]
        for tree in trees:
            shutil.copytree(ROOT, tree, ignore=_NOT_COPIED)
        free = SimpleQueue[Path]()
        for tree in trees:
            free.put(tree)

        def work(claim: Claim) -> Outcome:
            tree = free.get()
            try:
                return plant(tree, claim)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, faulty)


@app.command(epilog="Example: python -m tests.house.faults 5 6")
def faults(
    only: Annotated[
        list[int] | None, typer.Argument(help="Notes of the table; all by default.")
    ] = None,
    print_notes: Annotated[
        bool, typer.Option("--notes", help="Print the list of SECURITY.md and plant nothing.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Faults planted at once.", min=1)] = 2,
) -> None:
    """Plant the faults of SECURITY.md's table; exit with 1 where a test does not fail."""
    if print_notes:
        typer.echo(notes(), nl=False)
        return
    where = dict[int, str]()
    for cell in cells(PAGE.read_text(encoding="utf-8")):
        for note in cell.notes:
            where[note] = f"{where.get(note, '')} / {cell.row}: {cell.column}".removeprefix(" / ")
    chosen = [claim for claim in CLAIMS if not only or claim.note in only]
    missed = 0
    for outcome in plant_all(chosen, workers=workers):
        claim = outcome.claim
        fault = claim.fault.file if claim.fault else ""
        word = "red" if outcome.red else "NOT RED" if outcome.green else "FAILS"
        typer.echo(f"{word:8}{claim.note:3}  {where.get(claim.note, '')}  {fault}  {claim.test}")
        if not outcome.red:
            typer.echo(outcome.tail)
            missed += 1
    raise typer.Exit(missed > 0)


if __name__ == "__main__":
    app()
