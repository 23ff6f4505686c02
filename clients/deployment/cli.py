"""Commands of an organisation's engineer: ``fedaccord client``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from atomic import write_atomically
from clients.deployment.setup_cli import app as setup_app
from terminal import Terminal, echo
from texts import json_text, shown, visible

if TYPE_CHECKING:
    from privacy.audit.evidence import LedgerEvidence

app = typer.Typer(no_args_is_help=True)
client = typer.Typer(no_args_is_help=True, help="What an organisation's own client does and knows.")
client.add_typer(setup_app)
app.add_typer(client, name="client")


@client.command(epilog="Example: fedaccord client status runs/demo/private")
def status(
    ledgers: Annotated[
        list[Path],
        typer.Argument(help="Folder of a client or a run, ledgers, or a folder of them."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show what is left of every budget: as epsilon, and in rounds of the newest plan.

    Of answers that are counted once: whether they were, and how many rounds were trained on them
    since, at no further cost.

    Reads the ledger as it stands, also while a client is using it. Exit 1 if one is damaged.
    """
    from clients.data.home import POLICY_FILE

    homes = [path for path in ledgers if (path / POLICY_FILE).is_file()]
    found = _found([path for path in ledgers if path not in homes], homes)
    rows = [row for ledger in found for row in _rows(ledger)]
    if as_json:
        echo(json_text(rows, indent=2))
    else:
        if rows:
            _show(rows)
        for home in homes:
            if not _spent_in(home):
                echo(f"{shown(str(home))}: no private run yet; nothing is spent")
    damaged = [ledger for ledger in found if ledger.error is not None]
    for ledger in damaged:
        echo(f"{shown(str(ledger.file))}: {visible(str(ledger.error))}", err=True)
    if damaged:
        raise typer.Exit(1)


@client.command(
    epilog="Example: fedaccord client export-tally north --out north-profile.json, and then "
    "fedaccord predict --model published --context north-profile.json --questions asked.jsonl"
)
def export_tally(
    folder: Annotated[Path, typer.Argument(help="Folder of the client.", metavar="HOME")],
    out: Annotated[Path, typer.Option(help="File to write: ends in .json.")],
    wave: Annotated[
        str | None, typer.Option(help="Name of a wave of persons; the newest tally without it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Write a group's noised counts to a file that may be shown or published.

    They are private by themselves: whoever has them learns of a person no more than the epsilon
    that was spent when they were counted, whatever is computed of them.
    """
    from clients.sessions.exported_tally import exported

    if out.suffix.lower() != ".json":
        raise ValueError(f"--out {out}: a tally is one JSON object; end the name in .json")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out}: exists; choose another name or --overwrite")
    stored, content = exported(folder, wave=wave)
    write_atomically(out, content)
    asked = len(stored.tally.bounds.options)
    echo(
        f"wrote {shown(str(out))}: noised counts of {asked:,} questions, epsilon = "
        f"{stored.plan.epsilon:g} and delta = {stored.plan.delta:g} for every {stored.plan.unit}"
    )


def _found(places: Sequence[Path], homes: Sequence[Path]) -> list[LedgerEvidence]:
    """The ledgers at some places, and those of clients under the names of their rosters."""
    from privacy.audit.evidence import gather
    from privacy.file_names import ROSTER_FILE

    found = list(gather(places).ledgers) if places else []
    for home in filter(_spent_in, homes):
        found += gather([home], roster=home / ROSTER_FILE).ledgers
    return found


def _spent_in(home: Path) -> bool:
    """Whether a client has a ledger."""
    from privacy.file_names import LEDGERS_FOLDER

    return any((home / LEDGERS_FOLDER).rglob("*.jsonl"))


def _rows(ledger: LedgerEvidence) -> list[dict[str, Any]]:
    """The figures of every data set of a ledger, in the order of registration."""
    from privacy.ledger.filter import epsilon_spent

    state = ledger.state
    if state is None:
        return []
    rows = []
    for name, dataset in state.datasets.items():
        row: dict[str, Any] = {"group": ledger.name, "dataset": name, "units": dataset.units}
        row["unit"] = str(dataset.unit)
        budget = state.budgets.get(name)
        if budget is not None:
            runs = [run for run, plan in state.plans.items() if plan.dataset == name]
            left = state.remaining(name, runs[-1] if runs else None)
            spent = epsilon_spent(left.used, delta=budget.delta, order=budget.order)
            row |= {
                "budget_epsilon": budget.epsilon,
                "delta": budget.delta,
                "order": budget.order,
                "spent_epsilon": spent,
                "left_share": max(0.0, left.left / left.bound),
                "run": runs[-1] if runs else None,
                "rounds_left": left.rounds,
                "refused": sum(run == (runs or [""])[-1] for run, _, _ in state.refused),
            }
            if runs and state.plans[runs[-1]].plan.counts is not None:
                row |= {"rounds_left": None, "tally": _tally(ledger, runs[-1])}
        rows.append(row)
    return rows


def _tally(ledger: LedgerEvidence, name: str) -> dict[str, Any]:
    """Whether answers were counted, and how many rounds were trained on them."""
    from privacy.audit.tallies.history import TallyHistory

    history = TallyHistory.of(ledger.events)
    uses = sum(name in history.named(use.body["tally"]) for use in history.uses)
    return {"counted": name in history.released, "rounds": uses}


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        title="What is left of every budget", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("group", overflow="fold")
    table.add_column("data", no_wrap=True)
    for heading in ("units", "epsilon", "spent", "left", "rounds\nleft", "refused"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [shown(row["group"]), row["dataset"][:8], f"{row['units']:,}"]
        if "budget_epsilon" not in row:
            table.add_row(*cells, "no budget")
            continue
        rounds = "no plan" if row["rounds_left"] is None else f"{row['rounds_left']:,}"
        if "tally" in row:
            once = "counted once" if row["tally"]["counted"] else "not yet counted"
            rounds = f"{once}\n{row['tally']['rounds']:,} used"
        table.add_row(
            *cells,
            f"{row['budget_epsilon']:.4g}",
            f"{row['spent_epsilon']:.3f}",
            f"{row['left_share']:.0%}",
            rounds,
            f"{row['refused']}",
        )
    Terminal().print(table)
