"""Commands of the model's user: ``fedaccord predict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(no_args_is_help=True)

_BAR = 20


@app.command(
    epilog="Example: fedaccord predict --model runs/demo --context ours.jsonl "
    "--questions asked.jsonl"
)
def predict(
    model: Annotated[Path, typer.Option(help="The --out folder of a finished run.")],
    questions: Annotated[
        Path, typer.Option(help="Rows with question and options: JSON Lines, CSV or Parquet.")
    ],
    context: Annotated[
        Path | None, typer.Option(help="Answers of the group, in any format of records.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Which group of the context file; needed if it has several.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Predict how a group would answer questions, from a few of its answers.

    The answers stay in this process: nothing is trained on them and nothing is sent.
    """
    from alignment.adapter import load_predictor
    from alignment.answers import tally
    from alignment.loading import load_questions, load_records

    if group is not None and context is None:
        raise ValueError(f"--group {group!r} names a group of --context, which is not given")
    asked = load_questions(questions)
    answers = None
    if context is not None:
        groups = tally(load_records(context).records)
        if group is None and len(groups) > 1:
            names = ", ".join(list(groups)[:8])
            raise ValueError(f"{context}: {len(groups)} groups; choose one by --group: {names}")
        if group is not None and group not in groups:
            raise ValueError(f"--group {group!r} is not in {context}: {', '.join(groups)}")
        answers = groups[group] if group is not None else next(iter(groups.values()))
    predictor, reading = load_predictor(model)
    predicted = predictor.predict(asked, answers, reading)
    console = Console()
    for question, distribution in zip(asked, predicted, strict=True):
        if as_json:
            row = {"question": question.text, "options": question.options}
            typer.echo(json.dumps({**row, "distribution": distribution}, ensure_ascii=False))
            continue
        # Text, not markup: a question may hold square brackets.
        title = Text(question.text)
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for option, share in zip(question.options, distribution, strict=True):
            table.add_row(f"{share:6.1%}", "█" * round(_BAR * share), Text(option))
        console.print(table)
        console.print()
