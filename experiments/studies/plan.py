"""The runs of a study: settings, folders and splits of every condition and draw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.data.split import SPLIT_FILE
from experiments.counting.choice import choose
from experiments.studies.engine import RUNS_FOLDER, StudyRun, fix_split, split_file
from experiments.studies.file import Case, Condition, Study, text_of
from server.config import ConfigError, RunConfig
from server.settings import assemble, given_settings

SPLITS_FOLDER = "splits"
_EVALUATE_EVERY = "federation.evaluate_every"
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class ConditionRun(StudyRun):
    """One simulation of a study.

    Attributes:
        condition: Number of its condition, from 0.
    """

    condition: int


def plan_runs(
    study: Study, out: Path, *, config: Path | None = None, assignments: Sequence[str] = ()
) -> tuple[ConditionRun, ...]:
    """Put together the settings of all runs, draw by draw; nothing is read or written but config.

    So a study cut short has every condition. Where a target is asked for, every round is measured
    unless the study says otherwise.

    Args:
        study: What is to be run.
        out: Folder of the study.
        config: TOML file with settings for every run, below those of the study.
        assignments: ``key=value`` for every run, over the settings of the study.

    Raises:
        ConfigError: One line that names study, condition and setting.
    """
    names, conditions = study.names(), _conditions(study)
    _check_assignments(study, conditions, assignments)
    defaults = {} if study.target is None else {_EVALUATE_EVERY: 1}
    made = []
    for seed in range(study.draws):
        for number, condition in enumerate(conditions):
            label = condition.label(names) or study.title
            given = {
                "split": str(_split(study, condition, out)),
                "out": str(out / RUNS_FOLDER / f"{_folder(condition, study)}-seed{seed}"),
                "seed": seed,
            }
            try:
                settings = assemble(
                    config=config,
                    assignments=assignments,
                    given={**condition.settings, **given},
                    defaults=defaults,
                    choose=choose,
                )
            except ValueError as error:
                raise ConfigError(f"{study.source}: {label}: {error}") from error
            made.append(ConditionRun(kind=label, seed=seed, condition=number, config=settings))
    return tuple(made)


def _conditions(study: Study) -> tuple[Condition, ...]:
    try:
        return study.conditions()
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{study.source}: {error}") from error


def _check_assignments(
    study: Study, conditions: Sequence[Condition], assignments: Sequence[str]
) -> None:
    """Refuse to set for all runs what tells conditions or draws apart."""
    own = {"data", "split", "out", "seed", "resume"}
    for condition in conditions:
        case = study.cases.get(condition.case, Case())
        own |= {*case.settings, *condition.varied}
    for key in given_settings(config=None, assignments=assignments):
        if key in own:
            raise ConfigError(f"--set {key}: {study.source} sets it; {study.remedy}")


def fix_splits(study: Study, runs: Sequence[ConditionRun], out: Path) -> None:
    """Load all data that runs need, once each, and keep the splits that are drawn of them.

    Raises:
        ValueError: Data or split cannot be used.
    """
    firsts = {(run.config.data, run.config.split): run.config for run in reversed(runs)}
    for config in reversed(firsts.values()):
        given = Path(study.split) if study.split else None
        fix_split(config.data, given, _kept_in(config, out), skip_invalid=config.skip_invalid)


def _kept_in(config: RunConfig, out: Path) -> Path:
    """The folder in which the split of a run lies, where the study has drawn it."""
    split = Path(config.split)
    return split.parent if split.is_relative_to(out) else out


def _split(study: Study, condition: Condition, out: Path) -> Path:
    """The split of a condition: of groups and questions of its own data."""
    if study.split:
        return split_file(Path(study.split), out)
    fixed = split_file(None, out)
    if not study.many_data:
        return fixed
    return out / SPLITS_FOLDER / _name(str(condition.settings["data"])) / SPLIT_FILE


def _folder(condition: Condition, study: Study) -> str:
    """The folder of a condition: the same however a study file is ordered or added to."""
    names = study.names()
    parts = [f"{names[k].replace(' ', '_')}={text_of(v)}" for k, v in condition.varied.items()]
    return _name(",".join([condition.case, *parts] if condition.case else parts) or "run")


def _name(text: str) -> str:
    """A name for a file that is unlike those of other texts."""
    plain = re.sub(r"[^A-Za-z0-9.,=_+-]+", "-", text).strip("-.")[:_LONGEST_NAME]
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
