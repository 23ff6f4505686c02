"""The pictures of a run: alignment by round, groups apart, predictions beside answers.

Each picture says in its title what is to be seen, and under it what a reader must know to judge
it: where an axis does not start at 0, and by which rule examples were chosen. They are drawn from
plain data, the contents of ``result.json``, ``rounds.jsonl`` and the predictions of the last
evaluation, so they can be drawn again from a run's folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from alignment.metrics import alignment_score
from experiments.sheet import (
    ACCENT,
    FAINT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    RULE,
    SHADE,
    TINT,
    WIDTH,
    Sheet,
    fit,
    font,
    missing_letters_allowed,
    one_line,
    spread,
    text_width,
)

PLOTS_FOLDER = "plots"
ALIGNMENT_BY_ROUND = "alignment_by_round.png"
GROUPS = "groups.png"
PREDICTED = "predicted_beside_actual.png"

#: More held-out groups than this, and the middle ones are left out of the picture.
MOST_GROUPS = 60
QUESTIONS_SHOWN = 6
#: More options than this, and the least frequent are drawn as one.
MOST_OPTIONS = 8

Json: TypeAlias = Mapping[str, Any]

_WORST = 1 - math.sqrt(math.log(2))


def score_text(value: float | None, digits: int = 2) -> str:
    """A score as it is printed: ``.86``; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".removeprefix("0")


def gain_text(value: float | None, digits: int = 2) -> str:
    """A difference of scores with its sign: ``+.08``, ``−.02``, ``.00``."""
    if value is None or not math.isfinite(value):
        return "–"
    size = score_text(abs(value), digits)
    return size if float(size) == 0 else ("+" if value > 0 else "−") + size


def _moves(thing: str, before: float, after: float, *, s: str = "") -> str:
    """What the figures as printed show: ``lift alignment from .78 to .86``."""
    first, last = score_text(before), score_text(after)
    if first == last:
        return f"leave{s} {thing} at {first}"
    return f"{'lift' if after > before else 'lower'}{s} {thing} from {first} to {last}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Round limits, in steps of .05, that leave a little air around alignment scores."""
    low, high = min(values) - 0.012, max(values) + 0.012
    return max(0.0, math.floor(low * 20) / 20), min(1.0, math.ceil(high * 20) / 20)


def _axis_note(low: float) -> str:
    start = f"the axis starts at {score_text(low)}, not at 0" if low > 0 else "the axis starts at 0"
    return f"1 is perfect, {score_text(_WORST)} the worst there is; {start}."


# Alignment by round ---------------------------------------------------------------------------


def _title_by_round(rounds: Sequence[Json]) -> str:
    scores = [r["alignment"] for r in rounds if _finite(r["alignment"])]
    if not scores:
        return "Alignment on groups never seen was not measured"
    thing = "alignment on groups never seen"
    if len(scores) == 1:
        return f"After training, {thing} is {score_text(scores[-1])}"
    return f"Training {_moves(thing, scores[0], scores[-1], s='s')}"


def _shade_phases(panels: Sequence[Axes], rounds: Sequence[Json]) -> None:
    """Shade warm-up and adapter rounds in all panels and name them above the first."""
    last = max(r["round"] for r in rounds)
    warm = max((r["round"] for r in rounds if not r["train_adapter"]), default=0)
    phases = [(0, warm, SHADE, "Warm-up, head alone", 0.0, "left")]
    phases += [(warm, last, TINT, "Adapters and head", 1.0, "right")]
    for start, end, color, name, x, align in phases:
        if start == end:
            continue
        for axes in panels:
            axes.axvspan(start, end, color=color, linewidth=0, zorder=0)
        span = f"rounds {start + 1}–{end}" if end > start + 1 else f"round {end}"
        panels[0].text(
            x, 1.02, f"{name}: {span}", transform=panels[0].transAxes, ha=align, va="bottom",
            fontproperties=font(8), color=QUIET,
        )  # fmt: skip


def _label_levels(axes: Axes, levels: Sequence[tuple[float, str, str]], height: float) -> None:
    """Name heights in the right margin, apart from each other, with a hairline to each."""
    low, high = axes.get_ylim()
    places = spread([value for value, _, _ in levels], 0.34 / height * (high - low))
    across = axes.get_yaxis_transform()
    for (value, name, color), place in zip(levels, places, strict=True):
        axes.plot([1.005, 1.03], [value, place], transform=across, color=color, lw=0.7,
                  clip_on=False)  # fmt: skip
        axes.text(1.037, place, name, transform=across, va="center", color=color,
                  fontproperties=font(8.5, "bold" if color == ACCENT else "normal"),
                  linespacing=1.15)  # fmt: skip


