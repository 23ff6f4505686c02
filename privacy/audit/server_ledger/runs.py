"""The check that follows the model of each run through the server ledger."""

from collections.abc import Iterator, Mapping
from typing import Any

from privacy.audit.checks import Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence


def check_models(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Every round began from the model that the one before left, or where the run was resumed."""
    runs: dict[str, _RunHistory] = {}
    for event in server.events:
        body = event.body
        if event.type == "RUN":
            runs[body["run"]] = _RunHistory(body["model"])
        elif event.type != "JOINED":
            wrong: str = getattr(runs[body["run"]], event.type.lower())(body)
            if wrong:
                yield failed("models", "server", f"{wrong}.")
                return
    finding = "by its own words every round began from the model that the one before left"
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
