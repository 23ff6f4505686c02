"""Store, request, account and training: the steps that handlers of messages share.

Imports of torch stay inside functions; see :mod:`clients.app`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, overload

import numpy as np
from flwr.app import Context, Message
from numpy.typing import NDArray

from alignment.config import PredictorConfig
from alignment.data.units import UnitRecords
from alignment.model.encoders.encoder_files import model_fingerprint
from clients.data.datastore import Datastore, datastore_of
from clients.privatizer import Trained
from clients.sessions.accounts import Account, CountedAccount, PrivateAccount
from clients.sessions.group_ledger import GroupLedger, redact_ledger_errors
from clients.sessions.group_tally import GroupTallies
from clients.task import PrivateTask, RoundTask, read_task
from privacy.accounting.accountant import NeighboringRelation
from privacy.errors import PolicyRefused, PrivacyError
from privacy.identity.key_folder import SERVERS
from privacy.ledger.chain import Head
from privacy.ledger.paths import tallies_folder
from strategies.wire.round_plan import RoundPlan


class TrainingFailed(RuntimeError):
    """Training failed for everybody; what failed is not told."""


def open_store(context: Context) -> Datastore | None:
    """What this node may read; None where it has no group."""
    return datastore_of(context.node_config, context.run_config)


def train_store(context: Context) -> Datastore:
    """The same, of a group that trains."""
    store = open_store(context)
    if store is None or not store.trains:
        raise ValueError("a held-out group does not train: ask train groups only")
    return store


def task_in(message: Message, store: Datastore) -> RoundTask:
    """What the server asks for, of the predictor that the group has agreed to.

    Raises:
        ValueError: The request is not of this version.
        PolicyRefused: The group has agreed to another predictor.
    """
    task = read_task(RoundPlan.from_wire(message.content.config_records["plan"]))
    if store.group_policy is not None:
        predictor = task.predictor
        store.group_policy.check_predictor(predictor.encoder, lambda: _fingerprint(predictor))
    return task


def training_task_in(message: Message, store: Datastore) -> RoundTask:
    """The same of a round that trains: under the guarantee that the group insists on.

    Raises:
        ValueError: The request is not of this version.
        PolicyRefused: The group has agreed to another predictor, or to another guarantee.
    """
    task = task_in(message, store)
    _require_guarantee(store, task)
    if task.private is not None:
        _check_plan(store, task.private)
    return task


def _check_plan(store: Datastore, private: PrivateTask) -> None:
    """Hold a plan against what the group insists on, all of it public, before any record is read.

    Raises:
        PolicyRefused: It protects something else than the group's units.
        ExecutionMismatch: It has no seat for a group of so many units.
    """
    plan = private.plan
    if store.group_policy is not None:
        store.group_policy.check_plan(plan, group=private.group_index)
    elif plan.unit != store.unit:
        raise PolicyRefused(f"unit = {plan.unit}; this run's is {store.unit}")
    plan.check_seat(group=private.group_index, units=store.units_bound)
    if plan.counts is not None:
        asked, own = plan.counts.questionnaires[private.group_index], store.questionnaire()
        replaces = plan.relation is NeighboringRelation.REPLACE_ONE
        if asked not in ("", own.digest) or replaces != own.distributions:
            raise PolicyRefused("questionnaire: what would be counted is not what this group asks")


def require_executable(store: Datastore, task: RoundTask, vector: NDArray[np.float32]) -> None:
    """Refuse, before anything is charged, what was not accounted for; see the private trainer.

    Raises:
        PrivacyError: Something else would be executed than the plan says.
    """
    if task.private is not None and task.private.plan.counts is None:
        from clients.training.private_trainer import require_executable as required

        required(task, vector, units=store.units_bound)


def _require_guarantee(store: Datastore, task: RoundTask) -> None:
    """Refuse a round without privacy in a run that was set up with it."""
    if store.private and task.private is None:
        raise PolicyRefused("this run is private, the round asked for is not: nothing was trained")


@lru_cache(maxsize=2)
def _fingerprint(config: PredictorConfig) -> str:
    """Of the files as this process has loaded them: a predictor is built once and kept."""
    return model_fingerprint(config)


def model_in(message: Message) -> NDArray[np.float32]:
    """The vector that came with a request, (d,) float32.

    Raises:
        ValueError: It is in another form.
    """
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
    if vector.ndim != 1 or vector.dtype != np.float32:
        raise ValueError(f"the model is {vector.dtype} of shape {vector.shape}, not (d,) float32")
    return vector


@overload
def part_in(message: Message, name: str, *, of: str = ...) -> bytes: ...
@overload
def part_in(
    message: Message, name: str, *, required: Literal[False], of: str = ...
) -> bytes | None: ...
def part_in(
    message: Message, name: str, *, required: bool = True, of: str = "secagg"
) -> bytes | None:
    """One part of a request of secure aggregation, or of another protocol."""
    part = message.content.config_records[of].get(name)
    if isinstance(part, bytes) or (part is None and not required):
        return part
    raise ValueError(f"the request has no part {name!r}: use one version")


@contextmanager
def account_for(store: Datastore, task: RoundTask) -> Iterator[Account]:
    """What a round will cost the group; of an error of its ledger only the kind is told."""
    with redact_ledger_errors():
        with _account(store, task) as account:
            yield account


def _account(store: Datastore, task: RoundTask) -> Account:
    private = task.private
    if private is None:
        return Account()
    group_ledger = _group_ledger(store)
    if private.plan.counts is None:
        return PrivateAccount(group_ledger, private, round_number=task.round, units=store.units)
    own = store.questionnaire()
    tallies = GroupTallies(
        group=store.group,
        group_ledger=group_ledger,
        folder=tallies_folder(store.ledger),
        questionnaire=own,
        wave=store.wave,
        units=store.counted_units,
    )
    plan = private.plan.of_group(
        private.group_index, own.options, questionnaire=own.digest, units=store.units_bound
    )
    return CountedAccount(
        group_ledger, private, round_number=task.round, obtain=lambda: tallies.obtain(plan)
    )


def announce(store: Datastore, task: RoundTask, account: Account, *, model: str) -> None:
    """Have the ledger know a run, which begins from what the group has agreed to.

    Args:
        store: Of the group.
        task: What the server asks for.
        account: Of the round.
        model: Digest of the vector of the round; where groups meet in pairs, of the run's first.

    Raises:
        PolicyRefused: The run begins from another model; nothing is announced or charged.
    """
    if store.group_policy is not None:
        begins = task.round == 1 or task.strategy is not None
        store.group_policy.check_start(task.training.start, first=model if begins else None)
    account.announce(model)


def shown_head(store: Datastore, message: Message, *, of: str = "secagg") -> Head:
    """The head of the group ledger, held against the newest that the server says it has seen."""
    known = part_in(message, "known", required=False, of=of)
    with redact_ledger_errors():
        return _group_ledger(store).head(known)


def countersign(store: Datastore, message: Message, *, of: str = "secagg") -> None:
    """Keep the server's signature of the head that was advertised, where it has sent one."""
    signed = part_in(message, "countersigned", required=False, of=of)
    if store.private and signed is not None:
        with redact_ledger_errors():
            _group_ledger(store).countersign(signed)


