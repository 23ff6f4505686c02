"""Benchmark ``secagg``: time of secure aggregation at members and server, and beside a round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.training.private_layout import private_layout
from clients.training.trainer import train_locally
from experiments.benchmarks.dp import private_step
from experiments.benchmarks.harness import Figure, Goal, interleave, peak_gigabytes
from experiments.benchmarks.workloads.plans import first_task
from experiments.benchmarks.workloads.questions import batch_of, sample_answers
from experiments.benchmarks.workloads.secagg_attempt import Cost, Setting, attempt
from server.config import RunConfig, read_run_config

#: With this in the environment, every one of 1000 members does everything; minutes longer.
ALL_MEMBERS = "FEDACCORD_SECAGG_ALL_MEMBERS"

CLIENT_MS, SERVER_MS = "client_ms", "server_ms"

_SAMPLE = 20
_UNITS = 128
#: How often sizes are measured, up to 50 members: what takes little time varies more.
_TURNS = {15: (3, 10), 3: (50,)}
_ROUND_TURNS = 7
_ROUND_SECONDS = 20.0
_GOAL = Goal(sense="at most", bound=5.0)
_MEMORY_GOAL = Goal(sense="at most", bound=10.0)
_DROPPING = 0.1


def measure() -> list[Figure]:
    """Milliseconds of secure aggregation per member and at the server, and beside a round.

    Measured: whole attempts, five stages, with the state machines and kept states of the product;
    members one after another, their vectors of 1e5 or 1e6 numbers quantised to uint32 (in the
    member's time, as is encoding what it keeps between stages). The server's time is all its work
    for all members; both are processor time. Every attempt must end in the exact sum. "10 % drop":
    a tenth of the members, spread over the stages; only those that stay count. Of 3 members none
    may drop.

    Sampled: at 1000 members, and at 200 with 1e6 numbers, 20 members do everything and are timed;
    the others stand in for them: they believe the server instead of checking it, send one vector
    all alike, and leave out masks that would cancel among themselves. The server sees no difference
    and does all its work. FEDACCORD_SECAGG_ALL_MEMBERS=1 lets all of 1000 members do everything
    with 1e5 numbers, for several minutes. From 200 members on an attempt is made once, below at
    least four times, the first not counted.

    share_of_round: of 10 members with 1e5 numbers, a member's time and the server's time for all
    of them (a member waits for it), in percent of one client's training round in the same turn, all
    by the clock: one epoch over the first train group of the built-in survey, adapters and head,
    default settings without privacy, what is remembered of the frozen layers already there. Goal:
    at most 5. Beside it, without a goal: the mean round of a default run, whose first 40 of 50
    rounds train the head alone; such a round; and a private round at the default private settings
    (head alone, 128 units), with vectors of its own size.

    Peak memory is that of the whole process, with what ran before. Goal: at most 10 GB.

    Not measured: messages on their way and the grid, files of keys, and waiting for others.
    """
    figures = _round_figures()
    for setting, costs in _growth():
        figures += _cost_figures(setting, costs)
    figures.append(
        Figure.of("peak memory of the process", [peak_gigabytes()], "GB", _MEMORY_GOAL,
                  key="peak_memory_gb")
    )  # fmt: skip
    return figures


def settings(*, all_members: bool = False) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
    """Settings that are run in turns, and those that are run once.

    Args:
        all_members: Whether nobody stands in at 1000 members and 1e5 numbers.
    """
    in_turns = [Setting(members=n, dimension=d) for d in (10**5, 10**6) for n in (3, 10, 50)]
    in_turns += [Setting(members=n, dimension=10**5, dropping=_DROPPING) for n in (10, 50)]
    once = [
        Setting(members=200, dimension=10**5),
        Setting(members=200, dimension=10**5, dropping=_DROPPING),
        Setting(members=200, dimension=10**6, sample=_SAMPLE),
        Setting(members=1000, dimension=10**5, sample=None if all_members else _SAMPLE),
        Setting(members=1000, dimension=10**6, sample=_SAMPLE),
    ]
    return tuple(in_turns), tuple(once)


def _growth() -> Iterator[tuple[Setting, Sequence[Cost]]]:
    in_turns, once = settings(all_members=bool(os.environ.get(ALL_MEMBERS)))
    # Seconds of this process: what it waits for others on a busy machine is not in them.
    clock = time.process_time
    costs: dict[Setting, list[Cost]] = {setting: [] for setting in in_turns}

    def run(setting: Setting) -> Callable[[], None]:
        return lambda: costs[setting].append(attempt(setting, clock=clock))

    for turns, sizes in _TURNS.items():
        chosen = {str(each): run(each) for each in in_turns if each.members in sizes}
        interleave(chosen, turns=turns, limit_seconds=30.0)
    for setting in in_turns:
        yield setting, costs[setting][1:]
    for setting in once:
        yield setting, [attempt(setting, clock=clock)]


def _cost_figures(setting: Setting, costs: Sequence[Cost]) -> list[Figure]:
    """A member's milliseconds, all members and attempts alike, and the server's."""
    at = {name: getattr(setting, name) for name in ("members", "dimension", "dropping")}
    name = f"n = {setting.members}, d = {setting.dimension:.0e}".replace("e+0", "e")
    if setting.dropping:
        name += f", {setting.dropping:.0%} drop".replace("%", " %")
    members = [1000 * seconds for cost in costs for seconds in cost.members]
    server = [1000 * cost.server for cost in costs]
    return [
        Figure.of(f"client, {name}", members, "ms", key=CLIENT_MS, at=at),
        Figure.of(f"server, {name}", server, "ms", key=SERVER_MS, at=at),
    ]


def _round_figures() -> list[Figure]:
    """Secure aggregation beside rounds of one client, in turns."""
    answers, config = sample_answers(), RunConfig()
    predictor = Predictor(read_run_config({"privacy.mode": "distributed"}).predictor)
    vector = to_vector(Predictor(config.predictor))
    both, head = (first_task(config, train_adapter=adapters) for adapters in (True, False))
    usual = Setting(members=10, dimension=10**5)
    small = replace(usual, dimension=private_layout(predictor, adapters=False).dimension)
    costs: dict[Setting, list[float]] = {usual: [], small: []}
    seconds = interleave(
        {
            "secagg": lambda: costs[usual].append(attempt(usual).one_and_server),
            "round": lambda: train_locally(vector, answers, both),
            "head": lambda: train_locally(vector, answers, head),
            "small": lambda: costs[small].append(attempt(small).one_and_server),
            "private": private_step(predictor, batch_of(answers, _UNITS), adapters=False),
        },
        turns=_ROUND_TURNS,
        limit_seconds=_ROUND_SECONDS,
    )
    # The first cost belongs to the turn that does not count.
    percent = {setting: 100 * np.array(each[1:]) for setting, each in costs.items()}
    default = config.federation
    mean_round = (
        default.warmup_rounds * seconds["head"] + default.adapter_rounds * seconds["round"]
    ) / default.rounds
    return [
        Figure.of("secagg / training round, n = 10, d = 1e5", percent[usual] / seconds["round"],
                  "%", _GOAL, key="share_of_round"),
        Figure.of("secagg / mean round of a default run", percent[usual] / mean_round, "%",
                  key="share_of_mean_round"),
        Figure.of("secagg / round of the head alone", percent[usual] / seconds["head"], "%",
                  key="share_of_head_round"),
        Figure.of(f"secagg / private round, d = {small.dimension:,}",
                  percent[small] / seconds["private"], "%", key="share_of_private_round"),
    ]  # fmt: skip
