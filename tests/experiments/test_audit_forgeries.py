"""Forgeries of the ledgers of real runs, by everybody who could make them; each is found.

Three runs share one folder of ledgers. The third is on the people of the others, who have spent
its lower budget, and on new ones, for whom it pays for three of the rounds: so there are restarts,
people left out and refusals to lie about.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.run import run
from privacy.audit.card import build_card
from privacy.audit.checks import Check, Status
from privacy.audit.evidence import CARD_FILE, gather
from privacy.audit.verify import holds, verify
from privacy.canonical import canonical_json
from privacy.file_names import CONFIG_FILE, LEDGERS_FOLDER, PRIVACY_FILE, RESULT_FILE, ROSTER_FILE
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Identity
from privacy.ledger.chain import NOTHING, SERVER_TYPES, Head, sign_head, write_event
from privacy.ledger.filter import cost, filter_bound
from privacy.ledger.paths import SERVER_LEDGER, group_ledger
from privacy.ledger.payloads import mechanism_of, stated_plan
from privacy.secagg.agreement import Agreement
from privacy.secagg.messages import Advert, ShareRequest
from privacy.secagg.round_terms import Attempt
from server.config import read_run_config
from tests.forgeries.test_forged_tallies import BESIDE
from tests.forgeries.test_forged_tallies import ledgers as FORGED_TALLIES

PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
RUNS = ("one", "two", "three")
BUDGETS = (18.0, 18.0, 7.0)
GROUP, OTHER = "Group 0", "Group 1"

Line = dict[str, Any]
Key = tuple[str, int, int]


@dataclass(frozen=True)
class Case:
    """A copy of the folder of the last run, with the ledgers in it, that a forger has changed."""

    folder: Path

    @property
    def ledgers(self) -> Path:
        return self.folder / LEDGERS_FOLDER

    @property
    def server_ledger(self) -> Path:
        return self.ledgers / SERVER_LEDGER

    def ledger(self, group: str = GROUP) -> Path:
        return group_ledger(self.ledgers, group)

    def key(self, group: str = GROUP) -> Identity:
        return KeyFolder(self.ledgers / "identities").own(group)

    @property
    def server(self) -> Identity:
        return KeyFolder(self.ledgers / "identities").own(SERVER, role=SERVERS)

    def checks(self) -> tuple[Check, ...]:
        return verify(gather([self.folder]))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in lines(path)]


def key_of(event: Line) -> Key:
    body = event["body"]
    return body["run"], body["round"], body["attempt"]


def at(events: list[Line], type: str, number: int = 0) -> int:
    """The place of the first, second, ... (or -1: the last) event of a type."""
    return [place for place, event in enumerate(events) if event["type"] == type][number]


def runs_of(case: Case) -> list[str]:
    return [event["body"]["run"] for event in read(case.server_ledger) if event["type"] == "RUN"]


def chained(
    events: list[Line],
    key: Identity,
    server: Identity | None = None,
    before: Callable[[Line, Mapping[str, Head]], object] | None = None,
) -> tuple[bytes, dict[str, Head]]:
    """The lines with new numbers, hashes and signatures, as their owner can make them.

    What names other lines names the new ones. A head that has changed keeps its countersignature
    only where the server makes it again; else its owner leaves it out.

    Args:
        events: what is to be written; those that were left out may be there as None.
        key: of the owner.
        server: the key of the server, where it helps.
        before: changes an event before it is written, knowing the new heads by the old hashes.

    Returns:
        The lines, and the new heads by the old hashes.
    """
    heads: dict[str, Head] = {}
    head, out = NOTHING, []
    for event in events:
        if before is not None and before(event, heads) is False:
            heads[event["hash"]] = head
            continue
        body = dict(event["body"])
        if event["type"] in ("RELEASED", "ABORTED") and body["spend"] in heads:
            body["spend"] = heads[body["spend"]].hash
        if event["type"] == "HEAD" and body["hash"] in heads:
            seen = heads[body["hash"]]
            if (seen.seq, seen.hash) != (body["seq"], body["hash"]):
                if server is None:
                    heads[event["hash"]] = head
                    continue
                signature = sign_head(server, seen, key.public).hex()
                body.update(seq=seen.seq, hash=seen.hash, signature=signature)
        written = write_event(key, head, type=event["type"], dataset=event["dataset"], body=body)
        head = heads[event["hash"]] = written.head
        out.append(written.line())
    return b"".join(out), heads


def by_group(
    change: Callable[[Case, list[Line]], object], group: str = GROUP
) -> Callable[[Case], None]:
    """A forgery that the group makes in its ledger, hashes and signatures made again."""

    def forge(case: Case) -> None:
        events = read(case.ledger(group))
        change(case, events)
        data, _ = chained(events, case.key(group))
        case.ledger(group).write_bytes(data)

    return forge


def by_server(change: Callable[[Case, list[Line]], object]) -> Callable[[Case], None]:
    """A forgery that the server makes in its ledger, hashes and signatures made again."""

    def forge(case: Case) -> None:
        events = read(case.server_ledger)
        change(case, events)
        data, _ = chained(events, case.server)
        case.server_ledger.write_bytes(data)

    return forge


def in_body(type: str, number: int = 0, **changes: Any) -> Callable[[Case, list[Line]], object]:
    """Change fields of one event."""
    return lambda _, events: events[at(events, type, number)]["body"].update(changes)


def more(type: str, number: int = -1, **changes: Any) -> Callable[[Case, list[Line]], object]:
    """Append an event like another one."""

    def change(_: Case, events: list[Line]) -> None:
        event = json.loads(json.dumps(events[at(events, type, number)]))
        event["body"].update(changes)
        events.append({**event, "hash": "appended"})

    return change


def without(*places: tuple[str, int]) -> Callable[[Case, list[Line]], object]:
    """Leave events out."""

    def change(_: Case, events: list[Line]) -> None:
        for place in sorted((at(events, *each) for each in places), reverse=True):
            del events[place]

    return change


def to_lines(
    change: Callable[[list[bytes]], object], path: Callable[[Case], Path] = Case.ledger
) -> Callable[[Case], None]:
    """A forgery that needs no key: lines as they are, elsewhere or not at all."""

    def forge(case: Case) -> None:
        found = lines(path(case))
        change(found)
        path(case).write_bytes(b"".join(found))

    return forge


def server_ledger(case: Case) -> Path:
    return case.server_ledger


def swap(found: list[bytes]) -> None:
    found[4], found[5] = found[5], found[4]


def write_card(case: Case, **about: str) -> None:
    """The privacy card of the folder as it stands, in place of the one that is there."""
    evidence = replace(gather([case.folder]), card=None)
    card = build_card(evidence, verify(evidence), about=about)
    (case.folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")


# Without a key.


def a_number(case: Case, *, hashes: str = "") -> None:
    """A spend seems cheaper; the hash of the line, or all that follow, are made again."""
    events = read(case.ledger())
    place = at(events, "SPEND")
    events[place]["body"]["rdp"] = "0.001"
    prev = events[place]["prev"]
    for event in events[place : {"": place, "its": place + 1, "all": len(events)}[hashes]]:
        event["prev"] = prev
        content = {name: value for name, value in event.items() if name not in ("hash", "sig")}
        prev = event["hash"] = hashlib.sha256(canonical_json(content)).hexdigest()
    case.ledger().write_bytes(b"".join(canonical_json(event) + b"\n" for event in events))


def anothers_line(case: Case) -> None:
    found = lines(case.ledger())
    found[6] = lines(case.ledger(OTHER))[6]
    case.ledger().write_bytes(b"".join(found))


def a_foreign_signature(case: Case) -> None:
    events = read(case.ledger())
    words = bytes.fromhex(events[-1]["hash"])
    events[-1]["sig"] = Identity.create().sign("ledger", b"", words).hex()
    case.ledger().write_bytes(b"".join(canonical_json(event) + b"\n" for event in events))


def all_by_a_stranger(case: Case) -> None:
    events = [event for event in read(case.ledger()) if event["type"] != "HEAD"]
    case.ledger().write_bytes(chained(events, Identity.create())[0])


def roster(change: Callable[[dict[str, Any]], object]) -> Callable[[Case], None]:
    def forge(case: Case) -> None:
        path = case.ledgers / ROSTER_FILE
        pins = json.loads(path.read_text(encoding="utf-8"))
        change(pins)
        path.write_text(json.dumps(pins), encoding="utf-8")

    return forge


def older_copy(case: Case) -> None:
    events = read(case.ledger())
    keep = at(events, "PLAN", 2)
    case.ledger().write_bytes(b"".join(lines(case.ledger())[:keep]))


def in_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Case], None]:
    """Change a file of figures."""

    def forge(case: Case) -> None:
        path = case.folder / name
        stated = json.loads(path.read_text(encoding="utf-8"))
        change(stated)
        path.write_text(json.dumps(stated), encoding="utf-8")

    return forge


def card(*place: str | int, to: Any) -> Callable[[Case], None]:
    """Change one field of the privacy card."""

    def change(stated: Any) -> None:
        for step in place[:-1]:
            stated = stated[step]
        stated[place[-1]] = to

    return in_json(CARD_FILE, change)


def a_weight(case: Case) -> None:
    path = case.folder / "head.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# With the key of a group.


def plan(**changes: Any) -> Callable[[Case, list[Line]], object]:
    """Announce another plan for the last run, consistent with itself."""

    def change(_: Case, events: list[Line]) -> None:
        replan(events[at(events, "PLAN", -1)]["body"], events, changes)

    return change


def replan(body: Line, events: list[Line], changes: Mapping[str, Any]) -> None:
    other = replace(stated_plan(body["plan"]), **changes)
    body.update(plan=other.as_dict(), digest=other.digest())
    if "rdp" in body:
        order = events[at(events, "BUDGET", -1)]["body"]["order"]
        body["rdp"] = cost(mechanism_of(other), order)
        body["pld_epsilon"] = other.verify() if "noise_multiplier" in changes else "7.99996"


def promise(_: Case, events: list[Line]) -> None:
    events[at(events, "PLAN", -1)]["body"]["plan"]["epsilon"] = "7.0"


def budget_from_the_first(_: Case, events: list[Line]) -> None:
    body = events[at(events, "BUDGET")]["body"]
    bound = filter_bound(epsilon=40.0, delta=float(body["delta"]), order=body["order"])
    body.update(epsilon=40.0, bound=bound)


def budget_event(epsilon: float, delta: float = 0.0) -> Callable[[Case, list[Line]], object]:
    def change(case: Case, events: list[Line]) -> None:
        body = events[at(events, "BUDGET", -1)]["body"]
        stated = delta or float(body["delta"])
        bound = filter_bound(epsilon=epsilon, delta=stated, order=body["order"])
        more("BUDGET", epsilon=epsilon, delta=stated, bound=bound)(case, events)

    return change


def large_delta(_: Case, events: list[Line]) -> None:
    body = events[at(events, "BUDGET")]["body"]
    body.update(delta=0.5, bound=filter_bound(epsilon=BUDGETS[0], delta=0.5, order=body["order"]))


def refused_first(code: str) -> Callable[[Case, list[Line]], object]:
    """A refusal that its ledger goes on after: of the next attempt's run, or of that attempt."""

    def change(_: Case, events: list[Line]) -> None:
        place = at(events, "SPEND", -1)
        refusal = json.loads(json.dumps(events[at(events, "REFUSED")]))
        if code == "after":
            refusal["body"].update(
                {name: events[place]["body"][name] for name in ("run", "round", "attempt")}
            )
            place += 1
        events[:] = [event for event in events if event["type"] != "REFUSED"]
        events.insert(place, {**refusal, "hash": "inserted"})

    return change


