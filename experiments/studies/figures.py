"""The figures of a study's runs: where each comes from, and how it is told and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.report.views import View
from experiments.report.wording import (
    bytes_text,
    count_text,
    number_text,
    scale_note,
    score_limits,
    score_text,
)
from experiments.simulation.figures import in_rows
from experiments.studies.engine import KeyPath


def _score(value: float | None) -> str:
    return score_text(value, 4)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run.

    Attributes:
        title: Heading of its column.
        path: Where it stands in ``result.json``; empty where it is read off the rounds.
        text: How a mean is written; a dash where there is none.
        thing: What it is called in the title of a picture; empty where it is not drawn.
        score: Whether it is an alignment, on the scale of all alignments.
        note: What the heading leaves open.
        usual: Whether every report shows it; others where the study names them.
        spread: Whether the spread over draws stands beside it.
        shown: What makes the column worth showing, of all its means that are known.
    """

    title: str
    path: KeyPath = ()
    text: Callable[[float | None], str] = _score
    thing: str = ""
    score: bool = False
    note: str = ""
    usual: bool = False
    spread: bool = False
    shown: Callable[[Sequence[float]], bool] = bool

    def limits(self, values: Sequence[float]) -> tuple[float, float]:
        """Ends of an axis that holds values."""
        if self.score:
            return score_limits(values)
        across = max(values) - min(values)
        # So much at least that two digits tell the ticks apart.
        air = max(0.08 * across, (0.06 - across) / 2)
        return max(0.0, min(values) - air), max(values) + air

    def scale(self, axis_start: float) -> str:
        """What its scale means, and where an axis of it starts."""
        if self.score:
            return scale_note(axis_start)
        start = "does not start at 0" if axis_start > 0 else "starts at 0"
        return f"{self.note} The axis {start}.".strip()


def _of_result(*names: str, **more: Any) -> dict[str, Figure]:
    """Figures of ``result.json`` by name, with what pictures and reports of studies add to them."""
    return {name: _made(name, **more) for name in names}


def _made(name: str, **more: Any) -> Figure:
    found = next(each for each in in_rows() if each.column == name)
    view = View.STUDY if View.STUDY in found.shown else View.STUDY_NAMED
    return Figure(
        title=found.shown[view],
        path=tuple(found.key.split(".")),
        text=lambda value: found.written(value, view),
        usual=view is View.STUDY,
        **more,
    )


_ORDERED: Mapping[str, Figure] = {
    **_of_result("alignment", thing="alignment on groups never seen", score=True, spread=True),
    **_of_result("worst_group", thing="alignment of the worst group never seen", score=True),
    **_of_result(
        "log_loss",
        thing="log-loss on groups never seen",
        note="Log-loss is in nats: lower is better, and even perfect predictions keep the entropy "
        "of the answers.",
    ),
    **_of_result(
        "seen_questions",
        thing="alignment on seen questions",
        score=True,
        note="Seen questions: those that a train group answered.",
    ),
    **_of_result("unseen_questions", thing="alignment on unseen questions", score=True),
    **_of_result(
        "context_swap_drop",
        note="Swap drop: what a predictor loses when it is shown another group's answers in place "
        "of the group's own.",
    ),
    **_of_result("rounds"),
    **_of_result("aborted_rounds", shown=any),
    "groups_per_round": Figure(
        title="groups",
        text=number_text,
        note="Groups: in the sum of a round, on average.",
        usual=True,
    ),
    **_of_result("bytes_up_per_client_per_round", note="Bytes up: of one client in one round."),
    "bytes_total": Figure(
        title="bytes in all",
        text=bytes_text,
        note="Bytes in all: up and down, of all clients and rounds.",
        usual=True,
    ),
    **_of_result("seconds", note="Seconds are of the machine that ran it."),
    "rounds_to_target": Figure(
        title="rounds to target",
        text=number_text,
        note="To the target: what it took until the first measured round that reaches it; of "
        "bytes, those that one client had sent.",
        usual=True,
    ),
    "bytes_to_target": Figure(title="bytes to target", text=bytes_text, usual=True),
    "seconds_to_target": Figure(title="seconds to target", text=count_text, usual=True),
    **_of_result("without_context", "uniform", "question_mean"),
    "untrained": Figure(title="no training"),
    **_of_result("without_context_log_loss", "uniform_log_loss", "question_mean_log_loss"),
    "untrained_log_loss": Figure(title="log-loss without training"),
    **_of_result(
        "noise_multiplier",
        thing="noise multiplier",
        note="Noise multiplier: standard deviation of the noise over the sensitivity.",
    ),
    **_of_result(
        "spread",
        thing="spread between groups never seen",
        note="Spread: alignment of the best group less that of the worst.",
    ),
    **_of_result(
        "cov",
        thing="coefficient of variation over groups never seen",
        note="Cov: standard deviation of the groups' alignment over its mean.",
    ),
    **_of_result(
        "gap",
        thing="gap between train groups and groups never seen",
        note="Gap: mean alignment of train groups less that of held-out groups.",
    ),
    **_of_result("best_group", thing="alignment of the best group never seen", score=True),
    **_of_result(
        "lowest_tenth", thing="alignment of the lowest tenth of groups never seen", score=True
    ),
    **_of_result("jain_index", "train_alignment", "train_worst_group", "train_spread", "train_cov"),
    **_of_result("parameters", "train_groups", "held_out_groups"),
}
#: All figures, in the order in which reports show them: those without a place above come last.
FIGURES: Mapping[str, Figure] = {
    **_ORDERED,
    **_of_result(*(each.column for each in in_rows() if each.column not in _ORDERED)),
}

#: To the first measured round that reaches the target.
TO_TARGET = ("rounds_to_target", "bytes_to_target", "seconds_to_target")
#: All others are alike on every machine, but for the noise of private runs.
OF_THE_MACHINE = ("seconds", "seconds_to_target")
#: Predictors that no run trains, by the figure of their alignment.
REFERENCES = ("untrained", "uniform", "question_mean")
#: Figures that can be drawn against what a study varies.
DRAWN = tuple(name for name, figure in FIGURES.items() if figure.thing)
