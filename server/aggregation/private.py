"""The privacy plan of a run, registered before it begins, and what the server does under it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from alignment.model.predictor import Predictor
from alignment.training.opacus_cross_check import opacus_prv_epsilon
from alignment.training.private_layout import PrivateLayout, private_layout
from atomic import write_atomically
from privacy.accounting.accountant import cross_check
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.release import mean_of_sum, sum_of_shares
from privacy.accounting.terms import Mode, PrivacyTerms, Unit
from privacy.errors import PlanRefused
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.kernel.quantisation import dequantised_mean
from privacy.kernel.types import Modular
from privacy.ledger.paths import ROSTER_FILE, SERVER_LEDGER, ledgers_folder
from privacy.ledger.server_ledger import ServerLedger
from privacy.secagg.round_terms import VectorTerms
from server.aggregation.base import Combined, mean_of_floats, quantised_terms, released
from server.aggregation.robust import rule_for
from server.config import ConfigError, RunConfig
from server.rounds.cohort import Cohort
from server.state.witness import LedgerWitness
from strategies.base import State, Visibility
from strategies.wire.round_plan import PrivateWork, RoundPlan, Scalar

logger = logging.getLogger(__name__)

PRIVACY_FILE = "privacy.json"

#: A noised sum is divided by where it is at least so many standard deviations of its noise.
_CLEAR = 4.0


@dataclass(frozen=True, kw_only=True)
class RegisteredPlan:
    """A plan, the two opinions on its epsilon, and the coordinates it covers.

    Attributes:
        run: Name of the run in all ledgers.
        plan: Calibrated for this run.
        epsilon_pld: Its epsilon by privacy loss distributions, at ``plan.accounted_delta``.
        epsilon_opacus: The second opinion.
        groups: Names of the train groups by their seat; empty where a seat is free.
        layout: Coordinates that are trained, and the metrics behind them.
        warmup: Coordinates of the rounds that train the head alone.
    """

    run: str
    plan: PrivacyPlan
    epsilon_pld: float
    epsilon_opacus: float
    groups: tuple[str, ...]
    layout: PrivateLayout
    warmup: PrivateLayout

    def as_dict(self) -> dict[str, Any]:
        """All that is public of it, as JSON types."""
        return {
            "run": self.run,
            "plan": self.plan.as_dict(),
            "plan_digest": self.plan.digest(),
            "epsilon_pld": self.epsilon_pld,
            "epsilon_opacus": self.epsilon_opacus,
            "groups": list(self.groups),
            "tensors": list(self.layout.names),
            "metrics": list(self.layout.metrics),
        }


def register_plan(config: RunConfig, cohort: Cohort, predictor: Predictor) -> RegisteredPlan:
    """Make the plan of a private run, have a second library confirm it, and write it down.

    Raises:
        PlanRefused: Something asked for could not be guaranteed.
        AccountantsDisagree: The two libraries differ by more than their tolerance.
    """
    privacy, federation = config.privacy, config.federation
    layout = _layout(config, predictor)
    groups = tuple(cohort.train)
    units = [cohort.units[group] for group in groups]
    mode = Mode(privacy.mode)
    if free := max(0, federation.seats - len(groups)):
        if privacy.units_per_seat < 1:
            raise PlanRefused(
                f"privacy.units_per_seat = {privacy.units_per_seat} must be >= 1 where "
                f"{free} of federation.seats = {federation.seats} are free: state how many units "
                "a group that comes later may have"
            )
        units += [privacy.units_per_seat] * free
    if privacy.survivors > len(groups):
        raise PlanRefused(
            f"privacy.survivors = {privacy.survivors} is above the {len(groups)} groups that are "
            "there: lower it, or have federation.minimum_groups wait for more"
        )
    # Of a round, in which the noise of just those who are drawn for it can be counted on.
    fewest = min(federation.groups_per_round or len(groups), len(groups))
    if privacy.survivors > fewest:
        raise PlanRefused(
            f"privacy.survivors = {privacy.survivors} is above federation.groups_per_round = "
            f"{federation.groups_per_round}: lower one or raise the other"
        )
    plan = PrivacyPlan.calibrate(
        PrivacyTerms(
            unit=Unit(privacy.unit),
            mode=mode,
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            groups=len(units),
            units_per_group=tuple(units),
            sampling_rate=privacy.sampling_rate,
            rounds=federation.rounds,
            local_steps=privacy.local_steps,
            survivors=privacy.survivors or fewest,
            colluding=privacy.colluding if mode is Mode.DISTRIBUTED else 0,
            clipping_norm=privacy.clipping_norm,
            dimension=layout.dimension,
        )
    )
    confirmed = cross_check(
        plan.mechanism, delta=plan.accounted_delta, accountant=opacus_prv_epsilon
    )
    registered = RegisteredPlan(
        run=secrets.token_hex(16),
        plan=plan,
        epsilon_pld=plan.verify(),
        epsilon_opacus=confirmed,
        groups=(*groups, *[""] * free),
        layout=layout,
        warmup=private_layout(predictor, adapters=False),
    )
    keep_seats(registered, config, cohort)
    logger.info("noise multiplier %.4f for epsilon = %g", plan.noise_multiplier, plan.epsilon)
    return registered


def keep_seats(registered: RegisteredPlan, config: RunConfig, cohort: Cohort) -> None:
    """Write down a plan, with the groups that have its seats by now."""
    names = dict(enumerate(registered.groups)) | {
        at: name for name, at in cohort.group_indices.items()
    }
    taken = [names[place] for place in range(registered.plan.groups)]
    values = {**registered.as_dict(), "groups": taken}
    _write(Path(config.out) / PRIVACY_FILE, values)


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
        cohort: Who has which seat now.
        predictor: Of its shape.
        groups: Names by seat, as the server's book has them now.

    Raises:
        ConfigError: The plan covers other coordinates than this predictor has.
        PlanRefused: The values are of no plan.
    """
    layout = _layout(config, predictor)
    plan = PrivacyPlan.from_dict(values["plan"])
    covered = (values["tensors"], values["metrics"], values["plan_digest"])
    if covered != (list(layout.names), list(layout.metrics), plan.digest()):
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
        warmup=private_layout(predictor, adapters=False),
    )
    keep_seats(registered, config, cohort)
    return registered


