"""The pictures of a study of epsilon: what a guarantee costs, in alignment and in log-loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    SHADE,
    Canvas,
    fit,
    font,
    spread,
    text_width,
)
from experiments.report.wording import Json, is_number, plural
from experiments.studies.epsilon_findings import (
    ALIGNMENT,
    LOG_LOSS,
    NAMES,
    Measure,
    Series,
    finding,
    mean_without_privacy,
    series_of,
)

ALIGNMENT_PICTURE = "epsilon.png"
LOG_LOSS_PICTURE = "epsilon_log_loss.png"

_LEFT = MARGIN + 0.75
_ACROSS = 5.0
_HEIGHT = 3.1
#: Where the least and the largest epsilon stand on an axis from 0 to 1, and what has none.
_PRIVATE = (0.07, 0.76)
_EDGE = 0.86
_NONE_AT = 0.93
#: Of two modes, each stands so far beside its epsilon, and its draws so far beside it.
_ASIDE = 0.009
_DRAWS_ASIDE = 0.02

#: Of each mode, and of no privacy: the line, the mean, and the draws around it.
_LINES: Mapping[str, dict[str, Any]] = {
    "distributed": {"color": ACCENT, "lw": 1.8, "ls": "-", "zorder": 4},
    "local": {"color": INK, "lw": 1.5, "ls": (0, (4, 1.6)), "zorder": 3},
    "none": {"color": INK, "ls": ""},
}
_MEANS: Mapping[str, dict[str, Any]] = {
    "distributed": {"marker": "o", "ms": 7, "mfc": ACCENT, "mec": "white", "mew": 0.8, "zorder": 7},
    "local": {"marker": "s", "ms": 6, "mfc": "white", "mec": INK, "mew": 1.3, "zorder": 6},
    "none": {"marker": "D", "ms": 6, "mfc": INK, "mec": "white", "mew": 0.8, "zorder": 6},
}
_DRAWS: Mapping[str, dict[str, Any]] = {
    "distributed": {"marker": "o", "ms": 3.5, "mfc": "white", "mec": ACCENT, "mew": 0.9},
    "local": {"marker": "s", "ms": 3, "mfc": "white", "mec": QUIET, "mew": 0.8},
    "none": {"marker": "D", "ms": 3, "mfc": "white", "mec": QUIET, "mew": 0.8},
}

#: Levels to compare with: the row's figure (log-loss: with that suffix), its name, and its dashes.
_LEVELS = (
    ("untrained", "no training,\nown context", (0, (5, 2))),
    ("uniform", "uniform\nguessing", (0, (1, 2))),
    ("question_mean", "mean answer of\ntrain groups", (0, (5, 2, 1, 2))),
)


def _levels(study: Json, measure: Measure) -> list[tuple[float, str, Any]]:
    """The level, name and dashes of what the runs are compared with.

    A predictor before training is that of the private runs, where there are any.
    """
    rows = [row for row in study["rows"] if row["mode"] != "none"] or study["rows"]
    levels = []
    for key, name, dashes in _LEVELS:
        values = [v for row in rows if is_number(v := row[f"{key}{measure.suffix}"])]
        if values:
            levels.append((math.fsum(values) / len(values), name, dashes))
    return levels


def study_title(study: Json) -> str:
    """What the picture of alignment shows: what a small epsilon costs."""
    return finding(series_of(study, ALIGNMENT), ALIGNMENT)


def _places(epsilons: Sequence[float], *, end: float) -> dict[float, float]:
    """Where each epsilon stands on an axis from 0 to 1: by its logarithm, the largest at an end."""
    low = _PRIVATE[0]
    if len(epsilons) == 1:
        return {epsilons[0]: (low + end) / 2}
    logs = [math.log(each) for each in epsilons]
    across = (end - low) / (logs[-1] - logs[0])
    return {each: low + (log - logs[0]) * across for each, log in zip(epsilons, logs, strict=True)}


def _draw_key(canvas: Canvas, top: float, modes: Sequence[str], *, several: bool) -> None:
    """The marks and their meaning; of means, where there are several draws."""
    left = MARGIN
    key = canvas.axes(left, top, INNER, 0.2)
    key.set_xlim(left, left + INNER)
    key.set_ylim(0, 1)
    for mode in modes:
        wide = 0.36 if mode != "none" else 0.12
        middle = left + wide / 2
        key.plot([left, left + wide], [0.5, 0.5], clip_on=False, **_LINES[mode])
        key.plot(middle, 0.5, ls="", clip_on=False, **_MEANS[mode])
        name = f"{NAMES[mode]}, mean" if several else NAMES[mode]
        canvas.write(left + wide + 0.07, top + 0.025, name, size=8, color=QUIET)
        left += wide + 0.07 + text_width(name, 8) + 0.22
    if not several:
        return
    for mode in modes:
        key.plot(left + 0.03, 0.5, ls="", clip_on=False, **_DRAWS[mode])
        left += 0.11
    canvas.write(left + 0.03, top + 0.025, "each draw", size=8, color=QUIET)


def _draw_series(axes: Axes, series: Sequence[Series], places: Mapping[float, float]) -> None:
    """A line through the means of each mode, and every draw."""
    both = sum(each.mode != "none" for each in series) > 1
    for each in series:
        aside = {"distributed": -_ASIDE, "local": _ASIDE}.get(each.mode, 0.0) if both else 0.0
        xs = {e: _NONE_AT if e is None else places[e] + aside for e in each.draws}
        known = sorted(xs, key=lambda e: xs[e])
        means = [math.fsum(each.draws[e]) / len(each.draws[e]) for e in known]
        axes.plot([xs[e] for e in known], means, **_LINES[each.mode])
        axes.plot([xs[e] for e in known], means, ls="", **_MEANS[each.mode])
        beside = -_DRAWS_ASIDE if aside < 0 else _DRAWS_ASIDE
        for e, values in each.draws.items():
            if values[1:]:
                x = [xs[e] + beside] * len(values)
                axes.plot(x, values, ls="", zorder=5, **_DRAWS[each.mode])


def _spread_within(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Values moved apart as by ``canvas.spread``, and none out of the limits."""
    moved = spread(values, gap)
    order = sorted(range(len(moved)), key=lambda i: moved[i])
    for rank, i in enumerate(order):
        above = len(order) - rank - 0.5
        moved[i] = max(min(moved[i], high - gap * above), low + gap * (rank + 0.5))
    return moved


