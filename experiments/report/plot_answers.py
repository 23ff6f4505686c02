"""The picture of one held-out group: what it answered beside what was predicted.

One group and six questions are shown, chosen by rules that the picture states, since six questions
of dozens could be chosen to show anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from alignment.evaluation.calibration import top_label
from alignment.evaluation.metrics import alignment_score, log_loss
from experiments.pairs.run_tables import percent
from experiments.report.canvas import (
    ACCENT,
    FAINT,
    INK,
    INNER,
    MARGIN,
    QUIET,
    Canvas,
    fit,
    font,
    one_line,
    text_width,
)
from experiments.report.views import pairs_of
from experiments.report.wording import Json, is_number, score_text

QUESTIONS_SHOWN = 6
#: More options than this, and the least chosen are drawn as one.
MOST_OPTIONS = 8

_LONGEST_NAME = 60
_GUTTER = 0.4
_PANEL = (INNER - _GUTTER) / 2
_BAR = 0.105
_BETWEEN_OPTIONS = 0.09
_LABEL_SIZE = 7.5
_LINE = _LABEL_SIZE / 72 * 1.3
_STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "actual": ("answered", {"facecolor": INK, "edgecolor": INK}),
    "own": ("predicted, own context", {"facecolor": ACCENT, "edgecolor": ACCENT}),
    "none": ("predicted, no context", {"facecolor": "white", "edgecolor": FAINT}),
}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A group and its questions, those first that an uninformed prediction misses most.

    Attributes:
        group: The held-out group whose mean alignment with its own context is the median; with
            an even number of groups, the lower of the middle two.
        own_score: That mean.
        none_score: Its mean without context.
        questions: All predictions of the group, lowest alignment without context first; of pairs,
            from the best predicted to the worst.
        of_pairs: They are pairs, and scores are accuracies.
    """

    group: str
    own_score: float
    none_score: float | None
    questions: Sequence[Json]
    of_pairs: bool = False

    @property
    def shown(self) -> Sequence[Json]:
        """The questions of the picture: the first, or of pairs some in even steps."""
        count = len(self.questions)
        if not self.of_pairs or count <= QUESTIONS_SHOWN:
            return self.questions[:QUESTIONS_SHOWN]
        steps = [round(i * (count - 1) / (QUESTIONS_SHOWN - 1)) for i in range(QUESTIONS_SHOWN)]
        return [self.questions[step] for step in steps]

    @property
    def bars(self) -> Sequence[str]:
        """What is drawn of each option: no prediction without context where that changes none."""
        left_out = "none" if self.of_pairs and self.none_score is None else ""
        return [bar for bar in _STYLES if bar != left_out]