def _layout(config: RunConfig, predictor: Predictor) -> PrivateLayout:
    adapters = config.federation.adapter_rounds > 0 and config.predictor.lora_rank > 0
    return private_layout(predictor, adapters=adapters, freeze_a=config.privacy.freeze_a)


@contextmanager
def keep_server_ledger(
    config: RunConfig, cohort: Cohort, registered: RegisteredPlan, *, model: str
) -> Iterator[LedgerWitness]:
    """Open the server's book, begin a run in it, and leave the keys of all parties beside it.

    Args:
        config: The run.
        cohort: Who takes part.
        registered: The plan.
        model: Digest of the vector the run starts from.
    """
    out, ledgers = Path(config.out), config.privacy.ledgers
    keys = KeyFolder.of_run(out, ledgers)
    identity = keys.own(SERVER, role=SERVERS)
    folder = ledgers_folder(out, ledgers)
    folder.mkdir(parents=True, exist_ok=True)
    members = Roster({name: cohort.identities[name] for name in registered.groups if name})
    with ServerLedger.open(folder / SERVER_LEDGER, identity, name=SERVER) as server_ledger:
        server_ledger.begin(
            registered.run,
            registered.plan,
            groups=members,
            model=model,
            secure=config.federation.secure_aggregation,
            pairs=config.strategy.make().visibility is Visibility.NOTHING,
            epsilons={
                "dp-accounting PLD": registered.epsilon_pld,
                "Opacus PRV": registered.epsilon_opacus,
            },
        )
        write_pins(config, keys, identity)
        try:
            yield LedgerWitness(server_ledger, registered.run)
        finally:
            # Groups may have come since.
            write_pins(config, keys, identity)
            keep_seats(registered, config, cohort)


def write_pins(config: RunConfig, keys: KeyFolder, server: Identity) -> None:
    """Leave the keys of all parties beside the ledgers: those admitted, or those of a simulation.

    A reviewer who has them from the groups themselves takes those instead.
    """
    admitted = config.federation.roster
    members = Roster.read(Path(admitted)) if admitted else keys.roster()
    text = rosters_json(members, Roster({SERVER: server.public}))
    folder = ledgers_folder(Path(config.out), config.privacy.ledgers)
    write_atomically(folder / ROSTER_FILE, text + "\n")