def _label_levels(axes: Axes, levels: Sequence[tuple[float, str, Any]]) -> None:
    """Draw levels across, and name them in the right margin, kept apart."""
    low, high = axes.get_ylim()
    gap = 0.36 / _HEIGHT * (high - low)
    places = _spread_within([value for value, _, _ in levels], gap, low, high)
    across = axes.get_yaxis_transform()
    for (value, name, dashes), place in zip(levels, places, strict=True):
        axes.axhline(value, color=QUIET, lw=1.1, ls=dashes, zorder=1)
        axes.plot(
            [1.005, 1.03], [value, place], transform=across, color=QUIET, lw=0.7, clip_on=False
        )
        axes.text(
            1.037, place, name, transform=across, va="center", color=QUIET, linespacing=1.15,
            fontproperties=font(8.5),
        )  # fmt: skip


def _apart(places: Mapping[Any, float]) -> dict[Any, float]:
    """Of the places of an axis, those far enough apart to be labelled, the last in any case."""
    kept: dict[Any, float] = {}
    for each, x in sorted(places.items(), key=lambda item: -item[1]):
        if not kept or min(kept.values()) - x >= 0.42 / _ACROSS:
            kept[each] = x
    return dict(reversed(kept.items()))


def _draw_figures(
    canvas: Canvas,
    series: Sequence[Series],
    measure: Measure,
    *,
    top: float,
    places: Mapping[Any, float],
) -> float:
    """Epsilons and below them the means as figures; returns where they end."""
    canvas.write(MARGIN, top, "epsilon", size=8, weight="bold")
    for epsilon, x in places.items():
        label = "none" if epsilon is None else f"{epsilon:g}"
        canvas.write(_LEFT + x * _ACROSS, top, label, size=8, weight="bold", align="center")
    top += 0.19
    private = [each for each in series if each.mode != "none"]
    free = mean_without_privacy(series)
    for each in private or series:
        name = each.mode if private else NAMES[each.mode]
        canvas.write(MARGIN, top, name, size=8, color=QUIET)
        for epsilon, x in places.items():
            value = free if epsilon is None else each.mean(epsilon)
            canvas.write(_LEFT + x * _ACROSS, top, measure.text(value, 3), size=8, align="center")
        top += 0.17
    return top


