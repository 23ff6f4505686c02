"""The picture of the groups: how well each is predicted, without context and with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.report.canvas import ACCENT, FAINT, MARGIN, QUIET, WIDTH, Canvas, Weight
from experiments.report.rows import Rows, shortened
from experiments.report.wording import (
    Json,
    change,
    gain_text,
    is_number,
    plural,
    scale_note,
    score_limits,
    score_text,
)

#: More held-out groups than this, and the middle ones are left out of the picture.
MOST_GROUPS = 60

_MARKS: dict[str, dict[str, Any]] = {
    "swapped": {"marker": "x", "ms": 4.5, "mec": FAINT, "mew": 1.0, "zorder": 2},
    "without": {"marker": "o", "ms": 5.5, "mfc": "white", "mec": QUIET, "mew": 1.1, "zorder": 3},
    "own": {"marker": "o", "ms": 6.5, "mfc": ACCENT, "mec": ACCENT, "zorder": 4},
}
_MARK_NAMES = {
    "without": "no context",
    "own": "own context",
    "swapped": "another group's context",
}
_FIGURES = 1.05


def groups_title(result: Json) -> str:
    """The title: what a group's own answers did to alignment, on average."""
    none, own = (result["alignment"][part]["mean"] for part in ("without_context", "unseen_groups"))
    return f"Own answers {change(none, own, 'alignment')}"


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of the groups: a group, the mean of all, or (without scores) a remark."""

    name: str
    scores: Mapping[str, float | None]
    weight: Weight = "normal"


def _rows(result: Json) -> list[_Row]:
    """The mean, then groups from the highest to the lowest score with their own context."""
    parts = {"swapped": "swapped_context", "without": "without_context", "own": "unseen_groups"}
    empty: Json = {"mean": None, "groups": {}}
    tables = {mark: result["alignment"][part] or empty for mark, part in parts.items()}
    own = tables["own"]["groups"]
    names = sorted(own, key=lambda name: (-own[name], name))
    rows = [
        _Row(name=n, scores={mark: t["groups"].get(n) for mark, t in tables.items()}) for n in names
    ]
    first, remark, last = shortened(rows, MOST_GROUPS)
    rows = [*first, *([_Row(name=remark, scores={})] if remark else []), *last]
    mean = {mark: table["mean"] for mark, table in tables.items()}
    return [_Row(name="All held-out groups", scores=mean, weight="bold"), *rows]


def _draw_row(rows: Rows, number: int, row: _Row) -> None:
    """One dumbbell, with its name and figures."""
    if not row.scores:
        rows.remark(number, row.name)
        return
    rows.name(number, row.name, row.weight)
    rows.rule(number)
    y, own, without = number + 0.5, row.scores["own"], row.scores["without"]
    gain = None
    if is_number(own) and is_number(without):
        gain = own - without
        rows.axes.plot([without, own], [y, y], color=ACCENT, lw=1.8, zorder=1)
    for mark, score in row.scores.items():
        if is_number(score):
            rows.axes.plot(score, y, ls="", **_MARKS[mark])
    rows.figures(number, (0.5, score_text(own)), (0, gain_text(gain)), weight=row.weight)


def _piles(scores: Sequence[float], low: float, high: float) -> list[tuple[float, int]]:
    """Scores moved to the nearest sixtieth of an axis, each with its place in the pile there."""
    width = (high - low) / 60
    piles: dict[int, int] = {}
    dots = []
    for score in sorted(scores):
        column = round((score - low) / width)
        piles[column] = piles.get(column, 0) + 1
        dots.append((low + column * width, piles[column]))
    return dots


def _draw_train_groups(
    canvas: Canvas,
    result: Json,
    *,
    left: float,
    top: float,
    width: float,
    limits: tuple[float, float],
) -> tuple[Axes, float]:
    """Every train group a grey dot, piled up where they lie close; returns where the strip ends."""
    trained = result["alignment"]["train_groups"]
    dots = _piles([s for s in trained["groups"].values() if is_number(s)], *limits)
    highest = max((n for _, n in dots), default=1)
    height = min(0.5, max(0.3, 0.075 * highest))
    step = min(0.075, height / highest)
    middle = top + height - 0.32
    name = f"{plural(len(dots), 'train group')},\nown context"
    canvas.write(MARGIN, middle, name, size=8, color=QUIET)
    canvas.write(
        WIDTH - MARGIN - 0.5, middle + 0.14, score_text(trained["mean"]), size=8, color=QUIET,
        align="right",
    )  # fmt: skip
    axes = canvas.axes(left, top, width, height)
    axes.set_xlim(*limits)
    axes.set_ylim(0, height)
    axes.plot(
        [x for x, _ in dots], [(n - 0.4) * step for _, n in dots], ls="", marker="o", ms=4,
        mfc=FAINT, mec="white", mew=0.4,
    )  # fmt: skip
    return axes, top + height


def draw_groups(path: Path, result: Json) -> None:
    """A dumbbell for every held-out group: from no context to its own; train groups below.

    A cross marks the score with another group's answers as context. Groups are sorted by the
    score with their own; of more than 60, the 30 highest and 30 lowest are shown. Train groups,
    with their own context, are a strip of grey dots.
    """
    rows = _rows(result)
    trained = result["alignment"]["train_groups"] or {"groups": {}}
    train = [score for score in trained["groups"].values() if is_number(score)]
    known = [score for row in rows for score in row.scores.values() if is_number(score)]
    low, high = score_limits([*known, *train])
    canvas = Canvas()
    top = canvas.heading(groups_title(result), f"{_groups_note(result)} {scale_note(low)}")
    drawn = Rows(
        canvas,
        top + 0.27,
        [(row.name if row.scores else "", row.weight) for row in rows],
        figures=_FIGURES,
        tall=0.23 if len(rows) <= 25 else 0.185,
    )
    drawn.axes.set_xlim(low, high)
    used = {mark for row in rows for mark, score in row.scores.items() if is_number(score)}
    marks = [(name, _MARKS[mark]) for mark, name in _MARK_NAMES.items() if mark in used]
    canvas.mark_key(top, marks, drawn.left)
    canvas.figures(top + 0.025, (0.5, "own"), (0, "gain"), color=QUIET)
    for number, row in enumerate(rows):
        _draw_row(drawn, number, row)
    axes, bottom = drawn.axes, drawn.bottom
    if train:
        axes, bottom = _draw_train_groups(
            canvas, result, left=drawn.left, top=bottom + 0.1, width=drawn.width, limits=(low, high)
        )
    drawn.ground(axes)
    canvas.save(path, height=bottom + 0.45)


def _groups_note(result: Json) -> str:
    own = result["alignment"]["unseen_groups"]["groups"]
    without = result["alignment"]["without_context"]["groups"]
    gained = sum(own[name] > without.get(name, math.inf) for name in own)
    shown = f" Shown are the {MOST_GROUPS // 2} highest and {MOST_GROUPS // 2} lowest."
    return (
        "Mean alignment of predicted with actual answers. None of these groups took part in "
        f"training; {gained} of {len(own)} gained by context."
        f"{shown if len(own) > MOST_GROUPS else ''}"
    )