def choose_example(result: Json, predictions: Sequence[Json]) -> Example | None:
    """Choose what is shown; None where no held-out group has predictions."""
    pairs = pairs_of(result)
    scores, none_scores = _pair_scores(pairs) if pairs is not None else _scores(result)
    known = {row["group"] for row in predictions}
    names = sorted(
        (name for name, score in scores.items() if name in known and is_number(score)),
        key=lambda name: (scores[name], name),
    )
    if not names:
        return None
    group = names[(len(names) - 1) // 2]
    return Example(
        group=group,
        own_score=scores[group],
        none_score=none_scores.get(group),
        questions=sorted(
            (row for row in predictions if row["group"] == group),
            key=_missed if pairs is None else _loss,
        ),
        of_pairs=pairs is not None,
    )


def _scores(result: Json) -> tuple[Json, Json]:
    """The groups' alignment with their own context, and without."""
    alignment = result["alignment"]
    return alignment["unseen_groups"]["groups"], alignment["without_context"]["groups"]


def _pair_scores(pairs: Json) -> tuple[Json, Json]:
    """The groups' accuracy with their own context, and without where that makes a difference."""
    parts = (pairs["unseen_groups"], pairs["without_context"] or {"groups": {}})
    own, none = (
        {name: each["accuracy"]["value"] for name, each in part["groups"].items()} for part in parts
    )
    return own, none


def _missed(row: Json) -> float:
    return alignment_score(row["without_context"], row["actual"])


def _loss(row: Json) -> float:
    return log_loss(row["with_context"], row["actual"])


def answers_title(example: Example) -> str:
    """The title: on how many of its questions context helped; of pairs, the accuracy."""
    name = one_line(example.group)
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    if example.of_pairs:
        return f"{name}: {percent(example.own_score)} of its answers are as predicted"
    closer = sum(
        alignment_score(row["with_context"], row["actual"])
        > alignment_score(row["without_context"], row["actual"])
        for row in example.shown
    )
    count = len(example.shown)
    of = f"{closer} of {count} predictions" if count > 1 else f"{closer} of 1 prediction"
    return f"{name}: own answers bring {of} closer to its answers"


def _subtitle(example: Example) -> str:
    count, shown = len(example.questions), len(example.shown)
    if example.of_pairs:
        which = f"{shown} of {count} pairs" if count > shown else f"all pairs asked of it ({count})"
        none = example.none_score
        without = "" if none is None else f", {score_text(none)} without context"
        return (
            "The held-out group whose accuracy is the median: "
            f"{score_text(example.own_score)}{without}. Shown: {which}, in even steps from the "
            "best predicted to the worst. Bars: share of answers, and predicted probability."
        )
    rule = "where its answers lie farthest from the prediction without context"
    if count > shown:
        bias = "so gains tend to be larger here than on average"
        which = f"the {shown} of {count} questions {rule}, {bias}"
    else:
        which = f"all questions asked of it ({count}), those first {rule}"
    return (
        f"The held-out group whose alignment is the median. Shown: {which}. Over all its questions "
        f"alignment is {score_text(example.none_score)} without and "
        f"{score_text(example.own_score)} with context. Bars: share of answers."
    )


def _options(row: Json) -> list[tuple[str, dict[str, float]]]:
    """Options with their shares; of more than eight, the least chosen are added up."""
    columns = {"actual": "actual", "own": "with_context", "none": "without_context"}
    options = [
        (str(option), {bar: float(row[column][i]) for bar, column in columns.items()})
        for i, option in enumerate(row["options"])
    ]
    if len(options) <= MOST_OPTIONS:
        return options
    order = sorted(range(len(options)), key=lambda i: -max(options[i][1].values()))
    kept = sorted(order[: MOST_OPTIONS - 1])
    rest = [options[i][1] for i in order[MOST_OPTIONS - 1 :]]
    together = {bar: sum(shares[bar] for shares in rest) for bar in columns}
    return [*(options[i] for i in kept), (f"[{len(rest)} other options together]", together)]


def _draw_option(
    axes: Axes, top: float, label: str, shares: Mapping[str, float], bars: Sequence[str]
) -> float:
    """One option, its text above its bars; returns where the next begins."""
    for line in label.split("\n"):
        axes.text(0, top + 0.8 * _LINE, line, va="baseline", color=INK, parse_math=False,
                  fontproperties=font(_LABEL_SIZE))  # fmt: skip
        top += _LINE
    top += 0.02
    for bar in bars:
        share, (_, colors) = shares[bar], _STYLES[bar]
        axes.barh(top + _BAR / 2, share, _BAR * 0.86, linewidth=0.7, **colors)
        axes.text(share + 0.012, top + _BAR / 2, f"{share:.0%}".replace("%", " %"), va="center",
                  color=QUIET, fontproperties=font(6))  # fmt: skip
        top += _BAR
    return top + _BETWEEN_OPTIONS


def _note(row: Json, *, of_pairs: bool) -> str:
    """How well a question is predicted."""
    unseen = "" if row["seen"] else " (not in training)"
    if of_pairs:
        told = top_label(row["with_context"], row["actual"])[1]
        return f"{percent(told)} of its answers as predicted{unseen}"
    none, own = (
        score_text(alignment_score(row[column], row["actual"]), 2)
        for column in ("without_context", "with_context")
    )
    return f"alignment {none} without, {own} with context{unseen}"


def _draw_question(canvas: Canvas, left: float, top: float, row: Json, example: Example) -> float:
    """A question, its scores and its options; returns where it ends."""
    bars = example.bars
    question = fit(row["question"], width=_PANEL, size=8.5, lines=4, weight="bold")
    top = canvas.write(left, top, question, size=8.5, weight="bold")
    note = _note(row, of_pairs=example.of_pairs)
    top = canvas.write(left, top + 0.02, note, size=_LABEL_SIZE, color=QUIET) + 0.08
    options = [
        (fit(label, width=_PANEL, size=_LABEL_SIZE, lines=2) or "(empty)", shares)
        for label, shares in _options(row)
    ]
    lines = sum(label.count("\n") + 1 for label, _ in options)
    height = lines * _LINE + len(options) * (0.02 + len(bars) * _BAR + _BETWEEN_OPTIONS)
    axes = canvas.axes(left, top, _PANEL, height)
    axes.set_xlim(0, 1.11)
    axes.set_ylim(height, 0)
    place = 0.0
    for label, shares in options:
        place = _draw_option(axes, place, label, shares, bars)
    return top + height


def _draw_key(canvas: Canvas, top: float, bars: Sequence[str]) -> float:
    key = canvas.axes(MARGIN, top, INNER, 0.16)
    key.set_xlim(0, INNER)
    key.set_ylim(0, 1)
    left = 0.0
    for bar in bars:
        name, colors = _STYLES[bar]
        name = "predicted" if len(bars) == 2 and bar == "own" else name
        key.barh(0.5, 0.3, 0.6, left=left, linewidth=0.8, **colors)
        canvas.write(MARGIN + left + 0.38, top, name, size=8, color=QUIET)
        left += 0.38 + text_width(name, 8) + 0.3
    return top + 0.32


def draw_answers(path: Path, example: Example) -> None:
    """Bars for every option: what the group answered, predicted with its context and without.

    One held-out group, the median one, and the six questions where its answers lie farthest from
    the prediction without context. Long texts end in an ellipsis.
    """
    canvas = Canvas()
    top = canvas.heading(answers_title(example), _subtitle(example))
    top = _draw_key(canvas, top, example.bars)
    for first in range(0, len(example.shown), 2):
        pair = example.shown[first : first + 2]
        ends = [
            _draw_question(canvas, MARGIN + place * (_PANEL + _GUTTER), top, row, example)
            for place, row in enumerate(pair)
        ]
        top = max(ends) + 0.18
    canvas.save(path, height=top + 0.15)
