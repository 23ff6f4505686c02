"""The reviewer's checks: offline, on files alone, without trust in a server or a group.

Every check ends in a sentence that a lawyer can read. A ledger by itself shows what its owner has
written and that nothing was changed since. That nothing was left out shows only against the server
ledger and the ledgers of the other groups. Two libraries of different authors recompute epsilon.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import dp_accounting
from dp_accounting.rdp import RdpAccountant

from privacy.accounting.accountant import PLD_TOLERANCE, pld_epsilon, rdp_epsilon
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.prv_cross_check import prv_epsilon
from privacy.accounting.terms import TRUNCATION_SHARE
from privacy.audit.checks import Check, Status, failed, left_open, passed
from privacy.audit.evidence import Evidence, LedgerEvidence, file_digest
from privacy.audit.verify_ledger import check_server_ledger
from privacy.errors import PrivacyError
from privacy.ledger.chain import Event
from privacy.ledger.facts import RunPlan
from privacy.ledger.filter import Steps
from privacy.ledger.payloads import stated_plan
from privacy.ledger.state import State

_ALL = "all"
_UNREADABLE = (PrivacyError, KeyError, ValueError, TypeError, AttributeError)


def verify(evidence: Evidence) -> tuple[Check, ...]:
    """Make every check that the evidence permits.

    Returns:
        In a fixed order: of each group's ledger, of the server ledger, of both against each other,
        of what was published. What could not be checked is `Status.OPEN`, never left out.
    """
    checks: list[Check] = []
    for ledger in evidence.ledgers:
        checks += _of_ledger(ledger, evidence)
    checks += _forks(evidence)
    checks += check_server_ledger(evidence)
    checks += _published(evidence)
    return tuple(checks)


def holds(checks: tuple[Check, ...]) -> bool:
    """Whether no check failed."""
    return not any(check.status is Status.FAIL for check in checks)


# One ledger.


def _of_ledger(ledger: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    name = ledger.name
    yield _key(ledger, evidence)
    if ledger.state is None:
        about = "the ledger is not what its owner wrote, or contradicts itself"
        yield failed("chain", name, f"{about}: {ledger.error}.")
        # A reviewer wants to know what else is wrong in the part that can be read.
        yield from _of_signed_part(ledger)
        return
    torn = f" {ledger.torn} bytes of a last line torn by a crash are left out." * (ledger.torn > 0)
    yield passed(
        "chain",
        name,
        f"{len(ledger.events)} events are numbered without a gap, each bound to the one before "
        f"and signed by one key; nothing was changed, moved or removed between them.{torn}",
    )
    yield _restarts(name, ledger.state)
    yield from _epsilons(name, ledger.events, ledger.state)
    plans = {run: announced.plan for run, announced in ledger.state.plans.items()}
    yield _plans_and_spends(name, ledger.events, plans)
    yield _budgets(name, ledger.state)
    yield _refusals(name, ledger.events)
    yield _releases(name, ledger.events, ledger.state)
    yield _countersigned(ledger, evidence)


def _key(ledger: LedgerEvidence, evidence: Evidence) -> Check:
    name, key = ledger.name, ledger.owner.hex()[:16]
    if not evidence.members:
        return left_open(
            "key", name, f"signed by key {key}..., which no roster names; ask the group for it."
        )
    if not ledger.pinned:
        return failed("key", name, f"signed by key {key}..., which the roster gives to nobody.")
    whose = "the reviewer's roster" if evidence.roster_given else "the roster beside the ledgers"
    hint = "" if evidence.roster_given else " Compare it with the key the group itself states."
    return passed("key", name, f"signed by the key that {whose} gives this group ({key}...).{hint}")


def _of_signed_part(ledger: LedgerEvidence) -> Iterator[Check]:
    # What cannot be read here is what has broken the ledger, which has a finding already.
    with suppress(*_UNREADABLE):
        plans = [event.body for event in ledger.events if event.type == "PLAN"]
        stated = {body["run"]: stated_plan(body["plan"]) for body in plans}
        yield _plans_and_spends(ledger.name, ledger.events, stated)
    with suppress(*_UNREADABLE):
        yield _refusals(ledger.name, ledger.events)


def _restarts(name: str, state: State) -> Check:
    """Whether people go on from what they have spent: that takes the files that list them."""
    count = len(state.datasets)
    if count < 2:
        finding = "no data were registered twice, so that no budget could begin anew."
        return passed("restarts", name, finding)
    if not state.knows_people:
        return left_open(
            "restarts",
            name,
            f"{count} data sets in one ledger, which does not say who is in several of them: that "
            "these go on from what they had spent rests on the group's own client. The people "
            "files beside the ledger show it; the ledger alone shows that no budget was raised.",
        )
    return passed(
        "restarts",
        name,
        f"{count} data sets in one ledger; recomputed from the lists of their people, whoever is "
        "in several goes on from what was spent before, and no budget was raised.",
    )


def _epsilons(name: str, events: tuple[Event, ...], state: State) -> Iterator[Check]:
    stated = {e.body["run"]: _number(e.body.get("pld_epsilon")) for e in events if e.type == "PLAN"}
    for run, plan in state.plans.items():
        yield _epsilon(name, run, plan, stated[run])
    if not state.plans:
        yield left_open("epsilon", name, "no run was announced, so there is no epsilon to check.")


def _number(stated: object) -> float:
    """A stated number; not a number where it is none."""
    try:
        return float(str(stated))
    except ValueError:
        return math.nan


def _epsilon(name: str, run: str, announced: RunPlan, stated: float) -> Check:
    plan = announced.plan
    where = f"run {run[:12]}"
    try:
        ours = pld_epsilon(plan.mechanism, delta=plan.accounted_delta)
        lowest, highest = prv_epsilon(plan.mechanism, delta=plan.accounted_delta)
        rdp = rdp_epsilon(plan.mechanism, delta=plan.accounted_delta)
    except (PrivacyError, ValueError, OverflowError) as error:
        return failed("epsilon", name, f"{where}: epsilon could not be recomputed: {error}.")
    found = (
        f"epsilon = {ours:.4f} by dp-accounting (PLD), between {lowest:.4f} and {highest:.4f} by "
        f"prv-accountant"
    )
    if not lowest - PLD_TOLERANCE <= ours <= highest + PLD_TOLERANCE or ours > rdp + PLD_TOLERANCE:
        return failed("epsilon", name, f"{where}: the two libraries disagree: {found}.")
    if not abs(ours - stated) <= PLD_TOLERANCE:
        return failed("epsilon", name, f"{where}: the ledger states {stated:.4f}, but {found}.")
    if ours > plan.epsilon:
        return failed("epsilon", name, f"{where}: the plan claims {plan.epsilon:g}, but {found}.")
    return passed(
        "epsilon", name, f"{where}: {found}; the plan claims {plan.epsilon:g} for the whole run."
    )


def _plans_and_spends(
    name: str, events: tuple[Event, ...], plans: Mapping[str, PrivacyPlan]
) -> Check:
    spends = [event for event in events if event.type == "SPEND"]
    taken: Counter[str] = Counter()
    for event in spends:
        plan = plans[event.body["run"]]
        taken[event.body["run"]] += event.body["steps"]
        same = (float(event.body["z"]), float(event.body["q"]), event.body["steps"])
        if same != (plan.noise_multiplier, plan.sampling_rate, plan.local_steps):
            return failed("plan", name, f"event {event.seq} spends otherwise than its run's plan.")
    for run, steps in taken.items():
        if steps > plans[run].steps:
            allowed = plans[run].steps
            return failed("plan", name, f"run {run[:12]} took {steps} of {allowed} steps.")
    done = sum(taken.values())
    allowed = sum(plan.steps for plan in plans.values())
    return passed(
        "plan",
        name,
        f"{len(spends)} rounds spent {done} of the {allowed} steps announced, with the noise, the "
        "sampling and the number of steps that were announced before.",
    )


def _budgets(name: str, state: State) -> Check:
    """Nobody has spent more than a budget, by the divergences of dp-accounting.

    Where people are listed, for each of them; else for whoever is in all data, which holds for
    everybody, or by the runs one by one. No finding states what any person has spent.
    """
    if not state.budgets:
        return left_open("budget", name, "no budget was set, and nothing can be spent without.")
    known = state.knows_people
    for dataset in state.budgets:
        of_runs = ((steps, Steps()) for steps in _steps_of_runs(state, dataset))
        for now, before in state.spent_by_people(dataset) if known else of_runs:
            # Who had spent more than a new budget must not have spent since.
            if now != before and (used := _excess(state, dataset, now)) is not None:
                return _overspent(name, state, dataset, used)
    epsilons = ", ".join(sorted({f"{budget.epsilon:g}" for budget in state.budgets.values()}))
    if known:
        finding = (
            f"recomputed person by person, nobody has paid beyond a budget: epsilon = {epsilons}."
        )
        return passed("budget", name, finding)
    if all(_excess(state, dataset, state.public.taken) is None for dataset in state.budgets):
        finding = f"all spends together are within every budget: epsilon = {epsilons}."
        return passed("budget", name, finding)
    return left_open(
        "budget",
        name,
        f"every run by itself is within the budget of its data (epsilon = {epsilons}), all "
        "together are not. That nobody pays for more than a budget over several runs rests on the "
        "group's own client, which leaves such people out; the people files beside the ledger show "
        "it.",
    )


def _steps_of_runs(state: State, dataset: str) -> Iterator[Steps]:
    """The steps of each run on some data."""
    for run, plan in state.plans.items():
        if plan.dataset == dataset:
            yield Steps({plan.mechanism: state.run_steps[run]})


def _excess(state: State, dataset: str, steps: Steps) -> float | None:
    """The epsilon that steps amount to where it is above the budget of some data; else None."""
    budget = state.budgets[dataset]
    filtered = budget.delta * (1 - TRUNCATION_SHARE)
    used = _epsilon_of(steps, order=budget.order, delta=filtered)
    return used if used > budget.epsilon * (1 + 1e-6) else None


def _overspent(name: str, state: State, dataset: str, used: float) -> Check:
    budget = state.budgets[dataset]
    return failed(
        "budget",
        name,
        f"data {dataset[:12]} have spent epsilon = {used:.6g}, above the budget of "
        f"{budget.epsilon:g} (delta = {budget.delta:g}).",
    )


def _epsilon_of(steps: Steps, *, order: int, delta: float) -> float:
    """The epsilon that steps amount to at one order; 0 before the first."""
    accountant = RdpAccountant(orders=[float(order)])
    for mechanism, count in steps.items():
        gaussian = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(mechanism.sampling_rate, gaussian)
        accountant.compose(sampled, count)
    return float(accountant.get_epsilon(delta)) if steps else 0.0


def _refusals(name: str, events: tuple[Event, ...]) -> Check:
    """Nothing leaves for an attempt that was refused, and a spent budget stays spent."""
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


def _releases(name: str, events: tuple[Event, ...], state: State) -> Check:
    count = Counter(event.type for event in events)
    still = f", {len(state.open)} without an end (they stay charged)" if state.open else ""
    return passed(
        "releases",
        name,
        f"{count['RELEASED']} vectors were released, each paid for before; {count['ABORTED']} "
        f"spends gave nothing and stay charged{still}.",
    )


def _countersigned(ledger: LedgerEvidence, evidence: Evidence) -> Check:
    heads = [event for event in ledger.events if event.type == "HEAD"]
    if not heads:
        return left_open(
            "heads",
            ledger.name,
            "no server has countersigned this ledger: that its end was cut off could not be seen.",
        )
    if not evidence.servers:
        return left_open("heads", ledger.name, f"{len(heads)} signatures of servers; no roster.")
    last, after = heads[-1].body["seq"], len(ledger.events) - heads[-1].seq
    return passed(
        "heads",
        ledger.name,
        f"{len(heads)} times a pinned server has signed what stood in this ledger, last at event "
        f"{last}; {after} events came after that signature.",
    )


# All ledgers.


def _forks(evidence: Evidence) -> Iterator[Check]:
    found = [*_two_histories(evidence), *_two_plans(evidence)]
    yield from found
    if not found:
        keys = len({ledger.owner for ledger in evidence.ledgers})
        yield passed("forks", _ALL, f"{keys} keys have one history each, and every run one plan.")


def _two_histories(evidence: Evidence) -> Iterator[Check]:
    for one, other in itertools.combinations(evidence.ledgers, 2):
        pairs = zip(one.events, other.events, strict=False)
        if one.owner == other.owner and any(a.hash != b.hash for a, b in pairs):
            finding = f"{one.file.name} and {other.file.name} are two histories signed by one key."
            yield failed("forks", one.name, finding)


def _two_plans(evidence: Evidence) -> Iterator[Check]:
    runs: dict[str, set[str]] = {}
    for ledger in evidence.ledgers:
        for run, plan in (ledger.state.plans if ledger.state else {}).items():
            runs.setdefault(run, set()).add(plan.digest)
    for run, digests in runs.items():
        if len(digests) > 1:
            yield failed("forks", _ALL, f"groups announce {len(digests)} plans of run {run[:12]}.")


# What was published.


def _published(evidence: Evidence) -> Iterator[Check]:
    events = evidence.server_ledger.events if evidence.server_ledger else ()
    last = next((event for event in reversed(events) if event.type == "PUBLISHED"), None)
    if last is None:
        yield left_open("published", "server", "the server ledger names no published model.")
        return
    files = last.body.get("files")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        yield failed("published", "server", "the server ledger does not name what was published.")
        return
    if evidence.published is None:
        yield left_open("published", "server", "the files of the model were not handed in.")
    else:
        wrong = [n for n, digest in files.items() if file_digest(evidence.published / n) != digest]
        if wrong:
            finding = f"{', '.join(wrong)}: missing, or not as the server ledger names it."
            yield failed("published", "server", finding)
        else:
            finding = f"{len(files)} files are those of the server ledger."
            yield passed("published", "server", finding)
    if evidence.card is None:
        yield left_open("card", "server", "no privacy card was handed in to be compared.")
        return
    yield _card(evidence.card, events)


def _card(card: Mapping[str, Any], events: tuple[Event, ...]) -> Check:
    """Whether a privacy card names the plans and models of the server ledger."""
    plans = {str(e.body.get("run")): e.body.get("digest") for e in events if e.type == "RUN"}
    published = {
        str(e.body.get("run")): {name: e.body.get(name) for name in ("model", "files")}
        for e in events
        if e.type == "PUBLISHED"
    }
    runs = card.get("runs")
    listed = [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
    named = {str(run.get("run")): (run.get("plan_digest"), run.get("published")) for run in listed}
    for run, digest in plans.items():
        if named.get(run) != (digest, published.get(run)):
            finding = f"run {run[:12]}: the card has another plan or model than the server ledger."
            return failed("card", "server", finding)
    return passed("card", "server", "the privacy card has the plans and models of the ledger.")
