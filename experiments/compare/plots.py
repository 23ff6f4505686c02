"""The pictures of a comparison: methods with their intervals, and how fast federated ones rise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.compare.findings import Curve, mean_curve
from experiments.compare.report import bytes_text, titles_of
from experiments.report.canvas import (
    ACCENT,
    FAINT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    RULE,
    WIDTH,
    Canvas,
    Weight,
    fit,
    font,
    one_line,
    text_width,
)
from experiments.report.wording import (
    Json,
    gain_text,
    is_number,
    plural,
    scale_note,
    score_limits,
    score_text,
)

METHODS_PICTURE = "compare.png"
CONVERGENCE_PICTURE = "convergence.png"

_TALL = 0.25
_FIGURES = 1.75
_MARKS: Mapping[str, dict[str, Any]] = {
    "own": {"marker": "o", "ms": 7, "mfc": ACCENT, "mec": ACCENT, "zorder": 4},
    "baseline": {"marker": "o", "ms": 6.5, "mfc": INK, "mec": INK, "zorder": 4},
    "unseen": {"marker": "o", "ms": 5, "mfc": "white", "mec": QUIET, "mew": 1.0, "zorder": 3},
}
_KEY = {
    "own": "FedAccord, all targets",
    "baseline": "others, all targets",
    "unseen": "questions no train group answered",
}
#: Of each federated method, its line.
_LINES: Mapping[str, dict[str, Any]] = {
    "fedaccord": {"color": ACCENT, "lw": 2.0, "ls": "-", "zorder": 5},
    "fedaccord-frozen": {"color": ACCENT, "lw": 1.4, "ls": (0, (4, 1.6)), "zorder": 4},
    "fedaccord-private": {"color": ACCENT, "lw": 1.4, "ls": (0, (1, 1.4)), "zorder": 4},
    "pluralllm": {"color": INK, "lw": 1.8, "ls": "-", "zorder": 3},
    "pluralllm-rescaled": {"color": INK, "lw": 1.4, "ls": (0, (4, 1.6)), "zorder": 3},
}


def _means(study: Json) -> list[Json]:
    """Methods by mean alignment, the highest first."""
    return sorted(study["means"], key=lambda mean: -(mean["alignment"]["mean"] or 0.0))


def methods_title(study: Json) -> str:
    """The finding of the picture of methods: FedAccord beside the strongest baseline."""
    means = _means(study)
    own = [mean for mean in means if not mean["baseline"]]
    others = [mean for mean in means if mean["baseline"]]
    thing = "on groups never seen"
    if not own or not others:
        best = means[0]
        return f"{best['title']} is best {thing}: {score_text(best['alignment']['mean'])}"
    # The product as it is where it was run, whatever its variants reach.
    chosen = next((mean for mean in own if mean["method"] == "fedaccord"), own[0])
    lead = next(e for e in study["intervals"] if e["method"] == chosen["method"])["over_strongest"]
    strongest = f"the strongest baseline ({others[0]['title']})"
    scores = [score_text(mean["alignment"]["mean"]) for mean in (chosen, others[0])]
    if lead is None or lead["low"] is None or lead["low"] <= 0 <= lead["high"]:
        both = f"{chosen['title']} and {strongest}"
        return f"{both} cannot be told apart {thing}: {scores[0]} and {scores[1]}"
    verb = "is ahead of" if lead["low"] > 0 else "is behind"
    return f"{chosen['title']} {verb} {strongest} {thing}: {scores[0]} against {scores[1]}"


def _unfinished(study: Json) -> str:
    if study["finished"] >= study["runs"]:
        return ""
    return f" Unfinished: {study['finished']} of {plural(study['runs'], 'run')}."


def _draw_key(canvas: Canvas, top: float, marks: Sequence[str]) -> None:
    left = MARGIN
    key = canvas.axes(left, top, INNER, 0.2)
    key.set_xlim(left, left + INNER)
    key.set_ylim(0, 1)
    for mark in marks:
        key.plot(left + 0.06, 0.5, ls="", clip_on=False, **_MARKS[mark])
        canvas.write(left + 0.17, top + 0.025, _KEY[mark], size=8, color=QUIET)
        left += 0.17 + text_width(_KEY[mark], 8) + 0.25


def _draw_methods(path: Path, study: Json) -> None:
    means = _means(study)
    intervals = {each["method"]: each for each in study["intervals"]}
    drawn = [
        value
        for mean in means
        for value in (
            mean["alignment"]["mean"],
            mean["unseen_questions"]["mean"],
            intervals[mean["method"]]["low"],
            intervals[mean["method"]]["high"],
        )
        if is_number(value)
    ]
    low, high = score_limits(drawn or [0.5])
    canvas = Canvas()
    groups = plural(study["held_out_groups"], "held-out group")
    counts = [mean["draws"] for mean in means]
    top = canvas.heading(
        methods_title(study),
        f"Mean alignment of predicted with actual answers of {groups}, each with some of its other "
        f"answers as context; mean over {plural(max(counts), 'draw')}. Bars: 95 % over groups, by "
        f"bootstrap. {scale_note(low)}{_unfinished(study)}",
    )
    marks = [mark for mark in _MARKS if mark == "unseen" or _has(means, mark)]
    _draw_key(canvas, top, marks)
    top += 0.3
    right = WIDTH - MARGIN
    for x, name in ((right - 1.2, "all"), (right - 0.62, "unseen"), (right, "lead")):
        canvas.write(x, top, name, size=8, color=QUIET, align="right")
    top += 0.2
    column = min(2.4, max(text_width(one_line(mean["title"]), 8, "bold") for mean in means) + 0.1)
    left = MARGIN + column + 0.1
    height = _TALL * len(means)
    axes = canvas.axes(left, top, WIDTH - MARGIN - left - _FIGURES, height)
    axes.set_xlim(low, high)
    axes.set_ylim(len(means), 0)
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    for number, mean in enumerate(means):
        line = top + (number + 0.5) * _TALL - 0.075
        _draw_method(canvas, axes, mean, intervals[mean["method"]], number + 0.5, line, column)
    top += height
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value, 2)))
    axes.tick_params(axis="x", length=3, color=FAINT)
    axes.spines["bottom"].set(visible=True, color=FAINT, linewidth=0.7)
    text = (
        "Lead: on the strongest baseline, group by group; in brackets where its interval holds 0."
    )
    top = canvas.write(MARGIN, top + 0.35, fit(text, width=INNER, size=8), size=8, color=QUIET)
    canvas.save(path, height=top + 0.2)


def _has(means: Sequence[Json], mark: str) -> bool:
    return any(mean["baseline"] == (mark == "baseline") for mean in means)


def _draw_method(
    canvas: Canvas, axes: Axes, mean: Json, interval: Json, y: float, top: float, column: float
) -> None:
    """One row: name, marks at ``y`` of the axes, and figures ``top`` inches down."""
    mark = "baseline" if mean["baseline"] else "own"
    weight: Weight = "normal" if mean["baseline"] else "bold"
    name = fit(mean["title"], width=column, size=8, weight=weight)
    canvas.write(MARGIN, top, name, size=8, weight=weight)
    if interval["low"] is not None:
        axes.plot(
            [interval["low"], interval["high"]], [y, y], lw=2.0, zorder=2, alpha=0.45,
            color=_MARKS[mark]["mfc"], solid_capstyle="butt",
        )  # fmt: skip
    score, unseen = mean["alignment"]["mean"], mean["unseen_questions"]["mean"]
    for value, kind in ((score, mark), (unseen, "unseen")):
        if is_number(value):
            axes.plot(value, y, ls="", **_MARKS[kind])
    right = WIDTH - MARGIN
    lead, text = interval["over_strongest"], ""
    if lead is not None:
        text = gain_text(lead["difference"])
        if lead["low"] is None or lead["low"] <= 0 <= lead["high"]:
            text = f"({text})"
    for x, figure in (
        (right - 1.2, score_text(score)),
        (right - 0.62, score_text(unseen)),
        (right, text),
    ):
        canvas.write(x, top, figure, size=8, align="right")


def convergence_title(study: Json) -> str:
    """The finding of the picture of convergence: rounds and bytes to federated GPO's best score."""
    found = study["to_reach"]
    if found is None:
        return "How alignment on groups never seen rises with rounds and bytes"
    titles = titles_of(study)
    theirs = next(each for each in found["methods"] if each["method"] == found["of"])
    goal = f"the best of {titles[found['of']]}, {score_text(found['score'])}"
    own = next((each for each in found["methods"] if each["method"] == "fedaccord"), None)
    if own is None:
        return f"{goal[:1].upper()}{goal[1:]}, is reached after {plural(theirs['round'], 'round')}"
    if own["round"] is None:
        return f"{titles['fedaccord']} does not reach {goal}"
    return (
        f"{titles['fedaccord']} reaches {goal}, after {plural(own['round'], 'round')} and "
        f"{bytes_text(own['bytes_up_per_client'])} instead of {theirs['round']:,} and "
        f"{bytes_text(theirs['bytes_up_per_client'])}"
    )


