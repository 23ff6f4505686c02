"""The forecast of a run before it is joined: what it costs a group in budget, time and bytes.

A step is taken on the group's own records and thrown away. Nothing here leaves the machine, and
nothing is charged.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from alignment.data.units import contribution_cap
from clients.data.datastore import Datastore, open_home
from clients.data.group_policy import GroupPolicy
from clients.data.home import Home
from clients.task import PrivateTask, RoundTask
from privacy.accounting.choices import NO_PRIVACY, Mechanism, Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.accounting.terms import PrivacyTerms, terms_of_counts
from privacy.audit.evidence import gather
from privacy.kernel.packing import packed_bytes
from privacy.kernel.quantisation import sum_bits
from privacy.ledger.facts import Budget
from privacy.ledger.filter import best_order, least_budget
from privacy.ledger.paths import people_folder
from privacy.ledger.payloads import mechanism_of
from privacy.ledger.state import State
from privacy.ledger.units import ledger_key, unit_tag
from strategies.wire.compression import START, Compression, RoundCode

if TYPE_CHECKING:
    from alignment.model.predictor import Predictor

#: Trips of a round to and from the server: share, train, confirm, unmask.
_TRIPS = 4
_FORECAST = "forecast"
Settings = Mapping[str, bool | int | float | str]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run of the announced settings will cost this group.

    Attributes:
        epsilon: Of the run; None where nothing is private.
        budget_epsilon: What the run takes of the budget of somebody who has spent nothing.
        budget: What anybody's data may ever spend, by the group policy, as epsilon.
        payers: For so many rounds of the run, how many people can pay, each after what they have
            spent before. For the group's own eyes: in the rest they take no part, and nobody is
            told. Empty where nothing is private, or the budget does not pay for the whole run.
        left_out: How many of the group's records exceed the bounds of a step, or cannot be read by
            its encoder: they count as absent. For the group's own eyes.
        counted: Whether answers are counted once, at the first round.
        rounds: Of the run.
        seconds_per_round: Of this machine: training as measured, and the trips at the rate at
            which the group policy asks for work.
        seconds_before: Once, before the first round: reading and encoding all texts.
        bytes_up_per_round: Of the vector that leaves.
        bytes_down_per_round: Of the model that comes.
    """

    epsilon: float | None
    budget_epsilon: float | None
    budget: float | None
    payers: Mapping[int, int]
    left_out: int
    counted: bool
    rounds: int
    seconds_per_round: float
    seconds_before: float
    bytes_up_per_round: int
    bytes_down_per_round: int

    @property
    def affordable(self) -> bool:
        """Whether the budget pays for the whole run; what people have spent does not count."""
        if self.budget_epsilon is None or self.budget is None:
            return True
        return self.budget_epsilon <= self.budget


def forecast(home: Home, settings: Settings) -> Forecast:
    """Measure and compute what a run of these settings would cost; takes some seconds.

    A step is taken on the group's own records and thrown away.

    Args:
        home: Folder of the client.
        settings: Of runs, with dotted keys, as the invitation has them.

    Raises:
        ValueError: The settings cannot be kept, or do not fit the group policy.
    """
    from alignment.model.predictor import Predictor
    from alignment.model.vector import to_vector

    policy, store = home.group_policy, open_home(home, strict=True)
    settings = _Announced(settings)
    predictor = Predictor(PredictorConfig(**_section(settings, "predictor")))
    vector = to_vector(predictor)
    rounds = int(settings["federation.warmup_rounds"]) + int(settings["federation.adapter_rounds"])
    # All whose keys are pinned, or as many as the group policy insists on.
    members = max(len(store.keys.roster()), policy.accept.members)
    plan = needed = budget = None
    payers: Mapping[int, int] = {}
    if settings["privacy.mode"] != NO_PRIVACY:
        counted = settings.get("privacy.mechanism") == Mechanism.TALLY
        plan = _plan_of_counts(settings, store) if counted else None
        plan = plan or _plan(settings, store, predictor, members)
        policy.check_plan(plan)
        delta, budget = policy.privacy.budget_delta, policy.privacy.budget_epsilon
        needed, _ = least_budget(mechanism_of(plan), steps=plan.steps, delta=delta)
        if needed <= budget:
            payers = _payers(store, plan, policy, rounds=rounds)
    before, step, absent = _tried(settings, store, vector, plan)
    return Forecast(
        epsilon=plan.epsilon if plan else None,
        budget_epsilon=needed,
        budget=budget,
        payers=payers,
        left_out=absent,
        counted=plan is not None and plan.counts is not None,
        rounds=rounds,
        seconds_per_round=step + _TRIPS * (policy.machine.poll_seconds + 1.0),
        seconds_before=before,
        bytes_up_per_round=(
            plan.bytes_up
            if plan is not None and plan.counts is None
            else _bytes_unprotected(settings, predictor, members)
        ),
        bytes_down_per_round=vector.nbytes,
    )


