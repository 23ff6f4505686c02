"""Studies of many runs: ``fedaccord experiment``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.compare.cli import EXAMPLE as COMPARE_EXAMPLE
from experiments.compare.cli import compare
from experiments.pairs.cli import pairs
from experiments.policy.cli import EXAMPLE as POLICY_EXAMPLE
from experiments.policy.cli import policy
from experiments.simulation.held_out_respondents import split_respondents
from experiments.studies.console import (
    ConfigOption,
    DataOption,
    OverwriteOption,
    SplitOption,
    carry_out,
    cell,
    show_study,
)
from experiments.studies.fairness_cli import fairness
from experiments.studies.run_cli import EXAMPLE as RUN_EXAMPLE
from experiments.studies.run_cli import run

if TYPE_CHECKING:
    from experiments.studies.epsilon_study import EpsilonRun

app = typer.Typer(no_args_is_help=True)
experiment = typer.Typer(no_args_is_help=True, help="Studies that take many runs, and their data.")
app.add_typer(experiment, name="experiment")

experiment.command(
    "split-respondents",
    epilog="Example: fedaccord experiment split-respondents --data polis.jsonl.gz "
    "--out runs/polis-data",
)(split_respondents)
experiment.command("compare", epilog=COMPARE_EXAMPLE)(compare)
experiment.command(
    "fairness",
    epilog="Example: fedaccord experiment fairness --data answers.jsonl.gz --split split.json "
    "--out runs/fairness --strengths 0,1,2 --modes none --draws 2",
)(fairness)
experiment.command(
    epilog="Example: fedaccord experiment pairs --data pairs.jsonl.gz --out runs/pairs"
)(pairs)
experiment.command("policy", epilog=POLICY_EXAMPLE)(policy)
experiment.command("run", epilog=RUN_EXAMPLE)(run)


@experiment.command(
    epilog="Example: fedaccord experiment epsilon --data answers.jsonl.gz --split split.json "
    "--out runs/epsilon --epsilons 1,4,none --draws 2"
)
def epsilon(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for runs, figures and pictures.")],
    split: SplitOption = None,
    epsilons: Annotated[
        str, typer.Option(help="Privacy losses; 'none' trains without privacy.")
    ] = "1,2,4,8,none",
    modes: Annotated[
        str, typer.Option(help="Who adds noise: 'distributed', 'local' or both.")
    ] = "distributed,local",
    draws: Annotated[
        int, typer.Option(help="Runs of each kind, with seeds from 0 and noise of their own.")
    ] = 3,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: key=value, as in privacy.unit=record."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print epsilon.json instead of a table.")
    ] = False,
) -> None:
    """Measure what privacy costs: alignment on groups never seen, against epsilon.

    Runs one simulation per mode, epsilon and draw, and draws a picture of them all. Finished runs
    are kept: stop it with Ctrl-C, and the same command goes on where it was.
    """
    from experiments.studies.epsilon_study import (
        plan_study,
        read_epsilons,
        read_modes,
        summarise_study,
        write_study,
    )
    from experiments.studies.plot_epsilon import draw_study

    runs = plan_study(
        data=data,
        split=split,
        out=out,
        epsilons=read_epsilons(epsilons),
        modes=read_modes(modes),
        draws=draws,
        config=config,
        assignments=settings or [],
    )

    def keep(results: Mapping[EpsilonRun, dict[str, Any]]) -> None:
        write_study(out, summarise_study(runs, results))

    def publish(results: Mapping[EpsilonRun, dict[str, Any]]) -> None:
        study = summarise_study(runs, results)
        show_study(study, _table(study), draw_study(out, study), as_json=as_json)

    carry_out(runs, overwrite=overwrite, keep=keep, publish=publish)


_COLUMNS = {
    "alignment": "alignment",
    "unseen_questions": "unseen\nquestions",
    "worst_group": "worst\ngroup",
    "log_loss": "log-loss",
    "noise_multiplier": "noise\nmultiplier",
}


def _table(study: dict[str, Any]) -> Table:
    """Means over draws, with the spread of some; no wider than 80 columns."""
    title = "Groups never seen in training: alignment (1 is perfect)"
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("mode", "epsilon", "draws"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    means = study["means"]
    shown = [key for key in _COLUMNS if any(row[key]["mean"] is not None for row in means)]
    for key in shown:
        table.add_column(_COLUMNS[key], justify="right")
    for row in means:
        loss = "none" if row["epsilon"] is None else f"{row['epsilon']:g}"
        cells = [cell(row[key], spread=key in ("alignment", "log_loss")) for key in shown]
        table.add_row(row["mode"], loss, str(row["draws"]), *cells)
    return table
