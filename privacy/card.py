"""The privacy card: everything a reviewer asks about a federation, as one JSON object.

It states what the ledgers, the server's book and the run's own files show, and what people have
stated about the purpose around them. What neither shows is a blank: None, and listed by name.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from privacy.accounting import rdp_per_step
from privacy.checks import Check, Status
from privacy.errors import PrivacyError
from privacy.evidence import Evidence, GroupLedger, file_digest
from privacy.ledger.bodies import stated_plan
from privacy.ledger.chain import Event
from privacy.ledger.filter import filter_bound
from privacy.ledger.state import Budget, Dataset, State
from privacy.plan import PrivacyPlan
from privacy.terms import Mode, Unit

CARD_VERSION = 1
RDP_ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
"""Orders at which the card states the Renyi divergence of a whole run."""

ABOUT_FIELDS: Mapping[str, str] = {
    "title": "What is this deployment called?",
    "purpose": "What is the processing for?",
    "intended_use": "What may the trained model be used for, and by whom?",
    "controllers": "Who decides on purposes and means, with name and address?",
    "contact": "Who answers questions about privacy, and how are they reached?",
    "lawful_basis": "On which lawful basis is personal data processed?",
    "data_description": "Which personal data are they, how were they collected, and when?",
    "data_subjects": "Whose data are they, and do they include children or dependent people?",
    "special_categories": "Are data among them that need special protection, such as health?",
    "recipients": "Who receives the model, the reports and the ledgers?",
    "transfers": "In which countries are servers and recipients?",
    "retention": "How long are records, ledgers and models kept, and who deletes them?",
    "release_policy": "Who may see or use the published model, and under which terms?",
    "publication_date": "When was the model published?",
    "necessity": "Why can the purpose not be reached with less data or with none?",
    "data_subject_rights": "How are people told, and how do they object, see or erase data?",
    "rationale": "Why are this epsilon, this delta and this unit the right ones here?",
    "tuning": "Which settings were chosen by looking at data, and how was that paid for?",
    "dpo_opinion": "What does the data protection officer say?",
    "data_subject_views": "What do the people concerned, or who speaks for them, say?",
    "residual_risk": "Which risk remains, and who has accepted it?",
    "provider": "Who provides the system, under the AI Act?",
    "system_version": "Which version of the system is this, and which came before?",
    "hardware": "On which hardware does it run, and what else does it work with?",
    "instructions": "Which instructions does the deployer get?",
    "human_oversight": "How do people oversee the system and step in?",
    "data_governance": "How were data selected, labelled, cleaned and examined for bias?",
    "risk_management": "How are risks found, judged and reduced over the life of the system?",
    "changes": "What did the provider change over the life of the system?",
    "standards": "Which harmonised standards or other specifications were applied?",
    "declaration_of_conformity": "Where is the declaration of conformity?",
    "post_market_plan": "How is the system watched once it is in use?",
}
"""What only people can state: the name of each field, and the question it answers."""

_BY = {
    "dpo_opinion": "the data protection officer",
    "tuning": "whoever chose the settings",
    "rationale": "whoever set the budgets",
}
_PROVIDER = "provider system_version hardware instructions human_oversight data_governance "
_PROVIDER += "risk_management changes standards declaration_of_conformity post_market_plan"

NOT_COVERED = (
    "Tuning: settings chosen by looking at data cost privacy that no ledger here has counted.",
    "Evaluation: scores published for a group's data are computed without noise, unless they were "
    "extra coordinates of a noised vector.",
    "Group sizes: the number of units a plan and a ledger declare is public.",
    "Group names, and which groups took part in which round, are public.",
    "Public checkpoints: whatever a model had been trained on before this run is outside the "
    "guarantee.",
    "Timing: batches are padded to a fixed size, but how long a computer takes, its energy and its "
    "network are not part of the proof.",
    "Context at inference: answers shown to the finished model so that it predicts others are not "
    "protected by training.",
    "Malicious inputs: a group may send any vector within its bounds; that can spoil the model, "
    "and no proof here prevents it.",
    "People in several groups: somebody whose data lie with m groups is protected by each budget "
    "alone, and pays m times.",
    "A group's own computers: whoever controls them sees that group's data.",
)
"""What the guarantee says nothing about."""

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
    stated = _stated(about or {})
    groups = [_group(ledger) for ledger in evidence.ledgers]
    runs = _runs(evidence)
    card = {
        "card_version": CARD_VERSION,
        "summary": _summary(groups, runs, checks),
        # Only a simulation leaves a result file: one party then held the records of all.
        "simulated": evidence.result is not None,
        "about": stated,
        "groups": groups,
        "runs": runs,
        "not_covered": list(NOT_COVERED),
        "empirical": dict(canaries) if canaries is not None else None,
        "utility": _utility(evidence.result),
        "hashes": _hashes(evidence, groups, runs),
        "server": _server(evidence),
        "roster": {"given_by_reviewer": evidence.roster_given, "pins": len(evidence.members)},
        "verification": [check.as_dict() for check in checks],
    }
    card["blanks"] = _blanks(card)
    plain: dict[str, Any] = json.loads(json.dumps(card, allow_nan=False))
    return plain


def epsilon_of(used: float, budget: Budget) -> float:
    """The epsilon that a use of a budget amounts to, at its delta and order; 0 for no use.

    It inverts `privacy.ledger.filter.filter_bound`: a use of the whole bound is the budget's
    epsilon.
    """
    if not used:
        return 0.0
    return max(0.0, used - filter_bound(epsilon=0.0, delta=budget.delta, order=budget.order))


def _stated(about: Mapping[str, str]) -> dict[str, str | None]:
    for name, value in about.items():
        if name not in ABOUT_FIELDS:
            near = get_close_matches(str(name), ABOUT_FIELDS, n=1, cutoff=0.0)[0]
            raise ValueError(f"{name!r} is no field of the card; the closest is {near!r}")
        if not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is no text; state it in words")
    return {name: about.get(name, "").strip() or None for name in ABOUT_FIELDS}


def _group(ledger: GroupLedger) -> dict[str, Any]:
    """One group, as its ledger shows it."""
    state, history, events = _replay(ledger.events)
    whole = ledger.state is not None and ledger.error is None
    codes = Counter(e.body.get("code") for e in events if e.type == "REFUSED")
    aborts = Counter(e.body.get("code") for e in events if e.type == "ABORTED")
    counts = Counter(event.type for event in events)
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
            {"seq": event.seq, **{key: event.body.get(key) for key in _REFUSAL}}
            for event in events
            if event.type == "REFUSED"
        ],
    }


_REFUSAL = ("run", "round", "attempt", "code")


_History = dict[str, list[dict[str, Any]]]


def _replay(events: Iterable[Event]) -> tuple[State, _History, list[Event]]:
    """Add up events once more, and note what was left of every budget after each that matters.

    Stops at the first event that contradicts those before it; the events before it are returned.
    """
    state, history, accepted = State(), _History(), list[Event]()
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
            used = float(state.used(name, budget.order) or 0)
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


def _dataset(data: Dataset, state: State, history: list[dict[str, Any]]) -> dict[str, Any]:
    budget = state.budgets.get(data.fingerprint)
    entry: dict[str, Any] = {
        "fingerprint": data.fingerprint,
        "units": data.units,
        "unit": str(data.unit),
        "adjacency": str(data.relation),
        "parents": list(data.parents),
        "budget": None,
        "used": None,
        "left": None,
        "used_share": None,
        "epsilon_spent": None,
        "rounds_left": None,
        "newest_run": None,
        "history": history,
    }
    if budget is None:
        return entry
    runs = [name for name, plan in state.plans.items() if plan.dataset == data.fingerprint]
    left = state.remaining(data.fingerprint, runs[-1] if runs else None)
    return entry | {
        "budget": {
            "epsilon": budget.epsilon,
            "delta": budget.delta,
            "order": budget.order,
            "bound": budget.bound,
            "one_over_units": 1 / data.units,
            "delta_times_units": budget.delta * data.units,
        },
        "used": left.used,
        "left": left.left,
        "used_share": left.used / left.bound,
        "epsilon_spent": epsilon_of(left.used, budget),
        "rounds_left": left.rounds,
        "newest_run": runs[-1] if runs else None,
    }


def _plan_entry(event: Event) -> dict[str, Any]:
    body = event.body
    return {
        "run": _text(body.get("run")),
        "dataset": event.dataset,
        "digest": _text(body.get("digest")),
        **_plan_figures(_plan_of(body)),
        "code": _text(body.get("code")),
        "model": _text(body.get("model")),
        "pld_epsilon": _number(body.get("pld_epsilon")),
        "rdp_per_step": _number(body.get("rdp")),
    }


def _plan_of(body: Mapping[str, Any]) -> PrivacyPlan | None:
    try:
        return stated_plan(body["plan"])
    except (PrivacyError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _plan_figures(plan: PrivacyPlan | None) -> dict[str, Any]:
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
    return kinds | figures | {"planned_groups": plan.groups if plan else None}


def _text(value: object) -> str | None:
    return value or None if isinstance(value, str) else None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _runs(evidence: Evidence) -> list[dict[str, Any]]:
    """Every run that the server's book or a ledger names, in the order of their beginning."""
    told = [(ledger.name, e) for ledger in evidence.ledgers for e in _replay(ledger.events)[2]]
    book = evidence.book.events if evidence.book else ()
    try:
        return _runs_of(told, book, evidence.result)
    except (KeyError, TypeError, ValueError, AttributeError):
        # A server can sign a book that says nothing sensible; the ledgers still say theirs.
        return _runs_of(told, (), evidence.result)


