"""The refusals of a ledger: of data, of plans, and of attempts.

All rest on public facts: what a run announces, and what it has spent itself. So a refusal tells
nobody who is in the data.
"""

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import (
    AlreadyCharged,
    BudgetExhausted,
    ExecutionMismatch,
    LedgerRefused,
    PrivacyError,
    UnsupportedMechanism,
)
from privacy.ledger.facts import Budget, Dataset, RunPlan
from privacy.ledger.filter import Attempt, cost
from privacy.ledger.payloads import named
from privacy.ledger.state import State


def check_data(state: State, *, unit: Unit, bound: int, run: str) -> None:
    """Check that the data of a run can be registered, or are registered so; see `Ledger.register`.

    Raises:
        LedgerRefused: for another unit of privacy, no name of a run, or no bound.
        ExecutionMismatch: if the run was announced under another bound.
    """
    if not run or type(bound) is not int or bound < 1:
        raise LedgerRefused(f"run {run!r} needs a name, and a bound of at least 1, not {bound!r}")
    first = next(iter(state.datasets.values()), None)
    if first is not None and first.unit is not unit:
        raise LedgerRefused(
            f"unit = {unit} in a ledger of {first.unit}s could not tell the same people again; "
            f"use {first.unit}"
        )
    known = state.data_of(run)
    if known is not None and known.run and known.units != bound:
        raise ExecutionMismatch(
            f"run {run!r} has announced at most {known.units} units, not {bound}; rename it"
        )


def check_plan(state: State, data: Dataset, plan: PrivacyPlan, *, run: str) -> Budget:
    """Check that a run can announce a plan on its data, and return their budget.

    Raises:
        LedgerRefused: if the data have no budget, are of another run, or have another unit,
            relation or bound than the plan.
        UnsupportedMechanism: for sampled steps under another relation than adding or removing one,
            which have no filter here.
    """
    if plan.counts is None and plan.relation is not NeighboringRelation.ADD_OR_REMOVE_ONE:
        raise UnsupportedMechanism(
            f"relation = {plan.relation} has no filter; use {NeighboringRelation.ADD_OR_REMOVE_ONE}"
        )
    budget = state.budgets.get(data.fingerprint)
    if budget is None or not run:
        raise LedgerRefused(f"run {run!r} needs a name, and data with a budget; set one first")
    if (plan.unit, plan.relation) != (data.unit, data.relation):
        raise LedgerRefused(
            f"the plan protects a {plan.unit} ({plan.relation}), the data are registered by "
            f"{data.unit} ({data.relation}); make them agree"
        )
    if data.run and (data.run != run or data.units not in plan.sizes):
        raise LedgerRefused(
            f"the data are of run {data.run!r} and at most {data.units} units, the plan is of run "
            f"{run!r}; register the data for it, under a bound that it names"
        )
    return budget


def steps_refusal(state: State, plan: RunPlan, key: Attempt) -> PrivacyError | None:
    """The error of an attempt whose plan has no steps left; None if it has."""
    spent = state.run_steps[key[0]]
    if state.refused.get(key) != "plan" and spent + plan.per_round <= plan.steps:
        return None
    remedy = f"{spent} of {plan.steps} steps of the plan are spent; make a new plan"
    return AlreadyCharged(f"{named(key)}: {remedy}")


def budget_refusal(state: State, plan: RunPlan, key: Attempt) -> PrivacyError | None:
    """The error of an attempt that nobody could pay for who is new to the run; None if one could.

    A run that was refused once for its budget stays so.
    """
    ended = any(run == key[0] and code == "budget" for (run, _, _), code in state.refused.items())
    if not ended and state.rounds_alone(key[0]) > 0:
        return None
    budget = state.budgets[plan.dataset]
    step = cost(plan.mechanism, budget.order)
    used = state.run_steps[key[0]] * step
    return BudgetExhausted(
        f"{named(key)} costs {plan.per_round * step:.6g} and {used:.6g} of {budget.bound:.6g} is "
        f"used by the run itself at order {budget.order} ({budget}); stop here, or plan another "
        "run for people who have not been asked before"
    )
