"""How well chosen and rejected responses are told apart: cross-validation over prompts.

Every fold is a simulation of its own whose groups train without the fold's prompts. Beside it run
a control of equal steps without adapters, and yardsticks that need no federation. Intervals come
from drawing dialogues anew, for pairs of one dialogue are not independent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.calibration import BINS, brier_score, calibration, correctness, top_label
from alignment.loading import load_records, write_records
from alignment.metrics import log_loss
from alignment.records import PairRecord
from alignment.split import FEWEST_GROUPS
from experiments.files import write_whole
from experiments.pair_baselines import (
    PairTarget,
    frozen_model,
    length_model,
    longer_wins,
    targets_of,
)
from experiments.pair_folds import PairFold, deal_groups, digest_of, make_folds, pairs_of
from experiments.study import RUNS_FOLDER, StudyRun, check_draws, settings_of
from experiments.wording import Json
from server.config import PAIR_DEFAULTS, ConfigError, RunConfig
from server.settings import assemble, given_settings

STUDY_FILE = "pairs.json"
FOLDS_FOLDER = "folds"
_BASELINES_FILE = "baselines.json"
_PREDICTIONS_FILE = "predictions.jsonl"
FOLDS, GROUPS = 5, 4
#: Times that dialogues are drawn anew, and the share of these draws within an interval.
RESAMPLES = 1000
LEVEL = 0.95
_OPTIONS = "--data, --out, --folds, --groups or --draws"

#: No context is shown, so no directions are trained; figures are those of the last round.
_UNUSED: Mapping[str, object] = {
    "training.context_weight": 0.0,
    "federation.evaluate_every": 0,
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
FIGURES = ("accuracy", "log_loss", "brier", "calibration_error")

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
    """What is to be run, and what is predicted.

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
    places = [_place(out, part, number) for number, part in enumerate(parts)]
    runs = []
    for method in (ADAPTERS, HEAD_ALONE):
        for seed in range(draws):
            for fold, (file, split) in enumerate(places):
                given = {"data": str(file), "split": str(split), "seed": seed}
                made = settings_of(
                    given,
                    config=config,
                    assignments=assignments,
                    options=_OPTIONS,
                    defaults=defaults,
                )
                adapted = made.federation.adapter_rounds > 0 and made.predictor.lora_rank > 0
                if method == ADAPTERS and not adapted:
                    continue
                if method == HEAD_ALONE:
                    made = replace(made, predictor=replace(made.predictor, lora_rank=0))
                name = f"{method}-fold{fold + 1}-seed{seed}"
                made = replace(made, out=str(out / RUNS_FOLDER / name))
                kind = f"{METHODS[method]}, fold {fold + 1} of {folds}"
                runs.append(PairsRun(kind=kind, method=method, fold=fold, seed=seed, config=made))
    # Only now: bad settings must not cost what a folder held.
    for part, (file, split) in zip(parts, places, strict=True):
        _write(part, file, split)
    return PairsStudy(
        runs=tuple(runs),
        targets=targets_of(records, parts),
        out=out,
        source=data,
        records=len(records),
        dealt=len({record.group for record in own}) < FEWEST_GROUPS,
        folds=folds,
    )


def _defaults(config: Path | None, assignments: Sequence[str]) -> Mapping[str, object]:
    """What holds where nothing is set; a private run has its own defaults for how it trains."""
    asked = given_settings(config=config, assignments=assignments)
    if asked.get("privacy.mode", "none") == "none":
        return {**PAIR_DEFAULTS, **_UNUSED}
    return _UNUSED


def _check_annotators(records: Sequence[PairRecord], config: RunConfig) -> None:
    """A guarantee for persons does not hold for those whose answers lie in several groups."""
    if not config.privacy.private or config.privacy.unit != "respondent":
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


def _place(out: Path, part: PairFold, number: int) -> tuple[Path, Path]:
    """Where a fold lies: named by its contents, so that a run on other data is told apart."""
    name = f"fold{number + 1}-{digest_of(part.records)}"
    return out / FOLDS_FOLDER / f"{name}.jsonl.gz", out / FOLDS_FOLDER / f"{name}.json"


