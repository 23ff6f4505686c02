"""The command ``fedaccord experiment compare``: one table and two pictures from raw data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from atomic import write_atomically
from experiments.report.views import View
from experiments.simulation.figures import in_view
from experiments.studies.console import (
    ConfigOption,
    DataOption,
    OverwriteOption,
    SplitOption,
    carry_out,
    sayer,
    show_study,
)
from texts import shown, visible_lines

if TYPE_CHECKING:
    from experiments.compare.baselines.runs import BaselineRun
    from experiments.compare.comparison import Comparison, OwnRun

EXAMPLE = (
    "Example: fedaccord experiment compare --data answers.jsonl.gz --split split.json "
    "--out runs/compare --draws 1"
)
TABLE_FILE = "compare.md"


def compare(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for runs, figures and pictures.")],
    split: SplitOption = None,
    methods: Annotated[
        str, typer.Option(help="What to compare, as in 'train-mean,pluralllm,fedaccord'.")
    ] = "all",
    draws: Annotated[int, typer.Option(help="Runs of each method, with seeds from 0.")] = 3,
    gpo_rounds: Annotated[
        int, typer.Option(help="Rounds of federated GPO; in one place it takes as many steps.")
    ] = 100,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of FedAccord's own runs: key=value."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print compare.json instead of a table.")
    ] = False,
) -> None:
    """Compare FedAccord with other methods on groups never seen: one table, two pictures.

    Fits baselines, among them federated GPO as in PluralLLM, and runs FedAccord as it is, with
    its encoder frozen, and with differential privacy. What has finished is kept: stop it with
    Ctrl-C, and the same command goes on where it was.
    """
    from experiments.compare.comparison import plan_comparison, read_methods

    say = sayer()
    plan = plan_comparison(
        data=data,
        split=split,
        out=out,
        methods=read_methods(methods),
        draws=draws,
        gpo_rounds=gpo_rounds,
        config=config,
        assignments=settings or [],
        say=say,
    )
    _Work(plan, out, overwrite=overwrite, as_json=as_json).carry_out()


class _Work:
    """Fits, then simulations; figures are written whenever one has finished."""

    def __init__(self, plan: Comparison, out: Path, *, overwrite: bool, as_json: bool) -> None:
        self._plan = plan
        self._out = out
        self._overwrite = overwrite
        self._as_json = as_json
        self._fitted: list[dict[str, Any]] = []

    def carry_out(self) -> None:
        """Do everything, or what is possible until Ctrl-C."""
        from experiments.compare.baselines.runs import fit_baselines
        from experiments.studies.engine import finished_result

        plan, say = self._plan, sayer()
        if not self._overwrite:
            # Before hours of work: what is refused later is refused now.
            for run in plan.runs:
                finished_result(run)
        try:
            fit_baselines(
                plan.baselines,
                plan.population,
                overwrite=self._overwrite,
                say=say,
                finished=self._keep_fit,
            )
        except KeyboardInterrupt:
            if self._fitted:
                self._publish({})
            say(
                f"stopped: {len(self._fitted)} of {len(plan.baselines)} baselines have been fitted "
                "and are kept; the same command goes on with the others"
            )
            raise typer.Exit(130) from None
        if not plan.runs:
            self._publish({})
            return
        carry_out(plan.runs, overwrite=self._overwrite, keep=self._keep, publish=self._publish)

    def _study(self, results: Mapping[OwnRun, dict[str, Any]]) -> dict[str, Any]:
        from experiments.compare.comparison import own_row, summarise_comparison

        own = [own_row(run, result) for run, result in results.items()]
        return summarise_comparison(self._plan, [*self._fitted, *own])

    def _keep_fit(self, run: BaselineRun, result: Mapping[str, Any]) -> None:
        from experiments.compare.comparison import baseline_row

        self._fitted.append(baseline_row(run, result))
        self._keep({})

    def _keep(self, results: Mapping[OwnRun, dict[str, Any]]) -> None:
        from experiments.compare.comparison import write_comparison
        from experiments.compare.report import markdown

        study = self._study(results)
        write_comparison(self._out, study)
        write_atomically(self._out / TABLE_FILE, visible_lines(markdown(study)))

    def _publish(self, results: Mapping[OwnRun, dict[str, Any]]) -> None:
        """Draw the pictures, and print the figures."""
        from experiments.compare.plots import draw_comparison
        from experiments.compare.report import leads, reached, verdicts

        self._keep(results)
        study = self._study(results)
        pictures = draw_comparison(self._out, study)
        sentences = (*leads(study), *reached(study), *verdicts(study))
        written = (self._out / TABLE_FILE, *pictures)
        show_study(study, _table(study), written, as_json=self._as_json, sentences=sentences)


def _table(study: dict[str, Any]) -> Table:
    """The main figures, no wider than 80 columns; compare.md has all."""
    from experiments.compare.report import table

    title = "Groups never seen in training: alignment (1 is perfect)"
    drawn = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    heading, rows = table(study)
    drawn.add_column(heading[0])
    places = [0]
    for figure in in_view(View.COMPARE_TERMINAL):
        drawn.add_column(figure.shown[View.COMPARE_TERMINAL], justify="right")
        places.append(heading.index(figure.shown[View.COMPARE]))
    for row in rows:
        drawn.add_row(*(shown(row[place]) for place in places))
    return drawn
