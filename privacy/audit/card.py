"""The privacy card: everything a reviewer asks about a federation, as one JSON object.

It states what the ledgers, the server ledger and the run's own files show, and what people have
stated about the purpose around them. What neither shows is a blank: None, and listed by name.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from privacy.audit.card_runs import (
    REFUSAL,
    number_in,
    plan_figures,
    plan_in,
    replay,
    runs_of,
    text_in,
)
from privacy.audit.card_wording import (
    ABOUT_FIELDS,
    NOT_COVERED,
    NOT_COVERED_BY_TALLIES,
    RESTS_ON,
    TALLIES_REST_ON,
    blanks_of,
)
from privacy.audit.checks import Check, Status
from privacy.audit.evidence import Evidence, LedgerEvidence, file_digest
from privacy.audit.tallies.history import TallyHistory
from privacy.file_names import CONFIG_FILE
from privacy.ledger.chain import Event
from privacy.ledger.facts import Dataset
from privacy.ledger.filter import epsilon_spent
from privacy.ledger.state import State

CARD_VERSION = 2

_PARTS = (
    "card_version summary simulated about groups runs not_covered rests_on empirical utility "
    "hashes server roster verification blanks"
).split()
"""The parts of a card, in their order."""

_EVENTS = ("SPEND", "RELEASED", "ABORTED", "REFUSED", "HEAD")
_COUNTED = ("spends", "released", "aborted", "refused", "countersigned")


def build_card(
    evidence: Evidence,
    checks: Sequence[Check],
    *,
    about: Mapping[str, str] | None = None,
    canaries: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the privacy card: JSON types only, the same for the same evidence.

    Args:
        evidence: what was handed in.
        checks: what a review of it has found.
        about: what people state, by names of `ABOUT_FIELDS`; an empty text is a blank.
        canaries: the dictionary of a canary audit (`CanaryAudit.as_dict`).

    Raises:
        ValueError: for an unknown name in `about`, or a value that is no text.
    """
    published = evidence.published
    return assembled(
        {
            # Only a simulation leaves a result file: one party then held the records of all.
            "simulated": evidence.result is not None,
            "about": _stated(about or {}),
            "groups": [group_entry(ledger) for ledger in evidence.ledgers],
            "runs": runs_of(evidence),
            "empirical": dict(canaries) if canaries is not None else None,
            "utility": _utility(evidence.result),
            "config": file_digest(published / CONFIG_FILE) if published else None,
            "server": server_entry(evidence.server_ledger),
            "roster": {"given_by_reviewer": evidence.roster_given, "pins": len(evidence.members)},
            "verification": [check.as_dict() for check in checks],
        }
    )


