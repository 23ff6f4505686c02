"""How figures and findings are worded and scaled, alike in pictures and report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

Json: TypeAlias = Mapping[str, Any]

#: The lowest alignment score there is: one minus the largest Jensen-Shannon distance.
WORST = 1 - math.sqrt(math.log(2))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a figure was measured: neither None nor NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def score_text(value: float | None, digits: int = 3) -> str:
    """A score as it is printed: ``.862``; a dash where there is none."""
    return f"{value:.{digits}f}".removeprefix("0") if is_number(value) else "\N{EN DASH}"


def gain_text(value: float | None, digits: int = 3) -> str:
    """A difference of scores with its sign: ``+.078``, a minus and ``.020``, ``.000``."""
    if not is_number(value):
        return "\N{EN DASH}"
    size = score_text(abs(value), digits)
    return size if float(size) == 0 else ("+" if value > 0 else "\N{MINUS SIGN}") + size


def interval_text(estimate: Json | None, digits: int = 3) -> str:
    """The ends of the interval of a figure: ``.812 to .864``; empty where it has none."""
    if estimate is None or not (is_number(estimate["low"]) and is_number(estimate["high"])):
        return ""
    return f"{score_text(estimate['low'], digits)} to {score_text(estimate['high'], digits)}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: ``1 group``, ``2 groups``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def change(before: float, after: float, thing: str, *, s: str = "") -> str:
    """What two scores say of a thing: ``lift alignment from .78 to .86``.

    Scores less than .01 apart are given with a third digit.

    Args:
        before: First score.
        after: Last score.
        thing: What the scores are of.
        s: ``"s"`` after a singular subject.
    """
    digits = 2 if abs(after - before) >= 0.01 else 3
    first, last = score_text(before, digits), score_text(after, digits)
    if first == last:
        return f"leave{s} {thing} at {first}"
    return f"{'lift' if after > before else 'lower'}{s} {thing} from {first} to {last}"


def scale_note(axis_start: float) -> str:
    """What alignment runs from and to, and where an axis of it starts."""
    start = f"starts at {score_text(axis_start, 2)}, not at 0" if axis_start > 0 else "starts at 0"
    return f"Alignment: 1 is perfect, {score_text(WORST, 2)} the worst there is; the axis {start}."


def score_limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits in steps of .05 that leave a little air around alignment scores."""
    low, high = min(values) - 0.012, max(values) + 0.012
    return max(0.0, math.floor(low * 20) / 20), min(1.02, math.ceil(high * 20) / 20)
