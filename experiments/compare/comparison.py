"""FedAccord beside other methods on one split: the runs of a comparison and their figures.

Baselines are fitted in this process (:mod:`experiments.compare.baselines.runs`), FedAccord runs as
whole simulations (:mod:`experiments.studies.engine`). Draws differ by seed; the split is the same
for all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomic import write_atomically
from experiments.compare.findings import CAVEATS, claims, intervals, to_reach
from experiments.report.views import View
from experiments.report.wording import Json
from experiments.simulation.figures import in_view, row_of
from experiments.studies.engine import (
    RUNS_FOLDER,
    KeyPath,
    StudyRun,
    check_draws,
    figures_of,
    fix_split,
    mean_rows,
    settings_of,
    split_file,
)
from server.config import ConfigError, RunConfig
from server.settings import given_settings
from server.state.telemetry import ROUNDS_FILE

if TYPE_CHECKING:
    from alignment.data.population import Population
    from experiments.compare.baselines.runs import BaselineRun

COMPARE_FILE = "compare.json"
BASELINES_FOLDER = "baselines"
_OPTIONS = "--data, --split, --out, --methods or --draws"
_EVALUATE_EVERY = "federation.evaluate_every"

#: Baselines, in the order in which they are fitted: what costs little first.
BASELINES = (
    *("uniform", "position", "train-mean", "nearest"),
    *("gpo", "gpo-rescaled", "pluralllm", "pluralllm-rescaled"),
)


@dataclass(frozen=True, kw_only=True)
class Own:
    """A way to run FedAccord.

    Attributes:
        title: Its name in tables.
        settings: What sets it apart.
    """

    title: str
    settings: Mapping[str, object] = field(default_factory=dict)


#: FedAccord as it is; the same without adapters, for as many rounds and steps, which tells what
#: adapting the encoder is worth beyond training longer; and as it is under privacy.
OWN: Mapping[str, Own] = {
    "fedaccord": Own(title="FedAccord", settings={"privacy.mode": "none"}),
    "fedaccord-frozen": Own(
        title="FedAccord, encoder frozen",
        settings={"privacy.mode": "none", "predictor.lora_rank": 0},
    ),
    "fedaccord-private": Own(
        title="FedAccord, epsilon 8",
        settings={
            "privacy.mode": "distributed",
            "privacy.unit": "record",
            "privacy.epsilon": 8.0,
        },
    ),
}
METHODS = (*BASELINES, *OWN)

#: Together, the seconds of a simulation that are no measuring: a fit's are counted so, too.
_SECONDS: Mapping[str, KeyPath] = {"train": ("seconds", "train"), "secagg": ("seconds", "secagg")}


@dataclass(frozen=True, kw_only=True)
class OwnRun(StudyRun):
    """One simulation of the comparison.

    Attributes:
        method: A key of ``OWN``.
    """

    method: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All that is to be done.

    Attributes:
        baselines: Fits, draw by draw.
        runs: Simulations, draw by draw.
        population: What all are measured on.
        data: As given.
        split: The file.
    """

    baselines: tuple[BaselineRun, ...]
    runs: tuple[OwnRun, ...]
    population: Population
    data: str
    split: str

    @property
    def count(self) -> int:
        """Of all fits and simulations."""
        return len(self.baselines) + len(self.runs)


def read_methods(text: str) -> tuple[str, ...]:
    """Read ``all``, or ``uniform,fedaccord``: in the order of ``METHODS``, each once.

    Raises:
        ConfigError: A word is no method.
    """
    words = METHODS if text == "all" else [word.strip() for word in text.split(",")]
    for word in words:
        if word not in METHODS:
            raise ConfigError(f"--methods {text!r}: {word!r} must be one of {', '.join(METHODS)}")
    return tuple(method for method in METHODS if method in words)


