"""The check of tallies against the runs that are trained on them."""

from collections.abc import Iterator, Mapping

from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.server_ledger.members import seats_of
from privacy.audit.server_ledger.plans import plans_of
from privacy.audit.tallies.history import TallyHistory, tallies
from privacy.audit.tallies.of_run import wrong_plan


def check_counted(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every tally follows from the plan of each run that is trained on it.

    Nothing is said where no ledger has a tally.
    """
    plans, seats, found = plans_of(server), seats_of(server), 0
    for ledger in evidence.ledgers:
        history = TallyHistory.of(ledger.events) if ledger.state else TallyHistory()
        key = ledger.owner.hex()
        own = {
            run: (plans[run], seat)
            for run, of in seats.items()
            for seat, each in of.values()
            if each == key
        }
        if wrong := _wrong_tallies(history, own):
            yield failed("counted", ledger.name, f"{wrong}.")
            return
        found += len(history.plans)
    if found:
        yield passed(
            "counted",
            "all",
            f"{tallies(found)} with the noise, the bounds, the unit and the questionnaire that "
            "the runs in the server ledger plan for the seats of their groups.",
        )


def _wrong_tallies(history: TallyHistory, own: Mapping[str, tuple[PrivacyPlan, int]]) -> str:
    """The first tally whose plan does not follow from that of a run; empty if all do.

    Args:
        history: of a group.
        own: plans of the runs in which the group has a seat, and its seat. That it has none is a
            check of its own.
    """
    used = set[str]()
    for run in (run for run in history.runs if run in own):
        for name in history.used_by(run):
            used.add(name)
            plan, seat = own[run]
            if wrong := wrong_plan(history.plans[name], plan, seat=seat):
                return f"{name[:18]} does not follow from the plan of run {run[:12]}: {wrong}"
    for name in history.plans.keys() - used:
        if all(wrong_plan(history.plans[name], plan, seat=seat) for plan, seat in own.values()):
            return f"{name[:18]} follows from the plan of no run in which the group has a seat"
    return ""
