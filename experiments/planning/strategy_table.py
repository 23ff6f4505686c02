"""The table of strategies, and of what each goes with: for terminal, plan and docs.

``python -m experiments.planning.strategy_table docs/strategies.md`` puts it into the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from privacy.accounting.choices import NO_PRIVACY
from strategies.checks.combinations import Hiding, refusal
from strategies.registry import known, make, settings_of
from strategies.wire.round_plan import Scalar

#: Stands above the table in the documentation; the next heading ends it.
MARKER = "<!-- made by experiments.planning.strategy_table.markdown -->\n"

#: What a run may hide, with a short name for each.
HIDINGS: Mapping[str, Hiding] = {
    "secure sums": Hiding(secure=True, mode=NO_PRIVACY),
    "no hiding": Hiding(secure=False, mode=NO_PRIVACY),
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


def with_table(page: str) -> str:
    """A page whose table, between `MARKER` and the next heading, is that of the strategies now."""
    before, marker, rest = page.partition(MARKER)
    return before + marker + markdown() + "\n" + rest[rest.index("## ") :]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
