"""Settings chosen by leaving groups out of the noised counts of a run: a choice that costs nothing.

What is computed of a tally is as private as the tally itself, so that any number of runs may be
trained and measured on the stored ones. Nothing here opens a record.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from alignment.data.answers import GroupAnswers
from alignment.data.loading import write_records
from alignment.data.records import SurveyRecord
from alignment.tallies.tally_file import is_tally, read_tally
from atomic import write_atomically
from experiments.studies.engine import check_draws
from experiments.studies.file import Study
from privacy.file_names import CONFIG_FILE, LEDGERS_FOLDER
from server.config import ConfigError
from strategies.wire.round_plan import Scalar, flatten, unflatten

#: Settings of a run that say where it was and what it promised, not how it trained.
_OF_THE_RUN = ("data", "split", "seed", "out", "resume", "track", "skip_invalid")
_SECTIONS = ("privacy.", "simulation.")
RECORDS_FILE = "noised.jsonl.gz"
SETTINGS_FILE = "settings.toml"


def tallies_in(run: Path) -> list[GroupAnswers]:
    """The noised answers of the groups of a run, of each its newest tally.

    Raises:
        ConfigError: The folder holds none.
    """
    found: dict[str, GroupAnswers] = {}
    files = [path for path in (run / LEDGERS_FOLDER).rglob("*.json") if is_tally(path)]
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        answers = read_tally(path)
        found[answers.group] = answers
    if len(found) < 3:
        raise ConfigError(
            f"{run}: holds the noised counts of {len(found)} group(s), and choosing takes 3: two "
            "to train and one to leave out; give the folder of a run with privacy.mechanism = tally"
        )
    return [found[name] for name in sorted(found)]


def study_of(run: Path, out: Path, *, vary: Sequence[str], draws: int) -> tuple[Study, Path]:
    """The study that tries settings on the noised counts of a run, and the settings it begins from.

    Args:
        run: Folder of a run that has counted answers once.
        out: Folder of the study; noised records and settings are written there.
        vary: Texts of the form ``key=value,value``.
        draws: How often other groups are left out.

    Raises:
        ConfigError: One line that names the folder or the option.
    """
    check_draws(draws)
    grid = dict(map(_values, vary))
    if not grid:
        raise ConfigError(
            "--vary is missing: name a setting, as in --vary training.dropout=0.1,0.3"
        )
    groups = tallies_in(run)
    out.mkdir(parents=True, exist_ok=True)
    write_records((record for each in groups for record in _records(each)), out / RECORDS_FILE)
    return (
        Study(
            source="fedaccord experiment tune",
            remedy="use --vary, --draws or --out",
            title="Settings tried on noised counts",
            data=str(out / RECORDS_FILE),
            draws=draws,
            vary=grid,
            caveats=(
                "Trained and measured on noised counts alone: this choice costs no privacy. Noise "
                "in what is held out lowers every figure alike.",
            ),
            figures=("alignment", "log_loss"),
        ),
        _settings(run, out / SETTINGS_FILE),
    )


def _records(answers: GroupAnswers) -> list[SurveyRecord]:
    noise = answers.noise or (0.0,) * len(answers)
    return [
        SurveyRecord(
            group=answers.group,
            question=question,
            distribution=target,
            respondents=max(1, round(count)),
            noise=sigma,
        )
        for question, target, count, sigma in zip(
            answers.questions, answers.targets, answers.counts, noise, strict=True
        )
    ]


def _settings(run: Path, path: Path) -> Path:
    """Write how a run has trained, without what it promised."""
    try:
        flat = flatten(tomllib.loads((run / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run / CONFIG_FILE}: cannot be read: {error}") from error
    kept = {
        key: value
        for key, value in flat.items()
        if key not in _OF_THE_RUN and not key.startswith(_SECTIONS)
    }
    write_atomically(path, tomli_w.dumps(unflatten(kept)))
    return path


def _values(text: str) -> tuple[str, tuple[Scalar, ...]]:
    key, sign, values = text.partition("=")
    if not sign or not values:
        raise ConfigError(f"--vary {text!r}: write key=value,value as in training.dropout=0.1,0.3")
    return key.strip(), tuple(_value(each.strip()) for each in values.split(","))


def _value(text: str) -> Scalar:
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def best_of(study: dict[str, Any]) -> str:
    """The settings with the best mean log-loss, as options of a command."""
    means = [mean for mean in study["means"] if mean["log_loss"]["mean"] is not None]
    if not means:
        return ""
    best = min(means, key=lambda mean: mean["log_loss"]["mean"])
    varied = study["conditions"][best["condition"]]["varied"]
    return " ".join(f"--set {key}={value}" for key, value in varied.items())
