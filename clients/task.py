"""The task of one round, read once out of a server's request: nothing behind it reads mappings.

The wire form is :class:`strategies.wire.round_plan.RoundPlan`. What is missing in it, unknown or of
another type is refused here with one line, and a privacy plan is verified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import PolicyRefused
from strategies.gossip import Gossip
from strategies.registry import known
from strategies.wire.compression import Compression
from strategies.wire.round_plan import (
    PrivateSettings,
    PrivateWork,
    RoundPlan,
    Scalar,
    read_section,
)


@dataclass(frozen=True, kw_only=True)
class PrivateTask(PrivateSettings):
    """A private round. How it samples, clips, adds noise and steps is said by the plan alone.

    Attributes:
        run: Name of the run in the ledgers of the groups.
        plan: Verified: it keeps the epsilon that it promises.
    """

    run: str
    plan: PrivacyPlan


@dataclass(frozen=True, kw_only=True)
class RoundTask:
    """What a client is to do in one round.

    Attributes:
        run: Name of the run.
        round: Counted from 1; 0 asks for an evaluation before training.
        seed: Seed of the run; draws batches where nothing is private, never noise.
        train_adapter: False trains the head alone.
        learning_rate_scale: Factor on both learning rates in this round.
        predictor: Shape of the predictor.
        training: How a client trains.
        context: How a context is read.
        compression: How the update is written; None where every coordinate travels as it is.
        private: What differential privacy asks for; None where nothing is private.
        strategy: The step that the group takes by itself, with nothing remembered yet; None where
            the server takes it.
        digest: SHA-256 of what all groups are asked alike.
    """

    run: str
    round: int
    seed: int
    train_adapter: bool
    learning_rate_scale: float
    predictor: PredictorConfig
    training: TrainingConfig
    context: ContextConfig
    compression: Compression | None
    private: PrivateTask | None
    strategy: Gossip | None
    digest: str


def read_task(plan: RoundPlan) -> RoundTask:
    """Read a round plan.

    Raises:
        ValueError: A field is missing, unknown, of the wrong type or out of its bounds.
        PlanRefused: The privacy plan asks for what cannot be guaranteed, or does not keep what it
            promises.
        PolicyRefused: The strategy is none that a group follows by itself.
    """
    private = _private(plan) if plan.privacy else None
    if private is not None and private.plan.counts is None and plan.compression:
        raise ValueError("round plan: noised steps and compression exclude each other: use one")
    return RoundTask(
        run=plan.run,
        round=plan.round,
        seed=plan.seed,
        train_adapter=plan.train_adapter,
        learning_rate_scale=plan.learning_rate_scale,
        predictor=read_section(PredictorConfig, plan.predictor, name="predictor"),
        training=read_section(TrainingConfig, plan.training, name="training"),
        context=read_section(ContextConfig, plan.context, name="context"),
        compression=(
            read_section(Compression, plan.compression, name="compression")
            if plan.compression
            else None
        ),
        private=private,
        strategy=own_strategy(plan.strategy) if plan.strategy else None,
        digest=plan.digest(),
    )


def _private(plan: RoundPlan) -> PrivateTask:
    work = vars(read_section(PrivateWork, plan.privacy, name="privacy"))
    return PrivateTask(**{**work, "run": plan.run, "plan": verified_plan(work["plan"])})


@lru_cache(maxsize=8)
def verified_plan(text: str) -> PrivacyPlan:
    """Read a plan and recompute its epsilon; takes about a second, so results are kept.

    Raises:
        PlanRefused: The plan asks for what cannot be guaranteed, or promises what it does not keep.
    """
    plan = PrivacyPlan.from_dict(json.loads(text))
    plan.verify()
    return plan


def own_strategy(section: Mapping[str, Scalar]) -> Gossip:
    """The strategy that a group is asked to follow by itself, before its first step.

    Only those of this program: a name that points to a file would have a server run it.

    Raises:
        PolicyRefused: There is none, or its settings make no sense.
    """
    settings = dict(section)
    name = str(settings.pop("name", ""))
    kind = known().get(name)
    if kind is None or not issubclass(kind, Gossip):
        raise PolicyRefused(f"strategy {name!r} is none that a group follows by itself")
    try:
        return kind(**settings)  # type: ignore[arg-type]  # what fits no field is refused below
    except (TypeError, ValueError) as error:
        raise PolicyRefused(f"strategy {name}: {error}") from error
