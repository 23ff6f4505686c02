"""The command ``fedaccord experiment policy``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from atomic import write_atomically
from experiments.report.wording import Json
from experiments.studies.console import sayer, show_study
from texts import shown

EXAMPLE = "Example: fedaccord experiment policy --out runs/policy --draws 5"


def policy(
    out: Annotated[Path, typer.Option(help="Folder for results, figures and the picture.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="The --out folder of a finished run, whose held-out groups are to be pleased. "
            "Without it a predictor is trained in OUT/model."
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="What to train on without --model; three groups that disagree are held out."
        ),
    ] = "sample",
    names: Annotated[
        str, typer.Option("--combinations", help="'mean', 'min', 'adaptive'.")
    ] = "mean,min,adaptive",
    draws: Annotated[
        int, typer.Option(help="Policies of each combination, with seeds from 0.")
    ] = 5,
    steps: Annotated[
        int | None, typer.Option(help="Steps of policy gradients, 100 by default.")
    ] = None,
    kl_weight: Annotated[
        float | None,
        typer.Option(help="Price of a nat away from the neutral policy, 0.2 by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do again what was done with other settings.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print policy.json instead of a table.")
    ] = False,
) -> None:
    """Align a tiny policy to groups that disagree: whom do mean, least and adaptive rewards serve?

    A trained predictor rewards a small language model for held-out groups. Each policy is judged by
    the predictor and by what the groups really answered. Stop it with Ctrl-C, and the same command
    goes on where it was. Takes some minutes.
    """
    from experiments.policy.causal import CausalModelConfig
    from experiments.policy.scene import train_model
    from experiments.policy.study import (
        STUDY_FILE,
        carry_out_draws,
        read_names,
        summarise,
    )
    from experiments.studies.engine import check_draws

    check_draws(draws)
    combinations = read_names(names)
    given: dict[str, Any] = {"steps": steps, "kl_weight": kl_weight}
    config = CausalModelConfig(**{k: v for k, v in given.items() if v is not None})
    say = sayer()

    def finished(rows: Sequence[Json]) -> None:

        write_atomically(out / STUDY_FILE, json.dumps(summarise(rows, config), indent=2) + "\n")

    stopped = False
    try:
        folder = model or train_model(out, data=data)
        carry_out_draws(
            out,
            model=folder,
            names=combinations,
            draws=draws,
            config=config,
            overwrite=overwrite,
            say=say,
            finished=finished,
        )
    except KeyboardInterrupt:
        stopped = True
    if (out / STUDY_FILE).exists():
        _publish(json.loads((out / STUDY_FILE).read_text(encoding="utf-8")), out, as_json=as_json)
    if stopped:
        say("stopped: what has finished is kept; the same command goes on with the rest")
        raise typer.Exit(130)


def _publish(study: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """Draw the picture, and print the figures."""
    from experiments.policy.plot import draw_policies

    picture = draw_policies(out, study)
    show_study(study, _table(study), [picture], as_json=as_json, sentences=_gain(study))


def _gain(study: dict[str, Any]) -> list[str]:
    gain = study["adaptive_against_mean"]
    if gain is None:
        return []
    better = sum(value > 0 for value in gain["worst_reward"])
    return [
        "The worst group's reward is higher under adaptive weights than under the mean in "
        f"{better} of {len(gain['draws'])} draws."
    ]


_COLUMNS = {
    "worst_reward": "reward,\nworst group",
    "mean_reward": "reward,\nmean",
    "worst_support": "support,\nworst group",
    "mean_support": "support,\nmean",
    "kl": "KL,\nnats",
}


def _table(study: dict[str, Any]) -> Table:
    """Means over draws with their spread; no wider than 80 columns."""
    table = Table(
        title="A policy aligned to " + ", ".join(map(shown, study["groups"])),
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    table.add_column("rewards\ncombined by")
    for name in _COLUMNS.values():
        table.add_column(name, justify="right")
    before = study["before"]
    cells = [f"{before[key]:.3f}" for key in _COLUMNS]
    table.add_row("(before)", *cells)
    for row in study["means"]:
        table.add_row(
            row["combination"], *(_cell(row[key], spread=key != "kl") for key in _COLUMNS)
        )
    return table


def _cell(figure: dict[str, float | None], *, spread: bool) -> str:
    mean, deviation = figure["mean"], figure["spread"]
    beside = "" if deviation is None or not spread else f" ± {deviation:.3f}"
    return f"{mean:.3f}{beside}"