def _group_ledger(store: Datastore) -> GroupLedger:
    return GroupLedger(
        store.ledger,
        store.keys.own(store.group),
        store.keys.roster(role=SERVERS),
        budget_epsilon=store.budget_epsilon,
        budget_delta=store.budget_delta,
    )


def trained_as_asked(
    store: Datastore,
    task: RoundTask,
    vector: NDArray[np.float32],
    context: Context,
    *,
    account: Account,
) -> Trained:
    """Train as a task says, privately or not; whoever calls has charged for it.

    Args:
        store: Of the group.
        task: What the server asks for.
        vector: (d,) float32, the global vector.
        context: Of the client, between messages.
        account: Of the round, charged: it has the units or the noised counts that were paid for.
    """
    from clients.training.compressor import travelling
    from clients.training.noised_answers import noised_answers
    from clients.training.trainer import train_locally

    _require_guarantee(store, task)
    answers = store.training
    if task.private is not None:
        if task.private.plan.counts is None:
            return _trained_privately(store, task, account.present, vector)
        answers = noised_answers(account.tallies)
    if answers is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    return travelling(train_locally(vector, answers, task), task, context.state)


def _trained_privately(
    store: Datastore, task: RoundTask, units: Sequence[UnitRecords], vector: NDArray[np.float32]
) -> Trained:
    """Train under the plan.

    Training is total: whatever the records are, it gives a vector. What fails all the same fails
    without any record, and its text stays here.
    """
    from clients.training.private_trainer import train_privately

    try:
        return train_privately(vector, units, task, everybody=store.units())
    except PrivacyError:
        # These quote the plan only, which the server has made.
        raise
    except Exception as error:
        raise TrainingFailed(
            f"private training failed with a {type(error).__name__}; its text stays at the client"
        ) from error