def _draw(path: Path, study: Json, measure: Measure) -> None:
    series = series_of(study, measure)
    text = measure.text
    levels = _levels(study, measure)
    free = mean_without_privacy(series)
    if free is not None:
        levels.append((free, "no privacy", (0, (9, 2))))
    named = [(value, f"{name} {text(value, 3)}", dashes) for value, name, dashes in levels]
    values = [v for each in series for draws in each.draws.values() for v in draws]
    low, high = measure.limits([*values, *(value for value, _, _ in levels)] or [0.5])
    several = any(draws[1:] for each in series for draws in each.draws.values())

    canvas = Canvas()
    top = canvas.heading(finding(series, measure), f"{_note(study)} {measure.note(low)}")
    _draw_key(canvas, top, [each.mode for each in series], several=several)
    top += 0.35
    axes = canvas.axes(_LEFT, top, _ACROSS, _HEIGHT)
    axes.set_xlim(0, 1)
    axes.set_ylim(low, high)
    places: dict[Any, float] = {}
    if epsilons := sorted({e for each in series for e in each.epsilons}):
        places |= _places(epsilons, end=_NONE_AT if free is None else _PRIVATE[1])
    if free is not None:
        axes.axvspan(_EDGE, 1, color=SHADE, linewidth=0, zorder=0)
        places[None] = _NONE_AT
    axes.grid(axis="y", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value, 2)))
    _draw_series(axes, series, places)
    _label_levels(axes, named)
    axes.plot(
        [places[e] for e in epsilons], [0] * len(epsilons), transform=axes.get_xaxis_transform(),
        ls="", marker="|", ms=6, color=FAINT, clip_on=False,
    )  # fmt: skip
    top = _draw_figures(canvas, series, measure, top=top + _HEIGHT + 0.1, places=_apart(places))
    footnote = fit(_footnote(study), width=INNER, size=8, lines=6)
    top = canvas.write(MARGIN, top + 0.15, footnote, size=8, color=QUIET)
    canvas.save(path, height=top + 0.25)


def _note(study: Json) -> str:
    """What was measured on whom, and how to read the axis."""
    groups = study["held_out_groups"]
    whom = "the held-out groups" if groups is None else plural(groups, "held-out group")
    modes = {row["mode"] for row in study["rows"]}
    parts = [
        f"Mean over predicted answers of {whom}, with some of the group's other answers as context."
    ]
    if modes - {"none"}:
        parts.append("Epsilon of a whole run, on a logarithmic axis: less is more private.")
        if "none" in modes:
            parts.append("'none' stands apart and has no place on it.")
    return " ".join(parts)


def _footnote(study: Json) -> str:
    """What must be known to judge the picture."""
    rows = study["rows"]
    counts = [each["draws"] for each in study["means"]]
    draws = plural(max(counts), "draw")
    if min(counts) < max(counts):
        draws = f"{min(counts)} to {draws}"
    unlike = ", with different seeds and noise, beside their mean" if max(counts) > 1 else ""
    parts = [f"{draws} of each{unlike}."]
    if len({row["mode"] for row in rows} - {"none"}) > 1:
        parts.append("The two modes are drawn a little beside their epsilon.")
    if any(row["mode"] != "none" for row in rows):
        parts.append(f"Protected: every {study['unit']}, at delta {study['delta']:g}.")
        if any(row["mode"] == "none" for row in rows):
            parts.append(
                "The runs without privacy are the product's own: where nothing is set they have "
                "a wider head, train adapters and average updates, so the gap to them is more "
                "than noise."
            )
    if study["finished"] < study["runs"]:
        parts.append(f"Unfinished: {study['finished']} of {plural(study['runs'], 'run')}.")
    return " ".join(parts)


def draw_study(folder: Path, study: Json) -> list[Path]:
    """Draw ``epsilon.png``, and ``epsilon_log_loss.png`` where runs measured it.

    Every draw is a small mark and the means are joined, a line for each mode; levels across are
    the predictor before training, guessing, the train groups' mean answer, and no privacy. A
    picture of log-loss that cannot be drawn is removed.

    Args:
        folder: Where it exists.
        study: Contents of ``epsilon.json``, with one row at least.

    Returns:
        The PNG files.
    """
    paths = [folder / ALIGNMENT_PICTURE]
    _draw(paths[0], study, ALIGNMENT)
    other = folder / LOG_LOSS_PICTURE
    if series_of(study, LOG_LOSS):
        _draw(other, study, LOG_LOSS)
        paths.append(other)
    else:
        other.unlink(missing_ok=True)
    return paths