def new_data(fingerprint: str) -> Callable[[Case, list[Line]], object]:
    """The same people as new data that share nobody with the old; a budget of their own."""

    def change(case: Case, events: list[Line]) -> None:
        known = events[at(events, "DATASET", -1)]["dataset"]
        more("DATASET")(case, events)
        more("BUDGET")(case, events)
        for event in events[-2:]:
            event["dataset"] = fingerprint or known

    return change


def anew(case: Case, events: list[Line]) -> None:
    """The same key, an empty history, and the last run alone."""
    del events[at(events, "PLAN") : at(events, "PLAN", -1)]


def a_fork(case: Case) -> None:
    events = read(case.ledger())
    in_body("SPEND", -1, ctx="0" * 64)(case, events)
    data, _ = chained(events, case.key())
    case.ledger().with_name("second.jsonl").write_bytes(data)


def own_countersignature(case: Case) -> None:
    events = read(case.ledger())
    last = events[-1]
    head = Head(seq=last["seq"], hash=last["hash"])
    signature = sign_head(case.key(), head, case.key().public).hex()
    body = {"seq": head.seq, "hash": head.hash, "server": SERVER, "signature": signature}
    forged = write_event(case.key(), head, type="HEAD", dataset="", body=body)
    case.ledger().write_bytes(case.ledger().read_bytes() + forged.line())


