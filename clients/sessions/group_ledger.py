"""The group ledger, as a client uses it between messages: fail closed, and say little.

Who may take part in a round is between the ledger and its owner: an organisation reads in its own
log how many were left out, and whoever asked learns nothing of it.

Every message opens the file, locks it, and lets it go: a process may serve one message or many.
A process that lives on remembers what it has checked, so that this costs milliseconds a round.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alignment.data.units import UnitRecords
from clients.deployment.bundle import running_digest
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import AlreadyCharged, ExecutionMismatch, LedgerError
from privacy.identity.keys import Identity, Roster
from privacy.ledger import Dataset, Ledger, SpendReceipt, best_order, least_budget
from privacy.ledger.chain import Head, require_head
from privacy.ledger.payloads import mechanism_of
from privacy.ledger.server_ledger import Countersigned

logger = logging.getLogger(__name__)


class RefusedByLedger(RuntimeError):
    """The group ledger does not allow what was asked; the text of its error stays at the client."""


@contextmanager
def redact_ledger_errors() -> Iterator[None]:
    """Tell whoever asked no more of an error of the ledger than its kind."""
    try:
        yield
    except (LedgerError, AlreadyCharged, OSError) as error:
        logger.warning("refused by the ledger: %s: %s", type(error).__name__, error)
        raise RefusedByLedger(f"{type(error).__name__}: the ledger does not allow it") from None


@dataclass(frozen=True, kw_only=True)
class _Selected:
    """Who takes part: the same object from round to round while nothing changes."""

    units: Sequence[UnitRecords]
    taking_part: Sequence[bool]
    present: Sequence[UnitRecords]


_checked: OrderedDict[tuple[object, ...], Ledger] = OrderedDict()
# What ledgers have announced: ledger, run, plan and group index.
_announced: set[tuple[Ledger, str, str, int]] = set()
_selected: dict[tuple[Ledger, str], _Selected] = {}
_MOST_CHECKED = 4096


def _ledger(path: Path, identity: Identity, servers: Roster) -> Ledger:
    """The ledger of a file, closed; checked once for each process."""
    key = (path, identity.public, tuple(servers.items()))
    if key not in _checked:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            ledger = Ledger.create(path, identity, servers=servers)
        else:
            ledger = Ledger.open(path, identity, servers=servers)
        ledger.close()
        _checked[key] = ledger
        while len(_checked) > _MOST_CHECKED:
            _checked.popitem(last=False)
    return _checked[key]


def forget_ledgers() -> None:
    """Let go of what this process remembers of ledgers; it checks them anew when asked again."""
    _checked.clear()
    _announced.clear()
    _selected.clear()


class GroupLedger:
    """The ledger of a group, as a private run writes to it.

    Args:
        path: Of the ledger. One that is missing is begun; that it was there before is told by the
            head that the server has seen.
        identity: Of the group.
        servers: Pinned keys of the servers that countersign.
        budget_epsilon: What data may ever spend; 0 lets people pay for the whole plan of their
            first run and no more.
        budget_delta: Delta of that.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        servers: Roster,
        *,
        budget_epsilon: float,
        budget_delta: float,
    ) -> None:
        self._ledger = _ledger(path, identity, servers)
        self._identity = identity
        self._servers = servers
        self._epsilon = budget_epsilon
        self._delta = budget_delta

    def head(self, known: bytes | None = None) -> Head:
        """The head of the ledger, for others to keep.

        Args:
            known: The newest head that the server says it has seen of this ledger.

        Raises:
            LedgerRolledBack: The ledger lacks that head: an old copy was put in its place.
            SecaggAbort: No pinned server has signed it.
        """
        with self._ledger.reopen() as ledger:
            if known is not None:
                seen = Countersigned.decode(known)
                seen.check(self._servers, self._identity.public)
                require_head(ledger.events(), seen.head)
            return ledger.head

    def reopened(self) -> Ledger:
        """The ledger, open and locked, to be closed by ``with``."""
        return self._ledger.reopen()

    def countersign(self, signed: bytes) -> None:
        """Keep a server's signature that it has seen a head of this ledger.

        Raises:
            LedgerRolledBack: The ledger lacks that head.
            SecaggAbort: No pinned server has signed it.
        """
        seen = Countersigned.decode(signed)
        with self._ledger.reopen() as ledger:
            ledger.countersign(seen.server, seen.head, seen.signature)

    def prepare(
        self,
        run: str,
        units: Sequence[UnitRecords],
        plan: PrivacyPlan,
        *,
        group_index: int,
        model: str,
    ) -> None:
        """Make known what a run will do with the group's data, before it does any of it.

        The run keeps to the people of its announcement: once it is made, the units are not looked
        at again, and whoever joins takes no part in it.

        Raises:
            LedgerError: The budget cannot be set, or does not pay for batches that are cut.
            ExecutionMismatch: The run has announced another plan or another bound on the units, or
                its plan has no such group.
        """
        key = (self._ledger, run, plan.digest(), group_index)
        if key in _announced:
            return
        if not 0 <= group_index < plan.groups:
            raise ExecutionMismatch(
                f"group = {group_index} is outside [0, {plan.groups}), so nothing was accounted "
                "for it; count from 0"
            )
        with self._ledger.reopen() as ledger:
            dataset = ledger.register(
                ((unit.unit, contents_of(unit)) for unit in units),
                unit=Unit(plan.unit),
                bound=plan.group_size(group_index),
                run=run,
            )
            if ledger.announced(run) is None:
                self.set_budget(ledger, dataset, plan)
            ledger.register_plan(run, dataset, plan, code=running_digest(), model=model)
        _announced.add(key)

    def require(self, run: str, round_number: int, attempt: int) -> None:
        """Check that an attempt can be paid for; see ``Ledger.require``."""
        with self._ledger.reopen() as ledger:
            self.lower_budget(ledger, run)
            ledger.require(run, round_number, attempt)

    def charge(
        self,
        run: str,
        round_number: int,
        attempt: int,
        context: bytes,
        *,
        units: Sequence[UnitRecords],
    ) -> tuple[SpendReceipt, Sequence[UnitRecords]]:
        """Charge an attempt; see ``Ledger.reserve``. Spends that nothing came of are closed.

        Args:
            run: Its name.
            round_number: Its round.
            attempt: The attempt at the round.
            context: Digest of what the round does, 32 bytes.
            units: All units of the group.

        Returns:
            What pays for one release, and the units that it pays for: others must not be trained
            on. How many were left out is logged where it changes.
        """
        with self._ledger.reopen() as ledger:
            for left in ledger.pending():
                # A count that was interrupted goes on under its own spend.
                if not ledger.counts_once(left.run):
                    ledger.aborted(left, "Interrupted")
            self.lower_budget(ledger, run)
            receipt = ledger.reserve(run, round_number, attempt, context)
            taking_part = ledger.present(receipt, [unit.unit for unit in units])
        return receipt, self._present(run, units, taking_part)

    def released(self, receipt: SpendReceipt, message: bytes) -> None:
        """Record what is about to leave."""
        with self._ledger.reopen() as ledger:
            ledger.released(receipt, hashlib.sha256(message).digest())

    def aborted(self, receipt: SpendReceipt, error: BaseException) -> None:
        """Record that nothing came of a spend."""
        with self._ledger.reopen() as ledger:
            ledger.aborted(receipt, type(error).__name__)

    def _present(
        self, run: str, units: Sequence[UnitRecords], taking_part: Sequence[bool]
    ) -> Sequence[UnitRecords]:
        if all(taking_part):
            return units
        key = (self._ledger, run)
        known = _selected.get(key)
        if known is None or known.units is not units or known.taking_part != taking_part:
            chosen = zip(units, taking_part, strict=True)
            present = tuple(unit for unit, takes_part in chosen if takes_part)
            known = _Selected(units=units, taking_part=taking_part, present=present)
            _selected[key] = known
            logger.warning(
                "run %r: %d of %d units take no part in it: they have spent what they may, or were "
                "not in the data when it was announced",
                run,
                len(units) - len(present),
                len(units),
            )
        return known.present

    def lower_budget(self, ledger: Ledger, run: str) -> None:
        """Have a budget that its owner has lowered bind a run that is under way, too."""
        data = ledger.data_of(run)
        budget = None if data is None else ledger.budget(data)
        if data is not None and budget is not None and 0 < self._epsilon < budget.epsilon:
            ledger.set_budget(data, epsilon=self._epsilon, delta=budget.delta, order=budget.order)

    def set_budget(self, ledger: Ledger, dataset: Dataset, plan: PrivacyPlan) -> None:
        """Give data the budget of their owner, or where there is none, what a plan takes.

        Args:
            ledger: Open.
            dataset: Registered in it.
            plan: The first on these data.
        """
        mechanism, known = mechanism_of(plan), ledger.budget(dataset)
        if self._epsilon == 0:
            if known is not None:
                return
            epsilon, order = least_budget(mechanism, steps=plan.steps, delta=self._delta)
        else:
            epsilon = self._epsilon
            order = (
                known.order
                if known is not None
                else best_order(
                    noise_multiplier=mechanism.noise_multiplier,
                    sampling_rate=mechanism.sampling_rate,
                    epsilon=epsilon,
                    delta=self._delta,
                )
            )
        ledger.set_budget(dataset, epsilon=epsilon, delta=self._delta, order=order)


def contents_of(unit: UnitRecords) -> bytes:
    """Digest of all that a unit said, 32 bytes."""
    said = [
        [
            *(question.question_id, question.text, list(question.options), list(target), weight),
            *(() if question.turns is None else (question.turns.to_json(),)),
        ]
        for question, target, weight in zip(unit.questions, unit.targets, unit.weights, strict=True)
    ]
    return hashlib.sha256(json.dumps(said).encode()).digest()
