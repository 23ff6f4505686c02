"""The picture of a study of fairness: what the worst group gains, and what the mean pays for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.report.canvas import (
    ACCENT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    RULE,
    Canvas,
    fit,
    font,
    spread,
)
from experiments.report.wording import Json, gain_text, is_number, plural, score_text
from experiments.studies.epsilon_findings import NAMES

PICTURE = "fairness.png"

_LEFT = MARGIN + 0.45
_HEIGHT = 2.9
#: Between the panels of two modes.
_BETWEEN = 0.65
_STYLES: Mapping[str, dict[str, Any]] = {
    "none": {"color": INK, "marker": "D", "mfc": INK},
    "distributed": {"color": ACCENT, "marker": "o", "mfc": ACCENT},
    "local": {"color": QUIET, "marker": "s", "mfc": "white"},
}


def _places(study: Json) -> dict[str, list[tuple[float, float, float, float | None]]]:
    """Of each mode: strength, mean, worst group and its spread over draws, by rising strength."""
    places: dict[str, list[tuple[float, float, float, float | None]]] = {}
    for row in study["means"]:
        mean, worst = row["alignment"]["mean"], row["worst_group"]
        if is_number(mean) and is_number(worst["mean"]):
            place = (row["strength"], mean, worst["mean"], worst["spread"])
            places.setdefault(row["mode"], []).append(place)
    return places


def study_title(study: Json) -> str:
    """What the largest strength does to the worst group and to the mean, in the first mode.

    A change of the worst group within its spread over draws is not said to be one.
    """
    for mode, places in _places(study).items():
        (low, mean_before, before, _), (high, mean_after, after, noise) = places[0], places[-1]
        if low == high:
            continue
        moved, paid = after - before, mean_after - mean_before
        name = "Without privacy" if mode == "none" else f"With {NAMES[mode]}"
        worst = f"the worst group by {gain_text(moved)} and the mean by {gain_text(paid)}"
        if noise is None:
            return f"{name}, fairness {high:g} moves {worst}, in a single draw"
        within = ": no more than seeds do" if abs(moved) <= noise else ""
        return f"{name}, fairness {high:g} moves {worst}{within}"
    return "One strength of fairness was measured"


def _limits(values: Sequence[float], span: float) -> tuple[float, float]:
    """Ends of an axis of a given span, around values."""
    middle = (min(values) + max(values)) / 2
    return middle - span / 2, middle + span / 2


def _span(sides: Sequence[Sequence[float]]) -> float:
    """What an axis spans in every panel: so much at least that three digits tell ticks apart."""
    return max(0.01, *(1.35 * (max(values) - min(values)) for values in sides))


def _points(rows: Sequence[Json], mode: str) -> list[tuple[float, float]]:
    """Mean and worst group of every draw of a mode."""
    points = [(row["alignment"], row["worst_group"]) for row in rows if row["mode"] == mode]
    return [(x, y) for x, y in points if is_number(x) and is_number(y)]


def _draw_draws(axes: Axes, rows: Sequence[Json], mode: str, strength: float) -> None:
    """Every draw of a place, joined to nothing."""
    known = _points([row for row in rows if row["strength"] == strength], mode)
    if len(known) < 2:
        return
    style = _STYLES[mode]
    axes.plot(
        [x for x, _ in known], [y for _, y in known], ls="", marker=style["marker"], ms=3,
        mfc="white", mec=style["color"], mew=0.7, zorder=3,
    )  # fmt: skip


def _label(
    axes: Axes, places: Sequence[tuple[float, float, float, float | None]], width: float
) -> None:
    """The strength of every mean, beside it and apart from the others."""
    low, high = axes.get_ylim()
    gap = 0.17 / _HEIGHT * (high - low)
    left, right = axes.get_xlim()
    aside = 0.1 / width * (right - left)
    moved = spread([worst for _, _, worst, _ in places], gap)
    for (strength, mean, _, _), y in zip(places, moved, strict=True):
        axes.text(mean + aside, y, f"{strength:g}", va="center", color=INK, fontproperties=font(8))


def _draw_panel(
    axes: Axes,
    study: Json,
    mode: str,
    places: Sequence[tuple[float, float, float, float | None]],
    width: float,
) -> None:
    """The means of a mode, joined by rising strength, and every draw around them."""
    axes.grid(color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    style = _STYLES[mode]
    xs, ys = [mean for _, mean, _, _ in places], [worst for _, _, worst, _ in places]
    axes.plot(xs, ys, color=style["color"], lw=1.2, zorder=2)
    axes.plot(
        xs, ys, ls="", marker=style["marker"], ms=6.5, mfc=style["mfc"], mec=style["color"],
        zorder=4,
    )  # fmt: skip
    for strength, _, _, _ in places:
        _draw_draws(axes, study["rows"], mode, strength)
    _label(axes, places, width)
    for axis, most in ((axes.xaxis, max(2, int(width))), (axes.yaxis, 6)):
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value)))


def draw_study(folder: Path, study: Json) -> list[Path]:
    """Draw ``fairness.png``: the worst held-out group against the mean, a point per strength.

    A panel per mode, of one scale. Means over draws are joined by rising strength, which stands
    beside them; every draw is a small mark.

    Args:
        folder: Where it exists.
        study: Contents of ``fairness.json``.

    Returns:
        The PNG file; none where nothing was measured, and an old one goes then.
    """
    path, modes = folder / PICTURE, _places(study)
    if not modes:
        path.unlink(missing_ok=True)
        return []
    canvas = Canvas()
    top = canvas.heading(study_title(study), _note(study))
    points = {mode: _points(study["rows"], mode) for mode in modes}
    across = [[x for x, _ in each] for each in points.values()]
    upward = [[y for _, y in each] for each in points.values()]
    width = (INNER - 0.45 - _BETWEEN * (len(modes) - 1)) / len(modes)
    for number, (mode, places) in enumerate(modes.items()):
        left = _LEFT + number * (width + _BETWEEN)
        canvas.write(left, top, NAMES[mode].capitalize(), size=8.5, weight="bold")
        axes = canvas.axes(left, top + 0.25, width, _HEIGHT)
        axes.set_xlim(*_limits(across[number], _span(across)))
        axes.set_ylim(*_limits(upward[number], _span(upward)))
        _draw_panel(axes, study, mode, places, width)
    top += 0.25 + _HEIGHT + 0.28
    footnote = fit(_footnote(study), width=INNER, size=8, lines=6)
    top = canvas.write(MARGIN, top + 0.3, footnote, size=8, color=QUIET)
    canvas.save(path, height=top + 0.25)
    return [path]


def _note(study: Json) -> str:
    groups = study["held_out_groups"]
    whom = "the held-out groups" if groups is None else plural(groups, "held-out group")
    return (
        f"Alignment of {whom} with some of their own answers as context: their mean across, the "
        "worst of them upward. The figure beside a mark is the strength of fairness; 0 counts all "
        "alike. No axis starts at 0; all panels span as much."
    )


def _footnote(study: Json) -> str:
    """What must be known to judge the picture."""
    counts = [row["draws"] for row in study["means"]]
    parts = [f"{plural(max(counts), 'draw')} of each, with seeds of their own."]
    if max(counts) > 1:
        parts[0] = f"{parts[0]} Small marks are draws, large ones their means."
    if study["epsilon"] is not None:
        parts.append(
            f"Private runs protect every {study['unit']} at epsilon {study['epsilon']:g} and weigh "
            "each of them by its own loss; runs without privacy weigh groups, and have other "
            "defaults."
        )
    if study["finished"] < study["runs"]:
        parts.append(f"Unfinished: {study['finished']} of {plural(study['runs'], 'run')}.")
    return " ".join(parts)
