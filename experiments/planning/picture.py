"""The picture of a plan: the cost of its rounds, and its noise beside the signal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.planning.tally_picture import draw_tally, tally_subtitle, tally_title
from experiments.report.axes import name_across, name_levels, rule
from experiments.report.canvas import (
    ACCENT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    Canvas,
    fit,
    font,
    spread,
)
from experiments.report.wording import Json, plural

_LEFT = MARGIN + 0.4
_ACROSS = 5.35
_UPPER = 2.4
_LOWER = 2.9


def plan_title(figures: Json) -> str:
    """The finding of the picture: the promise of the plan, and the noise that it takes."""
    return (
        f"Epsilon {figures['epsilon']:g} for {plural(figures['rounds'], 'round')} takes noise of "
        f"{figures['noise_to_signal']:.2g} times the largest signal"
    )


def _across(axes: Axes, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Hairlines across at the ticks, and their labels."""
    axes.set_yticks(ticks, labels)
    axes.minorticks_off()
    rule(axes)


def _note(axes: Axes, x: float, y: float, text: str, color: str = QUIET) -> None:
    """Name something at its right."""
    axes.annotate(
        text, (x, y), (7, 0), textcoords="offset points", va="center", color=color,
        linespacing=1.15, annotation_clip=False,
        fontproperties=font(8.5, "bold" if color == ACCENT else "normal"),
    )  # fmt: skip


def _draw_rounds(axes: Axes, figures: Json) -> None:
    """Costs of plans of fewer rounds at this noise, up to the plan itself."""
    rounds, epsilon = figures["rounds"], figures["epsilon"]
    points = [(row["rounds"], row["epsilon"]) for row in figures["epsilon_by_rounds"]]
    axes.plot(*zip(*points, strict=True), color=ACCENT, lw=1.8)
    axes.plot(*points[-1], color=ACCENT, marker="o", ms=6, clip_on=False)
    axes.axhline(epsilon, color=QUIET, lw=1.1, ls=(0, (5, 2)))
    _note(axes, rounds, points[-1][1], f"this plan: {epsilon:g}\ncharged as a whole", ACCENT)
    middle = min(points, key=lambda point: abs(point[0] - rounds / 2))
    if middle != points[-1]:
        axes.plot(*middle, color=ACCENT, marker="o", ms=4)
        axes.annotate(
            f"a plan of {plural(middle[0], 'round')}\nwould cost {middle[1]:.3g}",
            middle, (8, -6), textcoords="offset points", va="top", color=INK,
            linespacing=1.15, fontproperties=font(8.5),
        )  # fmt: skip
    axes.set_xlim(0, rounds)
    axes.set_ylim(0, 1.12 * epsilon)
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, 1.12 * epsilon)
    shown = [tick for tick in ticks if tick <= 1.12 * epsilon]
    _across(axes, shown, [f"{tick:g}" for tick in shown])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    name_across(axes, "rounds")


def _lines(figures: Json) -> dict[int, list[tuple[float, float]]]:
    """By rounds, (epsilon, noise over signal) of the plan and of all others there are."""
    signal = figures["signal_per_coordinate"]
    lines: dict[int, list[tuple[float, float]]] = {figures["rounds"]: []}
    for row in figures["alternatives"]:
        if row["noise_std"] is not None:
            points = lines.setdefault(row["rounds"], [])
            points.append((row["epsilon"], row["noise_std"] / signal))
    own = (figures["epsilon"], figures["noise_to_signal"])
    lines[figures["rounds"]] = sorted({*lines[figures["rounds"]], own})
    return lines