def _draw_by_round(path: Path, title: str, result: Json, rounds: Sequence[Json]) -> None:
    """Alignment on held-out groups by round, over the training loss.

    The blue line is measured with each group's own answers as context; dashed and dotted lines
    are the final model without context, and guessing all options alike.
    """
    alignment = result["alignment"]
    points = [(r["round"], r["alignment"]) for r in rounds if _finite(r["alignment"])]
    losses = [(r["round"], r["loss"]) for r in rounds if _finite(r["loss"])]
    levels = [
        (alignment["without_context"]["mean"], "final model,\nno context", QUIET, (0, (5, 2))),
        (alignment["uniform"]["mean"], "uniform\nguessing", QUIET, (0, (1, 2))),
    ]
    low, high = _limits([value for value, *_ in levels] + [score for _, score in points])
    groups = len(alignment["unseen_groups"]["groups"])
    sheet = Sheet()
    top = sheet.heading(
        title,
        f"Mean alignment of predicted with actual answers, {_plural(groups, 'held-out group')}, "
        f"each shown by some of its own answers (context). Alignment: {_axis_note(low)} "
        "Below: training loss, mean over train groups, in nats; its axis need not start at 0.",
    )
    left, width, height = MARGIN + 0.4, 5.35, 2.9
    upper = sheet.axes(left, top + 0.2, width, height)
    lower = sheet.axes(left, top + 0.2 + height + 0.2, width, 0.95)
    last = max((r["round"] for r in rounds), default=0) or 1
    for axes in (upper, lower):
        axes.set_xlim(-0.012 * last, 1.012 * last)
        axes.grid(axis="y", color="white" if rounds else RULE, lw=0.9)
        axes.set_axisbelow(True)
    if rounds:
        _shade_phases((upper, lower), rounds)
    upper.set_ylim(low, high)
    upper.yaxis.set_major_locator(MaxNLocator(6))
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value)))
    for value, _, color, dashes in levels:
        upper.axhline(value, color=color, lw=1.1, ls=dashes)
    names = [(v, f"{name} {score_text(v)}", color) for v, name, color, _ in levels]
    if points:
        marker = "o" if len(points) <= 40 else ""
        upper.plot(*zip(*points, strict=True), color=ACCENT, lw=1.8, marker=marker, ms=4)
        names.append((points[-1][1], f"own context\n{score_text(points[-1][1])}", ACCENT))
    _label_levels(upper, names, height)
    if losses:
        lower.plot(*zip(*losses, strict=True), color=INK, lw=1.1, marker="" if losses[1:] else "o")
        lower.margins(y=0.12)
        lower.text(1.037, 0.5, "training loss", transform=lower.transAxes, va="center",
                   fontproperties=font(8.5), color=INK)  # fmt: skip
        lower.yaxis.set_major_locator(MaxNLocator(3))
    else:
        lower.text(0.5, 0.5, "no training loss recorded", transform=lower.transAxes, ha="center",
                   va="center", fontproperties=font(8.5), color=QUIET)  # fmt: skip
    lower.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    lower.set_xlabel("round", fontproperties=font(8.5), color=QUIET)
    sheet.save(path, height=top + 0.2 + height + 0.2 + 0.95 + 0.6)


# Groups apart ---------------------------------------------------------------------------------


def _title_groups(result: Json) -> str:
    none, own = (result["alignment"][k]["mean"] for k in ("without_context", "unseen_groups"))
    return f"Own answers {_moves('alignment', none, own)}"


