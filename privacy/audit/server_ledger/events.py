"""The events that a server ledger may hold: their fields, and their place.

What fits nothing here has no meaning that a review could check, and a reader might find one in it.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.identity.keys import KEY_BYTES
from privacy.ledger.chain import Event
from privacy.ledger.payloads import (
    DIGEST_BYTES,
    Form,
    Rule,
    at_least,
    hexadecimal,
    number,
    stated_plan,
    text,
    wrong_fields,
)


def _each(rule: Rule) -> Rule:
    """A list in which nothing stands twice."""

    def holds(value: Any) -> bool:
        if not isinstance(value, list) or not all(map(rule, value)):
            return False
        return len({str(each) for each in value}) == len(value)

    return holds


def _by_name(rule: Rule) -> Rule:
    return lambda value: isinstance(value, dict) and all(map(rule, value.values()))


def _base64(value: Any) -> bool:
    return text(value) and bool(base64.b64decode(value, validate=True))


def _seats(value: Any) -> bool:
    """Names of groups by seat; empty where one is free."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _files(value: Any) -> bool:
    """Digests of files inside the folder of a run."""
    return _by_name(_digest)(value) and all(map(is_inside, value))


def is_inside(name: str) -> bool:
    """Whether a name is a plain path below a folder."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and str(path) == name
        and not path.is_absolute()
        and (not {"..", ""} & set(path.parts) and "\\" not in name)
    )


_digest, _key = hexadecimal(DIGEST_BYTES), hexadecimal(KEY_BYTES)
_names = _each(text)
_ATTEMPT: Form = {"run": text, "round": at_least(1), "attempt": at_least(1)}
_TRAINED: Form = {**_ATTEMPT, "model": _digest, "vectors": _by_name(_digest)}
_SUMMED: Form = {**_TRAINED, "ctx": _digest, "terms": text, "sharers": _names}
_PLAIN: Form = {**_TRAINED, "ctx": _digest, "survivors": _names}
_MET: Form = {
    **_TRAINED,
    "task": _digest,
    "pairs": _each(_names),
    "contexts": _by_name(_digest),
    "survivors": _names,
}


def _shown(value: Any) -> bool:
    parts = isinstance(value, dict) and set(value) == {"by", "to"}
    return parts and text(value["by"]) and _by_name(_digest)(value["to"])


_AFTER: Form = {"after": _digest}
_REASON: Form = {"reason": text}
_RUN: Form = {
    "run": text,
    "plan": lambda value: isinstance(value, dict),
    "digest": _digest,
    "model": _digest,
    "groups": _seats,
    "keys": _by_name(lambda key: key == "" or _key(key)),
    "secure": lambda value: type(value) is bool,
    "epsilons": _by_name(number),
}
_FORMS: Mapping[str, tuple[Form, ...]] = {
    "RUN": (_RUN, {**_RUN, "pairs": lambda value: value is True}),
    "JOINED": (
        {"run": text, "round": at_least(0), "group": text, "key": _key, "seat": at_least(0)},
    ),
    "HEADS": ({**_ATTEMPT, "adverts": _by_name(_base64), "refused": _by_name(text)},),
    "ROUND": (
        {**_SUMMED, "survivors": _names, **_AFTER},
        {**_PLAIN, **_AFTER},
        {**_MET, **_AFTER},
        {**_MET, "shown": _shown, **_AFTER},
    ),
    "LOST": (
        # A restart loses rounds of which it does not know whether they were begun.
        {"run": text, "round": at_least(1), **_REASON},
        *({**fields, **_REASON} for fields in (_ATTEMPT, _SUMMED, _PLAIN, _MET)),
    ),
    "RESUMED": ({"run": text, "round": at_least(0), "model": _digest},),
    "PUBLISHED": ({"run": text, "model": _digest, "files": _files},),
}


def check_events(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every event is one that a server writes, in its place, and says nothing more."""
    runs: dict[str, _RunOrder] = {}
    for event in server.events:
        wrong = _wrong_form(event)
        if not wrong and event.type == "RUN":
            if event.body["run"] in runs:
                wrong = "begins a run a second time"
            plan = stated_plan(event.body["plan"])
            # What is trained on counts costs nothing, so no plan bounds how long.
            rounds = plan.rounds if plan.counts is None else math.inf
            runs[event.body["run"]] = _RunOrder(rounds=rounds)
        elif not wrong and event.body["run"] not in runs:
            wrong = "is about a run that has not begun"
        elif not wrong:
            wrong = runs[event.body["run"]].follows(event.type, event.body)
        if wrong:
            yield failed("events", "server", f"event {event.seq} ({event.type}) {wrong}.")
            return
    yield passed(
        "events",
        "server",
        f"{len(server.events)} events are of the kinds that a server writes, with the fields and "
        "in the order of those kinds, and say nothing besides.",
    )


def _wrong_form(event: Event) -> str:
    """The first thing wrong with the fields of an event; empty if nothing is."""
    if event.dataset:
        return "names data, which no server knows"
    return wrong_fields(event.body, _FORMS[event.type])


@dataclass(kw_only=True)
class _RunOrder:
    """What the events of one run have said so far.

    Attributes:
        rounds: that its plan has; infinite where it has none.
        ended: attempts at rounds that have ended.
        published: whether the run is over.
    """

    rounds: float
    ended: set[tuple[int, int]] = field(default_factory=set)
    published: bool = False

    def follows(self, type: str, body: Mapping[str, Any]) -> str:
        """The first thing wrong with the place of the next event; empty if nothing is."""
        if type == "RESUMED":
            self.published = False
            return ""
        if self.published:
            return "follows the end of its run"
        if type == "PUBLISHED":
            self.published = True
        if type in ("HEADS", "ROUND", "LOST"):
            return self._round(type, body)
        return ""

    def _round(self, type: str, body: Mapping[str, Any]) -> str:
        # After the last round all show their ledgers once more.
        last = self.rounds + (type == "HEADS")
        if body["round"] > last:
            return f"is about round {body['round']} of a run of {self.rounds}"
        key = (body["round"], body.get("attempt", 0))
        if key in self.ended:
            return "is about an attempt that has ended"
        if type == "HEADS":
            unknown = sorted(body["refused"].keys() - body["adverts"].keys())
            return f"keeps out {unknown[0]}, who has shown nothing" if unknown else ""
        self.ended.add(key)
        return ""