def plan_comparison(
    *,
    data: str,
    split: Path | None,
    out: Path,
    methods: Sequence[str],
    draws: int,
    gpo_rounds: int,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Put together all fits and simulations, draw by draw.

    Simulations measure every round unless they are told otherwise, so that rounds to a score can be
    read off. Without a split, one is drawn from the data and written into ``out``.

    Raises:
        ValueError: Settings are wrong or change what the comparison itself varies, or data or split
            cannot be used.
    """
    check_draws(draws)
    if not 1 <= gpo_rounds <= 100_000:
        raise ConfigError(f"--gpo-rounds {gpo_rounds} must lie in [1, 100000]: 100 is published")
    fixed = split_file(split, out)
    if _EVALUATE_EVERY not in given_settings(config=config, assignments=assignments):
        assignments = [*assignments, f"{_EVALUATE_EVERY}=1"]

    def own_runs() -> list[OwnRun]:
        return [
            OwnRun(
                kind=OWN[method].title,
                method=method,
                seed=seed,
                config=settings_of(
                    _given(method, seed, data=data, split=fixed, out=out),
                    config=config,
                    assignments=assignments,
                    options=_OPTIONS,
                ),
            )
            for seed, method in product(range(draws), OWN)
        ]

    first, *_ = own_runs()
    population = fix_split(data, split, out, skip_invalid=first.config.skip_invalid)
    # Anew: what is chosen for a run rests on its train groups, which its split names.
    runs = own_runs()
    fits = _fits(methods, draws, out, runs[0].config, gpo_rounds=gpo_rounds, say=say)
    return Comparison(
        baselines=fits,
        runs=tuple(run for run in runs if run.method in methods),
        population=population,
        data=data,
        split=str(fixed),
    )


def _fits(
    methods: Sequence[str],
    draws: int,
    out: Path,
    config: RunConfig,
    *,
    gpo_rounds: int,
    say: Callable[[str], None],
) -> tuple[BaselineRun, ...]:
    """The fits of what does not train in rounds, draw by draw."""
    # Only now: importing what trains takes seconds, and bad input must not.
    from experiments.compare.baselines.gpo_baselines import Recipe
    from experiments.compare.baselines.registry import baselines
    from experiments.compare.baselines.runs import BaselineRun

    known = baselines(config.predictor, recipe=Recipe(rounds=gpo_rounds), say=say)
    return tuple(
        BaselineRun(
            method=method,
            baseline=known[method],
            seed=seed,
            path=out / BASELINES_FOLDER / f"{method}-seed{seed}.json",
        )
        for seed in range(draws)
        for method in BASELINES
        if method in methods
    )


def _given(method: str, seed: int, *, data: str, split: Path, out: Path) -> dict[str, object]:
    """The settings of a simulation by which it differs from others."""
    return {
        "data": data,
        "split": str(split),
        "out": str(out / RUNS_FOLDER / f"{method}-seed{seed}"),
        "seed": seed,
        **OWN[method].settings,
    }


def averaged() -> tuple[str, ...]:
    """The figures of a row that means are made of."""
    figures = in_view(View.COMPARE)
    return (*(figure.column for figure in figures if figure.text is not None), "seconds")


def baseline_row(run: BaselineRun, result: Json) -> dict[str, Any]:
    """The figures of a fit."""
    own, swapped = result["own"], result["swapped"]
    beside = ("parameters", "rounds", "steps", "bytes_up_per_client_per_round", "seconds", "curve")
    names = [figure.column for figure in in_view(View.COMPARE)]
    row = {
        "method": run.method,
        "title": run.baseline.title,
        "baseline": True,
        "seed": run.seed,
        "alignment": own["mean"],
        **{name: own[name] for name in names if name in own},
        "context_swap_drop": None if swapped is None else own["mean"] - swapped["mean"],
        **{name: result[name] for name in beside},
    }
    # What a fit does not measure stands there as unknown.
    return row | {name: None for name in names if name not in row}


def own_row(run: OwnRun, result: Json) -> dict[str, Any]:
    """The figures of a simulation."""
    lines = (run.out / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()
    rounds = [json.loads(line) for line in lines]
    return {
        "method": run.method,
        "title": run.kind,
        "baseline": False,
        "seed": run.seed,
        **row_of(result, View.COMPARE),
        "steps": None,
        "seconds": math.fsum(figures_of(result, _SECONDS).values()),
        "curve": [
            {"round": each["round"], "alignment": each["alignment"]}
            for each in rounds
            if each["alignment"] is not None
        ],
    }


def summarise_comparison(plan: Comparison, rows: Sequence[Json]) -> dict[str, Any]:
    """The contents of ``compare.json``, in the order of methods and draws."""
    ordered = sorted(rows, key=lambda row: (METHODS.index(row["method"]), row["seed"]))
    split = plan.population.split
    targets = {
        group: sum(len(draw.target) for draw in draws) / len(draws)
        for group, draws in split.draws.items()
    }
    means = mean_rows(ordered, by=("method", "title", "baseline"), figures=averaged())
    return {
        "runs": plan.count,
        "finished": len(ordered),
        "data": plan.data,
        "split": plan.split,
        "train_groups": len(split.train_groups),
        "held_out_groups": len(split.draws),
        "targets": targets,
        "caveats": list(CAVEATS),
        "means": means,
        "intervals": intervals(ordered, targets),
        "to_reach": to_reach(ordered),
        "claims": claims(ordered, targets),
        "rows": ordered,
    }


def write_comparison(out: Path, content: Json) -> None:
    """Write ``compare.json`` completely or not at all."""
    write_atomically(out / COMPARE_FILE, json.dumps(content, indent=2) + "\n")
