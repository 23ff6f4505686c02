"""The checks of rounds in which groups meet in pairs, and nothing is summed."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.audit.evidence import LedgerEvidence
from privacy.errors import PrivacyError
from privacy.exchange.messages import MEET, ExchangeTerms, PeerAdvert
from privacy.secagg.round_terms import Attempt


def paired_runs(server: LedgerEvidence) -> set[str]:
    """Runs whose groups meet in pairs, by the server ledger."""
    return {e.body["run"] for e in server.events if e.type == "RUN" and e.body.get("pairs") is True}


def wrong_pairs(body: Mapping[str, Any], plan: PrivacyPlan, adverts: Mapping[str, bytes]) -> str:
    """The first thing wrong with a round of pairs; empty if nothing is.

    Args:
        body: of the ROUND, or of one that was lost.
        plan: of the run.
        adverts: those that the server ledger has of this round, by group.
    """
    if plan.mode is not Mode.LOCAL:
        return "groups met whose single vectors were not private"
    pairs = [tuple(pair) for pair in body["pairs"]]
    names = list(chain.from_iterable(pairs))
    if any(len(pair) not in (1, 2) for pair in pairs) or len(set(names)) != len(names):
        return "the server ledger has a group meet two others, or more than two meet at once"
    if not set(names) <= set(adverts):
        return "the server ledger lacks advertisements of the round"
    if set(body["contexts"]) != set(body["survivors"]) or not set(body["survivors"]) <= set(names):
        return "who trained had not been asked to, or met under no terms"
    if body.get("after", body["model"]) != body["model"]:
        return "a round without a sum left the server another model than it began from"
    attempt = Attempt.named_in(body)
    terms = ExchangeTerms(attempt=attempt, purpose=MEET, task=body["task"], model=body["model"])
    try:
        kinds = {PeerAdvert.decode(adverts[name]).purpose for name in names}
    except PrivacyError as error:
        return str(error)
    if kinds - {MEET}:
        return "the advertisements of the round are for something else"
    for pair in pairs:
        context = terms.context([adverts[name] for name in pair]).hex()
        if any(body["contexts"].get(name, context) != context for name in pair):
            return "terms and advertisements are not those that the groups agreed to"
    return ""
