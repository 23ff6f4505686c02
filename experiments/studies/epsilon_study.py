"""How much alignment a guarantee costs: one simulation per mode, epsilon and draw, and a summary.

Draws differ by seed. Noise cannot be seeded, so that private runs would differ without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.report.wording import Json
from experiments.studies import engine as study
from experiments.studies.engine import (
    RUNS_FOLDER,
    Place,
    StudyRun,
    check_draws,
    figures_of,
    fix_split,
    settings_of,
    split_file,
)
from privacy.accounting.choices import MAX_EPSILON
from server.config import ConfigError
from server.state.telemetry import ROUNDS_FILE

NO_PRIVACY = "none"
MODES = ("distributed", "local")
STUDY_FILE = "epsilon.json"
_OPTIONS = "--data, --split, --out, --epsilons, --modes or --draws"

#: Figures of a row, each with its place in ``result.json``; a row has None where there is none.
_FIGURES: Mapping[str, Place] = {
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
class EpsilonRun(StudyRun):
    """One simulation of the study.

    Attributes:
        mode: ``distributed``, ``local`` or ``none``.
        epsilon: None without privacy.
    """

    mode: str
    epsilon: float | None


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
) -> tuple[EpsilonRun, ...]:
    """Put together the settings of all runs; draw by draw, the least epsilon first.

    So a study cut short has measured every epsilon, and one that cannot be kept fails early.
    Without a split, one is drawn from the data and written into ``out``, for all draws alike.

    Raises:
        ValueError: Settings are wrong or change what the study itself varies, or data or split
            cannot be used.
    """
    check_draws(draws)
    places: list[tuple[str, float | None]]
    places = [(mode, each) for each in epsilons if each is not None for mode in modes]
    places += [(NO_PRIVACY, None)] if None in epsilons else []
    fixed = split_file(split, out)
    runs = []
    for seed in range(draws):
        for mode, epsilon in places:
            name = (
                f"{mode}-seed{seed}" if epsilon is None else f"{mode}-eps{epsilon:.12g}-seed{seed}"
            )
            given = {
                "data": data,
                "split": str(fixed),
                "out": str(out / RUNS_FOLDER / name),
                "seed": seed,
                "privacy.mode": mode,
                **({} if epsilon is None else {"privacy.epsilon": epsilon}),
            }
            made = settings_of(given, config=config, assignments=assignments, options=_OPTIONS)
            kind = describe(mode, epsilon)
            runs.append(EpsilonRun(kind=kind, mode=mode, epsilon=epsilon, seed=seed, config=made))
    fix_split(data, split, out, skip_invalid=runs[0].config.skip_invalid)
    return tuple(runs)


def row_of(run: EpsilonRun, result: Json) -> dict[str, Any]:
    """The figures of a run, with what its predictor scored before training."""
    row: dict[str, Any] = {"mode": run.mode, "epsilon": run.epsilon, "seed": run.seed}
    row |= figures_of(result, _FIGURES)
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
    """Mean and spread over draws, by mode and epsilon."""
    return study.mean_rows(rows, by=("mode", "epsilon"), figures=(*_FIGURES, *_UNTRAINED))


def summarise_study(
    runs: Sequence[EpsilonRun], results: Mapping[EpsilonRun, Json]
) -> dict[str, Any]:
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


def write_study(out: Path, content: Json) -> Path:
    """Write ``epsilon.json`` completely or not at all."""
    write_atomically(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return out / STUDY_FILE
