"""The runs of a privacy card: what was planned, and how every round ended."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from privacy.accounting.accountant import NeighboringRelation, rdp_per_step
from privacy.accounting.plan import PrivacyPlan
from privacy.audit.card_wording import plan_statements, tally_statements
from privacy.audit.evidence import Evidence
from privacy.audit.recomputed import recomputed
from privacy.audit.tallies.history import TallyHistory
from privacy.errors import PrivacyError
from privacy.ledger.chain import Event
from privacy.ledger.payloads import stated_plan
from privacy.ledger.state import State
from privacy.lineage import start_in_words, wrong_start

RDP_ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
"""Orders at which the card states the Renyi divergence of a whole run."""

REFUSAL = ("run", "round", "attempt", "code")

History = dict[str, list[dict[str, Any]]]


def replay(events: Iterable[Event]) -> tuple[State, History, list[Event]]:
    """Replay events, and note what was surely left of every budget after each that matters.

    What is noted follows from the events alone: the most that anybody can have spent.

    Stops at the first event that contradicts those before it; the events before it are returned.
    """
    state, history, accepted = State(), History(), list[Event]()
    for event in events:
        try:
            state.apply(event)
        except (PrivacyError, ValueError, KeyError, TypeError, IndexError):
            break
        accepted.append(event)
        if event.type == "DATASET":
            history[event.dataset] = []
        if event.type not in ("BUDGET", "SPEND", "REFUSED"):
            continue
        for name, budget in state.budgets.items():
            used = float(state.most_used(name, budget.order))
            own = event.dataset == name
            last = history[name][-1]["used"] if history[name] else None
            if own or (event.type == "SPEND" and used != last):
                history[name].append(
                    {
                        "seq": event.seq,
                        "type": event.type.lower(),
                        "round": event.body.get("round"),
                        "run": event.body.get("run"),
                        "on_these_data": own,
                        "used": used,
                        "left_share": max(0.0, 1 - used / budget.bound),
                    }
                )
    return state, history, accepted


def plan_in(body: Mapping[str, Any]) -> PrivacyPlan | None:
    """The plan that an event states; None where it states none."""
    try:
        return stated_plan(body["plan"])
    except (PrivacyError, ValueError, KeyError, TypeError, AttributeError):
        return None


def plan_figures(plan: PrivacyPlan | None) -> dict[str, Any]:
    """The figures of a plan; all None where it cannot be read."""
    names = (
        "epsilon delta noise_multiplier sampling_rate sampling clipping_norm rounds local_steps "
        "steps honest_shares survivors colluding sensitivity noise_log2 modulus_bits dimension "
        "units"
    ).split()
    figures = {name: getattr(plan, name) if plan else None for name in names}
    kinds = {
        name: str(getattr(plan, name)) if plan else None for name in ("mode", "unit", "relation")
    }
    planned = {"planned_groups": plan.groups if plan else None, "step_bounds": _step_bounds(plan)}
    if plan is None or plan.counts is None:
        return kinds | figures | planned
    # What is counted once has no steps, no samples and no gradients.
    return kinds | figures | planned | dict.fromkeys(_OF_STEPS) | {"tally": _tally(plan)}


_OF_STEPS = "sampling_rate sampling clipping_norm rounds local_steps steps survivors".split()


# Options of a question.
_MANY = 1000


def _tally(plan: PrivacyPlan) -> dict[str, Any]:
    """What a plan says of counts."""
    counts = plan.counts
    if counts is None:
        raise ValueError("the plan counts no answers; give that of a tally")
    answers = counts.answers_per_respondent
    # Of distributions the step depends on the questionnaire; of ballots a little, and least of all
    # where questions have many options.
    known = plan.relation is NeighboringRelation.ADD_OR_REMOVE_ONE
    step = plan.count_bounds([_MANY] * answers).step if known else None
    return {
        "answers_per_respondent": answers,
        "largest_weight": counts.largest_weight,
        "questionnaires": list(counts.questionnaires),
        "noise_std_of_a_count": 2.0**plan.noise_log2 / step if step else None,
        **tally_statements(plan),
    }


def _step_bounds(plan: PrivacyPlan | None) -> str | None:
    """The bounds of a step in words; None of a plan that states none."""
    if plan is None or plan.shape is None:
        return None
    shape, room = plan.shape, "room" if plan.shape.options_apart else "no room"
    return (
        f"{shape.micro_batch} units at a time, {shape.records_per_unit} records of a unit, "
        f"{shape.max_options} options, {shape.max_tokens} tokens, {room} for pairs; what exceeds "
        "them counts as absent"
    )


def text_in(value: object) -> str | None:
    """A text; None for anything else, and for an empty one."""
    return value or None if isinstance(value, str) else None


def number_in(value: object) -> float | None:
    """A finite number, also where it stands as a text; else None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # else TypeError
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def runs_of(evidence: Evidence) -> list[dict[str, Any]]:
    """Every run that any ledger names, in the order of their beginning."""
    events = [(ledger.name, e) for ledger in evidence.ledgers for e in replay(ledger.events)[2]]
    server = evidence.server_ledger.events if evidence.server_ledger else ()
    try:
        return _runs_of(events, server, evidence.result)
    except (KeyError, TypeError, ValueError, AttributeError):
        # A server can sign events without a meaning; the groups' ledgers keep theirs.
        return _runs_of(events, (), evidence.result)