def a_head_it_never_had(case: Case) -> None:
    last = read(case.ledger())[-1]
    head = Head(seq=last["seq"], hash=last["hash"])
    false = Head(seq=3, hash="0" * 64)
    signature = sign_head(case.server, false, case.key().public).hex()
    body = {"seq": 3, "hash": false.hash, "server": SERVER, "signature": signature}
    forged = write_event(case.key(), head, type="HEAD", dataset="", body=body)
    case.ledger().write_bytes(case.ledger().read_bytes() + forged.line())


# With the key of the server.


def lose(*names: str) -> Callable[[Case, list[Line]], object]:
    """Leave a group out of the survivors of a round, or of the vectors."""

    def change(_: Case, events: list[Line]) -> None:
        body = events[at(events, "ROUND")]["body"]
        if "survivors" in names:
            body["survivors"].remove(GROUP)
        if "vectors" in names:
            del body["vectors"][GROUP]

    return change


def terms(fix: bool = False, **changes: Any) -> Callable[[Case, list[Line]], object]:
    """Other terms of a round; the context made again, or not."""

    def change(_: Case, events: list[Line]) -> None:
        event = events[at(events, "ROUND")]
        words = json.loads(event["body"]["terms"])
        for name, value in changes.items():
            (words["vector"] if name in words["vector"] else words)[name] = value
        event["body"]["terms"] = canonical_json(words).decode()
        if fix:
            event["body"]["ctx"] = context_of(event, adverts_of(events)[key_of(event)])

    return change


def adverts_of(events: list[Line]) -> dict[Key, dict[str, str]]:
    return {key_of(e): e["body"]["adverts"] for e in events if e["type"] == "HEADS"}


def context_of(event: Line, adverts: Mapping[str, str]) -> str:
    words = event["body"]["terms"]
    names = json.loads(words)["members"]
    request = ShareRequest(words.encode(), tuple(base64.b64decode(adverts[n]) for n in names))
    return Agreement.read(request).context.hex()


def anothers_vector(_: Case, events: list[Line]) -> None:
    vectors = events[at(events, "ROUND")]["body"]["vectors"]
    vectors[GROUP], vectors[OTHER] = vectors[OTHER], vectors[GROUP]


def unpaid(_: Case, events: list[Line]) -> None:
    body = events[at(events, "LOST")]["body"]
    body.update(vectors={GROUP: "0" * 64}, ctx="0" * 64)


def never_shown(case: Case, events: list[Line]) -> None:
    adverts = events[at(events, "HEADS", 1)]["body"]["adverts"]
    advert = Advert.decode(base64.b64decode(adverts[GROUP]))
    false = replace(advert, head=bytes(32)).encode()
    adverts[GROUP] = base64.b64encode(false).decode("ascii")


def other_model(*, after: bool) -> Callable[[Case, list[Line]], object]:
    """The second round begins elsewhere; where asked for, the first seems to end there."""

    def change(_: Case, events: list[Line]) -> None:
        events[at(events, "ROUND", 1)]["body"]["model"] = "0" * 64
        if after:
            events[at(events, "ROUND")]["body"]["after"] = "0" * 64

    return change


def a_sum_twice(_: Case, events: list[Line]) -> None:
    place = at(events, "ROUND")
    again = json.loads(json.dumps(events[place]))
    again["body"]["model"] = again["body"]["after"]
    events.insert(place + 1, {**again, "hash": "inserted"})


def a_round_of_another_run(case: Case, events: list[Line]) -> None:
    first, last = at(events, "ROUND"), at(events, "ROUND", -1)
    body = json.loads(json.dumps(events[first]["body"]))
    events[last]["body"] = {**body, "run": runs_of(case)[-1]}


def a_members_key(_: Case, events: list[Line]) -> None:
    events[at(events, "RUN", -1)]["body"]["keys"][OTHER] = Identity.create().public.hex()


def run_plan(digest: bool) -> Callable[[Case, list[Line]], object]:
    def change(_: Case, events: list[Line]) -> None:
        body = events[at(events, "RUN", -1)]["body"]
        old = body["digest"]
        replan(body, events, {"epsilon": 9.0})
        body["digest"] = body["digest"] if digest else old

    return change


def run_left_out(case: Case, events: list[Line]) -> None:
    middle = runs_of(case)[1]
    events[:] = [event for event in events if event["body"]["run"] != middle]


def run_begun_twice(_: Case, events: list[Line]) -> None:
    again = json.loads(json.dumps(events[0]))
    again["body"]["model"] = "0" * 64
    events.insert(at(events, "ROUND"), {**again, "hash": "inserted"})


