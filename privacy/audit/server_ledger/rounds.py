"""The checks of the rounds in a server ledger: who is in each sum, and under which terms."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.server_ledger.pairs import paired_runs, wrong_pairs
from privacy.audit.server_ledger.plans import begun, plans_of
from privacy.errors import PrivacyError
from privacy.ledger.filter import Attempt as AttemptKey
from privacy.ledger.payloads import attempt_of
from privacy.secagg.agreement import Agreement
from privacy.secagg.messages import ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms


def check_rounds(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every sum is over enough groups, under the terms that they agreed to."""
    plans, adverts, paired = plans_of(server), _adverts(server), paired_runs(server)
    secure = {run for run, body in begun(server).items() if body["secure"]} - paired
    secure |= {run for run, _, _ in adverts} - paired
    ended: set[AttemptKey] = set()
    for event in server.events:
        body = event.body
        if event.type not in ("ROUND", "LOST") or "attempt" not in body:
            continue
        run, key = body["run"], attempt_of(body)
        shown = adverts.get(key, {})
        wrong = "one attempt gave two sums" if key in ended else ""
        if event.type == "ROUND":
            wrong = wrong or _wrong_survivors(body, plans[run], secure=run in secure)
            ended.add(key)
        if not wrong and ("pairs" in body or (run in paired and event.type == "ROUND")):
            wrong = wrong_pairs(body, plans[run], shown)
        if not wrong and "terms" in body:
            wrong = _wrong_terms(body, plans[run], shown)
        if wrong:
            yield failed("survivors", "server", f"round {body['round']}: {wrong}.")
            return
    yield passed("survivors", "server", f"{_found(server, paired)}.")


def _found(server: LedgerEvidence, paired: set[str]) -> str:
    """How rounds ended, and what they were checked against."""
    rounds = [event.body for event in server.events if event.type == "ROUND"]
    lost = sum(event.type == "LOST" for event in server.events)
    met = [body for body in rounds if body["run"] in paired]
    agreed = [body for body in rounds if "terms" in body]
    plain = [body for body in rounds if "terms" not in body and body["run"] not in paired]
    kinds = (
        (
            "{} round(s) gave a sum under the terms of a secure sum, the smallest over {} groups, "
            "never fewer than those terms ask for",
            agreed,
        ),
        (
            "{} round(s) gave a sum of vectors that the server saw one by one, the smallest over "
            "{} groups",
            plain,
        ),
        ("in {} round(s) groups met in pairs, at least {} of them, and nothing was summed", met),
    )
    parts = [
        kind.format(len(bodies), min(len(body["survivors"]) for body in bodies))
        for kind, bodies in kinds
        if bodies
    ]
    return "; ".join([*parts, f"{lost} gave nothing"])


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
    """The first thing wrong with the terms of a round, lost or not; empty if nothing is."""
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
    if not set(body["vectors"]) <= set(body["sharers"]) <= set(terms.members):
        return "survivors had not shared"
    if "survivors" in body and len(body["survivors"]) < terms.survivors:
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


def _adverts(server: LedgerEvidence) -> dict[AttemptKey, dict[str, bytes]]:
    """The advertisements of every attempt, by group."""
    return {
        attempt_of(event.body): {
            name: base64.b64decode(text) for name, text in event.body["adverts"].items()
        }
        for event in server.events
        if event.type == "HEADS"
    }
