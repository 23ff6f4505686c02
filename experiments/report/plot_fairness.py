"""The picture of fairness: every group's score with its interval, those that trained apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.report.canvas import (
    ACCENT,
    FAINT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    RULE,
    WIDTH,
    Canvas,
    Weight,
    fit,
    one_line,
    text_width,
)
from experiments.report.wording import (
    Json,
    interval_text,
    is_number,
    plural,
    scale_note,
    score_limits,
    score_text,
)

#: More groups of a side than this, and the middle ones are left out of the picture.
MOST_OF_A_SIDE = 40

#: Of each side: what its groups are called, and how they are drawn.
_SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "unseen_groups": ("held-out group", {"color": ACCENT, "mfc": ACCENT}),
    "train_groups": ("train group", {"color": QUIET, "mfc": "white"}),
}
_FIGURES = 1.4


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A group, the mean of a side (bold), or (without an estimate) a remark."""

    side: str
    name: str
    estimate: Json | None
    weight: Weight = "normal"


def fairness_title(result: Json) -> str:
    """What the picture shows: how far apart the held-out groups are, and how sure that is."""
    unseen = result["fairness"]["unseen_groups"]
    figures = (unseen[key]["value"] for key in ("worst_group", "best_group", "spread"))
    worst, best, spread = map(score_text, figures)
    if len(unseen["groups"]) < 2:
        return f"The one group never seen is predicted with {worst}"
    interval = interval_text(unseen["spread"])
    sure = f" ({result['fairness']['confidence']:.0%} interval {interval})" if interval else ""
    return f"Groups never seen lie {spread} apart{sure}, from {worst} to {best}"


def _rows(result: Json) -> Iterator[_Row]:
    """Side by side, the mean first and then groups from the highest to the lowest score."""
    for side, (noun, _) in _SIDES.items():
        figures = result["fairness"][side]
        groups = figures["groups"]
        if side != next(iter(_SIDES)):
            yield _Row(side=side, name="", estimate=None)
        name = f"All {plural(len(groups), noun)}" if len(groups) > 1 else f"The {noun}"
        yield _Row(side=side, name=name, estimate=figures["mean"], weight="bold")
        names = sorted(groups, key=lambda name: (-groups[name]["value"], name))
        rows = [_Row(side=side, name=name, estimate=groups[name]) for name in names]
        if len(rows) > MOST_OF_A_SIDE:
            half = MOST_OF_A_SIDE // 2
            left_out = plural(len(rows) - 2 * half, "group")
            remark = _Row(side=side, name=f"… {left_out} between these left out …", estimate=None)
            rows = [*rows[:half], remark, *rows[-half:]]
        yield from rows


def _draw_row(
    canvas: Canvas, axes: Axes, row: _Row, *, y: float, top: float, column: float
) -> None:
    """One estimate at ``y`` of the axes, ``top`` inches down, with its name and figures."""
    if row.estimate is None:
        canvas.write(MARGIN + column + 0.1, top, row.name, size=8, color=QUIET)
        return
    name = fit(row.name, width=column, size=8, weight=row.weight)
    canvas.write(MARGIN, top, name, size=8, weight=row.weight)
    axes.axhline(y, color=RULE, lw=0.6, zorder=0)
    style = _SIDES[row.side][1]
    value, low, high = (row.estimate[key] for key in ("value", "low", "high"))
    if is_number(low) and is_number(high):
        axes.plot([low, high], [y, y], color=style["color"], lw=1.6, zorder=2)
    marker, size = ("D", 6.0) if row.weight == "bold" else ("o", 5.5)
    axes.plot(
        value, y, ls="", marker=marker, ms=size, mfc=style["mfc"], mec=style["color"], mew=1.2,
        zorder=3,
    )  # fmt: skip
    right = WIDTH - MARGIN
    figures = ((right - 0.95, score_text(value)), (right, interval_text(row.estimate)))
    for x, text in figures:
        canvas.write(x, top, text, size=8, weight=row.weight, align="right")


def _draw_means(axes: Axes, rows: list[_Row], result: Json) -> None:
    """The mean of each side, as a line down its groups."""
    for side, (_, style) in _SIDES.items():
        places = [n for n, row in enumerate(rows) if row.side == side and row.name]
        mean = result["fairness"][side]["mean"]["value"]
        ends = [places[0] + 0.5, places[-1] + 1]
        axes.plot([mean, mean], ends, color=style["color"], lw=1.0, ls=(0, (4, 2)), zorder=1)


def draw_fairness(path: Path, result: Json) -> None:
    """Every group's score with its interval, held-out groups above those that trained.

    Groups are sorted; a dashed line down each side is its mean, whose own interval stands for other
    groups like these. Of more than 40 groups of a side the 20 highest and lowest are shown.

    Args:
        path: PNG file.
        result: Contents of ``result.json``, with ``fairness``.
    """
    rows = list(_rows(result))
    estimates = [row.estimate for row in rows if row.estimate is not None]
    known = [v for e in estimates for v in (e["value"], e["low"], e["high"]) if is_number(v)]
    low, high = score_limits(known)
    canvas = Canvas()
    top = canvas.heading(fairness_title(result), f"{_note(result)} {scale_note(low)}")
    tall = 0.23 if len(rows) <= 30 else 0.185
    widest = max(text_width(one_line(row.name)[:80], 8, row.weight) for row in rows if row.estimate)
    column = min(2.2, max(1.45, widest + 0.05))
    left = MARGIN + column + 0.15
    percent = f"{result['fairness']['confidence']:.0%} interval"
    for x, name in ((WIDTH - MARGIN - 0.95, "score"), (WIDTH - MARGIN, percent)):
        canvas.write(x, top, name, size=8, color=QUIET, align="right")
    top += 0.22
    axes = canvas.axes(left, top, WIDTH - MARGIN - left - _FIGURES, tall * len(rows))
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows), 0)
    _draw_means(axes, rows, result)
    for number, row in enumerate(rows):
        line = top + (number + 0.5) * tall - 0.075
        _draw_row(canvas, axes, row, y=number + 0.5, top=line, column=column)
    top += tall * len(rows)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value, 2)))
    axes.tick_params(axis="x", length=3, color=FAINT)
    axes.spines["bottom"].set(visible=True, color=FAINT, linewidth=0.7)
    footnote = fit(_FOOTNOTE, width=INNER, size=8, lines=6)
    top = canvas.write(MARGIN, top + 0.38, footnote, size=8, color=INK)
    canvas.save(path, height=top + 0.25)


_FOOTNOTE = (
    "A group's interval is over its own questions, and over which of its answers were shown. The "
    "interval of a mean (a diamond) is for other groups like these; of fewer than ten or so it is "
    "too narrow. Train groups are measured on questions that they trained on."
)


def _note(result: Json) -> str:
    """What is shown, and of which groups."""
    counts = [len(result["fairness"][side]["groups"]) for side in _SIDES]
    half = MOST_OF_A_SIDE // 2
    shown = f" Shown are the {half} highest and {half} lowest of a side."
    return (
        "Mean alignment of each group, predicted with its own context: filled where it took no "
        f"part in training, hollow where it did.{shown if max(counts) > MOST_OF_A_SIDE else ''}"
    )