def _write(part: PairFold, file: Path, split: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_records(part.records, file)
    text = part.split.to_json()
    if not split.exists() or split.read_text(encoding="utf-8") != text:
        write_whole(split, text)


def baseline_predictions(study: PairsStudy, say: Callable[[str], None]) -> dict[str, _Floats]:
    """What the yardsticks predict of every target: the chance that the first response wins.

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
    from clients.trainer import predictor_for

    say(f"reading {2 * len({t.question for t in study.targets})} responses with a frozen encoder")
    pooled, _ = predictor_for(predictor).pooled_now([t.question for t in study.targets])
    found = {
        FROZEN: frozen_model(pooled.numpy().astype(np.float64), study.targets),
        LENGTH: length_model(study.targets),
        LONGER: longer_wins(study.targets),
    }
    content = {"key": key, "predictions": {name: p.tolist() for name, p in found.items()}}
    write_whole(path, json.dumps(content) + "\n")
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
    """What finished runs predict of every target, by method: (draws, targets).

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
        lines = (run.out / _PREDICTIONS_FILE).read_text(encoding="utf-8").splitlines()
        for line in lines:
            row = json.loads(line)
            group = row["group"].rpartition(" / ")[0]
            place = rows.get((group, row["question_id"]))
            if place not in asked:
                raise ConfigError(f"{run.out}: predicts what is not in its fold; --overwrite it")
            asked.remove(place)
            table[run.seed, place] = row["with_context"][0]
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
    resamples = _resamples(int(dialogues.max()) + 1)
    judged = {
        name: _Judged(np.atleast_2d(predictions[name]), shares, dialogues, exact=name == LONGER)
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
    write_whole(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return out / STUDY_FILE


def _resamples(dialogues: int) -> NDArray[np.int64]:
    """How often each dialogue is drawn, (``RESAMPLES``, dialogues): the same for all methods."""
    even = np.full(dialogues, 1 / dialogues)
    drawn: NDArray[np.int64] = np.random.default_rng(0).multinomial(dialogues, even, RESAMPLES)
    return drawn


class _Judged:
    """The predictions of one method beside the answers.

    Args:
        predicted: (draws, targets) chance of the first response; NaN where there is none.
        shares: (targets,) how many prefer it.
        dialogues: (targets,) number of the dialogue.
        exact: A rule without probabilities: it has an accuracy alone.
    """

    def __init__(
        self,
        predicted: _Floats,
        shares: _Floats,
        dialogues: NDArray[np.int64],
        *,
        exact: bool,
    ) -> None:
        self.known = np.asarray(~np.isnan(predicted).any(axis=0))
        self._dialogues = dialogues
        self._exact = exact
        judge: dict[str, Callable[[Sequence[float], Sequence[float]], float]]
        judge = {"accuracy": correctness}
        if not exact:
            judge |= {"log_loss": log_loss, "brier": brier_score}
        pairs = np.stack([predicted, 1 - predicted], axis=-1)
        answers = np.stack([shares, 1 - shares], axis=-1)
        #: (targets,) of each figure, in the mean over draws.
        self._values = {
            name: np.array(
                [
                    np.mean([function(row[i], answers[i]) for row in pairs]) if known else np.nan
                    for i, known in enumerate(self.known)
                ]
            )
            for name, function in judge.items()
        }
        #: (draws, known targets, 2): confidence and outcome.
        self._tops = np.array(
            [[top_label(row[i], answers[i]) for i in np.flatnonzero(self.known)] for row in pairs]
        ).reshape(len(pairs), -1, 2)

    def mean(self, figure: str, where: NDArray[np.bool_]) -> float | None:
        """Of some targets; None where one of them is not predicted yet."""
        if not self.known[where].all():
            return None
        return float(self._values[figure][where].mean())

    def figures(self, resamples: NDArray[np.int64]) -> dict[str, Any]:
        """Every figure with its interval; None where a rule has none."""
        row: dict[str, Any] = {name: None for name in (*FIGURES, "calibration_error_by_chance")}
        for name, values in self._values.items():
            draws = self._resampled(values, resamples)
            row[name] = _interval(float(np.nanmean(values)), draws)
        if not self._exact:
            found = [calibration(*each.T) for each in self._tops]
            error = float(np.mean([each.error for each in found]))
            row["calibration_error"] = _interval(
                error, self._resampled_calibration(resamples), basic=True
            )
            row["calibration_error_by_chance"] = float(np.mean([f.by_chance for f in found]))
        return row

    def gain(self, other: _Judged, resamples: NDArray[np.int64]) -> dict[str, Any]:
        """Accuracy and log-loss minus those of another method on the targets that both know."""
        row: dict[str, Any] = {}
        for name in ("accuracy", "log_loss"):
            if name not in other._values:
                row[name] = None
                continue
            difference = self._values[name] - other._values[name]
            known = ~np.isnan(difference)
            row[name] = (
                _interval(float(difference[known].mean()), self._resampled(difference, resamples))
                if known.any()
                else None
            )
        return row

    def reliability(self) -> list[dict[str, float]] | None:
        """The reliability curve of the first draw; None for a rule."""
        if self._exact:
            return None
        return [asdict(each) for each in calibration(*self._tops[0].T).bins]

    def _resampled(self, values: _Floats, resamples: NDArray[np.int64]) -> _Floats:
        """The mean of a figure in every resample of dialogues."""
        known = ~np.isnan(values)
        size = resamples.shape[1]
        place = self._dialogues[known]
        sums = np.bincount(place, weights=values[known], minlength=size)
        counts = np.bincount(place, minlength=size)
        drawn = resamples @ counts
        # Of a study that has just begun, a resample may hold nothing that is known.
        means: _Floats = (resamples @ sums)[drawn > 0] / drawn[drawn > 0]
        return means

    def _resampled_calibration(self, resamples: NDArray[np.int64]) -> _Floats:
        times = resamples[:, self._dialogues[self.known]]
        return np.array(
            [
                np.mean([calibration(*np.repeat(t, each, axis=0).T).error for t in self._tops])
                for each in times[times.any(axis=1)]
            ]
        )


def _interval(value: float, resampled: _Floats, *, basic: bool = False) -> dict[str, float]:
    """A figure with its bootstrap interval.

    Percentiles; ``basic`` mirrors them at the figure (Davison and Hinkley 1997, 5.6), for a figure
    like the calibration error that drawing anew raises in itself, and cuts them off at 0.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail)).tolist()
    if basic:
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return {"value": value, "low": low, "high": high}
