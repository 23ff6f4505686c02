"""The likeness of two values of JSON: exact, but for what logarithms and exponentials give."""

import math
from typing import Any

_COMPUTED = frozenset(
    "bound cut_chance epsilon_spent epsilon_spent_at_most rdp rdp_per_step used used_share "
    "pld_epsilon_stated epsilon_pld second_opinion cov".split()
)
"""Figures that another machine may round differently, by the last part of their name."""

_DIFFERENCES = frozenset(("left", "left_share"))
"""What is left of a bound of about 1: of numbers that are nearly the same nothing is left."""

_ROUNDING = 1e-6


def alike(one: Any, other: Any, name: str) -> bool:
    """Whether two values are the same.

    Args:
        one: a value of JSON.
        other: the other.
        name: of the field; parts are joined by dots. It decides whether a float is compared to the
            last bit, as all that a plan states, or may have been rounded differently.
    """
    if isinstance(one, float) and isinstance(other, float):
        *above, last = name.split(".")
        if last in _DIFFERENCES:
            return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=1e-9)
        if last in _COMPUTED or "epsilon_by_accountant" in above:
            return math.isclose(one, other, rel_tol=_ROUNDING)
        return one == other
    return type(one) is type(other) and bool(one == other)
