"""The checks that follow each run through the server ledger: its models, and its groups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.identity.keys import KEY_BYTES
from privacy.ledger.payloads import stated_plan
from privacy.secagg.round_terms import RoundTerms


def check_models(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every round began from the model that the one before left, or where the run was resumed."""
    runs: dict[str, _RunHistory] = {}
    for event in server.events:
        body = event.body
        if event.type == "RUN":
            runs[body["run"]] = _RunHistory(body["model"])
        elif (step := getattr(runs[body["run"]], event.type.lower(), None)) is not None:
            if wrong := step(body):
                yield failed("models", "server", f"{wrong}.")
                return
    finding = "every round began from the model that the one before left"
    if restarts := sum(event.type == "RESUMED" for event in server.events):
        finding += f"; {restarts} restart(s) went on from such a model, and repeated no round"
    yield passed("models", "server", f"{finding}.")


class _RunHistory:
    """The models of one run; every method returns what is wrong with an event; empty if nothing is.

    Args:
        model: digest of the vector at the start.
    """

    def __init__(self, model: str) -> None:
        self._at = model
        self._left = {0: model}
        self._ended = 0
        self._named = 0
        # After a restart: the first number that no round has had before.
        self._fresh = 1
        self._gap = False

    def heads(self, body: Mapping[str, Any]) -> str:
        if body["round"] < max(self._fresh, self._ended + 1):
            return f"round {body['round']} was begun again after it had ended or was lost"
        self._named = max(self._named, body["round"])
        return ""

    def round(self, body: Mapping[str, Any]) -> str:
        if wrong := self._end(body["round"]):
            return wrong
        if body["model"] != self._at:
            return f"round {body['round']} began from another model than the one before left"
        self._at = self._left[body["round"]] = body["after"]
        return ""

    def lost(self, body: Mapping[str, Any]) -> str:
        if wrong := self._end(body["round"]):
            return wrong
        if body.get("model", self._at) != self._at:
            return f"round {body['round']} began from another model than the one before left"
        self._left[body["round"]] = self._at
        return ""

    def resumed(self, body: Mapping[str, Any]) -> str:
        if self._left.get(body["round"]) != body["model"]:
            return f"the run was resumed from a model that round {body['round']} did not leave"
        self._at = body["model"]
        self._fresh = max(self._named, self._ended) + 1
        self._gap = True
        return ""

    def published(self, body: Mapping[str, Any]) -> str:
        return "" if body["model"] == self._at else "what was published is not what the rounds made"

    def _end(self, number: int) -> str:
        if number < max(self._fresh, self._ended + 1):
            return f"round {number} has ended twice, or was lost when the run was resumed"
        # What a restart has cut short has no end of its own.
        if number != self._ended + 1 and not self._gap:
            return f"round {self._ended + 1} has no end in the server ledger"
        self._ended, self._gap = number, False
        self._named = max(self._named, number)
        return ""


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
    """

    seats: list[str]
    since: dict[str, int] = field(default_factory=dict)

    def begun(self, body: Mapping[str, Any]) -> str:
        names = [name for name in self.seats if name]
        planned = stated_plan(body["plan"]).groups
        if len(self.seats) != planned:
            return f"the run has {len(self.seats)} seats, its plan {planned}"
        if len(set(names)) != len(names) or set(names) != set(body["keys"]):
            return "the run begins with groups that have two seats, or no key"
        if any(len(bytes.fromhex(key)) not in (0, KEY_BYTES) for key in body["keys"].values()):
            return "the run begins with a group whose key is none"
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
        self.seats[seat] = group
        self.since[group] = int(body["round"])
        return ""

    def took_part(self, body: Mapping[str, Any]) -> str:
        names = {*body.get("adverts", ()), *body.get("survivors", ())}
        names |= {*body.get("vectors", ()), *body.get("sharers", ())}
        if "terms" in body:
            names |= set(RoundTerms.decode(body["terms"].encode("ascii")).members)
        for name in sorted(names):
            if name not in self.since:
                return f"round {body['round']}: {name} took part and has no seat in the run"
            if body["round"] < self.since[name]:
                return f"round {body['round']}: {name} took part before it had joined"
        return ""
