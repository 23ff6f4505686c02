"""The state that the events of a ledger add up to: people, budgets, plans, spends.

`State.apply` is the only way to change it, for events just written and for events read back, so a
ledger that is opened again knows what the one that wrote it knew.

The filter is of each person. Who is in the same data sets has the same history and is charged
alike: a spend adds its steps to every history that can pay under all its budgets, and no other.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.errors import LedgerRefused
from privacy.ledger.chain import Event
from privacy.ledger.facts import (
    ROUNDING,
    Budget,
    Dataset,
    Remaining,
    RunPlan,
    SpendReceipt,
    require_close,
)
from privacy.ledger.filter import (
    Attempt,
    Mechanism,
    PublicSpends,
    Steps,
    cost,
    fitting_steps,
    pays_for_cuts,
    total,
)
from privacy.ledger.payloads import attempt_of, mechanism_of, require_form, stated_plan
from privacy.ledger.units import People, require_digest, unpack_tags

History = int
"""The data sets that somebody is in, as bits in the order of registration."""


@dataclass(kw_only=True)
class State:
    """The sum of all events so far.

    Attributes:
        people: the files that say whose data are in the ledger; None for who has none.
        datasets: by fingerprint, in the order of registration.
        budgets: by fingerprint.
        plans: by run.
        spends: by attempt.
        open: spends that were neither released nor aborted, by hash.
        tallies: digests of the tallies that were released, by the name of the plan that made each.
        uses: rounds of other runs that were trained on a tally, and cost nothing.
        refused: why attempts were refused.
        run_steps: steps that runs have taken.
        public: what all can see of all spends.
        left_out: for every spend of a run how many people could not pay, of how many; none without
            the files that list them.
        hashes: of the events.
    """

    people: People | None = field(default=None, compare=False, repr=False)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    plans: dict[str, RunPlan] = field(default_factory=dict)
    spends: dict[Attempt, SpendReceipt] = field(default_factory=dict)
    open: dict[str, SpendReceipt] = field(default_factory=dict)
    tallies: dict[str, str] = field(default_factory=dict)
    uses: set[Attempt] = field(default_factory=set)
    refused: dict[Attempt, str] = field(default_factory=dict)
    run_steps: dict[str, int] = field(default_factory=dict)
    public: PublicSpends = field(default_factory=PublicSpends)
    left_out: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    # The bit of every data set; those whose people nobody has named; the history of every tag; of
    # every history the steps really charged and the number of its people; of every open spend the
    # data there were, as bits, and the histories that pay for it; of every budget the most that
    # could be spent before it was set, and, when it was first, the data there were and the charges.
    _bits: dict[str, int] = field(default_factory=dict)
    _hidden: int = 0
    _histories: dict[bytes, History] = field(default_factory=dict)
    _charged: dict[History, Steps] = field(default_factory=dict)
    _sizes: Counter[History] = field(default_factory=Counter)
    _paying: dict[str, tuple[History, frozenset[History]]] = field(default_factory=dict)
    _reached: dict[str, Fraction] = field(default_factory=dict)
    _at_budget: dict[str, tuple[History, dict[History, Steps]]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            ValueError: if it contradicts the events before it, or has not the form of its kind.
            KeyError: if it names something unknown.
            LedgerCorrupt: if the file that lists its people is missing or altered.
        """
        require_form(event.type, event.dataset, event.body)
        getattr(self, f"_{event.type.lower()}")(event, event.body)
        self.hashes.append(event.hash)

    @property
    def knows_people(self) -> bool:
        """Whether it is known of all data whose they are."""
        return not self._hidden

    def data_of(self, run: str) -> Dataset | None:
        """The data of a run; None where it has announced none."""
        plan = self.plans.get(run)
        if plan is not None:
            return self.datasets[plan.dataset]
        return next((data for data in self.datasets.values() if data.run == run), None)

    def used(self, dataset: str, order: int) -> Fraction:
        """The divergence spent by the unit of some data that has spent most, at one order.

        Without the files that list people, the most that one of them can have spent.
        """
        if not self.knows_people:
            return self.most_used(dataset, order)
        spent = self.spent_by_people(dataset)
        return max((total([now], order) for now, _ in spent), default=Fraction(0))

    def most_used(self, dataset: str, order: int) -> Fraction:
        """The most that anybody in some data can have spent at one order, as far as all can see.

        No more than all together, and no more than the budget of the data at its own order, or
        what could be spent before that was set.
        """
        most, budget = self.public.most(order), self.budgets.get(dataset)
        if budget is None or budget.order != order:
            return most
        return min(most, max(Fraction(budget.bound), self._reached[dataset]))

    def spent_by_people(self, dataset: str) -> Iterator[tuple[Steps, Steps]]:
        """Yield what people in data with a budget were charged: now, and when it was first set.

        Once for all with the same history. Who had spent more than a new budget is charged no more.

        Raises:
            LedgerRefused: if the files that list people are not there.
        """
        if not self.knows_people:
            raise LedgerRefused("whose data they are is in no file here; hand in the people too")
        seen, before = self._at_budget.get(dataset, (0, {}))
        for history, now in self._charged.items():
            if history & self._bits[dataset]:
                yield now, before.get(history & seen, Steps())

    def payable(self, tags: Iterable[bytes], mechanism: Mechanism, budget: Budget) -> Counter[int]:
        """Count, by steps, the people who can pay for so many under a new and their old budgets.

        Args:
            tags: of the people.
            mechanism: of every step.
            budget: that they will have besides.
        """
        counted = Counter[int]()
        for history, people in Counter(self._histories.get(tag, 0) for tag in tags).items():
            bounds = [(budget.order, budget.bound), *self._bounds(history)]
            steps = fitting_steps(bounds, self._charged.get(history, Steps()), mechanism)
            counted[steps] += people
        return counted

    def listed(self, dataset: str, tags: Sequence[bytes]) -> list[bool]:
        """Whether those with these tags are in some data."""
        bit = self._bits[dataset]
        return [bool(self._histories.get(tag, 0) & bit) for tag in tags]

    def present(self, spend: str, tags: Sequence[bytes]) -> list[bool]:
        """Whether those with these tags take part in what an open spend pays for.

        Nobody does who is not in the announced data of its run, or who cannot pay.
        """
        seen, paying = self._paying[spend]
        return [self._histories.get(tag, 0) & seen in paying for tag in tags]

    def rounds_alone(self, run: str, *, slack: float = 0.0) -> int:
        """The rounds that a run may still take by its plan, and by the budget of its data alone.

        What its people have spent elsewhere does not matter: public facts decide. For the slack
        see `fitting_steps`.
        """
        plan, steps = self.plans[run], self.run_steps[run]
        budget = self.budgets[plan.dataset]
        bound, own = (budget.order, budget.bound), Steps({plan.mechanism: steps})
        fits = fitting_steps([bound], own, plan.mechanism, slack=slack)
        return min(fits, plan.steps - steps) // plan.per_round

    def require_cuts_paid(self, *budgets: Budget, more: float = 0.0) -> None:
        """Check that budgets pay for the cut batches of all plans, whatever data they are on.

        Raises:
            LedgerRefused: if one does not.
        """
        chance = more + math.fsum(plan.cut_chance for plan in self.plans.values())
        for budget in budgets:
            epsilon, delta = budget.epsilon, budget.delta * (1 + ROUNDING)
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
        if plan is not None and plan.dataset != dataset:
            raise LedgerRefused(f"run {run!r} is on other data; name those")
        rounds = None if run is None else self.rounds_alone(run)
        used = self.used(dataset, budget.order)
        return Remaining(bound=budget.bound, used=float(used), rounds=rounds)

    def _dataset(self, event: Event, body: Mapping[str, Any]) -> None:
        inline = "tags" in body
        dataset = Dataset(
            fingerprint=event.dataset,
            units=body["units"],
            unit=Unit(body["unit"]),
            relation=NeighboringRelation(body["adjacency"]),
            run="" if inline else body["run"],
        )
        if event.dataset in self.datasets:
            raise LedgerRefused("the data are known")
        if inline:
            tags: tuple[bytes, ...] | None = unpack_tags(body["tags"])
            self._check_inline(dataset, unpack_tags(body["tags"]), tuple(body["parents"]))
        else:
            name = require_digest(body["people"])
            tags = None if self.people is None else self.people.read(name, line=event.seq)
            self._check_listed(dataset, tags)
        self._bits[event.dataset] = 1 << len(self.datasets)
        self.datasets[event.dataset] = dataset
        if tags is None:
            self._hidden |= self._bits[event.dataset]
        else:
            self._enter(tags, self._bits[event.dataset])

    def _check_listed(self, dataset: Dataset, tags: tuple[bytes, ...] | None) -> None:
        dataset.require_bounded()
        if self.data_of(dataset.run) is not None:
            raise LedgerRefused("a run has two data sets")
        if tags is not None and len(tags) > dataset.units:
            raise LedgerRefused("the data have more units than their bound")

    def _check_inline(
        self, dataset: Dataset, tags: tuple[bytes, ...], parents: tuple[str, ...]
    ) -> None:
        """Check data as earlier versions registered them."""
        if any(known.run for known in self.datasets.values()):
            raise LedgerRefused("data of an earlier version follow those of this one")
        shared = 0
        for tag in tags:
            shared |= self._histories.get(tag, 0)
        if parents != tuple(name for name, bit in self._bits.items() if shared & bit):
            raise LedgerRefused("the data share units with other data than stated")
        if len(tags) != dataset.units:
            raise LedgerRefused("the data have another number of units than stated")

    def _enter(self, tags: tuple[bytes, ...], bit: int) -> None:
        """Add data to the history of their people, who go on from what they were charged."""
        for tag in set(tags):
            before = self._histories.get(tag, 0)
            self._histories[tag] = before | bit
            self._charged.setdefault(before | bit, Steps(self._charged.get(before, Steps())))
        self._sizes = Counter(self._histories.values())
        self._charged = {known: self._charged[known] for known in self._sizes}

    def _bounds(self, history: History) -> Iterator[tuple[int, float]]:
        """Orders and bounds of the budgets of all data that somebody is in."""
        for name, budget in self.budgets.items():
            if history & self._bits[name]:
                yield budget.order, budget.bound

    def _charge(self, spend: str, run: str, plan: RunPlan) -> None:
        """Charge everybody in the data of a run who can pay, and note who that is.

        Whom a sum rounded otherwise could take for able to pay is charged too, and left out.
        """
        absent, everybody, paying, bit = 0, 0, set[History](), self._bits[plan.dataset]
        for history, charged in self._charged.items():
            if not history & bit:
                continue
            everybody += self._sizes[history]
            bounds, step = list(self._bounds(history)), plan.mechanism
            pays = fitting_steps(bounds, charged, step) >= plan.per_round
            if pays:
                paying.add(history)
            else:
                absent += self._sizes[history]
            if pays or fitting_steps(bounds, charged, step, slack=ROUNDING) >= plan.per_round:
                charged[step] += plan.per_round
        self._paying[spend] = ((1 << len(self.datasets)) - 1, frozenset(paying))
        self.left_out.setdefault(run, []).append((absent, everybody))

    def _budget(self, event: Event, body: Mapping[str, Any]) -> None:
        follows = Budget.of(
            epsilon=float(body["epsilon"]),
            delta=float(body["delta"]),
            order=body["order"],
            units=self.datasets[event.dataset].units,
        )
        budget = replace(follows, bound=float(body["bound"]))
        require_close("bound", budget.bound, follows.bound)
        old = self.budgets.get(event.dataset)
        if old and not budget.within(old):
            raise LedgerRefused("a budget was raised")
        self.require_cuts_paid(budget)
        self._reached[event.dataset] = self.most_used(event.dataset, budget.order)
        self.budgets[event.dataset] = budget
        charged = {known: Steps(steps) for known, steps in self._charged.items()}
        self._at_budget.setdefault(event.dataset, ((1 << len(self.datasets)) - 1, charged))

    def _plan(self, event: Event, body: Mapping[str, Any]) -> None:
        if not isinstance(body["run"], str) or body["run"] in self.plans:
            raise LedgerRefused("a run has two plans, or no name")
        plan = stated_plan(body["plan"])
        if plan.digest() != body["digest"]:
            raise LedgerRefused("a plan has another digest than stated")
        dataset, order = self.datasets[event.dataset], self.budgets[event.dataset].order
        if (plan.unit, plan.relation) != (dataset.unit, dataset.relation):
            raise LedgerRefused("a plan protects another unit than its data are registered by")
        if dataset.run and (dataset.run != body["run"] or dataset.units not in plan.sizes):
            raise LedgerRefused("a plan is of another run than its data, or of another bound")
        require_close("rdp", float(body["rdp"]), cost(mechanism_of(plan), order))
        cut_chance = float(body["cut_chance"])
        require_close("cut_chance", cut_chance, plan.cut_chance())
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
        require_close("rdp", rdp, plan.per_round * cost(plan.mechanism, budget.order))
        if self.rounds_alone(key[0], slack=ROUNDING) < 1:
            raise LedgerRefused("a spend exceeds the budget of its data")
        self.public.add((budget.order, budget.bound), plan.mechanism, plan.per_round)
        self.run_steps[key[0]] += plan.per_round
        if self.knows_people:
            self._charge(event.hash, key[0], plan)
        self.spends[key] = self.open[event.hash] = SpendReceipt.of(event, rdp=rdp)

    def _released(self, event: Event, body: Mapping[str, Any]) -> None:
        run = self._settled(event, body)
        if self.plans[run].plan.counts is not None:
            self.tallies[run] = body["vector"]

    def _aborted(self, event: Event, body: Mapping[str, Any]) -> None:
        self._settled(event, body)

    def _settled(self, event: Event, body: Mapping[str, Any]) -> str:
        """End an open spend; the name of its run."""
        spend = self.open.pop(body["spend"])
        if spend.dataset != event.dataset:
            raise LedgerRefused("a release names other data than its spend")
        self._paying.pop(body["spend"], None)
        return spend.run

    def _used(self, event: Event, body: Mapping[str, Any]) -> None:
        key = attempt_of(body)
        if key in self.uses or key[0] in self.plans:
            raise LedgerRefused("a round is trained on a tally that was trained or spent before")
        of = [run for run, digest in self.tallies.items() if digest == body["tally"]]
        if event.dataset not in {self.plans[run].dataset for run in of}:
            raise LedgerRefused("a round is trained on a tally that these data have not")
        self.uses.add(key)

    def _refused(self, event: Event, body: Mapping[str, Any]) -> None:
        key = attempt_of(body)
        if key in self.spends or key in self.refused or body["run"] not in self.plans:
            raise LedgerRefused("an attempt is refused that was spent or refused before")
        if self.plans[body["run"]].dataset != event.dataset:
            raise LedgerRefused("a refusal names other data than the plan of its run")
        self.refused[key] = body["code"]

    def _head(self, event: Event, body: Mapping[str, Any]) -> None:
        if not 1 <= body["seq"] < event.seq or self.hashes[body["seq"] - 1] != body["hash"]:
            raise LedgerRefused("a head is countersigned that this ledger never had")
