"""What fairness costs: one simulation per mode, strength and draw, and a summary.

The strength is ``training.fairness``. Without privacy it weighs groups, with it units of privacy:
two things under one name, which is why both are measured.
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
from experiments.studies.engine import (
    RUNS_FOLDER,
    Place,
    StudyRun,
    check_draws,
    figures_of,
    fix_split,
    mean_rows,
    settings_of,
    split_file,
)
from server.config import ConfigError

MODES = ("none", "distributed", "local")
STUDY_FILE = "fairness.json"
_OPTIONS = "--data, --split, --out, --strengths, --modes or --draws"
#: Of ``training.fairness``, which has the same bound.
_MOST = 10.0

_UNSEEN, _TRAIN = ("fairness", "unseen_groups"), ("fairness", "train_groups")
#: Figures of a row, each with its place in ``result.json``; a row has None where there is none.
FIGURES: Mapping[str, Place] = {
    "alignment": ("alignment", "unseen_groups", "mean"),
    "log_loss": ("alignment", "unseen_groups", "log_loss"),
    "worst_group": (*_UNSEEN, "worst_group", "value"),
    "lowest_tenth": (*_UNSEEN, "lowest_tenth", "value"),
    "best_group": (*_UNSEEN, "best_group", "value"),
    "spread": (*_UNSEEN, "spread", "value"),
    "cov": (*_UNSEEN, "cov", "value"),
    "jain_index": (*_UNSEEN, "jain_index", "value"),
    "gap": ("fairness", "gap", "value"),
    "train_alignment": ("alignment", "train_groups", "mean"),
    "train_worst_group": (*_TRAIN, "worst_group", "value"),
    "train_spread": (*_TRAIN, "spread", "value"),
    "train_cov": (*_TRAIN, "cov", "value"),
    "seconds": ("seconds", "total"),
}

#: What a reader of the study must know and no single run can say.
CAVEATS = (
    "Without privacy groups are weighed, with it units of privacy: people, or single records.",
    "Choosing a strength by these figures is choosing by the held-out groups: hold out others to "
    "say how well the choice does.",
)


@dataclass(frozen=True, kw_only=True)
class FairnessRun(StudyRun):
    """One simulation of the study.

    Attributes:
        mode: ``none``, ``distributed`` or ``local``.
        strength: ``training.fairness``.
    """

    mode: str
    strength: float


def describe(mode: str, strength: float) -> str:
    """A place of the study in words: ``distributed, fairness 0.5``."""
    return f"{'no privacy' if mode == 'none' else mode}, fairness {strength:g}"


def read_strengths(text: str) -> tuple[float, ...]:
    """Read ``0,0.5,1``: rising, each once.

    Raises:
        ConfigError: Something is no number in [0, 10].
    """
    numbers = set()
    for word in text.split(","):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not 0 <= number <= _MOST:
            raise ConfigError(
                f"--strengths {text!r}: {word.strip()!r} must be a number in [0, {_MOST:g}], as in "
                "--strengths 0,1,2"
            )
        numbers.add(number)
    return tuple(sorted(numbers))


def read_modes(text: str) -> tuple[str, ...]:
    """Read ``none,distributed``: some of the modes, each once.

    Raises:
        ConfigError: It is anything else.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in MODES:
            raise ConfigError(
                f"--modes {text!r}: {word!r} must be 'none', 'distributed' or 'local'"
            )
    return tuple(dict.fromkeys(words))


def plan_study(
    *,
    data: str,
    split: Path | None,
    out: Path,
    strengths: Sequence[float],
    modes: Sequence[str],
    draws: int,
    config: Path | None = None,
    assignments: Sequence[str] = (),
) -> tuple[FairnessRun, ...]:
    """Put together the settings of all runs; draw by draw, so that one cut short has every place.

    Without a split, one is drawn from the data and written into ``out``, for all draws alike.

    Raises:
        ValueError: Settings are wrong or change what the study itself varies, or data or split
            cannot be used.
    """
    check_draws(draws)
    fixed = split_file(split, out)
    runs = []
    for seed in range(draws):
        for mode in modes:
            for strength in strengths:
                name = f"{mode}-fairness{strength:.12g}-seed{seed}"
                given = {
                    "data": data,
                    "split": str(fixed),
                    "out": str(out / RUNS_FOLDER / name),
                    "seed": seed,
                    "privacy.mode": mode,
                    "training.fairness": strength,
                }
                made = settings_of(given, config=config, assignments=assignments, options=_OPTIONS)
                kind = describe(mode, strength)
                run = FairnessRun(kind=kind, mode=mode, strength=strength, seed=seed, config=made)
                runs.append(run)
    fix_split(data, split, out, skip_invalid=runs[0].config.skip_invalid)
    return tuple(runs)


def summarise_study(
    runs: Sequence[FairnessRun], results: Mapping[FairnessRun, Json]
) -> dict[str, Any]:
    """The contents of ``fairness.json``, in the order of modes, strengths and draws."""
    known = [run for run in runs if run in results]
    known.sort(key=lambda run: (MODES.index(run.mode), run.strength, run.seed))
    rows = [
        {"mode": run.mode, "strength": run.strength, "seed": run.seed}
        | figures_of(results[run], FIGURES)
        for run in known
    ]
    settings = runs[0].config
    private = next((run.config.privacy for run in runs if run.mode != "none"), None)
    data = results[known[0]].get("data", {}) if known else {}
    return {
        "runs": len(runs),
        "finished": len(rows),
        "data": settings.data,
        "split": settings.split,
        "unit": private.unit if private else None,
        "epsilon": private.epsilon if private else None,
        "train_groups": data.get("train_groups"),
        "held_out_groups": data.get("held_out_groups"),
        "caveats": list(CAVEATS),
        "rows": rows,
        "means": mean_rows(rows, by=("mode", "strength"), figures=tuple(FIGURES)),
    }


def write_study(out: Path, content: Json) -> Path:
    """Write ``fairness.json`` completely or not at all."""
    write_atomically(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return out / STUDY_FILE