def _curves(study: Json) -> dict[str, tuple[Curve, float]]:
    """Of each federated method its mean curve from round 1 on, and bytes of a client per round."""
    curves = {}
    for method in _LINES:
        draws = {row["seed"]: row for row in study["rows"] if row["method"] == method}
        sent = [row["bytes_up_per_client_per_round"] for row in draws.values()]
        if not draws or not all(is_number(each) for each in sent):
            continue
        curve = [(number, value) for number, value in mean_curve(draws) if number > 0]
        if curve:
            curves[method] = (curve, math.fsum(sent) / len(sent))
    return curves


def _draw_line_key(canvas: Canvas, top: float, methods: Sequence[str], titles: Json) -> float:
    """The lines and their meaning, in as many rows as they need; returns where they end."""
    left = MARGIN
    for method in methods:
        wide = 0.43 + text_width(titles[method], 8)
        if left + wide > WIDTH - MARGIN and left > MARGIN:
            left, top = MARGIN, top + 0.2
        key = canvas.axes(left, top, 0.36, 0.2)
        key.set_xlim(0, 1)
        key.set_ylim(0, 1)
        key.plot([0, 1], [0.5, 0.5], clip_on=False, **_LINES[method])
        canvas.write(left + 0.43, top + 0.025, titles[method], size=8, color=QUIET)
        left += wide + 0.22
    return top + 0.25


