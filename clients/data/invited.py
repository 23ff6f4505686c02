"""What an invitation asks of a group: settings that can be kept, and where they promise less.

An invitation is the coordinator's word. Its settings are read here once, by types and bounds of
this machine's own; what a group policy made of them promises less than the built-in defaults is
told to whoever sets up a client, who has to agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from clients.data.group_policy import GroupPolicy, GroupPolicyError
from clients.data.policy_sections import AcceptSection, PrivacySection
from privacy.accounting.choices import (
    MAX_EPSILON,
    NO_PRIVACY,
    Mechanism,
    MechanismSetting,
    ModeSetting,
    UnitSetting,
)
from privacy.identity.roles import TRAIN
from strategies import registry
from strategies.wire.compression import CompressionConfig

Settings = Mapping[str, bool | int | float | str]

_MOST = 10**6
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Number = Annotated[int, Field(ge=1, le=_MOST)]
_Seconds = Annotated[float, Field(gt=0, lt=math.inf)]


@dataclass(frozen=True, kw_only=True)
class InvitedRun:
    """Settings of no section; those of a server's own folder say nothing to a group."""

    data: str = ""
    split: str = ""
    skip_invalid: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    out: str = ""
    track: str = ""
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class InvitedFederation:
    """Section ``federation``: rounds, and how many groups are in them."""

    warmup_rounds: _Count = 0
    adapter_rounds: _Count = 0
    final_learning_rate_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    evaluate_every: _Count = 0
    secure_aggregation: bool = True
    threshold: _Count = 0
    round_timeout_seconds: _Seconds = 1.0
    stage_timeout_seconds: _Seconds = 1.0
    minimum_groups: _Number = 3
    groups_per_round: _Count = 0
    roster: str = ""
    seats: _Count = 0


@dataclass(frozen=True, kw_only=True)
class InvitedPrivacy:
    """Section ``privacy``: the guarantee that runs will have."""

    mode: ModeSetting = "distributed"
    mechanism: MechanismSetting = "gradients"
    unit: UnitSetting = "respondent"
    epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)] = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    answers_per_respondent: _Count = 0
    largest_weight: Annotated[float, Field(ge=1, le=1000)] = 1.0
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    clipping_norm: Annotated[float, Field(gt=0, lt=math.inf)] = 1.0
    local_steps: _Number = 1
    local_learning_rate: Annotated[float, Field(gt=0, lt=math.inf)] = 1.0
    survivors: _Count = 0
    units_per_seat: _Count = 0
    colluding: _Count = 1
    records_per_unit: _Number = 1
    micro_batch: _Number = 1
    max_options: Annotated[int, Field(ge=2, le=_MOST)] = 2
    options_apart: bool = False
    freeze_a: bool = True
    budget_epsilon: Annotated[float, Field(ge=0, le=MAX_EPSILON)] = 0.0
    ledgers: str = ""

    @property
    def counted(self) -> bool:
        """Whether answers will be counted once."""
        return self.mode != NO_PRIVACY and self.mechanism == Mechanism.TALLY.value


@dataclass(frozen=True, kw_only=True)
class InvitedSimulation:
    """Section ``simulation``: nothing that a real group can be asked for."""

    dropout: Annotated[float, Field(ge=0, le=0)] = 0.0
    respondents: Annotated[int, Field(ge=0, le=0)] = 0
    device: Literal["cpu"] = "cpu"


#: All sections of settings but the strategy's, which the strategy itself checks.
SECTIONS: Mapping[str, type[Any]] = {
    "": InvitedRun,
    "predictor": PredictorConfig,
    "context": ContextConfig,
    "training": TrainingConfig,
    "federation": InvitedFederation,
    "privacy": InvitedPrivacy,
    "compression": CompressionConfig,
    "simulation": InvitedSimulation,
}


def require_known(settings: Settings) -> Mapping[str, Any]:
    """Read settings, and refuse those that no run could have.

    Args:
        settings: With dotted keys, as an invitation has them; what is not said has its default.

    Returns:
        Each of ``SECTIONS`` by its name.

    Raises:
        GroupPolicyError: One is unknown, of the wrong type or out of its bounds; one line.
    """
    given: dict[str, dict[str, bool | int | float | str]] = {}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        given.setdefault(section, {})[name] = value
    try:
        _require_strategy(given.pop("strategy", {}))
        if unknown := set(given) - set(SECTIONS):
            section = min(unknown)
            raise ValueError(f"{section}.{min(given[section])} is no setting that is known here")
        return {name: _section(name, given.get(name, {})) for name in SECTIONS}
    except ValueError as error:
        raise GroupPolicyError(
            f"the invitation: {error}; install the coordinator's version, or ask for another "
            "invitation"
        ) from error


