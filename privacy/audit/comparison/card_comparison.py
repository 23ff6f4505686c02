"""The comparison of a privacy card with the one that the same evidence makes.

A card may have been made from more than a reviewer has. What is then not at hand is taken as the
card states it, field by field, and everything that follows from it is computed again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from privacy.audit.card import assembled, build_card
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.comparison.canary_claims import wrong_audit
from privacy.audit.comparison.card_parts import Missing, filled
from privacy.audit.evidence import CARD_FILE, Evidence
from privacy.audit.likeness import alike
from privacy.errors import PrivacyError
from privacy.identity.keys import Roster

_UNREADABLE = (PrivacyError, KeyError, ValueError, TypeError, AttributeError, IndexError)


def compare_card(
    card: Mapping[str, Any], evidence: Evidence, checks: Sequence[Check], given: Evidence
) -> Check:
    """Compare a privacy card, whole, with the one that the evidence makes.

    What only people can state is taken from the card itself: `about`, and the canary audit, whose
    figures must follow from each other, and which no review of files repeats.

    Args:
        card: as it was handed in.
        evidence: with the roster that the card was made with.
        checks: what a review of it finds, without this comparison.
        given: the evidence with the roster that the reviewer has.
    """
    if reason := evidence.faults.get(CARD_FILE):
        finding = f"the privacy card states what can be read in two ways: {reason}."
        return failed("card", "server", finding)
    try:
        missing = Missing.of(card, evidence, given)
        wrong = missing.unknown or _wrong(card, evidence, checks, missing)
        for hidden in _some_of(missing.hidden):
            if wrong and not missing.unknown:
                missing = missing.without(hidden)
                wrong = _wrong(card, evidence, checks, missing)
    except _UNREADABLE as error:
        return failed("card", "server", f"the privacy card has not the form of one ({error}).")
    if wrong:
        return failed("card", "server", f"the privacy card {wrong}.")
    if names := missing.names:
        finding = f"the privacy card was made from more than was handed in: {', '.join(names)}"
        return left_open("card", "server", f"{finding}; what does not need it was compared.")
    return passed(
        "card",
        "server",
        "the privacy card is the one that these files make, field by field; what people state in "
        "it was taken as it stands, and so were the guesses of its canary audit if it has one.",
    )


def _some_of(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """All choices of at least one of a few names, smaller ones first."""
    for size in range(1, len(names) + 1):
        yield from combinations(names, size)


def named_by(card: Mapping[str, Any], evidence: Evidence) -> Evidence:
    """The evidence with the names that a card gives to keys, where there is no roster to ask."""
    stated = card.get("roster")
    if evidence.members or not isinstance(stated, dict) or not stated.get("pins"):
        return evidence
    names = _names(card.get("groups"))
    servers = _names([card.get("server")])
    ledgers = [
        replace(each, name=names.get(each.owner, each.name), pinned=each.owner in names)
        for each in evidence.ledgers
    ]
    server = evidence.server_ledger
    if server is not None and server.owner in servers:
        server = replace(server, name=servers[server.owner], pinned=True)
    return replace(
        evidence,
        ledgers=tuple(sorted(ledgers, key=lambda each: (each.name, each.file))),
        server_ledger=server,
        members=Roster({name: key for key, name in names.items()}),
        servers=Roster({name: key for key, name in servers.items()}),
        roster_given=stated.get("given_by_reviewer") is True,
    )


def _names(entries: object) -> dict[bytes, str]:
    """The names of pinned keys in the entries of a card."""
    found: dict[bytes, str] = {}
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, dict) and each.get("key_pinned") is True:
            name, key = each.get("name"), each.get("key")
            if isinstance(name, str) and isinstance(key, str):
                found[bytes.fromhex(key)] = name
    return found


def _wrong(
    card: Mapping[str, Any], evidence: Evidence, checks: Sequence[Check], missing: Missing
) -> str:
    """The first thing wrong with a card; empty if nothing is."""
    about, canaries = card.get("about"), card.get("empirical")
    stated = about if isinstance(about, dict) else {}
    made = build_card(
        evidence,
        checks,
        about={name: value for name, value in stated.items() if value is not None},
        canaries=canaries if isinstance(canaries, dict) else None,
    )
    expected = assembled(filled(made, card, evidence, missing)) if missing.names else made
    return _first_difference(expected, card) or wrong_audit(canaries, expected["runs"])


def _first_difference(expected: Any, stated: Any, where: str = "") -> str:
    """The first field of a card that is another than it should be, and how; empty if none is."""
    if isinstance(expected, dict) and isinstance(stated, dict):
        names = [*expected, *(name for name in stated if name not in expected)]
        pairs = [(name, expected.get(name, _ABSENT), stated.get(name, _ABSENT)) for name in names]
    elif isinstance(expected, list) and isinstance(stated, list):
        longest = max(len(expected), len(stated))
        both = ([*each, *[_ABSENT] * (longest - len(each))] for each in (expected, stated))
        pairs = [(str(place), *pair) for place, pair in enumerate(zip(*both, strict=True))]
    elif alike(expected, stated, where):
        return ""
    else:
        return f"states {_short(stated)} in {where}, and these files make {_short(expected)}"
    found = (_first_difference(a, b, f"{where}.{name}".lstrip(".")) for name, a, b in pairs)
    return next(filter(None, found), "")


_ABSENT = object()


def _short(value: object) -> str:
    if value is _ABSENT:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_LONGEST = 60