def _draw_convergence(path: Path, study: Json, curves: Mapping[str, tuple[Curve, float]]) -> None:
    found = study["to_reach"]
    values = [value for curve, _ in curves.values() for _, value in curve]
    low, high = score_limits([*values, *([found["score"]] if found else [])])
    canvas = Canvas()
    groups = plural(study["held_out_groups"], "held-out group")
    top = canvas.heading(
        convergence_title(study),
        f"Mean alignment on {groups}, mean over draws, as training goes on; both axes across are "
        f"logarithmic. Dashed: the best of federated GPO. {scale_note(low)}{_unfinished(study)}",
    )
    top = _draw_line_key(canvas, top, list(curves), titles_of(study)) + 0.1
    width, height = 3.05, 2.7
    for number, (name, text) in enumerate(
        (("round", lambda value, _: f"{value:g}"), ("bytes sent by a client", _bytes_tick))
    ):
        left = MARGIN + 0.4 + number * (width + 0.45)
        axes = canvas.axes(left, top, width, height)
        axes.set_xscale("log")
        axes.set_ylim(low, high)
        axes.grid(axis="y", color=RULE, lw=0.8)
        axes.set_axisbelow(True)
        for method, (curve, sent) in curves.items():
            scale = 1.0 if number == 0 else sent
            marker = "o" if len(curve) == 1 else ""
            axes.plot(
                [scale * at for at, _ in curve], [value for _, value in curve], marker=marker,
                ms=4, **_LINES[method],
            )  # fmt: skip
        if found:
            axes.axhline(found["score"], color=QUIET, lw=1.1, ls=(0, (5, 2)), zorder=1)
        start, end = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if end > 20 * start else (1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(text))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: score_text(value, 2)))
        axes.tick_params(axis="x", which="both", length=3, color=FAINT)
        axes.spines["bottom"].set(visible=True, color=FAINT, linewidth=0.7)
        axes.set_xlabel(name, fontproperties=font(8.5), color=QUIET)
    canvas.save(path, height=top + height + 0.55)


def _bytes_tick(value: float, _: object) -> str:
    return bytes_text(value)


def draw_comparison(folder: Path, study: Json) -> list[Path]:
    """Draw ``compare.png``, and ``convergence.png`` where a federated method was measured.

    A picture that cannot be drawn is removed.

    Args:
        folder: Where it exists.
        study: Contents of ``compare.json``, with one row at least.

    Returns:
        The PNG files.
    """
    paths = [folder / METHODS_PICTURE]
    _draw_methods(paths[0], study)
    curves = _curves(study)
    if curves:
        paths.append(folder / CONVERGENCE_PICTURE)
        _draw_convergence(paths[1], study, curves)
    else:
        (folder / CONVERGENCE_PICTURE).unlink(missing_ok=True)
    return paths