def kept_out(_: Case, events: list[Line]) -> None:
    events[at(events, "HEADS", -1)]["body"]["refused"] = {OTHER: "event 9 was seen before"}


def in_the_clear(_: Case, events: list[Line]) -> None:
    for event in events:
        if event["type"] == "RUN":
            event["body"]["secure"] = False
        event["body"].pop("terms", None)


def joins(*, seated: bool = False, **changes: Any) -> Callable[[Case, list[Line]], object]:
    """In the first run a group joins that was in fact there from the start; or something worse."""

    def change(_: Case, events: list[Line]) -> None:
        body = events[at(events, "RUN")]["body"]
        seat, key = body["groups"].index(OTHER), body["keys"][OTHER]
        if not seated:
            body["groups"][seat] = ""
            del body["keys"][OTHER]
        told = {"run": body["run"], "round": 1, "group": OTHER, "key": key, "seat": seat}
        joined = {**events[0], "type": "JOINED", "body": {**told, **changes}, "hash": "joined"}
        events.insert(at(events, "HEADS"), joined)

    return change


def no_seat(_: Case, events: list[Line]) -> None:
    body = events[at(events, "RUN")]["body"]
    body["groups"][body["groups"].index(OTHER)] = ""
    del body["keys"][OTHER]


def a_seat_more(_: Case, events: list[Line]) -> None:
    events[at(events, "RUN")]["body"]["groups"].append("")


def a_seat_for_two(_: Case, events: list[Line]) -> None:
    body = events[at(events, "RUN")]["body"]
    body["groups"] = [*body["groups"][:-1], body["groups"][0]]


def joins_afterwards(case: Case, events: list[Line]) -> None:
    joins()(case, events)
    place = at(events, "JOINED")
    events.insert(at(events, "ROUND") + 1, events.pop(place))


def resumes(number: int, *, at_end: bool = True) -> Callable[[Case, list[Line]], object]:
    """A restart of the first run that never was, from what a round left."""

    def change(_: Case, events: list[Line]) -> None:
        rounds = [event["body"] for event in events if event["type"] == "ROUND"]
        told = {"run": rounds[0]["run"], "round": number, "model": rounds[number - 1]["after"]}
        place = at(events, "PUBLISHED") if at_end else at(events, "ROUND", 2)
        events.insert(place, {**events[0], "type": "RESUMED", "body": told, "hash": "resumed"})

    return change


def by_another_server(case: Case) -> None:
    case.server_ledger.write_bytes(chained(read(case.server_ledger), Identity.create())[0])


# Group and server together.


def together(
    case: Case,
    change: Callable[[list[Line]], object] = lambda _: None,
    *,
    dropped: int | None = None,
    contexts: bool = True,
    adverts: bool = True,
) -> None:
    """Rewrite a group's ledger, the server ledger, result and card, so that they all agree.

    Args:
        case: the folder.
        change: what the group changes in its ledger.
        dropped: number of a spend, counted from the first, that is left out with its release and
            whose round the server calls lost; everything later is made to follow.
        contexts: whether the digests of what was agreed to are made again.
        adverts: whether the group signs its advertisements again, with the new heads.
    """
    told, events = read(case.server_ledger), read(case.ledger(OTHER))
    change(events)
    shown = adverts_of(told)
    agreed = {key_of(e): e for e in told if "terms" in e["body"]}
    lost = events[at(events, "SPEND", dropped)] if dropped is not None else None
    made: dict[Key, str] = {}

    def advertise(key: Key, heads: Mapping[str, Head]) -> None:
        advert = Advert.decode(base64.b64decode(shown[key][OTHER]))
        head = heads.get(advert.head.hex())
        if adverts and head is not None:
            advert = replace(advert, head_seq=head.seq, head=bytes.fromhex(head.hash))
            attempt = Attempt(run=key[0], round=key[1], attempt=key[2])
            signature = case.key(OTHER).sign("advert", attempt.context(), advert.payload())
            encoded = replace(advert, signature=signature).encode()
            shown[key][OTHER] = base64.b64encode(encoded).decode("ascii")

    def before(event: Line, heads: Mapping[str, Head]) -> bool:
        body = event["body"]
        if lost is not None and lost["hash"] in (event["hash"], body.get("spend")):
            return False
        if event["type"] == "SPEND":
            key = key_of(event)
            advertise(key, heads)
            if contexts:
                body["ctx"] = made[key] = context_of(agreed[key], shown[key])
        return True

    data, heads = chained(events, case.key(OTHER), case.server, before)
    case.ledger(OTHER).write_bytes(data)
    for key in shown.keys() - made.keys():
        advertise(key, heads)
    released = {
        key_of(spend): event["body"]["vector"]
        for event in events
        if event["type"] == "RELEASED"
        for spend in events
        if spend["hash"] == event["body"]["spend"]
    }
    after: dict[str, str] = {}
    for event in told:
        body = event["body"]
        key = key_of(event) if "round" in body else ("", 0, 0)
        if "ctx" in body:
            body["ctx"] = made.get(key, body["ctx"])
        if event["type"] == "ROUND":
            body["vectors"][OTHER] = released[key]
            if lost is not None and key == key_of(lost):
                event["type"] = "LOST"
                names = ("run", "round", "attempt")
                event["body"] = {**{n: body[n] for n in names}, "reason": "TooFewMembers"}
            else:
                after[body["run"]] = body["after"]
        if event["type"] == "PUBLISHED":
            body["model"] = after[body["run"]]
    case.server_ledger.write_bytes(chained(told, case.server)[0])
    lasting = runs_of(case)[-1]
    summed = [e for e in told if e["type"] == "ROUND" and e["body"]["run"] == lasting]
    in_json(
        RESULT_FILE, lambda stated: stated.update(aborted_rounds=stated["rounds"] - len(summed))
    )(case)
    write_card(case)


def another_vector(events: list[Line]) -> None:
    events[at(events, "RELEASED", 1)]["body"]["vector"] = "0" * 64


