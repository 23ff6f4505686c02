"""One simulated run from settings to the finished folder: rounds, figures, pictures, report."""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignment.data.population import Population, load_population
from alignment.data.split import SPLIT_FILE
from alignment.model.file_names import HEAD_FILE
from atomic import write_atomically
from experiments.report.views import PREDICTIONS_FILE
from experiments.simulation.figures import result_of
from privacy.file_names import RESULT_FILE
from server.config import ConfigError, RunConfig
from server.state.checkpoint import FOLDER, newest_round

if TYPE_CHECKING:
    from experiments.simulation.local_grid import LocalGrid
    from experiments.simulation.results import FinishedRun

logger = logging.getLogger(__name__)


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    holds = [name for name in (RESULT_FILE, HEAD_FILE) if (out / name).exists()]
    if holds and not overwrite:
        raise ConfigError(f"--out {out}: holds {holds[0]} of a run; choose another or --overwrite")
    if newest_round(out / FOLDER) and not overwrite:
        raise ConfigError(
            f"--out {out}: holds a run that was not finished; go on with it by --resume, choose "
            "another or --overwrite"
        )


def _rounds_done(config: RunConfig, out: Path) -> int:
    """Rounds of the unfinished run that lies in a folder; refuses any other folder."""
    # Not imported where a run begins: data are checked first.
    from server.state.resume import find_checkpoint

    if (out / RESULT_FILE).exists():
        raise ConfigError(
            f"--out {out}: the run there is finished, its figures stand in {RESULT_FILE}; there is "
            "nothing to resume"
        )
    if newest_round(out / FOLDER) is None:
        raise ConfigError(
            f"--out {out}: holds no checkpoint of a run to go on from; begin it without --resume"
        )
    return find_checkpoint(config).round


def _check_split(out: Path, population: Population) -> None:
    """A run goes on with the groups and questions that it began with."""
    path = out / SPLIT_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != population.split.to_json():
        raise ConfigError(
            f"{path}: is not the split that data and settings give now; put back the data that "
            "the run began with, or begin another"
        )


def _check_ledgers(out: Path, ledgers: str) -> None:
    """Ledgers that are to outlast a run must not lie where the next run clears up."""
    if ledgers and Path(ledgers).resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"privacy.ledgers = {ledgers!r} lies in --out {out}, which a run replaces: what was "
            "spent would be forgotten; name a folder elsewhere"
        )


def _check_start(config: RunConfig, out: Path) -> None:
    """Refuse a start that cannot be read, before a folder of results is replaced."""
    from server.state.start import read_start

    start = config.training.start
    if start and Path(start).resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"training.start = {start!r} lies in --out {out}, which a run replaces; name another "
            "--out, or a copy elsewhere"
        )
    read_start(config)


def _check_shape(config: RunConfig, population: Population) -> None:
    """Refuse data that a private step has no room for: it would take their records for absent.

    Only whoever holds all the data, as here, can look; a group on its own is told by its client's
    check.
    """
    privacy = config.privacy
    if not privacy.private:
        return
    train = [population.answers[group] for group in population.split.train_groups]
    questions = [question for each in train for question in each.questions]
    most = max(len(question.options) for question in questions)
    if most > privacy.max_options:
        raise ConfigError(
            f"privacy.max_options = {privacy.max_options}, but a question has {most}: raise it, or "
            "leave the question out"
        )
    apart = privacy.options_apart or config.predictor.scores == "policy"
    if not apart and not all(question.together for question in questions):
        raise ConfigError(
            "privacy.options_apart = false, but the data hold pairs, for which a private step then "
            "has no room: set it to true, and privacy.max_options to 2 where all are pairs"
        )


def run(config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
    """Run a federation and leave everything about it in ``config.out``; returns ``result.json``.

    With ``config.resume`` the unfinished run that lies there goes on. A run that fails or is
    stopped leaves what it needs for that: checkpoints, ledgers and keys.

    Raises:
        ValueError: Settings, data or split are wrong; the message is one line.
        RuntimeError: The run itself failed.
    """
    started = time.perf_counter()
    out = Path(config.out)
    done = 0
    if config.resume:
        done = _rounds_done(config, out)
    else:
        _check_out(out, overwrite=overwrite)
    _check_ledgers(out, config.privacy.ledgers)
    population = load_population(
        config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
    )
    _check_shape(config, population)
    if config.simulation.device != "cpu":
        _check_device(config.simulation.device)
    if config.resume:
        _check_split(out, population)
    else:
        _check_start(config, out)
        # Only now: bad input must not cost what a folder held.
        _begin(out, population)
    # Data are checked in a second; what follows takes several to import.
    from alignment.model.encoders.device import computing_on
    from experiments.simulation.results import measure_run
    from experiments.simulation.simulate import left_out
    from privacy.identity.key_folder import run_keys

    with computing_on(config.simulation.device):
        grid = _simulated(config, population)
        absent = left_out(config, population)
        config = replace(config, resume=False)
        finished = measure_run(config, population, grid, absent, started=started, done=done)
        result = _write(out, finished)
    # Keys of simulated groups are of no use after their run.
    for folder in (run_keys(out), out / FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _check_device(name: str) -> None:
    from alignment.model.encoders.device import device_named

    device_named(name)


def _begin(out: Path, population: Population) -> None:
    """Make the folder of a run, and clear it of one that is replaced."""
    from privacy.identity.key_folder import run_keys
    from privacy.ledger.paths import MODELS, ledgers_folder

    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT_FILE).unlink(missing_ok=True)
    write_atomically(out / SPLIT_FILE, population.split.to_json())
    # Nobody can go on with the earlier run in parts.
    for folder in (out / FOLDER, ledgers_folder(out, ""), run_keys(out), out / MODELS):
        shutil.rmtree(folder, ignore_errors=True)


def _simulated(config: RunConfig, population: Population) -> LocalGrid:
    """Run all rounds; what failed before its first round leaves no keys."""
    from clients.sessions.group_ledger import forget_ledgers
    from experiments.simulation.simulate import simulate
    from privacy.identity.key_folder import run_keys

    out = Path(config.out)
    try:
        return simulate(config, population)
    except BaseException:
        if newest_round(out / FOLDER) is None:
            shutil.rmtree(run_keys(out), ignore_errors=True)
        raise
    finally:
        forget_ledgers()


def _write(out: Path, finished: FinishedRun) -> dict[str, Any]:
    """Write predictions, pictures, report and, last, ``result.json``, which is returned."""
    from experiments.report.plots import draw_plots
    from experiments.report.report import write_report

    result, predictions, rounds = result_of(finished), finished.predictions(), finished.rounds
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions)
    write_atomically(out / PREDICTIONS_FILE, lines)
    draw_plots(out, result, rounds, predictions)
    write_report(out, result, rounds, predictions)
    write_atomically(out / RESULT_FILE, json.dumps(result, indent=2) + "\n")
    return result
