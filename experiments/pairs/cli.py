"""``fedaccord experiment pairs``: the study of chosen and rejected responses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.studies.console import ConfigOption, OverwriteOption, carry_out, sayer, show_study
from texts import shown

if TYPE_CHECKING:
    from experiments.pairs.study import PairsRun


def pairs(
    data: Annotated[
        str,
        typer.Option(
            help="Chosen and rejected responses: a file, a folder, a hub id or 'sample-pairs'."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for runs, figures and the picture.")],
    folds: Annotated[int, typer.Option(help="Parts that predict each other, cut by prompt.")] = 5,
    groups: Annotated[
        int,
        typer.Option(help="Simulated groups to deal prompts out to if the data have less than 3."),
    ] = 4,
    draws: Annotated[
        int, typer.Option(help="Runs of each kind, with seeds from 0 and the same folds.")
    ] = 1,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: key=value, as in privacy.unit=record."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print pairs.json instead of a table.")
    ] = False,
) -> None:
    """Measure how well chosen and rejected responses are told apart, on prompts never seen.

    Runs one simulation per fold, and a control without adapters, and holds both against what the
    length of responses and a frozen encoder tell. Finished runs are kept: stop it with Ctrl-C, and
    the same command goes on where it was.
    """
    # Not at the top: this module is imported by every command.
    from experiments.pairs.plot import draw_study
    from experiments.pairs.study import (
        baseline_predictions,
        plan_study,
        run_predictions,
        summarise_study,
        write_study,
    )

    study = plan_study(
        data=data,
        out=out,
        folds=folds,
        groups=groups,
        draws=draws,
        config=config,
        assignments=settings or [],
    )
    yardsticks = baseline_predictions(study, sayer())

    def summary(results: Mapping[PairsRun, dict[str, Any]]) -> dict[str, Any]:
        predictions = {**run_predictions(study, list(results)), **yardsticks}
        return summarise_study(study, predictions, len(results))

    def keep(results: Mapping[PairsRun, dict[str, Any]]) -> None:
        write_study(out, summary(results))

    def publish(results: Mapping[PairsRun, dict[str, Any]]) -> None:
        shown = summary(results)
        show_study(shown, _table(shown), [draw_study(out, shown)], as_json=as_json)

    carry_out(study.runs, overwrite=overwrite, keep=keep, publish=publish)


_COLUMNS = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "brier": "Brier",
    "calibration_error": "calibration\nerror",
    "calibration_error_by_chance": "by\nchance",
}


def _table(study: dict[str, Any]) -> Table:
    """Figures of every method; intervals of the first three stand below them."""
    title = (
        f"{study['targets']:,} pairs on {study['dialogues']:,} prompts, each predicted once, in "
        f"{study['folds']} folds by prompt ({study['level']:.0%} intervals)"
    )
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("method", ratio=1)
    for name in _COLUMNS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for row in study["methods"]:
        missing = "" if row["targets"] == study["targets"] else f" ({row['targets']:,} pairs)"
        table.add_row(f"{shown(row['name'])}{missing}", *(_cell(row[key]) for key in _COLUMNS))
    return table


def _cell(figure: dict[str, float] | float | None) -> str:
    if figure is None:
        return "\N{EN DASH}"
    if isinstance(figure, float):
        return f"{figure:.3f}"
    low, high = (f"{figure[end]:.3f}".removeprefix("0") for end in ("low", "high"))
    return f"{figure['value']:.3f}\n{low}\N{EN DASH}{high}"
