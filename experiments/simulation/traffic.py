"""Bytes of every round, as the grid of a simulation counts them: the server knows of none.

The server writes ``rounds.jsonl``; what passed on the wire is added to it when the rounds are over,
also where they ended early, so that a run which goes on has those of all its rounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from atomic import write_atomically
from experiments.simulation.grid_records import Traffic
from experiments.simulation.local_grid import LocalGrid
from server.state.telemetry import ROUNDS_FILE

#: Messages that are no part of a round of training.
_BESIDE = frozenset({"query.setup", "query.show", "evaluate"})


def training_traffic(grid: LocalGrid) -> Traffic:
    """Traffic of all rounds of training, of all groups together."""
    return sum(_training(grid).values(), start=Traffic())


def _training(grid: LocalGrid) -> dict[str, Traffic]:
    """The same by group id of the messages: the number of the round as text."""
    total: dict[str, Traffic] = {}
    for (group_id, kind), traffic in grid.traffic_by_group.items():
        if kind not in _BESIDE:
            total[group_id] = total.get(group_id, Traffic()) + traffic
    return total


def add_bytes(out: Path, grid: LocalGrid) -> None:
    """Write into every line of ``rounds.jsonl`` what the groups sent and received in that round.

    ``bytes_up`` and ``bytes_down`` are of all train groups together, training and secure sums
    alone: neither measurements nor greetings. Rounds that this grid has not seen keep what they
    have, None where that is nothing.

    Args:
        out: Folder of the run; left as it is where it has no rounds, or the grid did not serialise.
        grid: On which they ran.
    """
    path = out / ROUNDS_FILE
    counted = _training(grid)
    if not path.is_file() or not any(each.bytes_up for each in counted.values()):
        return
    write_atomically(path, "".join(_lines(path, counted)))


def _lines(path: Path, counted: dict[str, Traffic]) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        number = record["round"]
        traffic = counted.get(str(number), None if number else Traffic())
        if traffic is not None:
            record |= {"bytes_up": traffic.bytes_up, "bytes_down": traffic.bytes_down}
        yield json.dumps({"bytes_up": None, "bytes_down": None} | record) + "\n"
