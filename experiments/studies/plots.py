"""Pictures of a study: alignment against rounds and bytes, figures against what is varied.

Each is drawn twice: a canvas as all pictures of the project are, and as PDF a single panel as wide
as a column of a paper, with letters of 7 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.report.axes import ground, name_across, rule, tick
from experiments.report.canvas import (
    COLUMN,
    INK,
    MARGIN,
    QUIET,
    WIDTH,
    Canvas,
    Column,
    fit,
    font,
    text_width,
)
from experiments.report.wording import Json, bytes_text, plural, score_text, unfinished
from experiments.studies.figures import FIGURES
from experiments.studies.findings import Picture, picture_title, pictures_of
from experiments.studies.series import MOST_LINES, Series, against, beside, curves

_LEFT = MARGIN + 0.45
_ACROSS = WIDTH - MARGIN - _LEFT
_HEIGHT = 3.3
#: With so many values or fewer, each has its tick.
_FEW = 10
#: Values that reach so far, highest over lowest, stand by their logarithm.
_WIDE = 8


def draw_study(folder: Path, study: Json) -> list[Path]:
    """Draw the pictures of a study as PNG, and beside each a PDF.

    One that cannot be drawn, as where nothing was measured or no numbers are varied, is removed.

    Args:
        folder: Where it exists.
        study: Contents of ``study.json``, with one row at least.

    Returns:
        The PNG files, in the order in which they tell the story.
    """
    drawn = []
    for picture in pictures_of(study):
        canvas, column = (folder / f"{picture.stem}.{kind}" for kind in ("png", "pdf"))
        lines = _lines(study, picture)
        if any(len(each.xs) > (picture.across == "value") for each in lines):
            shown = [*lines[:MOST_LINES], *_beside(study, picture, lines)]
            _draw_canvas(canvas, study, picture, shown, len(lines) - len(lines[:MOST_LINES]))
            _draw_column(column, study, picture, shown)
            drawn.append(canvas)
        else:
            canvas.unlink(missing_ok=True)
            column.unlink(missing_ok=True)
    return drawn


def _lines(study: Json, picture: Picture) -> list[Series]:
    if picture.across != "value":
        return curves(study, picture.across)
    return against(study, study["axis"], picture.figure) if study["axis"] else []


def _beside(study: Json, picture: Picture, lines: Sequence[Series]) -> list[Series]:
    if picture.across != "value":
        return []
    xs = sorted({x for each in lines for x in each.xs})
    return beside(study, study["axis"], picture.figure, xs)


def _draw_canvas(
    path: Path, study: Json, picture: Picture, lines: Sequence[Series], left_out: int
) -> None:
    low, high = _limits(study, picture, lines)
    canvas = Canvas()
    note = _note(study, picture, low)
    if left_out:
        note += f" The first {MOST_LINES} of {MOST_LINES + left_out} lines."
    top = canvas.heading(picture_title(study, picture), note)
    if lines[1:]:
        drawn = [(each.label, {"lw": 1.8, "ms": 4.5, **_marked(each)}) for each in lines]
        top = canvas.line_key(top, drawn)
    axes = canvas.axes(_LEFT, top + 0.05, _ACROSS, _HEIGHT)
    _dress(axes, study, picture, lines, size=8.5)
    axes.set_ylim(low, high)
    _draw_lines(axes, lines, width=1.8, marker=4.5, every=picture.across == "value")
    canvas.save(path, height=top + 0.05 + _HEIGHT + 0.6)


def _draw_column(path: Path, study: Json, picture: Picture, lines: Sequence[Series]) -> None:
    column = Column()
    _dress(column.axes, study, picture, lines, size=7)
    column.axes.set_ylim(*_limits(study, picture, lines))
    title = FIGURES[picture.figure].title
    column.axes.set_ylabel(title, fontproperties=font(7), color=INK)
    _draw_lines(column.axes, lines, width=1.2, marker=3, every=picture.across == "value")
    rows = 0
    if lines[1:]:
        longest = max(text_width(each.label, 6.5) for each in lines)
        columns = 2 if longest < COLUMN / 2 - 0.5 else 1
        rows = -(-len(lines) // columns)
        legend = column.figure.legend(
            [Line2D([], [], lw=1.2, ms=3, **_marked(each)) for each in lines],
            [fit(each.label, width=COLUMN / columns - 0.5, size=6.5) for each in lines],
            loc="outside lower center", ncols=columns, frameon=False, prop=font(6.5),
            handlelength=2.6, columnspacing=1.0, labelspacing=0.25,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    column.save(path, height=2.1 + 0.14 * rows)


def _limits(study: Json, picture: Picture, lines: Sequence[Series]) -> tuple[float, float]:
    values = [v for each in lines for v in (*each.lows, *each.highs)]
    return FIGURES[picture.figure].limits([*values, *_goal(study, picture)])


def _goal(study: Json, picture: Picture) -> list[float]:
    """The target, where it is one of what is drawn."""
    known = study["target"] is not None and picture.figure == "alignment"
    return [study["target"]] if known else []


def _marked(series: Series) -> dict[str, Any]:
    return {**series.style, "mfc": series.style["color"], "mec": "white", "mew": 0.5}


def _draw_lines(
    axes: Axes, lines: Sequence[Series], *, width: float, marker: float, every: bool
) -> None:
    """Bands below, means above; marks at every point, or at some of a line that has many."""
    for each in lines:
        if any(high > low for low, high in zip(each.lows, each.highs, strict=True)):
            axes.fill_between(
                each.xs, each.lows, each.highs, color=each.style["color"], alpha=0.16, lw=0,
                zorder=2,
            )  # fmt: skip
    for number, each in enumerate(lines):
        step = 1 if every else max(1, len(each.xs) // 6)
        # Begun at unlike points, marks of lines that run together do not cover each other.
        marks = (number % step, step)
        own = width if each.style["marker"] else 0.6 * width
        axes.plot(
            each.xs, each.means, lw=own, ms=marker, markevery=marks, zorder=3, **_marked(each)
        )


def _dress(
    axes: Axes, study: Json, picture: Picture, lines: Sequence[Series], *, size: float
) -> None:
    """Scales, ticks, grid and the target."""
    xs, across = sorted({x for each in lines for x in each.xs}), picture.across
    log = across == "bytes_up" or (across == "value" and xs[0] > 0 and xs[-1] / xs[0] >= _WIDE)
    if log:
        axes.set_xscale("log")
    if across == "value" and len(xs) <= _FEW:
        axes.xaxis.set_major_locator(FixedLocator(xs))
        axes.xaxis.set_minor_locator(FixedLocator([]))
    elif log:
        wide = xs[-1] > 20 * xs[0]
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if wide else (1, 2, 5)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=across == "round"))
    texts: Mapping[str, Any] = {"bytes_up": lambda value, _: bytes_text(value)}
    plain = FuncFormatter(lambda value, _: f"{value:.6g}")
    axes.xaxis.set_major_formatter(FuncFormatter(texts[across]) if across in texts else plain)
    axes.xaxis.set_minor_formatter(NullFormatter())
    digits = score_text if FIGURES[picture.figure].score else "{:.{}f}".format
    tick(axes.yaxis, 6, lambda value: digits(value, 2))
    rule(axes, lw=0.7)
    ground(axes)
    for target in _goal(study, picture):
        axes.axhline(target, color=QUIET, lw=1.0, ls=(0, (5, 2)), zorder=1)
    name_across(axes, _name(study, across), size=size)


def _name(study: Json, across: str) -> str:
    if across == "value":
        return str(study["names"][study["axis"]])
    return {"round": "round", "bytes_up": "bytes sent by a client"}[across]


def _note(study: Json, picture: Picture, low: float) -> str:
    """What was measured on whom, and how to read the picture."""
    figure = FIGURES[picture.figure]
    held_out = {row["held_out_groups"] for row in study["rows"]} - {None}
    whom = plural(held_out.pop(), "held-out group") if len(held_out) == 1 else "held-out groups"
    draws = {mean["draws"] for mean in study["means"]}
    thing = "Mean alignment" if picture.figure == "alignment" else figure.thing
    parts = [
        f"{thing[:1].upper()}{thing[1:]}"
        f"{' on' if picture.figure == 'alignment' else ':'} {whom}, which took no part in "
        "training, with context."
    ]
    if max(draws) > 1:
        parts.append(
            f"Lines: mean over {plural(max(draws), 'draw')}"
            f"{'' if len(draws) == 1 else ', in some conditions fewer'}; bands: lowest to highest "
            "draw."
        )
    if _goal(study, picture):
        parts.append(f"Dashed across: the target, {score_text(study['target'])}.")
    parts.append(f"{figure.scale(low)}{unfinished(study)}")
    return " ".join(parts)
