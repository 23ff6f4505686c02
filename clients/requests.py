"""What handlers of messages share: the store, the plan, the books, and training under them.

Heavy imports stay inside the functions, as in the handlers themselves.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, overload

from flwr.app import Context, Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alignment.config import PredictorConfig
    from clients.data.datastore import Datastore
    from clients.privatizer import Trained
    from clients.sessions.group_ledger import Account, GroupLedger
    from strategies.wire.round_plan import RoundPlan


class TrainingFailed(RuntimeError):
    """Training failed; what failed may be about a record and is not told."""


def open_store(context: Context) -> Datastore | None:
    """What this node may read; None where it has no group."""
    from clients.data.datastore import datastore_of

    return datastore_of(context.node_config, context.run_config)


def train_store(context: Context) -> Datastore:
    """The same, of a group that trains."""
    store = open_store(context)
    if store is None or store.training is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    return store


def plan_in(message: Message) -> RoundPlan:
    """What the server asks for."""
    from strategies.wire.round_plan import RoundPlan

    return RoundPlan.from_wire(message.content.config_records["plan"])


def model_in(message: Message) -> NDArray[np.float32]:
    """The vector that came with a request."""
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
    return vector


def require_guarantee(store: Datastore, plan: RoundPlan) -> None:
    """Refuse a round without privacy in a run that was set up with it."""
    if store.private and not plan.privacy:
        from privacy.errors import PolicyRefused

        raise PolicyRefused("this run is private, the round asked for is not: nothing was trained")


def require_model(store: Datastore, plan: RoundPlan) -> None:
    """Hold the predictor that is asked for against the policy of the group."""
    if store.policy is None or not store.policy.accept.model:
        return
    from alignment.config import PredictorConfig

    config = PredictorConfig(**plan.predictor)  # type: ignore[arg-type]
    store.policy.check_model(_fingerprint(config))


@lru_cache(maxsize=2)
def _fingerprint(config: PredictorConfig) -> str:
    """Of the files as this process has loaded them: a predictor is built once and kept."""
    from alignment.model.fingerprint import model_fingerprint

    return model_fingerprint(config)


def group_ledger_of(store: Datastore) -> GroupLedger:
    """The group's ledger."""
    from clients.sessions.group_ledger import GroupLedger
    from privacy.identity.key_folder import SERVERS

    return GroupLedger(
        store.ledger,
        store.keys.own(store.group),
        store.keys.roster(role=SERVERS),
        budget_epsilon=store.budget_epsilon,
        budget_delta=store.budget_delta,
    )


def account_for(store: Datastore, plan: RoundPlan) -> Account:
    """What a round will cost the group."""
    from clients.sessions.group_ledger import Account
    from strategies.wire.round_plan import PrivateWork

    if not plan.privacy:
        return Account(None)
    run = PrivateWork.read(plan.privacy).run
    return Account(group_ledger_of(store), run=run, round_number=plan.round)


def prepare(store: Datastore, plan: RoundPlan, model: str) -> GroupLedger | None:
    """Have the ledger know data, budget and plan of a private run; None where nothing is."""
    from clients.sessions.group_ledger import verified_plan
    from strategies.wire.round_plan import PrivateWork

    if not plan.privacy:
        return None
    work = PrivateWork.read(plan.privacy)
    privacy, group_ledger = verified_plan(work.plan), group_ledger_of(store)
    if store.policy is not None:
        store.policy.check_plan(privacy)
    group_ledger.prepare(work.run, store.units(str(privacy.unit)), privacy, model=model)
    return group_ledger


def countersign(store: Datastore, message: Message, *, of: str = "secagg") -> None:
    """Keep the server's signature of the head that was advertised, where it has sent one."""
    words = part_in(message, "countersigned", required=False, of=of)
    if store.private and words is not None:
        group_ledger_of(store).countersign(words)


def trained_as_planned(
    store: Datastore, plan: RoundPlan, vector: NDArray[np.float32], context: Context
) -> Trained:
    """Train as the plan says, privately or not."""
    require_guarantee(store, plan)
    if plan.privacy:
        return _trained_privately(store, plan, vector)
    from clients.training.compressor import travelling
    from clients.training.trainer import train_locally

    if store.training is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    return travelling(train_locally(vector, store.training, plan), plan, context.state)


def _trained_privately(store: Datastore, plan: RoundPlan, vector: NDArray[np.float32]) -> Trained:
    """Train under the plan; the text of an error must not tell the server of a record."""
    from clients.training.private_trainer import train_privately
    from privacy.errors import PrivacyError
    from strategies.wire.round_plan import PrivateWork

    unit = json.loads(PrivateWork.read(plan.privacy).plan)["unit"]
    try:
        return train_privately(vector, store.units(unit), plan)
    except PrivacyError:
        # These quote the plan only, which the server has made.
        raise
    except Exception as error:
        raise TrainingFailed(
            f"private training failed with a {type(error).__name__}; its text stays at the client"
        ) from error


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