def _section(section: str, values: Mapping[str, object]) -> Any:
    prefix, kind = f"{section}." if section else "", SECTIONS[section]
    hints = get_type_hints(kind, include_extras=True)
    for name, value in values.items():
        if name not in {each.name for each in fields(kind)}:
            raise ValueError(f"{prefix}{name} is no setting that is known here")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{prefix}{name} is not finite")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            shortened = f"{value!r:.60}"
            raise ValueError(f"{prefix}{name} = {shortened}: {error.errors()[0]['msg']}") from error
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error


def _require_strategy(values: Mapping[str, object]) -> None:
    """Refuse what no strategy has; one of a server's own file is not looked for here."""
    name = values.get("name", "fedavg")
    if not isinstance(name, str):
        raise ValueError("strategy.name is no text")
    if ":" in name:
        return
    # An empty text is left to the strategy; what others have is empty in a whole list of settings.
    chosen = {key: value for key, value in values.items() if key != "name" and value != ""}
    if any(isinstance(value, float) and not math.isfinite(value) for value in chosen.values()):
        raise ValueError("a setting of strategy is not finite")
    try:
        registry.make(name, chosen)
    except ValueError as error:
        raise ValueError(f"strategy.{error}") from error


@dataclass(frozen=True, kw_only=True)
class Weaker:
    """A field of a group policy that promises less than its built-in default.

    Attributes:
        name: Of the field, with its section.
        value: What the policy says.
        default: What the built-in default is.
    """

    name: str
    value: str
    default: str


def lifetime_budget(epsilon: float, *, counted: bool = False) -> float:
    """A budget that pays for one run.

    The filter that outlasts runs asks for a little more than a run of sampled steps promises; for
    answers that are counted once it is exact.
    """
    return epsilon if counted else min(MAX_EPSILON, round(1.25 * epsilon, 2))


def weaker_than_defaults(policy: GroupPolicy) -> tuple[Weaker, ...]:
    """Where a policy promises less than the built-in defaults, in the order of its sections.

    A field that is not known to be harmless counts wherever it differs.
    """
    usual = PrivacySection()
    privacy = usual.model_copy(update={"budget_epsilon": lifetime_budget(usual.run_epsilon)})
    sections = {
        "privacy": (policy.privacy, privacy),
        "accept": (policy.accept, AcceptSection(code=policy.accept.code)),
    }
    found = []
    if policy.data.public and policy.role == TRAIN:
        found.append(Weaker(name="data.public", value="true", default="false"))
    for section, (chosen, default) in sections.items():
        for name in type(chosen).model_fields:
            now, before = getattr(chosen, name), getattr(default, name)
            if _WEAKER.get(name, _other)(now, before):
                found.append(
                    Weaker(name=f"{section}.{name}", value=_said(now), default=_said(before))
                )
    return tuple(found)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _higher(now: Any, before: Any) -> bool:
    return bool(now > before)


def _lower(now: Any, before: Any) -> bool:
    return bool(now < before)


def _other(now: Any, before: Any) -> bool:
    return bool(now != before)


def _never(now: Any, before: Any) -> bool:
    return False


#: When a field, against its default, promises less. ``local`` mode needs to trust nobody; code,
#: model and start say what runs, not how it protects; units bound what others are told; any
#: threshold is held against the least that is sound.
_WEAKER: Mapping[str, Callable[[Any, Any], bool]] = {
    "mode": lambda now, _: now == NO_PRIVACY,
    # Each keeps its promise; counting once touches the data less.
    "mechanism": _never,
    "unit": _other,
    "budget_epsilon": _higher,
    "budget_delta": _higher,
    "run_epsilon": _higher,
    "units": _never,
    "code": _never,
    "encoder": _never,
    "model": _never,
    "start": _never,
    "members": _lower,
    "threshold": _lower,
    "honest_shares": _lower,
    "colluding": _lower,
    "partners": _other,
}
