"""The checks of a review that need the server ledger: alone, and against the groups' ledgers."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.verify_pairs import paired_runs, wrong_pairs
from privacy.audit.verify_runs import check_members, check_models
from privacy.errors import BadSignature, PrivacyError
from privacy.exchange.messages import PeerAdvert
from privacy.identity.keys import Roster
from privacy.ledger.chain import Event, Head, check_countersigned, require_head
from privacy.ledger.filter import Attempt as AttemptKey
from privacy.ledger.payloads import stated_plan
from privacy.ledger.server_ledger import advert_head, read_advert
from privacy.ledger.state import attempt_of
from privacy.secagg.agreement import Agreement
from privacy.secagg.messages import Advert, ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms

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
        yield failed("book", "server", finding)
    else:
        finding = f"{len(server.events)} events form one unbroken chain under one key."
        yield passed("book", "server", finding)
    checks = (_check_plans, _check_rounds, check_models, check_members, _check_heads, _check_both)
    for check in checks:
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


def _check_plans(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Server and groups name one plan for every run."""
    begun = [event.body for event in server.events if event.type == "RUN"]
    runs = {body["run"]: body for body in begun}
    if len(runs) != len(begun):
        yield failed("plans", "server", "the server ledger begins a run twice.")
        return
    announced = [(each.name, each.state.plans) for each in evidence.ledgers if each.state]
    for run, body in runs.items():
        if stated_plan(body["plan"]).digest() != body["digest"]:
            yield failed("plans", "server", f"run {run[:12]}: the plan has another digest.")
            return
        for name, plans in announced:
            if run in plans and plans[run].digest != body["digest"]:
                yield failed("plans", name, f"run {run[:12]}: server and group differ.")
                return
    lacking = {run for _, plans in announced for run in plans} - runs.keys()
    if lacking:
        yield failed("plans", "server", f"the server ledger lacks run {min(lacking)[:12]}.")
        return
    yield passed("plans", "server", f"{len(runs)} run(s); server and groups name the same plans.")


