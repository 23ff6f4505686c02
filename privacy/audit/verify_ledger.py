"""The checks of a review that need the server's book: alone, and against the groups' ledgers."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import Mode
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, GroupLedgerEvidence, ServerLedgerEvidence
from privacy.audit.verify_pairs import paired_runs, pairs_hold
from privacy.audit.verify_runs import check_members, check_models
from privacy.errors import BadSignature, PrivacyError
from privacy.exchange.messages import PeerAdvert
from privacy.identity.keys import Roster
from privacy.ledger.chain import Event, Head, check_countersigned, require_head
from privacy.ledger.payloads import stated_plan
from privacy.ledger.server_ledger import advert_head, read_advert
from privacy.secagg.agreement import Agreement, check_advert
from privacy.secagg.messages import Advert, ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms

_ALL = "all"
_Key = tuple[str, int, int]
"""Run, round and attempt."""


def check_book(evidence: Evidence) -> Iterator[Check]:
    """Check the server's book by itself, and against the ledgers of the groups."""
    server_ledger = evidence.server_ledger
    if server_ledger is None:
        yield left_open(
            "book",
            "server",
            "the server's book was not handed in: that a group has shown all of its ledger, and "
            "how many took part in each round, could not be checked.",
        )
        return
    if server_ledger.error is not None:
        yield failed(
            "book",
            "server",
            f"the server ledger is not what its owner wrote: {server_ledger.error}.",
        )
        return
    if evidence.servers and not server_ledger.pinned:
        yield failed("book", "server", "the book is signed by a key that the roster does not name.")
    else:
        yield passed(
            "book",
            "server",
            f"{len(server_ledger.events)} events form one unbroken chain under one key.",
        )
    for check in (
        _server_ledger_plans,
        _rounds,
        check_models,
        check_members,
        _server_ledger_heads,
        _both_sides,
    ):
        yield from _guarded(check, server_ledger, evidence)


