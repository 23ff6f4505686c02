"""Tallies on the terminal: the promise in words, noise by cap and epsilon, and expected losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.counting.measured import MEASURED, Expected
from experiments.planning.tallies import TallyForecast
from experiments.report.wording import plural
from privacy.accounting.choices import Unit
from texts import shown

#: A title, a table, and what a reader must know of it.
Block = tuple[str, Table, str]


def tally_promise(made: TallyForecast) -> str:
    """The promise of a tally in plain words."""
    who = str(made.who.unit)
    cap = made.best_cap
    answers = "one answer" if made.who.unit is Unit.RECORD else f"at most {plural(cap, 'answer')}"
    return (
        f"A tally counts {answers} of every {who} once, and each group adds all of the noise "
        f"itself, so it needs to trust no other. Whether one {who} was counted changes the chance "
        "of anything that is ever computed of the counts at most by a factor of about "
        f"{math.exp(made.epsilon):.3g} (e to the epsilon of {made.epsilon:g}), plus at most "
        f"{made.delta:g} (delta): all training, however long, costs nothing further. Questions "
        f"and the bound of {max(made.who.units_per_group):,} {who}s a group are public."
    )


def blocks(
    made: TallyForecast, gradients: Sequence[tuple[float, Expected]], *, shown: Sequence[str]
) -> Iterator[Block]:
    """The tables of a forecast."""
    yield _noise(made)
    yield _own(made)
    yield losses(made, gradients, shown=shown)


def _noise(made: TallyForecast) -> Block:
    table = plain_table("answers counted", *(f"epsilon {each:g}" for each in made.epsilons))
    for cap in made.caps:
        rows = [made.at(epsilon=each, cap=cap).noise for each in made.epsilons]
        name = f"{cap:,}" + (" (all)" if cap == max(made.who.questions_per_group) else "")
        best = " *" if cap == made.best_cap and len(made.caps) > 1 else ""
        cells = [f"{row.noise_std:,.3g} / {_percent(row.noise_of_proportion)}" for row in rows]
        table.add_row(shown(name) + best, *cells)
    note = "Noise on a count, in answers / on the proportion of an option of a typical question."
    if len(made.caps) > 1:
        note += (
            " Answers: those of a full ballot, of a person who gives as many as are counted. "
            f"* Least noise: privacy.answers_per_respondent={made.best_cap}."
        )
    if made.best_cap < made.caps[-1]:
        note += (
            " Counting more than people give costs nothing, as who gives fewer answers counts for "
            "more in each: where some give more, a larger cap keeps theirs."
        )
    return "Tallies: noise by answers of a person that are counted", table, note


def _own(made: TallyForecast) -> Block:
    best = made.best
    noise = best.noise
    table = plain_table("", "")
    for name, value in (
        ("noise multiplier", f"{noise.noise_multiplier:.4f}"),
        ("noise on a count, in answers", f"{noise.noise_std:.3g}"),
        ("answers to a typical question, a group", f"{noise.answers_of_question:,.4g}"),
        ("noise of a proportion, a group", _percent(noise.noise_of_proportion)),
        ("noise of the groups' mean proportion", _percent(noise.noise_of_mean)),
    ):
        table.add_row(shown(name), value)
    note = (
        "Noise multiplier: the least, in closed form. Answers: those of full ballots. Standard "
        "deviations; all roundings of the integers are in them."
    )
    return (
        f"The tally at epsilon {made.epsilon:g}, {best.answers_per_respondent} counted",
        table,
        (note),
    )


def losses(
    made: TallyForecast | None,
    gradients: Sequence[tuple[float, Expected]],
    *,
    shown: Sequence[str],
) -> Block:
    """Expected losses by epsilon, of what is shown of both mechanisms."""
    table = plain_table("epsilon", *shown)
    for epsilon, by_gradients in gradients:
        cells = []
        if "tally" in shown and made is not None:
            cells.append(made.at(epsilon=epsilon, cap=made.best_cap).expected.text)
        if "gradients" in shown:
            cells.append(by_gradients.text)
        table.add_row(f"{epsilon:g}", *cells)
    return "Alignment that privacy is expected to cost", table, sources()


def sources() -> str:
    """The data on which losses were measured, and how far that goes."""
    names = [run.data.name for run in MEASURED if run.data.plain is not None]
    return (
        "Against the same run without privacy, for groups never seen. Read from runs on "
        f"{'; '.join(dict.fromkeys(names))}. 'At most' and 'at least': outside of what was "
        "measured. Gradients: by epsilon and unit alone, so smaller federations lose more."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.995 else "> 99 %"


def plain_table(*columns: str) -> Table:
    """A table whose first column is of words and whose others are of figures."""
    table = Table(box=SIMPLE_HEAD, show_header=any(columns), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table
