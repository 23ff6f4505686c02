"""The command ``fedaccord publish``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from terminal import echo
from texts import json_text, shown

app = typer.Typer(no_args_is_help=True)


@app.command(
    epilog="Example: fedaccord publish --model runs/demo --out published --license apache-2.0"
)
def publish(
    model: Annotated[Path, typer.Option(help="The --out folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    license_: Annotated[
        str | None,
        typer.Option("--license", help="SPDX identifier, as in apache-2.0; left open without it."),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            help="Hub id of the base encoder, needed where the run read it from a folder."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the model card.")] = None,
    ledgers: Annotated[
        Path | None, typer.Option(help="Folder of ledgers, where the run kept them elsewhere.")
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(help="Checkout that a private run has used, where it is not this code."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a publication in --out.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the names of the files as JSON.")
    ] = False,
) -> None:
    """Write a folder to hand on: adapter, head, model card, and the privacy card of a private run.

    It holds no records, predictions or ledgers, and names no folder of this machine. A private run
    is published only if its ledgers verify.
    """
    from experiments.publishing.publish import Publication
    from experiments.publishing.publish import publish as write

    publication = Publication(
        model=model,
        out=out,
        license=license_,
        base_model=base_model,
        title=title,
        ledgers=ledgers,
        code=code,
    )
    files = write(publication, overwrite=overwrite)
    if as_json:
        echo(json_text({"out": str(out), "files": files}))
        return
    for file in files:
        echo(f"wrote {shown(str(out / file))}")