def assembled(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Put a card together from its parts, with all that follows from them.

    Args:
        parts: what evidence and people state, by name; `config` is the digest of the settings.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if a part has not the form of one.
    """
    groups, runs, checks = parts["groups"], parts["runs"], parts["verification"]
    tallies = any("tally" in run for run in runs) or any("tallies" in group for group in groups)
    card = {
        "card_version": CARD_VERSION,
        "summary": _summary(groups, runs, checks),
        "not_covered": [*NOT_COVERED, *(NOT_COVERED_BY_TALLIES if tallies else ())],
        "rests_on": {**RESTS_ON, **(TALLIES_REST_ON if tallies else {})},
        "hashes": _hashes(parts["config"], groups, runs),
        **{name: part for name, part in parts.items() if name != "config"},
    }
    card["blanks"] = blanks_of(card)
    plain: dict[str, Any] = json.loads(
        json.dumps({name: card[name] for name in _PARTS}, allow_nan=False)
    )
    return plain


def _stated(about: Mapping[str, str]) -> dict[str, str | None]:
    for name, value in about.items():
        if name not in ABOUT_FIELDS:
            near = get_close_matches(str(name), ABOUT_FIELDS, n=1, cutoff=0.0)[0]
            raise ValueError(f"{name!r} is no field of the card; the closest is {near!r}")
        if not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is no text; state it as one")
    return {name: about.get(name, "").strip() or None for name in ABOUT_FIELDS}


def group_entry(ledger: LedgerEvidence) -> dict[str, Any]:
    """One group, as its ledger shows it."""
    state, history, events = replay(ledger.events)
    whole = ledger.state is not None and ledger.error is None
    codes = Counter(e.body.get("code") for e in events if e.type == "REFUSED")
    aborts = Counter(e.body.get("code") for e in events if e.type == "ABORTED")
    counts = Counter(event.type for event in events)
    counted = TallyHistory.of(events)
    tallies = {"tallies": _tallies(counted)} if counted else {}
    return {
        "name": ledger.name,
        "key": ledger.owner.hex() or None,
        "key_pinned": ledger.pinned,
        "file": ledger.file.name,
        "events": len(ledger.events),
        "head": ledger.events[-1].hash if ledger.events else None,
        "error": str(ledger.error) if ledger.error else None,
        "torn_bytes": ledger.torn,
        "complete": whole,
        "datasets": [_dataset(data, state, history[name]) for name, data in state.datasets.items()],
        "plans": [_plan_entry(event) for event in events if event.type == "PLAN"],
        "counts": {
            **{name: counts[kind] for name, kind in zip(_COUNTED, _EVENTS, strict=True)},
            "open_spends": len(state.open),
        },
        "refused_by_code": dict(sorted((str(code), n) for code, n in codes.items())),
        "aborted_by_code": dict(sorted((str(code), n) for code, n in aborts.items())),
        "refusals": [
            {"seq": event.seq, **{key: event.body.get(key) for key in REFUSAL}}
            for event in events
            if event.type == "REFUSED"
        ],
        **tallies,
    }


def _tallies(history: TallyHistory) -> list[dict[str, Any]]:
    """The tallies of a ledger, and the rounds that were trained on each."""
    return [
        {
            "tally": name,
            "plan_digest": plan.digest(),
            "spends": len(history.spends.get(name, ())),
            "digest": next(iter(history.released.get(name, ())), None),
            "rounds_by_run": {
                run: sum(use.body["run"] == run for use in history.uses)
                for run in history.runs
                if name in history.used_by(run)
            },
        }
        for name, plan in history.plans.items()
    ]


def _dataset(data: Dataset, state: State, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Data as their ledger alone shows them, whoever else is named beside it."""
    budget = state.budgets.get(data.fingerprint)
    spent = "budget used left used_share epsilon_spent rounds_left newest_run".split()
    entry: dict[str, Any] = {
        "fingerprint": data.fingerprint,
        "units": data.units,
        "unit": str(data.unit),
        "adjacency": str(data.relation),
        **dict.fromkeys(spent),
        "history": history,
    }
    if budget is None:
        return entry
    runs = [name for name, plan in state.plans.items() if plan.dataset == data.fingerprint]
    left = state.remaining(data.fingerprint, runs[-1] if runs else None)
    used = float(state.most_used(data.fingerprint, budget.order))
    return entry | {
        "budget": {
            "epsilon": budget.epsilon,
            "delta": budget.delta,
            "order": budget.order,
            "bound": budget.bound,
            "one_over_units": 1 / data.units,
            "delta_times_units": budget.delta * data.units,
        },
        "used": used,
        "left": max(0.0, budget.bound - used),
        # Some can have spent more, under a larger budget before: nothing is left of theirs.
        "used_share": min(1.0, used / budget.bound),
        "epsilon_spent": epsilon_spent(used, delta=budget.delta, order=budget.order),
        # Rounds on what was counted once are of no number.
        "rounds_left": None if runs and state.plans[runs[-1]].plan.counts else left.rounds,
        "newest_run": runs[-1] if runs else None,
    }


def _plan_entry(event: Event) -> dict[str, Any]:
    body = event.body
    return {
        "run": text_in(body.get("run")),
        "dataset": event.dataset,
        "digest": text_in(body.get("digest")),
        **plan_figures(plan_in(body)),
        "code": text_in(body.get("code")),
        "model": text_in(body.get("model")),
        "pld_epsilon_stated": number_in(body.get("pld_epsilon")),
        "rdp_per_step": number_in(body.get("rdp")),
    }


def _utility(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The alignment of the model with each held-out group, by a result; None without."""
    alignment = (result or {}).get("alignment")
    unseen = alignment.get("unseen_groups") if isinstance(alignment, Mapping) else None
    groups = unseen.get("groups") if isinstance(unseen, Mapping) else None
    if not isinstance(groups, Mapping):
        return None
    return utility_of(groups, unseen.get("mean") if isinstance(unseen, Mapping) else None)


def utility_of(groups: Mapping[str, Any], mean: object) -> dict[str, Any]:
    """What a card says of alignment.

    Args:
        groups: alignment by held-out group.
        mean: of all targets.
    """
    return {
        "measure": "Alignment: 1 less the Jensen-Shannon distance; 1 is perfect",
        "groups": [
            {"name": str(name), "alignment": number_in(value), "interval": None}
            for name, value in sorted(groups.items())
        ],
        "mean": number_in(mean),
        "note": "As result.json of the run states them; a review measures nothing. No intervals "
        "are known: one run, without repetition, does not show how far these scores would move.",
    }


def _hashes(
    config: str | None, groups: list[dict[str, Any]], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Digests of code, configuration, data and models."""
    return {
        "code": sorted({plan["code"] for group in groups for plan in group["plans"]} - {None}),
        "config": config,
        "plans": sorted({run["plan_digest"] for run in runs} - {None}),
        "data": {
            group["name"]: [data["fingerprint"] for data in group["datasets"]] for group in groups
        },
        "models": {run["run"]: run["published"] for run in runs},
        "ledger_heads": {group["name"]: group["head"] for group in groups},
    }


def server_entry(server_ledger: LedgerEvidence | None) -> dict[str, Any] | None:
    """The server, as its ledger shows it; None without one."""
    if server_ledger is None:
        return None
    return {
        "name": server_ledger.name,
        "key": server_ledger.owner.hex() or None,
        "key_pinned": server_ledger.pinned,
        "events": len(server_ledger.events),
        "head": server_ledger.events[-1].hash if server_ledger.events else None,
        "error": str(server_ledger.error) if server_ledger.error else None,
    }


def _summary(
    groups: list[dict[str, Any]], runs: list[dict[str, Any]], checks: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures at the head of the card."""
    budgeted = [data for group in groups for data in group["datasets"] if data["budget"]]
    spent = [data["epsilon_spent"] for data in budgeted]
    budgets = [data["budget"]["epsilon"] for data in budgeted]
    statuses = Counter(check["status"] for check in checks)
    planned = [run["epsilon"] for run in runs if run["epsilon"] is not None]
    return {
        "groups": len(groups),
        "groups_without_figures": [
            group["name"]
            for group in groups
            if not group["complete"] or not any(data["budget"] for data in group["datasets"])
        ]
        + sorted(
            {name for run in runs for name in run["groups"]} - {group["name"] for group in groups}
        ),
        "epsilon_spent_at_most": max(spent, default=None),
        "epsilon_budget_least": min(budgets, default=None),
        "epsilon_budget_most": max(budgets, default=None),
        "delta_most": max((data["budget"]["delta"] for data in budgeted), default=None),
        "epsilon_promised_by_runs": planned,
        "runs": len(runs),
        "checks": {str(status): statuses[status] for status in Status},
        "failed": statuses[Status.FAIL],
    }