_GroupEvents = list[tuple[str, Event]]
"""Events, each with the group in whose ledger it stands."""


def _runs_of(
    events: _GroupEvents, server: tuple[Event, ...], result: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    versions = (result or {}).get("versions")
    accountant = versions.get("dp-accounting") if isinstance(versions, Mapping) else None
    begun = [event.body["run"] for event in server if event.type == "RUN"]
    tallies = _tallies_of(events)
    counted = {name for names in tallies.values() for _, name in names}
    # What is counted once is part of every run that was trained on it.
    named = (str(e.body["run"]) for _, e in events if e.type in ("PLAN", "USED"))
    return [
        _run(
            name,
            [
                (group, event)
                for group, event in events
                if event.body.get("run") == name
                or (group, event.body.get("run")) in tallies.get(name, ())
            ],
            [event for event in server if event.body.get("run") == name],
            text_in(accountant),
            _starts(name, result),
        )
        for name in dict.fromkeys((*begun, *named))
        if name not in counted
    ]


def _starts(name: str, result: Mapping[str, Any] | None) -> list[str] | None:
    """What a run began from, in words, by its result; None where that is of another run."""
    private = (result or {}).get("privacy")
    if result is None or not isinstance(private, Mapping) or private.get("run") != name:
        return None
    start = result.get("start")
    return None if wrong_start(start) else start_in_words(start, private=True)


def _tallies_of(events: _GroupEvents) -> dict[str, list[tuple[str, str]]]:
    """The tallies that each run was trained on, with their groups; under "" those of no run yet."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    for group in dict.fromkeys(group for group, _ in events):
        history = TallyHistory.of(event for each, event in events if each == group)
        for run in history.runs:
            found.setdefault(run, []).extend((group, name) for name in history.used_by(run))
        found[""] += [(group, name) for name in history.plans]
    return found


def _run(
    name: str,
    events: _GroupEvents,
    server: list[Event],
    accountant: str | None,
    starts: list[str] | None,
) -> dict[str, Any]:
    """One run, by its events in the groups' ledgers and in the server ledger."""
    begun = next((event.body for event in reversed(server) if event.type == "RUN"), None)
    planned = [(group, event.body) for group, event in events if event.type == "PLAN"]
    body = begun or next((body for _, body in planned), {})
    plan = plan_in(body)
    # A free seat has no name.
    groups = [group for group in begun["groups"] if group] if begun else [g for g, _ in planned]
    groups = list(dict.fromkeys(groups))
    if begun:
        groups += [str(event.body["group"]) for event in server if event.type == "JOINED"]
    secure = begun.get("secure") if begun else None
    rounds = _rounds(server)
    last = _last_round(plan, server)
    for row in rounds:
        if row["outcome"] != "summed" and row["round"] > last:
            row |= {"outcome": "heads", "reason": None}  # The ledgers' last, after the last round.
    figures = plan_figures(plan)
    if "tally" in figures:
        figures["tally"]["questionnaires"] = _questionnaires(plan, begun, server, planned)
    return {
        "run": name,
        "in_server_book": begun is not None,
        "groups": groups,
        "plan_digest": plan.digest() if plan else None,
        **figures,
        "secure_aggregation": secure,
        "epsilon_by_accountant": _epsilons(plan),
        "accountant_version": accountant,
        "rdp_curve": _rdp_curve(plan),
        "delta_against_units": _delta(plan),
        "charged": _charged([event.body for _, event in events if event.type == "SPEND"]),
        **plan_statements(plan, secure, len(groups), pairs=body.get("pairs") is True),
        **counted(rounds),
        "round_log": rounds if begun else None,
        "model_before": text_in(body.get("model")),
        "starts": starts,
        "code": sorted({code for _, each in planned if (code := text_in(each.get("code")))}),
        "published": _published(server),
    }


def _last_round(plan: PrivacyPlan | None, server: list[Event]) -> float:
    """The last round of a run: by its plan, or where rounds cost nothing, once it is over."""
    if plan is None:
        return math.inf
    if plan.counts is None:
        return plan.rounds
    ended = (int(e.body["round"]) for e in server if e.type in ("ROUND", "LOST"))
    over = any(event.type == "PUBLISHED" for event in server[-1:])
    return max(ended, default=0) if over else math.inf


def _questionnaires(
    plan: PrivacyPlan | None,
    begun: Mapping[str, Any] | None,
    server: list[Event],
    planned: list[tuple[str, Mapping[str, Any]]],
) -> dict[str, str | None]:
    """Digests of the questionnaires of the groups: as planned, or of the tally of a free seat."""
    own = {group: each.counts for group, body in planned if (each := plan_in(body))}
    counted = {group: counts.questionnaires[0] for group, counts in own.items() if counts}
    if begun is None or plan is None or plan.counts is None:
        return dict(counted)
    seats = dict(enumerate(begun["groups"]))
    seats |= {event.body["seat"]: event.body["group"] for event in server if event.type == "JOINED"}
    asked = enumerate(plan.counts.questionnaires)
    return {
        seats[seat]: digest or counted.get(seats[seat]) for seat, digest in asked if seats.get(seat)
    }


def counted(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many rounds of a log were summed and lost, and the lowest threshold of a sum."""
    summed = [row for row in rounds if row["outcome"] == "summed"]
    return {
        "rounds_summed": len(summed),
        "rounds_lost": sum(row["outcome"] == "lost" for row in rounds),
        "threshold": min((row["threshold"] for row in summed if row["threshold"]), default=None),
    }


def _epsilons(plan: PrivacyPlan | None) -> dict[str, float]:
    """The epsilon of a plan as the libraries of this review find it; nothing that is stated."""
    if plan is None:
        return {}
    try:
        return recomputed(plan).by_accountant()
    except (PrivacyError, ValueError, OverflowError):
        return {}


def _charged(spends: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "sampling_rates": sorted({float(spend["q"]) for spend in spends}),
        "noise_multipliers": sorted({float(spend["z"]) for spend in spends}),
        "steps": sum(spend["steps"] for spend in spends),
    }


def _published(server: list[Event]) -> dict[str, Any] | None:
    last = next((event.body for event in reversed(server) if event.type == "PUBLISHED"), None)
    return None if last is None else {"model": last["model"], "files": dict(last["files"])}


def _rounds(events: list[Event]) -> list[dict[str, Any]]:
    """One row for every round in the server ledger: how it ended, and who was missing."""
    rows: dict[int, dict[str, Any]] = {}
    tried: dict[int, set[object]] = {}
    for event in events:
        if event.type == "RESUMED":
            begun = [row for row in rows.values() if row["outcome"] == "open"]
            for row in begun:
                row |= {"outcome": "lost", "reason": "Interrupted: the server was started again"}
            later = (row for row in rows.values() if row["round"] > event.body["round"])
            for row in (row for row in later if row["outcome"] == "summed"):
                row |= {"outcome": "lost", "reason": "Given up: the server went on from before it"}
        if event.type not in ("HEADS", "ROUND", "LOST"):
            continue
        body = event.body
        number = int(body["round"])
        row = rows.setdefault(number, {"round": number, **_NO_ROUND, "refused_heads": {}})
        tried.setdefault(number, set()).add(body.get("attempt"))
        if event.type == "HEADS":
            row["refused_heads"] |= body.get("refused", {})
            continue
        row["outcome"] = "summed" if event.type == "ROUND" else "lost"
        row["reason"] = body.get("reason")
        terms = _terms(body.get("terms"))
        row["needed"], row["threshold"] = terms.get("survivors"), terms.get("threshold")
        if "survivors" in body:
            row["survivors"] = len(body["survivors"])
            asked = terms.get("members") or list(chain.from_iterable(body.get("pairs", ()))) or None
            # In the clear nothing shows who was asked.
            row["dropped"] = asked and sorted(set(asked) - set(body["survivors"]))
    return [rows[number] | {"attempts": len(tried[number])} for number in sorted(rows)]


_NO_ROUND: Mapping[str, Any] = {
    "outcome": "open",
    **dict.fromkeys(("reason", "survivors", "needed", "threshold", "dropped")),
}


def _terms(text: object) -> dict[str, Any]:
    try:
        terms = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return terms if isinstance(terms, dict) else {}


def _rdp_curve(plan: PrivacyPlan | None) -> list[dict[str, float]] | None:
    if plan is None:
        return None
    noise, rate = plan.noise_multiplier, plan.sampling_rate
    return [
        {
            "order": order,
            "rdp": plan.steps
            * rdp_per_step(noise_multiplier=noise, sampling_rate=rate, order=order),
        }
        for order in RDP_ORDERS
    ]


def _delta(plan: PrivacyPlan | None) -> dict[str, float] | None:
    if plan is None:
        return None
    return {
        "delta": plan.delta,
        "units": plan.units,
        "one_over_units": 1 / plan.units,
        "delta_times_units": plan.delta * plan.units,
    }
