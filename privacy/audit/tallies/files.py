"""The check of the files of tallies that were handed in beside their ledger."""

from collections.abc import Iterator

from privacy.accounting.tally_file import StoredTally, tally_name
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import LedgerEvidence
from privacy.audit.tallies.bounds import wrong_step
from privacy.audit.tallies.history import TallyHistory, tallies
from privacy.errors import StageSkipped


def check_stored(ledger: LedgerEvidence) -> Iterator[Check]:
    """Every file of a tally is the one that the ledger has recorded, and follows from its plan.

    Nothing is said where there is neither a tally in the ledger nor a file beside it.
    """
    history = TallyHistory.of(ledger.events)
    lacking = [name for name in history.released if name not in ledger.tallies]
    waiting = []
    for name, content in ledger.tallies.items():
        interrupted = name in history.spends and name not in history.released
        wrong = _wrong_file(name, content, ledger, history, recorded=not interrupted)
        if wrong:
            yield failed("stored", ledger.name, f"{name[:18]}: {wrong}.")
            return
        waiting += [name] * interrupted
    found = len(ledger.tallies) - len(waiting)
    if found:
        yield passed(
            "stored",
            ledger.name,
            f"{tallies(found)} at hand, as the ledger has recorded: of the plan, the questionnaire "
            "and the spend that stand there, and as many integers as there are options.",
        )
    for names, what in (
        (waiting, "not recorded as released"),
        (lacking, "not handed in"),
    ):
        if names:
            yield left_open("stored", ledger.name, f"{tallies(len(names))} {what}.")


def _wrong_file(
    name: str, content: bytes, ledger: LedgerEvidence, history: TallyHistory, *, recorded: bool
) -> str:
    """The first thing wrong with a file; empty if nothing is."""
    if name not in history.spends:
        return "a tally that the ledger has not paid for"
    digest = history.released[name][0] if recorded else None
    try:
        stored = StoredTally.read(content, digest=digest)
    except StageSkipped as error:
        return str(error)
    plan, bounds = stored.plan, stored.tally.bounds
    if plan != history.plans[name] or tally_name(plan.digest(), stored.wave) != name:
        return "is of another plan or wave than the ledger has announced"
    if stored.spend != history.spends[name][0].hash:
        return "names another spend than the one that paid for it"
    if ledger.pinned and stored.group != ledger.name:
        return "is of another group"
    if int(abs(stored.tally.cells).max()) >= 2 ** (plan.modulus_bits - 1):
        return "holds a count beyond what counts and noise can be"
    wrong = wrong_step(plan, bounds.options, bounds.step)
    return wrong and f"the tally {wrong}"