def _check_rounds(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every sum is over enough groups, under the terms that they agreed to."""
    plans = {
        event.body["run"]: stated_plan(event.body["plan"])
        for event in server.events
        if event.type == "RUN"
    }
    adverts, paired = _adverts(server), paired_runs(server)
    secure = {e.body["run"] for e in server.events if e.type == "RUN" and e.body["secure"]}
    secure |= {run for run, _, _ in adverts} - paired
    rounds = [event.body for event in server.events if event.type == "ROUND"]
    ended: set[AttemptKey] = set()
    for body in rounds:
        run, key = body["run"], attempt_of(body)
        shown = adverts.get(key, {})
        wrong = "one attempt gave two sums" if key in ended else ""
        wrong = wrong or _wrong_survivors(body, plans[run], secure=run in secure)
        if not wrong and run in paired:
            wrong = wrong_pairs(body, plans[run], shown)
        if not wrong and "terms" in body:
            wrong = _wrong_terms(body, plans[run], shown)
        if wrong:
            yield failed("survivors", "server", f"round {body['round']}: {wrong}.")
            return
        ended.add(key)
    least = min((len(body["survivors"]) for body in rounds), default=None)
    lost = sum(event.type == "LOST" for event in server.events)
    met = sum(body["run"] in paired for body in rounds)
    if met and met == len(rounds):
        finding = f"in {met} rounds groups met in pairs, at least {least} of them, and nothing was "
        yield passed("survivors", "server", f"{finding}summed; {lost} gave nothing.")
        return
    smallest = f", the smallest over {least} groups" if least is not None else ""
    yield passed(
        "survivors",
        "server",
        f"{len(rounds) - met} rounds gave a sum{smallest}, never fewer than agreed; {lost} gave "
        "nothing.",
    )


def _wrong_survivors(body: Mapping[str, Any], plan: PrivacyPlan, *, secure: bool) -> str:
    """The first thing wrong with the survivors of a round; empty if nothing is."""
    survivors = body["survivors"]
    if len(set(survivors)) != len(survivors) or set(survivors) != set(body["vectors"]):
        return "survivors and vectors differ"
    if secure and "terms" not in body:
        return "the server ledger lacks the terms of the round"
    if plan.mode is Mode.DISTRIBUTED and len(survivors) - plan.colluding < plan.honest_shares:
        return (
            f"{len(survivors)} survivors less {plan.colluding} colluding leave fewer than the "
            f"{plan.honest_shares} shares of noise that epsilon counts on"
        )
    return ""


def _wrong_terms(body: Mapping[str, Any], plan: PrivacyPlan, adverts: Mapping[str, bytes]) -> str:
    """The first thing wrong with the terms of a round; empty if nothing is."""
    try:
        terms = RoundTerms.decode(body["terms"].encode("ascii"))
        terms.check()
    except PrivacyError as error:
        return str(error)
    if terms.attempt != Attempt.named_in(body):
        return "the terms are of another attempt"
    if terms.vector.plan != plan.digest():
        return "the terms are of another privacy plan"
    if plan.mode is Mode.DISTRIBUTED and not _counts_on(terms.vector, plan):
        return "the terms count on other noise than the plan"
    if terms.model != body["model"]:
        return "the terms name another model than the server ledger"
    if not set(body["survivors"]) <= set(body["sharers"]) <= set(terms.members):
        return "survivors had not shared"
    if len(body["survivors"]) < terms.survivors:
        return f"{len(body['survivors'])} survivors, {terms.survivors} agreed on"
    if not set(terms.members) <= set(adverts):
        return "the server ledger lacks advertisements of the round"
    request = ShareRequest(terms.encode(), tuple(adverts[name] for name in terms.members))
    if Agreement.read(request).context.hex() != body["ctx"]:
        return "terms and advertisements are not those that the groups agreed to"
    return ""


def _counts_on(vector: VectorTerms, plan: PrivacyPlan) -> bool:
    """Whether terms describe the noise of a plan.

    Sums hold in the bits that the plan needs, and in whole words, which runs sent before packing.
    """
    own = VectorTerms.of_plan(plan)
    return vector in (own, replace(own, modulus_bits=plan.modulus_bits))


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
        f"{sum(seen.values())} times {len(seen)} groups showed the server, and each other, the "
        "heads of these very ledgers, under their own signatures.",
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
    ledgers = {each.name: _Paid(each) for each in _longest_last(evidence)}
    missing = 0
    taken: list[tuple[str, str]] = []
    for event in server.events:
        body = event.body
        vectors = body.get("vectors", {}) if event.type in ("ROUND", "LOST") else {}
        for name, digest in vectors.items():
            if name not in ledgers:
                missing += 1
                continue
            ctx = body["contexts"][name] if "contexts" in body else body["ctx"]
            if wrong := ledgers[name].differs(attempt_of(body), ctx, digest):
                yield failed("both", name, f"round {body['round']}: {wrong}.")
                return
            taken.append((name, digest))
    yield passed(
        "both",
        _ALL,
        f"{len(taken)} vectors that the server took were paid for by their groups, round by round, "
        "under the same terms, and are those that the groups released.",
    )
    if missing:
        finding = f"{missing} vectors were of groups whose ledgers were not handed in."
        yield left_open("both", _ALL, finding)
    runs = {event.body["run"] for event in server.events if event.type == "RUN"}
    known = set(taken)
    denied = sum(
        (name, digest) not in known
        for name, paid in ledgers.items()
        for run, digest in paid.released
        if run in runs
    )
    if denied:
        finding = f"{denied} released vectors do not stand in the server ledger: lost on the way, "
        yield left_open("denied", _ALL, f"{finding}or left out. They are charged all the same.")


class _Paid:
    """The spends and releases of a group, by attempt."""

    def __init__(self, ledger: LedgerEvidence) -> None:
        self._spends = {attempt_of(e.body): e for e in ledger.events if e.type == "SPEND"}
        runs = {spend.hash: key[0] for key, spend in self._spends.items()}
        events = [event for event in ledger.events if event.type == "RELEASED"]
        self._vectors = {event.body["spend"]: event.body["vector"] for event in events}
        self.released = [(runs.get(e.body["spend"], ""), e.body["vector"]) for e in events]

    def differs(self, key: AttemptKey, ctx: str, digest: str) -> str:
        """The first thing wrong with the group's side of a vector; empty if nothing is."""
        spend = self._spends.get(key)
        if spend is None:
            return "the server took a vector that the group has not paid for"
        if spend.body["ctx"] != ctx:
            return "server and group name different terms"
        if self._vectors.get(spend.hash) != digest:
            return "the server took another vector than the group released"
        return ""


def _adverts(server: LedgerEvidence) -> dict[AttemptKey, dict[str, bytes]]:
    """The advertisements of every attempt, by group."""
    return {
        attempt_of(event.body): {
            name: base64.b64decode(text) for name, text in event.body["adverts"].items()
        }
        for event in server.events
        if event.type == "HEADS"
    }


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