def _tried(
    settings: Settings, store: Datastore, vector: NDArray[np.float32], plan: PrivacyPlan | None
) -> tuple[float, float, int]:
    """Take a step and throw it away: seconds before the first, of a step, and records left out."""
    from clients.training.private_trainer import left_out, train_privately
    from clients.training.trainer import train_locally

    training = store.training
    if training is None:
        raise ValueError("a held-out group trains nothing: there is nothing to forecast")
    if plan is None or plan.counts is not None:
        # On noised counts as long as on these, and they are made at the first round.
        return *_twice(lambda: train_locally(vector, training, _task(settings))), 0
    units, task = store.units(), _task(settings, _private_task(settings, plan))
    before, step = _twice(lambda: train_privately(vector, units, task, everybody=units))
    return before, step, left_out(units, task)


def _plan_of_counts(settings: Settings, store: Datastore) -> PrivacyPlan:
    """The plan under which the answers of this group are counted."""
    asked = store.questionnaire()
    return PrivacyPlan.calibrate(
        terms_of_counts(
            unit=Unit(str(settings["privacy.unit"])),
            epsilon=float(settings["privacy.epsilon"]),
            delta=float(settings["privacy.delta"]),
            units_per_group=[store.units_bound],
            options=[asked.options],
            questionnaires=[asked.digest],
            distributions=asked.distributions,
            answers_per_respondent=int(settings["privacy.answers_per_respondent"]),
            largest_weight=float(settings["privacy.largest_weight"]),
        )
    )


def _plan(settings: Settings, store: Datastore, predictor: Predictor, members: int) -> PrivacyPlan:
    """The plan of a run of these settings, if all its groups have as many units as this one."""
    from alignment.training.private_layout import private_layout

    mode, unit = Mode(str(settings["privacy.mode"])), Unit(str(settings["privacy.unit"]))
    adapters = int(settings["federation.adapter_rounds"]) > 0
    adapters = adapters and int(settings["predictor.lora_rank"]) > 0
    freeze = bool(settings["privacy.freeze_a"])
    survivors = int(settings["privacy.survivors"]) or members
    warmup, rest = settings["federation.warmup_rounds"], settings["federation.adapter_rounds"]
    return PrivacyPlan.calibrate(
        PrivacyTerms(
            unit=unit,
            mode=mode,
            epsilon=float(settings["privacy.epsilon"]),
            delta=float(settings["privacy.delta"]),
            groups=members,
            units_per_group=store.units_bound,
            sampling_rate=float(settings["privacy.sampling_rate"]),
            rounds=int(warmup) + int(rest),
            local_steps=int(settings["privacy.local_steps"]),
            survivors=min(members, survivors),
            colluding=int(settings["privacy.colluding"]) if mode is Mode.DISTRIBUTED else 0,
            clipping_norm=float(settings["privacy.clipping_norm"]),
            dimension=private_layout(predictor, adapters=adapters, freeze_a=freeze).dimension,
            shape=_shape(settings, str(unit)),
        )
    )


def _shape(settings: Settings, unit: str) -> StepShape:
    """The bounds of a private step of a run of these settings."""
    policy_scores = str(settings["predictor.scores"]) == "policy"
    return StepShape(
        micro_batch=int(settings["privacy.micro_batch"]),
        records_per_unit=contribution_cap(unit, int(settings["privacy.records_per_unit"])),
        max_options=int(settings["privacy.max_options"]),
        max_tokens=int(settings["predictor.max_tokens"]),
        options_apart=bool(settings["privacy.options_apart"]) or policy_scores,
    )


