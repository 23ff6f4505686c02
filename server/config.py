"""Settings of a run: one frozen tree, the same from a file, a command line or Flower."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from privacy.accounting.choices import (
    MAX_EPSILON,
    NO_PRIVACY,
    Mechanism,
    MechanismSetting,
    Mode,
    ModeSetting,
    UnitSetting,
)
from server.presets import with_presets
from server.simulation import SimulationConfig
from strategies import registry
from strategies.base import Strategy, Visibility
from strategies.checks import combinations
from strategies.wire.compression import CompressionConfig
from strategies.wire.round_plan import Scalar, flatten, unflatten


class ConfigError(ValueError):
    """A setting is unknown, of the wrong type, or out of its bounds."""


@dataclass(frozen=True, kw_only=True)
class FederationConfig:
    """Number of rounds, and what happens between them.

    Attributes:
        warmup_rounds: Rounds that train the head alone on the frozen encoder; they cost little
            and spare the adapters a head that knows nothing.
        adapter_rounds: Rounds after them that train adapters and head.
        final_learning_rate_scale: Learning rates fall in a straight line to this share of
            themselves over the adapter rounds.
        evaluate_every: Measure on the held-out groups every so many rounds, and after the last;
            for show alone, nothing is chosen by it. 0 measures after the last only.
        secure_aggregation: Groups hide their vectors under masks that cancel in the sum, so that
            the server learns the sum alone; off, it sees every group's vector, and results say so.
        threshold: Groups that must confirm one set of survivors before it is unmasked; 0 takes the
            least that is sound, more than two thirds.
        round_timeout_seconds: A group that has not trained by then counts as dropped out.
        stage_timeout_seconds: The same for the stages of secure aggregation, which train nothing.
        minimum_groups: With fewer answers a round is aborted.
        groups_per_round: Groups drawn for each round, by seed; 0 asks all. Who is not drawn does
            not train, is not charged and sends nothing. The draw is public and hides nobody.
        roster: File of the members that are admitted, read again between rounds; empty admits
            everybody, as in simulations.
        seats: Groups that a run has room for, at least those that are there at its start. 0: just
            these where it is private, since the noise is planned for all seats; any number else.
    """

    warmup_rounds: int = 40
    adapter_rounds: int = 40
    final_learning_rate_scale: float = 0.1
    evaluate_every: int = 5
    secure_aggregation: bool = True
    threshold: int = 0
    round_timeout_seconds: float = 3600.0
    stage_timeout_seconds: float = 600.0
    minimum_groups: int = 1
    groups_per_round: int = 0
    roster: str = ""
    seats: int = 0

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
        for name in ("round_timeout_seconds", "stage_timeout_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be finite and > 0")
        for name in ("evaluate_every", "threshold", "minimum_groups", "groups_per_round", "seats"):
            least = 1 if name == "minimum_groups" else 0
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= {least}: raise it")
        if 0 < self.groups_per_round < self.minimum_groups:
            raise ValueError(
                f"groups_per_round = {self.groups_per_round} is below minimum_groups = "
                f"{self.minimum_groups}: every round would be aborted"
            )

    @property
    def rounds(self) -> int:
        """All rounds of the run."""
        return self.warmup_rounds + self.adapter_rounds


@dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """Strategy of the server, with all its settings.

    Attributes:
        name: See ``strategies.registry``.
        settings: Names and values in the order of the strategy's own; what is not given has its
            default.
    """

    name: str = "fedavg"
    settings: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        """Fill in what is not given."""
        complete = registry.settings_of(self.make())
        object.__setattr__(self, "settings", tuple(complete.items()))

    @classmethod
    def read(cls, section: object) -> StrategyConfig:
        """Read a section ``[strategy]``; a setting that is an empty text counts as not given."""
        if isinstance(section, cls):
            return section
        if not isinstance(section, Mapping):
            raise ValueError(f"strategy = {section!r} is no section: give strategy.name")
        given = {str(key): value for key, value in section.items() if value != ""}
        name = str(given.pop("name", cls.name))
        return cls(name=name, settings=tuple(given.items()))

    def make(self) -> Strategy:
        """The strategy, before its first step."""
        return registry.make(self.name, dict(self.settings))

    @property
    def in_pairs(self) -> bool:
        """Whether groups meet in pairs and keep models of their own; the server then has none."""
        return self.make().visibility is Visibility.NOTHING

    def as_dict(self) -> dict[str, Scalar]:
        """The section as in a TOML file."""
        return {"name": self.name, **dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """Guarantee that a run gives.

    What only calibration can judge (delta against the number of units, whether the noise fits the
    integers) is refused by the privacy plan, before anything is trained.

    Attributes:
        mode: ``distributed``: one step a round, each group adds its share of the noise and the sum
            of all groups is private. ``local``: each group adds the full noise. ``none`` trains
            without differential privacy; the results say so.
        mechanism: ``tally``: answers to public questions are counted once, noised and stored, and
            every round trains on the noised counts at no further cost. ``gradients``: every step
            clips and noises gradients of raw records; for private texts, and for very sparse
            answers. ``auto`` takes the better one, and says why.
        unit: Whose presence is hidden: a ``respondent`` with all their records, or a ``record``.
        epsilon: Bound on the privacy loss over the whole run.
        delta: Chance that the bound fails; below one over the units of all groups together.
        answers_per_respondent: Answers of a respondent that are counted; which of more is drawn. 0
            counts up to 32, and of distributions, behind which nobody can be told apart, all.
        largest_weight: Of a tally: the most that one answer counts, where answers have weights.
        sampling_rate: Chance of every unit to take part in a step, drawn by its own group.
        clipping_norm: Bound on the gradient of a unit; a public constant, never fitted to data.
        local_steps: Steps of a group in a round, each charged; 1 in distributed mode.
        local_learning_rate: Of the steps that a group takes within a round, in local mode.
        survivors: Fewest groups whose sum may be used; 0 asks for all that are there at the start.
        units_per_seat: Most units of privacy that a group may have which takes a free seat later;
            public, and planned for.
        colluding: Groups that may tell the server the noise they added; another group that takes
            part knows its own, so 1 protects from each of the others.
        records_per_unit: Records of a respondent that count in a step, drawn anew where there are
            more; 1 where the unit is a record.
        micro_batch: Units computed at a time; bounds memory, changes no result.
        max_options: Most options of a question; records of a question with more count as absent.
        options_apart: Room for pairs in a step: every question takes ``max_options`` texts.
        freeze_a: Train only B of each adapter B A, for half the coordinates and so less noise.
        budget_epsilon: What the ledgers of simulated groups let their data ever spend; 0 lets data
            without a budget pay for this run's plan and no more. A group refuses what goes beyond.
        ledgers: Folder of the groups' ledgers and keys, kept from run to run so that budgets
            belong to the data; empty begins ledgers in the folder of the run.
    """

    mode: ModeSetting = NO_PRIVACY
    mechanism: MechanismSetting = "auto"
    unit: UnitSetting = "respondent"
    epsilon: float = 8.0
    delta: float = 1e-5
    answers_per_respondent: int = 0
    largest_weight: float = 1.0
    sampling_rate: float = 1.0
    clipping_norm: float = 0.1
    local_steps: int = 1
    local_learning_rate: float = 0.1
    survivors: int = 0
    units_per_seat: int = 0
    colluding: int = 1
    records_per_unit: int = 32
    micro_batch: int = 16
    max_options: int = 16
    options_apart: bool = False
    freeze_a: bool = True
    budget_epsilon: float = 0.0
    ledgers: str = ""

    def __post_init__(self) -> None:
        """Refuse what no plan could be made of."""
        least = dict.fromkeys(
            ("survivors", "units_per_seat", "colluding", "answers_per_respondent"), 0
        )
        least |= dict.fromkeys(("records_per_unit", "micro_batch", "local_steps"), 1)
        least |= {"max_options": 2}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= {bound}: raise it")
        if not 0 < self.local_learning_rate < math.inf:
            raise ValueError(
                f"local_learning_rate = {self.local_learning_rate} must be finite and > 0"
            )
        if not 0 < self.epsilon <= MAX_EPSILON:
            raise ValueError(
                f"epsilon = {self.epsilon} must lie in (0, {MAX_EPSILON:g}]: 8 is usual"
            )
        if not 0 <= self.budget_epsilon <= MAX_EPSILON:
            allowed = f"must lie in [0, {MAX_EPSILON:g}]: 0 is for one run"
            raise ValueError(f"budget_epsilon = {self.budget_epsilon} {allowed}")
        if self.ledgers and not self.private:
            raise ValueError(
                f"ledgers = {self.ledgers!r} with mode = none, which spends without bound: choose "
                "a mode, or leave the ledgers out"
            )
        if self.mode == Mode.DISTRIBUTED.value and self.local_steps != 1:
            raise ValueError(
                f"local_steps = {self.local_steps} in distributed mode, where no group has the "
                "noise for a step of its own: use 1, or mode = local"
            )

        if not 1 <= self.largest_weight <= 1000:
            raise ValueError(
                f"largest_weight = {self.largest_weight} must lie in [1, 1000]: 1 is for data "
                "without weights"
            )
        if self.counted and self.mode != Mode.LOCAL.value:
            raise ValueError(
                f"mechanism = tally with mode = {self.mode}: counts carry all of their own group's "
                "noise, which protects from everybody; use mode = local"
            )

    @property
    def private(self) -> bool:
        """Whether there is a guarantee at all."""
        return self.mode != NO_PRIVACY

    @property
    def counted(self) -> bool:
        """Whether answers are counted once, and training is on noised counts."""
        return self.private and self.mechanism == Mechanism.TALLY.value


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run does.

    Attributes:
        data: ``sample`` (also with parameters, as in ``sample:groups=48,severity=2``), a file, a
            folder or a hub id; see ``alignment.data.loading``.
        split: Split file; empty draws one by seed.
        skip_invalid: Leave out invalid rows, counted, instead of stopping at the first.
        seed: First weights, batches and a drawn split. Never noise, sampling or keys.
        out: Folder for the results.
        track: ``tensorboard`` writes events beside the results.
        resume: Go on with the run that lies in ``out``, where its last checkpoint stands. Only
            timeouts, ``evaluate_every`` and ``track`` may then differ from what it had.
        predictor: Shape of the predictor.
        context: How a group's context is read.
        training: What a client does in a round.
        federation: What the server does.
        strategy: How the global vector moves.
        privacy: The guarantee.
        compression: How few bytes an update takes where nothing is private.
        simulation: What is done to simulated groups.
    """

    data: str = "sample"
    split: str = ""
    skip_invalid: bool = False
    seed: int = 0
    out: str = "runs/latest"
    track: Literal["", "tensorboard"] = ""
    resume: bool = False
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    strategy: Annotated[StrategyConfig, BeforeValidator(StrategyConfig.read)] = field(
        default_factory=StrategyConfig
    )
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        """Refuse a seed that numpy and torch would not take, and rounds that train nothing."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed = {self.seed} must lie in [0, 2**31): choose another")
        if self.predictor.scores == "policy" and self.federation.warmup_rounds > 0:
            raise ValueError(
                f"federation.warmup_rounds = {self.federation.warmup_rounds} would train a head "
                "alone, and with predictor.scores = policy there is none: use 0"
            )
        combinations.require(
            self.strategy.make(),
            combinations.Hiding(
                secure=self.federation.secure_aggregation,
                mode=self.privacy.mode,
                counted=self.privacy.counted,
                fairness=self.training.fairness,
                groups_per_round=self.federation.groups_per_round,
                resume=self.resume,
            ),
        )
        if self.compression.bits and self.strategy.in_pairs:
            raise ValueError(
                f"compression.bits = {self.compression.bits} with strategy.name = "
                f"{self.strategy.name}, whose groups hand out whole models: use 0"
            )
        if self.compression.bits and self.privacy.private and not self.privacy.counted:
            raise ValueError(
                f"compression.bits = {self.compression.bits} with privacy.mode = "
                f"{self.privacy.mode}, whose plan says what is sent: use 0, its vectors are packed "
                "anyway"
            )

    def nested(self) -> dict[str, object]:
        """Sections and scalars, as in a TOML file."""
        return {**asdict(self), "strategy": self.strategy.as_dict()}

    def flat(self) -> dict[str, Scalar]:
        """Scalars with dotted keys, as Flower hands them to the apps."""
        return flatten(self.nested())


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)


_STRATEGY = "strategy."


def read_run_config(flat: Mapping[str, object]) -> RunConfig:
    """Check settings given with dotted keys; what is not given has its default.

    Private runs, runs of causal models and runs that begin from a published model have defaults of
    their own, see :func:`server.presets.with_presets`.

    Raises:
        ConfigError: One line that names the setting, its value and the bound.
    """
    known = list(RunConfig().flat())
    if unknown := [k for k in flat if k not in known and not k.startswith(_STRATEGY)]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise ConfigError(f"unknown setting {unknown[0]!r}: {hint}")
    try:
        return _adapter().validate_python(unflatten(with_presets(flat)))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if name == "strategy":
            # Its message names the setting itself.
            raise ConfigError(f"{_STRATEGY}{message}") from error
        value = f" = {first['input']!r}" if name in known else ""
        where = f"setting {name!r}{value}: " if name else ""
        raise ConfigError(f"{where}{message}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
