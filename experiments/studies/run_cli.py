"""``fedaccord experiment run``: a study that a file describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.studies.console import OverwriteOption, carry_out, show_study

if TYPE_CHECKING:
    from experiments.studies.plan import PlacedRun

EXAMPLE = "Example: fedaccord experiment run severity --out runs/severity --workers 2"


def run(
    study_file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY.toml",
            help="What is run: settings, values to vary, named cases. Or the bare name of a study "
            "that comes with fedaccord: dropouts, epsilon, groups, local-epochs, rank, severity.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for runs, figures, pictures and report.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of all runs: key=value."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time, each in a process and on a core of its own. One by one without "
            "it; on a cluster, as many as that has cores."
        ),
    ] = None,
    ray_address: Annotated[
        str,
        typer.Option(
            help="Run on the Ray cluster at this address, as in 10.0.0.1:6379 or auto; its "
            "machines must see --out and the data under the same paths."
        ),
    ] = "",
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print study.json instead of a table.")
    ] = False,
) -> None:
    """Run a study that a file describes: a grid of settings, in draws, with one report.

    The file has the keys title, data, split, draws and target, and the tables settings (of all
    runs), vary (lists of values: a full grid) and cases (named settings, crossed with the grid).
    Data may be the built-in ones with parameters, as in data = "sample:groups=48,severity=2".
    Finished runs are kept: stop it with Ctrl-C, and the same command goes on where it was.
    """
    from experiments.studies.file import find_study, read_study
    from experiments.studies.findings import sentences
    from experiments.studies.page import write_reports
    from experiments.studies.parallel import check_cluster
    from experiments.studies.plan import fix_splits, plan_runs
    from experiments.studies.plots import draw_study
    from experiments.studies.summary import STUDY_FILE, summarise_study, write_study

    check_cluster(workers=workers, address=ray_address)
    study = read_study(find_study(study_file))
    runs = plan_runs(study, out, assignments=settings or [])
    fix_splits(study, runs, out)

    def keep(results: Mapping[PlacedRun, dict[str, Any]]) -> None:
        write_study(out, summarise_study(study, runs, results))

    def publish(results: Mapping[PlacedRun, dict[str, Any]]) -> None:
        found = summarise_study(study, runs, results)
        pictures = draw_study(out, found)
        pages = write_reports(out, found)
        show_study(
            found,
            _table(found),
            [*pictures, out / STUDY_FILE, *pages],
            as_json=as_json,
            sentences=sentences(found),
        )

    carry_out(
        runs,
        overwrite=overwrite,
        keep=keep,
        publish=publish,
        go_on=True,
        workers=workers if workers or ray_address else 1,
        ray_address=ray_address,
    )


#: Of all figures, those of the terminal: the rest stands in the report.
_SHOWN = (
    *("alignment", "worst_group", "log_loss", "aborted_rounds"),
    *("bytes_up_per_client_per_round", "seconds", "rounds_to_target"),
)


def _table(study: dict[str, Any]) -> Table:
    """Means over draws, with the spread of alignment."""
    from experiments.studies.page import table

    title = "Groups never seen in training: alignment (1 is perfect)"
    shown = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    heading, rows = table(study, only=_SHOWN)
    names = len(study["names"]) + bool(study["cases"])
    for number, name in enumerate(heading):
        # Headings take as many lines as they have words, figures one.
        words = name.replace(" ", "\n")
        shown.add_column(words, justify="left" if number < names else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    return shown
