"""The comparison of a privacy card with the one that the same evidence makes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from privacy.audit.card import build_card
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence
from privacy.audit.published import alike
from privacy.file_names import RESULT_FILE


def compare_card(card: Mapping[str, Any], evidence: Evidence, checks: Sequence[Check]) -> Check:
    """Compare a privacy card, whole, with the one that the evidence makes.

    What only people can state is taken from the card itself: `about`, and the canary audit, which
    no review of files repeats.

    Args:
        card: as it was handed in.
        evidence: with the roster that the card was made with.
        checks: what a review of it finds, without this comparison.
    """
    about, canaries = card.get("about"), card.get("empirical")
    stated = about if isinstance(about, dict) else {}
    try:
        expected = build_card(
            evidence,
            checks,
            about={name: value for name, value in stated.items() if value is not None},
            canaries=canaries if isinstance(canaries, dict) else None,
        )
    except ValueError as error:
        return failed("card", "server", f"the privacy card: {error}.")
    missing = _missing(card, evidence)
    if missing:
        expected, card = (_shared(each, evidence, missing) for each in (expected, card))
    if wrong := _first_difference(expected, card):
        return failed("card", "server", f"the privacy card {wrong}.")
    if missing:
        finding = f"the privacy card was made from more than was handed in: {', '.join(missing)}"
        return left_open("card", "server", f"{finding}; what does not need it was compared.")
    return passed(
        "card",
        "server",
        "the privacy card is the one that these files make, field by field; what people state in "
        "it, and its canary audit if it has one, was taken as it stands.",
    )


def _missing(card: Mapping[str, Any], evidence: Evidence) -> list[str]:
    """What a card says it was made from, and was not handed in."""
    groups, roster = card.get("groups"), card.get("roster")
    keys = {ledger.owner.hex() for ledger in evidence.ledgers}
    listed = [each for each in groups if isinstance(each, dict)] if isinstance(groups, list) else []
    missing = [
        f"the ledger of {each.get('name')}" for each in listed if each.get("key") not in keys
    ]
    if card.get("server") and evidence.server_ledger is None:
        missing.append(_SERVER)
    if isinstance(roster, dict) and roster.get("pins") and not evidence.members:
        missing.append(_ROSTER)
    if card.get("simulated") is True and evidence.result is None:
        missing.append(RESULT_FILE)
    return missing


# Fields of a run that need the ledgers of all its groups, or result.json.
_OF_ALL = ("charged", "code", "accountant_version")
_SERVER, _ROSTER = "the server ledger", "a roster"


def _shared(card: Mapping[str, Any], evidence: Evidence, missing: Sequence[str]) -> dict[str, Any]:
    """The parts of a card that need nothing of what is missing."""
    parts = {name: card.get(name) for name in ("card_version", "not_covered", "rests_on")}
    if _SERVER not in missing:
        runs = card.get("runs")
        for run in runs if isinstance(runs, list) else ():
            if isinstance(run, dict):
                own = {name: run[name] for name in run if name not in _OF_ALL}
                parts[f"runs.{run.get('run')}"] = own
    if _ROSTER not in missing:
        keys = {ledger.owner.hex() for ledger in evidence.ledgers}
        groups = card.get("groups")
        for group in groups if isinstance(groups, list) else ():
            if isinstance(group, dict) and group.get("key") in keys:
                parts[f"groups.{group.get('name')}.{group.get('file')}"] = group
    return parts


def _first_difference(expected: Any, stated: Any, where: str = "") -> str:
    """The first field of a card that is another than it should be, and how; empty if none is."""
    if isinstance(expected, dict) and isinstance(stated, dict):
        names = [*expected, *(name for name in stated if name not in expected)]
        pairs = [(name, expected.get(name, _ABSENT), stated.get(name, _ABSENT)) for name in names]
    elif isinstance(expected, list) and isinstance(stated, list):
        longest = max(len(expected), len(stated))
        both = ([*each, *[_ABSENT] * (longest - len(each))] for each in (expected, stated))
        pairs = [(str(place), *pair) for place, pair in enumerate(zip(*both, strict=True))]
    elif alike(expected, stated):
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
