"""Axes dressed alike in all pictures: ticks, hairlines, and names in the margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.report.canvas import ACCENT, FAINT, QUIET, RULE, font
from experiments.report.wording import score_text


def _score(value: float) -> str:
    return score_text(value, 2)


def tick(axis: Axis, most: int, text: Callable[[float], str] = _score) -> None:
    """Put at most so many steps on an axis, at round numbers; scores where nothing else is said."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def rule(axes: Axes, which: Literal["x", "y", "both"] = "y", *, lw: float = 0.8) -> None:
    """Draw hairlines below everything else."""
    axes.grid(axis=which, color=RULE, lw=lw)
    axes.set_axisbelow(True)


def ground(axes: Axes) -> None:
    """Draw the line at the bottom, with its ticks."""
    axes.tick_params(axis="x", which="both", length=3, color=FAINT)
    axes.spines["bottom"].set(visible=True, color=FAINT, linewidth=0.7)


def stroke(axes: Axes, xs: Sequence[float]) -> None:
    """Mark on the bottom where something was measured."""
    axes.plot(
        xs, [0] * len(xs), transform=axes.get_xaxis_transform(),
        ls="", marker="|", ms=6, color=FAINT, clip_on=False,
    )  # fmt: skip


def name_across(axes: Axes, name: str, *, size: float = 8.5) -> None:
    """Name the axis at the bottom."""
    axes.set_xlabel(name, fontproperties=font(size), color=QUIET, parse_math=False)


def name_levels(
    axes: Axes, levels: Sequence[tuple[float, str, str]], places: Sequence[float]
) -> None:
    """Name levels in the right margin, with a hairline to each.

    Args:
        axes: Whose margin.
        levels: The height, name and colour of each.
        places: The height of each name, kept apart as by :func:`experiments.report.canvas.spread`.
    """
    across = axes.get_yaxis_transform()
    for (value, name, color), place in zip(levels, places, strict=True):
        axes.plot(
            [1.005, 1.03], [value, place], transform=across, color=color, lw=0.7, clip_on=False
        )
        axes.text(
            1.037, place, name, transform=across, va="center", color=color, linespacing=1.15,
            fontproperties=font(8.5, "bold" if color == ACCENT else "normal"),
        )  # fmt: skip
