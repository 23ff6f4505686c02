"""The refusals of an attempt: the steps of its plan, or the budget of its units, are spent."""

from privacy.errors import AlreadyCharged, BudgetExhausted, PrivacyError
from privacy.ledger.facts import RunPlan
from privacy.ledger.filter import Attempt, cost
from privacy.ledger.payloads import named
from privacy.ledger.state import State


def steps_refusal(state: State, plan: RunPlan, key: Attempt) -> PrivacyError | None:
    """The error of an attempt whose plan has no steps left; None if it has."""
    spent = state.run_steps[key[0]]
    if state.refused.get(key) != "plan" and spent + plan.per_round <= plan.steps:
        return None
    remedy = f"{spent} of {plan.steps} steps of the plan are spent; make a new plan"
    return AlreadyCharged(f"{named(key)}: {remedy}")


def budget_refusal(state: State, plan: RunPlan, key: Attempt) -> PrivacyError | None:
    """The error of an attempt that a budget does not pay for; None if all do."""
    fits, name = state.affordable(plan.dataset, plan.mechanism)
    if state.refused.get(key) is None and fits >= plan.per_round:
        return None
    budget = state.budgets[name]
    used = float(state.used(name, budget.order, also=plan.dataset) or 0)
    step = plan.per_round * cost(plan.mechanism, budget.order)
    return BudgetExhausted(
        f"{named(key)} costs {step:.6g} and {used:.6g} of {budget.bound:.6g} is used at order "
        f"{budget.order} ({budget} of data {name[:16]}...); stop here, or train on people "
        "who have not been asked before"
    )
