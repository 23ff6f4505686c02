"""The checks of a server ledger by itself, and against the advertisements and ledgers of groups."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.server_ledger.counted import check_counted
from privacy.audit.server_ledger.events import check_events
from privacy.audit.server_ledger.members import check_members, check_pins, check_seats, seats_of
from privacy.audit.server_ledger.plans import (
    check_epsilons,
    check_plans,
    check_secure,
    plans_of,
)
from privacy.audit.server_ledger.rounds import check_rounds
from privacy.audit.server_ledger.runs import check_models
from privacy.errors import BadSignature, PrivacyError
from privacy.exchange.messages import PeerAdvert
from privacy.identity.keys import Roster
from privacy.ledger.chain import Event, Head, check_countersigned, require_head
from privacy.ledger.filter import Attempt as AttemptKey
from privacy.ledger.payloads import attempt_of
from privacy.ledger.server_ledger import advert_head, read_advert
from privacy.secagg.messages import Advert
from privacy.secagg.round_terms import Attempt

_ALL = "all"


def check_server_ledger(evidence: Evidence) -> Iterator[Check]:
    """Check the server ledger by itself, and against the ledgers of the groups."""
    server = evidence.server_ledger
    if server is None:
        yield left_open(
            "book",
            "server",
            "the server ledger was not handed in: that a group has shown all of its ledger, and "
            "how many took part in each round, could not be checked.",
        )
        return
    if server.error is not None:
        finding = f"the server ledger is not what its owner wrote: {server.error}."
        yield failed("book", "server", finding)
        return
    if evidence.servers and not server.pinned:
        finding = "the server ledger is signed by a key that the roster does not name."
        yield failed("book", "server", finding, evidence.rests_on_roster)
    else:
        finding = f"{len(server.events)} events form one unbroken chain under one key."
        yield passed("book", "server", finding)
    for check in _CHECKS:
        yield from _guarded(check, server, evidence)


def _guarded(
    check: Callable[[LedgerEvidence, Evidence], Iterator[Check]],
    server: LedgerEvidence,
    evidence: Evidence,
) -> Iterator[Check]:
    """An event that cannot be read is a finding: whoever signed it wrote it so."""
    try:
        yield from list(check(server, evidence))
    except (PrivacyError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        kind = check.__name__.strip("_").removeprefix("check_")
        finding = f"{kind}: an event of the server ledger cannot be read ({error})."
        yield failed("book", "server", finding)


def _check_heads(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Heads in advertisements are signed by the groups, and found in their ledgers."""
    ledgers = {each.owner: each for each in _longest_last(evidence)}
    heads: set[tuple[bytes, Head]] = set()
    seen: Counter[str] = Counter()
    for event, name, owner, advert in _shown(server):
        where = f"round {event.body['round']}"
        if evidence.members.get(name, owner) != owner:
            yield failed("witness", name, "the server took another key for this group's.")
            return
        try:
            advert.check(Roster({name: owner}), Attempt.named_in(event.body).context())
        except PrivacyError as error:
            finding = f"{where}: what the server ledger shows of {name} is not its own: {error}."
            yield failed("witness", "server", finding)
            return
        heads.add((owner, advert_head(advert)))
        ledger = ledgers.get(owner)
        if ledger is None or name in event.body["refused"]:
            continue
        try:
            require_head(ledger.events, advert_head(advert))
        except PrivacyError as error:
            finding = f"in {where} the group showed a ledger that is not this one: {error}"
            yield failed("witness", name, finding)
            return
        seen[name] += 1
    for ledger in evidence.ledgers:
        lost = next((head for head in _countersigned(ledger, server) if head not in heads), None)
        if lost is not None:
            finding = f"event {lost[1].seq} of {ledger.name} has the server's signature"
            yield failed("witness", "server", f"{finding}, but its ledger does not show that head.")
            return
    for event in server.events:
        for name, why in event.body.get("refused", {}).items() if event.type == "HEADS" else ():
            yield failed("witness", name, f"round {event.body['round']}: kept out, {why}.")
    if not seen:
        yield left_open("witness", _ALL, "no heads of ledgers were shown to the server.")
        return
    yield passed(
        "witness",
        _ALL,
        f"{sum(seen.values())} times {len(seen)} groups showed the server the heads of these very "
        "ledgers, under their own signatures.",
    )


def _longest_last(evidence: Evidence) -> list[LedgerEvidence]:
    """An older copy of a ledger comes before the ledger; two that differ are a finding anyway."""
    return sorted(evidence.ledgers, key=lambda each: len(each.events))


