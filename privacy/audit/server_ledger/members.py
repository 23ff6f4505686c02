"""The checks of the parties in a server ledger: their seats, their keys, and their data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.server_ledger.plans import begun, plans_of
from privacy.audit.tallies.history import TallyHistory
from privacy.identity.keys import KEY_BYTES
from privacy.ledger.payloads import stated_plan
from privacy.secagg.round_terms import RoundTerms


def check_members(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Whoever took part was named when the run began, or had joined it before."""
    runs: dict[str, _Members] = {}
    for event in server.events:
        body = event.body
        if event.type == "RUN":
            members = runs[body["run"]] = _Members(seats=list(body["groups"]))
            wrong = members.begun(body)
        elif event.type == "JOINED":
            wrong = runs[body["run"]].joined(body)
        elif event.type in ("HEADS", "ROUND", "LOST"):
            wrong = runs[body["run"]].took_part(body)
        else:
            continue
        if wrong:
            yield failed("members", "server", f"{wrong}.")
            return
    joined = sum(event.type == "JOINED" for event in server.events)
    yield passed(
        "members",
        "server",
        f"every group that took part has a seat of its own in the plan of its run; {joined} of "
        "them joined after the run had begun, before they took part.",
    )


@dataclass(kw_only=True)
class _Members:
    """The groups of one run; every method returns what is wrong with an event; empty if nothing is.

    Attributes:
        seats: groups by their index in the plan; empty where the seat is free.
        since: first round of each group.
        keys: of all of them, hexadecimal.
    """

    seats: list[str]
    since: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    def begun(self, body: Mapping[str, Any]) -> str:
        names = [name for name in self.seats if name]
        planned = stated_plan(body["plan"]).groups
        if len(self.seats) != planned:
            return f"the run has {len(self.seats)} seats, its plan {planned}"
        if len(set(names)) != len(names) or set(names) != set(body["keys"]):
            return "the run begins with groups that have two seats, or no key"
        if any(len(bytes.fromhex(key)) not in (0, KEY_BYTES) for key in body["keys"].values()):
            return "the run begins with a group whose key is none"
        keys = [key for key in body["keys"].values() if key]
        if len(set(keys)) != len(keys):
            return "the run begins with one group under two names"
        self.keys = set(keys)
        self.since = dict.fromkeys(names, 0)
        return ""

    def joined(self, body: Mapping[str, Any]) -> str:
        group, seat = str(body["group"]), body["seat"]
        where = f"round {body['round']}: {group}"
        if len(bytes.fromhex(body["key"])) != KEY_BYTES:
            return f"{where} joined with a key that is none"
        if not group or group in self.since:
            return f"{where} joined under a name that is taken"
        if not 0 <= seat < len(self.seats):
            return f"{where} joined in seat {seat}, which the plan does not have"
        if self.seats[seat]:
            return f"{where} joined in a seat that is taken"
        if body["key"] in self.keys:
            return f"{where} joined with the key of another group"
        self.keys.add(body["key"])
        self.seats[seat] = group
        self.since[group] = int(body["round"])
        return ""

    def took_part(self, body: Mapping[str, Any]) -> str:
        names = {*body.get("adverts", ()), *body.get("survivors", ())}
        names |= {*body.get("vectors", ()), *body.get("sharers", ()), *body.get("contexts", ())}
        names |= {*body.get("refused", ()), *chain.from_iterable(body.get("pairs", ()))}
        if "shown" in body:
            names.add(body["shown"]["by"])
        if "terms" in body:
            names |= set(RoundTerms.decode(body["terms"].encode("ascii")).members)
        for name in sorted(names):
            if name not in self.since:
                return f"round {body['round']}: {name} took part and has no seat in the run"
            if body["round"] < self.since[name]:
                return f"round {body['round']}: {name} took part before it had joined"
        return ""


def seats_of(server: LedgerEvidence) -> dict[str, dict[str, tuple[int, str]]]:
    """The seat of each group, and the key that the server took for its, by run and name."""
    seats: dict[str, dict[str, tuple[int, str]]] = {
        run: {
            name: (seat, body["keys"].get(name, ""))
            for seat, name in enumerate(body["groups"])
            if name
        }
        for run, body in begun(server).items()
    }
    for event in server.events:
        if event.type == "JOINED":
            body = event.body
            seats[body["run"]][body["group"]] = (body["seat"], body["key"])
    return seats


def check_pins(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every party of every run has the key that a roster gives it.

    All that is signed by a group in a sum, a meeting or an advertisement is checked against the
    key that stands here; a party that nobody has pinned could be the server itself.
    """
    rests_on = evidence.rests_on_roster
    if not evidence.members:
        finding = "no roster was handed in: who the groups of the runs are could not be checked."
        yield left_open("pins", "server", finding, rests_on)
        return
    parties = {
        (name, key) for seats in seats_of(server).values() for name, (_, key) in seats.items()
    }
    for name, key in sorted(parties):
        pinned = evidence.members.get(name)
        if pinned is None or pinned.hex() != key:
            what = "gives to nobody" if pinned is None else "gives another key"
            finding = f"{name} is a group of a run, and one whom {rests_on} {what}."
            yield failed("pins", "server", finding, rests_on)
            return
    if not server.pinned:
        finding = f"the server's key stands not in {rests_on}; ask the server for it."
        yield left_open("pins", "server", finding, rests_on)
    hint = (
        "" if evidence.roster_given else " Ask each group for its key, and give those by --roster."
    )
    finding = f"all {len(parties)} groups of the runs have the keys of {rests_on}.{hint}"
    yield passed("pins", "server", finding, rests_on)


def _registered(ledger: LedgerEvidence) -> Iterator[tuple[str, list[int]]]:
    """The runs of a group, each with the bounds of the data that it reads, be it by tallies."""
    if ledger.state is None:
        return
    history, state = TallyHistory.of(ledger.events), ledger.state
    bounds = {run: state.datasets[plan.dataset].units for run, plan in state.plans.items()}
    for run in (run for run in bounds if run not in history.plans):
        yield run, [bounds[run]]
    for run in history.runs:
        yield run, [bounds[name] for name in history.used_by(run)]


def check_seats(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """No group registers more units than the plan of its run counts on in its seat."""
    seats, plans = seats_of(server), plans_of(server)
    for ledger in evidence.ledgers:
        if ledger.state is None:
            continue
        found = 0
        for run, registered in _registered(ledger):
            own = [seat for seat, key in seats.get(run, {}).values() if key == ledger.owner.hex()]
            where = f"run {run[:12]}"
            if not own:
                finding = (
                    f"{where}: the group announces a plan in which the server gave it no seat."
                )
                yield failed("seat", ledger.name, finding)
                break
            bound = plans[run].sizes[own[0]]
            units = max(registered, default=0)
            if units > bound:
                finding = (
                    f"{where}: the group registers {units} units, and the plan counts on at most "
                    f"{bound} in seat {own[0]}: its noise and batches are not made for them."
                )
                yield failed("seat", ledger.name, finding)
                break
            found += 1
        else:
            yield passed(
                "seat",
                ledger.name,
                f"in {found} run(s) the group registers no more units than the plan counts on in "
                "its seat; how many it has in fact is its own word.",
            )