def more_budget(events: list[Line]) -> None:
    budget_from_the_first(Case(Path()), events)


def less_noise(case: Case) -> None:
    """Group and server agree on another plan of the last run than the others were told."""
    by_group(plan(epsilon=9.0), OTHER)(case)
    by_server(run_plan(digest=True))(case)


# What is forged: who could, which check finds it, about whom.

NOBODY, OWNER, HOST, BOTH = "without a key", "the group", "the server", "group and server"
ALL = "all"
UNREADABLE: tuple[Any, ...] = (None, [], {"x": []}, "x", -1, 2**70, "\x00\n")

Forgery = tuple[str, str, str, Callable[[Case], object]]

FORGERIES: dict[str, Forgery] = {
    "a number": (NOBODY, "chain", GROUP, a_number),
    "a number and its hash": (NOBODY, "chain", GROUP, lambda c: a_number(c, hashes="its")),
    "a number and all hashes": (NOBODY, "chain", GROUP, lambda c: a_number(c, hashes="all")),
    "a line removed": (NOBODY, "chain", GROUP, to_lines(lambda found: found.pop(6))),
    "the first line removed": (NOBODY, "chain", GROUP, to_lines(lambda found: found.pop(0))),
    "lines in another order": (NOBODY, "chain", GROUP, to_lines(swap)),
    "a line twice": (NOBODY, "chain", GROUP, to_lines(lambda found: found.insert(7, found[6]))),
    "an empty line": (NOBODY, "chain", GROUP, to_lines(lambda found: found.insert(7, b"\n"))),
    "the line of another group": (NOBODY, "chain", GROUP, anothers_line),
    "a foreign signature": (NOBODY, "chain", GROUP, a_foreign_signature),
    "a whole ledger by a stranger": (NOBODY, "key", "Group-0-de72fd2b", all_by_a_stranger),
    "a roster without the group": (
        NOBODY,
        "key",
        "Group-0-de72fd2b",
        roster(lambda pins: pins["members"].pop(GROUP)),
    ),
    "a roster with another key": (
        NOBODY,
        "key",
        "Group-0-de72fd2b",
        roster(lambda pins: pins["members"].update({GROUP: "ab" * 32})),
    ),
    "a roster with another server": (
        NOBODY,
        "book",
        "server",
        roster(lambda pins: pins["servers"].update({SERVER: "ab" * 32})),
    ),
    "the end cut off": (
        NOBODY,
        "witness",
        GROUP,
        to_lines(lambda found: found.__delitem__(slice(-6, None))),
    ),
    "an older copy": (NOBODY, "witness", GROUP, older_copy),
    "a weight of the model": (NOBODY, "published", "server", a_weight),
    "a file of the model removed": (
        NOBODY,
        "published",
        "server",
        lambda c: (c.folder / "adapter" / "adapter_config.json").unlink(),
    ),
    "the card of another model": (
        NOBODY,
        "card",
        "server",
        card("runs", -1, "published", "files", "head.safetensors", to="0" * 64),
    ),
    "the card of another plan": (
        NOBODY,
        "card",
        "server",
        card("runs", 0, "plan_digest", to="0" * 64),
    ),
    "a line of the server ledger removed": (
        NOBODY,
        "book",
        "server",
        to_lines(lambda f: f.pop(5), server_ledger),
    ),
    "lines of the server ledger in another order": (
        NOBODY,
        "book",
        "server",
        to_lines(swap, server_ledger),
    ),
    "a digest in the server ledger": (
        NOBODY,
        "book",
        "server",
        to_lines(lambda f: f.append(f.pop().replace(b'"model":"', b'"model":"0')), server_ledger),
    ),
    "an epsilon in the result": (
        NOBODY,
        "result",
        "server",
        in_json(RESULT_FILE, lambda stated: stated["privacy"].update(epsilon=0.01)),
    ),
    "a plan of another run": (
        NOBODY,
        "result",
        "server",
        in_json(PRIVACY_FILE, lambda stated: stated.update(run="0" * 32)),
    ),
    "the card of a smaller epsilon": (
        NOBODY,
        "card",
        "server",
        card("runs", 0, "epsilon", to=0.01),
    ),
    "the card without limits": (NOBODY, "card", "server", card("not_covered", to=[])),
    "invented code": (OWNER, "code", GROUP, by_group(in_body("PLAN", code="c0de" * 16))),
    "a cheaper spend": (OWNER, "chain", GROUP, by_group(in_body("SPEND", rdp="0.001"))),
    "a spend that is not a number": (OWNER, "chain", GROUP, by_group(in_body("SPEND", rdp="nan"))),
    "less noise than planned": (OWNER, "plan", GROUP, by_group(in_body("SPEND", 3, z="0.5"))),
    "another sampling than planned": (OWNER, "plan", GROUP, by_group(in_body("SPEND", 3, q="0.5"))),
    "other steps than planned": (OWNER, "plan", GROUP, by_group(in_body("SPEND", 3, steps=2))),
    "a round more than planned": (OWNER, "plan", GROUP, by_group(more("SPEND", 3, round=5))),
    "a budget raised later": (OWNER, "chain", GROUP, by_group(budget_event(40.0))),
    "a budget raised from the first": (OWNER, "witness", GROUP, by_group(budget_from_the_first)),
    "a budget that pays for more than it says": (
        OWNER,
        "chain",
        GROUP,
        by_group(in_body("BUDGET", bound="99.0")),
    ),
    "a budget at a large delta": (OWNER, "chain", GROUP, by_group(large_delta)),
    "a budget of no order": (OWNER, "chain", GROUP, by_group(in_body("BUDGET", order=0))),
    "a budget lowered below what is spent": (OWNER, "budget", GROUP, by_group(budget_event(4.0))),
    "epsilon understated": (OWNER, "epsilon", GROUP, by_group(in_body("PLAN", pld_epsilon="4.0"))),
    "epsilon that is not a number": (
        OWNER,
        "chain",
        GROUP,
        by_group(in_body("PLAN", pld_epsilon="nan")),
    ),
    "epsilon left out": (
        OWNER,
        "chain",
        GROUP,
        by_group(lambda _, events: events[at(events, "PLAN")]["body"].pop("pld_epsilon")),
    ),
    "a promise that is not kept": (OWNER, "epsilon", GROUP, by_group(plan(epsilon=7.0))),
    "a promise without its digest": (OWNER, "chain", GROUP, by_group(promise)),
    "another plan than the server's": (OWNER, "plans", GROUP, by_group(plan(epsilon=9.0))),
    "another plan than the other groups'": (OWNER, "forks", ALL, by_group(plan(epsilon=9.0))),
    "a spend of what was refused": (
        OWNER,
        "refusals",
        GROUP,
        by_group(more("SPEND", round=4, attempt=1)),
    ),
    "a spend after the budget was spent": (
        OWNER,
        "refusals",
        GROUP,
        by_group(more("SPEND", round=4, attempt=3)),
    ),
    "a round after its run was refused": (
        OWNER,
        "refusals",
        GROUP,
        by_group(refused_first("before")),
    ),
    "a release of what was refused": (OWNER, "refusals", GROUP, by_group(refused_first("after"))),
    "a refusal left out": (OWNER, "witness", GROUP, by_group(without(("REFUSED", 0)))),
    "other data for a run": (OWNER, "chain", GROUP, by_group(new_data("1" * 64))),
    "the same data registered anew": (OWNER, "chain", GROUP, by_group(new_data(""))),
    "a spend left out, its release kept": (OWNER, "chain", GROUP, by_group(without(("SPEND", 1)))),
    "a round left out": (
        OWNER,
        "both",
        GROUP,
        by_group(without(("SPEND", 1), ("RELEASED", 1))),
    ),
    "a ledger begun anew": (OWNER, "witness", GROUP, by_group(anew)),
    "two histories": (OWNER, "forks", GROUP, a_fork),
    "a spend of another run again": (OWNER, "chain", GROUP, by_group(more("SPEND", 0))),
    "a release twice": (OWNER, "chain", GROUP, by_group(more("RELEASED", 0))),
    "another vector released": (
        OWNER,
        "both",
        GROUP,
        by_group(in_body("RELEASED", vector="0" * 64)),
    ),
    "other terms paid for": (OWNER, "both", GROUP, by_group(in_body("SPEND", ctx="0" * 64))),
    "its own countersignature": (OWNER, "chain", GROUP, own_countersignature),
    "a spend of nothing readable": (OWNER, "chain", GROUP, by_group(more("SPEND", run=[]))),
    "a survivor left out": (HOST, "survivors", "server", by_server(lose("survivors"))),
    "fewer survivors than agreed": (
        HOST,
        "survivors",
        "server",
        by_server(lose("survivors", "vectors")),
    ),
    "terms with fewer survivors": (HOST, "survivors", "server", by_server(terms(survivors=3))),
    "terms with fewer shares of noise": (
        HOST,
        "survivors",
        "server",
        by_server(terms(honest_shares=2, fix=True)),
    ),
    "terms with a lower threshold": (HOST, "survivors", "server", by_server(terms(threshold=2))),
    "terms of another sensitivity": (
        HOST,
        "survivors",
        "server",
        by_server(terms(sensitivity=5, fix=True)),
    ),
    "terms left out": (
        HOST,
        "survivors",
        "server",
        by_server(lambda _, events: events[at(events, "ROUND")]["body"].pop("terms")),
    ),
    "a run in the clear": (HOST, "survivors", "server", by_server(in_the_clear)),
    "another context": (HOST, "survivors", "server", by_server(in_body("ROUND", ctx="0" * 64))),
    "other terms, all digests made again": (
        HOST,
        "both",
        GROUP,
        by_server(terms(task="0" * 64, fix=True)),
    ),
    "vectors exchanged": (HOST, "both", GROUP, by_server(anothers_vector)),
    "a vector never paid for": (HOST, "both", GROUP, by_server(unpaid)),
    "a head never shown": (HOST, "witness", "server", by_server(never_shown)),
    "heads of a round left out": (HOST, "survivors", "server", by_server(without(("HEADS", 1)))),
    "heads of a lost round left out": (
        HOST,
        "witness",
        "server",
        by_server(without(("HEADS", -1))),
    ),
    "the end of the server ledger cut off": (
        HOST,
        "witness",
        "server",
        to_lines(lambda found: found.__delitem__(slice(-3, None)), server_ledger),
    ),
    "a broken chain of models": (HOST, "models", "server", by_server(other_model(after=False))),
    "another model than the groups were told": (
        HOST,
        "survivors",
        "server",
        by_server(other_model(after=True)),
    ),
    "a sum taken twice": (HOST, "survivors", "server", by_server(a_sum_twice)),
    "a round of another run": (HOST, "survivors", "server", by_server(a_round_of_another_run)),
    "another model published": (
        HOST,
        "models",
        "server",
        by_server(in_body("PUBLISHED", -1, model="0" * 64)),
    ),
    "other files published": (
        HOST,
        "published",
        "server",
        by_server(in_body("PUBLISHED", -1, files={"head.safetensors": "0" * 64})),
    ),
    "no files published": (
        HOST,
        "published",
        "server",
        by_server(lambda _, events: events[-1]["body"].pop("files")),
    ),
    "another key for a member": (HOST, "witness", OTHER, by_server(a_members_key)),
    "a plan without its digest": (HOST, "plans", "server", by_server(run_plan(digest=False))),
    "another plan than the groups'": (HOST, "plans", GROUP, by_server(run_plan(digest=True))),
    "a run left out of the server ledger": (HOST, "plans", "server", by_server(run_left_out)),
    "a run begun twice": (HOST, "plans", "server", by_server(run_begun_twice)),
    "a group kept out": (HOST, "witness", OTHER, by_server(kept_out)),
    "a plan without a seat": (HOST, "seat", OTHER, by_server(no_seat)),
    "a member whom nobody has pinned": (HOST, "pins", "server", by_server(a_members_key)),
    "an epsilon of its own": (
        HOST,
        "epsilon",
        "server",
        by_server(in_body("RUN", -1, epsilons={"dp-accounting PLD": "0.1"})),
    ),
    "shares of noise in plain sums": (
        HOST,
        "secure",
        "server",
        by_server(in_body("RUN", secure=False)),
    ),
    "a statement besides": (
        HOST,
        "events",
        "server",
        by_server(in_body("PUBLISHED", -1, certified="by the state")),
    ),
    "a group without a seat": (HOST, "members", "server", by_server(no_seat)),
    "a seat more than the plan has": (HOST, "members", "server", by_server(a_seat_more)),
    "a group with two seats": (HOST, "members", "server", by_server(a_seat_for_two)),
    "a group that joins twice": (HOST, "members", "server", by_server(joins(seated=True))),
    "a group that joins in the seat of another": (
        HOST,
        "members",
        "server",
        by_server(joins(seat=0)),
    ),
    "a group that joins in no seat": (HOST, "members", "server", by_server(joins(seat=4))),
    "a group that joins in a seat before the first": (
        HOST,
        "members",
        "server",
        by_server(joins(seat=-3)),
    ),
    "a group that joins with half a key": (
        HOST,
        "members",
        "server",
        by_server(joins(key="ab" * 16)),
    ),
    "a group that joins with another key": (
        HOST,
        "witness",
        OTHER,
        by_server(joins(key="ab" * 32)),
    ),
    "a group that joins a round late": (HOST, "members", "server", by_server(joins(round=2))),
    "a group that joins when it has taken part": (
        HOST,
        "members",
        "server",
        by_server(joins_afterwards),
    ),
    "a restart in the midst of a run": (
        HOST,
        "models",
        "server",
        by_server(resumes(2, at_end=False)),
    ),
    "a restart that goes back at the end": (HOST, "models", "server", by_server(resumes(2))),
    "a server ledger by another server": (HOST, "book", "server", by_another_server),
    "a server ledger of nothing readable": (
        HOST,
        "book",
        "server",
        by_server(in_body("HEADS", adverts=[])),
    ),
    "a head that the ledger never had": (BOTH, "chain", GROUP, a_head_it_never_had),
    "a round rolled back": (BOTH, "both", GROUP, lambda c: together(c, dropped=7)),
    "a round rolled back, old contexts": (
        BOTH,
        "survivors",
        "server",
        lambda c: together(c, dropped=7, contexts=False),
    ),
    "a round rolled back, old advertisements": (
        BOTH,
        "witness",
        OTHER,
        lambda c: together(c, dropped=7, contexts=False, adverts=False),
    ),
    "another vector, all made again": (BOTH, "both", GROUP, lambda c: together(c, another_vector)),
    "another budget, all made again": (BOTH, "both", GROUP, lambda c: together(c, more_budget)),
    "another plan for one group": (BOTH, "forks", ALL, less_noise),
}


