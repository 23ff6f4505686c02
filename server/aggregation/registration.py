"""The privacy plan of a run: calibrated, confirmed by a second library, and written down."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alignment.data.units import contribution_cap
from alignment.model.predictor import Predictor
from alignment.training.opacus_cross_check import opacus_prv_epsilon
from alignment.training.private_layout import PrivateLayout, private_layout
from atomic import write_atomically
from privacy.accounting.accountant import cross_check
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.accounting.terms import PrivacyTerms, terms_of_counts
from privacy.errors import PlanRefused
from privacy.file_names import PRIVACY_FILE
from server.config import ConfigError, RunConfig
from server.rounds.cohort import Asked, Cohort
from strategies.wire.round_plan import PrivateWork, Scalar

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegisteredPlan:
    """A plan, the epsilon that two libraries find for it, and the coordinates it covers.

    Attributes:
        run: Name of the run in all ledgers.
        plan: Calibrated for this run.
        epsilon_pld: Its epsilon by privacy loss distributions, at ``plan.accounted_delta``.
        epsilon_opacus: The cross-check of it, by another library.
        groups: Names of the train groups by group index; empty where a seat is free.
        layout: Coordinates of private steps, and the metrics behind them; None where answers are
            counted once.
        warmup: Of the rounds that train the head alone; likewise.
        questionnaires: Where answers are counted once, what each group is asked.
        start: What is stated of the model that the run begins from; None where there is none.
    """

    run: str
    plan: PrivacyPlan
    epsilon_pld: float
    epsilon_opacus: float
    groups: tuple[str, ...]
    layout: PrivateLayout | None = None
    warmup: PrivateLayout | None = None
    questionnaires: Mapping[str, Asked] = field(default_factory=dict)
    start: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """All that is public of it, as JSON types."""
        public = {
            "run": self.run,
            "plan": self.plan.as_dict(),
            "plan_digest": self.plan.digest(),
            "epsilon_pld": self.epsilon_pld,
            "epsilon_opacus": self.epsilon_opacus,
            "groups": list(self.groups),
            **({} if self.start is None else {"start": dict(self.start)}),
        }
        if self.layout is None:
            asked = {name: each.as_dict() for name, each in self.questionnaires.items()}
            return {**public, "questionnaires": asked}
        names = {"tensors": list(self.layout.names), "metrics": list(self.layout.metrics)}
        return {**public, **names}


class PlanSections:
    """What each group is told of a registered plan.

    Args:
        registered: The plan.
        config: The run.
        cohort: Who has which group index; where it is not given, as at the start.
    """

    def __init__(
        self, registered: RegisteredPlan, config: RunConfig, cohort: Cohort | None = None
    ) -> None:
        self._cohort = cohort
        self._indices = {name: index for index, name in enumerate(registered.groups) if name}
        self._privacy = config.privacy
        self._text = json.dumps(registered.plan.as_dict(), sort_keys=True)
        self.digest = registered.plan.digest()

    def of(self, group: str) -> Mapping[str, Scalar]:
        """The section about privacy of a group's round plan."""
        indices = self._cohort.group_indices if self._cohort else self._indices
        return asdict(
            PrivateWork(
                plan=self._text,
                group_index=indices[group],
                freeze_a=self._privacy.freeze_a,
                local_learning_rate=self._privacy.local_learning_rate,
            )
        )


def register_plan(
    config: RunConfig,
    cohort: Cohort,
    predictor: Predictor,
    start: Mapping[str, Any] | None = None,
) -> RegisteredPlan:
    """Calibrate the plan of a private run, have a second library confirm it, and write it down.

    Args:
        config: The run.
        cohort: Who takes part.
        predictor: Of its shape.
        start: What is stated of the model that it begins from; None where its values are drawn.

    Raises:
        PlanRefused: Something asked for could not be guaranteed.
        AccountantsDisagree: The two libraries differ by more than their tolerance.
    """
    layout = None if config.privacy.counted else _layout(config, predictor)
    terms = (
        _terms_of_counts(config, cohort)
        if layout is None
        else _terms(config, cohort, dimension=layout.dimension)
    )
    plan = PrivacyPlan.calibrate(terms)
    confirmed = cross_check(
        plan.mechanism, delta=plan.accounted_delta, accountant=opacus_prv_epsilon
    )
    groups = tuple(cohort.train)
    registered = RegisteredPlan(
        run=secrets.token_hex(16),
        plan=plan,
        epsilon_pld=plan.verify(),
        epsilon_opacus=confirmed,
        groups=(*groups, *[""] * (plan.groups - len(groups))),
        layout=layout,
        warmup=private_layout(predictor, adapters=False) if layout else None,
        questionnaires=dict(cohort.questionnaires),
        start=start,
    )
    keep_seats(registered, config, cohort)
    logger.info("noise multiplier %.4f for epsilon = %g", plan.noise_multiplier, plan.epsilon)
    return registered


def _terms(config: RunConfig, cohort: Cohort, *, dimension: int) -> PrivacyTerms:
    """The terms that a run's settings and its groups come to, free seats included."""
    privacy, federation = config.privacy, config.federation
    units, mode = _units(config, cohort), Mode(privacy.mode)
    return PrivacyTerms(
        unit=Unit(privacy.unit),
        mode=mode,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        groups=len(units),
        units_per_group=units,
        sampling_rate=privacy.sampling_rate,
        rounds=federation.rounds,
        local_steps=privacy.local_steps,
        survivors=_survivors(config, groups=len(cohort.train)),
        colluding=privacy.colluding if mode is Mode.DISTRIBUTED else 0,
        clipping_norm=privacy.clipping_norm,
        dimension=dimension,
        shape=step_shape(config),
    )


