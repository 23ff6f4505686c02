"""Lines of a study's pictures: means over draws with their band, and their styles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from experiments.report.canvas import ACCENT, INK, QUIET
from experiments.report.wording import Json, is_number
from experiments.studies.figures import FIGURES
from experiments.studies.file import text_of

#: More lines than these nobody tells apart.
MOST_LINES = 24

#: Okabe and Ito's colours, without the yellow that white paper swallows.
_COLOURS = (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
#: Told apart without colour, too.
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.2)), (0, (6, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Of what stands beside the lines.
_ALONE_DASHES = ((0, (9, 2)), (0, (9, 2, 2, 2)), (0, (9, 2, 2, 2, 2, 2)))
_REFERENCE_DASHES = ((0, (5, 2)), (0, (1, 2)), (0, (5, 2, 1, 2)))
#: Of values that rise: darker is less. The lightest part of the map is too light for white.
_RISING = ("cividis", 0.0, 0.75)
_ALONE = "#d55e00"


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line.

    Attributes:
        label: In words.
        xs: Where it was measured, rising.
        means: Over draws.
        lows: The lowest draw at each of them.
        highs: The highest.
        style: Colour, dashes and marker, as matplotlib names them.
    """

    label: str
    xs: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    style: Json


def rows_by_condition(study: Json) -> dict[int, list[Json]]:
    """The rows of every condition that has one, in the order of conditions."""
    found: dict[int, list[Json]] = {each["condition"]: [] for each in study["conditions"]}
    for row in study["rows"]:
        found[row["condition"]].append(row)
    return {condition: rows for condition, rows in found.items() if rows}


def label_of(study: Json, condition: int) -> str:
    """What a condition is called; the title of a study that has no other."""
    return str(study["conditions"][condition]["label"] or study["title"])


def curves(study: Json, across: str) -> list[Series]:
    """A line for each condition: alignment as training goes on, where all its draws have it.

    Args:
        study: Contents of ``study.json``.
        across: ``round``, or ``bytes_up`` on a logarithmic axis: its points begin above 0.
    """
    found = []
    for condition, rows in rows_by_condition(study).items():
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
            found.append(_series(label_of(study, condition), kept, _style(study, condition)))
    return found


def against(study: Json, axis: str, figure: str = "alignment") -> list[Series]:
    """A line for each condition but for the value of one key: a figure against that value.

    Args:
        study: Contents of ``study.json``.
        axis: The key.
        figure: Of the runs, after their last round.
    """
    lines: dict[str, list[tuple[float, list[float]]]] = {}
    for condition, rows in rows_by_condition(study).items():
        values, varied = _known(rows, figure), study["conditions"][condition]["varied"]
        if values and axis in varied:
            point = (float(varied[axis]), values)
            lines.setdefault(_rest(study, condition, axis), []).append(point)
    return [
        _series(label or str(study["title"]), sorted(points), _plain_style(number))
        for number, (label, points) in enumerate(lines.items())
    ]


def beside(study: Json, axis: str, figure: str, xs: Sequence[float]) -> list[Series]:
    """Lines without marks, to hold others against: cases that stand alone, then references.

    Args:
        study: Contents of ``study.json``.
        axis: What the others are drawn against.
        figure: What is drawn of them.
        xs: Where they were measured, rising.
    """
    found: list[Series] = []
    for condition, rows in rows_by_condition(study).items():
        values = _known(rows, figure)
        if values and axis not in study["conditions"][condition]["varied"]:
            style = {"color": INK, "ls": _ALONE_DASHES[len(found) % len(_ALONE_DASHES)]}
            points = [(x, values) for x in dict.fromkeys((xs[0], xs[-1]))]
            found.append(_series(label_of(study, condition), points, {**style, "marker": ""}))
    for number, reference in enumerate(study["references"]):
        key = reference if figure == "alignment" else f"{reference}_{figure}"
        known = [
            (x, [math.fsum(values) / len(values)])
            for x in xs
            if key in FIGURES and (values := _known(_rows_at(study, axis, x), key))
        ]
        if known:
            style = {"color": QUIET, "ls": _REFERENCE_DASHES[number % len(_REFERENCE_DASHES)]}
            title = FIGURES[reference].title
            found.append(_series(title, known, {**style, "marker": ""}))
    return found


def _known(rows: Sequence[Json], figure: str) -> list[float]:
    return [row[figure] for row in rows if is_number(row[figure])]


def _rows_at(study: Json, axis: str, value: float) -> list[Json]:
    """The rows of all conditions with a value of a key."""
    conditions = study["conditions"]
    return [
        row for row in study["rows"] if conditions[row["condition"]]["varied"].get(axis) == value
    ]


def _rest(study: Json, condition: int, axis: str) -> str:
    """What a condition is called without its value of a key."""
    each, names = study["conditions"][condition], study["names"]
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


def _plain_style(number: int) -> dict[str, Any]:
    """Of lines in no order."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "ls": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def _style(study: Json, condition: int) -> dict[str, Any]:
    """Of the line of a condition; where one key varies numbers, their order is that of colours."""
    axis, varied = study["axis"], study["conditions"][condition]["varied"]
    if axis is None:
        return _plain_style(condition)
    if axis not in varied:
        return {**_plain_style(condition), "color": _ALONE}
    values = sorted(study["vary"][axis])
    rank = values.index(varied[axis])
    others = list(dict.fromkeys(_rest(study, i, axis) for i in range(len(study["conditions"]))))
    line = others.index(_rest(study, condition, axis))
    name, start, end = _RISING
    return {
        "color": to_hex(colormaps[name](start + (end - start) * rank / (len(values) - 1))),
        # Neighbouring values differ in dashes as well, unless these tell cases apart.
        "ls": _DASHES[(line if others[1:] else rank) % len(_DASHES)],
        "marker": _MARKERS[rank % len(_MARKERS)],
    }
