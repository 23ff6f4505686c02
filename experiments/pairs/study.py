"""Cross-validation over prompts of telling chosen from rejected responses.

Every fold is a simulation of its own whose groups train without the fold's prompts. Beside it run
a control of equal steps without adapters, and yardsticks that need no federation. Intervals come
from drawing dialogues anew, for pairs of one dialogue are not independent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.data.loading import load_records, write_records
from alignment.data.records import PairRecord
from alignment.data.split import FEWEST_GROUPS
from alignment.data.units import unit_kind
from alignment.evaluation.calibration import BINS
from atomic import write_atomically
from experiments.pairs.baselines import (
    PairTarget,
    frozen_model,
    length_model,
    longer_wins,
    targets_of,
)
from experiments.pairs.figures import LEVEL, RESAMPLES, Judged, draw_dialogues
from experiments.pairs.folds import PairFold, deal_groups, digest_of, make_folds, pairs_of
from experiments.report.views import PREDICTIONS_FILE
from experiments.report.wording import Json
from experiments.studies.engine import RUNS_FOLDER, StudyRun, check_draws, settings_of
from privacy.accounting.choices import NO_PRIVACY
from server.config import ConfigError, RunConfig
from server.presets import PAIR_DEFAULTS
from server.settings import assemble, given_settings

STUDY_FILE = "pairs.json"
FOLDS_FOLDER = "folds"
_BASELINES_FILE = "baselines.json"
FOLDS, GROUPS = 5, 4
_OPTIONS = "--data, --out, --folds, --groups or --draws"

#: No context is shown, so no directions are trained; figures are those of the last round. All
#: records are pairs.
_UNUSED: Mapping[str, object] = {
    "training.context_weight": 0.0,
    "federation.evaluate_every": 0,
    "privacy.options_apart": True,
}

ADAPTERS, HEAD_ALONE = "adapters", "head"
FROZEN, LENGTH, LONGER = "frozen", "length", "longer"
METHODS: Mapping[str, str] = {
    ADAPTERS: "federated, adapters and head",
    HEAD_ALONE: "federated, head alone, equal steps",
    FROZEN: "frozen encoder, linear",
    LENGTH: "length alone, logistic",
    LONGER: "the longer response wins",
}

#: What a reader of the figures must know and no figure says.
CAVEATS = (
    "Accuracy is that against the majority: where as many annotators of a group chose one response "
    "as the other, every prediction is half right.",
    f"Intervals hold {LEVEL:.0%} of {RESAMPLES} draws of dialogues; what training draws by seed is "
    "not in them.",
    "A calibration error is never 0 on a finite sample: hold it against the one by chance.",
    "The yardsticks are fitted in one place and without privacy.",
)

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairsRun(StudyRun):
    """One simulation of the study.

    Attributes:
        method: ``adapters`` or ``head``.
        fold: Held out, from 0.
    """

    method: str
    fold: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PairsStudy:
    """The runs of a study and the targets of prediction.

    Attributes:
        runs: All simulations, those of a method together: they share what is computed once.
        targets: What all methods predict.
        out: Folder of the study.
        source: Where the pairs come from.
        records: How many pairs there are.
        dealt: Whether the groups were made up.
        folds: How many.
    """

    runs: tuple[PairsRun, ...]
    targets: tuple[PairTarget, ...]
    out: Path
    source: str
    records: int
    dealt: bool
    folds: int

    @property
    def config(self) -> RunConfig:
        """The settings that the runs share."""
        return self.runs[0].config


def plan_study(
    *,
    data: str,
    out: Path,
    folds: int = FOLDS,
    groups: int = GROUPS,
    draws: int = 1,
    config: Path | None = None,
    assignments: Sequence[str] = (),
) -> PairsStudy:
    """Put together data, splits and settings of all runs; data and splits are written to ``out``.

    Args:
        data: Chosen and rejected responses.
        out: Folder of the study.
        folds: How many parts predict each other.
        groups: Simulated groups to deal pairs out to where the data have fewer than 3.
        draws: Runs of each method and fold, with seeds from 0 and the same folds.
        config: TOML file with settings for every run.
        assignments: ``key=value`` for every run.

    Raises:
        ValueError: Settings are wrong or change what the study itself varies, or the data cannot
            be used.
    """
    check_draws(draws)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    defaults = _defaults(config, assignments)
    asked = assemble(config=config, assignments=assignments, defaults=defaults)
    loaded = load_records(data, skip_invalid=asked.skip_invalid)
    own = pairs_of(loaded.records)
    records = deal_groups(own, groups=groups)
    _check_annotators(records, asked)
    parts = make_folds(records, folds=folds)
    files = [_files_of(out, part, number) for number, part in enumerate(parts)]
    settle = partial(
        settings_of, config=config, assignments=assignments, options=_OPTIONS, defaults=defaults
    )
    runs = tuple(_runs(files, out, draws=draws, settle=settle))
    # Only now: bad settings must not cost what a folder held.
    for part, (file, split) in zip(parts, files, strict=True):
        _write(part, file, split)
    return PairsStudy(
        runs=runs,
        targets=targets_of(records, parts),
        out=out,
        source=data,
        records=len(records),
        dealt=len({record.group for record in own}) < FEWEST_GROUPS,
        folds=folds,
    )


def _runs(
    folds: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    draws: int,
    settle: Callable[[Mapping[str, object]], RunConfig],
) -> Iterator[PairsRun]:
    """The runs of both methods: of each draw and fold, given as a file of data and one of a split.

    Args:
        folds: The files.
        out: Folder of the study.
        draws: Seeds, from 0.
        settle: Completes the settings of a run.
    """
    for method in (ADAPTERS, HEAD_ALONE):
        for seed in range(draws):
            for fold, (file, split) in enumerate(folds):
                made = settle({"data": str(file), "split": str(split), "seed": seed})
                adapted = made.federation.adapter_rounds > 0 and made.predictor.adapted
                if method == ADAPTERS and not adapted:
                    continue
                if method == HEAD_ALONE:
                    made = replace(made, predictor=replace(made.predictor, lora_rank=0))
                name = f"{method}-fold{fold + 1}-seed{seed}"
                made = replace(made, out=str(out / RUNS_FOLDER / name))
                kind = f"{METHODS[method]}, fold {fold + 1} of {len(folds)}"
                yield PairsRun(kind=kind, method=method, fold=fold, seed=seed, config=made)


def _defaults(config: Path | None, assignments: Sequence[str]) -> Mapping[str, object]:
    """Defaults of the study; a private run has its own for how it trains."""
    asked = given_settings(config=config, assignments=assignments)
    if asked.get("privacy.mode", NO_PRIVACY) == NO_PRIVACY:
        return {**PAIR_DEFAULTS, **_UNUSED}
    return _UNUSED


def _check_annotators(records: Sequence[PairRecord], config: RunConfig) -> None:
    """A guarantee for persons does not hold for those whose answers lie in several groups."""
    if not config.privacy.private or not unit_kind(config.privacy.unit).of_people:
        return
    groups: dict[str, set[str]] = {}
    for record in records:
        if record.annotator is not None:
            groups.setdefault(record.annotator, set()).add(record.group)
    several = sum(len(each) > 1 for each in groups.values())
    if several:
        raise ConfigError(
            f"privacy.unit = respondent but {several} of {len(groups)} annotators answer in "
            "several groups, so that epsilon would hold for a part of what they said; use "
            "--set privacy.unit=record, or data in which every annotator has one group"
        )


def _files_of(out: Path, part: PairFold, number: int) -> tuple[Path, Path]:
    """Files of a fold, named by its contents, so that a run on other data is told apart."""
    name = f"fold{number + 1}-{digest_of(part.records)}"
    return out / FOLDS_FOLDER / f"{name}.jsonl.gz", out / FOLDS_FOLDER / f"{name}.json"


def _write(part: PairFold, file: Path, split: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_records(part.records, file)
    text = part.split.to_json()
    if not split.exists() or split.read_text(encoding="utf-8") != text:
        write_atomically(split, text)


def baseline_predictions(study: PairsStudy, say: Callable[[str], None]) -> dict[str, _Floats]:
    """Predictions of the yardsticks for every target: the chance that the first response wins.

    Kept in the folder of the study, for the frozen encoder takes its time.
    """
    path = study.out / _BASELINES_FILE
    predictor = replace(study.config.predictor, lora_rank=0)
    key = {
        "folds": [Path(run.config.data).name for run in study.runs if run.seed == 0],
        "encoder": predictor.encoder,
        "max_tokens": predictor.max_tokens,
    }
    known = _read_baselines(path, key, len(study.targets))
    if known is not None:
        return known
    from clients.training.trainer import predictor_for

    say(f"reading {2 * len({t.question for t in study.targets})} responses with a frozen encoder")
    pooled, _ = predictor_for(predictor).pooled_now([t.question for t in study.targets])
    found = {
        FROZEN: frozen_model(pooled.numpy().astype(np.float64), study.targets),
        LENGTH: length_model(study.targets),
        LONGER: longer_wins(study.targets),
    }
    content = {"key": key, "predictions": {name: p.tolist() for name, p in found.items()}}
    write_atomically(path, json.dumps(content) + "\n", parents=True)
    return found


def _read_baselines(path: Path, key: Json, count: int) -> dict[str, _Floats] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {name: np.array(p, dtype=float) for name, p in content["predictions"].items()}
        if content["key"] == key and all(p.shape == (count,) for p in found.values()):
            return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def run_predictions(study: PairsStudy, finished: Sequence[PairsRun]) -> dict[str, _Floats]:
    """Predictions of finished runs for every target, by method: (draws, targets).

    NaN where no run has predicted it yet.

    Raises:
        ValueError: A run predicted something else than its fold.
    """
    rows = {(t.group, t.question.question_id): i for i, t in enumerate(study.targets)}
    found: dict[str, _Floats] = {}
    for run in finished:
        draws = max(each.seed for each in study.runs) + 1
        table = found.setdefault(run.method, np.full((draws, len(study.targets)), np.nan))
        asked = {i for i, target in enumerate(study.targets) if target.fold == run.fold}
        lines = (run.out / PREDICTIONS_FILE).read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = json.loads(line)
            group = row["group"].rpartition(" / ")[0]
            target = rows.get((group, row["question_id"]))
            if target not in asked:
                raise ConfigError(f"{run.out}: predicts what is not in its fold; --overwrite it")
            asked.remove(target)
            table[run.seed, target] = row["with_context"][0]
        if asked:
            raise ConfigError(f"{run.out}: leaves {len(asked)} predictions out; --overwrite it")
    return found


def summarise_study(
    study: PairsStudy, predictions: Mapping[str, _Floats], finished: int
) -> dict[str, Any]:
    """The contents of ``pairs.json``.

    Args:
        study: What was planned.
        predictions: By method, (targets,) or (draws, targets); NaN where there is none yet.
        finished: How many runs have finished.
    """
    shares = np.array([target.share for target in study.targets])
    _, dialogues = np.unique([target.dialogue for target in study.targets], return_inverse=True)
    resamples = draw_dialogues(int(dialogues.max()) + 1)
    judged = {
        name: Judged(np.atleast_2d(predictions[name]), shares, dialogues, exact=name == LONGER)
        for name in METHODS
        if name in predictions
    }
    folds = np.array([target.fold for target in study.targets])
    rows = [
        {
            "method": name,
            "name": METHODS[name],
            "targets": int(each.known.sum()),
            **each.figures(resamples),
            "accuracy_by_fold": [
                each.mean("accuracy", folds == fold) for fold in range(study.folds)
            ],
            "reliability": each.reliability(),
        }
        for name, each in judged.items()
    ]
    names = list(judged)
    gains = [
        {"method": names[0], "over": other, **judged[names[0]].gain(judged[other], resamples)}
        for other in names[1:]
    ]
    return {
        "runs": len(study.runs),
        "finished": finished,
        "data": study.source,
        "records": study.records,
        "targets": len(study.targets),
        "divided": int(np.sum((shares > 0) & (shares < 1))),
        "dialogues": int(dialogues.max()) + 1,
        "groups": sorted({target.group for target in study.targets}),
        "simulated_groups": study.dealt,
        "folds": study.folds,
        "privacy": study.config.privacy.mode,
        "bins": BINS,
        "level": LEVEL,
        "caveats": list(CAVEATS),
        "methods": rows,
        "gains": gains,
    }


def write_study(out: Path, content: Json) -> Path:
    """Write ``pairs.json`` completely or not at all."""
    write_atomically(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return out / STUDY_FILE
