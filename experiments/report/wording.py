"""Words and scales of figures and findings, alike in pictures, pages and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

Json: TypeAlias = Mapping[str, Any]

_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
#: Stands where there is no figure.
DASH = "\N{EN DASH}"
#: The lowest alignment score there is: one minus the largest Jensen-Shannon distance.
WORST = 1 - math.sqrt(math.log(2))


def is_number(value: object) -> TypeGuard[float]:
    """True of a figure that was measured: neither None nor NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def score_text(value: float | None, digits: int = 3) -> str:
    """A score as it is printed: ``.862``; a dash where there is none."""
    return f"{value:.{digits}f}".removeprefix("0") if is_number(value) else DASH


def gain_text(value: float | None, digits: int = 3) -> str:
    """A difference of scores with its sign: ``+.078``, a minus and ``.020``, ``.000``."""
    if not is_number(value):
        return DASH
    size = score_text(abs(value), digits)
    return size if float(size) == 0 else ("+" if value > 0 else "\N{MINUS SIGN}") + size


def interval_text(estimate: Json | None, digits: int = 3) -> str:
    """The ends of the interval of a figure: ``.812 to .864``; empty where it has none."""
    if estimate is None or not (is_number(estimate["low"]) and is_number(estimate["high"])):
        return ""
    return f"{score_text(estimate['low'], digits)} to {score_text(estimate['high'], digits)}"


def count_text(count: float | None) -> str:
    """A number without decimals, a dash where there is none."""
    return f"{count:,.0f}" if is_number(count) else DASH


def number_text(value: float | None) -> str:
    """A number with three digits, a dash where there is none."""
    return f"{value:.3g}" if is_number(value) else DASH


def bytes_text(count: float | None) -> str:
    """A number of bytes with three digits: ``2.85 MB``."""
    if not is_number(count):
        return DASH
    for size, unit in _BYTES:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def size_text(count: int) -> str:
    """A number of bytes, rounded and exact: ``1.4 MB (1,388,123 bytes)``."""
    exact = f"{count:,} bytes"
    for size, unit in _BYTES:
        if count >= size:
            return f"{count / size:.1f} {unit} ({exact})"
    return exact


def duration_text(seconds: float) -> str:
    """A time as people say it: ``59.9 s``, ``12 min 34 s``, ``2 h 2 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plural(count: int, noun: str) -> str:
    """A count with its noun: ``1 group``, ``2 groups``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def unfinished(study: Json) -> str:
    """A last sentence on runs that are still to be done; empty where there are none."""
    if study["finished"] >= study["runs"]:
        return ""
    return f" Unfinished: {study['finished']} of {plural(study['runs'], 'run')}."


def change(before: float, after: float, thing: str, *, s: str = "") -> str:
    """Two scores of a thing in words: ``lift alignment from .78 to .86``.

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
    """The ends of alignment, and the start of an axis of it."""
    worst = score_text(WORST, 2)
    return f"Alignment: 1 is perfect, {worst} the worst there is; {_start(axis_start)}."


def start_note(axis_start: float) -> str:
    """The start of an axis of shares."""
    return f"{_start(axis_start).capitalize()}."


def _start(axis_start: float) -> str:
    start = f"at {score_text(axis_start, 2)}, not at 0" if axis_start > 0 else "at 0"
    return f"the axis starts {start}"


def score_limits(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits in steps of .05 that leave a little air around alignment scores."""
    low, high = min(values) - 0.012, max(values) + 0.012
    return max(0.0, math.floor(low * 20) / 20), min(1.02, math.ceil(high * 20) / 20)