@pytest.fixture(scope="module")
def honest(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_settings: Mapping[str, Any],
    tiny_rows: Sequence[Mapping[str, Any]],
    write_rows: Callable[..., Path],
) -> Case:
    """The folder of the last of three runs: read it, never write there."""
    base = tmp_path_factory.mktemp("audit")
    lasting = {"privacy.ledgers": str(base / "lasting")}
    more_rows = [{**row, "respondent": f"new {row['respondent']}"} for row in tiny_rows]
    more_data = write_rows(base / "more.jsonl", [*tiny_rows, *more_rows])
    for name, budget in zip(RUNS, BUDGETS, strict=True):
        own = {"out": str(base / name), "privacy.budget_epsilon": budget}
        if name == RUNS[-1]:
            own["data"] = str(more_data)
        run(read_run_config({**tiny_settings, **PRIVATE, **lasting, **own}))
    case = Case(base / "case")
    published = read(base / "lasting" / SERVER_LEDGER)[-1]["body"]["files"]
    for name in (*published, RESULT_FILE, PRIVACY_FILE, CONFIG_FILE):
        (case.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / RUNS[-1] / name, case.folder / name)
    shutil.copytree(base / "lasting", case.ledgers)
    write_card(case)
    return case


@pytest.fixture
def case(honest: Case, tmp_path: Path) -> Case:
    """A copy to forge."""
    shutil.copytree(honest.folder, tmp_path / "case")
    return Case(tmp_path / "case")


