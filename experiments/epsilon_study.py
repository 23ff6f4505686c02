"""How much alignment a guarantee costs: one simulation per mode, epsilon and draw, and a summary.

Draws differ by seed. Noise cannot be seeded, so that private runs would differ without it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.population import load_population
from alignment.split import read_split
from experiments.wording import Json, is_number, plural
from privacy.terms import MAX_EPSILON
from server.config import ConfigError, RunConfig
from server.settings import assemble
from server.telemetry import ROUNDS_FILE
from strategies.round_plan import flatten

NO_PRIVACY = "none"
MODES = ("distributed", "local")
MOST_DRAWS = 1000

STUDY_FILE = "epsilon.json"
SPLIT_FILE = "split.json"
RUNS_FOLDER = "runs"
_RESULT_FILE = "result.json"

#: Figures of a row, each with its place in ``result.json``; a row has None where there is none.
_FIGURES: Mapping[str, tuple[str, ...]] = {
    "alignment": ("alignment", "unseen_groups", "mean"),
    "seen_questions": ("alignment", "unseen_groups", "seen_questions"),
    "unseen_questions": ("alignment", "unseen_groups", "unseen_questions"),
    "worst_group": ("alignment", "unseen_groups", "worst_group"),
    "without_context": ("alignment", "without_context", "mean"),
    "uniform": ("alignment", "uniform", "mean"),
    "question_mean": ("alignment", "question_mean", "mean"),
    "log_loss": ("alignment", "unseen_groups", "log_loss"),
    "without_context_log_loss": ("alignment", "without_context", "log_loss"),
    "uniform_log_loss": ("alignment", "uniform", "log_loss"),
    "question_mean_log_loss": ("alignment", "question_mean", "log_loss"),
    "context_swap_drop": ("context_swap_drop",),
    "noise_multiplier": ("privacy", "noise_multiplier"),
    "seconds": ("seconds", "total"),
}
#: The same of round 0 in ``rounds.jsonl``: the predictor as initialised, with context.
_UNTRAINED: Mapping[str, str] = {"untrained": "alignment", "untrained_log_loss": "log_loss"}

#: What a reader of the study must know and no single run can say.
CAVEATS = (
    "Each run keeps its own epsilon; runs on the same data add up, so a study is no release.",
    "Runs without privacy have the product's other defaults: a wider head, adapters and another "
    "server optimizer. They differ from private runs by more than noise.",
)


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One simulation of a study.

    Attributes:
        mode: ``distributed``, ``local`` or ``none``.
        epsilon: None without privacy.
        seed: Number of the draw.
        config: Its settings, folder included.
    """

    mode: str
    epsilon: float | None
    seed: int
    config: RunConfig

    @property
    def out(self) -> Path:
        """The folder of the run."""
        return Path(self.config.out)

    def __str__(self) -> str:
        return f"{describe(self.mode, self.epsilon)}, draw {self.seed + 1}"


def describe(mode: str, epsilon: float | None) -> str:
    """A place of the study in words: ``distributed, epsilon 4`` or ``no privacy``."""
    return "no privacy" if epsilon is None else f"{mode}, epsilon {epsilon:g}"


def read_epsilons(text: str) -> tuple[float | None, ...]:
    """Read ``1,2,none``: rising, each once, and None for ``none`` at the end.

    Raises:
        ConfigError: Something is neither ``none`` nor a number in (0, ``MAX_EPSILON``].
    """
    numbers: set[float] = set()
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word == NO_PRIVACY:
            continue
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not 0 < number <= MAX_EPSILON:
            raise ConfigError(
                f"--epsilons {text!r}: {word!r} must be 'none' or a number in (0, {MAX_EPSILON:g}],"
                " as in --epsilons 1,4,none"
            )
        numbers.add(number)
    return (*sorted(numbers), *((None,) if NO_PRIVACY in words else ()))


