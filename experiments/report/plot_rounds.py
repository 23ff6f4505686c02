"""The picture of a run: alignment on the held-out groups and training loss, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.pairs.run_tables import CHANCE
from experiments.report.axes import name_across, name_levels, tick
from experiments.report.canvas import (
    ACCENT,
    INK,
    MARGIN,
    QUIET,
    RULE,
    SHADE,
    TINT,
    Canvas,
    font,
    spread,
)
from experiments.report.views import pairs_of
from experiments.report.wording import (
    Json,
    change,
    is_number,
    plural,
    scale_note,
    score_limits,
    score_text,
    start_note,
)


def _points(rounds: Sequence[Json], figure: str) -> list[tuple[int, float]]:
    """The rounds in which a figure was measured, each with its value."""
    return [(r["round"], r[figure]) for r in rounds if is_number(r.get(figure))]


def rounds_title(rounds: Sequence[Json], *, of_pairs: bool = False) -> str:
    """The title: what training did to alignment, or accuracy, on the held-out groups."""
    figure = "accuracy" if of_pairs else "alignment"
    scores = [score for _, score in _points(rounds, figure)]
    thing = f"{figure} on groups never seen"
    if not scores:
        return f"How {figure} changed over the rounds was not measured"
    if len(scores) == 1:
        return f"After training, {thing} is {score_text(scores[0])}"
    return f"Training {change(scores[0], scores[-1], thing, s='s')}"


def _shade_phases(panels: Sequence[Axes], rounds: Sequence[Json]) -> None:
    """Shade warm-up and adapter rounds in all panels and name them above the first."""
    last = max(r["round"] for r in rounds)
    warm = max((r["round"] for r in rounds if not r["train_adapter"]), default=0)
    for start, end, color, name, x, align in (
        (0, warm, SHADE, "warm-up, head alone", 0.0, "left"),
        (warm, last, TINT, "adapters and head", 1.0, "right"),
    ):
        if start == end:
            continue
        for axes in panels:
            axes.axvspan(start, end, color=color, linewidth=0, zorder=0)
        span = f"rounds {start + 1} to {end}" if end > start + 1 else f"round {end}"
        panels[0].text(
            x, 1.02, f"{span}: {name}", transform=panels[0].transAxes, ha=align, va="bottom",
            fontproperties=font(8), color=QUIET,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What was measured round by round, and levels to compare it with.

    Attributes:
        points: Rounds and figures.
        name: Of the line.
        levels: Value, name and dashes of each level.
        note: What a reader must know of the figure.
    """

    points: Sequence[tuple[int, float]]
    name: str
    levels: Sequence[tuple[float, str, tuple[int, tuple[int, int]]]]
    note: str

    @property
    def start(self) -> float:
        """Where the axis starts."""
        values = [value for value, *_ in self.levels] + [score for _, score in self.points]
        return score_limits(values)[0]


_DASHED, _DOTTED, _CLOSE = (0, (5, 2)), (0, (1, 2)), (0, (2, 1))
_NO_CONTEXT = "final model,\nno context"


def _measured(result: Json, rounds: Sequence[Json]) -> _Measured:
    """Alignment, or of a run on pairs accuracy."""
    pairs, alignment = pairs_of(result), result["alignment"]
    shown = "own context: some of the group's other answers are shown to the model."
    if pairs is None:
        groups = plural(len(alignment["unseen_groups"]["groups"]), "held-out group")
        return _Measured(
            points=_points(rounds, "alignment"),
            name="own context",
            levels=(
                (alignment["without_context"]["mean"], _NO_CONTEXT, _DASHED),
                (alignment["uniform"]["mean"], "uniform\nguessing", _DOTTED),
            ),
            note=f"Mean alignment of predicted with actual answers of {groups}; {shown}",
        )
    none = pairs["without_context"]
    levels = [
        (pairs["longer_wins"]["accuracy"]["value"], "longer\nresponse", _CLOSE),
        (CHANCE, "guessing", _DOTTED),
    ]
    if none is not None:
        levels.insert(0, (none["accuracy"]["value"], _NO_CONTEXT, _DASHED))
    groups = plural(len(pairs["unseen_groups"]["groups"]), "held-out group")
    return _Measured(
        points=_points(rounds, "accuracy"),
        name="the model" if none is None else "own context",
        levels=levels,
        note=f"Accuracy on {groups}: share of the answers on the side of the more probable response"
        f"{'.' if none is None else f'; {shown}'}",
    )


