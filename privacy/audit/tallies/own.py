"""The check of the tallies in a group's ledger: each is counted once, and rounds cost nothing."""

from collections.abc import Iterator
from contextlib import suppress

from privacy.accounting.tally_file import is_tally_name, tally_context
from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import LedgerEvidence
from privacy.audit.refused_rounds import UNREADABLE
from privacy.audit.tallies.bounds import wrong_bounds
from privacy.audit.tallies.history import TallyHistory, tallies
from privacy.ledger.chain import Event
from privacy.ledger.filter import Attempt
from privacy.ledger.payloads import attempt_of


def check_tallies(ledger: LedgerEvidence) -> Iterator[Check]:
    """Every tally is paid for once and released once; nothing is trained on it before.

    Nothing is said of a ledger without tallies.
    """
    with suppress(*UNREADABLE):
        history, wrong = TallyHistory(), _Wrong()
        for event in ledger.events:
            if found := wrong.next(event, history):
                yield failed("tally", ledger.name, f"event {event.seq} {found}.")
                return
        if not history or ledger.state is None:
            return
        rounds, runs = len(history.uses), len(history.runs)
        yield passed(
            "tally",
            ledger.name,
            f"{tallies(len(history.plans))}: answers were counted once for each, one person moving "
            "it by at most S, under a spend of its own and with the noise of its plan; "
            f"{rounds} round(s) of {runs} run(s) were trained on what had been released, and "
            "spent nothing.",
        )


class _Wrong:
    """What has been met so far, besides the tallies themselves."""

    def __init__(self) -> None:
        self._planned: set[str] = set()
        self._rounds: set[Attempt] = set()
        self._data: dict[str, str] = {}

    def next(self, event: Event, history: TallyHistory) -> str:
        """The first thing wrong with an event, which joins the history; empty if nothing is."""
        history.add(event)
        check = getattr(self, f"_{event.type.lower()}", None)
        return check(event, history) if check else ""

    def _plan(self, event: Event, history: TallyHistory) -> str:
        run = event.body["run"]
        self._planned.add(run)
        if run in history.runs:
            return "announces a plan for a run that was trained on a tally"
        if run not in history.plans:
            return ""
        self._data[run] = event.dataset
        if not is_tally_name(run):
            return "announces counts under a name that no tally has"
        wrong = wrong_bounds(history.plans[run])
        return wrong and f"announces a tally that {wrong}"

    def _spend(self, event: Event, history: TallyHistory) -> str:
        run = event.body["run"]
        if run in history.runs:
            return "spends for a run that was trained on a tally"
        if run not in history.plans:
            return ""
        if len(history.spends[run]) > 1:
            return "pays for a tally a second time"
        if attempt_of(event.body) != (run, 0, 0):
            return "pays for a tally as for a round"
        if event.body["ctx"] != tally_context(history.plans[run].digest(), run).hex():
            return "pays for another tally than its plan announces"
        return ""

    def _released(self, event: Event, history: TallyHistory) -> str:
        name = history.paid_by(event.body["spend"])
        return "releases a tally a second time" if len(history.released.get(name, ())) > 1 else ""

    def _used(self, event: Event, history: TallyHistory) -> str:
        key, of = attempt_of(event.body), history.named(event.body["tally"])
        if key[0] in self._planned:
            return "trains a run on a tally that has a plan of its own"
        if event.dataset not in {self._data[name] for name in of}:
            return "trains on a tally that was not released before"
        if key in self._rounds:
            return "records a round that was recorded before"
        self._rounds.add(key)
        return ""
