"""The picture of secure aggregation: its cost against members and length of vectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.benchmarks.harness import Figure
from experiments.benchmarks.secagg import CLIENT_MS, SERVER_MS
from experiments.report.axes import rule, stroke
from experiments.report.canvas import (
    ACCENT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    Canvas,
    font,
    spread,
    text_width,
)
from privacy.secagg.graph import MOST_COMPLETE

_PANELS = ((CLIENT_MS, "one member, all five stages"), (SERVER_MS, "the server, for all members"))
_LEFT = MARGIN + 0.58
_ACROSS = 2.55
_BETWEEN = 0.78
_HEIGHT = 3.3

#: Of the smaller and the larger vectors, and of attempts in which members drop.
_LINES: tuple[Mapping[str, Any], ...] = (
    {"color": ACCENT, "lw": 1.8, "ls": "-", "zorder": 4},
    {"color": INK, "lw": 1.5, "ls": (0, (4, 1.6)), "zorder": 3},
)
_MARKS: tuple[Mapping[str, Any], ...] = (
    {"marker": "o", "ms": 6.5, "mfc": ACCENT, "mec": "white", "mew": 0.8, "zorder": 7},
    {"marker": "s", "ms": 5.5, "mfc": "white", "mec": INK, "mew": 1.3, "zorder": 6},
)
_DROPPED: Mapping[str, Any] = {
    "marker": "x", "ms": 6.5, "mec": INK, "mew": 1.3, "zorder": 8, "ls": "",
}  # fmt: skip

_FOOTNOTE = (
    f"Up to {MOST_COMPLETE} members everybody shares with everybody; beyond, each with a few "
    "dozen, and what still grows for a member is that it checks every other's signature. "
    "Members run one after another on one machine; of the largest cohorts a sample is timed, "
    "and its median shown. No network."
)

_Points = list[tuple[float, float]]


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Draw milliseconds of a member and of the server against members, both axes logarithmic.

    Args:
        figures: Of the benchmark ``secagg``; those outside its two series are left out.
        path: The PNG.

    Raises:
        ValueError: A series is empty.
    """
    panels = [(title, _series(figures, key)) for key, title in _PANELS]
    if not all(whole for _, (whole, _) in panels):
        raise ValueError("figures hold no series of secure aggregation; run its benchmark")
    values = [ms for _, both in panels for each in both for line in each.values() for _, ms in line]
    members = sorted({n for _, (whole, _) in panels for line in whole.values() for n, _ in line})

    canvas = Canvas()
    top = canvas.heading(
        _title(panels[0][1][0]),
        "Processor time of a member in all five stages (left), and of the server for all members "
        "together (right), in an attempt at one sum. Both axes are logarithmic.",
    )
    dimensions = sorted(panels[0][1][0])
    _draw_key(canvas, top, dimensions, dropping=any(dropped for _, (_, dropped) in panels))
    top += 0.42
    for number, (title, (whole, dropped)) in enumerate(panels):
        left = _LEFT + number * (_ACROSS + _BETWEEN)
        canvas.write(left, top, title, size=9, weight="bold")
        axes = canvas.axes(left, top + 0.25, _ACROSS, _HEIGHT)
        _prepare(axes, members, values, named=number == 0)
        for index, dimension in enumerate(dimensions):
            _draw_line(axes, sorted(whole[dimension]), index)
        for line in dropped.values():
            axes.plot(*zip(*line, strict=True), **_DROPPED)
        _label_ends(axes, {d: sorted(whole[d])[-1] for d in dimensions})
    top += 0.25 + _HEIGHT + 0.28
    for number in range(len(panels)):
        centre = _LEFT + number * (_ACROSS + _BETWEEN) + _ACROSS / 2
        canvas.write(centre, top, "members", size=8, color=QUIET, align="center")
    top = canvas.footnote(top + 0.3, _FOOTNOTE, lines=4)
    canvas.save(path, height=top + 0.25)


