"""The figures of ``result.json`` that speak of runs on pairs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.report.views import Figure, Reads, View
from experiments.report.wording import gain_text, interval_text, score_text


def _text(write: Callable[[float | None, int], str]) -> Callable[[Any, int], str]:
    """What writes a figure, also one that stands with its interval."""

    def text(value: Any, digits: int) -> str:
        if not isinstance(value, Mapping):
            return write(value, digits)
        interval = interval_text(value, digits)
        return write(value["value"], digits) + (f" ({interval})" if interval else "")

    return text


def _part(name: str, meaning: str, *, reads: Reads = Reads.HELD_OUT) -> Figure:
    return Figure(f"pairs.{name}", meaning, reads=reads, measure=lambda run: run.pairs[name])


def _figure(
    key: str,
    meaning: str,
    shown: Mapping[View, str] | None = None,
    *,
    write: Callable[[float | None, int], str] = score_text,
) -> Figure:
    return Figure(
        f"pairs.{key}", meaning, reads=Reads.HELD_OUT, text=_text(write), shown=shown or {}
    )


PAIR_FIGURES: tuple[Figure, ...] = (
    _part(
        "unseen_groups",
        "Of a run on pairs alone: held-out groups, each shown its own context. Every figure counts "
        "the answers of a draw, and is then averaged over draws.",
    ),
    _figure(
        "unseen_groups.accuracy",
        "Share of the answers on the side of the more probable response, half where tied "
        "(`rewards/accuracies` in trl), with Wilson's interval over pairs, `low` to `high`.",
        {View.SHORT: "accuracy"},
    ),
    _figure(
        "unseen_groups.worst_group",
        "The lowest accuracy of a group, with an interval for all groups at once; null of a single "
        "one.",
        {View.SHORT: "worst group"},
    ),
    _figure(
        "unseen_groups.margin",
        "Mean log-odds of the preferred response, in nats (`rewards/margins` in trl).",
        {View.SHORT: "margin, nats"},
        write=gain_text,
    ),
    _figure(
        "unseen_groups.log_loss",
        "Cross-entropy of the answers, in nats; guessing has .693.",
        {View.SHORT: "log-loss, nats", View.CONSOLE: "log-loss (nats; guessing has .693)"},
    ),
    _figure("unseen_groups.brier", "Brier score, the squared error; guessing has .25."),
    _figure(
        "unseen_groups.calibration_error",
        "Mean distance between confidence and how often it came out so.",
        {View.SHORT: "calibration error", View.CONSOLE: "calibration error"},
    ),
    _figure(
        "unseen_groups.calibration_error_by_chance",
        "What confidences that are all right would show on so many answers.",
        {View.CONSOLE: "of which by chance"},
    ),
    _figure("unseen_groups.pairs", "How many (group, pair) targets there are."),
    _figure("unseen_groups.answers", "How many answers stand behind them."),
    _figure("unseen_groups.groups", "The figures of each group."),
    _figure(
        "unseen_groups.reliability",
        "The reliability curve of the first draw: bins with `count`, `confidence`, `outcome`.",
    ),
    _part(
        "without_context",
        "The same, predicted without any context; null where that changes no prediction.",
    ),
    _part(
        "swapped_context",
        "The same, shown the context of the next held-out group; null of a single one, and where "
        "that changes no prediction.",
    ),
    _part(
        "longer_wins",
        "`accuracy` of taking the longer response, that of the `worst_group` and of the `groups`.",
    ),
    _figure("longer_wins.accuracy", "", {View.SHORT: "the longer response wins"}),
    _part(
        "train_groups",
        "Train groups with their own context, on pairs that they trained on.",
        reads=Reads.TRAIN,
    ),
)
