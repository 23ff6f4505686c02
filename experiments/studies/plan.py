"""From a study file to its runs: settings, folders and splits of every place and draw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.data.split import SPLIT_FILE
from experiments.studies.engine import RUNS_FOLDER, StudyRun, fix_split, split_file
from experiments.studies.file import Place, StudyFile, text_of
from server.config import ConfigError, RunConfig
from server.settings import assemble, given_settings

SPLITS_FOLDER = "splits"
_EVALUATE_EVERY = "federation.evaluate_every"
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class PlacedRun(StudyRun):
    """One simulation of a study from a file.

    Attributes:
        place: Number of its place in the grid, from 0.
    """

    place: int


def plan_runs(
    study: StudyFile, out: Path, *, assignments: Sequence[str] = ()
) -> tuple[PlacedRun, ...]:
    """Put together the settings of all runs; draw by draw, so that one cut short has every place.

    Where a target is asked for, every round is measured unless the file says otherwise. Nothing is
    read or written.

    Args:
        study: What the file says.
        out: Folder of the study.
        assignments: ``key=value`` for every run, over the settings of the file.

    Raises:
        ConfigError: One line that names file, place and setting.
    """
    names, places = study.names(), _places(study)
    defaults = {} if study.target is None else {_EVALUATE_EVERY: 1}
    changed = given_settings(config=None, assignments=assignments)
    made = []
    for seed in range(study.draws):
        for number, place in enumerate(places):
            label = place.label(names) or study.title
            own = {**study.cases.get(place.case, {}), **place.varied}
            for key in changed:
                if key in (*own, "data", "split", "out", "seed", "resume"):
                    raise ConfigError(f"--set {key}: {study.path} sets it; change it there")
            given = {
                "split": str(_split(study, place, out)),
                "out": str(out / RUNS_FOLDER / f"{_folder(place, study)}-seed{seed}"),
                "seed": seed,
            }
            try:
                config = assemble(
                    config=None,
                    assignments=assignments,
                    given={**place.settings, **given},
                    defaults=defaults,
                )
            except ValueError as error:
                raise ConfigError(f"{study.path}: {label}: {error}") from error
            made.append(PlacedRun(kind=label, seed=seed, place=number, config=config))
    return tuple(made)


def _places(study: StudyFile) -> tuple[Place, ...]:
    try:
        return study.places()
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{study.path}: {error}") from error


def fix_splits(study: StudyFile, runs: Sequence[PlacedRun], out: Path) -> None:
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


def _split(study: StudyFile, place: Place, out: Path) -> Path:
    """The split of a place: of groups and questions of its own data."""
    if study.split:
        return split_file(Path(study.split), out)
    fixed = split_file(None, out)
    if not study.many_data:
        return fixed
    return out / SPLITS_FOLDER / _name(str(place.settings["data"])) / SPLIT_FILE


def _folder(place: Place, study: StudyFile) -> str:
    """The folder of a place: the same however a study file is ordered or added to."""
    names = study.names()
    parts = [f"{names[k].replace(' ', '_')}={text_of(v)}" for k, v in place.varied.items()]
    return _name(",".join([place.case, *parts] if place.case else parts) or "run")


def _name(text: str) -> str:
    """A name for a file that is unlike those of other texts."""
    plain = re.sub(r"[^A-Za-z0-9.,=_+-]+", "-", text).strip("-.")[:_LONGEST_NAME]
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
