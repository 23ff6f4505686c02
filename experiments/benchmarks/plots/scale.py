"""The picture of scale: time, overhead and memory of a simulated round against its groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.benchmarks.harness import Figure
from experiments.benchmarks.scale import MEMORY, OVERHEAD, SECONDS
from experiments.report.axes import rule, stroke
from experiments.report.canvas import ACCENT, INK, MARGIN, QUIET, Canvas, font
from privacy.secagg.graph import MOST_COMPLETE

_LEFT = MARGIN + 0.5
_ACROSS = 1.62
_BETWEEN = 0.62
_HEIGHT = 2.5
_NAMES = {1.0: "with adapters", 0.0: "head alone"}
_LINES: Mapping[float, Mapping[str, Any]] = {
    1.0: {"color": ACCENT, "lw": 1.8, "marker": "o", "ms": 5.5, "mec": "white", "zorder": 4},
    0.0: {"color": INK, "lw": 1.5, "ls": (0, (4, 1.6)), "marker": "s", "ms": 4.5, "mfc": "white"},
}

_NOTE = (
    "One process, all groups in turn, every message serialised. Overhead: all of a round that is "
    "not local training, in percent of it, on a logarithmic axis."
)
_FOOTNOTE = (
    f"Up to {MOST_COMPLETE} groups every group shares masks with every other, so that the work of "
    "each grows with all; beyond, each has a few dozen neighbours. Training the head alone takes "
    "little, so that the same work is more beside it; it is the first round, which also encodes "
    "all texts once."
)

_Points = list[tuple[float, float]]


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Draw seconds a group, overhead and memory against groups.

    Args:
        figures: Of the benchmark ``scale``; others are left out.
        path: The PNG.

    Raises:
        ValueError: A series is empty.
    """
    seconds, overhead, memory = (_series(figures, key) for key in (SECONDS, OVERHEAD, MEMORY))
    if not all(1.0 in lines for lines in (seconds, overhead, memory)):
        raise ValueError("figures hold no series of scale; run its benchmark")
    canvas = Canvas()
    top = canvas.heading(_title(overhead[1.0]), _NOTE)
    groups = sorted({groups for groups, _ in seconds[1.0]})
    panels = (
        ("seconds a group", seconds, ""),
        ("overhead, of training", overhead, "%"),
        ("memory", memory, " GB"),
    )
    for number, (title, lines, unit) in enumerate(panels):
        left = _LEFT + number * (_ACROSS + _BETWEEN)
        canvas.write(left, top, title, size=9, weight="bold")
        axes = canvas.axes(left, top + 0.27, _ACROSS, _HEIGHT)
        _prepare(axes, groups)
        for kind, points in sorted(lines.items()):
            xs, ys = zip(*sorted(points), strict=True)
            axes.plot(xs, ys, **_LINES[kind])
        values = [value for points in lines.values() for _, value in points]
        _set_heights(axes, values, logarithmic=lines is overhead)
        last = max(lines[1.0])
        axes.annotate(
            f"{last[1]:.2g}{unit}", last, xytext=(0, 6), textcoords="offset points",
            ha="right", color=ACCENT, fontproperties=font(8),
        )  # fmt: skip
        canvas.write(
            left + _ACROSS / 2, top + 0.27 + _HEIGHT + 0.28, "groups", size=8, color=QUIET,
            align="center",
        )  # fmt: skip
    top += 0.27 + _HEIGHT + 0.55
    for number, kind in enumerate(sorted(_NAMES, reverse=True)):
        left = MARGIN + number * 1.6
        key = canvas.axes(left, top, 0.36, 0.16)
        key.plot([0, 1], [0.5, 0.5], **{**_LINES[kind], "markevery": [1]})
        key.set_xlim(-0.2, 1.2)
        key.set_ylim(0, 1)
        canvas.write(left + 0.43, top + 0.01, _NAMES[kind], size=8, color=QUIET)
    top = canvas.footnote(top + 0.32, _FOOTNOTE, lines=4)
    canvas.save(path, height=top + 0.25)


def _series(figures: Sequence[Figure], key: str) -> dict[float, _Points]:
    """Groups and values by kind of round; what is of no kind goes with the adapters."""
    series: dict[float, _Points] = defaultdict(list)
    for figure in figures:
        if figure.key == key:
            series[figure.at.get("adapters", 1.0)].append((figure.at["groups"], figure.value))
    return series


def _title(overhead: _Points) -> str:
    groups, share = max(overhead)
    return (
        f"A round of {groups:,.0f} groups under secure aggregation takes {share:.0f} % longer "
        "than their training alone"
    )


def _set_heights(axes: Axes, values: Sequence[float], *, logarithmic: bool) -> None:
    """The vertical axis: from 0, or logarithmic where two lines are far apart."""
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(min(values) / 1.6, max(values) * 1.6)
        low, high = axes.get_ylim()
        marks = [each for each in (1, 3, 10, 30, 100, 300, 1000) if low <= each <= high]
        axes.set_yticks(marks, [f"{each}" for each in marks])
        axes.yaxis.set_minor_locator(NullLocator())
        return
    axes.set_ylim(0, 1.2 * max(values))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _prepare(axes: Axes, groups: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(groups[0] / 1.3, groups[-1] * 1.3)
    axes.set_xticks(groups, [f"{n:,.0f}" for n in groups])
    axes.xaxis.set_minor_locator(NullLocator())
    rule(axes)
    stroke(axes, groups)
