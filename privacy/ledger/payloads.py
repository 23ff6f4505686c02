"""The payloads of events: their fields, and how they state plans and attempts.

An event says what its kind says and nothing besides, in one spelling: what fits no form has no
meaning that a reader could check.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.errors import LedgerRefused
from privacy.ledger.filter import Attempt, Mechanism

DIGEST_BYTES = 32
_SIGNATURE_BYTES = 64
_MECHANISM = "discrete Gaussian, Poisson samples"
_COUNTED = "discrete Gaussian, counts taken once"

Rule = Callable[[Any], bool]
Form = Mapping[str, Rule]
"""The fields of an event, each with what can stand there."""


def hexadecimal(length: int) -> Rule:
    """So many bytes in lower-case hexadecimal."""

    def holds(value: Any) -> bool:
        return text(value) and len(value) == 2 * length and bytes.fromhex(value).hex() == value

    return holds


def text(value: Any) -> bool:
    """A text that is not empty."""
    return isinstance(value, str) and bool(value)


def number(value: Any) -> bool:
    """A finite float as its repr string, as canonical JSON has it."""
    return text(value) and isfinite(float(value)) and float.__repr__(float(value)) == value


def at_least(least: int) -> Rule:
    """A whole number from here on, and no truth value."""
    return lambda value: type(value) is int and value >= least


def wrong_fields(body: Mapping[str, Any], forms: Sequence[Form]) -> str:
    """The first thing wrong with the fields of an event; empty if nothing is.

    Args:
        body: of the event.
        forms: that it may have.
    """
    form = next((each for each in forms if each.keys() == body.keys()), None)
    if form is None:
        return f"has other fields than such an event: {', '.join(sorted(body))}"
    for name, rule in form.items():
        try:
            holds = rule(body[name])
        except (ValueError, TypeError, OverflowError):
            holds = False
        if not holds:
            return f"states in {name!r} what cannot be read there"
    return ""


def _optional_digest(value: Any) -> bool:
    return value == "" or hexadecimal(DIGEST_BYTES)(value)


def _error_name(value: Any) -> bool:
    return text(value) and value.isascii() and value.isidentifier()


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(text, value))


_digest = hexadecimal(DIGEST_BYTES)
_ATTEMPT: Form = {"run": text, "round": at_least(0), "attempt": at_least(0)}
_UNITS: Form = {"units": at_least(0), "unit": text, "adjacency": text}
_FORMS: Mapping[str, tuple[Form, ...]] = {
    "DATASET": (
        {**_UNITS, "run": text, "people": _digest},
        # As earlier versions registered data.
        {**_UNITS, "parents": _texts, "tags": lambda value: isinstance(value, str)},
    ),
    "BUDGET": ({"epsilon": number, "delta": number, "order": at_least(1), "bound": number},),
    "PLAN": (
        {
            "run": text,
            "plan": lambda value: isinstance(value, dict),
            "digest": _digest,
            "mechanism": lambda value: value in ("", _MECHANISM, _COUNTED),
            "cut_chance": number,
            "code": _optional_digest,
            "model": _optional_digest,
            "rdp": number,
            "pld_epsilon": number,
        },
    ),
    "SPEND": (
        {
            **_ATTEMPT,
            "ctx": _digest,
            "q": number,
            "z": number,
            "steps": at_least(1),
            "rdp": number,
        },
    ),
    "USED": ({**_ATTEMPT, "ctx": _digest, "tally": _digest, "vector": _digest},),
    "RELEASED": ({"spend": _digest, "vector": _digest},),
    "ABORTED": ({"spend": _digest, "code": _error_name},),
    "REFUSED": ({**_ATTEMPT, "code": lambda value: value in ("budget", "plan")},),
    "HEAD": (
        {
            "seq": at_least(1),
            "hash": _digest,
            "server": text,
            "signature": hexadecimal(_SIGNATURE_BYTES),
        },
    ),
}


def require_form(type: str, dataset: str, body: Mapping[str, Any]) -> None:
    """Check that an event of a group's ledger has the fields of its kind, in their one spelling.

    Raises:
        LedgerRefused: if it has not.
    """
    wrong = wrong_fields(body, _FORMS[type])
    if not wrong and not (dataset == "" if type == "HEAD" else _optional_digest(dataset)):
        wrong = "names data by no digest"
    if wrong:
        raise LedgerRefused(f"{type} {wrong}")


def plan_body(plan: PrivacyPlan, run: str, *, code: str, model: str) -> dict[str, object]:
    """The body of a PLAN event, but for the cost."""
    return {
        "run": run,
        "plan": plan.as_dict(),
        "digest": plan.digest(),
        "mechanism": _MECHANISM if plan.counts is None else _COUNTED,
        "cut_chance": plan.cut_chance(),
        "code": code,
        "model": model,
    }


def stated_plan(values: Mapping[str, Any]) -> PrivacyPlan:
    """Read a plan that stands in an event, where floats are strings; not yet verified.

    Raises:
        PlanRefused: if it is no plan, one that could not be kept, or spelled in another way than
            plans are written.
        ValueError: if a number is none.
    """
    return PrivacyPlan.stated(values)


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


def attempt_of(body: Mapping[str, Any]) -> Attempt:
    """The run, round and attempt an event is about."""
    return str(body["run"]), int(body["round"]), int(body["attempt"])


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
