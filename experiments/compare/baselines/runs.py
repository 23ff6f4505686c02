"""Fits and measurements of baselines, each in a file of its own and made once.

Like the simulations of a study: the same command goes on where it was stopped, and a file that was
made with other settings is refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from alignment.data.population import Population
from alignment.evaluation.held_out import Shown, predict_held_out, summarise_predictions
from alignment.evaluation.metrics import Summary
from alignment.model.prediction import Predict
from atomic import write_atomically
from experiments.compare.baselines.methods import Baseline, training_part
from server.config import ConfigError
from terminal import Terminal

#: A method of several rounds is measured after every so many of them, and after the last.
EVALUATE_EVERY = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class BaselineRun:
    """One fit of a baseline.

    Attributes:
        method: Its short name.
        baseline: What is fitted.
        seed: Number of the draw.
        path: Of the file with its result.
    """

    method: str
    baseline: Baseline
    seed: int
    path: Path

    def __str__(self) -> str:
        return f"{self.baseline.title}, draw {self.seed + 1}"


def population_digest(population: Population) -> str:
    """SHA-256 over split and answers, 64 hexadecimal digits: other data give another."""
    content = [
        population.split.to_json(),
        [
            [asdict(question), target, count]
            for group in population.groups
            for answers in [population.answers[group]]
            for question, target, count in zip(
                answers.questions, answers.targets, answers.counts, strict=True
            )
        ],
    ]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()


def finished_baseline(run: BaselineRun, data: str) -> dict[str, Any] | None:
    """The result of an earlier fit; None where there is none.

    Args:
        run: The fit.
        data: The digest of what it is fitted to.

    Raises:
        ConfigError: It was fitted with other settings or to other data.
    """
    if not run.path.exists():
        return None
    remedy = "choose another --out, or --overwrite to fit it again"
    try:
        result: dict[str, Any] = json.loads(run.path.read_text(encoding="utf-8"))
        then = dict(result["settings"])
        fitted_to = result["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{run.path}: is not the result of a baseline; {remedy}") from error
    now = run.baseline.settings
    for key in dict.fromkeys((*now, *then)):
        if then.get(key) != now.get(key):
            raise ConfigError(
                f"{run.path}: was fitted with {key} = {then.get(key)!r}, not {now.get(key)!r}; "
                f"{remedy}"
            )
    if fitted_to != data:
        raise ConfigError(f"{run.path}: was fitted to other data or another split; {remedy}")
    return result


def _summary(predict: Predict, population: Population, shown: Shown = "own") -> Summary:
    return summarise_predictions(predict_held_out(predict, population, shown=shown))


def fit_baseline(
    run: BaselineRun,
    population: Population,
    *,
    data: str,
    watch: Callable[[int, int, float | None], None],
) -> dict[str, Any]:
    """Fit a baseline, measure it on the held-out groups, and keep the result in its file.

    Args:
        run: The fit.
        population: Held-out groups included; the baseline sees the others only.
        data: Its digest.
        watch: Told of rounds done, of how many, and of the alignment where it was measured.

    Returns:
        The contents of the file: ``own`` and ``swapped`` are summaries as in ``result.json``,
        ``curve`` holds the alignment after rounds, ``seconds`` are those of fitting alone.
    """
    curve: list[dict[str, float | int]] = []
    measuring = 0.0

    def seen(done: int, rounds: int, predict: Predict) -> None:
        nonlocal measuring
        alignment = None
        if done % EVALUATE_EVERY == 0 or done == rounds:
            begun = time.perf_counter()
            alignment = _summary(predict, population).mean
            measuring += time.perf_counter() - begun
            curve.append({"round": done, "alignment": alignment})
        watch(done, rounds, alignment)

    started = time.perf_counter()
    fitted = run.baseline.fit(training_part(population), run.seed, watch=seen)
    seconds = time.perf_counter() - started - measuring
    swapped = None
    if run.baseline.reads_context and len(population.split.draws) > 1:
        swapped = asdict(_summary(fitted.predict, population, shown="swapped"))
    result = {
        "method": run.method,
        "seed": run.seed,
        "own": asdict(_summary(fitted.predict, population)),
        "swapped": swapped,
        "curve": curve,
        "parameters": fitted.parameters,
        "rounds": fitted.rounds,
        "steps": fitted.steps,
        "bytes_up_per_client_per_round": fitted.bytes_up_per_client_per_round,
        "seconds": seconds,
        "data": data,
        "settings": run.baseline.settings,
    }
    write_atomically(run.path, json.dumps(result, indent=2) + "\n", parents=True)
    return result


def fit_baselines(
    runs: Sequence[BaselineRun],
    population: Population,
    *,
    overwrite: bool,
    say: Callable[[str], None],
    finished: Callable[[BaselineRun, Mapping[str, Any]], None],
) -> None:
    """Fit what has not been fitted, and hand over every result as soon as it is there.

    Args:
        runs: In the order in which they are to be fitted.
        population: What they are fitted to and measured on.
        overwrite: Fit again what was fitted otherwise; what is as it should be is kept in any case.
        say: Told which fit of how many begins.
        finished: Called once per run.

    Raises:
        ConfigError: A result was made otherwise; nothing has been fitted or handed over then.
    """
    data = population_digest(population)
    found: dict[BaselineRun, dict[str, Any]] = {}
    for run in runs:
        try:
            result = finished_baseline(run, data)
        except ConfigError:
            if not overwrite:
                raise
            result = None
        if result is not None:
            found[run] = result
    for run, result in found.items():
        finished(run, result)
    if found:
        say(f"{len(found)} of {len(runs)} baselines had been fitted before")
    for number, run in enumerate(runs, start=1):
        if run in found:
            continue
        say(f"baseline {number} of {len(runs)}: {run}")
        bar = _Bar()
        try:
            result = fit_baseline(run, population, data=data, watch=bar.watch)
        finally:
            # Stopping what was never started would leave an empty line.
            if bar.live.is_started:
                bar.stop()
        finished(run, result)


class _Bar(Progress):
    """A bar for the rounds of a baseline; without a terminal, a line for every measurement.

    It begins with the first round, so that nothing is shown of what has none.
    """

    def __init__(self) -> None:
        super().__init__(
            BarColumn(bar_width=24),
            TextColumn("round {task.completed:.0f}/{task.total:.0f}", markup=False),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            console=Terminal(stderr=True),
        )
        self._figures = ""

    def watch(self, done: int, rounds: int, alignment: float | None) -> None:
        """Show how far a fit is."""
        if not self.tasks:
            self.add_task("", total=rounds, figures="")
            self.start()
        if alignment is not None:
            self._figures = f"alignment {alignment:.4f}"
            if not self.console.is_terminal:
                self.console.print(f"round {done}/{rounds} {self._figures}")
        self.update(self.tasks[0].id, completed=done, figures=self._figures)
