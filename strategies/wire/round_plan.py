"""The wire form of a round: plain mappings of scalars that server and clients exchange.

Only a :class:`RoundPlan` and the global vector travel to a client; only one vector travels back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Scalar = bool | int | float | str
_Section = TypeVar("_Section")
_SECTIONS = ("predictor", "training", "context", "privacy", "compression", "strategy")


def flatten(nested: Mapping[str, object], prefix: str = "") -> dict[str, Scalar]:
    """Turn nested mappings into one of scalars with dotted keys.

    Raises:
        ValueError: A value is neither a scalar nor a mapping.
    """
    flat: dict[str, Scalar] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            flat[f"{prefix}{key}"] = value
        else:
            raise ValueError(f"{prefix}{key} is {type(value).__name__}: use a scalar or a section")
    return flat


def unflatten(flat: Mapping[str, object]) -> dict[str, object]:
    """The inverse of :func:`flatten`.

    Raises:
        ValueError: A key is both a value and a section.
    """
    nested: dict[str, object] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{key}: {section!r} is a value, not a section")
            place = inner
        if isinstance(place.get(name), dict):
            raise ValueError(f"{key} is a section: set one of its keys, as in {key}.name=value")
        place[name] = value
    return nested


def read_section(kind: type[_Section], section: Mapping[str, object], *, name: str) -> _Section:
    """Read a section of a round plan into the frozen dataclass that it stands for.

    Types must be exactly those of the fields: a bool is no int, an int is no float.

    Raises:
        ValueError: A field is missing, unknown, of the wrong type or out of its bounds.
    """
    expected = _kinds(kind)
    if odd := set(section) ^ set(expected):
        raise ValueError(f"round plan: {name}.{min(odd)} is missing or unknown")
    for key, wanted in expected.items():
        if type(section[key]) is not wanted:
            raise ValueError(f"round plan: {name}.{key} is not {wanted.__name__}")
    return kind(**section)


def _kinds(kind: type[Any]) -> Mapping[str, type]:
    """The types of a dataclass's fields; of a choice among literals that of the literals."""
    hints = get_type_hints(kind)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return {
        each.name: type(choices[each.name][0]) if each.name in choices else hints[each.name]
        for each in fields(kind)
    }


@dataclass(frozen=True, kw_only=True)
class PrivateSettings:
    """What a client is asked to execute under differential privacy, beyond the privacy plan.

    Everything is public. What the plan fixes (sampling, its rate, clip, noise, steps and their
    shape) is said there alone. These are the server's word: whatever it is, the plan's guarantee
    holds.

    Attributes:
        group_index: Which of the plan's groups the client is, from 0.
        freeze_a: Whether only B of each adapter B A is trained; the plan has its coordinates.
        local_learning_rate: Of the plain steps a group takes in local mode, before the server's,
            along means that are private already.
    """

    group_index: int
    freeze_a: bool
    local_learning_rate: float

    def __post_init__(self) -> None:
        """Refuse a rate that leads nowhere."""
        if not 0 < self.local_learning_rate < math.inf:
            raise ValueError(
                f"local_learning_rate = {self.local_learning_rate} must be finite and > 0"
            )


@dataclass(frozen=True, kw_only=True)
class PrivateWork(PrivateSettings):
    """The same with its plan, on the wire.

    Attributes:
        plan: JSON of a ``privacy.accounting.plan.PrivacyPlan``.
    """

    plan: str


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What a client is asked to do in one round.

    Attributes:
        run: Name of the run, which has each of its rounds once: in ledgers, in the terms of sums,
            and in what a group remembers of the rounds that it has served.
        round: Counted from 1; 0 asks for an evaluation before training.
        seed: Seed of the run; draws batches where nothing is private, never noise.
        train_adapter: False trains the head alone.
        learning_rate_scale: Factor on both learning rates in this round.
        predictor: Fields of ``alignment.config.PredictorConfig``.
        training: Fields of ``alignment.config.TrainingConfig``.
        context: Fields of ``alignment.config.ContextConfig``.
        privacy: Fields of :class:`PrivateWork`; empty where nothing is private.
        compression: Fields of ``strategies.wire.compression.Compression``; empty where every
            coordinate travels as it is.
        strategy: Name and settings of the strategy; empty where the server takes its step.
    """

    run: str
    round: int
    seed: int
    train_adapter: bool
    learning_rate_scale: float
    predictor: Mapping[str, Scalar]
    training: Mapping[str, Scalar]
    context: Mapping[str, Scalar]
    privacy: Mapping[str, Scalar] = field(default_factory=dict)
    compression: Mapping[str, Scalar] = field(default_factory=dict)
    strategy: Mapping[str, Scalar] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Scalar]:
        """A flat mapping of scalars."""
        return flatten(vars(self))

    def digest(self) -> str:
        """SHA-256 of what all groups are asked alike: everything but a group's own index."""
        wire = self.to_wire()
        wire.pop("privacy.group_index", None)
        return hashlib.sha256(json.dumps(wire, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> RoundPlan:
        """Read a plan from the wire.

        Raises:
            ValueError: A field is missing, unknown, or of the wrong type.
        """
        nested = {"privacy": {}, "compression": {}, "strategy": {}, **unflatten(wire)}
        expected = {"run": str, "round": int, "seed": int, "train_adapter": bool}
        expected |= {"learning_rate_scale": float}
        if set(nested) != {*expected, *_SECTIONS}:
            odd = set(nested) ^ {*expected, *_SECTIONS}
            raise ValueError(f"round plan: {min(odd)!r} is missing or unknown: use one version")
        for name, kind in expected.items():
            if type(nested[name]) is not kind:
                raise ValueError(f"round plan: {name} = {nested[name]!r} is not {kind.__name__}")
        for name in _SECTIONS:
            if not isinstance(nested[name], dict):
                raise ValueError(f"round plan: {name} is not a section")
        return cls(**nested)  # type: ignore[arg-type]  # types are checked above


def round_context(task: str, model: str) -> bytes:
    """What a round without secure aggregation is about: 32 bytes.

    Args:
        task: Digest of the plan, alike for all groups.
        model: Digest of the vector they start from.
    """
    return hashlib.sha256(f"{task} {model}".encode()).digest()


def vector_digest(vector: NDArray[np.float32]) -> str:
    """SHA-256 of a global vector, (d,) float32, as little-endian bytes; of equal ones the same."""
    # Adding 0 makes minus zero zero.
    plain = np.ascontiguousarray(vector, dtype="<f4") + np.float32(0)
    return hashlib.sha256(plain.tobytes()).hexdigest()
