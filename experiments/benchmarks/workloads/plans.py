"""Plans and tasks of runs on the built-in survey, as a server makes them and clients read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from alignment.data.population import Population, load_population
from clients.task import RoundTask, read_task
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from server.aggregation.registration import step_shape
from server.config import RunConfig
from strategies.wire.round_plan import RoundPlan, Scalar

#: Name of the run in all that is measured.
RUN = "benchmark"


def sample_population() -> Population:
    """The built-in survey as runs split it by default."""
    return load_population("sample", split="", seed=0, skip_invalid=False)


def calibrated_plan(
    config: RunConfig, units: Sequence[int], *, rounds: int, dimension: int
) -> PrivacyPlan:
    """The plan of a run of groups of so many units, all of which survive."""
    privacy = config.privacy
    return PrivacyPlan.calibrate(
        PrivacyTerms(
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            groups=len(units),
            units_per_group=tuple(units),
            sampling_rate=privacy.sampling_rate,
            rounds=rounds,
            survivors=len(units),
            colluding=privacy.colluding,
            clipping_norm=privacy.clipping_norm,
            dimension=dimension,
            shape=step_shape(config),
        )
    )


def first_task(
    config: RunConfig, *, train_adapter: bool, privacy: Mapping[str, Scalar] | None = None
) -> RoundTask:
    """What a client is asked in the first round."""
    return read_task(
        RoundPlan(
            run=RUN,
            round=1,
            seed=config.seed,
            train_adapter=train_adapter,
            learning_rate_scale=1.0,
            predictor=asdict(config.predictor),
            training=asdict(config.training),
            context=asdict(config.context),
            privacy=dict(privacy or {}),
        )
    )
