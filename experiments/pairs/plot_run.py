"""The picture of a run on pairs: accuracy of every held-out group, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis

from experiments.pairs.run_tables import CHANCE, finding, percent
from experiments.report.axes import rule, tick
from experiments.report.canvas import (
    ACCENT,
    FAINT,
    INNER,
    MARGIN,
    QUIET,
    Canvas,
    Weight,
    fit,
    font,
)
from experiments.report.rows import Rows, shortened
from experiments.report.wording import (
    Json,
    gain_text,
    interval_text,
    plural,
    score_limits,
    score_text,
)

#: More held-out groups than this, and the middle ones are left out of the picture.
MOST_GROUPS = 60
#: The side of a reliability diagram, inches.
SIDE = 2.9

_FIGURES = 1.95
_OWN: Mapping[str, Any] = {"marker": "o", "ms": 6.0, "mfc": ACCENT, "mec": ACCENT, "zorder": 4}
_LONGER: Mapping[str, Any] = {"marker": "x", "ms": 5.0, "mec": QUIET, "mew": 1.1, "zorder": 3}
_NONE: Mapping[str, Any] = {
    "marker": "o",
    "ms": 5.5,
    "mfc": "white",
    "mec": QUIET,
    "mew": 1.1,
    "zorder": 2,
}


def pairs_title(pairs: Json) -> str:
    """The title: the accuracy on groups never seen, beside that of the longer response."""
    return finding(pairs)


def percent_ticks(axis: Axis) -> None:
    """Put few steps on an axis of shares, in per cent."""
    tick(axis, 6, percent)
    for label in axis.get_ticklabels():
        label.set_fontproperties(font(8))


def reliability_axes(canvas: Canvas, left: float, top: float) -> Axes:
    """Axes of a reliability diagram of two options, with the line on which confidence is deserved.

    Args:
        canvas: To draw on.
        left: Inches.
        top: Inches.
    """
    axes = canvas.axes(left, top, SIDE, SIDE)
    axes.set_xlim(0.48, 1.02)
    rule(axes, "both")
    percent_ticks(axes.xaxis)
    percent_ticks(axes.yaxis)
    axes.plot([0.5, 1], [0.5, 1], color=FAINT, lw=1.0, ls=(0, (5, 2)), zorder=0)
    return axes


def draw_curve(axes: Axes, curve: Sequence[Json], **style: Any) -> None:
    """Draw a reliability curve: bins with their ``confidence`` and ``outcome``."""
    x, y = [each["confidence"] for each in curve], [each["outcome"] for each in curve]
    axes.plot(x, y, **{"lw": 1.1, "ms": 4, **style})


def _note(pairs: Json) -> str:
    own = pairs["unseen_groups"]
    shown = f" Shown are the {MOST_GROUPS // 2} highest and {MOST_GROUPS // 2} lowest."
    return (
        f"Accuracy on {plural(own['pairs'], 'pair')} of "
        f"{plural(len(own['groups']), 'held-out group')}: share of the answers on the side of the "
        "more probable response. Bars: 95 % intervals over pairs; dotted: guessing. Margin: mean "
        "log-odds of the preferred response, nats."
        f"{shown if len(own['groups']) > MOST_GROUPS else ''}"
    )


def _rows(pairs: Json) -> list[tuple[str, Json | None, Weight]]:
    """All, then groups from the highest to the lowest accuracy; without figures a remark."""
    own = pairs["unseen_groups"]
    groups = own["groups"]
    names = sorted(groups, key=lambda name: (-groups[name]["accuracy"]["value"], name))
    rows: list[tuple[str, Json | None, Weight]] = [(n, _beside(pairs, n), "normal") for n in names]
    first, remark, last = shortened(rows, MOST_GROUPS)
    between: list[tuple[str, Json | None, Weight]] = [(remark, None, "normal")] if remark else []
    return [("All held-out groups", _beside(pairs, None), "bold"), *first, *between, *last]


def _beside(pairs: Json, group: str | None) -> Json:
    """The figures of a group, or of all, beside those of the other ways to predict."""

    def of(part: Json | None) -> Any:
        if part is None:
            return None
        return part if group is None else part["groups"][group]

    none, longer = of(pairs["without_context"]), of(pairs["longer_wins"])
    return {
        **of(pairs["unseen_groups"]),
        "none": none and none["accuracy"]["value"],
        "longer": longer.get("accuracy", longer)["value"],
    }


def _draw_row(rows: Rows, number: int, name: str, row: Json | None, weight: Weight) -> None:
    if row is None:
        rows.remark(number, name)
        return
    rows.name(number, name, weight)
    rows.rule(number)
    found, y = row["accuracy"], number + 0.5
    rows.axes.plot([found["low"], found["high"]], [y, y], color=ACCENT, lw=1.6, zorder=1)
    for value, style in ((row["none"], _NONE), (row["longer"], _LONGER), (found["value"], _OWN)):
        if value is not None:
            rows.axes.plot(value, y, ls="", **style)
    rows.figures(
        number,
        (1.5, score_text(found["value"])),
        (0.55, interval_text(found)),
        (0, gain_text(row["margin"])),
        weight=weight,
    )


def _draw_groups(canvas: Canvas, top: float, pairs: Json) -> float:
    """The groups' accuracies; returns where they end."""
    rows = _rows(pairs)
    known = [CHANCE]
    for _, row, _ in rows:
        if row is not None:
            ends = (row["accuracy"]["low"], row["accuracy"]["high"], row["none"], row["longer"])
            known += [value for value in ends if value is not None]
    drawn = Rows(
        canvas,
        top + 0.27,
        [(name if row else "", weight) for name, row, weight in rows],
        figures=_FIGURES + 0.15,
        tall=0.23 if len(rows) <= 25 else 0.185,
    )
    drawn.axes.set_xlim(*score_limits(known))
    drawn.axes.axvline(CHANCE, color=QUIET, lw=1.1, ls=(0, (1, 2)), zorder=0)
    marks = [("own context" if pairs["without_context"] else "predicted", _OWN)]
    if pairs["without_context"]:
        marks.append(("no context", _NONE))
    canvas.mark_key(top, [*marks, ("longer wins", _LONGER)])
    heads = ((1.5, "accuracy"), (0.55, "95 % interval"), (0.0, "margin"))
    canvas.figures(top + 0.025, *heads, color=QUIET)
    for number, (name, row, weight) in enumerate(rows):
        _draw_row(drawn, number, name, row, weight)
    drawn.ground(steps=5)
    return drawn.bottom + 0.5


