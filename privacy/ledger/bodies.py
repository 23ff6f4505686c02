"""The words of events: what is written of plans and attempts."""

from privacy.errors import LedgerRefused
from privacy.ledger.filter import cost
from privacy.ledger.state import Attempt, RunPlan
from privacy.plan import PrivacyPlan

DIGEST_BYTES = 32


def plan_body(plan: PrivacyPlan, run: str, *, code: str, model: str) -> dict[str, object]:
    """What a PLAN event says of a plan, but for its cost."""
    return {
        "run": run,
        "plan": plan.digest(),
        "mechanism": "discrete Gaussian, Poisson samples",
        "mode": str(plan.mode),
        "relation": str(plan.relation),
        "q": plan.sampling_rate,
        "z": plan.noise_multiplier,
        "k": plan.noise_log2,
        "S": plan.sensitivity,
        "h": plan.honest_shares,
        "c": plan.colluding,
        "T": plan.steps,
        "local_steps": plan.local_steps,
        "d": plan.dimension,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "code": code,
        "model": model,
    }


def spend_body(plan: RunPlan, key: Attempt, context: bytes, *, order: int) -> dict[str, object]:
    """What a SPEND event says: one round of a plan, charged at the order of its budget."""
    mechanism = plan.mechanism
    return {
        **attempt_body(key),
        "ctx": digest_hex("context", context),
        "q": mechanism.sampling_rate,
        "z": mechanism.noise_multiplier,
        "steps": plan.per_round,
        "rdp": plan.per_round * cost(mechanism, order),
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
    """How SPEND and REFUSED name an attempt."""
    return dict(zip(("run", "round", "attempt"), key, strict=True))


def named(key: Attempt) -> str:
    """An attempt in words."""
    return f"attempt {key[2]} of round {key[1]} of run {key[0]!r}"


def digest_hex(name: str, value: bytes) -> str:
    """A digest of 32 bytes in hexadecimal.

    Raises:
        LedgerRefused: if it has another length.
    """
    if len(value) != DIGEST_BYTES:
        raise LedgerRefused(f"{name} has {len(value)} bytes; give a digest of {DIGEST_BYTES}")
    return value.hex()
