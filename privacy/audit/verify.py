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
from dataclasses import replace

import dp_accounting
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq

from privacy.accounting.accountant import GAUSSIAN_ORDER
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import TRUNCATION_SHARE
from privacy.audit.checks import Basis, Check, Status, failed, left_open, passed
from privacy.audit.comparison.card_comparison import compare_card, named_by
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.recomputed import wrong_epsilon
from privacy.audit.refused_rounds import UNREADABLE, check_refusals
from privacy.audit.run_folder.published import check_published
from privacy.audit.server_ledger.ledger import check_server_ledger
from privacy.audit.tallies.files import check_stored
from privacy.audit.tallies.history import TallyHistory, tallies
from privacy.audit.tallies.own import check_tallies
from privacy.ledger.chain import Event
from privacy.ledger.filter import Steps
from privacy.ledger.payloads import stated_plan
from privacy.ledger.state import State

_ALL = "all"


def verify(evidence: Evidence) -> tuple[Check, ...]:
    """Make every check that the evidence permits.

    Returns:
        In a fixed order: of each group's ledger, of the server ledger, of both against each other,
        of what was published. What could not be checked is `Status.OPEN`, never left out.
    """
    checks = [*_without_card(evidence)]
    if evidence.card is not None:
        # The card is compared with the one that whoever made it could have made.
        made_from = named_by(evidence.card, evidence.as_card or evidence)
        same = made_from is evidence
        made_from = replace(made_from, card=None, as_card=None)
        made_by = checks if same else _without_card(made_from)
        checks[-1] = compare_card(evidence.card, made_from, made_by, evidence)
    return tuple(checks)


def _without_card(evidence: Evidence) -> tuple[Check, ...]:
    """All checks but the comparison of the card, which stands open at the end."""
    checks: list[Check] = []
    for ledger in evidence.ledgers:
        checks += _of_ledger(ledger, evidence)
    checks += _forks(evidence)
    checks += check_server_ledger(evidence)
    checks += check_published(evidence)
    checks.append(left_open("card", "server", "no privacy card was handed in to be compared."))
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
    yield _code(name, ledger.events, evidence)
    plans = {run: announced.plan for run, announced in ledger.state.plans.items()}
    yield _plans_and_spends(name, ledger.events, plans)
    yield _budgets(name, ledger.state)
    yield check_refusals(name, ledger.events)
    yield _releases(name, ledger.events, ledger.state)
    yield from check_tallies(ledger)
    yield from check_stored(ledger)
    yield _countersigned(ledger, evidence)


def _key(ledger: LedgerEvidence, evidence: Evidence) -> Check:
    name, key, whose = ledger.name, ledger.owner.hex()[:16], evidence.rests_on_roster
    rests_on = (Basis.SIGNATURE, whose)
    if not evidence.members:
        finding = f"signed by key {key}..., which no roster names; ask the group for it."
        return left_open("key", name, finding, *rests_on)
    if not ledger.pinned:
        finding = f"signed by key {key}..., which {whose} gives to nobody."
        return failed("key", name, finding, *rests_on)
    hint = "" if evidence.roster_given else " Compare it with the key the group itself states."
    finding = f"signed by the key that {whose} gives this group ({key}...).{hint}"
    return passed("key", name, finding, *rests_on)


def _of_signed_part(ledger: LedgerEvidence) -> Iterator[Check]:
    # What cannot be read here is what has broken the ledger, which has a finding already.
    with suppress(*UNREADABLE):
        plans = [event.body for event in ledger.events if event.type == "PLAN"]
        stated = {body["run"]: stated_plan(body["plan"]) for body in plans}
        yield _plans_and_spends(ledger.name, ledger.events, stated)
    with suppress(*UNREADABLE):
        yield check_refusals(ledger.name, ledger.events)
    yield from check_tallies(ledger)


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
    for run, announced in state.plans.items():
        plan, where, whole = announced.plan, f"run {run[:12]}", "the whole run"
        if plan.counts is not None:
            where, whole = run[:18], "the counts, and so for all that is made of them"
        wrong, found = wrong_epsilon(plan, ledger=stated[run])
        if wrong:
            yield failed("epsilon", name, f"{where}: {wrong}.")
        else:
            claim = f"the plan claims {plan.epsilon:g} for {whole}"
            yield passed("epsilon", name, f"{where}: {found}; {claim}.")
    if not state.plans:
        yield left_open("epsilon", name, "no run was announced, so there is no epsilon to check.")


def _number(stated: object) -> float:
    """A stated number; not a number where it is none."""
    try:
        return float(str(stated))
    except ValueError:
        return math.nan


