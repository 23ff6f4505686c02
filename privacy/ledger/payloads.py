"""The payloads of events: how a PLAN, a SPEND and a REFUSED state plans and attempts."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.errors import LedgerRefused
from privacy.ledger.filter import Attempt, Mechanism

DIGEST_BYTES = 32


def plan_body(plan: PrivacyPlan, run: str, *, code: str, model: str) -> dict[str, object]:
    """The body of a PLAN event, but for the cost."""
    return {
        "run": run,
        "plan": plan.as_dict(),
        "digest": plan.digest(),
        "mechanism": "discrete Gaussian, Poisson samples",
        "cut_chance": plan.cut_chance(),
        "code": code,
        "model": model,
    }


def stated_plan(values: Mapping[str, Any]) -> PrivacyPlan:
    """Read a plan that stands in an event, where floats are strings; not yet verified.

    Raises:
        PlanRefused: if it is no plan, or one that could not be kept.
        ValueError: if a number is none.
    """
    reals = {field.name for field in fields(PrivacyPlan) if field.type is float}
    return PrivacyPlan.from_dict(
        {name: float(value) if name in reals else value for name, value in values.items()}
    )


def mechanism_of(plan: PrivacyPlan) -> Mechanism:
    """The mechanism of one step of a plan, as far as its cost depends on it."""
    return Mechanism(noise_multiplier=plan.noise_multiplier, sampling_rate=plan.sampling_rate)


def spend_body(
    mechanism: Mechanism, key: Attempt, context: bytes, *, steps: int, rdp: float
) -> dict[str, object]:
    """The body of a SPEND event: one round of a plan, charged at the order of its budget."""
    return {
        **attempt_body(key),
        "ctx": digest_hex("context", context),
        "q": mechanism.sampling_rate,
        "z": mechanism.noise_multiplier,
        "steps": steps,
        "rdp": rdp,
    }


def attempt_key(run: str, round: int, attempt: int) -> Attempt:
    """The name of an attempt.

    Raises:
        LedgerRefused: if round or attempt is no number from 0.
    """
    for name, value in (("round", round), ("attempt", attempt)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise LedgerRefused(f"{name} = {value!r} is not a number from 0; count it")
    return run, round, attempt


def attempt_body(key: Attempt) -> dict[str, object]:
    """The fields by which SPEND and REFUSED name an attempt."""
    return dict(zip(("run", "round", "attempt"), key, strict=True))


def named(key: Attempt) -> str:
    """An attempt as error texts name it."""
    return f"attempt {key[2]} of round {key[1]} of run {key[0]!r}"


def digest_hex(name: str, value: bytes) -> str:
    """A digest of 32 bytes in hexadecimal.

    Raises:
        LedgerRefused: if it has another length.
    """
    if len(value) != DIGEST_BYTES:
        raise LedgerRefused(f"{name} has {len(value)} bytes; give a digest of {DIGEST_BYTES}")
    return value.hex()
