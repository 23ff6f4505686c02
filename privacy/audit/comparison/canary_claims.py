"""The figures of a canary audit on a privacy card: whether they can be those of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from privacy.accounting.accountant import PLD_TOLERANCE, SampledGaussian, pld_epsilon
from privacy.accounting.choices import Mode
from privacy.accounting.terms import TRUNCATION_SHARE
from privacy.audit.canaries.audit import CanaryAudit
from privacy.audit.canaries.bounds import epsilon_lower_bound, regression_limit
from privacy.audit.likeness import alike
from privacy.errors import PrivacyError

_KINDS = {field.name: field.type for field in fields(CanaryAudit)}
_VERDICTS = ("passed", "conclusive", "regressed")
_OF_PLAN = ("mode", "delta", "steps", "noise_multiplier", "sampling_rate", "honest_shares")


@dataclass(frozen=True, kw_only=True)
class _Audited:
    """The plan of an audit, as far as the audit states it."""

    delta: float
    steps: int
    noise_multiplier: float
    sampling_rate: float
    honest_shares: int


def wrong_audit(stated: object, runs: Sequence[Mapping[str, Any]]) -> str:
    """The first thing wrong with a canary audit; empty if nothing is, or there is none.

    Whether the guesses were made, no file shows. What follows from them and from the plan is
    computed again, and the claim may not be below the epsilon of that plan.

    Args:
        stated: `empirical` of the card.
        runs: those of the card.
    """
    if stated is None:
        return ""
    if not isinstance(stated, dict) or stated.keys() != {*_KINDS, *_VERDICTS}:
        return "states in empirical what has not the fields of a canary audit"
    for name, value in stated.items():
        kind = bool if name in _VERDICTS else str if name == "mode" else _KINDS[name]
        if type(value) is not kind:
            return f"states in empirical.{name} what is no {getattr(kind, '__name__', kind)}"
    try:
        wrong = _wrong_figure(stated) or _wrong_claim(stated, runs)
    except (PrivacyError, ValueError, OverflowError) as error:
        return f"states in empirical an audit that cannot have been made ({error})"
    return wrong and f"states in empirical.{wrong}"


def _wrong_figure(stated: Mapping[str, Any]) -> str:
    Mode(stated["mode"])
    bound = partial(
        epsilon_lower_bound,
        **{name: stated[name] for name in ("guesses", "canaries", "delta", "confidence")},
    )
    lower, claimed = stated["epsilon_lower"], stated["epsilon_claimed"]
    plan = _Audited(**{name: stated[name] for name in _OF_PLAN if name != "mode"})
    sizes = {name: stated[name] for name in ("canaries", "guesses", "confidence")}
    expected = {
        "epsilon_lower": bound(correct=stated["correct"]),
        "ceiling": bound(correct=stated["guesses"]),
        "regression_limit": regression_limit(plan, **sizes),
        "passed": lower <= claimed,
        "conclusive": stated["ceiling"] > claimed,
        "regressed": lower > stated["regression_limit"],
    }
    for name, value in expected.items():
        # Bounds are roots, found to some decimals.
        near = isinstance(value, float) and abs(value - stated[name]) <= 1e-6
        if not near and not alike(value, stated[name], name):
            return f"{name} = {stated[name]!r}, which does not follow from its guesses and plan"
    return ""


def _wrong_claim(stated: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    claimed = stated["epsilon_claimed"]
    for run in runs:
        # What is counted once has one step, of everybody.
        once = {"steps": 1, "sampling_rate": 1.0} if "tally" in run else {}
        planned = {**run, **once}
        if all(planned[name] == stated[name] for name in _OF_PLAN) and run["epsilon"] != claimed:
            return f"epsilon_claimed = {claimed!r}, and the plan of run {run['run'][:12]} another"
    noise = SampledGaussian(
        **{name: stated[name] for name in ("noise_multiplier", "sampling_rate", "steps")}
    )
    least = pld_epsilon(noise, delta=stated["delta"] * (1 - TRUNCATION_SHARE))
    if not least <= claimed + PLD_TOLERANCE:
        return f"epsilon_claimed = {claimed!r}, below the {least:.4f} of its noise"
    return ""
