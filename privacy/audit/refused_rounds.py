"""The check of a group's refusals: each had its reason, and nothing was released for it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from privacy.audit.checks import Check, failed, passed
from privacy.errors import PrivacyError
from privacy.ledger.chain import Event
from privacy.ledger.state import State

UNREADABLE = (PrivacyError, KeyError, ValueError, TypeError, AttributeError)
"""What reading an event may raise that is not as its kind has it."""


def check_refusals(name: str, events: tuple[Event, ...]) -> Check:
    """Nothing leaves for an attempt that was refused, and a spent budget stays spent."""
    if wrong := _unfounded(events):
        return failed("refusals", name, f"{wrong}.")
    refused: dict[tuple[str, int, int], str] = {}
    spent: dict[str, tuple[str, int, int]] = {}
    for event in events:
        body = event.body
        if event.type == "REFUSED":
            refused[body["run"], body["round"], body["attempt"]] = body["code"]
        elif event.type == "SPEND":
            key = (body["run"], body["round"], body["attempt"])
            spent[event.hash] = key
            ended = any(run == key[0] and code == "budget" for (run, _, _), code in refused.items())
            if key in refused or ended:
                return failed("refusals", name, f"event {event.seq} spends after a refusal.")
        elif event.type == "RELEASED" and spent.get(body["spend"]) in refused:
            return failed("refusals", name, f"event {event.seq} releases what was refused.")
    if not refused:
        return passed("refusals", name, "the group has refused no round.")
    codes = ", ".join(
        f"{count} for its {code}" for code, count in Counter(refused.values()).items()
    )
    return passed(
        "refusals", name, f"the group has refused {codes}, and nothing was released afterwards."
    )


def _unfounded(events: tuple[Event, ...]) -> str:
    """The first refusal for which there was no reason; empty if all had theirs."""
    state = State()
    for event in events:
        if event.type == "REFUSED" and (wrong := _no_reason(state, event.body)):
            return f"event {event.seq} refuses {wrong}"
        try:
            state.apply(event)
        except UNREADABLE:
            # What contradicts the events before it has broken the ledger, a finding by itself.
            return ""
    return ""


def _no_reason(state: State, body: Mapping[str, Any]) -> str:
    """What is wrong with a refusal, after the events that a state adds up; empty if nothing is."""
    run, number, attempt, code = (body[name] for name in ("run", "round", "attempt", "code"))
    plan = state.plans[run]
    if type(number) is not int or type(attempt) is not int or number < 0 or attempt < 0:
        return "a round that no plan has"
    if code == "plan":
        left = state.run_steps[run] + plan.per_round <= plan.steps
        return "for its plan, which had steps left" if left else ""
    if number > plan.plan.rounds:
        return f"round {number} of a plan of {plan.plan.rounds}"
    # Earlier versions refused for what people of the data had spent elsewhere.
    if not state.datasets[plan.dataset].run or any(
        other == run and why == "budget" for (other, _, _), why in state.refused.items()
    ):
        return ""
    # Another machine may round a logarithm differently.
    fits = state.rounds_alone(run, slack=-1e-9)
    return f"round {number} for its budget, which paid for it" if fits else ""
