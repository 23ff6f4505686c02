"""Measuring in turns: ratios within a turn, figures with their spread, and goals beside them.

Seconds mean little on a machine that others use too. So the things compared run in turns, A B A B,
a ratio is taken within each turn, where the machine was in one mood, and the median ratio is what
is reported, with the quartiles as its spread.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

#: Turns that are taken whatever they cost: fewer have no spread.
FEWEST_TURNS = 3

#: Every benchmark by name: a module with a function ``measure``, imported when it is asked for.
BENCHMARKS: dict[str, str] = {
    "prefix": "experiments.benchmarks.prefix",
    "grid": "experiments.benchmarks.grid",
    "bytes": "experiments.benchmarks.message_bytes",
    "dp": "experiments.benchmarks.dp",
    "tally": "experiments.benchmarks.tally",
    "secagg": "experiments.benchmarks.secagg",
    "scale": "experiments.benchmarks.scale",
    "ledger": "experiments.benchmarks.ledger",
    "deployment": "experiments.benchmarks.deployment",
    "trl": "experiments.benchmarks.beside_trl",
    "gpu": "experiments.benchmarks.gpu",
}

#: Those that run only where they are named: they want half an hour, or another machine.
NAMED_ONLY = ("trl", "gpu")

#: Benchmarks with a picture: a module with a function ``draw``.
PICTURES: dict[str, str] = {
    "secagg": "experiments.benchmarks.plots.secagg",
    "scale": "experiments.benchmarks.plots.scale",
}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound that a figure should reach.

    Attributes:
        sense: On which side of the bound the goal lies.
        bound: In the unit of the figure.
    """

    sense: Literal["at least", "at most"]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value reaches the goal; the bound itself does."""
        return value >= self.bound if self.sense == "at least" else value <= self.bound


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: Median of the samples.
        unit: Of the value.
        lower: First quartile of the samples.
        upper: Third quartile of the samples.
        samples: How many there were.
        goal: What the value should reach; None for a figure that is there to be known.
        key: What programs call it, whatever its name says; empty where none asks for it.
        at: Where a series that ``key`` names was measured; empty for a figure of its own.
    """

    name: str
    value: float
    unit: str
    lower: float
    upper: float
    samples: int
    goal: Goal | None = None
    key: str = ""
    at: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        samples: NDArray[np.floating[Any]] | Sequence[float],
        unit: str,
        goal: Goal | None = None,
        *,
        key: str = "",
        at: Mapping[str, float] | None = None,
    ) -> Figure:
        """The median and quartiles of samples.

        Raises:
            ValueError: There is no sample, or one is not finite.
        """
        values = np.asarray(samples, dtype=np.float64)
        if values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"{name}: {values.size} samples, need at least 1 and all finite")
        lower, value, upper = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(
            name=name,
            value=value,
            unit=unit,
            lower=lower,
            upper=upper,
            samples=values.size,
            goal=goal,
            key=key,
            at=dict(at or {}),
        )

    @property
    def holds(self) -> bool:
        """Whether the value reaches its goal; true without one."""
        return self.goal is None or self.goal.holds(self.value)

    def as_dict(self) -> dict[str, Any]:
        """The figure for JSON, with ``holds``."""
        return {**asdict(self), "holds": self.holds}


def values_by_key(figures: Sequence[Figure]) -> dict[str, float]:
    """The values of figures that have a key and are no part of a series.

    Raises:
        ValueError: Two have the same key.
    """
    named = [(figure.key, figure.value) for figure in figures if figure.key and not figure.at]
    values = dict(named)
    if len(values) < len(named):
        raise ValueError(f"two figures share a key among {sorted(values)}: name them apart")
    return values


Benchmark = Callable[[], Sequence[Figure]]
Picture = Callable[[Sequence[Figure], Path], None]


def find(name: str) -> Benchmark:
    """The benchmark of a name; its docstring says what it measures, what not, and the goal.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    return cast(Benchmark, importlib.import_module(BENCHMARKS[name]).measure)


def find_picture(name: str) -> Picture | None:
    """The function that writes a benchmark's figures as a PNG; None where it has no picture."""
    if name not in PICTURES:
        return None
    return cast(Picture, importlib.import_module(PICTURES[name]).draw)


def interleave(
    functions: Mapping[str, Callable[[], object]],
    *,
    turns: int,
    limit_seconds: float = 25.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Time functions in turns: in each turn every function runs once, in their order.

    One turn beforehand is not counted: caches fill and memory is found.

    Args:
        functions: What to time, by name.
        turns: Turns that count.
        limit_seconds: No further turn begins after so many seconds, but three are always taken.
        clock: Gives seconds.

    Returns:
        By name, the seconds of each turn, (turns,) float64: entry i of all names is one turn.

    Raises:
        ValueError: Fewer than three turns are asked for.
    """
    if turns < FEWEST_TURNS:
        raise ValueError(f"turns = {turns} is below {FEWEST_TURNS}: ask for more")
    for function in functions.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    begun = clock()
    for turn in range(turns):
        if turn >= FEWEST_TURNS and clock() - begun >= limit_seconds:
            break
        for name, function in functions.items():
            start = clock()
            function()
            taken[name].append(clock() - start)
    return {name: np.array(seconds) for name, seconds in taken.items()}


class Stopwatch:
    """Adds up the seconds of parties that work in one process.

    Args:
        clock: Gives seconds.

    Attributes:
        clients: By name.
        server: For all clients together.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clients: defaultdict[str, float] = defaultdict(float)
        self.server = 0.0
        self._clock = clock

    @contextmanager
    def client(self, name: str) -> Iterator[None]:
        """Count the time of the block as a client's."""
        start = self._clock()
        yield
        self.clients[name] += self._clock() - start

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count the time of the block as the server's."""
        start = self._clock()
        yield
        self.server += self._clock() - start


def peak_gigabytes() -> float:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
