"""``fedaccord experiment fairness``: a study of what fairness between groups costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.studies.console import (
    ConfigOption,
    DataOption,
    OverwriteOption,
    SplitOption,
    carry_out,
    cell,
    show_study,
)

if TYPE_CHECKING:
    from experiments.studies.fairness_study import FairnessRun


def fairness(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for runs, figures and the picture.")],
    split: SplitOption = None,
    strengths: Annotated[
        str, typer.Option(help="Values of training.fairness; 0 counts all alike.")
    ] = "0,0.5,1,2",
    modes: Annotated[
        str, typer.Option(help="Some of 'none', 'distributed' and 'local'.")
    ] = "none,distributed",
    draws: Annotated[
        int, typer.Option(help="Runs of each kind, with seeds from 0 and noise of their own.")
    ] = 3,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: key=value, as in privacy.epsilon=4."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print fairness.json instead of a table.")
    ] = False,
) -> None:
    """Measure what fairness costs: the worst group and the mean, against its strength.

    Runs one simulation per mode, strength and draw, and draws a picture of them all. Finished runs
    are kept: stop it with Ctrl-C, and the same command goes on where it was.
    """
    from experiments.studies.fairness_study import (
        plan_study,
        read_modes,
        read_strengths,
        summarise_study,
        write_study,
    )
    from experiments.studies.plot_fairness_study import draw_study

    runs = plan_study(
        data=data,
        split=split,
        out=out,
        strengths=read_strengths(strengths),
        modes=read_modes(modes),
        draws=draws,
        config=config,
        assignments=settings or [],
    )

    def keep(results: Mapping[FairnessRun, dict[str, Any]]) -> None:
        write_study(out, summarise_study(runs, results))

    def publish(results: Mapping[FairnessRun, dict[str, Any]]) -> None:
        study = summarise_study(runs, results)
        show_study(study, _table(study), draw_study(out, study), as_json=as_json)

    carry_out(runs, overwrite=overwrite, keep=keep, publish=publish)


_COLUMNS = {
    "alignment": "mean",
    "worst_group": "worst\ngroup",
    "spread": "spread",
    "cov": "cov",
    "gap": "gap",
    "log_loss": "log-loss",
}


def _table(study: dict[str, Any]) -> Table:
    """Means over draws; of mean and worst group with their spread. No wider than 80 columns."""
    title = "Groups never seen in training: alignment (1 is perfect)"
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("mode", "fair-\nness", "draws"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for column in _COLUMNS.values():
        table.add_column(column, justify="right")
    for row in study["means"]:
        cells = [cell(row[key], spread=key in ("alignment", "worst_group")) for key in _COLUMNS]
        table.add_row(row["mode"], f"{row['strength']:g}", str(row["draws"]), *cells)
    return table