def failing(checks: tuple[Check, ...]) -> set[tuple[str, str]]:
    assert all(check.finding and check.finding.isprintable() for check in checks)
    return {(check.id, check.about) for check in checks if check.status is Status.FAIL}


def test_the_untouched_folder_passes_every_check(honest: Case) -> None:
    events = read(honest.ledger())
    assert [event["type"] for event in events].count("REFUSED") == 2
    checks = honest.checks()
    assert [check for check in checks if check.status is not Status.PASS] == []
    assert failing(checks) == set()
    assert holds(checks)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found(case: Case, name: str) -> None:
    _, check, about, forge = FORGERIES[name]
    forge(case)
    checks = case.checks()
    assert (check, about) in failing(checks)
    assert not holds(checks)


def test_everybody_forges_and_every_check_that_can_fail_finds_something() -> None:
    assert len(FORGERIES) >= 45
    assert {who for who, *_ in FORGERIES.values()} == {NOBODY, OWNER, HOST, BOTH}
    audit = Path(__file__).parents[2] / "privacy" / "audit"
    source = "".join(path.read_text("utf-8") for path in audit.rglob("*.py"))
    can_fail = set(re.findall(r'failed\(\s*"(\w+)"', source))
    of_tallies = {param.values[0].check for param in (*FORGED_TALLIES.params, *BESIDE)}
    assert can_fail == {check for _, check, *_ in FORGERIES.values()} | of_tallies


