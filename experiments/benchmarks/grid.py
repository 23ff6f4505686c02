"""Benchmark ``grid``: the share of the in-process grid in a training round."""

from __future__ import annotations

from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.benchmarks.workloads.federation import TrainingRounds

#: A few suffice, and flatter nothing: what is serialised once for all clients weighs more on them.
_GROUPS = 3
_TURNS = 10
_LIMIT_SECONDS = 30.0
_GOAL = Goal(sense="at most", bound=5.0)


def measure() -> list[Figure]:
    """Share of serialising and inflating in a training round, and the round's time without it.

    Measured: rounds that train adapters and head with three groups of the built-in survey, default
    predictor and training, every message taken apart into bytes and put together again. The share
    is serialisation / (serialisation + handlers) over the train messages of a round, in percent.
    Goal: at most 5. Beside it, whole rounds with serialisation over whole rounds that pass Python
    objects, in turns; they also hold what the share leaves out, such as building messages.

    Not measured: a network, and the first round, which fills the cache of the frozen layers.
    """
    with_bytes = TrainingRounds(serialize=True, groups=_GROUPS)
    without = TrainingRounds(serialize=False, groups=_GROUPS)
    shares: list[float] = []

    def serialized_round() -> None:
        before = with_bytes.grid.seconds
        with_bytes()
        after = with_bytes.grid.seconds
        serialization = after.serialization - before.serialization
        handlers = after.handlers - before.handlers
        shares.append(100 * serialization / (serialization + handlers))

    seconds = interleave(
        {"bytes": serialized_round, "objects": without}, turns=_TURNS, limit_seconds=_LIMIT_SECONDS
    )
    return [
        # The first share belongs to the turn that does not count.
        Figure.of("serialisation in a training round", shares[1:], "%", _GOAL),
        Figure.of(
            "round with serialisation / round without", seconds["bytes"] / seconds["objects"], "x"
        ),
    ]