def _guarded(
    check: Callable[[ServerLedgerEvidence, Evidence], Iterator[Check]],
    server_ledger: ServerLedgerEvidence,
    evidence: Evidence,
) -> Iterator[Check]:
    """Words that cannot be read are a finding: whoever signed them wrote them so."""
    try:
        yield from list(check(server_ledger, evidence))
    except (PrivacyError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        kind = check.__name__.strip("_").removeprefix("check_").replace("_", " ")
        yield failed("book", "server", f"{kind}: an event of the book cannot be read ({error}).")


def _server_ledger_plans(
    server_ledger: ServerLedgerEvidence, evidence: Evidence
) -> Iterator[Check]:
    begun = [event for event in server_ledger.events if event.type == "RUN"]
    plans = {event.body["run"]: event for event in begun}
    if len(plans) != len(begun):
        yield failed("plans", "server", "the book begins a run twice.")
        return
    for run, event in plans.items():
        plan = stated_plan(event.body["plan"])
        if plan.digest() != event.body["digest"]:
            yield failed("plans", "server", f"run {run[:12]}: the plan has another digest.")
            return
        for ledger in evidence.ledgers:
            announced = ledger.state.plans.get(run) if ledger.state else None
            if announced is not None and announced.digest != event.body["digest"]:
                yield failed("plans", ledger.name, f"run {run[:12]}: server and group differ.")
                return
    told = {run for each in evidence.ledgers if each.state for run in each.state.plans}
    if told - plans.keys():
        yield failed("plans", "server", f"the book lacks run {min(told - plans.keys())[:12]}.")
        return
    yield passed("plans", "server", f"{len(plans)} run(s); server and groups name the same plans.")


def _rounds(server_ledger: ServerLedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    plans, adverts = _plans(server_ledger), _adverts(server_ledger)
    paired = paired_runs(server_ledger)
    secure = {e.body["run"] for e in server_ledger.events if e.type == "RUN" and e.body["secure"]}
    secure |= {run for run, _, _ in adverts} - paired
    summed: set[_Key] = set()
    least: int | None = None
    for event in server_ledger.events:
        if event.type != "ROUND":
            continue
        body, plan = event.body, plans[event.body["run"]]
        survivors = body["survivors"]
        where = f"round {body['round']}"
        if len(set(survivors)) != len(survivors) or set(survivors) != set(body["vectors"]):
            yield failed("survivors", "server", f"{where}: survivors and vectors differ.")
            return
        if _key_of(body) in summed:
            yield failed("survivors", "server", f"{where}: one attempt gave two sums.")
            return
        summed.add(_key_of(body))
        if body["run"] in paired:
            words = pairs_hold(body, plan, adverts.get(_key_of(body), {}))
            if words:
                yield failed("survivors", "server", f"{where}: {words}.")
                return
        if body["run"] in secure and "terms" not in body:
            yield failed("survivors", "server", f"{where}: the book lacks the terms of the round.")
            return
        if "terms" in body:
            words = _terms_hold(body, plan, adverts)
            if words:
                yield failed("survivors", "server", f"{where}: {words}.")
                return
        if plan.mode is Mode.DISTRIBUTED and len(survivors) - plan.colluding < plan.honest_shares:
            yield failed(
                "survivors",
                "server",
                f"{where}: {len(survivors)} survivors less {plan.colluding} colluding leave fewer "
                f"than the {plan.honest_shares} shares of noise that epsilon counts on.",
            )
            return
        least = len(survivors) if least is None else min(least, len(survivors))
    lost = sum(event.type == "LOST" for event in server_ledger.events)
    met = sum(
        event.type == "ROUND" and event.body["run"] in paired for event in server_ledger.events
    )
    count = sum(event.type == "ROUND" for event in server_ledger.events) - met
    if met and not count:
        words = f"in {met} rounds groups met in pairs, at least {least} of them, and nothing was "
        yield passed("survivors", "server", f"{words}summed; {lost} gave nothing.")
        return
    smallest = f", the smallest over {least} groups" if least is not None else ""
    yield passed(
        "survivors",
        "server",
        f"{count} rounds gave a sum{smallest}, never fewer than agreed; {lost} gave nothing.",
    )


def _terms_hold(
    body: Mapping[str, Any], plan: PrivacyPlan, adverts: Mapping[_Key, Mapping[str, bytes]]
) -> str:
    """What is wrong with the terms of a round; empty if nothing is."""
    try:
        terms = RoundTerms.decode(body["terms"].encode("ascii"))
        terms.check()
    except PrivacyError as error:
        return str(error)
    told = terms.attempt
    if (told.run, told.round, told.attempt) != (body["run"], body["round"], body["attempt"]):
        return "the terms are of another attempt"
    if terms.vector.plan != plan.digest():
        return "the terms are of another privacy plan"
    if plan.mode is Mode.DISTRIBUTED and not _counts_on(terms.vector, plan):
        return "the terms count on other noise than the plan"
    if terms.model != body["model"]:
        return "the groups were told another model than the book says"
    if not set(body["survivors"]) <= set(body["sharers"]) <= set(terms.members):
        return "survivors had not shared"
    if len(body["survivors"]) < terms.survivors:
        return f"{len(body['survivors'])} survivors, {terms.survivors} agreed on"
    shown = adverts.get(_key_of(body), {})
    if not set(terms.members) <= set(shown):
        return "the book lacks advertisements of the round"
    request = ShareRequest(terms.encode(), tuple(shown[name] for name in terms.members))
    if Agreement.read(request).context.hex() != body["ctx"]:
        return "terms and advertisements are not those that the groups agreed to"
    return ""


def _counts_on(vector: VectorTerms, plan: PrivacyPlan) -> bool:
    """Whether terms describe the noise of a plan.

    Sums hold in the bits that the plan needs, and in whole words, which runs sent before packing.
    """
    own = VectorTerms.of_plan(plan)
    return vector in (own, replace(own, modulus_bits=plan.modulus_bits))


def _server_ledger_heads(
    server_ledger: ServerLedgerEvidence, evidence: Evidence
) -> Iterator[Check]:
    """Heads in advertisements: signed by the groups, and found in their ledgers."""
    ledgers = {each.owner: each for each in _longest_last(evidence)}
    heads: set[tuple[bytes, Head]] = set()
    seen: Counter[str] = Counter()
    for event, name, owner, advert in _shown(server_ledger):
        told = event.body
        attempt = Attempt(run=told["run"], round=told["round"], attempt=told["attempt"])
        pinned = evidence.members.get(name)
        if pinned is not None and pinned != owner:
            yield failed("witness", name, "the server took another key for this group's.")
            return
        try:
            if isinstance(advert, PeerAdvert):
                advert.check(Roster({name: owner}), attempt)
            else:
                check_advert(advert, Roster({name: owner}), attempt.context())
        except PrivacyError as error:
            words = f"round {told['round']}: what the book shows of {name} is not its own: {error}."
            yield failed("witness", "server", words)
            return
        heads.add((owner, advert_head(advert)))
        ledger = ledgers.get(owner)
        if ledger is None or name in told["refused"]:
            continue
        try:
            require_head(ledger.events, advert_head(advert))
        except PrivacyError as error:
            yield failed(
                "witness",
                name,
                f"in round {told['round']} the group showed a ledger that is not this one: {error}",
            )
            return
        seen[name] += 1
    for ledger in evidence.ledgers:
        lost = next((e for e in _countersigned(ledger, server_ledger) if e not in heads), None)
        if lost is not None:
            words = f"event {lost[1].seq} of {ledger.name} has its signature"
            yield failed("witness", "server", f"{words}, but its book does not show that head.")
            return
    for event in server_ledger.events:
        for name, words in event.body.get("refused", {}).items() if event.type == "HEADS" else ():
            yield failed("witness", name, f"round {event.body['round']}: kept out, {words}.")
    if not seen:
        yield left_open("witness", _ALL, "no heads of ledgers were shown to the server.")
        return
    yield passed(
        "witness",
        _ALL,
        f"{sum(seen.values())} times {len(seen)} groups showed the server, and each other, the "
        "heads of these very ledgers, under their own signatures.",
    )


def _longest_last(evidence: Evidence) -> list[GroupLedgerEvidence]:
    """An older copy of a ledger comes before the ledger; two that differ are a finding anyway."""
    return sorted(evidence.ledgers, key=lambda each: len(each.events))


def _countersigned(
    ledger: GroupLedgerEvidence, server_ledger: ServerLedgerEvidence
) -> Iterator[tuple[bytes, Head]]:
    """The heads of a ledger that the owner of the book has signed."""
    for event in ledger.events if ledger.state else ():
        if event.type == "HEAD":
            with suppress(BadSignature):
                check_countersigned(Roster({event.body["server"]: server_ledger.owner}), event)
                yield ledger.owner, Head(seq=event.body["seq"], hash=event.body["hash"])


def _both_sides(server_ledger: ServerLedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every vector that the server took was paid for at its group, and is the one released."""
    ledgers = {each.name: _Paid(each) for each in _longest_last(evidence)}
    compared = missing = 0
    taken: set[tuple[str, str]] = set()
    for event in server_ledger.events:
        body = event.body
        vectors = body.get("vectors", {}) if event.type in ("ROUND", "LOST") else {}
        for name, digest in vectors.items():
            if name not in ledgers:
                missing += 1
                continue
            ctx = body["contexts"][name] if "contexts" in body else body["ctx"]
            words = ledgers[name].differs(_key_of(body), ctx, digest)
            if words:
                yield failed("both", name, f"round {body['round']}: {words}.")
                return
            taken.add((name, digest))
            compared += 1
    yield passed(
        "both",
        _ALL,
        f"{compared} vectors that the server took were paid for by their groups, round by round, "
        f"under the same terms, and are those that the groups released.",
    )
    if missing:
        words = f"{missing} vectors were of groups whose ledgers were not handed in."
        yield left_open("both", _ALL, words)
    runs = {event.body["run"] for event in server_ledger.events if event.type == "RUN"}
    denied = sum(
        (name, digest) not in taken
        for name, paid in ledgers.items()
        for run, digest in paid.released
        if run in runs
    )
    if denied:
        yield left_open(
            "denied",
            _ALL,
            f"{denied} released vectors do not stand in the server's book: lost on the way, or "
            "left out. They are charged all the same.",
        )


class _Paid:
    """What a group has paid for and released, by attempt."""

    def __init__(self, ledger: GroupLedgerEvidence) -> None:
        self._spends = {_key_of(e.body): e for e in ledger.events if e.type == "SPEND"}
        runs = {spend.hash: key[0] for key, spend in self._spends.items()}
        events = [event for event in ledger.events if event.type == "RELEASED"]
        self._vectors = {event.body["spend"]: event.body["vector"] for event in events}
        self.released = [(runs.get(e.body["spend"], ""), e.body["vector"]) for e in events]

    def differs(self, key: _Key, ctx: str, digest: str) -> str:
        """What is wrong with the group's side of a vector; empty if nothing is."""
        spend = self._spends.get(key)
        if spend is None:
            return "the server took a vector that the group has not paid for"
        if spend.body["ctx"] != ctx:
            return "server and group name different terms"
        if self._vectors.get(spend.hash) != digest:
            return "the server took another vector than the group released"
        return ""


def _plans(server_ledger: ServerLedgerEvidence) -> dict[str, PrivacyPlan]:
    runs = (event for event in server_ledger.events if event.type == "RUN")
    return {event.body["run"]: stated_plan(event.body["plan"]) for event in runs}


def _adverts(server_ledger: ServerLedgerEvidence) -> dict[_Key, dict[str, bytes]]:
    """The advertisements of every attempt, by group."""
    return {
        _key_of(event.body): {
            name: base64.b64decode(text) for name, text in event.body["adverts"].items()
        }
        for event in server_ledger.events
        if event.type == "HEADS"
    }


def _shown(
    server_ledger: ServerLedgerEvidence,
) -> Iterator[tuple[Event, str, bytes, Advert | PeerAdvert]]:
    """Every advertisement in the book: its event, its group, the key taken for the group's."""
    keys: dict[str, dict[str, str]] = {}
    for event in server_ledger.events:
        body = event.body
        if event.type == "RUN":
            keys[body["run"]] = dict(body["keys"])
        elif event.type == "JOINED":
            keys[body["run"]][body["group"]] = body["key"]
        elif event.type == "HEADS":
            for name, text in body["adverts"].items():
                advert = read_advert(base64.b64decode(text))
                yield event, name, bytes.fromhex(keys[body["run"]][name]), advert


def _key_of(body: Mapping[str, Any]) -> _Key:
    return str(body["run"]), int(body["round"]), int(body["attempt"])
