"""One figure of ``result.json``, and the places that show figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from experiments.report.wording import DASH, Json

if TYPE_CHECKING:
    from experiments.simulation.results import FinishedRun

#: Summaries of the held-out groups by what was shown to the predictor: the columns of tables.
CONTEXTS = ("unseen_groups", "without_context", "swapped_context")


class View(StrEnum):
    """A place that shows figures."""

    CONSOLE = "table of the console"
    SHORT = "head of the report"
    QUESTIONS = "foot of the report's table of groups"
    FAIRNESS = "report's table of fairness"
    COST = "report's table of cost"
    CARD = "table of the model card"
    CARD_QUESTIONS = "end of the model card's table, where no guarantee forbids it"
    STUDY = "rows and table of a study"
    STUDY_NAMED = "rows of a study, and its table where the study names the figure"
    STUDY_TERMINAL = "table of a study on the console"
    COMPARE = "rows of a comparison; with a label, its table"
    COMPARE_TERMINAL = "table of a comparison on the console, of those with a label in the other"


class Reads(StrEnum):
    """What a figure is computed from: the least protected of it."""

    NOTHING = "no record"
    NOISED = "noised sums"
    HELD_OUT = "held-out answers"
    TRAIN = "train records"
    COUNTS = "numbers of records"
    TIME = "clocks"


#: Why the guarantee of a private run does not speak of what is computed so.
OUTSIDE: Mapping[Reads, str] = {
    Reads.HELD_OUT: "measured on held-out groups, or on persons held out as groups, whose answers "
    "count as public",
    Reads.TRAIN: "computed without noise from the train groups' own records, which only a "
    "simulation that holds all records can do",
    Reads.COUNTS: "exact numbers of records, or of the units that groups declare",
    Reads.TIME: "how long computers took",
}
#: Parts of a result that say little of pairs, where shares of 0 and 1 are the rule and even guesses
#: all reach the same; and the part that speaks of nothing else.
_NOT_OF_PAIRS = ("alignment", "fairness", "context_gain", "context_swap_drop")
_OF_PAIRS = "pairs"
#: What no figure holds.
_OTHERWISE = (
    "settings chosen by looking at results on the same data",
    "answers shown as context at prediction",
)
_SHARES_SEEN = (
    "the server itself: it added the groups' shares without secure aggregation and saw each alone"
)
PREDICTIONS_FILE = "predictions.jsonl"
#: What the fields of a round's record are computed from.
ROUND_FIELDS: Mapping[str, Reads] = {
    **dict.fromkeys(("round", "rounds", "train_adapter"), Reads.NOTHING),
    **dict.fromkeys(("groups", "dropped", "aborted"), Reads.NOTHING),
    **dict.fromkeys(("bytes_up", "bytes_down"), Reads.NOTHING),
    **dict.fromkeys(("loss", "distance"), Reads.NOISED),
    **dict.fromkeys(("alignment", "log_loss", "accuracy", "margin"), Reads.HELD_OUT),
    **dict.fromkeys(("seconds_train", "seconds_secagg", "seconds_evaluate"), Reads.TIME),
    "seconds_stages": Reads.TIME,
}
#: And those of a prediction: whether a train group has answered its question too, is their datum.
PREDICTION_FIELDS: Mapping[str, Reads] = {
    **dict.fromkeys(("group", "question_id", "question", "options"), Reads.HELD_OUT),
    **dict.fromkeys(("actual", "with_context", "without_context"), Reads.HELD_OUT),
    "seen": Reads.TRAIN,
}
#: Places whose scores have four digits, for they are means over draws.
_MEANS = (View.STUDY, View.STUDY_NAMED, View.COMPARE)


@dataclass(frozen=True)
class Figure:
    """A figure, or a part of the result that holds several.

    Attributes:
        key: Where it stands in ``result.json``, as in ``seconds.total``.
        meaning: What it is, as the manual says it; empty where that has said it of another part.
        reads: What it is computed from. A figure that does not say so cannot be made: of a private
            run, each is either inside its guarantee or listed outside.
        name: What rows of studies and comparisons call it; the end of its key by default.
        measure: Computes it; None where a part of the result brings it along.
        text: Writes a value with so many digits; None of a part.
        long: Writes it where there is room, in the report's table of cost; ``text`` by default.
        digits: Of scores and gains.
        shown: The places that show it, each with its label there.
    """

    key: str
    meaning: str
    _: KW_ONLY
    reads: Reads
    name: str = ""
    measure: Callable[[FinishedRun], Any] | None = None
    text: Callable[[Any, int], str] | None = None
    long: Callable[[Any], str] | None = None
    digits: int = 3
    shown: Mapping[View, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if View.CARD in self.shown and self.reads is Reads.TRAIN:
            raise ValueError(
                f"figure {self.key!r} is measured on the train groups' own records, of which no "
                "epsilon speaks: leave it out of the model card"
            )

    @property
    def column(self) -> str:
        """Its name in rows."""
        return self.name or self.key.rpartition(".")[2]

    @property
    def of_pairs(self) -> bool:
        """Whether it is computed of runs on pairs alone."""
        return self.key.partition(".")[0] == _OF_PAIRS

    def speaks(self, result: Json) -> bool:
        """Whether places show it of a result, by the kind of the records that were predicted."""
        if pairs_of(result) is None:
            return not self.of_pairs
        return self.key.partition(".")[0] not in _NOT_OF_PAIRS

    def of(self, result: Json, *, beside: str = "") -> Any:
        """Its value in a result, None where that has none.

        Args:
            result: Contents of ``result.json``.
            beside: Another summary, whose figure of the same name is meant.
        """
        path = self.key.split(".")
        if beside:
            path[1:2] = [beside]
        value: Any = result
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def across(self, result: Json) -> list[Any]:
        """Its values with own context, without, and with another group's, as tables have them.

        What was guessed without any context stands under ``without``; what is no figure of a
        summary, first.
        """
        part, _, rest = self.key.partition(".")
        if part != "alignment":
            return [self.of(result), None, None]
        if rest.partition(".")[0] not in CONTEXTS:
            return [None, self.of(result), None]
        return [self.of(result, beside=context) for context in CONTEXTS]

    def written(self, value: Any, view: View) -> str:
        """A value as a place writes it; a dash where there is none."""
        if self.text is None or value is None:
            return DASH
        if self.long is not None and view is View.COST:
            return self.long(value)
        return self.text(value, 4 if view in _MEANS else self.digits)


def pairs_of(result: Json) -> Json | None:
    """The figures of a run on pairs; None of surveys and choices, which alignment speaks of."""
    pairs: Json | None = result.get(_OF_PAIRS)
    return pairs


def outside(figures: Sequence[Figure], *, shares_seen: bool) -> list[str]:
    """What the promised epsilon of a private run does not speak of, its figures by name.

    Args:
        figures: All of them.
        shares_seen: Whether the server saw each group's share of the noise alone.
    """
    whole = {each.key: each.reads for each in figures if each.measure is not None}
    where = list(whole.items())
    for each in figures:
        parts = [reads for key, reads in whole.items() if each.key.startswith(f"{key}.")]
        if parts and each.reads not in parts:
            # What is said of a figure of one summary holds of all summaries.
            where.append((each.key.replace("alignment.unseen_groups.", "alignment.*."), each.reads))
    where += [(f"{name} of rounds.jsonl", reads) for name, reads in ROUND_FIELDS.items()]
    where += [(f"{name} of {PREDICTIONS_FILE}", reads) for name, reads in PREDICTION_FIELDS.items()]
    keys = {reads: [name for name, each in where if each is reads] for reads in OUTSIDE}
    listed = [f"{', '.join(keys[reads])}: {why}" for reads, why in OUTSIDE.items()]
    return [*listed, *_OTHERWISE, *([_SHARES_SEEN] if shares_seen else [])]
