"""The picture of a study of pairs: accuracy of each method, and calibration of confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.pairs.plot_run import SIDE, draw_curve, percent_ticks, reliability_axes
from experiments.report.axes import rule
from experiments.report.canvas import ACCENT, FAINT, INK, INNER, MARGIN, QUIET, Canvas, fit
from experiments.report.wording import Json, gain_text, is_number, plural, score_text, unfinished

PICTURE = "pairs.png"

_NAMES = 2.55
_FIGURES = 0.75
_ROW = 0.3
_STYLES: Mapping[str, dict[str, Any]] = {
    "adapters": {"color": ACCENT, "marker": "o", "mfc": ACCENT},
    "head": {"color": ACCENT, "marker": "o", "mfc": "white"},
    "frozen": {"color": INK, "marker": "s", "mfc": INK},
    "length": {"color": INK, "marker": "D", "mfc": "white"},
    "longer": {"color": QUIET, "marker": "x", "mfc": QUIET},
}


def study_title(study: Json) -> str:
    """The finding of the picture: accuracy of the first method, and whom it is better than."""
    rows = [row for row in study["methods"] if row["accuracy"] is not None]
    first, rest = rows[0], rows[1:]
    found = f"{first['name'].capitalize()}: {first['accuracy']['value']:.1%} of pairs told apart"
    if not rest:
        return found
    best = max(rest, key=lambda row: float(row["accuracy"]["value"]))
    gain = next((g["accuracy"] for g in study["gains"] if g["over"] == best["method"]), None)
    if gain is None:
        return found
    if gain["low"] > 0:
        verdict = "more than"
    elif gain["high"] < 0:
        verdict = "less than"
    else:
        verdict = "not clearly other than"
    return f"{found}, {verdict} {best['name']} ({best['accuracy']['value']:.1%})"


def _subtitle(study: Json) -> str:
    groups = plural(
        len(study["groups"]), "simulated group" if study["simulated_groups"] else "group"
    )
    return (
        f"{study['targets']:,} pairs of {groups} on {plural(study['dialogues'], 'prompt')}, each "
        f"predicted by a run that trained on the prompts of the other {study['folds'] - 1} folds. "
        f"Bars: {study['level']:.0%} intervals over prompts; small marks: folds. Half of the "
        "pairs are told apart by guessing."
    )


def _footnote(study: Json) -> str:
    parts = []
    for gain in study["gains"]:
        found = gain["accuracy"]
        name = next(r["name"] for r in study["methods"] if r["method"] == gain["over"])
        if found is not None:
            parts.append(
                f"{gain_text(found['value'])} over {name} ({gain_text(found['low'])} to "
                f"{gain_text(found['high'])})"
            )
    text = f"Gain in accuracy on the same pairs: {'; '.join(parts)}. " if parts else ""
    text += (
        f"Below: of predictions of like confidence ({study['bins']} bins of like size), how many "
        "came out so; on the line where confidence is deserved."
    )
    return text + unfinished(study)


def _draw_accuracy(axes: Axes, rows: Sequence[Json]) -> None:
    for place, row in enumerate(rows):
        style, found = _STYLES[row["method"]], row["accuracy"]
        axes.plot([found["low"], found["high"]], [place, place], color=style["color"], lw=1.6)
        folds = [value for value in row["accuracy_by_fold"] if is_number(value)]
        axes.plot(folds, [place + 0.26] * len(folds), ls="", marker="|", ms=5, color=FAINT)
        axes.plot(found["value"], place, ls="", ms=7, mec=style["color"], mew=1.3, zorder=5,
                  marker=style["marker"], mfc=style["mfc"])  # fmt: skip
    axes.axvline(0.5, color=QUIET, lw=1.1, ls=(0, (1, 2)), zorder=0)


def _draw_reliability(axes: Axes, rows: Sequence[Json]) -> None:
    for row in rows:
        style = _STYLES[row["method"]]
        dashes = "-" if style["mfc"] == style["color"] else (0, (4, 1.6))
        draw_curve(axes, row["reliability"], ls=dashes, **style)


def draw_study(folder: Path, study: Json) -> Path:
    """Draw ``pairs.png``: accuracy of all methods, and reliability curves of those with one.

    Args:
        folder: Where it exists.
        study: Contents of ``pairs.json``.

    Returns:
        The PNG file.
    """
    rows = [row for row in study["methods"] if row["accuracy"] is not None]
    canvas = Canvas()
    top = canvas.heading(study_title(study), _subtitle(study))
    height = _ROW * len(rows)
    across = INNER - _NAMES - _FIGURES
    for place, row in enumerate(rows):
        line = top + _ROW * (place + 0.5) - 0.08
        name = fit(row["name"], width=_NAMES - 0.1, size=8.5)
        canvas.write(MARGIN, line, name, weight="bold" if place == 0 else "normal")
        figure = score_text(row["accuracy"]["value"])
        canvas.write(MARGIN + INNER, line, figure, align="right", weight="bold")
    axes = canvas.axes(MARGIN + _NAMES, top, across, height)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    rule(axes, "x")
    percent_ticks(axes.xaxis)
    _draw_accuracy(axes, rows)
    top += height + 0.45
    top = canvas.write(MARGIN, top, "Confidence, and how often it came out so", weight="bold") + 0.1
    curves = [row for row in rows if row["reliability"]]
    axes = reliability_axes(canvas, MARGIN + 0.45, top)
    _draw_reliability(axes, curves)
    _draw_key(canvas, top, curves)
    top = canvas.footnote(top + SIDE + 0.4, _footnote(study), lines=7)
    path = folder / PICTURE
    canvas.save(path, height=top + 0.25)
    return path


def _draw_key(canvas: Canvas, top: float, rows: Sequence[Json]) -> None:
    """The curves and their calibration errors, to the right of them."""
    left = MARGIN + 0.45 + SIDE + 0.35
    width = MARGIN + INNER - left
    axes = canvas.axes(left, top, 0.3, 0.55 * max(1, len(rows)))
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) or 1, 0)
    for place, row in enumerate(rows):
        style = _STYLES[row["method"]]
        axes.plot(0.5, place + 0.2, ls="", ms=5, marker=style["marker"], mec=style["color"],
                  mfc=style["mfc"])  # fmt: skip
        line = top + 0.55 * place + 0.03
        line = canvas.write(left + 0.35, line, fit(row["name"], width=width - 0.35, size=8), size=8)
        error, chance = row["calibration_error"], row["calibration_error_by_chance"]
        note = (
            f"calibration error {score_text(error['value'])} ({score_text(error['low'])} to "
            f"{score_text(error['high'])}), by chance {score_text(chance)}"
        )
        canvas.write(left + 0.35, line, fit(note, width=width - 0.35, size=7.5, lines=2), size=7.5,
                    color=QUIET)  # fmt: skip