_MARKS = {
    "without": {"marker": "o", "ms": 5.5, "mfc": "white", "mec": QUIET, "mew": 1.1, "zorder": 3},
    "own": {"marker": "o", "ms": 6.5, "mfc": ACCENT, "mec": ACCENT, "zorder": 4},
    "swapped": {"marker": "x", "ms": 4.5, "mec": FAINT, "mew": 1.0, "zorder": 2},
}


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of the groups: a group, the mean of all, or (without scores) a remark."""

    name: str
    scores: Mapping[str, float | None]
    bold: bool = False


def _rows(result: Json) -> list[_Row]:
    """The mean, then groups from the highest to the lowest score with their own context."""
    parts = {"own": "unseen_groups", "without": "without_context", "swapped": "swapped_context"}
    tables = {mark: result["alignment"][part] for mark, part in parts.items()}
    own = tables["own"]["groups"]
    names = sorted(own, key=lambda name: (-own[name], name))
    rows = [
        _Row(name=n, scores={mark: t["groups"].get(n) for mark, t in tables.items()}) for n in names
    ]
    if len(rows) > MOST_GROUPS:
        half = MOST_GROUPS // 2
        left_out = _plural(len(rows) - 2 * half, "group")
        remark = _Row(name=f"… {left_out} between these not shown …", scores={})
        rows = [*rows[:half], remark, *rows[-half:]]
    mean = {mark: table["mean"] for mark, table in tables.items()}
    return [_Row(name="All held-out groups", scores=mean, bold=True), *rows]


def _draw_row(sheet: Sheet, axes: Axes, row: _Row, y: float, top: float, column: float) -> None:
    """One dumbbell at height ``y`` of the axes, ``top`` inches down, with its name and figures."""
    weight = "bold" if row.bold else "normal"
    name = fit(row.name, width=column if row.scores else INNER, size=8, weight=weight)
    sheet.write(MARGIN, top, name, size=8, weight=weight, color=INK if row.scores else QUIET)
    if not row.scores:
        return
    axes.axhline(y, color=RULE, lw=0.6, zorder=0)
    own, without = row.scores["own"], row.scores["without"]
    if own is not None and without is not None:
        axes.plot([without, own], [y, y], color=ACCENT, lw=2.4 if row.bold else 1.6, zorder=1)
    for mark, score in row.scores.items():
        if score is not None:
            axes.plot(score, y, ls="", **_MARKS[mark])
    gain = None if own is None or without is None else own - without
    right = WIDTH - MARGIN
    for x, text in ((right - 0.5, score_text(own)), (right, gain_text(gain))):
        sheet.write(x, top, text, size=8, weight=weight, align="right", color=INK)


def _draw_key(sheet: Sheet, left: float, top: float) -> None:
    """The marks and their meaning, in one line."""
    key = sheet.axes(left, top, INNER, 0.2)
    key.set_xlim(left, left + INNER)
    key.set_ylim(0, 1)
    names = {"without": "no context", "own": "own context", "swapped": "another group's context"}
    for mark, name in names.items():
        key.plot(left + 0.06, 0.5, ls="", **_MARKS[mark], clip_on=False)
        sheet.write(left + 0.17, top + 0.025, name, size=8, color=QUIET)
        left += 0.17 + text_width(name, 8) + 0.25


def _draw_train_groups(axes: Axes, scores: Sequence[float], height: float) -> None:
    """Every train group a grey dot, piled up where they lie close."""
    low, high = axes.get_xlim()
    width = (high - low) / 60
    piles: dict[int, int] = {}
    places = []
    for score in sorted(scores):
        column = round((score - low) / width)
        piles[column] = piles.get(column, 0) + 1
        places.append((low + column * width, piles[column]))
    step = min(0.085, (height - 0.05) / max(piles.values(), default=1))
    axes.set_ylim(0, height)
    axes.plot(
        [x for x, _ in places], [(n - 0.4) * step for _, n in places], ls="", marker="o", ms=4,
        mfc=FAINT, mec="white", mew=0.4,
    )  # fmt: skip


def _draw_groups(path: Path, title: str, result: Json) -> None:
    """A dumbbell for every held-out group: from no context to its own; train groups below.

    A cross marks the score with another group's answers as context. Groups are sorted by the
    score with their own; of more than 60, the 30 highest and 30 lowest are shown.
    """
    rows = _rows(result)
    train = {k: v for k, v in result["alignment"]["train_groups"]["groups"].items() if _finite(v)}
    known = [s for row in rows for s in row.scores.values() if s is not None]
    low, high = _limits([*known, *train.values()])
    own = result["alignment"]["unseen_groups"]["groups"]
    without = result["alignment"]["without_context"]["groups"]
    gaining = sum(own[name] > without.get(name, math.inf) for name in own)
    sheet = Sheet()
    top = sheet.heading(
        title,
        f"Mean alignment of predicted with actual answers. {gaining} of "
        f"{_plural(len(own), 'held-out group')} gained by context; none of them took part in "
        f"training. Alignment: {_axis_note(low)}",
    )
    row_height = 0.23 if len(rows) <= 25 else 0.185
    wanted = max(text_width(one_line(row.name)[:80], 8) for row in rows if row.scores) + 0.1
    column = min(2.2, max(1.45, wanted))
    left, height = MARGIN + column + 0.1, row_height * len(rows)
    width = WIDTH - MARGIN - left - 1.05
    _draw_key(sheet, left, top)
    for x, name in ((WIDTH - MARGIN - 0.5, "own"), (WIDTH - MARGIN, "gain")):
        sheet.write(x, top + 0.025, name, size=8, color=QUIET, align="right")
    top += 0.27
    axes = sheet.axes(left, top, width, height)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows), 0)
    for number, row in enumerate(rows):
        line = top + (number + 0.5) * row_height - 0.075
        _draw_row(sheet, axes, row, number + 0.5, line, column)
    top += height
    panels = [axes]
    if train:
        note = f"For comparison, {_plural(len(train), 'train group')}"
        sheet.write(MARGIN, top + 0.1, fit(note, width=column, size=8, lines=2), size=8,
                    color=QUIET)  # fmt: skip
        mean = score_text(result["alignment"]["train_groups"]["mean"])
        sheet.write(WIDTH - MARGIN - 0.5, top + 0.1, mean, size=8, color=QUIET, align="right")
        strip = sheet.axes(left, top + 0.06, width, 0.5)
        strip.set_xlim(low, high)
        _draw_train_groups(strip, list(train.values()), 0.5)
        panels.append(strip)
        top += 0.56
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value)))
    panels[-1].spines["bottom"].set(visible=True, color=FAINT, linewidth=0.7)
    sheet.save(path, height=top + 0.5)


# Predicted beside actual ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What a group answered to a question beside two predictions, means over draws."""

    text: str
    seen: bool
    options: tuple[str, ...]
    bars: Mapping[str, tuple[float, ...]]
    own_score: float
    none_score: float
