"""The checks of the plans in a server ledger: digest, epsilon, and how sums are taken."""

from collections.abc import Iterator, Mapping
from typing import Any

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Basis, Check, failed, passed
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.recomputed import wrong_epsilon
from privacy.audit.tallies.history import TallyHistory
from privacy.ledger.payloads import stated_plan


def begun(server: LedgerEvidence) -> dict[str, Mapping[str, Any]]:
    """The bodies of the RUN events, by run."""
    return {event.body["run"]: event.body for event in server.events if event.type == "RUN"}


def plans_of(server: LedgerEvidence) -> dict[str, PrivacyPlan]:
    """The plans of a server ledger, by run."""
    return {run: stated_plan(body["plan"]) for run, body in begun(server).items()}


def check_plans(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Server and groups name one plan for every run."""
    runs = begun(server)
    if len(runs) != sum(event.type == "RUN" for event in server.events):
        yield failed("plans", "server", "the server ledger begins a run twice.")
        return
    announced = [(each.name, each.state.plans) for each in evidence.ledgers if each.state]
    for run, body in runs.items():
        if stated_plan(body["plan"]).digest() != body["digest"]:
            yield failed("plans", "server", f"run {run[:12]}: the plan has another digest.")
            return
        for name, plans in announced:
            if run in plans and plans[run].digest != body["digest"]:
                yield failed("plans", name, f"run {run[:12]}: server and group differ.")
                return
    models = _models_of(server)
    for ledger in evidence.ledgers:
        for body in (event.body for event in ledger.events if event.type == "PLAN"):
            # What a group does not state cannot be another model.
            if body["run"] in models and body["model"] not in ("", *models[body["run"]]):
                where = f"run {body['run'][:12]}: the group was announced a model"
                finding = f"{where} that no round of the server ledger began from."
                yield failed("plans", ledger.name, finding)
                return
    # What is counted once is of no run: the runs that are trained on it name it.
    known = {run for _, plans in announced for run in plans if plans[run].plan.counts is None}
    for ledger in evidence.ledgers:
        known |= set(TallyHistory.of(ledger.events).runs) if ledger.state else set()
    lacking = known - runs.keys()
    if lacking:
        yield failed("plans", "server", f"the server ledger lacks run {min(lacking)[:12]}.")
        return
    alone = len(runs.keys() - known)
    finding = f"{len(runs)} run(s); no ledger that was handed in has another plan of one"
    unseen = f"; {alone} of them stand in no group's ledger" if alone else ""
    yield passed("plans", "server", f"{finding}{unseen}.")


def _models_of(server: LedgerEvidence) -> dict[str, set[str]]:
    """Digests of the models that a run had, at its start and after its rounds."""
    models: dict[str, set[str]] = {run: {body["model"]} for run, body in begun(server).items()}
    for event in server.events:
        if event.type == "ROUND":
            models[event.body["run"]].add(event.body["after"])
    return models


def check_epsilons(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """The epsilon of every plan, and what the server states of it, are those of the libraries."""
    plans = plans_of(server)
    for run, body in begun(server).items():
        where = f"run {run[:12]}"
        wrong, found = wrong_epsilon(plans[run])
        stated = {name: float(value) for name, value in body["epsilons"].items()}
        for name, value in stated.items():
            if not wrong and found is not None and not found.confirms(name, value):
                wrong = f"the server states {value:.4f} by {name}, but {found}"
        if wrong:
            yield failed("epsilon", "server", f"{where}: {wrong}.")
            return
        said = f", and what the server states of {' and '.join(stated)} agrees" if stated else ""
        claim = f"the plan claims {plans[run].epsilon:g}"
        yield passed("epsilon", "server", f"{where}: {found}; {claim}{said}.")


def check_secure(server: LedgerEvidence, evidence: Evidence) -> Iterator[Check]:
    """Shares of noise are summed under masks alone: one share by itself protects nobody."""
    plans, runs = plans_of(server), begun(server)
    for run, body in runs.items():
        if plans[run].mode is Mode.DISTRIBUTED and (not body["secure"] or body.get("pairs")):
            yield failed(
                "secure",
                "server",
                f"run {run[:12]}: each group adds a share of the noise only, and no secure sum "
                "hides its vector: against the server the epsilon does not hold.",
            )
            return
    shared = sum(plan.mode is Mode.DISTRIBUTED for plan in plans.values())
    if shared:
        finding = f"the {shared} run(s) whose groups share the noise are begun as secure sums"
    else:
        finding = "in every run each group adds all of the noise itself"
    basis = Basis.SERVER if shared else Basis.RECOMPUTED
    yield passed("secure", "server", f"{finding}.", basis)
