"""Benchmark ``tally``: runs on noised counts beside plain ones, and counting itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alignment.data.population import load_population
from clients.sessions.group_ledger import forget_ledgers
from clients.sessions.group_tally import forget_tallies
from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.simulation.simulate import simulate
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.step import private_count
from privacy.accounting.terms import terms_of_counts
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import Answers, private_tally
from server.config import RunConfig, read_run_config

_PERSONS = _QUESTIONS = 1000
_OPTIONS = 4
_TURNS = 5
_RUN_GOAL = Goal(sense="at most", bound=1.05)
_COUNT_GOAL = Goal(sense="at most", bound=1.0)


def measure() -> list[Figure]:
    """Time of a private run on noised counts over that of a plain run of the same rounds.

    Measured: in turns, (1) whole runs of 36 rounds of the head and 6 of adapters on the built-in
    survey, 9 groups with secure sums, once without privacy and once with ``privacy.mechanism =
    tally`` at epsilon 4: calibration, both accountants, counting, noise, ledgers with an event for
    each group and round, and all rounds; (2) counting the answers of 1,000 persons to 1,000
    questions of 4 options and noising the counts, in seconds. Goals: 1.05 for (1), a second for
    (2).

    Not measured: reading the records, and what runs are measured by when they are over.
    """
    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        runs = {
            "plain": _run(Path(folder) / "plain", {}),
            "counted": _run(
                Path(folder) / "counted", {"privacy.mode": "local", "privacy.epsilon": 4.0}
            ),
        }
        seconds = interleave(runs, turns=_TURNS, limit_seconds=400.0)
    counting = interleave({"count": _count()}, turns=_TURNS)
    return [
        Figure.of("(1) counted / plain run", seconds["counted"] / seconds["plain"], "x", _RUN_GOAL),
        Figure.of("(2) counting 1e6 answers", counting["count"], "s", _COUNT_GOAL),
    ]


def _run(out: Path, settings: dict[str, object]) -> Callable[[], object]:
    config: RunConfig = read_run_config(
        {
            "out": str(out),
            "federation.warmup_rounds": 36,
            "federation.adapter_rounds": 6,
            "federation.evaluate_every": 0,
            **settings,
        }
    )
    population = load_population(config.data, split="", seed=config.seed, skip_invalid=False)

    def run() -> None:
        # Every turn counts anew: neither ledgers nor tallies are there from the one before.
        shutil.rmtree(out, ignore_errors=True)
        forget_ledgers()
        forget_tallies()
        simulate(config, population)

    return run


def _count() -> Callable[[], object]:
    options = [_OPTIONS] * _QUESTIONS
    terms = terms_of_counts(
        unit=Unit.RESPONDENT,
        epsilon=4.0,
        delta=1e-5,
        units_per_group=[_PERSONS],
        options=[options],
        questionnaires=["0" * 64],
        distributions=False,
        answers_per_respondent=_QUESTIONS,
    )
    plan = PrivacyPlan.calibrate(terms)
    bounds = plan.count_bounds(options)
    persons, questions = np.divmod(np.arange(_PERSONS * _QUESTIONS), _QUESTIONS)
    answers = Answers(
        persons=persons,
        questions=questions,
        options=np.random.default_rng(0).integers(_OPTIONS, size=persons.size),
        weights=np.ones(persons.size),
    )

    def count() -> None:
        source = SystemRandomStream()
        private_tally(private_count(answers, bounds, plan, source=source), bounds)
        source.erase()

    return count
