"""The figures of a study's runs: where each comes from, and how it is told and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.wording import (
    bytes_text,
    count_text,
    gain_text,
    number_text,
    scale_note,
    score_limits,
    score_text,
)
from experiments.studies.engine import KeyPath


def _score(value: float | None) -> str:
    return score_text(value, 4)


def _gain(value: float | None) -> str:
    return gain_text(value, 4)


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


_UNSEEN, _FAIR = ("alignment", "unseen_groups"), ("fairness", "unseen_groups")
_TRAIN = ("fairness", "train_groups")

#: All figures, in the order in which reports show them.
FIGURES: Mapping[str, Figure] = {
    "alignment": Figure(
        title="alignment",
        path=(*_UNSEEN, "mean"),
        thing="alignment on groups never seen",
        score=True,
        usual=True,
        spread=True,
    ),
    "worst_group": Figure(
        title="worst group",
        path=(*_UNSEEN, "worst_group"),
        thing="alignment of the worst group never seen",
        score=True,
        usual=True,
    ),
    "log_loss": Figure(
        title="log-loss",
        path=(*_UNSEEN, "log_loss"),
        thing="log-loss on groups never seen",
        note="Log-loss is in nats: lower is better, and even perfect predictions keep the entropy "
        "of the answers.",
        usual=True,
    ),
    "seen_questions": Figure(
        title="seen questions",
        path=(*_UNSEEN, "seen_questions"),
        thing="alignment on seen questions",
        score=True,
        note="Seen questions: those that a train group answered.",
        usual=True,
    ),
    "unseen_questions": Figure(
        title="unseen questions",
        path=(*_UNSEEN, "unseen_questions"),
        thing="alignment on unseen questions",
        score=True,
        usual=True,
    ),
    "context_swap_drop": Figure(
        title="swap drop",
        path=("context_swap_drop",),
        text=_gain,
        note="Swap drop: what a predictor loses when it is shown another group's answers in place "
        "of the group's own.",
        usual=True,
    ),
    "rounds": Figure(title="rounds", path=("rounds",), text=count_text, usual=True),
    "aborted_rounds": Figure(
        title="aborted", path=("aborted_rounds",), text=number_text, usual=True, shown=any
    ),
    "groups_per_round": Figure(
        title="groups",
        text=number_text,
        note="Groups: in the sum of a round, on average.",
        usual=True,
    ),
    "bytes_up_per_client_per_round": Figure(
        title="bytes up",
        path=("bytes", "up_per_client_per_round"),
        text=bytes_text,
        note="Bytes up: of one client in one round.",
        usual=True,
    ),
    "bytes_total": Figure(
        title="bytes in all",
        text=bytes_text,
        note="Bytes in all: up and down, of all clients and rounds.",
        usual=True,
    ),
    "seconds": Figure(
        title="seconds",
        path=("seconds", "total"),
        text=count_text,
        note="Seconds are of the machine that ran it.",
        usual=True,
    ),
    "rounds_to_target": Figure(
        title="rounds to target",
        text=number_text,
        note="To the target: what it took until the first measured round that reaches it; of "
        "bytes, those that one client had sent.",
        usual=True,
    ),
    "bytes_to_target": Figure(title="bytes to target", text=bytes_text, usual=True),
    "seconds_to_target": Figure(title="seconds to target", text=count_text, usual=True),
    "without_context": Figure(
        title="without context", path=("alignment", "without_context", "mean")
    ),
    "uniform": Figure(title="uniform guessing", path=("alignment", "uniform", "mean")),
    "question_mean": Figure(
        title="mean answer of train groups", path=("alignment", "question_mean", "mean")
    ),
    "untrained": Figure(title="no training"),
    "without_context_log_loss": Figure(
        title="log-loss without context", path=("alignment", "without_context", "log_loss")
    ),
    "uniform_log_loss": Figure(
        title="log-loss of uniform guessing", path=("alignment", "uniform", "log_loss")
    ),
    "question_mean_log_loss": Figure(
        title="log-loss of the mean answer", path=("alignment", "question_mean", "log_loss")
    ),
    "untrained_log_loss": Figure(title="log-loss without training"),
    "noise_multiplier": Figure(
        title="noise multiplier",
        path=("privacy", "noise_multiplier"),
        text=number_text,
        thing="noise multiplier",
        note="Noise multiplier: standard deviation of the noise over the sensitivity.",
    ),
    "spread": Figure(
        title="spread",
        path=(*_FAIR, "spread", "value"),
        thing="spread between groups never seen",
        note="Spread: alignment of the best group less that of the worst.",
    ),
    "cov": Figure(
        title="cov",
        path=(*_FAIR, "cov", "value"),
        thing="coefficient of variation over groups never seen",
        note="Cov: standard deviation of the groups' alignment over its mean.",
    ),
    "gap": Figure(
        title="gap",
        path=("fairness", "gap", "value"),
        text=_gain,
        thing="gap between train groups and groups never seen",
        note="Gap: mean alignment of train groups less that of held-out groups.",
    ),
    "best_group": Figure(
        title="best group",
        path=(*_FAIR, "best_group", "value"),
        thing="alignment of the best group never seen",
        score=True,
    ),
    "lowest_tenth": Figure(
        title="lowest tenth",
        path=(*_FAIR, "lowest_tenth", "value"),
        thing="alignment of the lowest tenth of groups never seen",
        score=True,
    ),
    "jain_index": Figure(title="Jain index", path=(*_FAIR, "jain_index", "value")),
    "train_alignment": Figure(title="train groups", path=("alignment", "train_groups", "mean")),
    "train_worst_group": Figure(title="worst train group", path=(*_TRAIN, "worst_group", "value")),
    "train_spread": Figure(title="spread of train groups", path=(*_TRAIN, "spread", "value")),
    "train_cov": Figure(title="cov of train groups", path=(*_TRAIN, "cov", "value")),
    "parameters": Figure(title="parameters", path=("parameters",), text=count_text),
    "train_groups": Figure(
        title="groups that train", path=("data", "train_groups"), text=count_text
    ),
    "held_out_groups": Figure(
        title="groups held out", path=("data", "held_out_groups"), text=count_text
    ),
    "bytes_down_per_client_per_round": Figure(
        title="bytes down", path=("bytes", "down_per_client_per_round"), text=bytes_text
    ),
}

#: To the first measured round that reaches the target.
TO_TARGET = ("rounds_to_target", "bytes_to_target", "seconds_to_target")
#: All others are alike on every machine, but for the noise of private runs.
OF_THE_MACHINE = ("seconds", "seconds_to_target")
#: Predictors that no run trains, by the figure of their alignment.
REFERENCES = ("untrained", "uniform", "question_mean")
#: Figures that can be drawn against what a study varies.
DRAWN = tuple(name for name, figure in FIGURES.items() if figure.thing)