def read_modes(text: str) -> tuple[str, ...]:
    """Read ``distributed,local``: one of them or both, each once.

    Raises:
        ConfigError: It is anything else.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in MODES:
            raise ConfigError(f"--modes {text!r}: {word!r} must be 'distributed' or 'local'")
    return tuple(dict.fromkeys(words))


def plan_study(
    *,
    data: str,
    split: Path | None,
    out: Path,
    epsilons: Sequence[float | None],
    modes: Sequence[str],
    draws: int,
    config: Path | None = None,
    assignments: Sequence[str] = (),
) -> tuple[StudyRun, ...]:
    """Put together the settings of all runs; draw by draw, the least epsilon first.

    So a study cut short has measured every epsilon, and one that cannot be kept fails early.
    Without a split, one is drawn from the data and written into ``out``, for all draws alike.

    Raises:
        ValueError: Settings are wrong or change what the study itself varies, or data or split
            cannot be used.
    """
    if not 1 <= draws <= MOST_DRAWS:
        raise ConfigError(f"--draws {draws} must lie in [1, {MOST_DRAWS}]")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    places: list[tuple[str, float | None]]
    places = [(mode, each) for each in epsilons if each is not None for mode in modes]
    places += [(NO_PRIVACY, None)] if None in epsilons else []
    fixed = str(out / SPLIT_FILE if split is None else split)
    runs = []
    for seed in range(draws):
        for mode, epsilon in places:
            name = (
                f"{mode}-seed{seed}" if epsilon is None else f"{mode}-eps{epsilon:.12g}-seed{seed}"
            )
            given = {
                "data": data,
                "split": fixed,
                "out": str(out / RUNS_FOLDER / name),
                "seed": seed,
                "privacy.mode": mode,
                **({} if epsilon is None else {"privacy.epsilon": epsilon}),
            }
            made = assemble(config=config, assignments=assignments, given=given)
            _check_given(made, given)
            runs.append(StudyRun(mode=mode, epsilon=epsilon, seed=seed, config=made))
    first = runs[0].config
    population = load_population(
        data, split="" if split is None else fixed, seed=0, skip_invalid=first.skip_invalid
    )
    if split is None:
        _keep_split(population.split.to_json(), Path(fixed))
    return tuple(runs)


def _check_given(config: RunConfig, given: Mapping[str, object]) -> None:
    """Refuse a ``--set`` of what the study sets itself."""
    flat = config.flat()
    for key, value in given.items():
        if flat[key] != value:
            raise ConfigError(
                f"--set {key}={flat[key]}: the study sets it itself; use --data, --split, --out, "
                "--epsilons, --modes or --draws"
            )


def _keep_split(text: str, path: Path) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)


def finished_result(run: StudyRun) -> dict[str, Any] | None:
    """What a run left behind; None where it has not finished.

    Raises:
        ValueError: Its folder holds a run with other settings, of which the first that differs is
            named, or with another split.
    """
    path = run.out / _RESULT_FILE
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
    runs: Sequence[StudyRun],
    *,
    overwrite: bool,
    say: Callable[[str], None],
    finished: Callable[[StudyRun, dict[str, Any]], None],
) -> None:
    """Run what has not been run, and hand over every result, old or new, as soon as it is there.

    Args:
        runs: Of :func:`plan_study`.
        overwrite: Replace runs with other settings; those with the same are kept in any case.
        say: Told which run of how many begins, and about how long the rest takes.
        finished: Called once per run.

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
            seconds.add(each.mode, result["seconds"]["total"])
            finished(each, result)
    if kept:
        say(f"{kept} of {plural(len(runs), 'run')} had finished before")
    if waiting:
        from experiments.run import run
    for number, each in enumerate(waiting):
        left = seconds.text([other.mode for other in waiting[number:]])
        say(f"run {kept + number + 1} of {len(runs)}: {each}{left}")
        # Only unfinished or refused runs are here: whatever their folder holds may go.
        result = run(each.config, overwrite=True)
        seconds.add(each.mode, result["seconds"]["total"])
        finished(each, result)


class _Seconds:
    """How long runs took, and so how long others will."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    def add(self, mode: str, seconds: float) -> None:
        self._taken.setdefault(mode, []).append(seconds)

    def text(self, modes: Sequence[str]) -> str:
        """About how long runs of these modes will take; empty before the first has finished."""
        every = [each for taken in self._taken.values() for each in taken]
        if not every:
            return ""
        total = sum(statistics.mean(self._taken.get(mode, every)) for mode in modes)
        hours, minutes = divmod(round(total / 60), 60)
        return f", about {hours} h {minutes:02} min left" if total >= 60 else ", a minute left"


def row_of(run: StudyRun, result: Json) -> dict[str, Any]:
    """The figures of a run, with what its predictor scored before training."""
    row: dict[str, Any] = {"mode": run.mode, "epsilon": run.epsilon, "seed": run.seed}
    for name, path in _FIGURES.items():
        value: Any = result
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        row[name] = value
    first = _first_round(run.out)
    return row | {name: first.get(key) for name, key in _UNTRAINED.items()}


def _first_round(out: Path) -> Json:
    """The record of round 0, or nothing where it cannot be read."""
    try:
        first = json.loads((out / ROUNDS_FILE).read_text(encoding="utf-8").partition("\n")[0])
    except (OSError, ValueError):
        return {}
    return first if isinstance(first, Mapping) and first.get("round") == 0 else {}


def mean_rows(rows: Sequence[Json]) -> list[dict[str, Any]]:
    """Rows put together over draws: by mode and epsilon, mean and spread of every figure.

    ``spread`` is the sample standard deviation over draws; None of one draw.
    """
    places = dict.fromkeys((row["mode"], row["epsilon"]) for row in rows)
    means = []
    for mode, epsilon in places:
        members = [r for r in rows if (r["mode"], r["epsilon"]) == (mode, epsilon)]
        mean: dict[str, Any] = {"mode": mode, "epsilon": epsilon, "draws": len(members)}
        for name in (*_FIGURES, *_UNTRAINED):
            values = [row[name] for row in members if is_number(row[name])]
            mean[name] = {
                "mean": statistics.fmean(values) if values else None,
                "spread": statistics.stdev(values) if values[1:] else None,
            }
        means.append(mean)
    return means


def summarise_study(runs: Sequence[StudyRun], results: Mapping[StudyRun, Json]) -> dict[str, Any]:
    """The contents of ``epsilon.json``, in the order of modes, epsilons and draws."""
    order = {mode: number for number, mode in enumerate((*MODES, NO_PRIVACY))}
    known = [run for run in runs if run in results]
    known.sort(key=lambda run: (order[run.mode], run.epsilon or 0.0, run.seed))
    rows = [row_of(run, results[run]) for run in known]
    settings = runs[0].config
    data = results[known[0]].get("data", {}) if known else {}
    return {
        "runs": len(runs),
        "finished": len(rows),
        "data": settings.data,
        "split": settings.split,
        "unit": settings.privacy.unit,
        "delta": settings.privacy.delta,
        "train_groups": data.get("train_groups"),
        "held_out_groups": data.get("held_out_groups"),
        "caveats": list(CAVEATS),
        "rows": rows,
        "means": mean_rows(rows),
    }


def write_study(out: Path, study: Json) -> Path:
    """Write ``epsilon.json`` completely or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    _write(out / STUDY_FILE, json.dumps(study, indent=2) + "\n")
    return out / STUDY_FILE


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