class PrivateAggregation:
    """Sums noised integers in distributed mode, averages private means in local mode.

    Args:
        registered: The plan of the run.
        config: The run.
        cohort: Who has which seat of the plan; where it is not given, those of the start.
    """

    def __init__(
        self, registered: RegisteredPlan, config: RunConfig, cohort: Cohort | None = None
    ) -> None:
        self._registered = registered
        self._cohort = cohort
        self._places = {name: place for place, name in enumerate(registered.groups) if name}
        self._privacy = config.privacy
        self._rounds = config.federation.rounds
        self._rule = rule_for(config.strategy.make())
        self._head_only = registered.warmup.within(registered.layout)
        self._plan_text = json.dumps(registered.plan.as_dict(), sort_keys=True)

    def work(self, group: str) -> Mapping[str, Scalar]:
        """What a group is told; see :class:`server.aggregation.base.Aggregation`."""
        privacy = self._privacy
        return asdict(
            PrivateWork(
                plan=self._plan_text,
                run=self._registered.run,
                place=(self._cohort.group_indices if self._cohort else self._places)[group],
                rounds=self._rounds,
                local_steps=privacy.local_steps,
                sampling="poisson",
                sampling_rate=privacy.sampling_rate,
                clipping_norm=privacy.clipping_norm,
                records_per_unit=1 if privacy.unit == "record" else privacy.records_per_unit,
                micro_batch=privacy.micro_batch,
                max_options=privacy.max_options,
                freeze_a=privacy.freeze_a,
                local_learning_rate=privacy.local_learning_rate,
            )
        )

    def compression(self) -> Mapping[str, Scalar]:
        """The plan says what is sent; see :class:`server.aggregation.base.Aggregation`."""
        return {}

    def state(self) -> State:
        """Nothing is remembered; see :class:`server.aggregation.base.Aggregation`."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing is remembered; see :class:`server.aggregation.base.Aggregation`."""

    @property
    def fewest(self) -> int:
        """As the plan's noise counts on them; see :class:`server.aggregation.base.Aggregation`."""
        plan = self._registered.plan
        return plan.survivors if plan.mode is Mode.DISTRIBUTED else 1

    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Noised integers, or quantised means; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is Mode.DISTRIBUTED:
            return VectorTerms.of_plan(promised)
        return quantised_terms(promised.dimension, members=members, plan=promised.digest())

    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> NDArray[np.float64]:
        """Sum or average in the clear; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is not Mode.DISTRIBUTED:
            return mean_of_floats(updates, promised.dimension, self._rule)
        shares: Sequence[Any] = [released(group, each) for group, each in updates.items()]
        return mean_of_sum(sum_of_shares(shares, promised), promised, shares=len(shares))

    def mean_of_sum(
        self, plan: RoundPlan, total: Modular, *, members: int, summed: int
    ) -> NDArray[np.float64]:
        """Lift and scale; see :class:`server.aggregation.base.Aggregation`."""
        promised = self._registered.plan
        if promised.mode is not Mode.DISTRIBUTED:
            return dequantised_mean(total, members=members)
        return mean_of_sum(total, promised, shares=summed)

    def combine(
        self, mean: NDArray[np.float64], *, dimension: int, train_adapter: bool
    ) -> Combined:
        """Part gradient and metrics; the update points down the gradient."""
        plan, layout = self._registered.plan, self._registered.layout
        if not train_adapter:
            # The rest is noise alone.
            mean = np.where(self._head_only, mean, 0.0)
        gradient, metrics = layout.split(mean)
        whole = np.zeros(dimension, dtype=np.float32)
        update = -layout.embed(whole, np.asarray(gradient, dtype=np.float32)).astype(np.float64)
        loss = mean_loss(metrics, noise_std=plan.noise_std_per_coordinate)
        return Combined(update=update, loss=loss)


def mean_loss(metrics: Mapping[str, float], *, noise_std: float) -> float | None:
    """The mean loss of units, by their weights in the clip and how little each was clipped; noisy.

    Args:
        metrics: Noised sums of ``loss`` and ``units``, of one scale.
        noise_std: Of the noise on either.

    Returns:
        None where the noise could be most of what the loss is divided by: the quotient would then
        be any number.
    """
    drowned = metrics["units"] < _CLEAR * noise_std
    return None if drowned else metrics["loss"] / metrics["units"]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")
