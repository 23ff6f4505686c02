"""The pictures of a comparison: methods with their intervals, and how fast federated ones rise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.compare.findings import Curve, mean_curve
from experiments.compare.report import titles_of
from experiments.report.axes import ground, name_across, rule, tick
from experiments.report.canvas import ACCENT, INK, MARGIN, QUIET, Canvas, Weight
from experiments.report.rows import Rows
from experiments.report.wording import (
    Json,
    bytes_text,
    gain_text,
    is_number,
    plural,
    scale_note,
    score_limits,
    score_text,
    unfinished,
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
        f"bootstrap. {scale_note(low)}{unfinished(study)}",
    )
    marks = [(_KEY[mark], _MARKS[mark]) for mark in _MARKS if mark == "unseen" or _has(means, mark)]
    canvas.mark_key(top, marks)
    canvas.figures(top + 0.3, (1.2, "all"), (0.62, "unseen"), (0, "lead"), color=QUIET)
    names: list[tuple[str, Weight]] = [(mean["title"], "bold") for mean in means]
    rows = Rows(canvas, top + 0.5, names, figures=_FIGURES, tall=_TALL, bounds=(0, 2.35))
    rows.axes.set_xlim(low, high)
    rule(rows.axes, "x", lw=0.6)
    for number, mean in enumerate(means):
        _draw_method(rows, number, mean, intervals[mean["method"]])
    rows.ground(steps=7)
    note = (
        "Lead: on the strongest baseline, group by group; in brackets where its interval holds 0."
    )
    top = canvas.footnote(rows.bottom + 0.35, note, lines=1)
    canvas.save(path, height=top + 0.2)


def _has(means: Sequence[Json], mark: str) -> bool:
    return any(mean["baseline"] == (mark == "baseline") for mean in means)


def _draw_method(rows: Rows, number: int, mean: Json, interval: Json) -> None:
    """One row: name, marks and figures."""
    mark, y = "baseline" if mean["baseline"] else "own", number + 0.5
    rows.name(number, mean["title"], "normal" if mean["baseline"] else "bold")
    if interval["low"] is not None:
        rows.axes.plot(
            [interval["low"], interval["high"]], [y, y], lw=2.0, zorder=2, alpha=0.45,
            color=_MARKS[mark]["mfc"], solid_capstyle="butt",
        )  # fmt: skip
    score, unseen = mean["alignment"]["mean"], mean["unseen_questions"]["mean"]
    for value, kind in ((score, mark), (unseen, "unseen")):
        if is_number(value):
            rows.axes.plot(value, y, ls="", **_MARKS[kind])
    lead, text = interval["over_strongest"], ""
    if lead is not None:
        text = gain_text(lead["difference"])
        if lead["low"] is None or lead["low"] <= 0 <= lead["high"]:
            text = f"({text})"
    rows.figures(number, (1.2, score_text(score)), (0.62, score_text(unseen)), (0, text))


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


def _draw_convergence(path: Path, study: Json, curves: Mapping[str, tuple[Curve, float]]) -> None:
    found = study["to_reach"]
    values = [value for curve, _ in curves.values() for _, value in curve]
    low, high = score_limits([*values, *([found["score"]] if found else [])])
    canvas = Canvas()
    groups = plural(study["held_out_groups"], "held-out group")
    top = canvas.heading(
        convergence_title(study),
        f"Mean alignment on {groups}, mean over draws, as training goes on; both axes across are "
        f"logarithmic. Dashed: the best of federated GPO. {scale_note(low)}{unfinished(study)}",
    )
    titles = titles_of(study)
    top = canvas.line_key(top, [(titles[method], _LINES[method]) for method in curves]) + 0.1
    width, height = 3.05, 2.7
    for number, (name, text) in enumerate(
        (("round", lambda value, _: f"{value:g}"), ("bytes sent by a client", _bytes_tick))
    ):
        left = MARGIN + 0.4 + number * (width + 0.45)
        axes = canvas.axes(left, top, width, height)
        axes.set_xscale("log")
        axes.set_ylim(low, high)
        rule(axes)
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
        tick(axes.yaxis, 6)
        ground(axes)
        name_across(axes, name)
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
