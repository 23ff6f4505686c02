"""The state that the events of a ledger add up to: units, budgets, plans, spends.

`State.apply` is the only way to change it, for events just written and for events read back, so a
ledger that is opened again knows what the one that wrote it knew.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.errors import LedgerRefused
from privacy.ledger.chain import Event
from privacy.ledger.facts import Budget, Dataset, Remaining, RunPlan, SpendReceipt
from privacy.ledger.filter import (
    Attempt,
    Mechanism,
    Steps,
    cost,
    pays_for_cuts,
    total,
)
from privacy.ledger.payloads import mechanism_of, stated_plan
from privacy.ledger.units import unpack_tags

# Another machine may round a logarithm differently.
_ROUNDING = 1e-9


@dataclass(kw_only=True)
class State:
    """The sum of all events so far."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    plans: dict[str, RunPlan] = field(default_factory=dict)
    spends: dict[Attempt, SpendReceipt] = field(default_factory=dict)
    open: dict[str, SpendReceipt] = field(default_factory=dict)
    refused: dict[Attempt, str] = field(default_factory=dict)
    run_steps: dict[str, int] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    # Steps charged to each data set itself; the sets of data sets that some unit is in, as bits in
    # the order of registration; and for each unit the set it is in.
    _direct: dict[str, Steps] = field(default_factory=dict)
    _sharing: set[int] = field(default_factory=set)
    _memberships: dict[bytes, int] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            ValueError: if it contradicts the events before it, or lacks a field.
            KeyError: if it names something unknown.
        """
        getattr(self, f"_{event.type.lower()}")(event, event.body)
        self.hashes.append(event.hash)

    def parents_of(self, tags: tuple[bytes, ...]) -> tuple[str, ...]:
        """Fingerprints of the known data that have one of these units."""
        shared = 0
        for tag in tags:
            shared |= self._memberships.get(tag, 0)
        return tuple(name for bit, name in enumerate(self.datasets) if shared >> bit & 1)

    def used(self, dataset: str, order: int, *, also: str | None = None) -> Fraction | None:
        """The divergence spent by the unit of some data that has spent most, at one order.

        Every step on any data the unit is in counts, once, whenever it was taken.

        Args:
            dataset: fingerprint of the data.
            order: of the divergence.
            also: only units that are in this data too; None is returned if there are none.
        """
        spent = self.spent_by_units(dataset, also=also)
        return max((total([steps], order) for steps in spent), default=None)

    def spent_by_units(self, dataset: str, *, also: str | None = None) -> Iterator[Steps]:
        """Yield the steps spent by units of some data: once for all that are in the same data.

        Args:
            dataset: fingerprint of the data.
            also: only units that are in this data too.
        """
        names = list(self.datasets)
        needed = 1 << names.index(dataset) | 1 << names.index(also or dataset)
        for units in self._sharing:
            if units & needed == needed:
                taken = Steps()
                for bit, name in enumerate(names):
                    if units >> bit & 1:
                        taken.update(self._direct[name])
                yield taken

    def affordable(
        self, dataset: str, mechanism: Mechanism, *, slack: float = 0.0
    ) -> tuple[int, str]:
        """The number of steps that fit into every budget on these units, and the tightest data set.

        Args:
            dataset: fingerprint of data that has a budget.
            mechanism: of every step.
            slack: part of a bound that is added to it, for sums another machine has rounded.
        """
        fits = {}
        for name, budget in self.budgets.items():
            used = self.used(name, budget.order, also=dataset)
            if used is not None:
                left = Fraction(budget.bound) * (1 + Fraction(slack)) - used
                step = Fraction(cost(mechanism, budget.order))
                fits[name] = max(0, math.floor(left / step)) if step else 2**63 - 1
        tightest = min(fits, key=lambda name: fits[name])
        return fits[tightest], tightest

    def require_cuts_paid(self, *budgets: Budget, more: float = 0.0) -> None:
        """Check that budgets pay for the cut batches of all plans, whatever data they are on.

        Raises:
            LedgerRefused: if one does not.
        """
        chance = more + math.fsum(plan.cut_chance for plan in self.plans.values())
        for budget in budgets:
            epsilon, delta = budget.epsilon, budget.delta * (1 + _ROUNDING)
            if not pays_for_cuts(epsilon=epsilon, delta=delta, cut_chance=chance):
                raise LedgerRefused(
                    f"batches are cut with a chance of {chance:.3g}, more than {budget} sets "
                    "aside; plan batches with a higher cap, or q = 1"
                )

    def remaining(self, dataset: str, run: str | None) -> Remaining:
        """The budget left for data, and the rounds left for a run on them; see `Ledger`."""
        budget = self.budgets.get(dataset)
        plan = None if run is None else self.plans.get(run)
        if budget is None or (run is not None and plan is None):
            raise LedgerRefused(f"the data have no budget, or run {run!r} no plan; set them")
        used = self.used(dataset, budget.order)
        rounds = None
        if run is not None and plan is not None:
            if plan.dataset != dataset:
                raise LedgerRefused(f"run {run!r} is on other data; name those")
            steps, _ = self.affordable(plan.dataset, plan.mechanism)
            rounds = min(steps, plan.steps - self.run_steps[run]) // plan.per_round
        return Remaining(bound=budget.bound, used=float(used or 0), rounds=rounds)

    def _dataset(self, event: Event, body: Mapping[str, Any]) -> None:
        tags = unpack_tags(body["tags"])
        dataset = Dataset(
            fingerprint=event.dataset,
            units=body["units"],
            unit=Unit(body["unit"]),
            relation=NeighboringRelation(body["adjacency"]),
            parents=tuple(body["parents"]),
        )
        if event.dataset in self.datasets or dataset.parents != self.parents_of(tags):
            raise LedgerRefused("the data are known, or share units with other data than stated")
        if len(tags) != dataset.units:
            raise LedgerRefused("the data have another number of units than stated")
        bit = 1 << len(self.datasets)
        self.datasets[event.dataset] = dataset
        self._direct[event.dataset] = Steps()
        for tag in tags:
            self._memberships[tag] = self._memberships.get(tag, 0) | bit
        self._sharing = set(self._memberships.values())

    def _budget(self, event: Event, body: Mapping[str, Any]) -> None:
        follows = Budget.of(
            epsilon=float(body["epsilon"]),
            delta=float(body["delta"]),
            order=body["order"],
            units=self.datasets[event.dataset].units,
        )
        budget = replace(follows, bound=float(body["bound"]))
        _require_close("bound", budget.bound, follows.bound)
        old = self.budgets.get(event.dataset)
        if old and not budget.within(old):
            raise LedgerRefused("a budget was raised")
        self.require_cuts_paid(budget)
        self.budgets[event.dataset] = budget

    def _plan(self, event: Event, body: Mapping[str, Any]) -> None:
        if not isinstance(body["run"], str) or body["run"] in self.plans:
            raise LedgerRefused("a run has two plans, or no name")
        plan = stated_plan(body["plan"])
        if plan.digest() != body["digest"]:
            raise LedgerRefused("a plan has another digest than stated")
        dataset, order = self.datasets[event.dataset], self.budgets[event.dataset].order
        if (plan.unit, plan.relation) != (dataset.unit, dataset.relation):
            raise LedgerRefused("a plan protects another unit than its data are registered by")
        _require_close("rdp", float(body["rdp"]), cost(mechanism_of(plan), order))
        cut_chance = float(body["cut_chance"])
        _require_close("cut_chance", cut_chance, plan.cut_chance())
        self.require_cuts_paid(*self.budgets.values(), more=cut_chance)
        self.plans[body["run"]] = RunPlan(dataset=event.dataset, plan=plan, cut_chance=cut_chance)
        self.run_steps[body["run"]] = 0

    def _spend(self, event: Event, body: Mapping[str, Any]) -> None:
        plan = self.plans[body["run"]]
        key = attempt_of(body)
        stated = Mechanism(noise_multiplier=float(body["z"]), sampling_rate=float(body["q"]))
        spent = (event.dataset, stated, body["steps"])
        if spent != (plan.dataset, plan.mechanism, plan.per_round):
            raise LedgerRefused("a spend differs from the plan of its run")
        if key in self.spends or key in self.refused:
            raise LedgerRefused("an attempt is spent that was spent or refused before")
        if self.run_steps[key[0]] + plan.per_round > plan.steps:
            raise LedgerRefused("a run spends more steps than its plan has")
        budget = self.budgets[event.dataset]
        rdp = float(body["rdp"])
        _require_close("rdp", rdp, plan.per_round * cost(plan.mechanism, budget.order))
        fits, tightest = self.affordable(event.dataset, plan.mechanism, slack=_ROUNDING)
        if fits < plan.per_round:
            raise LedgerRefused(f"a spend exceeds the budget of {tightest[:16]}...")
        self._direct[event.dataset][plan.mechanism] += plan.per_round
        self.run_steps[key[0]] += plan.per_round
        receipt = SpendReceipt(
            seq=event.seq,
            hash=event.hash,
            dataset=event.dataset,
            run=key[0],
            round=key[1],
            attempt=key[2],
            rdp=rdp,
        )
        self.spends[key] = self.open[event.hash] = receipt

    def _released(self, event: Event, body: Mapping[str, Any]) -> None:
        if self.open.pop(body["spend"]).dataset != event.dataset:
            raise LedgerRefused("a release names other data than its spend")

    def _aborted(self, event: Event, body: Mapping[str, Any]) -> None:
        self._released(event, body)

    def _refused(self, event: Event, body: Mapping[str, Any]) -> None:
        key = attempt_of(body)
        if key in self.spends or key in self.refused or body["run"] not in self.plans:
            raise LedgerRefused("an attempt is refused that was spent or refused before")
        if body["code"] not in ("budget", "plan"):
            raise LedgerRefused("an attempt is refused for neither its budget nor its plan")
        self.refused[key] = body["code"]

    def _head(self, event: Event, body: Mapping[str, Any]) -> None:
        if not 1 <= body["seq"] < event.seq or self.hashes[body["seq"] - 1] != body["hash"]:
            raise LedgerRefused("a head is countersigned that this ledger never had")


def attempt_of(body: Mapping[str, Any]) -> Attempt:
    """The run, round and attempt an event is about."""
    return str(body["run"]), int(body["round"]), int(body["attempt"])


def _require_close(name: str, stated: float, computed: float) -> None:
    if not math.isclose(stated, computed, rel_tol=_ROUNDING):
        raise LedgerRefused(f"{name} = {stated} is stated, but {computed} follows from the rest")
