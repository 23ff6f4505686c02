"""The lines of a study's pictures: means over draws with their band, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from experiments.report.canvas import ACCENT, INK
from experiments.report.wording import Json, is_number
from experiments.studies.file import text_of

#: More lines than these nobody tells apart.
MOST_LINES = 24

#: Okabe and Ito's colours, without the yellow that white paper swallows.
_COLOURS = (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
#: Told apart without colour, too.
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.2)), (0, (6, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Of values that rise: darker is less. The lightest part of the map is too light for white.
_RISING = ("cividis", 0.0, 0.75)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line.

    Attributes:
        label: In words.
        xs: Where it was measured, rising.
        means: Over draws.
        lows: The lowest draw at each place.
        highs: The highest.
        style: Colour, dashes and marker, as matplotlib names them.
    """

    label: str
    xs: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    style: Json


def rows_by_place(study: Json) -> dict[int, list[Json]]:
    """The rows of every place that has one, in the order of places."""
    places: dict[int, list[Json]] = {each["place"]: [] for each in study["places"]}
    for row in study["rows"]:
        places[row["place"]].append(row)
    return {place: rows for place, rows in places.items() if rows}


def label_of(study: Json, place: int) -> str:
    """What a place is called; the title of a study that has no other."""
    return str(study["places"][place]["label"] or study["title"])


def curves(study: Json, across: str) -> list[Series]:
    """A line for each place: alignment as training goes on, at points that all its draws have.

    Args:
        study: Contents of ``study.json``.
        across: ``round``, or ``bytes_up`` on a logarithmic axis: its points begin above 0.
    """
    found = []
    for place, rows in rows_by_place(study).items():
        points: dict[int, list[Json]] = {}
        for row in rows:
            for point in row["curve"]:
                points.setdefault(point["round"], []).append(point)
        whole = [each for _, each in sorted(points.items()) if len(each) == len(rows)]
        kept = []
        for each in whole:
            xs = [point[across] for point in each]
            if all(is_number(x) and (x > 0 or across == "round") for x in xs):
                kept.append((math.fsum(xs) / len(xs), [point["alignment"] for point in each]))
        if kept:
            found.append(_series(label_of(study, place), kept, _style(study, place)))
    return found


def against(study: Json, axis: str) -> list[Series]:
    """A line for each place but for the value of one key: final alignment against that value."""
    lines: dict[str, list[tuple[float, list[float]]]] = {}
    for place, rows in rows_by_place(study).items():
        values = [row["alignment"] for row in rows if is_number(row["alignment"])]
        if values:
            at = float(study["places"][place]["varied"][axis])
            lines.setdefault(_rest(study, place, axis), []).append((at, values))
    return [
        _series(
            label or str(study["title"]),
            sorted(points),
            {
                "color": _COLOURS[i % len(_COLOURS)],
                "ls": _DASHES[i % len(_DASHES)],
                "marker": _MARKERS[i % len(_MARKERS)],
            },
        )
        for i, (label, points) in enumerate(lines.items())
    ]


def _rest(study: Json, place: int, axis: str) -> str:
    """What a place is called without its value of a key."""
    each, names = study["places"][place], study["names"]
    parts = [each["case"]] if each["case"] else []
    parts += [f"{names[k]} {text_of(v)}" for k, v in each["varied"].items() if k != axis]
    return ", ".join(parts)


def _series(label: str, points: Sequence[tuple[float, list[float]]], style: Json) -> Series:
    return Series(
        label=label,
        xs=tuple(x for x, _ in points),
        means=tuple(math.fsum(values) / len(values) for _, values in points),
        lows=tuple(min(values) for _, values in points),
        highs=tuple(max(values) for _, values in points),
        style=style,
    )


def _style(study: Json, place: int) -> dict[str, Any]:
    """Of the line of a place; where one key varies numbers, their order is that of colours."""
    axis = study["axis"]
    if axis is None:
        return {
            "color": _COLOURS[place % len(_COLOURS)],
            "ls": _DASHES[place % len(_DASHES)],
            "marker": _MARKERS[place % len(_MARKERS)],
        }
    values = sorted(study["vary"][axis])
    rank = values.index(study["places"][place]["varied"][axis])
    others = list(dict.fromkeys(_rest(study, i, axis) for i in range(len(study["places"]))))
    line = others.index(_rest(study, place, axis))
    name, start, end = _RISING
    return {
        "color": to_hex(colormaps[name](start + (end - start) * rank / (len(values) - 1))),
        # Neighbouring values differ in dashes as well, unless these tell cases apart.
        "ls": _DASHES[(line if others[1:] else rank) % len(_DASHES)],
        "marker": _MARKERS[rank % len(_MARKERS)],
    }
