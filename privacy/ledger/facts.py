"""The facts that events of a ledger state: data, budgets, plans, spends, and what is left."""

import math
from dataclasses import dataclass
from typing import Self

from privacy.accounting.accountant import GAUSSIAN_ORDER, NeighboringRelation
from privacy.accounting.choices import MAX_EPSILON, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import DeltaTooLarge, LedgerRefused
from privacy.ledger.chain import Event
from privacy.ledger.filter import LARGEST_ORDER, Mechanism, filter_bound
from privacy.ledger.payloads import attempt_of, mechanism_of

#: Another machine may round a logarithm differently.
ROUNDING = 1e-9
_MOST_UNITS = 2**63


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Data that a ledger knows: those of one run.

    Attributes:
        fingerprint: its name in the ledger.
        units: public upper bound on the number of units; in ledgers of earlier versions the number.
        unit: the unit of privacy; one for the whole ledger.
        relation: the neighbouring relation.
        run: name of the run; empty in ledgers of earlier versions, where runs share data.
    """

    fingerprint: str
    units: int
    unit: Unit
    relation: NeighboringRelation
    run: str

    def require_bounded(self) -> None:
        """Refuse data that are of no run, or have no bound on their units."""
        if not isinstance(self.run, str) or not self.run:
            raise LedgerRefused("the data are of no run")
        if type(self.units) is not int or not 0 < self.units < _MOST_UNITS:
            raise LedgerRefused("the data have no bound on their units")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of data: at most `bound` of Renyi divergence at `order`.

    `bound` leaves out the part of delta that pays for cut batches; see `privacy.ledger.filter`.
    """

    epsilon: float
    delta: float
    order: int
    bound: float

    @classmethod
    def of(cls, *, epsilon: float, delta: float, order: int, units: int) -> Self:
        """The budget of data of so many units; see `Ledger.set_budget` for what is refused."""
        epsilon, delta = float(epsilon), float(delta)
        if not 0 < delta < 1 / units:
            raise DeltaTooLarge(
                f"delta = {delta} is not in (0, 1/{units}), one over the units; lower it"
            )
        whole = isinstance(order, int) and not isinstance(order, bool)
        if not (whole and GAUSSIAN_ORDER <= order <= LARGEST_ORDER):
            raise LedgerRefused(
                f"order = {order!r} is not an integer in [{GAUSSIAN_ORDER}, {LARGEST_ORDER}]; use "
                "best_order"
            )
        if not 0 < epsilon <= MAX_EPSILON:
            raise LedgerRefused(
                f"epsilon = {epsilon} of a budget is outside (0, {MAX_EPSILON}]; lower it"
            )
        bound = filter_bound(epsilon=epsilon, delta=delta, order=order)
        if not bound > 0:
            raise LedgerRefused(
                f"order = {order} certifies nothing at epsilon = {epsilon}, delta = {delta}; "
                "use best_order"
            )
        return cls(epsilon=epsilon, delta=delta, order=order, bound=bound)

    def __str__(self) -> str:
        return f"epsilon = {self.epsilon}, delta = {self.delta}, order = {self.order}"

    def within(self, other: Self) -> bool:
        """Whether this is no more than another budget, at the same delta and order."""
        same = (self.delta, self.order) == (other.delta, other.order)
        return same and self.epsilon <= other.epsilon


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The announcement of a run: its data and its plan.

    Attributes:
        dataset: fingerprint of the data.
        plan: the whole plan.
        cut_chance: bound on the chance that a batch of the run is cut to its cap.
    """

    dataset: str
    plan: PrivacyPlan
    cut_chance: float

    @property
    def digest(self) -> str:
        """Digest of the plan."""
        return self.plan.digest()

    @property
    def mechanism(self) -> Mechanism:
        """The mechanism of one step."""
        return mechanism_of(self.plan)

    @property
    def steps(self) -> int:
        """Steps the run may take at most."""
        return self.plan.steps

    @property
    def per_round(self) -> int:
        """Steps of a round."""
        return self.plan.local_steps


@dataclass(frozen=True, kw_only=True)
class SpendReceipt:
    """A spend that is on disk: what pays for one release.

    Attributes:
        seq: number of the event.
        hash: hash of the event.
        dataset: fingerprint of the data that is charged.
        run: name of the run.
        round: its round.
        attempt: the attempt at this round.
        rdp: what it cost, at the order of the budget.
    """

    seq: int
    hash: str
    dataset: str
    run: str
    round: int
    attempt: int
    rdp: float

    @classmethod
    def of(cls, event: Event, *, rdp: float) -> Self:
        """That of a spend that is on disk."""
        run, number, attempt = attempt_of(event.body)
        return cls(
            seq=event.seq,
            hash=event.hash,
            dataset=event.dataset,
            run=run,
            round=number,
            attempt=attempt,
            rdp=rdp,
        )


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """The budget left for data, at its own order.

    Attributes:
        bound: what may be spent in all.
        used: what the unit that has spent most has spent; without the files that name units, the
            most that one can have spent.
        rounds: rounds that the run asked about may still take, by its own steps alone; who has
            spent more elsewhere is left out of them. None without a run.
    """

    bound: float
    used: float
    rounds: int | None

    @property
    def left(self) -> float:
        """The divergence that may still be spent by whoever has spent most."""
        return max(0.0, self.bound - self.used)


def require_close(name: str, stated: float, computed: float) -> None:
    """Refuse a figure that is stated and is not what follows from the rest."""
    if not math.isclose(stated, computed, rel_tol=ROUNDING):
        raise LedgerRefused(f"{name} = {stated} is stated, but {computed} follows from the rest")
