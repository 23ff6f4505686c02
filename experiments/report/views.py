"""One figure of ``result.json``, and the places that show figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    CARD_QUESTIONS = "end of the model card's table"
    STUDY = "rows and table of a study"
    STUDY_NAMED = "rows of a study, and its table where the study names the figure"
    STUDY_TERMINAL = "table of a study on the console"
    COMPARE = "rows of a comparison; with a label, its table"
    COMPARE_TERMINAL = "table of a comparison on the console, of those with a label in the other"


#: Parts of the result that no model card may have a figure of.
_OF_TRAIN_RECORDS = ("train_groups", "question_mean", "gap")
#: Places whose scores have four digits, for they are means over draws.
_MEANS = (View.STUDY, View.STUDY_NAMED, View.COMPARE)


@dataclass(frozen=True)
class Figure:
    """A figure, or a part of the result that holds several.

    Attributes:
        key: Where it stands in ``result.json``, as in ``seconds.total``.
        meaning: What it is, as the manual says it; empty where that has said it of another part.
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
    name: str = ""
    measure: Callable[[FinishedRun], Any] | None = None
    text: Callable[[Any, int], str] | None = None
    long: Callable[[Any], str] | None = None
    digits: int = 3
    shown: Mapping[View, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cards = {View.CARD, View.CARD_QUESTIONS} & set(self.shown)
        if cards and any(part in self.key.split(".") for part in _OF_TRAIN_RECORDS):
            raise ValueError(
                f"figure {self.key!r} is measured on the train groups' own records, of which no "
                "epsilon speaks: leave it out of the model card"
            )

    @property
    def column(self) -> str:
        """Its name in rows."""
        return self.name or self.key.rpartition(".")[2]

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
