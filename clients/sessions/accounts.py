"""What a round is charged to: nothing, people's budgets, or a tally that is paid for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Self

from alignment.data.units import UnitRecords
from clients.sessions.group_ledger import GroupLedger, RefusedByLedger
from clients.task import PrivateTask
from privacy.accounting.tally_file import StoredTally
from privacy.ledger import SpendReceipt


class Account:
    """What a round costs a group where nothing is private: nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Close what was charged and came to nothing."""

    def announce(self, model: str) -> None:
        """Have the ledger know data, budget and plan of the run; see ``GroupLedger.prepare``."""

    @property
    def present(self) -> Sequence[UnitRecords]:
        """The units that take part, once a private attempt is charged; none without privacy."""
        return ()

    @property
    def tallies(self) -> Sequence[StoredTally]:
        """Noised counts to train on, where answers are counted once."""
        return ()

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
        units: Gives the group's units of privacy.
    """

    def __init__(
        self,
        group_ledger: GroupLedger,
        private: PrivateTask,
        *,
        round_number: int,
        units: Callable[[], Sequence[UnitRecords]],
    ) -> None:
        self._group_ledger = group_ledger
        self._private = private
        self._round = round_number
        self._units = units
        self._receipt: SpendReceipt | None = None
        self._present: Sequence[UnitRecords] | None = None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """See :class:`Account`."""
        if self._receipt is not None and error is not None:
            self._group_ledger.aborted(self._receipt, error)

    def announce(self, model: str) -> None:
        """See :class:`Account`."""
        run, plan = self._private.run, self._private.plan
        self._group_ledger.prepare(
            run, self._units(), plan, group_index=self._private.group_index, model=model
        )

    @property
    def present(self) -> Sequence[UnitRecords]:
        """See :class:`Account`.

        Raises:
            RefusedByLedger: Nothing was charged yet, so nobody takes part.
        """
        if self._present is None:
            raise RefusedByLedger("nothing was charged for what would be trained on")
        return self._present

    def require(self, attempt: int) -> None:
        """See :class:`Account`."""
        self._group_ledger.require(self._private.run, self._round, attempt)

    def charge(self, attempt: int, context: bytes) -> None:
        """See :class:`Account`."""
        self._receipt, self._present = self._group_ledger.charge(
            self._private.run, self._round, attempt, context, units=self._units()
        )

    def release(self, message: bytes) -> None:
        """See :class:`Account`."""
        if self._receipt is None:
            raise RefusedByLedger("nothing was charged for what is about to leave")
        receipt, self._receipt = self._receipt, None
        self._group_ledger.released(receipt, message)


class CountedAccount(Account):
    """What a round costs that is trained on noised counts: nothing, once those are paid for.

    Args:
        group_ledger: Of the group.
        private: What is asked of the group.
        round_number: The round.
        obtain: Finds the tallies of a plan, or has the missing one made.
    """

    def __init__(
        self,
        group_ledger: GroupLedger,
        private: PrivateTask,
        *,
        round_number: int,
        obtain: Callable[[], Sequence[StoredTally]],
    ) -> None:
        self._group_ledger = group_ledger
        self._private = private
        self._round = round_number
        self._obtain = obtain
        self._tallies: Sequence[StoredTally] = ()
        self._attempt = 0
        self._context = b""

    def announce(self, model: str) -> None:
        """Have the answers counted, if they were not."""
        self._tallies = self._obtain()

    @property
    def tallies(self) -> Sequence[StoredTally]:
        """See :class:`Account`.

        Raises:
            RefusedByLedger: None was paid for.
        """
        if not self._tallies:
            raise RefusedByLedger("nothing was charged for what would be trained on")
        return self._tallies

    def charge(self, attempt: int, context: bytes) -> None:
        """Note what the round is about; it costs nothing."""
        self._attempt, self._context = attempt, context

    def release(self, message: bytes) -> None:
        """See :class:`Account`."""
        with self._group_ledger.reopened() as ledger:
            ledger.used(
                self._private.run,
                self._round,
                self._attempt,
                context=self._context,
                tally=self.tallies[-1].digest,
                vector=hashlib.sha256(message).digest(),
            )
