"""Commands of ``fedaccord experiment``; ``epsilon`` and ``fairness`` are names for two studies."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from alignment.config import MAX_FAIRNESS
from experiments.compare.cli import EXAMPLE as COMPARE_EXAMPLE
from experiments.compare.cli import compare
from experiments.pairs.cli import pairs
from experiments.policy.cli import EXAMPLE as POLICY_EXAMPLE
from experiments.policy.cli import policy
from experiments.simulation.held_out_respondents import split_respondents
from experiments.studies import SHIPPED
from experiments.studies.console import (
    ConfigOption,
    DataOption,
    OverwriteOption,
    SplitOption,
    WorkersOption,
    carry_out,
    show_study,
)
from terminal import say
from texts import shown

if TYPE_CHECKING:
    from experiments.studies.file import Study
    from experiments.studies.parallel import Workers
    from experiments.studies.plan import ConditionRun

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
    epilog="Example: fedaccord experiment pairs --data pairs.jsonl.gz --out runs/pairs"
)(pairs)
experiment.command("policy", epilog=POLICY_EXAMPLE)(policy)

OutOption = Annotated[Path, typer.Option(help="Folder for runs, figures, pictures and report.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting of all runs: key=value.")
]
DrawsOption = Annotated[
    int, typer.Option(help="Runs of each kind, with seeds from 0 and noise of their own.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print study.json instead of a table.")]

#: The options that name the values of what the two commands vary.
_VALUES = {"epsilon": "--epsilons", "fairness": "--strengths"}


@experiment.command(
    epilog=f"Studies to start from: {', '.join(SHIPPED)}. "
    "Example: fedaccord experiment run severity --out runs/severity --workers 2"
)
def run(
    study_file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY.toml",
            help="What is run: settings, values to vary, named cases. Or the bare name of a study "
            "that comes with fedaccord.",
        ),
    ],
    out: OutOption,
    settings: SetOption = None,
    workers: WorkersOption = None,
    ray_address: Annotated[
        str,
        typer.Option(
            help="Run on the Ray cluster at this address, as in 10.0.0.1:6379 or auto; its "
            "machines must see --out and the data under the same paths."
        ),
    ] = "",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study that a file describes: a grid of settings, in draws, with one report.

    The file has the keys title, data, split, draws and target, and the tables settings (of all
    runs), vary (lists of values: a full grid) and cases (named settings, crossed with the grid or
    alone). The bare name of a study that comes with fedaccord stands for its file.
    Data may be the built-in ones with parameters, as in data = "sample:groups=48,severity=2".
    Finished runs are kept: stop it with Ctrl-C, and the same command goes on where it was.
    """
    from experiments.studies.file import find_study, read_study
    from experiments.studies.parallel import read_workers

    pool = read_workers(workers, ray_address)
    study = read_study(find_study(study_file))
    _run_study(study, out, settings=settings, workers=pool, overwrite=overwrite, as_json=as_json)


