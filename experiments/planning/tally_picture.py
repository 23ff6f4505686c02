"""The picture of tallies: noise of a proportion by epsilon, and losses beside gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from experiments.report.axes import name_across, name_levels, rule
from experiments.report.canvas import ACCENT, INK, MARGIN, QUIET, Canvas, spread
from experiments.report.wording import Json, plural, score_text

_LEFT = MARGIN + 0.45
_WIDE = 5.3
_NOISE = 2.1
_LOSS = 2.1


def tally_title(figures: Json) -> str:
    """The finding of the picture: what is expected of both, at the epsilon that was asked for."""
    tally = _loss_text(figures["tally"]["best"])
    rows = figures.get("gradients") or []
    others = [_loss_text(row) for row in rows if row["epsilon"] == figures["epsilon"]]
    beside = f", gradients {others[0]}" if others else ""
    return f"At epsilon {figures['epsilon']:g} a tally should cost {tally} of alignment{beside}"


def tally_subtitle(figures: Json, *, steps: bool) -> str:
    """What a reader must know of a tally."""
    tally = figures["tally"]
    given = tally["answers"]
    said = f"{given:g} of them answered by a person" if given is not None else "all answered"
    if tally["distributions"]:
        said = "as distributions"
    said_last = "" if steps else " A forecast: nothing was counted."
    return (
        f"{plural(figures['groups'], 'group')} of at most "
        f"{plural(figures['units'], figures['unit'])}, {plural(tally['questions'], 'question')} "
        f"each, {said}; delta {figures['delta']:g}. Losses are those of groups never seen, read "
        f"from measured runs.{said_last}"
    )


def draw_tally(canvas: Canvas, top: float, figures: Json) -> float:
    """Draw both panels and return where they end."""
    canvas.write(
        MARGIN, top,
        "Noise (standard deviation) of a proportion of a typical question in one group, by "
        "answers of a person\nthat are counted. Both axes are logarithmic.",
        size=9,
    )  # fmt: skip
    top += 0.55
    _draw_noise(canvas.axes(_LEFT, top, _WIDE, _NOISE), figures)
    top += _NOISE + 0.65
    canvas.write(
        MARGIN, top,
        "Alignment that privacy is expected to cost, against the same run without. Hollow: "
        "outside of what\nwas measured, where it costs at most this (at less noise) or at least "
        "this (at more).",
        size=9,
    )  # fmt: skip
    top += 0.55
    _draw_losses(canvas.axes(_LEFT, top, _WIDE, _LOSS), figures)
    return top + _LOSS + 0.65


def _loss_text(row: Mapping[str, Any]) -> str:
    words = {"within": "", "below": "at most ", "above": "at least "}
    return words[row["expected_range"]] + score_text(row["expected_loss"])


def _epsilons(axes: Axes, figures: Json, epsilons: Sequence[float]) -> None:
    """A logarithmic axis at the bottom, with the epsilons that do not touch the one asked for."""
    own = figures["epsilon"]
    axes.set_xscale("log")
    axes.set_xlim(epsilons[0] / 1.06, epsilons[-1])
    apart = [each for each in epsilons if each == own or abs(math.log(each / own)) > 0.12]
    axes.set_xticks(apart, [f"{each:g}" for each in apart])
    axes.minorticks_off()
    name_across(axes, "epsilon")


def _draw_noise(axes: Axes, figures: Json) -> None:
    """A line for each cap; the best one is accented, and stands for those above it."""
    tally = figures["tally"]
    lines: dict[int, list[tuple[float, float]]] = {}
    for row in tally["rows"]:
        point = (row["epsilon"], 100 * row["noise_of_proportion"])
        lines.setdefault(row["answers_per_respondent"], []).append(point)
    best, most = tally["best_answers_per_respondent"], max(lines)
    lines = {cap: points for cap, points in lines.items() if cap <= best}
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values) / 1.25, max(values) * 1.25
    axes.set_yscale("log")
    _epsilons(axes, figures, sorted({epsilon for epsilon, _ in lines[min(lines)]}))
    axes.set_ylim(low, high)
    ticks = [
        lead * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for lead in (1, 2, 5)
        if low <= lead * 10.0**power <= high
    ]
    axes.set_yticks(ticks, [f"{tick:,g} %" for tick in ticks])
    axes.minorticks_off()
    rule(axes)
    ends = []
    for cap, points in sorted(lines.items(), key=lambda line: line[0] == best):
        color = ACCENT if cap == best else INK
        axes.plot(
            *zip(*points, strict=True), color=color, lw=1.8 if cap == best else 0.9,
            marker="o", ms=4 if cap == best else 3, clip_on=False,
        )  # fmt: skip
        name = f"{cap:,} or more" if cap == best < most else f"{cap:,} counted"
        name += " (all)" if cap == tally["questions"] else ""
        ends.append((math.log(points[-1][1]), name, color))
    places = spread([value for value, _, _ in ends], 0.17 * math.log(high / low) / _NOISE)
    name_levels(
        axes, [(math.exp(value), name, color) for value, name, color in ends],
        [math.exp(place) for place in places],
    )  # fmt: skip


def _draw_losses(axes: Axes, figures: Json) -> None:
    """Tally and gradients, told apart by colour, marker and name."""
    tally = figures["tally"]
    best = tally["best_answers_per_respondent"]
    lines = [
        ("gradients", INK, "s", figures.get("gradients") or []),
        ("tally", ACCENT, "o",
         [row for row in tally["rows"] if row["answers_per_respondent"] == best]),
    ]  # fmt: skip
    most = max(row["expected_loss"] for _, _, _, rows in lines for row in rows)
    _epsilons(axes, figures, [row["epsilon"] for row in lines[1][3]])
    axes.set_ylim(0, 1.15 * most)
    step = 10.0 ** math.floor(math.log10(most))
    step = next(step * share for share in (0.2, 0.5, 1, 2) if most / (step * share) <= 6)
    digits = max(2, math.ceil(-math.log10(step)))
    ticks = [step * number for number in range(round(1.15 * most // step) + 1)]
    axes.set_yticks(ticks, [score_text(tick, digits) for tick in ticks])
    rule(axes)
    ends = []
    for name, color, marker, rows in lines:
        if not rows:
            continue
        points = [(row["epsilon"], row["expected_loss"]) for row in rows]
        axes.plot(*zip(*points, strict=True), color=color, lw=1.8 if color == ACCENT else 1.1)
        for row, point in zip(rows, points, strict=True):
            filled = color if row["expected_range"] == "within" else "white"
            axes.plot(
                *point, color=color, marker=marker, ms=5, ls="", clip_on=False, mfc=filled,
            )  # fmt: skip
        ends.append((points[-1][1], name, color))
    places = spread([value for value, _, _ in ends], 0.17 * 1.15 * most / _LOSS)
    name_levels(axes, ends, places)
    axes.axvline(figures["epsilon"], color=QUIET, lw=0.8, ls=(0, (5, 2)), zorder=0)
