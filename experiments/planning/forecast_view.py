"""Figures of a forecast for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.planning.tally_view import Block, plain_table

if TYPE_CHECKING:
    from experiments.planning.forecast import Forecast


def blocks_of(made: Forecast) -> Iterator[Block]:
    """All figures of a forecast of gradients."""
    yield from (_own(made), _costs(made), _shorter(made), _unchecked(made))
    if made.alternatives:
        yield _others(made)
    yield _strategies(made)


def _own(made: Forecast) -> Block:
    from experiments.planning.forecast import accountant_names

    plan = made.plan
    noise, signal = plan.noise_std_per_coordinate, made.signal_per_coordinate
    table = plain_table("", "")
    for name, value in (
        ("epsilon, computed", f"{made.epsilon_pld:.4f}"),
        ("epsilon, upper bound by a second library", _confirmed(made)),
        ("noise multiplier", f"{plan.noise_multiplier:.4f}"),
        ("noise on a coordinate", _short(noise)),
        ("largest signal on a coordinate", _short(signal)),
        ("noise over signal", f"{noise / signal:.2g}"),
        ("honest noise shares in every sum", f"{plan.honest_shares:,}"),
        (f"most {plan.unit}s of a group in a step", f"{plan.batch_cap(0):,}"),
        ("coordinates", f"{plan.dimension:,}"),
        ("integer grid", f"k = {plan.noise_log2}, sensitivity {plan.sensitivity:,}"),
        ("bits of a coordinate that travel", f"{plan.bits_needed}"),
    ):
        table.add_row(name, value)
    note = (
        "Noise: standard deviation on a coordinate of the mean gradient. Largest signal: a mean "
        "gradient of the clipping norm, spread evenly over all coordinates. Coordinates: "
        f"{made.dimension_from}. Accountants: {'; '.join(accountant_names().values())}. "
        f"Digest of the plan: {plan.digest()}"
    )
    return "This plan", table, note


def _confirmed(made: Forecast) -> str:
    return "not asked" if made.epsilon_opacus is None else f"{made.epsilon_opacus:.4f}"


def _costs(made: Forecast) -> Block:
    plan = made.plan
    table = plain_table("", "a round", "all rounds")
    for name, senders in (("bytes up, a group", 1), ("bytes up, all groups", plan.groups)):
        sent = senders * plan.bytes_up
        table.add_row(name, f"{sent:,}", f"{sent * plan.rounds:,}")
    seconds = made.kernel_seconds_per_round
    table.add_row("seconds, a group (estimate)", f"{seconds:.2g}", f"{seconds * plan.rounds:.2g}")
    note = (
        "Bytes: the vectors alone, without headers and keys. Seconds: clipping and noise only, "
        "estimated from a short measurement on this machine."
    )
    return "Bytes and time", table, note


def _shorter(made: Forecast) -> Block:
    table = plain_table("rounds", "epsilon")
    whole = made.plan.rounds
    some = {1, whole, *(whole * quarters // 4 for quarters in (1, 2, 3))}
    for rounds, epsilon in made.shorter.items():
        if rounds in some:
            table.add_row(f"{rounds:,}", f"{epsilon:.2f}")
    note = (
        "What a plan of so many rounds would have cost. This plan is charged as a whole from its "
        "first round on: stopping it early gives nothing back."
    )
    return "Epsilon against rounds, at this noise", table, note


def _unchecked(made: Forecast) -> Block:
    from privacy.accounting.choices import MAX_EPSILON

    table = plain_table("honest shares", "epsilon")
    for shares, epsilon in made.unchecked.items():
        cost = f"above {MAX_EPSILON:g}" if epsilon is None else f"{epsilon:.2f}"
        table.add_row(f"{shares:,}", cost)
    note = (
        "What dropouts and collusion would do if nobody checked: why clients refuse all but the "
        "last."
        if len(made.unchecked) > 1
        else "One honest share is the whole noise: there are no others to lose."
    )
    return "Epsilon if sums with less noise were opened", table, note


def _others(made: Forecast) -> Block:
    refusals = [row.refused for row in made.alternatives if row.refused is not None]
    epsilons = sorted({row.epsilon for row in made.alternatives})
    table = plain_table("rounds", *(f"epsilon {epsilon:g}" for epsilon in epsilons))
    for rounds in sorted({row.rounds for row in made.alternatives}):
        cells = [
            "refused"
            if row.noise_std is None
            else f"{row.noise_multiplier:.3f} / {_short(row.noise_std)}"
            for row in made.alternatives
            if row.rounds == rounds
        ]
        table.add_row(f"{rounds:,}", *cells)
    note = "Noise multiplier / noise on a coordinate."
    if refusals:
        note += f" First refusal: {refusals[0]}"
    return "Other plans", table, note


def _strategies(made: Forecast) -> Block:
    """The strategies that go with the mode of the plan, under secure aggregation as by default."""
    from experiments.planning.strategy_table import by_rule

    table = plain_table("strategy", "with secure sums", "without")
    for name, reasons in made.strategies.items():
        table.add_row(name, *("refused" if reason else "goes" for reason in reasons))
    rules = by_rule((name, each) for name, reasons in made.strategies.items() for each in reasons)
    refused = [f"{', '.join(names)}: it {rule}." for rule, names in rules.items()]
    return "Strategies", table, "\n".join(["strategy.name of a run under this plan.", *refused])


def _short(value: float) -> str:
    """A small figure with three digits: 1.28e-3."""
    return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e+")
