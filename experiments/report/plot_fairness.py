"""The picture of fairness: every group's score with its interval, those that trained apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.report.canvas import ACCENT, INK, QUIET, Canvas, Weight
from experiments.report.rows import Rows, shortened
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
    """The title: how far apart the held-out groups are, and how sure that is."""
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
        first, remark, last = shortened(rows, MOST_OF_A_SIDE)
        yield from first
        if remark:
            yield _Row(side=side, name=remark, estimate=None)
        yield from last


def _draw_row(rows: Rows, number: int, row: _Row) -> None:
    """One estimate, with its name and figures."""
    if row.estimate is None:
        rows.remark(number, row.name)
        return
    rows.name(number, row.name, row.weight)
    rows.rule(number)
    style, y = _SIDES[row.side][1], number + 0.5
    value, low, high = (row.estimate[key] for key in ("value", "low", "high"))
    if is_number(low) and is_number(high):
        rows.axes.plot([low, high], [y, y], color=style["color"], lw=1.6, zorder=2)
    marker, size = ("D", 6.0) if row.weight == "bold" else ("o", 5.5)
    rows.axes.plot(
        value, y, ls="", marker=marker, ms=size, mfc=style["mfc"], mec=style["color"], mew=1.2,
        zorder=3,
    )  # fmt: skip
    interval = interval_text(row.estimate)
    rows.figures(number, (0.95, score_text(value)), (0, interval), weight=row.weight)


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
    percent = f"{result['fairness']['confidence']:.0%} interval"
    canvas.figures(top, (0.95, "score"), (0, percent), color=QUIET)
    drawn = Rows(
        canvas,
        top + 0.22,
        [(row.name if row.estimate else "", row.weight) for row in rows],
        figures=_FIGURES,
        tall=0.23 if len(rows) <= 30 else 0.185,
    )
    drawn.axes.set_xlim(low, high)
    _draw_means(drawn.axes, rows, result)
    for number, row in enumerate(rows):
        _draw_row(drawn, number, row)
    drawn.ground()
    bottom = canvas.footnote(drawn.bottom + 0.38, _FOOTNOTE, color=INK)
    canvas.save(path, height=bottom + 0.25)


_FOOTNOTE = (
    "A group's interval is over its own questions, and over which of its answers were shown. The "
    "interval of a mean (a diamond) is for other groups like these; of fewer than ten or so it is "
    "too narrow. Train groups are measured on questions that they trained on."
)


def _note(result: Json) -> str:
    """The subtitle: the marks and their groups."""
    counts = [len(result["fairness"][side]["groups"]) for side in _SIDES]
    half = MOST_OF_A_SIDE // 2
    shown = f" Shown are the {half} highest and {half} lowest of a side."
    return (
        "Mean alignment of each group, predicted with its own context: filled where it took no "
        f"part in training, hollow where it did.{shown if max(counts) > MOST_OF_A_SIDE else ''}"
    )
