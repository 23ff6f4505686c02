"""What a study from a file found: figures of every run, curves, and what a target cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.report.wording import Json, is_number
from experiments.simulation.provenance import code, versions
from experiments.studies.engine import Place as ResultPlace
from experiments.studies.engine import figures_of, mean_rows
from experiments.studies.file import StudyFile
from experiments.studies.plan import PlacedRun
from server.state.telemetry import ROUNDS_FILE

STUDY_FILE = "study.json"

#: Figures of a row, each with its place in ``result.json``; a row has None where there is none.
FIGURES: Mapping[str, ResultPlace] = {
    "alignment": ("alignment", "unseen_groups", "mean"),
    "worst_group": ("alignment", "unseen_groups", "worst_group"),
    "log_loss": ("alignment", "unseen_groups", "log_loss"),
    "seen_questions": ("alignment", "unseen_groups", "seen_questions"),
    "unseen_questions": ("alignment", "unseen_groups", "unseen_questions"),
    "without_context": ("alignment", "without_context", "mean"),
    "uniform": ("alignment", "uniform", "mean"),
    "train_alignment": ("alignment", "train_groups", "mean"),
    "context_swap_drop": ("context_swap_drop",),
    "parameters": ("parameters",),
    "train_groups": ("data", "train_groups"),
    "held_out_groups": ("data", "held_out_groups"),
    "rounds": ("rounds",),
    "aborted_rounds": ("aborted_rounds",),
    "bytes_up_per_client_per_round": ("bytes", "up_per_client_per_round"),
    "bytes_down_per_client_per_round": ("bytes", "down_per_client_per_round"),
    "seconds": ("seconds", "total"),
}
#: Of a run as a whole, from its rounds.
_OF_ROUNDS = ("groups_per_round", "bytes_total")
#: To the first measured round that reaches the target.
TO_TARGET = ("rounds_to_target", "bytes_to_target", "seconds_to_target")
AVERAGED = (*FIGURES, *_OF_ROUNDS, *TO_TARGET)
#: All others are alike on every machine, but for the noise of private runs.
_OF_THE_MACHINE = ("seconds", "seconds_to_target")

_CAVEATS = (
    "Draws differ by seed: first weights, batches and who drops out. The split and the data are "
    "the same for all draws of a place.",
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
    study: StudyFile, runs: Sequence[PlacedRun], results: Mapping[PlacedRun, Json]
) -> dict[str, Any]:
    """The contents of ``study.json``: places in the order of the file, each with its draws.

    Args:
        study: What the file says.
        runs: All that it makes.
        results: Of those that have finished, whose folders are read.
    """
    known = sorted((run for run in runs if run in results), key=lambda run: (run.place, run.seed))
    rows = [_row(run, results[run], study.target) for run in known]
    means = mean_rows(rows, by=("place",), figures=AVERAGED)
    for mean in means:
        own = [row for row in rows if row["place"] == mean["place"]]
        mean["reached"] = sum(is_number(row["rounds_to_target"]) for row in own)
    made_by = {json.dumps(row["code"], sort_keys=True) for row in rows}
    caveats = [
        *_CAVEATS,
        *([_TARGET_CAVEAT] if study.target is not None else []),
        *([_CODE_CAVEAT] if made_by - {json.dumps(code(), sort_keys=True)} else []),
    ]
    return {
        "title": study.title,
        "file": study.path.name,
        "data": study.data,
        "split": study.split,
        "seeds": list(range(study.draws)),
        "target": study.target,
        "runs": len(runs),
        "finished": len(rows),
        "code": code(),
        "versions": versions(),
        "of_the_machine": list(_OF_THE_MACHINE),
        "caveats": caveats,
        "settings": dict(study.settings),
        "vary": {key: list(values) for key, values in study.vary.items()},
        "names": study.names(),
        "axis": study.axis(),
        "cases": [{"name": name, "settings": dict(own)} for name, own in study.cases.items()],
        "places": _places(study, runs),
        "means": means,
        "rows": rows,
    }


def _places(study: StudyFile, runs: Sequence[PlacedRun]) -> list[dict[str, Any]]:
    """Every place of the grid, with all settings of its runs but those that a draw decides."""
    configs = {run.place: run.config for run in reversed(runs)}
    names = study.names()
    found = []
    for number, place in enumerate(study.places()):
        config = configs[number].flat()
        found.append(
            {
                "place": number,
                "label": place.label(names),
                "case": place.case,
                "varied": dict(place.varied),
                "config": {k: v for k, v in config.items() if k not in ("out", "seed", "resume")},
            }
        )
    return found


def _row(run: PlacedRun, result: Json, target: float | None) -> dict[str, Any]:
    """The figures of a run."""
    figures = figures_of(result, FIGURES)
    rounds = _rounds(run.out)
    curve = curve_of(rounds, figures)
    first = next((p for p in curve if target is not None and p["alignment"] >= target), None)
    reached = (None, None, None)
    if first is not None:
        reached = (first["round"], first["bytes_up"], first["seconds"])
    sent = [record.get(f"bytes_{way}") for record in rounds for way in ("up", "down")]
    groups = [record["groups"] for record in rounds if record["round"] > 0]
    return {
        "place": run.place,
        "seed": run.seed,
        "run": run.out.name,
        "code": result.get("code"),
        **figures,
        "groups_per_round": math.fsum(groups) / len(groups) if groups else None,
        "bytes_total": sum(sent) if sent and all(map(is_number, sent)) else None,
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
