"""The settings of a run: one frozen tree, the same from a file, a command line or Flower."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from strategies.round_plan import Scalar, flatten, unflatten


class ConfigError(ValueError):
    """A setting is unknown, of the wrong type, or out of its bounds."""


@dataclass(frozen=True, kw_only=True)
class FederationConfig:
    """How many rounds, and what happens between them.

    Attributes:
        warmup_rounds: Rounds that train the head alone on the frozen encoder; they cost little
            and spare the adapters a head that knows nothing.
        adapter_rounds: Rounds after them that train adapters and head.
        final_learning_rate_scale: Learning rates fall in a straight line to this share of
            themselves over the adapter rounds.
        server_learning_rate: Share of the way to the groups' mean that the server goes.
        evaluate_every: Measure on the held-out groups every so many rounds, and after the last;
            for show alone, nothing is chosen by it. 0 measures after the last only.
        round_timeout_seconds: A group that has not answered by then counts as dropped out.
        minimum_groups: Fewer answers than this end the run.
    """

    warmup_rounds: int = 40
    adapter_rounds: int = 10
    final_learning_rate_scale: float = 0.1
    server_learning_rate: float = 1.0
    evaluate_every: int = 5
    round_timeout_seconds: float = 3600.0
    minimum_groups: int = 1

    def __post_init__(self) -> None:
        """Refuse a run that could not be one."""
        if min(self.warmup_rounds, self.adapter_rounds) < 0 or self.rounds < 1:
            raise ValueError(
                f"warmup_rounds = {self.warmup_rounds} and adapter_rounds = {self.adapter_rounds} "
                "must be >= 0 and at least one of them 1: raise one"
            )
        if not 0 < self.final_learning_rate_scale <= 1:
            raise ValueError(
                f"final_learning_rate_scale = {self.final_learning_rate_scale} must lie in (0, 1]: "
                "1 keeps the learning rate"
            )
        if not 0 < self.server_learning_rate <= 2:
            raise ValueError(
                f"server_learning_rate = {self.server_learning_rate} must lie in (0, 2]: "
                "1 is plain averaging"
            )
        timeout = self.round_timeout_seconds
        if self.evaluate_every < 0 or self.minimum_groups < 1 or not 0 < timeout < math.inf:
            raise ValueError(
                "evaluate_every must be >= 0, minimum_groups >= 1, round_timeout_seconds finite, "
                f"> 0: got {self.evaluate_every}, {self.minimum_groups}, {timeout}"
            )

    @property
    def rounds(self) -> int:
        """All rounds of the run."""
        return self.warmup_rounds + self.adapter_rounds


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """Which guarantee a run gives.

    Attributes:
        mode: ``none`` trains without differential privacy; the results say so.
    """

    mode: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run does.

    Attributes:
        data: ``sample``, a file, a folder or a hub id; see ``alignment.loading``.
        split: Split file; empty draws one by seed.
        skip_invalid: Leave out invalid rows, counted, instead of stopping at the first.
        seed: First weights, batches and a drawn split. Never noise, sampling or keys.
        out: Folder for the results.
        track: ``tensorboard`` writes events beside the results.
        predictor: Shape of the predictor.
        context: How a group's context is read.
        training: What a client does in a round.
        federation: What the server does.
        privacy: The guarantee.
    """

    data: str = "sample"
    split: str = ""
    skip_invalid: bool = False
    seed: int = 0
    out: str = "runs/latest"
    track: Literal["", "tensorboard"] = ""
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)

    def __post_init__(self) -> None:
        """Refuse a seed that numpy and torch would not take."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed = {self.seed} must lie in [0, 2**31): choose another")

    def nested(self) -> dict[str, object]:
        """Sections and scalars, as in a TOML file."""
        return asdict(self)

    def flat(self) -> dict[str, Scalar]:
        """Scalars with dotted keys, as Flower hands them to the apps."""
        return flatten(asdict(self))


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)


def read_run_config(flat: Mapping[str, object]) -> RunConfig:
    """Check settings given with dotted keys; what is not given has its default.

    Raises:
        ConfigError: One line that names the setting, its value and the bound.
    """
    known = list(RunConfig().flat())
    unknown = [key for key in flat if key not in known]
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise ConfigError(f"unknown setting {unknown[0]!r}: {hint}")
    try:
        return _adapter().validate_python(unflatten(flat))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        value = f" = {first['input']!r}" if name in known else ""
        where = f"setting {name!r}{value}: " if name else ""
        raise ConfigError(f"{where}{message}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
