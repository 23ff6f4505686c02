"""What a study of epsilon found: the draws of each mode, and the sentence that sums them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.wording import Json, is_number, scale_note, score_limits, score_text

#: Means that lie so far apart are not said to hardly change, even where their draws overlap.
_MUCH = 0.01
#: Of modes, in the order in which they are drawn.
NAMES = {"distributed": "distributed noise", "local": "local noise", "none": "no privacy"}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a picture shows of the runs.

    Attributes:
        key: The figure of a row.
        suffix: Of the same figure of a level.
        thing: What it is called in a title.
        text: How a value is printed.
        limits: Of an axis that holds values.
        note: What its scale means, given where the axis starts.
    """

    key: str
    suffix: str
    thing: str
    text: Callable[[float | None, int], str]
    limits: Callable[[Sequence[float]], tuple[float, float]]
    note: Callable[[float], str]


def _plain(value: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if is_number(value) else "\N{EN DASH}"


def _loss_limits(values: Sequence[float]) -> tuple[float, float]:
    across = max(values) - min(values)
    # So much at least that two digits tell the ticks apart.
    air = max(0.08 * across, (0.06 - across) / 2)
    return max(0.0, min(values) - air), max(values) + air


def _loss_note(axis_start: float) -> str:
    start = "does not start at 0" if axis_start > 0 else "starts at 0"
    return (
        "Log-loss in nats: lower is better, and even perfect predictions keep the entropy of the "
        f"answers; the axis {start}."
    )


ALIGNMENT = Measure(
    key="alignment",
    suffix="",
    thing="alignment on groups never seen",
    text=score_text,
    limits=score_limits,
    note=scale_note,
)
LOG_LOSS = Measure(
    key="log_loss",
    suffix="_log_loss",
    thing="log-loss on groups never seen",
    text=_plain,
    limits=_loss_limits,
    note=_loss_note,
)


@dataclass(frozen=True, kw_only=True)
class Series:
    """The draws of a mode, by epsilon; None is without privacy."""

    mode: str
    draws: Mapping[float | None, Sequence[float]]

    def mean(self, epsilon: float | None) -> float | None:
        """Over draws; None where there are none."""
        values = self.draws.get(epsilon)
        return math.fsum(values) / len(values) if values else None

    @property
    def epsilons(self) -> list[float]:
        """Rising."""
        return sorted(each for each in self.draws if each is not None)


def series_of(study: Json, measure: Measure) -> list[Series]:
    """Modes that were measured, distributed first; without privacy last."""
    found = []
    for mode in NAMES:
        draws: dict[float | None, list[float]] = {}
        for row in study["rows"]:
            if row["mode"] == mode and is_number(row[measure.key]):
                draws.setdefault(row["epsilon"], []).append(row[measure.key])
        if draws:
            found.append(Series(mode=mode, draws=draws))
    return found


def mean_without_privacy(series: Sequence[Series]) -> float | None:
    """Over draws; None where all runs are private."""
    return next((each.mean(None) for each in series if each.mode == "none"), None)


def finding(series: Sequence[Series], measure: Measure) -> str:
    """What a small epsilon costs, in one sentence about the first private mode."""
    thing = measure.thing
    if not series:
        return f"No {thing} was measured"
    private = [each for each in series if each.mode != "none"]
    free = mean_without_privacy(series)
    text = measure.text
    if not private:
        return f"Without privacy, {thing} is {text(free, 3)}"
    first = private[0]
    least, most = first.epsilons[0], first.epsilons[-1]
    with_noise = f"With {NAMES[first.mode]}, {thing}"
    without = "" if free is None else f"; without privacy it is {text(free, 3)}"
    high, low = text(first.mean(most), 3), text(first.mean(least), 3)
    if least == most:
        return f"{with_noise} is {high} at epsilon {most:g}{without}"
    if high == low:
        return f"{with_noise} is {high} at epsilon {most:g} and at {least:g}{without}"
    verb = "rises" if float(low) > float(high) else "falls"
    if _overlap(first.draws[least], first.draws[most]):
        verb = "hardly changes"
        if abs(float(low) - float(high)) >= _MUCH:
            both = f"{high} at epsilon {most:g} and {low} at {least:g}"
            return f"{with_noise} is {both}, with draws that overlap{without}"
    return f"{with_noise} {verb} from {high} at epsilon {most:g} to {low} at {least:g}{without}"


def _overlap(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether the draws of two places cannot be told apart; never of single draws."""
    return bool(one[1:] and two[1:]) and max(min(one), min(two)) <= min(max(one), max(two))
