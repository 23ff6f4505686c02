"""The ledger as a client uses it: register, reserve, release."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import RLock
from typing import NoReturn, Self

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import (
    AlreadyCharged,
    BudgetRaised,
    ExecutionMismatch,
    LedgerRefused,
    LedgerRolledBack,
    LedgerUnwritable,
    PolicyRefused,
    PrivacyError,
)
from privacy.identity.keys import Identity, Roster
from privacy.ledger.chain import Event, Head, check_head, require_head, write_event
from privacy.ledger.facts import Budget, Dataset, Remaining, RunPlan, SpendReceipt
from privacy.ledger.filter import Attempt, cost
from privacy.ledger.paths import people_folder
from privacy.ledger.payloads import (
    attempt_body,
    attempt_key,
    digest_hex,
    mechanism_of,
    named,
    plan_body,
    require_form,
    spend_body,
)
from privacy.ledger.refusals import budget_refusal, check_data, check_plan, steps_refusal
from privacy.ledger.replay import Replay
from privacy.ledger.state import State
from privacy.ledger.store import Store
from privacy.ledger.units import People, fingerprint, ledger_key, unit_tag

_LOG = logging.getLogger(__name__)


class Ledger:
    """One group's ledger, open and locked; made by `create` or `open`, closed by `with`.

    Whatever a method records is on disk when it returns. Where that fails it raises
    `LedgerUnwritable`, nothing has happened, and it can be called again.
    """

    def __init__(
        self, store: Store, identity: Identity, servers: Roster | None, replay: Replay
    ) -> None:
        self._store = store
        self._identity = identity
        self._servers = servers
        self._replay = replay
        self._key = ledger_key(identity)
        self._tags: dict[str, bytes] = {}
        self._turn = RLock()
        self._torn = 0

    @classmethod
    def create(cls, path: Path, identity: Identity, *, servers: Roster | None = None) -> Self:
        """Begin an empty ledger.

        Raises:
            FileExistsError: if there is a file: what was spent is not forgotten.
            LedgerUnwritable: if it could not be made durable.
        """
        replay = Replay(identity.public, servers, People(people_folder(path)))
        return cls(Store.create(path), identity, servers, replay)

    @classmethod
    def open(
        cls,
        path: Path,
        identity: Identity,
        *,
        servers: Roster | None = None,
        known_head: Head | None = None,
    ) -> Self:
        """Open a ledger, having checked every line of it.

        A torn last line is cut off, see `torn_bytes`.

        Args:
            path: of the file.
            identity: of the group; every line must be signed by it.
            servers: pinned keys of the servers whose countersignatures are checked.
            known_head: a head that somebody else has seen.

        Raises:
            FileNotFoundError: if there is no file: a missing ledger is not an empty one.
            LedgerLocked: if it is open elsewhere.
            LedgerCorrupt: for the first line that is not what the group wrote there, or whose
                people are listed in a file that is missing or altered.
            LedgerRolledBack: if it lacks the known head.
            LedgerUnwritable: if a torn line could not be cut off.
        """
        store = Store.open(path)
        try:
            data = store.read()
            replay = Replay(identity.public, servers, People(people_folder(path)))
            replay.extend(data)
            ledger = cls(store, identity, servers, replay)
            if known_head is not None:
                require_head(ledger.events(), known_head)
            ledger._torn = store.mend(data)
        except BaseException:
            store.close()
            raise
        return ledger

    def reopen(self) -> Self:
        """Lock a closed ledger again, and replay what others have written since.

        What was read before is compared byte for byte and not checked once more, so that this
        takes a fraction of a millisecond where `open` takes as long as the ledger has events.

        Raises:
            LedgerError: as `open` does; a file that has lost or changed a line since is corrupt,
                or rolled back.
        """
        store = Store.open(self._store.path)
        try:
            data = store.read()
            if not self._replay.begins(data):
                # The full check says what is wrong.
                Replay(self._identity.public, self._servers).extend(data)
                raise LedgerRolledBack(
                    f"{self._store.path}: other lines stand where event {self.head.seq} and those "
                    "before it stood; restore the newest copy"
                )
            self._replay.extend(data)
            self._torn = store.mend(data)
        except BaseException:
            store.close()
            raise
        self._store = store
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._store.close()

    @property
    def head(self) -> Head:
        """The last event: what others keep to tell a rollback."""
        return self._replay.head

    @property
    def torn_bytes(self) -> int:
        """Bytes of a torn last line that opening has cut off."""
        return self._torn

    def events(self) -> tuple[Event, ...]:
        """All events, in order."""
        return tuple(self._replay.events)

    def pending(self) -> tuple[SpendReceipt, ...]:
        """Spends that were neither released nor aborted; they stay charged."""
        return tuple(self._state.open.values())

    def register(
        self,
        units: Iterable[tuple[str, bytes]],
        *,
        unit: Unit,
        bound: int,
        run: str,
        relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
    ) -> Dataset:
        """Make the data of a run known, once; their people go on from what they have spent before.

        What is recorded depends on the run and the bound alone, but for keyed hashes that nobody
        can compare. Who the people are lies in a file beside the ledger, on disk before the event.
        Data that change later are not looked at: who joins is not in the run, see `present`.

        Args:
            units: the id of every unit, and a digest of its contents; may be none. One person keeps
                one id. Those beyond the bound are no part of the run: by their tags, so in every
                run the same.
            unit: what a unit is; the same in the whole ledger, since the ids of records do not
                tell whose they are.
            bound: public upper bound on the number of units, as in the plan of the run.
            run: name of the run.
            relation: the neighbouring relation of the plan to come.

        Raises:
            LedgerRefused: for an id that occurs twice, another unit of privacy, no name of a run,
                or no bound.
            ExecutionMismatch: if the run was announced under another bound.
            LedgerUnwritable: if file or event could not be made durable.
        """
        with self._turn:
            check_data(self._state, unit=unit, bound=bound, run=run)
            known = self._state.data_of(run)
            if known is not None:
                return known
            seen = fingerprint(units, self._key, run=run)
            people = People(people_folder(self._store.path)).write(seen.people(bound))
            body = {"run": run, "units": bound, "unit": str(unit), "adjacency": str(relation)}
            self._record("DATASET", seen.root, {**body, "people": people})
            return self._state.datasets[seen.root]

    def set_budget(self, dataset: Dataset, *, epsilon: float, delta: float, order: int) -> None:
        """Set, or lower, what may ever be spent on data.

        Args:
            dataset: whose budget it is. Units they share with other data keep to both budgets.
            epsilon: of the guarantee for all runs together.
            delta: of it, left to the filter; below one over the bound on the units.
            order: integer of at least 2, for good; `best_order` finds one.

        Raises:
            DeltaTooLarge: if delta is not below one over the bound on the units.
            LedgerRefused: if the order certifies nothing at this epsilon and delta.
            BudgetRaised: if there is a budget and this one is not smaller at the same delta and
                order.
        """
        known = self._known(dataset)
        budget = Budget.of(epsilon=epsilon, delta=delta, order=order, units=known.units)
        with self._turn:
            self._state.require_cuts_paid(budget)
            old = self._state.budgets.get(dataset.fingerprint)
            if old is not None and not budget.within(old):
                raise BudgetRaised(
                    f"{budget} is not below the budget of {old}; budgets only shrink"
                )
            if budget != old:
                self._record("BUDGET", dataset.fingerprint, asdict(budget))

    def data_of(self, run: str) -> Dataset | None:
        """The data that a run has announced, None before it has."""
        return self._state.data_of(run)

    def budget(self, dataset: Dataset) -> Budget | None:
        """The budget of data, None before there is one."""
        return self._state.budgets.get(self._known(dataset).fingerprint)

    def announced(self, run: str) -> str | None:
        """The digest of the plan of a run, None where it has none."""
        plan = self._state.plans.get(run)
        return None if plan is None else plan.digest

    def register_plan(
        self, run: str, dataset: Dataset, plan: PrivacyPlan, *, code: str = "", model: str = ""
    ) -> Remaining:
        """Announce what a run will do, before it does any of it; takes about a second.

        Args:
            run: name of the run; it has one plan.
            dataset: that was registered for it, with a budget.
            plan: the plan; its epsilon is recomputed.
            code: hash of the code, 64 hexadecimal digits; empty where none is known.
            model: hash of the model the run starts from, likewise.

        Returns:
            What is left, and how many rounds of the plan it pays for; maybe not all.

        Raises:
            LedgerRefused: if the data have no budget, another unit or relation than the plan, or
                another bound on their units than any of its groups; if a hash is none;
                or if the budgets do not pay for batches that are cut to their cap.
            ExecutionMismatch: if the run has announced something else.
            EpsilonExceeded: if the noise of the plan does not reach its epsilon.
        """
        known = self._known(dataset)
        budget = check_plan(self._state, known, plan, run=run)
        with self._turn:
            announced = self._state.plans.get(run)
            if announced is None:
                body = plan_body(plan, run, code=code, model=model)
                self._state.require_cuts_paid(*self._state.budgets.values(), more=plan.cut_chance())
                rdp = cost(mechanism_of(plan), budget.order)
                spent = {"rdp": rdp, "pld_epsilon": plan.verify()}
                self._record("PLAN", known.fingerprint, {**body, **spent})
            elif (announced.dataset, announced.digest) != (known.fingerprint, plan.digest()):
                raise ExecutionMismatch(f"run {run!r} has another plan or other data; rename it")
            return self.remaining(known, run=run)

    def reserve(self, run: str, round: int, attempt: int, context: bytes) -> SpendReceipt:
        """Charge one round of a run; on disk when it returns, and never given back.

        Charged are the people of the run's data who can still pay under all their budgets; see
        `present`. Whoever cannot is left out, and neither an event nor an error tells of it.

        Args:
            run: name of a run with a plan.
            round: its round, from 0.
            attempt: the attempt at this round, from 0; every attempt is charged.
            context: digest of what the round does, 32 bytes.

        Returns:
            What pays for one release.

        Raises:
            BudgetExhausted: if the run's own steps cost more than the budget of its data, so that
                not even who has spent nothing elsewhere could pay. The refusal is recorded; the
                run stays refused.
            AlreadyCharged: if the attempt was charged before, or the plan has no steps left.
            LedgerRefused: if the run has no plan.
        """
        with self._turn:
            plan, key = self._require(run, round, attempt)
            steps = plan.per_round
            rdp = steps * cost(plan.mechanism, self._state.budgets[plan.dataset].order)
            body = spend_body(plan.mechanism, key, context, steps=steps, rdp=rdp)
            self._record("SPEND", plan.dataset, body)
            return self._state.spends[key]

    def present(self, receipt: SpendReceipt, units: Sequence[str]) -> list[bool]:
        """Which units take part in what a spend pays for; for the owner's own machine alone.

        Args:
            receipt: of a spend that was neither released nor aborted.
            units: ids, in any order.

        Returns:
            For every id whether it is in the announced data of the run and can pay. The others must
            count as absent.

        Raises:
            AlreadyCharged: if the spend was released or aborted before, or is not of this ledger.
        """
        with self._turn:
            self._require_open(receipt)
            return self._state.present(receipt.hash, self._tags_of(units))

    def listed(self, dataset: Dataset, units: Sequence[str]) -> list[bool]:
        """Which units are in registered data; for the owner's own machine alone."""
        with self._turn:
            return self._state.listed(self._known(dataset).fingerprint, self._tags_of(units))

    def _tags_of(self, units: Sequence[str]) -> list[bytes]:
        for name in units:
            if name not in self._tags:
                self._tags[name] = unit_tag(name, self._key)
        return [self._tags[name] for name in units]

    def counts_once(self, run: str) -> bool:
        """Whether a plan counts answers once, so that what is open of it is still to be counted."""
        plan = self._state.plans.get(run)
        return plan is not None and plan.plan.counts is not None

    def tallies(self, plan: str) -> dict[str, str]:
        """The tallies that a plan of this digest has made.

        Returns:
            By the name under which each was made, in order, the SHA-256 of its file in hexadecimal.
        """
        made = self._state.tallies.items()
        return {run: digest for run, digest in made if self._state.plans[run].digest == plan}

    def used(
        self, run: str, round: int, attempt: int, *, context: bytes, tally: str, vector: bytes
    ) -> None:
        """Record a round that was trained on a tally; it costs nothing.

        Args:
            run: name of the run, which has no plan of its own here.
            round: its round.
            attempt: the attempt at this round.
            context: digest of what the round does, 32 bytes.
            tally: SHA-256 of the file of the tally, of the last one where there are several.
            vector: SHA-256 of what leaves, 32 bytes.

        Raises:
            AlreadyCharged: if the attempt was recorded before.
            LedgerRefused: if no such tally was released, or the run has a plan of its own.
        """
        with self._turn:
            key = attempt_key(run, round, attempt)
            if key in self._state.uses:
                raise AlreadyCharged(f"{named(key)} was trained before; begin another attempt")
            # Who asks chooses the name of a run, and what no replay takes must not reach the disk.
            if run in self._state.plans:
                raise LedgerRefused(f"run {run!r} has a plan of its own here; rename it")
            of = [made for made, digest in self._state.tallies.items() if digest == tally]
            if not of:
                raise LedgerRefused("this ledger has released no such tally; restore the newest")
            body = {**attempt_body(key), "ctx": digest_hex("context", context), "tally": tally}
            dataset = self._state.plans[of[0]].dataset
            self._record("USED", dataset, {**body, "vector": digest_hex("vector", vector)})

    def require(self, run: str, round: int, attempt: int) -> None:
        """Check that `reserve` would charge this attempt, and charge nothing.

        Raises:
            LedgerError: as `reserve` does; a refusal is recorded and stays.
        """
        with self._turn:
            self._require(run, round, attempt)

    def released(self, receipt: SpendReceipt, vector: bytes) -> None:
        """Record what a spend has paid for.

        Args:
            receipt: of the spend, which pays once.
            vector: SHA-256 of the masked vector, 32 bytes.

        Raises:
            AlreadyCharged: if the spend was released or aborted before, or is not of this ledger.
        """
        self._settle("RELEASED", receipt, {"vector": digest_hex("vector", vector)})

    def aborted(self, receipt: SpendReceipt, code: str) -> None:
        """Record that nothing came of a spend; it stays charged.

        Args:
            receipt: of the spend.
            code: why: the name of the error, an identifier.

        Raises:
            AlreadyCharged: if the spend was released or aborted before, or is not of this ledger.
        """
        self._settle("ABORTED", receipt, {"code": code})

    def countersign(self, server: str, head: Head, signature: bytes) -> None:
        """Record that a server has seen a head, signed by `sign_head`.

        Raises:
            PolicyRefused: if the server is not pinned.
            BadSignature: if the signature is not its own, over this head of this ledger.
            LedgerRolledBack: if this ledger does not have that head.
        """
        if self._servers is None:
            raise PolicyRefused("no server is pinned; open the ledger with servers=Roster(...)")
        with self._turn:
            require_head(self.events(), head)
            check_head(self._servers, server, signature, head, self._identity.public)
            body = {"seq": head.seq, "hash": head.hash, "server": server}
            self._record("HEAD", "", {**body, "signature": signature.hex()})

    def remaining(self, dataset: Dataset, *, run: str | None = None) -> Remaining:
        """The budget left for data, and the rounds left for a run on them.

        Raises:
            LedgerRefused: if the data have no budget, or the run no plan on them.
        """
        with self._turn:
            return self._state.remaining(self._known(dataset).fingerprint, run)

    @property
    def _state(self) -> State:
        return self._replay.state

    def _require(self, run: str, round: int, attempt: int) -> tuple[RunPlan, Attempt]:
        plan = self._state.plans.get(run)
        if plan is None:
            raise LedgerRefused(f"run {run!r} has no plan; register it first")
        key = attempt_key(run, round, attempt)
        if key in self._state.spends:
            raise AlreadyCharged(f"{named(key)} was charged before; begin another attempt")
        for refusal in (steps_refusal, budget_refusal):
            if (error := refusal(self._state, plan, key)) is not None:
                self._refuse(key, plan, "plan" if refusal is steps_refusal else "budget", error)
        return plan, key

    def _refuse(self, key: Attempt, plan: RunPlan, code: str, error: PrivacyError) -> NoReturn:
        if key not in self._state.refused:
            try:
                self._record("REFUSED", plan.dataset, {**attempt_body(key), "code": code})
            except LedgerUnwritable as unwritten:
                _LOG.warning("a refusal could not be recorded: %s", unwritten)
        raise error

    def _settle(self, type: str, receipt: SpendReceipt, body: Mapping[str, object]) -> None:
        with self._turn:
            self._require_open(receipt)
            self._record(type, receipt.dataset, {"spend": receipt.hash, **body})

    def _require_open(self, receipt: SpendReceipt) -> None:
        if self._state.open.get(receipt.hash) != receipt:
            key = (receipt.run, receipt.round, receipt.attempt)
            raise AlreadyCharged(f"{named(key)} is no open spend; reserve another attempt")

    def _known(self, dataset: Dataset) -> Dataset:
        if self._state.datasets.get(dataset.fingerprint) != dataset:
            raise LedgerRefused("these data are not registered in this ledger; register them")
        return dataset

    def _record(self, type: str, dataset: str, body: Mapping[str, object]) -> None:
        event = write_event(self._identity, self.head, type=type, dataset=dataset, body=body)
        # What no reader would take must not reach the disk.
        require_form(event.type, event.dataset, event.body)
        line = event.line()
        self._store.append(line)
        self._replay.apply(event, line)