_Told = list[tuple[str, Event]]


def _runs_of(told: _Told, book: tuple[Event, ...], result: Any) -> list[dict[str, Any]]:
    begun = {event.body["run"]: event for event in book if event.type == "RUN"}
    named = (str(event.body["run"]) for _, event in told if event.type == "PLAN")
    return [
        _run(name, begun.get(name), told, book, _versions(result))
        for name in dict.fromkeys((*begun, *named))
    ]


def _run(
    name: str,
    begun: Event | None,
    told: _Told,
    book: tuple[Event, ...],
    versions: Mapping[str, Any],
) -> dict[str, Any]:
    mine_told = [(group, event) for group, event in told if event.body.get("run") == name]
    planned = [(group, event) for group, event in mine_told if event.type == "PLAN"]
    body = begun.body if begun else planned[0][1].body
    plan = _plan_of(body)
    groups = list(body["groups"]) if begun else [group for group, _ in planned]
    secure = body.get("secure") if begun else None
    mine = [event for event in book if event.body.get("run") == name]
    published = [event.body for event in mine if event.type == "PUBLISHED"]
    charged = [event.body for _, event in mine_told if event.type == "SPEND"]
    rounds = _rounds(mine, groups)
    for row in rounds:
        if plan and row["outcome"] == "open" and row["round"] > plan.rounds:
            row["outcome"] = "heads"  # The ledgers' last heads, after the last round.
    return {
        "run": name,
        "in_server_book": begun is not None,
        "groups": groups,
        "plan_digest": _text(body.get("digest")),
        **_plan_figures(plan),
        "secure_aggregation": secure,
        "epsilon_by_accountant": {
            key: _number(value) for key, value in sorted(_epsilons(begun, planned).items())
        },
        "accountant_version": _text(versions.get("dp-accounting")),
        "rdp_curve": _rdp_curve(plan),
        "delta_against_units": _delta(plan),
        "charged": {
            "sampling_rates": sorted({float(spend["q"]) for spend in charged}),
            "noise_multipliers": sorted({float(spend["z"]) for spend in charged}),
            "steps": sum(spend["steps"] for spend in charged),
        },
        **_words(plan, secure, len(groups)),
        "rounds_summed": sum(row["outcome"] == "summed" for row in rounds),
        "rounds_lost": sum(row["outcome"] == "lost" for row in rounds),
        "threshold": next((row["threshold"] for row in rounds if row["threshold"]), None),
        "round_log": rounds if begun else None,
        "model_before": _text(body.get("model")),
        "code": _text(planned[0][1].body.get("code")) if planned else None,
        "published": (
            {"model": published[-1]["model"], "files": dict(published[-1]["files"])}
            if published
            else None
        ),
    }