@pytest.mark.parametrize(
    "forge",
    [
        lambda case: together(case, dropped=7),
        lambda case: together(case, another_vector),
        lambda case: together(case, more_budget),
    ],
    ids=["a round", "a vector", "a budget"],
)
def test_what_group_and_server_rewrite_together_contradicts_the_other_groups_alone(
    case: Case, forge: Callable[[Case], None]
) -> None:
    """Both files are right by themselves and agree; only the contexts in others' spends do not."""
    forge(case)
    assert failing(case.checks()) == {("both", GROUP)}
    (case.folder / CARD_FILE).unlink()
    for group in (GROUP, "Group 4", "Group 5"):
        case.ledger(group).unlink()
    checks = case.checks()
    assert holds(checks)
    assert ("both", Status.OPEN) in {(check.id, check.status) for check in checks}


def test_the_last_round_of_all_rolled_back_together_is_told_as_denied(case: Case) -> None:
    """No later spend names its heads; that the others had released in it stands open.

    Here the group had refused a round after it, for a budget that would then have paid for it.
    """
    together(case, dropped=10)
    checks = case.checks()
    assert [c.id for c in checks if c.status is not Status.PASS] == ["refusals", "denied"]
    (denied,) = (check for check in checks if check.id == "denied")
    assert denied.finding.startswith("3 released vectors ")


def test_a_rewriting_of_nothing_changes_nothing_that_is_checked(case: Case) -> None:
    """The forgers' tools themselves leave no trace: what is found is the forgery."""
    for group in (GROUP, OTHER):
        by_group(lambda _, __: None, group)(case)
    by_server(lambda _, __: None)(case)
    together(case)
    assert failing(case.checks()) == set()


@pytest.mark.parametrize(
    "honestly",
    [joins(), joins(round=0), resumes(4)],
    ids=["a group that joined", "it joined before the first round", "a restart after the last"],
)
def test_what_may_happen_to_a_run_fails_no_check(
    case: Case, honestly: Callable[[Case, list[Line]], object]
) -> None:
    by_server(honestly)(case)
    write_card(case)
    assert failing(case.checks()) == set()


def test_what_was_not_handed_in_is_open_and_never_passed(case: Case) -> None:
    case.server_ledger.unlink()
    statuses = {check.id: check.status for check in case.checks()}
    assert (statuses["book"], statuses["published"]) == (Status.OPEN, Status.OPEN)
    assert not {"plans", "survivors", "models", "witness", "both"} & statuses.keys()
    (case.ledgers / ROSTER_FILE).unlink()
    statuses = {check.id: check.status for check in case.checks()}
    assert (statuses["key"], statuses["heads"]) == (Status.OPEN, Status.OPEN)
    assert failing(case.checks()) == set(), [c.finding for c in case.checks() if c.id == "card"]


def test_a_ledger_that_is_withheld_is_open(case: Case) -> None:
    case.ledger().unlink()
    checks = case.checks()
    assert holds(checks)
    assert ("both", Status.OPEN) in {(check.id, check.status) for check in checks}


def test_an_older_copy_beside_its_ledger_is_counted_as_no_group(case: Case) -> None:
    """Was open: one ledger in two files was two groups."""
    older = b"".join(lines(case.ledger())[:20])
    for name in ("a-copy.jsonl", "z-copy.jsonl"):
        case.ledger().with_name(name).write_bytes(older)
    write_card(case)
    assert failing(case.checks()) == {("forks", GROUP)}


def test_lasting_ledgers_of_any_name_belong_to_no_run(case: Case, tmp_path: Path) -> None:
    lasting = shutil.copytree(case.ledgers, tmp_path / "lasting" / LEDGERS_FOLDER)
    checks = verify(gather([lasting]))
    assert holds(checks)
    assert {c.id for c in checks if c.status is Status.OPEN} == {"published", "result", "card"}


def test_a_reviewers_own_roster_comes_first(case: Case, tmp_path: Path) -> None:
    given = tmp_path / "mine.json"
    pins = json.loads((case.ledgers / ROSTER_FILE).read_text(encoding="utf-8"))
    given.write_text(json.dumps(pins), encoding="utf-8")
    roster(lambda beside: beside["members"].pop(GROUP))(case)
    assert ("key", GROUP) not in failing(verify(gather([case.folder], roster=given)))
    pins["members"][GROUP] = "ab" * 32
    given.write_text(json.dumps(pins), encoding="utf-8")
    assert "key" in {check for check, _ in failing(verify(gather([case.folder], roster=given)))}


def test_reading_changes_no_byte(case: Case) -> None:
    def everything() -> dict[Path, tuple[bytes, int]]:
        files = (path for path in case.folder.rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = everything()
    case.checks()
    assert everything() == before


def test_events_of_the_server_ledger_that_cannot_be_read_are_a_finding_and_never_an_error(
    case: Case,
) -> None:
    """Every field of an event of every type, signed as it is by the server itself."""
    events = read(case.server_ledger)
    events = events[: at(events, "RUN", 1)]
    lost = {name: events[at(events, "ROUND")]["body"][name] for name in ("run", "round", "attempt")}
    events.append({**events[-1], "type": "LOST", "body": {**lost, "round": 9, "reason": "none"}})
    joins()(case, events)
    resumed = {name: events[0]["body"][name] for name in ("run", "model")}
    events.append({**events[-1], "type": "RESUMED", "body": {**resumed, "round": 0}, "hash": "new"})
    for group in (OTHER, "Group 4", "Group 5"):
        case.ledger(group).unlink()
    data = chained(events, case.server)[0]
    for place in (at(events, type) for type in SERVER_TYPES):
        for name in events[place]["body"]:
            for value in UNREADABLE:
                other = json.loads(json.dumps(events))
                other[place]["body"][name] = value
                if value is None:
                    del other[place]["body"][name]
                case.server_ledger.write_bytes(chained(other, case.server)[0])
                assert case.server_ledger.read_bytes() != data
                failing(case.checks())
