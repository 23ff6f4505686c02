"""Benchmark ``ledger``: the ledgers of a round beside its training, and a reviewer's time."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from alignment.data.units import UnitRecords
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.training.private_layout import private_layout
from clients.deployment.bundle import running_digest
from clients.sessions.group_ledger import GroupLedger, forget_ledgers
from clients.task import verified_plan
from clients.training.private_trainer import train_privately
from experiments.benchmarks.harness import Figure, Goal, Stopwatch, interleave
from experiments.benchmarks.workloads.ledger_rehearsal import (
    Rehearsal,
    Units,
    digest_of,
)
from experiments.benchmarks.workloads.plans import (
    RUN,
    calibrated_plan,
    first_task,
    sample_population,
)
from privacy.accounting.accountant import pld_epsilon, rdp_epsilon
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.prv_cross_check import prv_epsilon
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from privacy.identity.keys import Identity, Roster
from privacy.ledger.filter import cost
from server.aggregation.private import PrivateAggregation
from server.aggregation.registration import RegisteredPlan
from server.config import RunConfig, read_run_config

_EVENTS = 10_000
_TURNS = 9
_ROUND_SECONDS = 40.0
_VERIFY_SECONDS = 30.0
#: The last rounds of the long ledgers tell what a round costs there.
_LAST = 20
_SHARE_GOAL = Goal(sense="at most", bound=1.0)
_VERIFY_GOAL = Goal(sense="at most", bound=10.0)


def measure() -> list[Figure]:
    """Time of ledgers at clients and server in a round, and of a review of 10,000 events.

    Measured: (1) ``ledger_share_of_round``: all that a client has its ledger do in a round under
    secure aggregation (show its head and keep the server's word on it, find its plan announced,
    check that the round can be paid for, charge, record what leaves), each time opened, locked and
    made durable anew, in percent of the private training of the same client's round, taken in the
    same turn: the 9 train groups of the built-in survey at the default private settings, encodings
    remembered. (2) All that the server has its ledger do in such a round, for all groups, in
    percent of their training one after another, and of that of one of them. (3) The cost to a
    client of the first round alone: checking the plan, and announcing data, budget and plan, in a
    process that has computed nothing before. (4) ``verify_10000_events_seconds``: reading and
    checking the ledgers of 9 groups and of the server after one long run, 10,000 events in all, in
    a process that remembers no epsilon; every check must hold. Beside it, (1) at the end of these
    ledgers, which are read whole each time they are opened. Goals: at most 1 % for (1), at most
    10 s for (4).

    Not measured: messages on their way, the advertisements themselves, files of keys, and starting
    a process. Files lie where temporary files do (TMPDIR): a disk there takes its own time.
    """
    config = read_run_config({"privacy.mode": "distributed"})
    units = sample_units()
    figures, training = share_figures(config, units, Training(config, units))
    return [
        *figures,
        registration_figure(config, units),
        *verify_figures(config, units, events=_EVENTS, training_seconds=training),
    ]


def sample_units(groups: int | None = None) -> dict[str, Sequence[UnitRecords]]:
    """The respondents of train groups of the built-in survey, the first by name or all."""
    population = sample_population()
    names = sorted(population.split.train_groups)[:groups]
    return {name: population.training_units(name, unit=Unit.RESPONDENT) for name in names}


def plan_of(config: RunConfig, units: Units, *, rounds: int | None = None) -> PrivacyPlan:
    """The plan of a run of all these groups, of so many rounds in place of the configured."""
    return calibrated_plan(
        config,
        [len(each) for each in units.values()],
        rounds=rounds or config.federation.rounds,
        dimension=private_layout(Predictor(config.predictor), adapters=False).dimension,
    )


class Training:
    """Private training rounds of all groups, one after another, as clients execute them.

    Args:
        config: The run.
        units: Of every group.
    """

    def __init__(self, config: RunConfig, units: Units) -> None:
        predictor = Predictor(config.predictor)
        plan, layout = plan_of(config, units), private_layout(predictor, adapters=False)
        registered = RegisteredPlan(
            run=RUN,
            plan=plan,
            epsilon_pld=plan.epsilon,
            epsilon_opacus=plan.epsilon,
            groups=tuple(units),
            layout=layout,
            warmup=layout,
        )
        aggregation = PrivateAggregation(registered, config)
        self._units = units
        self._vector = to_vector(predictor)
        self._tasks = {
            name: first_task(config, train_adapter=False, privacy=aggregation.work(name))
            for name in units
        }

    def __call__(self) -> dict[str, float]:
        """Seconds of a round of every group."""
        seconds = {}
        for name, task in self._tasks.items():
            start = time.perf_counter()
            units = self._units[name]
            train_privately(self._vector, units, task, everybody=units)
            seconds[name] = time.perf_counter() - start
        return seconds


def share_figures(
    config: RunConfig,
    units: Units,
    training: Callable[[], Mapping[str, float]],
    *,
    turns: int = _TURNS,
) -> tuple[list[Figure], float]:
    """Time of ledgers beside that of training, in turns.

    Args:
        config: The run.
        units: Of every group.
        training: Trains one round of every group and gives its seconds.
        turns: That count.

    Returns:
        The figures, and the median seconds of a client's training.
    """
    group_ledger: list[Stopwatch] = []
    rounds: list[Mapping[str, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Rehearsal(Path(folder), units, plan_of(config, units)).begun() as rehearsed,
    ):
        interleave(
            {
                "ledger": lambda: group_ledger.append(rehearsed.round()),
                "training": lambda: rounds.append(training()),
            },
            turns=turns,
            limit_seconds=_ROUND_SECONDS,
        )
    # The first of either belongs to the turn that does not count.
    pairs = list(zip(group_ledger[1:], rounds[1:], strict=True))
    trained = np.array([[taken[name] for name in units] for _, taken in pairs])
    kept = np.array([[each.clients[name] for name in units] for each, _ in pairs])
    server = np.array([each.server for each, _ in pairs])
    count = len(units)
    figures = [
        Figure.of("(1) ledger / private round of a client", (100 * kept / trained).ravel(), "%",
                  _SHARE_GOAL, key="ledger_share_of_round"),
        Figure.of("ledger of a client, a round", (1000 * kept).ravel(), "ms", key="ledger_ms"),
        Figure.of("private training of a client, a round", (1000 * trained).ravel(), "ms",
                  key="training_ms"),
        Figure.of(f"(2) server ledger / round of {count} groups, one by one",
                  100 * server / trained.sum(axis=1), "%", key="book_share_of_round"),
        Figure.of(f"server ledger for {count} groups / round of one",
                  100 * server / trained.mean(axis=1), "%", key="book_share_of_one"),
        Figure.of(f"server ledger for {count} groups, a round", 1000 * server, "ms",
                  key="book_ms"),
    ]  # fmt: skip
    return figures, float(np.median(trained))


def registration_figure(config: RunConfig, units: Units, *, times: int = 3) -> Figure:
    """Time of a client once a run: checking the plan, announcing data, budget and plan."""
    plan = plan_of(config, units)
    text = json.dumps(plan.as_dict(), sort_keys=True)
    name = next(iter(units))
    seconds = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            group_ledger = GroupLedger(
                Path(folder) / "ledger.jsonl",
                Identity.create(),
                Roster({}),
                budget_epsilon=0.0,
                budget_delta=plan.delta,
            )
            _forget()
            start = time.perf_counter()
            group_ledger.prepare(
                RUN, units[name], verified_plan(text), group_index=0, model=digest_of("model 0")
            )
            seconds.append(time.perf_counter() - start)
    forget_ledgers()
    return Figure.of("(3) announcing a run, once", seconds, "s", key="registration_seconds")


def verify_figures(
    config: RunConfig, units: Units, *, events: int, training_seconds: float, turns: int = 3
) -> list[Figure]:
    """Time of a review.

    Args:
        config: The run.
        units: Of every group.
        events: In all ledgers, at least.
        training_seconds: Of a client's round, to be compared with.
        turns: That count.

    Raises:
        RuntimeError: A check failed, or there are fewer events.
    """
    count = len(units)
    # A round: two events in the server ledger and three in each other, but two in the first, which
    # has announced data, budget and plan; the server ledger begins with one.
    rounds = -(-(events - 2 * count - 1) // (3 * count + 2))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with Rehearsal(folder, units, plan_of(config, units, rounds=rounds)).begun() as rehearsed:
            last = [rehearsed.round() for _ in range(rounds)][-_LAST:]
        found: list[int] = []
        seconds = interleave(
            {"verify": lambda: found.append(_review(folder))},
            turns=turns,
            limit_seconds=_VERIFY_SECONDS,
        )["verify"]
    if found[0] < events:
        raise RuntimeError(f"{found[0]} events were written, {events} are to be checked")
    per_ledger = 3 * rounds + 2
    late = np.array([each.clients[name] for each in last for name in units])
    return [
        Figure.of(f"(4) checking {found[0]:,} events", seconds, "s", _VERIFY_GOAL,
                  key=f"verify_{events}_events_seconds"),
        Figure.of("events checked in a second", found[0] / seconds, "1/s",
                  key="verify_events_per_second"),
        Figure.of("checking them / private round of a client", seconds / training_seconds, "x",
                  key="verify_over_round"),
        Figure.of(f"ledger of a client, a round, after {per_ledger:,} events", 1000 * late, "ms",
                  key="ledger_ms_late"),
        Figure.of(f"the same / private round of a client, after {per_ledger:,} events",
                  100 * late / training_seconds, "%", key="ledger_share_late"),
    ]  # fmt: skip


def _review(folder: Path) -> int:
    """Check everything as a process that remembers nothing; the number of events."""
    _forget()
    evidence = gather([folder])
    checks = verify(evidence)
    if not holds(checks) or evidence.server_ledger is None:
        raise RuntimeError(f"the ledgers of the benchmark do not hold: {checks}")
    return len(evidence.server_ledger.events) + sum(len(each.events) for each in evidence.ledgers)


def _forget() -> None:
    """Let go of what this process has computed of plans."""
    for remembered in (pld_epsilon, prv_epsilon, rdp_epsilon, cost, verified_plan, running_digest):
        remembered.cache_clear()
