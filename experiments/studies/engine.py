"""What studies of many runs have in common: a run that has finished is never run again.

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
from experiments.report.wording import Json, is_number, plural
from privacy.file_names import RESULT_FILE
from server.config import ConfigError, RunConfig
from server.settings import assemble
from strategies.wire.round_plan import flatten

MOST_DRAWS = 1000

RUNS_FOLDER = "runs"

#: Where a figure of a run stands in its ``result.json``.
Place = tuple[str, ...]


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
    made = assemble(config=config, assignments=assignments, given=given, defaults=defaults)
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
    workers: int | None = 1,
    ray_address: str = "",
) -> None:
    """Run what has not been run, and hand over every result, old or new, as soon as it is there.

    Args:
        runs: All runs of the study, in the order in which they are to be run.
        overwrite: Replace runs with other settings; those with the same are kept in any case.
        say: Told which run of how many begins, and about how long the rest takes.
        finished: Called once per run, in the order in which they finish.
        failed: Called once per run that failed, with the first line of why; the others go on.
            Without it a failure ends the study.
        workers: So many runs at a time, each in a process of its own where it is more than one;
            None takes as many as a cluster has cores.
        ray_address: Of a Ray cluster on which to run; empty stays on this machine.

    Raises:
        ConfigError: A folder holds a run with other settings; nothing has been run or handed over
            then.
    """
    found, seconds = {}, _Seconds()
    for each in runs:
        try:
            found[each] = finished_result(each)
        except ConfigError:
            if not overwrite:
                raise
            found[each] = None
    waiting = [each for each in runs if found[each] is None]
    kept = len(runs) - len(waiting)
    for each, result in found.items():
        if result is not None:
            seconds.add(each.kind, result["seconds"]["total"])
            finished(each, result)
    if kept:
        say(f"{kept} of {plural(len(runs), 'run')} had finished before")
    begun = kept

    def begins(run: Run) -> None:
        nonlocal begun
        left = seconds.text([other.kind for other in waiting[begun - kept :]], at_a_time=slots)
        begun += 1
        say(f"run {begun} of {len(runs)}: {run}{left}")

    def ends(run: Run, result: dict[str, Any]) -> None:
        seconds.add(run.kind, result["seconds"]["total"])
        finished(run, result)

    slots = workers or 1
    if ray_address or slots > 1:
        _side_by_side(waiting, workers, ray_address, begins=begins, ends=ends, failed=failed)
    else:
        _one_by_one(waiting, begins=begins, ends=ends, failed=failed)


def _one_by_one(
    runs: Sequence[Run],
    *,
    begins: Callable[[Run], None],
    ends: Callable[[Run, dict[str, Any]], None],
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
            ends(each, result)


def _side_by_side(
    runs: Sequence[Run],
    workers: int | None,
    address: str,
    *,
    begins: Callable[[Run], None],
    ends: Callable[[Run, dict[str, Any]], None],
    failed: Callable[[Run, str], None] | None,
) -> None:
    def fail(run: Run, line: str) -> None:
        if failed is None:
            raise RuntimeError(f"{run}: {line}")
        failed(run, line)

    if runs:
        from experiments.studies.parallel import run_side_by_side

        run_side_by_side(
            runs, workers=workers, address=address, begins=begins, finished=ends, failed=fail
        )


def first_line(error: BaseException) -> str:
    """What is said of a failure: its class, unless it is about input, and its first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, ValueError) else f"{type(error).__name__}: {lines[0]}"


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


def figures_of(result: Json, places: Mapping[str, Place]) -> dict[str, Any]:
    """Figures of a run by name; None where its result has none."""
    figures = {}
    for name, path in places.items():
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
        One row for each place, in the order of the first ones: ``by``, ``draws``, and of each
        figure ``mean`` and ``spread``, the sample standard deviation over draws; None of one draw.
    """
    places = dict.fromkeys(tuple(row[key] for key in by) for row in rows)
    means = []
    for place in places:
        members = [row for row in rows if tuple(row[key] for key in by) == place]
        mean: dict[str, Any] = {**dict(zip(by, place, strict=True)), "draws": len(members)}
        for name in figures:
            values = [row[name] for row in members if is_number(row[name])]
            mean[name] = {
                "mean": statistics.fmean(values) if values else None,
                "spread": statistics.stdev(values) if values[1:] else None,
            }
        means.append(mean)
    return means
