"""The lifetime filter: Renyi divergence at one order, added up exactly.

Costs at one fixed order add up even where each step is chosen after seeing the ones before (Feldman
and Zrnic 2021, https://arxiv.org/abs/2008.11193; of Gaussian mechanisms also at `GAUSSIAN_ORDER`).
Sums are of exact fractions: what is spent does not depend on the order in which it is added up.

A part of a budget's delta is set aside for batches that were cut to their cap. The runs that a
budget pays for differ from their uncut twins with at most the sum of their chances of a cut; that
adds (1 + exp(epsilon)) times that sum to delta, at the epsilon of the budget.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from privacy.accounting.accountant import GAUSSIAN_ORDER, rdp_budget, rdp_per_step, rdp_spent
from privacy.accounting.terms import TRUNCATION_SHARE
from privacy.errors import LedgerRefused

LARGEST_ORDER = 1024


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """The mechanism of one step, as far as its cost depends on it.

    Attributes:
        noise_multiplier: z.
        sampling_rate: q.
    """

    noise_multiplier: float
    sampling_rate: float


Attempt = tuple[str, int, int]
"""Run, round and attempt."""

Steps = Counter[Mechanism]
"""Counts of steps, by mechanism."""


@lru_cache(maxsize=4096)
def cost(mechanism: Mechanism, order: int) -> float:
    """The Renyi divergence of one step at an integer order of at least `GAUSSIAN_ORDER`."""
    return rdp_per_step(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_rate=mechanism.sampling_rate,
        order=order,
    )


def total(steps: Iterable[Steps], order: int) -> Fraction:
    """The exact sum of the costs of steps at one order."""
    return sum(
        (
            count * Fraction(cost(mechanism, order))
            for taken in steps
            for mechanism, count in taken.items()
        ),
        start=Fraction(0),
    )


UNLIMITED = 2**63 - 1
"""Steps that fit where nothing limits them."""


def fitting_steps(
    bounds: Iterable[tuple[int, float]], taken: Steps, mechanism: Mechanism, *, slack: float = 0.0
) -> int:
    """The number of steps that fit into every bound after those taken.

    Args:
        bounds: an order and the divergence that may be spent at it, for each budget.
        taken: the steps before.
        mechanism: of every step to come.
        slack: part of a bound that is added to it, for sums another machine has rounded.
    """
    least: dict[int, float] = {}
    for order, bound in bounds:
        least[order] = min(bound, least.get(order, bound))
    fits = UNLIMITED
    for order, bound in least.items():
        if step := Fraction(cost(mechanism, order)):
            left = Fraction(bound) * (1 + Fraction(slack)) - total([taken], order)
            fits = min(fits, max(0, math.floor(left / step)))
    return fits


@dataclass(kw_only=True)
class PublicSpends:
    """All spends of a ledger as everybody can see them, who paid for each left aside.

    Attributes:
        taken: the steps of all.
    """

    taken: Steps = field(default_factory=Steps)
    _spends: list[tuple[tuple[int, float], Mechanism, int]] = field(default_factory=list)
    _most: dict[int, Fraction] = field(default_factory=dict, compare=False, repr=False)

    def add(self, budget: tuple[int, float], mechanism: Mechanism, steps: int) -> None:
        """Add a spend; the budget of its data, as an order and a bound at it, pays for it."""
        self.taken[mechanism] += steps
        self._spends.append((budget, mechanism, steps))
        for order in self._most:
            self._add_at(order, budget, mechanism, steps)

    def most(self, order: int) -> Fraction:
        """The most that anybody can have spent at one order.

        All spends together, but that none takes anybody beyond the budget that pays for it.
        """
        if order not in self._most:
            self._most[order] = Fraction(0)
            for spend in self._spends:
                self._add_at(order, *spend)
        return self._most[order]

    def _add_at(
        self, order: int, budget: tuple[int, float], mechanism: Mechanism, steps: int
    ) -> None:
        before = self._most[order]
        after = before + steps * Fraction(cost(mechanism, order))
        if order == budget[0]:
            after = max(before, min(after, Fraction(budget[1])))
        self._most[order] = after


def filter_bound(*, epsilon: float, delta: float, order: int) -> float:
    """The Renyi divergence that a budget pays for at an order, less its part for cut batches."""
    return rdp_budget(epsilon=epsilon, delta=delta * (1 - TRUNCATION_SHARE), order=order)


def pays_for_cuts(*, epsilon: float, delta: float, cut_chance: float) -> bool:
    """Whether the part of delta set aside pays for batches that are cut with such a chance."""
    return (1 + math.exp(epsilon)) * cut_chance <= TRUNCATION_SHARE * delta


def least_budget(mechanism: Mechanism, *, steps: int, delta: float) -> tuple[float, int]:
    """Return the least epsilon, in millionths, that pays for so many steps, and its order."""

    def epsilon_at(order: int) -> float:
        used = steps * cost(mechanism, order)
        return rdp_spent(used, delta=delta * (1 - TRUNCATION_SHARE), order=order)

    order = min(range(GAUSSIAN_ORDER, LARGEST_ORDER + 1), key=epsilon_at)
    epsilon = max(1, math.ceil(epsilon_at(order) * 1e6)) / 1e6
    needed = total([Steps({mechanism: steps})], order)
    while Fraction(filter_bound(epsilon=epsilon, delta=delta, order=order)) < needed:
        epsilon = round(epsilon + 1e-6, 6)
    return epsilon, order


def best_order(
    *, noise_multiplier: float, sampling_rate: float, epsilon: float, delta: float
) -> int:
    """Return the order that lets a budget pay for the most steps of a planned mechanism.

    Searches the integers from `GAUSSIAN_ORDER` to `LARGEST_ORDER`. A bad order costs: at z = 1.4,
    q = .064, epsilon 4 and delta 1e-5 orders 5 and 6 permit 218 steps, order 12 permits 20.

    Raises:
        LedgerRefused: if no order certifies (epsilon, delta) for even one step.
    """
    mechanism = Mechanism(noise_multiplier=noise_multiplier, sampling_rate=sampling_rate)
    steps = {
        order: filter_bound(epsilon=epsilon, delta=delta, order=order) / cost(mechanism, order)
        for order in range(GAUSSIAN_ORDER, LARGEST_ORDER + 1)
    }
    best = max(steps, key=lambda order: steps[order])
    if steps[best] < 1:
        raise LedgerRefused(
            f"epsilon = {epsilon} at delta = {delta} pays for no step at z = {noise_multiplier}, "
            f"q = {sampling_rate}; plan more noise or a larger budget"
        )
    return best


def epsilon_spent(used: float, *, delta: float, order: int) -> float:
    """The epsilon that a sum of costs at an order amounts to; 0 for none, and never below it."""
    if used == 0:
        return 0.0
    return rdp_spent(used, delta=delta * (1 - TRUNCATION_SHARE), order=order)