def _decimal_ticks(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times powers of ten from low to high; of many, the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    leading = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [lead * 10.0**power for power in powers for lead in leading]
    return [tick for tick in ticks if low <= tick <= high]


def _draw_noise(axes: Axes, figures: Json) -> None:
    """Noise over signal by epsilon, a line for each number of rounds, on logarithmic axes."""
    lines = _lines(figures)
    own, epsilon, ratio = figures["rounds"], figures["epsilon"], figures["noise_to_signal"]
    values = [1.0, *(value for points in lines.values() for _, value in points)]
    low, high = min(values) / 1.25, max(values) * 1.25
    epsilons = sorted({each for points in lines.values() for each, _ in points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(epsilons[0] / 1.06, epsilons[-1])
    axes.set_ylim(low, high)
    _across(axes, ticks := _decimal_ticks(low, high), [f"{tick:g}" for tick in ticks])
    # Their labels must not touch the plan's own.
    apart = [each for each in epsilons if each == epsilon or abs(math.log(each / epsilon)) > 0.12]
    axes.set_xticks(apart, [f"{each:g}" for each in apart])
    name_across(axes, "epsilon of the whole plan")
    axes.axhline(1, color=QUIET, lw=1.1, ls=(0, (5, 2)))
    ends = [(math.log(1.0), "noise as large\nas the signal", QUIET)]
    for rounds, points in lines.items():
        color = ACCENT if rounds == own else INK
        axes.plot(
            *zip(*points, strict=True), color=color, lw=1.8 if rounds == own else 0.9,
            marker="o", ms=3, clip_on=False,
        )  # fmt: skip
        ends.append((math.log(points[-1][1]), plural(rounds, "round"), color))
    axes.plot(epsilon, ratio, color=ACCENT, marker="o", ms=6, clip_on=False)
    axes.plot([epsilon, epsilon], [ratio, high], color=ACCENT, lw=0.7)
    axes.text(
        epsilon, high, f"this plan: {ratio:.2g}", ha="center", va="bottom", color=ACCENT,
        fontproperties=font(8.5, "bold"),
    )  # fmt: skip
    # The first has two lines of text; half a line more keeps it clear of its neighbours.
    places = spread([value for value, _, _ in ends], 0.27 * (math.log(high / low) / _LOWER))
    levels = [(math.exp(value), name, color) for value, name, color in ends]
    name_levels(axes, levels, [math.exp(place) for place in places])


def draw_plan(path: Path, figures: Json) -> None:
    """What there is of tallies, over what there is of gradients.

    Of tallies and expected losses: the noise of a proportion and the alignment that privacy is
    expected to cost, by epsilon. Of gradients: epsilon against rounds at the plan's noise, over
    noise against signal by epsilon; the latter is left out where the figures have no alternatives.

    Args:
        path: PNG to write.
        figures: Of `experiments.planning.forecast.Forecast.as_dict`, of
            `experiments.planning.outlook.Outlook.as_dict`, or of both.
    """
    canvas = Canvas()
    tally, steps = figures.get("tally"), "epsilon_by_rounds" in figures
    if tally:
        top = 0.1 + canvas.heading(tally_title(figures), tally_subtitle(figures, steps=steps))
        top = draw_tally(canvas, top, figures)
    if steps:
        if tally:
            top = canvas.write(MARGIN, top, fit(plan_title(figures), width=INNER, size=11,
                               lines=2, weight="bold"), size=11, weight="bold")  # fmt: skip
            top = 0.15 + canvas.footnote(top + 0.03, _plan_subtitle(figures))
        else:
            top = 0.1 + canvas.heading(plan_title(figures), _plan_subtitle(figures))
        top = _draw_steps(canvas, top, figures)
    if not tally and not steps:
        raise ValueError("there is neither a tally nor a plan of gradients to draw; give one")
    canvas.save(path, height=top - 0.05)


def _plan_subtitle(figures: Json) -> str:
    return (
        f"{figures['groups']} groups of at most {plural(figures['units'], figures['unit'])}, "
        f"sampled at {figures['sampling_rate']:g}; delta {figures['delta']:g}; "
        f"{figures['dimension']:,} coordinates; {figures['mode']} mode with at least "
        f"{plural(figures['honest_shares'], 'honest noise share')} in every sum. A forecast: "
        "nothing was trained."
    )


def _draw_steps(canvas: Canvas, top: float, figures: Json) -> float:
    """The panels of a plan of gradients; returns where they end."""
    canvas.write(MARGIN, top, "Epsilon of plans of so many rounds, at this plan's noise", size=9)
    top += 0.25
    _draw_rounds(canvas.axes(_LEFT, top, _ACROSS, _UPPER), figures)
    top += _UPPER + 0.65
    if any(row["noise_std"] is not None for row in figures["alternatives"]):
        canvas.write(
            MARGIN, top,
            "Noise on a coordinate of the mean gradient, in units of the largest signal: a mean "
            "gradient of\nthe clipping norm, spread evenly. Both axes are logarithmic.",
            size=9,
        )  # fmt: skip
        top += 0.65
        _draw_noise(canvas.axes(_LEFT, top, _ACROSS, _LOWER), figures)
        top += _LOWER + 0.65
    return top
