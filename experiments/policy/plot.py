"""The picture of a study of policies: reward of each group under each way to combine them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.report.axes import rule
from experiments.report.canvas import ACCENT, FAINT, INK, INNER, MARGIN, QUIET, RULE, Canvas, fit
from experiments.report.wording import Json, plural

PICTURE = "policy.png"

_NAMES: Mapping[str, str] = {
    "mean": "mean of the groups",
    "min": "least of the groups",
    "adaptive": "adaptive weights",
}
_LEFT = 2.35
_GAP = 0.35
_ROW = 0.21
_PANEL = (INNER + MARGIN - _LEFT - _GAP) / 2


def policies_title(study: Json) -> str:
    """The finding of the picture: the effect of adaptive weights on the worst group."""
    gain = study["adaptive_against_mean"]
    if gain is None:
        return "What a policy aligned to combined rewards is worth to each group"
    better, draws = sum(value > 0 for value in gain["worst_reward"]), len(gain["draws"])
    lift = statistics.fmean(gain["worst_reward"])
    sign = "+" if lift >= 0 else "\N{MINUS SIGN}"
    return (
        f"Adaptive weights against the mean: the worst group's reward is higher in {better} of "
        f"{plural(draws, 'draw')}, by {sign}{abs(lift):.3f} on average"
    )


def draw_policies(folder: Path, study: Json) -> Path:
    """Draw the contents of ``policy.json``; returns the PNG file."""
    canvas = Canvas()
    groups, rows = study["groups"], study["rows"]
    names = list(dict.fromkeys(row["combination"] for row in rows))
    top = canvas.heading(policies_title(study), _note(study))
    height = _ROW * (len(names) * (len(groups) + 1.6))
    for number, (figure, name) in enumerate(
        (("reward", "reward (by the predictor)"), ("support", "support (by the true answers)"))
    ):
        left = _LEFT + number * (_PANEL + _GAP)
        canvas.write(left, top, name, size=8, color=QUIET)
        axes = canvas.axes(left, top + 0.25, _PANEL, height)
        _draw_panel(axes, rows, names, groups, figure)
    y = top + 0.25
    for name in names:
        canvas.write(MARGIN, y + 0.03, _NAMES.get(name, name), size=8.5, weight="bold")
        y += _ROW * 1.1
        for group in groups:
            text = fit(group, width=_LEFT - MARGIN - 0.25, size=8)
            canvas.write(MARGIN + 0.1, y + 0.03, text, size=8)
            y += _ROW
        y += _ROW * 0.5
    path = folder / PICTURE
    folder.mkdir(parents=True, exist_ok=True)
    canvas.save(path, height=y + 0.55)
    return path


def _draw_panel(
    axes: Axes, rows: Sequence[Json], names: Sequence[str], groups: Sequence[str], figure: str
) -> None:
    """A circle for each draw, a diamond at their mean, a stroke where the policies began."""
    y = 0.0
    for name in names:
        own = [row for row in rows if row["combination"] == name]
        y += 1.1
        means = {g: statistics.fmean(row[f"{figure}_after"][g] for row in own) for g in groups}
        worst = min(means, key=lambda group: means[group])
        for group in groups:
            middle = y + 0.5
            axes.axhline(middle, color=RULE, lw=0.6, zorder=0)
            begun = statistics.fmean(row[f"{figure}_before"][group] for row in own)
            axes.plot(begun, middle, ls="", marker="|", ms=6, color=FAINT, zorder=2)
            color = ACCENT if group == worst else INK
            values = [row[f"{figure}_after"][group] for row in own]
            axes.plot(
                values, [middle] * len(values), ls="", marker="o", ms=3, mfc="none", mec=color,
                mew=0.7, zorder=3,
            )  # fmt: skip
            axes.plot(means[group], middle, ls="", marker="D", ms=5, color=color, zorder=4)
            y += 1
        y += 0.5
    axes.set_ylim(y, 0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    rule(axes, "x", lw=0.6)


def _note(study: Json) -> str:
    draws = len({row["seed"] for row in study["rows"]})
    return (
        f"{plural(draws, 'draw')}: circles; their mean: diamond, blue for the group worst off. "
        "Grey stroke: before alignment, where every answer was about as likely. Reward: in "
        "standard deviations over the mean of the offered answers. Support: the share of the "
        "group's members whose own answer the policy gives. Axes do not start at 0."
    )