@experiment.command(
    epilog="Example: fedaccord experiment epsilon --data answers.jsonl.gz --split split.json "
    "--out runs/epsilon --epsilons 1,4,none --draws 2"
)
def epsilon(
    data: DataOption,
    out: OutOption,
    split: SplitOption = None,
    epsilons: Annotated[
        str, typer.Option(help="Privacy losses; 'none' trains without privacy.")
    ] = "1,2,4,8,none",
    modes: Annotated[
        str, typer.Option(help="Who adds noise: 'distributed', 'local' or both.")
    ] = "distributed,local",
    draws: DrawsOption = 3,
    config: ConfigOption = None,
    settings: SetOption = None,
    workers: WorkersOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what privacy costs: alignment on groups never seen, against epsilon.

    The study `epsilon` of `experiment run`, on your own data: one simulation per mode, epsilon
    and draw. Finished runs are kept: stop it with Ctrl-C, and the same command goes on where it
    was.
    """
    from experiments.studies.parallel import read_workers
    from privacy.accounting.choices import MAX_EPSILON

    known = f"'none' or a number in (0, {MAX_EPSILON:g}], as in --epsilons 1,4,none"
    numbers, free = _read(
        "--epsilons", epsilons, known, words=("none",), within=lambda e: 0 < e <= MAX_EPSILON
    )
    _, noisy = _read("--modes", modes, "'distributed' or 'local'", words=("distributed", "local"))
    study = _shipped(
        "epsilon",
        data=data,
        split=split,
        draws=draws,
        vary={"privacy.epsilon": numbers},
        modes=[*(noisy if numbers else ()), *free],
    )
    _run_study(
        study,
        out,
        config=config,
        settings=settings,
        workers=read_workers(workers),
        overwrite=overwrite,
        as_json=as_json,
    )


@experiment.command(
    epilog="Example: fedaccord experiment fairness --data answers.jsonl.gz --split split.json "
    "--out runs/fairness --strengths 0,1,2 --modes none --draws 2"
)
def fairness(
    data: DataOption,
    out: OutOption,
    split: SplitOption = None,
    strengths: Annotated[
        str, typer.Option(help="Values of training.fairness; 0 counts all alike.")
    ] = "0,0.5,1,2",
    modes: Annotated[
        str, typer.Option(help="Some of 'none', 'distributed' and 'local'.")
    ] = "none,distributed",
    draws: DrawsOption = 3,
    config: ConfigOption = None,
    settings: SetOption = None,
    workers: WorkersOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what fairness costs: the worst group and the mean, against its strength.

    The study `fairness` of `experiment run`, on your own data: one simulation per mode, strength
    and draw. Finished runs are kept: stop it with Ctrl-C, and the same command goes on where it
    was.
    """
    from experiments.studies.parallel import read_workers

    known = f"a number in [0, {MAX_FAIRNESS:g}], as in --strengths 0,1,2"
    numbers, _ = _read("--strengths", strengths, known, within=lambda q: 0 <= q <= MAX_FAIRNESS)
    _, chosen = _read(
        "--modes", modes, "'none', 'distributed' or 'local'", words=("none", "distributed", "local")
    )
    study = _shipped(
        "fairness",
        data=data,
        split=split,
        draws=draws,
        vary={"training.fairness": numbers},
        modes=chosen,
    )
    _run_study(
        study,
        out,
        config=config,
        settings=settings,
        workers=read_workers(workers),
        overwrite=overwrite,
        as_json=as_json,
    )


@experiment.command(
    epilog="Example: fedaccord experiment tune runs/demo/private --out runs/tuned "
    "--vary training.dropout=0.1,0.3,0.5 --vary federation.warmup_rounds=20,40"
)
def tune(
    trained: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run that counted answers once.")
    ],
    out: OutOption,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="A setting and its values, key=value,value; may be repeated: a grid."),
    ] = None,
    draws: DrawsOption = 3,
    settings: SetOption = None,
    workers: WorkersOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose settings by leaving groups out of the noised counts of a private run.

    It costs no privacy: whatever is computed of noised counts is as private as they are. No record
    is opened. Finished runs are kept: stop it with Ctrl-C, and the same command goes on.
    """
    from experiments.counting.tuning import best_of, study_of
    from experiments.studies.parallel import read_workers
    from experiments.studies.summary import STUDY_FILE

    pool = read_workers(workers)
    study, base = study_of(trained, out, vary=vary or [], draws=draws)
    _run_study(
        study,
        out,
        config=base,
        settings=settings,
        workers=pool,
        overwrite=overwrite,
        as_json=as_json,
    )
    if not as_json:
        found = json.loads((out / STUDY_FILE).read_text(encoding="utf-8"))
        say(f"Best log-loss on groups left out: {best_of(found)}")


def _read(
    option: str,
    text: str,
    known: str,
    *,
    words: Sequence[str] = (),
    within: Callable[[float], bool] = lambda _: False,
) -> tuple[list[float], list[str]]:
    """Read ``1,2,none``: numbers, rising, and words, in their order; each once.

    Raises:
        ConfigError: Something is neither one of the words nor a number within bounds.
    """
    from server.config import ConfigError

    numbers: set[float] = set()
    chosen: dict[str, None] = {}
    for word in map(str.strip, text.split(",")):
        if word in words:
            chosen[word] = None
            continue
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not within(number):
            raise ConfigError(f"{option} {text!r}: {word!r} must be {known}")
        numbers.add(number)
    return sorted(numbers), list(chosen)


def _shipped(
    name: str,
    *,
    data: str,
    split: Path | None,
    draws: int,
    vary: Mapping[str, Sequence[float]],
    modes: Sequence[str],
) -> Study:
    """A study that comes with fedaccord, with options of a command in place of what it says.

    Args:
        name: Its bare name, and the command's.
        data: Of all runs.
        split: Split file; None draws one.
        draws: Runs of each condition.
        vary: Values of each varied key.
        modes: Of privacy, a case each.
    """
    from experiments.studies.engine import check_draws
    from experiments.studies.file import Case, read_study

    check_draws(draws)
    shipped = read_study(SHIPPED[name])
    names = {mode: "non-private" if mode == "none" else mode for mode in modes}
    return replace(
        shipped,
        source=f"fedaccord experiment {name}",
        remedy=f"use --data, --split, --out, {_VALUES[name]}, --modes or --draws",
        data=data,
        split="" if split is None else str(split),
        draws=draws,
        vary={key: tuple(values) for key, values in vary.items() if values},
        cases={
            title: shipped.cases.get(title, Case(settings={"privacy.mode": mode}))
            for mode, title in names.items()
        },
    )


def _run_study(
    study: Study,
    out: Path,
    *,
    config: Path | None = None,
    settings: Sequence[str] | None,
    workers: Workers | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Run a study and leave its figures, pictures and reports in a folder."""
    from experiments.studies.findings import sentences
    from experiments.studies.page import write_reports
    from experiments.studies.plan import fix_splits, plan_runs
    from experiments.studies.plots import draw_study
    from experiments.studies.summary import STUDY_FILE, summarise_study, write_study

    def planned() -> tuple[ConditionRun, ...]:
        return plan_runs(study, out, config=config, assignments=settings or [])

    fix_splits(study, planned(), out)
    # Anew: what is chosen for a run rests on its train groups, which its split names.
    runs = planned()

    def keep(results: Mapping[ConditionRun, dict[str, Any]]) -> None:
        write_study(out, summarise_study(study, runs, results))

    def publish(results: Mapping[ConditionRun, dict[str, Any]]) -> None:
        found = summarise_study(study, runs, results)
        pictures = draw_study(out, found)
        files = [*pictures, out / STUDY_FILE, *write_reports(out, found)]
        show_study(found, _table(found), files, as_json=as_json, sentences=sentences(found))

    carry_out(runs, overwrite=overwrite, keep=keep, publish=publish, go_on=True, workers=workers)


def _table(study: dict[str, Any]) -> Table:
    """Means over draws, with the spread of alignment."""
    from experiments.report.views import View
    from experiments.simulation.figures import in_view
    from experiments.studies.figures import FIGURES
    from experiments.studies.page import table

    title = "Groups never seen in training: alignment (1 is perfect)"
    drawn = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    # Where a study names no figures: the rest is in the report.
    shortest = {figure.column for figure in in_view(View.STUDY_TERMINAL)} | {"rounds_to_target"}
    usual = [name for name in FIGURES if name in shortest]
    heading, rows = table(study, only=study["figures"] or usual)
    names = len(study["names"]) + bool(study["cases"])
    for number, name in enumerate(heading):
        # Headings take as many lines as they have words, figures one.
        words = name.replace(" ", "\n")
        drawn.add_column(words, justify="left" if number < names else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(shown, row))
    return drawn