def _draw_measured(axes: Axes, measured: _Measured, height: float) -> None:
    """The measured rounds, and levels to compare them with."""
    points, labels = measured.points, []
    for value, name, dashes in measured.levels:
        axes.axhline(value, color=QUIET, lw=1.1, ls=dashes)
        labels.append((value, f"{name} {score_text(value)}", QUIET))
    if points:
        marker = "o" if len(points) <= 40 else ""
        axes.plot(*zip(*points, strict=True), color=ACCENT, lw=1.8, marker=marker, ms=4)
        labels.append((points[-1][1], f"{measured.name}\n{score_text(points[-1][1])}", ACCENT))
    axes.set_ylim(*score_limits([value for value, _, _ in labels] + [score for _, score in points]))
    tick(axes.yaxis, 6)
    low, high = axes.get_ylim()
    gap = 0.36 / height * (high - low)
    name_levels(axes, labels, spread([value for value, _, _ in labels], gap))


def _draw_loss(axes: Axes, rounds: Sequence[Json]) -> None:
    losses = [(r["round"], r["loss"]) for r in rounds if is_number(r["loss"])]
    name = "training loss"
    if not losses:
        # Where groups keep models of their own, nobody learns a loss: how far they are apart.
        losses = [(r["round"], r["distance"]) for r in rounds if is_number(r.get("distance"))]
        name = "distance of\npartners"
    if not losses:
        axes.text(
            0.5, 0.5, "no training loss recorded", transform=axes.transAxes, ha="center",
            va="center", fontproperties=font(8.5), color=QUIET,
        )  # fmt: skip
        return
    axes.plot(*zip(*losses, strict=True), color=INK, lw=1.1, marker="" if losses[1:] else "o")
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.text(
        1.037, 0.5, name, transform=axes.transAxes, va="center",
        fontproperties=font(8.5), color=INK,
    )  # fmt: skip


def _below(rounds: Sequence[Json]) -> str:
    """The name of the lower panel."""
    if any(is_number(r.get("distance")) for r in rounds):
        return "how far the models of partners were apart before they met (L2 norm)"
    return "mean training loss over train groups, in nats"


def draw_rounds(path: Path, result: Json, rounds: Sequence[Json]) -> None:
    """Alignment on held-out groups by round, over the training loss; of pairs accuracy.

    The blue line is measured with each group's own answers as context; dashed and dotted lines
    are the final model without context, and guessing all options alike; of pairs, taking the
    longer response too.
    """
    canvas = Canvas()
    of_pairs, measured = pairs_of(result) is not None, _measured(result, rounds)
    scale = start_note(measured.start) if of_pairs else scale_note(measured.start)
    top = 0.2 + canvas.heading(
        rounds_title(rounds, of_pairs=of_pairs),
        f"{measured.note} {scale} Below: {_below(rounds)}; its axis need not start at 0.",
    )
    left, width, upper, lower = MARGIN + 0.4, 5.35, 2.9, 0.95
    panels = (
        canvas.axes(left, top, width, upper),
        canvas.axes(left, top + upper + 0.2, width, lower),
    )
    last = max((r["round"] for r in rounds), default=0) or 1
    for axes in panels:
        axes.set_xlim(-0.012 * last, 1.012 * last)
        axes.grid(axis="y", color="white" if rounds else RULE, lw=0.9)
        axes.set_axisbelow(True)
    if rounds:
        _shade_phases(panels, rounds)
    _draw_measured(panels[0], measured, upper)
    _draw_loss(panels[1], rounds)
    panels[1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    name_across(panels[1], "round")
    canvas.save(path, height=top + upper + 0.2 + lower + 0.55)
