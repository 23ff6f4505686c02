"""The contents of ``study.json``: figures of every run, curves, and what a target cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.report.wording import Json, is_number
from experiments.simulation.provenance import code, versions
from experiments.studies.engine import figures_of, mean_rows
from experiments.studies.figures import FIGURES, OF_THE_MACHINE, TO_TARGET
from experiments.studies.file import Study
from experiments.studies.plan import ConditionRun
from server.state.telemetry import ROUNDS_FILE

STUDY_FILE = "study.json"

#: Of a row: from ``result.json``; None where it has none.
_PATHS = {name: figure.path for name, figure in FIGURES.items() if figure.path}

_CAVEATS = (
    "Draws differ by seed: first weights, batches and who drops out. The split and the data are "
    "the same for all draws of a condition.",
    "Choosing settings by these figures is choosing by the held-out groups: hold out others to say "
    "how well the choice does.",
)
_TARGET_CAVEAT = (
    "To the target: the first measured round whose alignment reaches it; means are over the draws "
    "that reach it."
)
_CODE_CAVEAT = (
    "Not all runs were made by the same code: each row names its commit, and whether tracked files "
    "had been changed."
)


def summarise_study(
    study: Study, runs: Sequence[ConditionRun], results: Mapping[ConditionRun, Json]
) -> dict[str, Any]:
    """The contents of ``study.json``: conditions in the order of the file, each with its draws.

    Args:
        study: What is run.
        runs: All that it makes.
        results: Of those that have finished, whose folders are read.
    """
    known = sorted(results, key=lambda run: (run.condition, run.seed))
    rows = [_row(run, results[run], study.target) for run in known]
    means = mean_rows(rows, by=("condition",), figures=tuple(FIGURES))
    for mean in means:
        own = [row for row in rows if row["condition"] == mean["condition"]]
        mean["reached"] = sum(is_number(row["rounds_to_target"]) for row in own)
    return {
        "title": study.title,
        "file": Path(study.source).name,
        "data": study.data,
        "split": study.split,
        "seeds": list(range(study.draws)),
        "target": study.target,
        "runs": len(runs),
        "finished": len(rows),
        "code": code(),
        "versions": versions(),
        "of_the_machine": list(OF_THE_MACHINE),
        "caveats": _caveats(study, rows),
        "figures": list(study.figures),
        "pictures": list(study.pictures),
        "references": list(study.references),
        "settings": dict(study.settings),
        "vary": {key: list(values) for key, values in study.vary.items()},
        "names": study.names(),
        "axis": study.axis(),
        "cases": [
            {"name": name, "settings": dict(case.settings), "alone": case.alone}
            for name, case in study.cases.items()
        ],
        "conditions": _conditions(study, runs),
        "means": means,
        "rows": rows,
    }


def _caveats(study: Study, rows: Sequence[Json]) -> list[str]:
    made_by = {json.dumps(row["code"], sort_keys=True) for row in rows}
    return [
        *study.caveats,
        *_CAVEATS,
        *([_TARGET_CAVEAT] if study.target is not None else []),
        *([_CODE_CAVEAT] if made_by - {json.dumps(code(), sort_keys=True)} else []),
    ]


def _conditions(study: Study, runs: Sequence[ConditionRun]) -> list[dict[str, Any]]:
    """Every condition, with all settings of its runs but those that a draw decides."""
    configs = {run.condition: run.config for run in reversed(runs)}
    names = study.names()
    found = []
    for number, condition in enumerate(study.conditions()):
        config = configs[number].flat()
        found.append(
            {
                "condition": number,
                "label": condition.label(names),
                "case": condition.case,
                "varied": dict(condition.varied),
                "config": {k: v for k, v in config.items() if k not in ("out", "seed", "resume")},
            }
        )
    return found


def _row(run: ConditionRun, result: Json, target: float | None) -> dict[str, Any]:
    """The figures of a run."""
    figures = figures_of(result, _PATHS)
    rounds = _rounds(run.out)
    curve = curve_of(rounds, figures)
    first = next((p for p in curve if target is not None and p["alignment"] >= target), None)
    reached = (None, None, None)
    if first is not None:
        reached = (first["round"], first["bytes_up"], first["seconds"])
    sent = [record.get(f"bytes_{way}") for record in rounds for way in ("up", "down")]
    groups = [record["groups"] for record in rounds if record["round"] > 0]
    # Round 0 is the predictor as initialised, with context.
    untrained = rounds[0] if rounds and rounds[0]["round"] == 0 else {}
    return {
        "condition": run.condition,
        "seed": run.seed,
        "run": run.out.name,
        "code": result.get("code"),
        **figures,
        "groups_per_round": math.fsum(groups) / len(groups) if groups else None,
        "bytes_total": sum(sent) if sent and all(map(is_number, sent)) else None,
        "untrained": untrained.get("alignment"),
        "untrained_log_loss": untrained.get("log_loss"),
        **dict(zip(TO_TARGET, reached, strict=True)),
        "curve": curve,
    }


def _rounds(out: Path) -> list[dict[str, Any]]:
    path = out / ROUNDS_FILE
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def curve_of(rounds: Sequence[Json], figures: Json) -> list[dict[str, Any]]:
    """Alignment as a run goes on, at the rounds that were measured.

    Args:
        rounds: Contents of ``rounds.jsonl``.
        figures: Of the run: its train groups, and bytes of a client in a mean round, which stand in
            for those of rounds that nobody has counted.

    Returns:
        For each ``round`` its ``alignment``, ``bytes_up``, what a client had sent by then on
        average (None where that is not known), and ``seconds`` of training and secure sums.
    """
    clients, usual = figures["train_groups"], figures["bytes_up_per_client_per_round"]
    sent, seconds, known = 0.0, 0.0, True
    curve = []
    for record in rounds:
        counted = record.get("bytes_up")
        if is_number(counted) and clients:
            sent += counted / clients
        elif record["round"] > 0:
            known = known and is_number(usual)
            sent += usual or 0.0
        seconds += record["seconds_train"] + record["seconds_secagg"]
        if is_number(record["alignment"]):
            point = {"round": record["round"], "alignment": record["alignment"]}
            curve.append({**point, "bytes_up": sent if known else None, "seconds": seconds})
    return curve


def write_study(out: Path, content: Json) -> Path:
    """Write ``study.json`` completely or not at all."""
    write_atomically(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return out / STUDY_FILE
