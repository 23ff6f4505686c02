"""Sentences about the figures of a study: titles of pictures, and what is said beside the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.report.wording import Json, bytes_text, change, is_number, plural, score_text
from experiments.studies.figures import FIGURES
from experiments.studies.series import against, label_of

_THING = FIGURES["alignment"].thing
_ACROSS = {"round": "round", "bytes_up": "bytes", "value": "value"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a study.

    Attributes:
        across: What is on the axis across: ``round``, ``bytes_up`` or ``value``.
        figure: What is on the other.
    """

    across: str
    figure: str = "alignment"

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"{self.figure}_by_{_ACROSS[self.across]}"


def pictures_of(study: Json) -> list[Picture]:
    """All that may be drawn, in the order in which they tell the story."""
    values = [Picture(across="value", figure=figure) for figure in study["pictures"]]
    return [Picture(across="round"), Picture(across="bytes_up"), *values]


def picture_title(study: Json, picture: Picture) -> str:
    """What a picture shows.

    Args:
        study: Contents of ``study.json``, with one row at least.
        picture: One of its pictures.
    """
    if picture.across == "value":
        return _by_value(study, picture.figure)
    return {"round": _by_round, "bytes_up": _by_bytes}[picture.across](study)


def _ranked(study: Json) -> list[Json]:
    """Conditions that were measured, by mean alignment, the highest first."""
    means = [mean for mean in study["means"] if is_number(mean["alignment"]["mean"])]
    return sorted(means, key=lambda mean: -mean["alignment"]["mean"])


def _by_round(study: Json) -> str:
    ranked = _ranked(study)
    if not ranked:
        return f"How {_THING} changed over the rounds"
    best, worst = ranked[0], ranked[-1]
    if best is worst:
        score = score_text(best["alignment"]["mean"])
        return f"{label_of(study, best['condition'])}: training ends at {score}, {_THING}"
    names = [label_of(study, each["condition"]) for each in (best, worst)]
    scores = [score_text(each["alignment"]["mean"]) for each in (best, worst)]
    if _alike(best, worst):
        return f"All end alike, {names[0]} at {scores[0]} and {names[1]} at {scores[1]}: {_THING}"
    return (
        f"{names[0]} ends highest, at {scores[0]}, and {names[1]} lowest, at {scores[1]}: {_THING}"
    )


def _alike(one: Json, other: Json) -> bool:
    """Whether means lie no further apart than draws do."""
    spreads = [each["alignment"]["spread"] for each in (one, other)]
    known = [spread for spread in spreads if is_number(spread)]
    apart = abs(one["alignment"]["mean"] - other["alignment"]["mean"])
    return bool(known) and apart <= max(known)


def _by_bytes(study: Json) -> str:
    if study["target"] is None:
        return f"How {_THING} rises with the bytes that a client has sent"
    goal = score_text(study["target"])
    reached = [
        mean
        for mean in study["means"]
        if mean["reached"] == mean["draws"] and is_number(mean["bytes_to_target"]["mean"])
    ]
    if not reached:
        return f"{goal} is reached by none in all its draws"
    first = min(reached, key=lambda mean: mean["bytes_to_target"]["mean"])
    sent = bytes_text(first["bytes_to_target"]["mean"])
    who = label_of(study, first["condition"])
    return f"{who} reaches {goal} with the fewest bytes: {sent} sent by a client"


def _by_value(study: Json, figure: str) -> str:
    axis, thing = study["axis"], FIGURES[figure].thing
    name = study["names"][axis]
    lines = [line for line in against(study, axis, figure) if line.xs[1:]]
    if not lines:
        return f"{thing[:1].upper()}{thing[1:]} against {name}"
    line = lines[0]
    from_to = f"from {name} {line.xs[0]:g} to {line.xs[-1]:g}"
    of = f" ({line.label})" if lines[1:] else ""
    moved = f"Going {from_to} {change(line.means[0], line.means[-1], thing, s='s')}{of}"
    spreads = [high - low for low, high in zip(line.lows, line.highs, strict=True)]
    if 0 < max(spreads) >= abs(line.means[-1] - line.means[0]):
        moved += ": no more than draws differ"
    return moved + _beside(study, axis, figure)


def _beside(study: Json, axis: str, figure: str) -> str:
    """The first case that stands alone, for a title: ``; non-private: .90``."""
    for mean in study["means"]:
        value = mean[figure]["mean"]
        if axis not in study["conditions"][mean["condition"]]["varied"] and is_number(value):
            return f"; {label_of(study, mean['condition'])}: {score_text(value, 2)}"
    return ""


def sentences(study: Json) -> list[str]:
    """What is to be said beside the table: the target, and what went wrong."""
    said: list[str] = []
    if study["target"] is not None:
        said += _targets(study)
    aborted = [
        label_of(study, mean["condition"])
        for mean in study["means"]
        if is_number(mean["aborted_rounds"]["mean"]) and mean["aborted_rounds"]["mean"] > 0
    ]
    if aborted:
        said.append(f"Rounds were aborted and gave nothing in: {'; '.join(aborted)}.")
    missing = study["runs"] - study["finished"]
    if missing:
        said.append(f"Not finished: {plural(missing, 'run')} of {study['runs']:,}.")
    return said


def _targets(study: Json) -> list[str]:
    goal, never = score_text(study["target"]), _never(study)
    if not never:
        return [f"{goal} is reached in every draw."]
    if len(never) == len(study["means"]):
        return [f"{goal} is never reached."]
    return [f"{goal} is never reached by: {'; '.join(never)}."]


def _never(study: Json) -> Sequence[str]:
    return [label_of(study, mean["condition"]) for mean in study["means"] if not mean["reached"]]