def _series(
    figures: Sequence[Figure], key: str
) -> tuple[dict[float, _Points], dict[float, _Points]]:
    """Members and milliseconds by dimension: without members that drop, and with."""
    whole: dict[float, _Points] = defaultdict(list)
    dropped: dict[float, _Points] = defaultdict(list)
    for figure in figures:
        if figure.key == key and figure.at:
            series = dropped if figure.at["dropping"] else whole
            series[figure.at["dimension"]].append((figure.at["members"], figure.value))
    return whole, dropped


def _title(client: Mapping[float, _Points]) -> str:
    """The finding of the picture: a member's time in the largest cohort."""
    dimension = min(client)
    members, ms = max(client[dimension])
    return f"Of {members:,.0f} members, each pays {_time(ms)} to sum {_count(dimension)} numbers"


def _time(ms: float) -> str:
    """Milliseconds to two digits, in the unit that reads best."""
    value, unit = (ms / 1000, "s") if ms >= 1000 else (ms, "ms")
    digits = f"{value:.2g}"
    return f"{float(digits):g} {unit}"


def _count(dimension: float) -> str:
    return f"{dimension:,.0f}" if dimension < 10**6 else f"{dimension / 10**6:g} million"


def _prepare(axes: Axes, members: Sequence[float], values: Sequence[float], *, named: bool) -> None:
    """Axes that both panels share; their heights are named once."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(members[0] / 1.25, members[-1] * 1.35)
    axes.set_ylim(min(values) / 1.7, max(values) * 1.7)
    axes.set_xticks(members, [f"{n:,.0f}" for n in members])
    low, high = axes.get_ylim()
    decades = [10.0**power for power in range(-2, 8) if low <= 10.0**power <= high]
    axes.set_yticks(decades, [_time(ms) if named else "" for ms in decades])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    rule(axes)
    stroke(axes, members)


def _draw_line(axes: Axes, points: _Points, index: int) -> None:
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, **_LINES[index % len(_LINES)])
    axes.plot(xs, ys, ls="", **_MARKS[index % len(_MARKS)])


def _label_ends(axes: Axes, ends: Mapping[float, tuple[float, float]]) -> None:
    """Name each line and its last value to the right of it, kept apart."""
    low, high = axes.get_ylim()

    def height(ms: float) -> float:
        at = axes.transData.transform((1.0, ms))[1]
        bottom, top = (axes.transData.transform((1.0, edge))[1] for edge in (low, high))
        return float((at - bottom) / (top - bottom))

    dimensions = list(ends)
    places = spread([height(ends[d][1]) for d in dimensions], 0.36 / _HEIGHT)
    for number, (dimension, place) in enumerate(zip(dimensions, places, strict=True)):
        axes.text(
            1.02, place, f"{_count(dimension)}\n{_time(ends[dimension][1])}",
            transform=axes.transAxes, va="center", linespacing=1.2,
            color=_LINES[number % len(_LINES)]["color"], fontproperties=font(8),
        )  # fmt: skip


def _draw_key(canvas: Canvas, top: float, dimensions: Sequence[float], *, dropping: bool) -> None:
    """The marks and their meaning."""
    left = MARGIN
    key = canvas.axes(left, top, INNER, 0.2)
    key.set_xlim(left, left + INNER)
    key.set_ylim(0, 1)
    for number, dimension in enumerate(dimensions):
        key.plot([left, left + 0.36], [0.5, 0.5], **_LINES[number % len(_LINES)])
        key.plot(left + 0.18, 0.5, ls="", **_MARKS[number % len(_MARKS)])
        name = f"vectors of {_count(dimension)} numbers"
        canvas.write(left + 0.43, top + 0.025, name, size=8, color=QUIET)
        left += 0.43 + text_width(name, 8) + 0.25
    if dropping:
        key.plot(left + 0.06, 0.5, **_DROPPED)
        canvas.write(left + 0.19, top + 0.025, "a tenth of the members drop", size=8, color=QUIET)
