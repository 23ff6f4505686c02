"""The group ledger, as a client uses it between messages: fail closed, and say little.

Every message opens the file, locks it, and lets it go: a process may serve one message or many.
A process that lives on remembers what it has checked, so that this costs milliseconds a round.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from alignment.data.units import UnitRecords
from clients.deployment.bundle import running_digest
from clients.task import PrivateTask
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import AlreadyCharged, LedgerError
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


_checked: OrderedDict[tuple[object, ...], Ledger] = OrderedDict()
# The very units whose run a ledger has announced, by ledger and run: others are looked at anew.
_announced: dict[tuple[Ledger, str, str], Sequence[UnitRecords]] = {}
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


class GroupLedger:
    """The ledger of a group, as a private run writes to it.

    Args:
        path: Of the ledger. One that is missing is begun; that it was there before is told by the
            head that the server has seen.
        identity: Of the group.
        servers: Pinned keys of the servers that countersign.
        budget_epsilon: What data may ever spend; 0 lets data without a budget pay for the whole
            plan of their first run and no more.
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
        self, run: str, units: Sequence[UnitRecords], plan: PrivacyPlan, *, model: str
    ) -> None:
        """Make known what a run will do with the group's data, before it does any of it.

        To be called with the units that are about to be trained on: data that have changed since
        the run was announced are other data, and nobody has charged them.

        Raises:
            LedgerError: The budget cannot be set, does not pay for batches that are cut, or the
                data are not those that the run has announced.
            ExecutionMismatch: The run has announced another plan, or other data with a budget.
        """
        key = (self._ledger, run, plan.digest())
        if _announced.get(key) is units:
            return
        with self._ledger.reopen() as ledger:
            dataset = ledger.register(
                ((unit.unit, _contents(unit)) for unit in units), unit=Unit(plan.unit)
            )
            if ledger.announced(run) is None:
                self._set_budget(ledger, dataset, plan)
            ledger.register_plan(run, dataset, plan, code=running_digest(), model=model)
        _announced[key] = units

    def require(self, run: str, round_number: int, attempt: int) -> None:
        """Check that an attempt can be paid for; see ``Ledger.require``."""
        with self._ledger.reopen() as ledger:
            ledger.require(run, round_number, attempt)

    def charge(self, run: str, round_number: int, attempt: int, context: bytes) -> SpendReceipt:
        """Charge an attempt; see ``Ledger.reserve``. Spends that nothing came of are closed."""
        with self._ledger.reopen() as ledger:
            for left in ledger.pending():
                ledger.aborted(left, "Interrupted")
            return ledger.reserve(run, round_number, attempt, context)

    def released(self, receipt: SpendReceipt, message: bytes) -> None:
        """Record what is about to leave."""
        with self._ledger.reopen() as ledger:
            ledger.released(receipt, hashlib.sha256(message).digest())

    def aborted(self, receipt: SpendReceipt, error: BaseException) -> None:
        """Record that nothing came of a spend."""
        with self._ledger.reopen() as ledger:
            ledger.aborted(receipt, type(error).__name__)

    def _set_budget(self, ledger: Ledger, dataset: Dataset, plan: PrivacyPlan) -> None:
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


class Account:
    """What a round costs a group where nothing is private: nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Close what was charged and came to nothing."""

    def announce(self, model: str) -> None:
        """Have the ledger know data, budget and plan of the run; see ``GroupLedger.prepare``."""

    def require(self, attempt: int) -> None:
        """Check that an attempt can be paid for."""

    def charge(self, attempt: int, context: bytes) -> None:
        """Charge the attempt, before anything is computed."""

    def release(self, message: bytes) -> None:
        """Record what is about to leave; it must not leave if this raises."""


class PrivateAccount(Account):
    """What a private round costs: announced, charged once an attempt, then released or aborted.

    Args:
        group_ledger: Of the group.
        private: What is asked of the group.
        round_number: The round.
        units: Gives the group's units of privacy, by the name of the unit.
    """

    def __init__(
        self,
        group_ledger: GroupLedger,
        private: PrivateTask,
        *,
        round_number: int,
        units: Callable[[str], Sequence[UnitRecords]],
    ) -> None:
        self._group_ledger = group_ledger
        self._private = private
        self._round = round_number
        self._units = units
        self._receipt: SpendReceipt | None = None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """See :class:`Account`."""
        if self._receipt is not None and error is not None:
            self._group_ledger.aborted(self._receipt, error)

    def announce(self, model: str) -> None:
        """See :class:`Account`."""
        run, plan = self._private.run, self._private.plan
        self._group_ledger.prepare(run, self._units(str(plan.unit)), plan, model=model)

    def require(self, attempt: int) -> None:
        """See :class:`Account`."""
        self._group_ledger.require(self._private.run, self._round, attempt)

    def charge(self, attempt: int, context: bytes) -> None:
        """See :class:`Account`."""
        run = self._private.run
        self._receipt = self._group_ledger.charge(run, self._round, attempt, context)

    def release(self, message: bytes) -> None:
        """See :class:`Account`."""
        if self._receipt is None:
            raise RefusedByLedger("nothing was charged for what is about to leave")
        receipt, self._receipt = self._receipt, None
        self._group_ledger.released(receipt, message)


def _contents(unit: UnitRecords) -> bytes:
    said = [
        [question.question_id, question.text, list(question.options), list(target)]
        for question, target in zip(unit.questions, unit.targets, strict=True)
    ]
    return hashlib.sha256(json.dumps(said).encode()).digest()
