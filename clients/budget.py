"""What a client may still spend: its plan, recomputed, and the steps it has charged.

No torch here: the stages of secure aggregation check plans too, and train nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache

from flwr.app import ConfigRecord, RecordDict

from privacy.errors import AlreadyCharged, ExecutionMismatch
from privacy.plan import PrivacyPlan

_CHARGES = "charges"


@lru_cache(maxsize=8)
def verified_plan(text: str) -> PrivacyPlan:
    """Read a plan and recompute its epsilon; takes about a second, so results are kept.

    Raises:
        PlanRefused: The plan asks for what cannot be guaranteed, or promises what it does not keep.
    """
    plan = PrivacyPlan.from_dict(json.loads(text))
    plan.verify()
    return plan


def charge(state: RecordDict, plan: PrivacyPlan, number: int) -> None:
    """Count the steps of a round as spent, before any of them is taken.

    Args:
        state: What this client keeps between messages.
        plan: The plan of the run; a client follows one.
        number: The round; each is charged once, in rising order.

    Raises:
        AlreadyCharged: The round, or the whole plan, is spent.
        ExecutionMismatch: The plan is not the one this run began with.
    """
    spent = state.config_records.get(_CHARGES)
    steps, last = 0, 0
    if spent is not None:
        steps, last = int(str(spent["steps"])), int(str(spent["round"]))
        if spent["plan"] != plan.digest():
            raise ExecutionMismatch("the privacy plan changed within a run; start a new run")
    if number <= last:
        raise AlreadyCharged(
            f"round {number} was asked for after round {last}; each is answered once, in order"
        )
    if steps + plan.local_steps > plan.steps:
        raise AlreadyCharged(f"all {plan.steps} steps of the plan are spent; make a new plan")
    state[_CHARGES] = ConfigRecord(
        {"plan": plan.digest(), "round": number, "steps": steps + plan.local_steps}
    )
