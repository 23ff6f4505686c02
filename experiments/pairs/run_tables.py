"""Tables and sentences of runs on pairs, alike on the console, on the page and in the model card.

Only columns that say something are there: of a model that reads no context, none on contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.report.wording import (
    DASH,
    Json,
    count_text,
    gain_text,
    interval_text,
    plural,
    score_text,
)

#: Accuracy of whoever knows nothing.
CHANCE = 0.5
#: What all other columns stand beside: the title of tables.
TITLE = "how often the preferred response is predicted"


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A row of a table on pairs.

    Attributes:
        name: A group, or what is said of all.
        cells: As written, one for each heading.
    """

    name: str
    cells: Sequence[str]


_Cell = Callable[[Json], Any]
_OWN: Mapping[str, _Cell] = {
    "accuracy": lambda row: score_text(row["accuracy"]["value"]),
    "95 % interval": lambda row: interval_text(row["accuracy"]) or DASH,
    "margin": lambda row: gain_text(row["margin"]),
    "log-loss": lambda row: score_text(row["log_loss"]),
    "pairs": lambda row: count_text(row["pairs"]),
}
#: The columns where there is little room, and those of a figure with its interval.
_BRIEF = ("accuracy", "95 % interval", "margin")
_ESTIMATED = ("accuracy", "95 % interval")
_GUESSING = {"accuracy": ".500", "margin": ".000", "log-loss": ".693"}
_OTHERS = {
    "without_context": "no context",
    "swapped_context": "another's context",
    "longer_wins": "longer wins",
}


def _others(pairs: Json) -> dict[str, str]:
    """The other ways to predict that were measured, each with its heading."""
    return {name: heading for name, heading in _OTHERS.items() if pairs[name] is not None}


def _own(*, brief: bool) -> Mapping[str, _Cell]:
    """The columns of a group's own figures."""
    return {name: cell for name, cell in _OWN.items() if not brief or name in _BRIEF}


def headings(pairs: Json, *, brief: bool = False) -> list[str]:
    """The headings of the columns of tables; the names are not among them.

    Args:
        pairs: The figures of the run.
        brief: Fewer, where there is little room.
    """
    return [*_own(brief=brief), *_others(pairs).values()]


def group_rows(pairs: Json, *, brief: bool = False) -> list[PairRow]:
    """The held-out groups, highest accuracy first; ``brief`` as in :func:`headings`."""
    columns = _own(brief=brief).values()
    groups = pairs["unseen_groups"]["groups"]
    names = sorted(groups, key=lambda name: (-groups[name]["accuracy"]["value"], name))
    return [
        PairRow(
            name=name,
            cells=[
                *(cell(groups[name]) for cell in columns),
                *(_accuracy(pairs[other]["groups"][name]) for other in _others(pairs)),
            ],
        )
        for name in names
    ]


def summary_rows(pairs: Json, *, brief: bool = False) -> list[PairRow]:
    """All held-out groups together, the worst of several, and guessing."""
    own, others, columns = pairs["unseen_groups"], _others(pairs), _own(brief=brief)
    beside = [_accuracy(pairs[other]) for other in others]
    rows = [PairRow(name="all", cells=[*(cell(own) for cell in columns.values()), *beside])]
    if own["worst_group"] is not None:
        worst = {"accuracy": own["worst_group"]}
        cells = [_OWN[name](worst) if name in _ESTIMATED else "" for name in columns]
        beside = [score_text(pairs[other]["worst_group"]["value"]) for other in others]
        rows.append(PairRow(name="worst group", cells=[*cells, *beside]))
    cells = [_GUESSING.get(name, "") for name in columns]
    rows.append(PairRow(name="guessing", cells=[*cells, *[""] * len(others)]))
    return rows


def train_rows(pairs: Json) -> list[PairRow]:
    """The train groups, highest accuracy first, then all; headings are those of their own."""
    train = pairs["train_groups"]
    if train is None:
        return []
    groups = train["groups"]
    names = sorted(groups, key=lambda name: (-groups[name]["accuracy"]["value"], name))
    rows = [(name, groups[name]) for name in names] + [("all", train)]
    return [PairRow(name=name, cells=[cell(row) for cell in _OWN.values()]) for name, row in rows]


def train_headings() -> list[str]:
    """The headings of :func:`train_rows`."""
    return list(_OWN)


def _accuracy(row: Json) -> str:
    """The accuracy of a group or of all, which stands alone or beside other figures."""
    estimate = row.get("accuracy", row)
    return score_text(estimate["value"])


def finding(pairs: Json) -> str:
    """The finding in a line: accuracy with its interval, and what it is against the yardstick."""
    own, longer = pairs["unseen_groups"]["accuracy"], pairs["longer_wins"]["accuracy"]["value"]
    verdict = "not clearly other than"
    if own["low"] > longer:
        verdict = "more than"
    elif own["high"] < longer:
        verdict = "less than"
    return (
        f"{percent(own['value'])} of the answers of groups never seen are as predicted, {verdict} "
        f"by taking the longer response ({percent(longer)})"
    )


def percent(share: float) -> str:
    """A share in whole hundredths: ``64 %``."""
    return f"{share:.0%}".replace("%", " %")


def sentences(pairs: Json, *, context: bool) -> list[str]:
    """What the report says of the predictions, in plain words: a paragraph an entry.

    Args:
        pairs: The figures of the run.
        context: Whether answers of the group were shown to the predictor.
    """
    own, longer = pairs["unseen_groups"], pairs["longer_wins"]["accuracy"]
    shown = "Shown some of such a group's own answers, it" if context else "It"
    told = (
        f"{shown} gives the preferred response the higher probability for "
        f"{score_text(own['accuracy']['value'])} of the answers to {plural(own['pairs'], 'pair')} "
        f"(95 % interval {interval_text(own['accuracy'])}): its accuracy. Guessing reaches "
        f"{score_text(CHANCE)}, taking the longer response {score_text(longer['value'])}."
    )
    return [told, *_contexts(pairs, context=context), _sizes(own), *_worst(own)]


def _contexts(pairs: Json, *, context: bool) -> list[str]:
    none, swapped = pairs["without_context"], pairs["swapped_context"]
    if none is None:
        said = "Its own answers change no prediction: it reads no context." if context else ""
        return [said] if said else []
    text = f"Without a group's own answers the accuracy is {_accuracy(none)}"
    return [text + (f", with another group's {_accuracy(swapped)}." if swapped else ".")]


def _sizes(own: Json) -> str:
    return (
        f"The margin, the mean log-odds of the preferred response, is {gain_text(own['margin'])} "
        f"nats, 0 for guessing; the log-loss {score_text(own['log_loss'])} nats, .693 for "
        "guessing. What it said of the more probable response was off by "
        f"{score_text(own['calibration_error'])} on average, of which "
        f"{score_text(own['calibration_error_by_chance'])} is to be expected by chance."
    )


def _worst(own: Json) -> list[str]:
    worst = own["worst_group"]
    if worst is None:
        return []
    return [
        f"The group predicted worst has an accuracy of {score_text(worst['value'])}; with an "
        f"interval for all groups at once, {interval_text(worst)}."
    ]
