"""Runs of a study: planned, run, kept and averaged; one that has finished is never run again.

A study is a sequence of :class:`StudyRun`, each a simulation with settings and a folder of its own.
Stopped at any time, the same command goes on where it was; a folder that holds a run with other
settings, or on another split, is refused.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alignment.data.population import Population, load_population
from alignment.data.split import SPLIT_FILE, read_split
from atomic import write_atomically
from experiments.counting.choice import choose
from experiments.report.wording import Json, is_number, plural
from experiments.studies.parallel import Workers, first_line, run_side_by_side
from privacy.file_names import RESULT_FILE
from server.config import ConfigError, RunConfig
from server.settings import assemble
from strategies.wire.round_plan import flatten

MOST_DRAWS = 1000

RUNS_FOLDER = "runs"

#: Keys that lead to a figure in ``result.json``, outermost first.
KeyPath = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One simulation of a study.

    Attributes:
        kind: What it shares with the runs that differ by seed alone, as it is told to people:
            ``distributed, epsilon 4``. Runs of a kind take about equally long.
        seed: Number of the draw.
        config: Its settings, folder included.
    """

    kind: str
    seed: int
    config: RunConfig

    @property
    def out(self) -> Path:
        """The folder of the run."""
        return Path(self.config.out)

    def __str__(self) -> str:
        return f"{self.kind}, draw {self.seed + 1}"


Run = TypeVar("Run", bound=StudyRun)


def check_draws(draws: int) -> None:
    """Refuse a number of draws that no study can have."""
    if not 1 <= draws <= MOST_DRAWS:
        raise ConfigError(f"--draws {draws} must lie in [1, {MOST_DRAWS}]")


def settings_of(
    given: Mapping[str, object],
    *,
    config: Path | None,
    assignments: Sequence[str],
    options: str,
    defaults: Mapping[str, object] | None = None,
) -> RunConfig:
    """The settings of one run of a study.

    Args:
        given: What the study sets itself, by dotted key.
        config: TOML file with settings for every run.
        assignments: ``key=value`` for every run.
        options: The options of the command by which the study sets ``given``, for the error.
        defaults: Of the study, where neither file nor assignments say otherwise.

    Raises:
        ConfigError: A setting is wrong, or one that the study sets itself.
    """
    made = assemble(
        config=config, assignments=assignments, given=given, defaults=defaults, choose=choose
    )
    flat = made.flat()
    for key, value in given.items():
        if flat[key] != value:
            raise ConfigError(f"--set {key}={flat[key]}: the study sets it itself; use {options}")
    return made