def _bytes_unprotected(settings: Settings, predictor: Predictor, members: int) -> int:
    """Bytes of an update without differential privacy, in a round that trains everything."""
    from alignment.model.vector import step_sizes, to_vector

    asked = _section(settings, "compression")
    if not asked or asked["bits"] == 0:
        return 4 * (to_vector(predictor).size + 2)
    training = TrainingConfig(**_section(settings, "training"))
    code = RoundCode(
        Compression(**asked, scale=START),
        step_sizes(predictor, training, train_adapter=True),
        seed=0,
        round_number=1,
        learning_rate_scale=1.0,
    )
    return packed_bytes(code.size, sum_bits(code.compression.limit, members=members))


class _Announced(dict[str, bool | int | float | str]):
    """Settings that say which of them is missing."""

    def __missing__(self, key: str) -> NoReturn:
        raise ValueError(f"the invitation says nothing of {key}: ask the coordinator for it again")


def _payers(
    store: Datastore, plan: PrivacyPlan, policy: GroupPolicy, *, rounds: int
) -> dict[int, int]:
    """For so many rounds of a run, how many people of the group can pay; most rounds first.

    Raises:
        ValueError: The ledger is damaged.
    """
    mechanism, privacy = mechanism_of(plan), policy.privacy
    order = best_order(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_rate=mechanism.sampling_rate,
        epsilon=privacy.budget_epsilon,
        delta=privacy.budget_delta,
    )
    budget = Budget.of(
        epsilon=privacy.budget_epsilon,
        delta=privacy.budget_delta,
        order=order,
        units=1,
    )
    key = ledger_key(store.keys.own(store.group))
    state = _state_of(store)
    units = store.units() if plan.counts is None else store.counted_units()
    tags = [unit_tag(unit.unit, key) for unit in units]
    counted = Counter[int]()
    for steps, people in state.payable(tags, mechanism, budget).items():
        paid = min(steps, plan.steps) // plan.local_steps
        # Who has paid for being counted is in all rounds.
        counted[paid * rounds // plan.rounds] += people
    return dict(sorted(counted.items(), reverse=True))


def _state_of(store: Datastore) -> State:
    """What the ledger of a group adds up to; nothing where it has none yet."""
    if not store.ledger.exists():
        return State()
    (ledger,) = gather([store.ledger]).ledgers
    if ledger.state is None:
        raise ValueError(f"{store.ledger}: {ledger.error}")
    if not ledger.state.knows_people:
        raise ValueError(
            f"{people_folder(store.ledger)} is missing: bring it back from a copy; without it "
            "nothing can be charged"
        )
    return ledger.state


def _private_task(settings: Settings, plan: PrivacyPlan) -> PrivateTask:
    return PrivateTask(
        plan=plan,
        run=_FORECAST,
        group_index=0,
        freeze_a=bool(settings["privacy.freeze_a"]),
        local_learning_rate=float(settings["privacy.local_learning_rate"]),
    )


def _task(settings: Settings, private: PrivateTask | None = None) -> RoundTask:
    return RoundTask(
        run=_FORECAST,
        round=1,
        seed=0,
        train_adapter=int(settings["federation.warmup_rounds"]) == 0,
        learning_rate_scale=1.0,
        predictor=PredictorConfig(**_section(settings, "predictor")),
        training=TrainingConfig(**_section(settings, "training")),
        context=ContextConfig(**_section(settings, "context")),
        compression=None,
        private=private,
        strategy=None,
        digest="",
    )


def _section(settings: Settings, name: str) -> dict[str, Any]:
    prefix = f"{name}."
    return {key[len(prefix) :]: value for key, value in settings.items() if key.startswith(prefix)}


def _twice(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a first step takes beyond the others, and those of one of the others."""
    started = time.perf_counter()
    step()
    first = time.perf_counter()
    step()
    second = time.perf_counter()
    return max(0.0, (first - started) - (second - first)), second - first