def _countersigned(ledger: LedgerEvidence, server: LedgerEvidence) -> Iterator[tuple[bytes, Head]]:
    """The heads of a ledger that the owner of the server ledger has signed."""
    for event in ledger.events if ledger.state else ():
        if event.type == "HEAD":
            with suppress(BadSignature):
                check_countersigned(Roster({event.body["server"]: server.owner}), event)
                yield ledger.owner, Head(seq=event.body["seq"], hash=event.body["hash"])


def _check_both(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every vector that the server took was paid for at its group, and is the one released."""
    ledgers = {each.owner: _Paid(each) for each in _longest_last(evidence)}
    seats, plans = seats_of(server), plans_of(server)
    missing = 0
    taken: list[tuple[bytes, str]] = []
    for event in server.events:
        body = event.body
        vectors = body.get("vectors", {}) if event.type in ("ROUND", "LOST") else {}
        for name, digest in vectors.items():
            _, key = seats[body["run"]].get(name, (0, ""))
            owner = bytes.fromhex(key)
            if owner not in ledgers:
                missing += 1
                continue
            ctx = body["contexts"][name] if "contexts" in body else body["ctx"]
            counted = plans[body["run"]].counts is not None
            if wrong := ledgers[owner].differs(attempt_of(body), ctx, digest, counted=counted):
                yield failed("both", name, f"round {body['round']}: {wrong}.")
                return
            taken.append((owner, digest))
    if taken or not missing:
        yield passed(
            "both",
            _ALL,
            f"{len(taken)} vectors that the server took were paid for by their groups, round by "
            "round, under the same terms, and are those that the groups released."
            if not any(plan.counts for plan in plans.values())
            else f"{len(taken)} vectors that the server took are those that the groups released, "
            "round by round under the same terms: paid for, or trained on a tally that was.",
        )
    if missing:
        finding = f"{missing} vectors were of groups whose ledgers were not handed in."
        yield left_open("both", _ALL, finding)
    runs = {event.body["run"] for event in server.events if event.type == "RUN"}
    known = set(taken)
    denied = sum(
        (owner, digest) not in known
        for owner, paid in ledgers.items()
        for run, digest in paid.released
        if run in runs
    )
    if denied:
        finding = f"{denied} released vectors do not stand in the server ledger: lost on the way, "
        charged = "They are charged all the same."
        if any(plan.counts for plan in plans.values()):
            charged = (
                "What was paid for is charged all the same; what was made from tallies is not."
            )
        yield left_open("denied", _ALL, f"{finding}or left out. {charged}")


class _Paid:
    """The spends and releases of a group, by attempt."""

    def __init__(self, ledger: LedgerEvidence) -> None:
        self._spends = {attempt_of(e.body): e for e in ledger.events if e.type == "SPEND"}
        runs = {spend.hash: key[0] for key, spend in self._spends.items()}
        events = [event for event in ledger.events if event.type == "RELEASED"]
        self._vectors = {event.body["spend"]: event.body["vector"] for event in events}
        self._used = {attempt_of(e.body): e for e in ledger.events if e.type == "USED"}
        self.released = [(runs.get(e.body["spend"], ""), e.body["vector"]) for e in events]
        self.released += [(key[0], e.body["vector"]) for key, e in self._used.items()]

    def differs(self, key: AttemptKey, ctx: str, digest: str, *, counted: bool) -> str:
        """The first thing wrong with the group's side of a vector; empty if nothing is.

        Args:
            key: of the attempt.
            ctx: digest of what it was about, by the server.
            digest: of the vector that the server took.
            counted: whether it was to be trained on a tally.
        """
        event = (self._used if counted else self._spends).get(key)
        if event is None:
            how = "trained on no tally" if counted else "not paid for"
            return f"the server took a vector that the group has {how}"
        if event.body["ctx"] != ctx:
            return "server and group name different terms"
        if (event.body["vector"] if counted else self._vectors.get(event.hash)) != digest:
            return "the server took another vector than the group released"
        return ""


def _shown(
    server: LedgerEvidence,
) -> Iterator[tuple[Event, str, bytes, Advert | PeerAdvert]]:
    """Every advertisement in the ledger: its event, its group, the key taken for the group's."""
    keys: dict[str, dict[str, str]] = {}
    for event in server.events:
        body = event.body
        if event.type == "RUN":
            keys[body["run"]] = dict(body["keys"])
        elif event.type == "JOINED":
            keys[body["run"]][body["group"]] = body["key"]
        elif event.type == "HEADS":
            for name, text in body["adverts"].items():
                advert = read_advert(base64.b64decode(text))
                yield event, name, bytes.fromhex(keys[body["run"]][name]), advert


_CHECKS = (
    check_events,
    check_plans,
    check_epsilons,
    check_secure,
    check_rounds,
    check_models,
    check_members,
    check_pins,
    check_seats,
    check_counted,
    _check_heads,
    _check_both,
)