def split_file(split: Path | None, out: Path) -> Path:
    """The split of all runs of a study: the one given, or where :func:`fix_split` keeps its own."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    return out / SPLIT_FILE if split is None else split


def fix_split(data: str, split: Path | None, out: Path, *, skip_invalid: bool) -> Population:
    """Load the data of a study; where no split is given, draw one and keep it for all runs alike.

    Raises:
        ValueError: Data or split cannot be used.
    """
    given = "" if split is None else str(split)
    population = load_population(data, split=given, seed=0, skip_invalid=skip_invalid)
    if split is None:
        path, text = out / SPLIT_FILE, population.split.to_json()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text, parents=True)
    return population


def finished_result(run: StudyRun) -> dict[str, Any] | None:
    """What a run left behind; None where it has not finished.

    Raises:
        ValueError: Its folder holds a run with other settings, of which the first that differs is
            named, or with another split.
    """
    path = run.out / RESULT_FILE
    if not path.exists():
        return None
    remedy = "choose another --out, or --overwrite to run it again"
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        then = flatten(result["config"])
        float(result["seconds"]["total"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is not the result of a run; {remedy}") from error
    now: dict[str, object] = dict(run.config.flat())
    for key in dict.fromkeys((*now, *then)):
        if key != "out" and then.get(key) != now.get(key):
            raise ConfigError(
                f"{run.out}: was run with {key} = {then.get(key)!r}, not {now.get(key)!r}; {remedy}"
            )
    # The split file may have changed under its name.
    used = run.out / SPLIT_FILE
    split = read_split(Path(run.config.split)).to_json()
    if used.exists() and used.read_text(encoding="utf-8") != split:
        raise ConfigError(f"{run.out}: was run with another split; {remedy}")
    return result


def execute(
    runs: Sequence[Run],
    *,
    overwrite: bool,
    say: Callable[[str], None],
    finished: Callable[[Run, dict[str, Any]], None],
    failed: Callable[[Run, str], None] | None = None,
    workers: Workers | None = None,
) -> None:
    """Run what has not been run, and hand over every result, old or new, as soon as it is there.

    Args:
        runs: All runs of the study, in the order in which they are to be run.
        overwrite: Replace runs with other settings; those with the same are kept in any case.
        say: Told which run of how many begins, and about how long the rest takes.
        finished: Called once per run, in the order in which they finish.
        failed: Called once per run that failed, with the first line of why; the others go on.
            Without it a failure ends the study.
        workers: Processes that run them; without any they are run here, one by one.

    Raises:
        ConfigError: A folder holds a run with other settings; nothing has been run or handed over
            then.
    """
    found = {each: _kept(each, overwrite=overwrite) for each in runs}
    waiting = [each for each in runs if found[each] is None]
    kept, seconds = len(runs) - len(waiting), _Seconds()

    def ends(run: Run, result: dict[str, Any]) -> None:
        seconds.add(run.kind, result["seconds"]["total"])
        finished(run, result)

    for each, result in found.items():
        if result is not None:
            ends(each, result)
    if kept:
        say(f"{kept} of {plural(len(runs), 'run')} had finished before")
    slots = (workers.count if workers else None) or 1
    numbers = {each: number for number, each in enumerate(waiting)}

    def begins(run: Run) -> None:
        rest = [other.kind for other in waiting[numbers[run] :]]
        left = seconds.text(rest, at_a_time=slots)
        say(f"run {kept + numbers[run] + 1} of {len(runs)}: {run}{left}")

    if workers is None:
        _one_by_one(waiting, begins=begins, finished=ends, failed=failed)
    elif waiting:
        run_side_by_side(waiting, workers, begins=begins, finished=ends, failed=failed)


def _kept(run: Run, *, overwrite: bool) -> dict[str, Any] | None:
    """The result of a run that need not be run; one with other settings only to be overwritten."""
    try:
        return finished_result(run)
    except ConfigError:
        if not overwrite:
            raise
        return None


def _one_by_one(
    runs: Sequence[Run],
    *,
    begins: Callable[[Run], None],
    finished: Callable[[Run, dict[str, Any]], None],
    failed: Callable[[Run, str], None] | None,
) -> None:
    if runs:
        from experiments.simulation.run import run
    for each in runs:
        begins(each)
        try:
            # Only unfinished or refused runs are here: whatever their folder holds may go.
            result = run(each.config, overwrite=True)
        except Exception as error:
            if failed is None:
                raise
            failed(each, first_line(error))
        else:
            finished(each, result)


class _Seconds:
    """How long runs took, and so how long others will."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        self._taken.setdefault(kind, []).append(seconds)

    def text(self, kinds: Sequence[str], *, at_a_time: int = 1) -> str:
        """About how long runs of these kinds will take; empty before the first has finished."""
        every = [each for taken in self._taken.values() for each in taken]
        if not every:
            return ""
        total = sum(statistics.mean(self._taken.get(kind, every)) for kind in kinds) / at_a_time
        hours, minutes = divmod(round(total / 60), 60)
        return f", about {hours} h {minutes:02} min left" if total >= 60 else ", a minute left"


def figures_of(result: Json, paths: Mapping[str, KeyPath]) -> dict[str, Any]:
    """Figures of a run by name; None where its result has none."""
    figures = {}
    for name, path in paths.items():
        value: Any = result
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        figures[name] = value
    return figures


def mean_rows(
    rows: Sequence[Json], *, by: Sequence[str], figures: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows put together over draws: mean and spread of every figure.

    Args:
        rows: One of each run.
        by: What tells rows apart that are not put together.
        figures: What is put together.

    Returns:
        One row for each condition, in the order of the first ones: ``by``, ``draws``, and of each
        figure ``mean`` and ``spread``, the sample standard deviation over draws; None of one draw.
    """
    conditions = dict.fromkeys(tuple(row[key] for key in by) for row in rows)
    means = []
    for condition in conditions:
        members = [row for row in rows if tuple(row[key] for key in by) == condition]
        mean: dict[str, Any] = {**dict(zip(by, condition, strict=True)), "draws": len(members)}
        for name in figures:
            values = [row[name] for row in members if is_number(row[name])]
            mean[name] = {
                "mean": statistics.fmean(values) if values else None,
                "spread": statistics.stdev(values) if values[1:] else None,
            }
        means.append(mean)
    return means
