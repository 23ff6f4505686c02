"""The events that a server ledger may hold: their fields, and their place.

What fits nothing here has no meaning that a review could check, and a reader might find one in it.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePosixPath
from typing import Any

from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.identity.keys import KEY_BYTES
from privacy.ledger.chain import Event
from privacy.ledger.payloads import DIGEST_BYTES, stated_plan

_Rule = Callable[[Any], bool]
_Fields = Mapping[str, _Rule]


def _hex(length: int) -> _Rule:
    def holds(value: Any) -> bool:
        return _text(value) and len(value) == 2 * length and bytes.fromhex(value).hex() == value

    return holds


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _from(least: int) -> _Rule:
    return lambda value: type(value) is int and value >= least


def _each(rule: _Rule) -> _Rule:
    """A list in which nothing stands twice."""

    def holds(value: Any) -> bool:
        if not isinstance(value, list) or not all(map(rule, value)):
            return False
        return len({str(each) for each in value}) == len(value)

    return holds


def _by_name(rule: _Rule) -> _Rule:
    return lambda value: isinstance(value, dict) and all(map(rule, value.values()))


def _base64(value: Any) -> bool:
    return _text(value) and bool(base64.b64decode(value, validate=True))


def _number(value: Any) -> bool:
    return _text(value) and isfinite(float(value))


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


_digest, _key = _hex(DIGEST_BYTES), _hex(KEY_BYTES)
_names = _each(_text)
_ATTEMPT: _Fields = {"run": _text, "round": _from(1), "attempt": _from(1)}
_TRAINED: _Fields = {**_ATTEMPT, "model": _digest, "vectors": _by_name(_digest)}
_SUMMED: _Fields = {**_TRAINED, "ctx": _digest, "terms": _text, "sharers": _names}
_PLAIN: _Fields = {**_TRAINED, "ctx": _digest, "survivors": _names}
_MET: _Fields = {
    **_TRAINED,
    "task": _digest,
    "pairs": _each(_names),
    "contexts": _by_name(_digest),
    "survivors": _names,
}


def _shown(value: Any) -> bool:
    parts = isinstance(value, dict) and set(value) == {"by", "to"}
    return parts and _text(value["by"]) and _by_name(_digest)(value["to"])


_AFTER: _Fields = {"after": _digest}
_REASON: _Fields = {"reason": _text}
_RUN: _Fields = {
    "run": _text,
    "plan": lambda value: isinstance(value, dict),
    "digest": _digest,
    "model": _digest,
    "groups": _seats,
    "keys": _by_name(lambda key: key == "" or _key(key)),
    "secure": lambda value: type(value) is bool,
    "epsilons": _by_name(_number),
}
_FORMS: Mapping[str, tuple[_Fields, ...]] = {
    "RUN": (_RUN, {**_RUN, "pairs": lambda value: value is True}),
    "JOINED": ({"run": _text, "round": _from(0), "group": _text, "key": _key, "seat": _from(0)},),
    "HEADS": ({**_ATTEMPT, "adverts": _by_name(_base64), "refused": _by_name(_text)},),
    "ROUND": (
        {**_SUMMED, "survivors": _names, **_AFTER},
        {**_PLAIN, **_AFTER},
        {**_MET, **_AFTER},
        {**_MET, "shown": _shown, **_AFTER},
    ),
    "LOST": (
        # A restart loses rounds of which it does not know whether they were begun.
        {"run": _text, "round": _from(1), **_REASON},
        *({**fields, **_REASON} for fields in (_ATTEMPT, _SUMMED, _PLAIN, _MET)),
    ),
    "RESUMED": ({"run": _text, "round": _from(0), "model": _digest},),
    "PUBLISHED": ({"run": _text, "model": _digest, "files": _files},),
}


def check_events(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every event is one that a server writes, in its place, and says nothing more."""
    runs: dict[str, _RunOrder] = {}
    for event in server.events:
        wrong = _wrong_form(event)
        if not wrong and event.type == "RUN":
            if event.body["run"] in runs:
                wrong = "begins a run a second time"
            rounds = stated_plan(event.body["plan"]).rounds
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
    forms = [form for form in _FORMS[event.type] if form.keys() == event.body.keys()]
    if not forms:
        return f"has other fields than such an event: {', '.join(sorted(event.body))}"
    for name, rule in forms[0].items():
        try:
            holds = rule(event.body[name])
        except (ValueError, TypeError, OverflowError):
            holds = False
        if not holds:
            return f"states in {name!r} what cannot be read there"
    return ""


@dataclass(kw_only=True)
class _RunOrder:
    """What the events of one run have said so far.

    Attributes:
        rounds: that its plan has.
        ended: attempts at rounds that have ended.
        published: whether the run is over.
    """

    rounds: int
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