def _epsilons(begun: Event | None, planned: list[tuple[str, Event]]) -> dict[str, Any]:
    if begun:
        return dict(begun.body["epsilons"])
    return {"dp-accounting PLD": planned[0][1].body.get("pld_epsilon")}


def _versions(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    versions = (result or {}).get("versions")
    return versions if isinstance(versions, Mapping) else {}


def _rounds(events: list[Event], groups: list[str]) -> list[dict[str, Any]]:
    """One row for every round in the server's book: how it ended, and who was missing."""
    rows: dict[int, dict[str, Any]] = {}
    tried: dict[int, set[object]] = {}
    for event in events:
        if event.type not in ("HEADS", "ROUND", "LOST") or "round" not in event.body:
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
            row["dropped"] = [group for group in groups if group not in body["survivors"]]
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


def _words(plan: PrivacyPlan | None, secure: bool | None, groups: int) -> dict[str, str | None]:
    """What a plan means, in words; None where there is no plan to tell."""
    names = (
        "mechanism noise_added sampling_in_words contribution_cap protocol randomness trust_model "
        "colluding_threshold"
    ).split()
    if plan is None:
        return dict.fromkeys(names)
    trust, threshold = _trust(plan, secure, groups)
    own = "The records of one respondent are summed first:" if _people(plan) else "Every record:"
    gap = "" if _people(plan) else " A person with several records is not protected as a whole."
    rate = f"every unit joins each step independently with probability {plan.sampling_rate:g}"
    values = (
        "Discrete Gaussian noise on integer vectors, one vector of bounded L2 norm for each unit.",
        "By every group in full, on its own computer, before anything is sent."
        if plan.mode is Mode.LOCAL
        else f"By every group, one share each, on its own computer; {plan.honest_shares} honest "
        "shares together are the noise that is accounted for.",
        f"Poisson: {rate}"
        + (" (all of them: sampling hides nobody)." if plan.sampling_rate == 1 else "."),
        f"{own} each {plan.unit} moves a step by an L2 norm of at most C = {plan.clipping_norm:g}."
        + gap,
        {
            True: "Sums under secure aggregation: pairwise masks, secrets shared among the groups.",
            False: "Plain sums: the server receives the vector of every group.",
            None: None,
        }[secure],
        "AES-256 in counter mode, keyed by the operating system; no seed can be set.",
        trust,
        threshold,
    )
    return dict(zip(names, values, strict=True))


def _people(plan: PrivacyPlan) -> bool:
    return plan.unit is Unit.RESPONDENT


def _trust(plan: PrivacyPlan, secure: bool | None, groups: int) -> tuple[str, str]:
    """Whom the people in the data have to trust, and how many groups may betray them."""
    if plan.mode is Mode.LOCAL:
        hidden = "Secure aggregation hides the single vectors besides. " if secure else ""
        return (
            "Nobody but one's own group is trusted: each group adds all the noise itself, so the "
            f"guarantee holds against the server and all other groups together. {hidden}".strip(),
            f"All {groups - 1} other groups and the server may work together.",
        )
    if secure:
        return (
            "The server is not trusted: it learns the noised sums, who was in them, and when "
            "messages came, and no group's own vector. One's own group is trusted, and enough of "
            "the others to add their share of the noise and to keep their secrets.",
            f"Up to {plan.colluding} of {groups} groups may work together with the server; with "
            "more of them, the promised epsilon no longer holds.",
        )
    if secure is None:
        return (
            "Not known: each group adds a share of the noise only, and no server's book shows "
            "whether the server could read the vectors one by one.",
            f"The plan assumes at most {plan.colluding} of {groups} groups; whether the sums were "
            "secure is not known.",
        )
    return (
        "The server is trusted with every group's vector, which carries a share of the noise only. "
        "The promised epsilon holds for whoever sees the sums and the model, not against the "
        "server.",
        f"The server must be honest; up to {plan.colluding} of {groups} groups may look at the "
        "sums together.",
    )


def _utility(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How well the model predicts each held-out group."""
    alignment = (result or {}).get("alignment")
    unseen = alignment.get("unseen_groups") if isinstance(alignment, Mapping) else None
    groups = unseen.get("groups") if isinstance(unseen, Mapping) else None
    if not isinstance(groups, Mapping):
        return None
    return {
        "measure": "Alignment: 1 less the Jensen-Shannon distance; 1 is perfect",
        "groups": [
            {"name": str(name), "alignment": _number(value), "interval": None}
            for name, value in sorted(groups.items())
        ],
        "mean": _number(unseen.get("mean")) if isinstance(unseen, Mapping) else None,
        "note": "No intervals are known: one run, without repetition, does not show how far "
        "these scores would move.",
    }


def _hashes(
    evidence: Evidence, groups: list[dict[str, Any]], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Digests of code, configuration, data and models."""
    published = evidence.published
    return {
        "code": sorted({plan["code"] for group in groups for plan in group["plans"]} - {None}),
        "config": file_digest(published / "config.toml") if published else None,
        "plans": sorted({run["plan_digest"] for run in runs} - {None}),
        "data": {
            group["name"]: [data["fingerprint"] for data in group["datasets"]] for group in groups
        },
        "models": {run["run"]: run["published"] for run in runs},
        "ledger_heads": {group["name"]: group["head"] for group in groups},
    }


def _server(evidence: Evidence) -> dict[str, Any] | None:
    book = evidence.book
    if book is None:
        return None
    return {
        "name": book.name,
        "key": book.owner.hex() or None,
        "key_pinned": book.pinned,
        "events": len(book.events),
        "head": book.events[-1].hash if book.events else None,
        "error": str(book.error) if book.error else None,
    }


def _summary(
    groups: list[dict[str, Any]], runs: list[dict[str, Any]], checks: Sequence[Check]
) -> dict[str, Any]:
    """The most that can be said in a few figures."""
    budgeted = [data for group in groups for data in group["datasets"] if data["budget"]]
    spent = [data["epsilon_spent"] for data in budgeted]
    budgets = [data["budget"]["epsilon"] for data in budgeted]
    statuses = Counter(check.status for check in checks)
    promised = [run["epsilon"] for run in runs if run["epsilon"] is not None]
    return {
        "groups": len(groups),
        "groups_without_figures": [
            group["name"]
            for group in groups
            if not group["complete"] or not any(data["budget"] for data in group["datasets"])
        ],
        "epsilon_spent_at_most": max(spent, default=None),
        "epsilon_budget_least": min(budgets, default=None),
        "epsilon_budget_most": max(budgets, default=None),
        "delta_most": max((data["budget"]["delta"] for data in budgeted), default=None),
        "epsilon_promised_by_runs": promised,
        "runs": len(runs),
        "checks": {str(status): statuses[status] for status in Status},
        "failed": statuses[Status.FAIL],
    }


def _blanks(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every field that nobody has stated and nothing has shown, and who could."""
    blanks = [
        {
            "field": name,
            "by": "the provider" if name in _PROVIDER.split() else _BY.get(name, "the controllers"),
            "question": ABOUT_FIELDS[name],
        }
        for name, value in card["about"].items()
        if value is None
    ]
    runs, utility = card["runs"], card["utility"]
    asked = {
        "empirical": (card["empirical"], "whoever runs a canary audit", _CANARIES),
        "utility": (utility, "whoever trained the model", "How well does it predict each group?"),
        "utility.intervals": (None, "whoever trained the model", "How far do the scores move?"),
        "server": (card["server"], "the server", "What does the server's own book show?"),
        "hashes.config": (card["hashes"]["config"], "the server", "Which configuration was run?"),
        "hashes.code": (card["hashes"]["code"], "the groups", "Which code was run?"),
        "runs": (runs, "the groups", "Which runs were planned?"),
    }
    for run in runs:
        for name, question in _RUN_QUESTIONS.items():
            asked[f"runs.{run['run']}.{name}"] = (run[name], "the server", question)
    for group in card["groups"]:
        for data in group["datasets"]:
            field = f"groups.{group['name']}.{data['fingerprint'][:16]}.budget"
            asked[field] = (data["budget"], "the group", "What may be spent on these data?")
    return blanks + [
        {"field": field, "by": by, "question": question}
        for field, (value, by, question) in asked.items()
        if value is None or value == []
    ]


_CANARIES = "Which epsilon does an attack on the running code prove at least?"
_RUN_QUESTIONS = {
    "epsilon": "Which plan was run?",
    "accountant_version": "Which version of the accountant computed the promise?",
    "secure_aggregation": "Could the server read the vectors of single groups?",
    "threshold": "How many groups must keep their secrets for a sum to stay one?",
    "round_log": "Which rounds were summed, which were lost, and who dropped out?",
    "published": "Which model was published?",
}
