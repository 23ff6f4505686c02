"""Which strategies there are, and what each goes with: one table for terminal, plan and docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from strategies.checks.combinations import Hiding, refusal
from strategies.registry import known, make, settings_of
from strategies.wire.round_plan import Scalar

#: What a run may hide, with a short name for each.
HIDINGS: Mapping[str, Hiding] = {
    "secure sums": Hiding(secure=True, mode="none"),
    "no hiding": Hiding(secure=False, mode="none"),
    "distributed DP, secure sums": Hiding(secure=True, mode="distributed"),
    "distributed DP": Hiding(secure=False, mode="distributed"),
    "local DP, secure sums": Hiding(secure=True, mode="local"),
    "local DP": Hiding(secure=False, mode="local"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy.

    Attributes:
        name: As in ``strategy.name``.
        about: What it does, in a line.
        settings: With their defaults.
        refusals: Why it does not go with what a run hides, by the names of ``HIDINGS``; an empty
            text where it goes.
    """

    name: str
    about: str
    settings: Mapping[str, Scalar]
    refusals: Mapping[str, str]


def rows() -> tuple[Row, ...]:
    """All strategies by name."""
    return tuple(row(name) for name in known())


def row(name: str) -> Row:
    """One strategy, by its name or file; see ``strategies.registry.find``."""
    strategy = make(name, {})
    about = (type(strategy).__doc__ or "").strip().splitlines()[0]
    return Row(
        name=strategy.name,
        about=about,
        settings=settings_of(strategy),
        refusals={title: refusal(strategy, hiding) for title, hiding in HIDINGS.items()},
    )


def by_rule(refusals: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Rules, each with the strategies that it refuses, both in the order of their first place.

    Args:
        refusals: Names of strategies with why they are refused, or an empty text.
    """
    rules: dict[str, list[str]] = {}
    for name, reason in refusals:
        if reason:
            names = rules.setdefault(reason.removeprefix(f"strategy {name} "), [])
            names += [] if name in names else [name]
    return rules


def markdown() -> str:
    """The table of the documentation: a plus where a strategy goes, else the number of a rule."""
    known_rows = rows()
    rules = by_rule((row.name, reason) for row in known_rows for reason in row.refusals.values())
    numbers = {rule: number for number, rule in enumerate(rules, start=1)}
    lines = []
    for each in known_rows:
        rest = [reason.removeprefix(f"strategy {each.name} ") for reason in each.refusals.values()]
        cells = [f"({numbers[rule]})" if rule else "+" for rule in rest]
        lines.append(f"| `{each.name}` | {' | '.join(cells)} |")
    head = f"| strategy | {' | '.join(HIDINGS)} |"
    rule = f"| --- |{' :-: |' * len(HIDINGS)}"
    notes = [f"({number}) It {words}." for words, number in numbers.items()]
    return "\n".join([head, rule, *lines, "", *(f"{note}  " for note in notes)]) + "\n"