def _terms_of_counts(config: RunConfig, cohort: Cohort) -> PrivacyTerms:
    """The terms under which every group's answers are counted once, free seats included."""
    privacy = config.privacy
    asked = [cohort.questionnaires[group] for group in cohort.train]
    kinds = {each.distributions for each in asked}
    if len(kinds) > 1:
        raise PlanRefused(
            "some groups hold distributions and others the answers of persons, which one plan does "
            "not bound: make a run of each kind"
        )
    return terms_of_counts(
        unit=Unit(privacy.unit),
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        units_per_group=_units(config, cohort),
        options=[each.options for each in asked],
        questionnaires=[each.digest for each in asked],
        distributions=kinds.pop(),
        answers_per_respondent=privacy.answers_per_respondent,
        largest_weight=privacy.largest_weight,
    )


def step_shape(config: RunConfig) -> StepShape:
    """The bounds of every private step of a run; public settings, never fitted to data."""
    privacy = config.privacy
    return StepShape(
        micro_batch=privacy.micro_batch,
        records_per_unit=contribution_cap(privacy.unit, privacy.records_per_unit),
        max_options=privacy.max_options,
        max_tokens=config.predictor.max_tokens,
        # A causal model reads every option on its own.
        options_apart=privacy.options_apart or config.predictor.scores == "policy",
    )


def _units(config: RunConfig, cohort: Cohort) -> tuple[int, ...]:
    """Units of privacy by group index: as groups declare them, then as free seats allow."""
    declared = [cohort.units[group] for group in cohort.train]
    seats, units_per_seat = config.federation.seats, config.privacy.units_per_seat
    free = max(0, seats - len(declared))
    if free and units_per_seat < 1:
        raise PlanRefused(
            f"privacy.units_per_seat = {units_per_seat} must be >= 1 where {free} of "
            f"federation.seats = {seats} are free: state how many units a group that comes later "
            "may have"
        )
    return (*declared, *[units_per_seat] * free)


def _survivors(config: RunConfig, *, groups: int) -> int:
    """The fewest groups of a sum: as configured, or all who are asked in a round."""
    asked, per_round = config.privacy.survivors, config.federation.groups_per_round
    if asked > groups:
        raise PlanRefused(
            f"privacy.survivors = {asked} is above the {groups} groups that are there: lower it, "
            "or have federation.minimum_groups wait for more"
        )
    # Only the noise of those who are drawn for a round can be counted on.
    fewest = min(per_round or groups, groups)
    if asked > fewest:
        raise PlanRefused(
            f"privacy.survivors = {asked} is above federation.groups_per_round = {per_round}: "
            "lower one or raise the other"
        )
    return asked or fewest


def keep_seats(registered: RegisteredPlan, config: RunConfig, cohort: Cohort) -> None:
    """Write down a plan, with the groups that have taken its seats by now."""
    joined = {index: name for name, index in cohort.group_indices.items()}
    names = dict(enumerate(registered.groups)) | joined
    taken = [names[index] for index in range(registered.plan.groups)]
    values = {**registered.as_dict(), "groups": taken}
    if registered.layout is None:
        asked = {**registered.questionnaires, **cohort.questionnaires}
        values["questionnaires"] = {name: each.as_dict() for name, each in asked.items()}
    write_atomically(Path(config.out) / PRIVACY_FILE, json.dumps(values, indent=2) + "\n")


def restored_plan(
    values: Mapping[str, Any],
    config: RunConfig,
    cohort: Cohort,
    predictor: Predictor,
    groups: tuple[str, ...],
) -> RegisteredPlan:
    """The plan of a run that goes on: as it was registered, and never calibrated anew.

    Args:
        values: What ``RegisteredPlan.as_dict`` has given.
        config: The run.
        cohort: Who takes part now.
        predictor: Of its shape.
        groups: Names by group index, as the server ledger has them now.

    Raises:
        ConfigError: The plan covers other coordinates than this predictor has.
        PlanRefused: The values are of no plan.
    """
    layout = None if config.privacy.counted else _layout(config, predictor)
    plan = PrivacyPlan.from_dict(values["plan"])
    covered = (values.get("tensors"), values.get("metrics"), values["plan_digest"])
    names = (None, None) if layout is None else (list(layout.names), list(layout.metrics))
    if covered != (*names, plan.digest()):
        raise ConfigError(
            f"the plan of run {values['run'][:12]} covers {plan.dimension} coordinates, but not "
            "those of this predictor: give the encoder that the run had"
        )
    registered = RegisteredPlan(
        run=values["run"],
        plan=plan,
        epsilon_pld=values["epsilon_pld"],
        epsilon_opacus=values["epsilon_opacus"],
        groups=groups,
        layout=layout,
        warmup=private_layout(predictor, adapters=False) if layout else None,
        questionnaires=dict(cohort.questionnaires),
        start=values.get("start"),
    )
    keep_seats(registered, config, cohort)
    return registered


def _layout(config: RunConfig, predictor: Predictor) -> PrivateLayout:
    adapters = config.federation.adapter_rounds > 0 and config.predictor.lora_rank > 0
    return private_layout(predictor, adapters=adapters, freeze_a=config.privacy.freeze_a)