def _code(name: str, events: tuple[Event, ...], evidence: Evidence) -> Check:
    """The code that a group names is one that the reviewer can look at."""
    plans = [event.body for event in events if event.type == "PLAN"]
    stated = {str(body["run"]): body.get("code") for body in plans}
    for run, code in stated.items():
        if code == "":
            return left_open("code", name, f"run {run[:12]}: the group names no code that was run.")
        if str(code) not in evidence.code:
            return failed(
                "code",
                name,
                f"run {run[:12]}: the group names code {str(code)[:16]}, which is none at hand; "
                "give the checkout that was run by --code.",
            )
    if not stated:
        return left_open("code", name, "no run was announced, so there is no code to compare.")
    named = ", ".join(sorted({str(code)[:16] for code in stated.values()}))
    return passed(
        "code", name, f"for {len(stated)} run(s) the group names code {named}, which is at hand."
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
    counted = {run for run, plan in plans.items() if plan.counts is not None}
    rounds = sum(event.body["run"] not in counted for event in spends)
    done = sum(steps for run, steps in taken.items() if run not in counted)
    allowed = sum(plan.steps for run, plan in plans.items() if run not in counted)
    of_rounds = (
        f"{rounds} rounds spent {done} of the {allowed} steps announced, with the noise, the "
        "sampling and the number of steps that were announced before."
    )
    of_tallies = (
        f"{len(spends) - rounds} of {tallies(len(counted))} announced paid for, with the noise "
        "that was announced before."
    )
    found = [of_rounds] * (rounds > 0 or not counted) + [of_tallies] * bool(counted)
    return passed("plan", name, " ".join(found))


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
    if order == GAUSSIAN_ORDER:
        return _epsilon_of_gaussians(steps, delta=delta)
    accountant = RdpAccountant(orders=[float(order)])
    for mechanism, count in steps.items():
        gaussian = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(mechanism.sampling_rate, gaussian)
        accountant.compose(sampled, count)
    return float(accountant.get_epsilon(delta)) if steps else 0.0


def _epsilon_of_gaussians(steps: Steps, *, delta: float) -> float:
    """The epsilon of one Gaussian mechanism that is as much as all steps, none of them sampled."""
    squares = sum(count / mechanism.noise_multiplier**2 for mechanism, count in steps.items())
    if squares == 0:
        return 0.0
    # Of one Gaussian the privacy loss has a closed form: no grid, which large losses would fill.
    loss = GaussianPrivacyLoss(squares**-0.5)

    def excess(epsilon: float) -> float:
        return float(loss.get_delta_for_epsilon(epsilon)) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9))


def _releases(name: str, events: tuple[Event, ...], state: State) -> Check:
    count = Counter(event.type for event in events)
    still = f", {len(state.open)} without an end (they stay charged)" if state.open else ""
    what = "vectors and tallies" if TallyHistory.of(events) else "vectors"
    return passed(
        "releases",
        name,
        f"{count['RELEASED']} {what} were released, each paid for before; {count['ABORTED']} "
        f"spends gave nothing, by the group's own word, and stay charged{still}.",
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
        Basis.SERVER_SIGNATURE,
        evidence.rests_on_roster,
    )


# All ledgers.


def _forks(evidence: Evidence) -> Iterator[Check]:
    found = [*_two_histories(evidence), *_two_plans(evidence)]
    yield from found
    if not found:
        keys = len({ledger.owner for ledger in evidence.ledgers})
        yield passed("forks", _ALL, f"{keys} keys have one history each, and every run one plan.")


def _two_histories(evidence: Evidence) -> Iterator[Check]:
    """One key has one ledger, and that is one file: a copy would be counted as another group."""
    for one, other in itertools.combinations(evidence.ledgers, 2):
        if one.owner and one.owner == other.owner:
            pairs = zip(one.events, other.events, strict=False)
            two = any(a.hash != b.hash for a, b in pairs)
            what = "two histories signed by one key" if two else "two copies of one ledger"
            finding = f"{one.file.name} and {other.file.name} are {what}: that of {one.name}."
            yield failed("forks", one.name, finding)


def _two_plans(evidence: Evidence) -> Iterator[Check]:
    runs: dict[str, set[str]] = {}
    for ledger in evidence.ledgers:
        for run, plan in (ledger.state.plans if ledger.state else {}).items():
            runs.setdefault(run, set()).add(plan.digest)
    for run, digests in runs.items():
        if len(digests) > 1:
            yield failed("forks", _ALL, f"groups announce {len(digests)} plans of run {run[:12]}.")
