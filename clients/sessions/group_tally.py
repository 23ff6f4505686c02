"""The tally of a group: found again wherever it was made, or made at the first request.

The order is what makes it one: the spend is on disk before anything is counted, the noised counts
are on disk before their digest is in the ledger, and the digest is there before anything is
trained. All of it happens under the lock of the ledger, and a process that dies on the way leaves
a state from which the next one goes on, never one in which it would count again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.data.units import UnitRecords
from alignment.tallies.questionnaire import Questionnaire
from atomic import force_out, write_atomically
from clients.deployment.bundle import running_digest
from clients.sessions.group_ledger import GroupLedger, contents_of
from clients.training.counting import answers_in
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.step import private_count
from privacy.accounting.tally_file import StoredTally, tally_context, tally_name
from privacy.errors import LedgerRefused, LedgerRolledBack, LedgerUnwritable, StageSkipped
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import CountBounds, private_tally
from privacy.ledger import Ledger, SpendReceipt

_MOST_KEPT = 256
_kept: OrderedDict[str, StoredTally] = OrderedDict()


@dataclass(frozen=True, kw_only=True)
class GroupTallies:
    """All tallies of a group.

    Attributes:
        group: whose.
        group_ledger: that pays for them.
        folder: of their files.
        questionnaire: what is counted.
        wave: name of the wave of persons that the data hold now. Who was counted in an earlier one
            is not counted again: a new wave is a tally of those alone who were in none before.
        units: opens the data; called only where there is something to count.
    """

    group: str
    group_ledger: GroupLedger
    folder: Path
    questionnaire: Questionnaire
    wave: str
    units: Callable[[], Sequence[UnitRecords]]

    def obtain(self, plan: PrivacyPlan) -> tuple[StoredTally, ...]:
        """The tallies under a plan, one for each wave; that of this wave is made if it is missing.

        Args:
            plan: of this group alone; see `PrivacyPlan.of_group`.

        Raises:
            LedgerError: the budget does not pay for it, or it was made and its file is missing.
            LedgerRolledBack: there is a file that the ledger knows nothing of.
        """
        with self.group_ledger.reopened() as ledger:
            name = tally_name(plan.digest(), self.wave)
            if name not in ledger.tallies(plan.digest()):
                self._make(ledger, name, plan)
            return tuple(
                self._stored(made, digest) for made, digest in ledger.tallies(plan.digest()).items()
            )

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _stored(self, name: str, digest: str) -> StoredTally:
        if digest in _kept:
            _kept.move_to_end(digest)
            return _kept[digest]
        try:
            content = self._file(name).read_bytes()
            stored = StoredTally.read(content, digest=digest)
        except (OSError, StageSkipped) as error:
            raise LedgerRefused(
                f"{self._file(name)}: is not the tally that the ledger has recorded ({error}); "
                "bring the file back: it is never made twice"
            ) from error
        _kept[digest] = stored
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
        return stored

    def _make(self, ledger: Ledger, name: str, plan: PrivacyPlan) -> None:
        spent = next((each for each in ledger.pending() if each.run == name), None)
        path = self._file(name)
        if path.exists():
            self._adopt(ledger, path, spent)
            return
        # Refused, if at all, before anybody is charged.
        bounds = plan.count_bounds(self.questionnaire.options)
        self._sweep(path)
        units = self._new_units(ledger, name, plan)
        receipt = spent or self._pay(ledger, name, plan, units)
        present = ledger.present(receipt, [unit.unit for unit in units])
        counted = [unit for unit, takes_part in zip(units, present, strict=True) if takes_part]
        content = self._count(counted, plan, bounds, receipt)
        self._write(path, content)
        ledger.released(receipt, hashlib.sha256(content).digest())

    def _sweep(self, path: Path) -> None:
        """Remove what a process has left that was killed while it wrote: a second noise.

        Raises:
            LedgerUnwritable: It cannot be removed, and with it two noised counts would lie here.
        """
        try:
            for left in self.folder.glob(f".{path.name}.*.part"):
                left.unlink()
        except OSError as error:
            raise LedgerUnwritable(
                f"{path}: {error.strerror or error}; counts of a process that was killed lie "
                "beside it: remove them and ask again"
            ) from error

    def _adopt(self, ledger: Ledger, path: Path, spent: SpendReceipt | None) -> None:
        """Record a tally that was written and then interrupted: nothing has used it yet."""
        content = path.read_bytes()
        try:
            stored = StoredTally.read(content)
        except StageSkipped as error:
            raise LedgerRefused(f"{path}: {error}; move it away") from error
        if spent is None or stored.spend != spent.hash:
            raise LedgerRolledBack(
                f"{path}: is a tally that the ledger has not paid for: an older copy of the ledger "
                "was put in its place; restore the newest"
            )
        ledger.released(spent, bytes.fromhex(stored.digest))

    def _new_units(self, ledger: Ledger, name: str, plan: PrivacyPlan) -> Sequence[UnitRecords]:
        """The units of this wave: those in no tally of the same plan before."""
        units = self.units()
        met = [False] * len(units)
        for made in ledger.tallies(plan.digest()):
            data = ledger.data_of(made)
            if data is not None and made != name:
                listed = ledger.listed(data, [unit.unit for unit in units])
                met = [one or other for one, other in zip(met, listed, strict=True)]
        return [unit for unit, before in zip(units, met, strict=True) if not before]

    def _pay(
        self, ledger: Ledger, name: str, plan: PrivacyPlan, units: Sequence[UnitRecords]
    ) -> SpendReceipt:
        dataset = ledger.register(
            ((unit.unit, contents_of(unit)) for unit in units),
            unit=Unit(plan.unit),
            bound=plan.group_size(0),
            run=name,
            relation=plan.relation,
        )
        if ledger.announced(name) is None:
            self.group_ledger.set_budget(ledger, dataset, plan)
        else:
            self.group_ledger.lower_budget(ledger, name)
        ledger.register_plan(name, dataset, plan, code=running_digest())
        return ledger.reserve(name, 0, 0, tally_context(plan.digest(), name))

    def _count(
        self,
        units: Sequence[UnitRecords],
        plan: PrivacyPlan,
        bounds: CountBounds,
        receipt: SpendReceipt,
    ) -> bytes:
        source = SystemRandomStream()
        try:
            answers = answers_in(units, self.questionnaire)
            noised = private_count(answers, bounds, plan, source=source)
        finally:
            source.erase()
        _, content = StoredTally.of(
            private_tally(noised, bounds),
            group=self.group,
            plan=plan,
            questionnaire=self.questionnaire.as_dict(),
            wave=self.wave,
            spend=receipt.hash,
        )
        return content

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            force_out(self.folder.parent)
            write_atomically(path, content, durable=True, mode=0o600)
        except OSError as error:
            raise LedgerUnwritable(
                f"{path}: {error.strerror or error}; nothing was released, and the spend stays "
                "open: free the disk and ask again"
            ) from error


def forget_tallies() -> None:
    """Let go of the tallies that this process has read."""
    _kept.clear()
