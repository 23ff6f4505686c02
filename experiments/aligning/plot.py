"""The picture of the demonstration: what choices are worth to each group, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from experiments.aligning.measure import AFTER, AT_BEST, BEFORE, BY_CONTEXT, CHOOSERS
from experiments.report.axes import rule
from experiments.report.canvas import ACCENT, FAINT, INK, INNER, MARGIN, QUIET, RULE, Canvas, fit
from experiments.report.wording import Json

PICTURE = "aligned.png"

_LEFT = 2.6
_ROW = 0.3
#: Marks of the ways to choose that are drawn, in the order of the legend.
_MARKS: Mapping[str, Mapping[str, Any]] = {
    BEFORE: {"marker": "o", "ms": 6, "mfc": "white", "mec": QUIET},
    AFTER: {"marker": "o", "ms": 6, "mfc": INK, "mec": INK},
    BY_CONTEXT: {"marker": "D", "ms": 6, "mfc": ACCENT, "mec": ACCENT},
    AT_BEST: {"marker": "|", "ms": 11, "mew": 1.6, "mec": FAINT},
}


def aligned_title(study: Json) -> str:
    """The finding of the picture."""
    before, after, context = (
        study["summary"][name]["mean"] for name in (BEFORE, AFTER, BY_CONTEXT)
    )
    return (
        f"Groups prefer the response that is chosen to another one in {before:.0%} of cases before "
        f"alignment, {after:.0%} after it, and {context:.0%} where a reward that has read some of "
        "the group's pairs chooses"
    )


def draw_aligned(folder: Path, study: Json) -> Path:
    """Draw the contents of ``aligned.json``; returns the PNG file."""
    canvas = Canvas()
    groups = sorted(study["groups"], key=lambda name: -study["worth"][BY_CONTEXT][name])
    top = canvas.heading(aligned_title(study), _note())
    axes = canvas.axes(_LEFT, top + 0.1, INNER + MARGIN - _LEFT, _ROW * len(groups))
    for row, group in enumerate(groups):
        y = top + 0.1 + _ROW * (row + 0.5)
        text = fit(group, width=_LEFT - MARGIN - 0.2, size=8.5)
        canvas.write(MARGIN, y - 0.08, text, size=8.5)
        _draw_row(axes, study["worth"], group, row + 0.5)
    axes.axvline(0.5, color=RULE, lw=1.2, zorder=1)
    axes.set_ylim(len(groups), 0)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MultipleLocator(0.1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    rule(axes, "x", lw=0.6)
    axes.legend(
        handles=axes.get_lines()[: len(_MARKS)],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09),
        ncols=len(_MARKS),
        frameon=False,
        fontsize=8,
    )
    path = folder / PICTURE
    canvas.save(path, height=top + 0.1 + _ROW * len(groups) + 0.75)
    return path


def _draw_row(axes: Axes, worth: Json, group: str, y: float) -> None:
    for name in CHOOSERS:
        if name in _MARKS:
            axes.plot(worth[name][group], y, ls="", label=name, zorder=3, **_MARKS[name])


def _note() -> str:
    return (
        "Of each prompt's responses one is chosen: the likeliest by the language model, the one "
        "that alignment has made more likely, the best by the reward in the group's context, or "
        "the group's true favourite. Chance that a member prefers it to another one; 50 % is "
        "guessing. Nobody trained on these prompts."
    )