def _calibration_note(own: Json) -> str:
    return (
        f"Of predictions of like confidence, how many came out so: on the dashed line where "
        "confidence is deserved. First draw of contexts.\n\n"
        f"Calibration error {score_text(own['calibration_error'])}; by chance alone it would be "
        f"{score_text(own['calibration_error_by_chance'])}.\n\n"
        f"Log-loss {score_text(own['log_loss'])} nats (guessing .693), Brier score "
        f"{score_text(own['brier'])} (guessing .250)."
    )


def draw_pairs(path: Path, pairs: Json) -> None:
    """Accuracy of every held-out group with its interval, over a reliability diagram.

    A cross marks what taking the longer response reaches, a hollow mark the prediction without
    context, where the model reads one. Of more than 60 groups, the 30 highest and lowest are shown.

    Args:
        path: PNG file.
        pairs: The figures of the run on pairs.
    """
    canvas = Canvas()
    own = pairs["unseen_groups"]
    top = _draw_groups(canvas, canvas.heading(pairs_title(pairs), _note(pairs)), pairs)
    name = "Confidence, and how often it came out so"
    top = canvas.write(MARGIN, top, name, weight="bold") + 0.1
    axes = reliability_axes(canvas, MARGIN + 0.45, top)
    draw_curve(axes, own["reliability"], color=ACCENT, marker="o")
    left = MARGIN + 0.45 + SIDE + 0.35
    line = top
    for part in _calibration_note(own).split("\n\n"):
        note = fit(part, width=MARGIN + INNER - left, size=8, lines=6)
        line = canvas.write(left, line, note, size=8, color=QUIET) + 0.12
    canvas.save(path, height=top + SIDE + 0.5)
