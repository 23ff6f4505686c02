"""Handlers of messages in a run without a server step, where groups meet in pairs.

Training is that of local mode, on raw records or on noised counts, with the same checks, the same
charge and the same release; what is new is that the group steps by itself, and for whom its vector
is encrypted. Imports of torch stay inside functions; see :mod:`clients.app`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from clients.data.datastore import Datastore
from clients.privatizer import Trained, release_to_partner, release_to_readers
from clients.replies import reply_to
from clients.requests import (
    account_for,
    announce,
    countersign,
    model_in,
    open_store,
    part_in,
    require_executable,
    shown_head,
    train_store,
    trained_as_asked,
    training_task_in,
)
from clients.sessions.gossip_session import ExchangeSession
from clients.sessions.own_model import Kept, OwnModel
from clients.task import PrivateTask, RoundTask
from clients.training.updates import LocalUpdate
from privacy.accounting.choices import Mode
from privacy.errors import PolicyRefused, Replayed
from privacy.exchange.messages import MEET, SHOW
from privacy.exchange.peer import Peer
from privacy.identity.key_folder import MEMBERS, READERS
from privacy.kernel.randomness import SystemRandomStream
from privacy.ledger.chain import NOTHING
from privacy.secagg.round_terms import Attempt
from strategies.gossip import Gossip
from strategies.wire.round_plan import vector_digest

_PART = "exchange"


def register(app: ClientApp) -> None:
    """Give an app the handlers of this module."""
    app.query("offer")(offer)
    app.train("meet")(meet)
    app.query("mix")(mix)
    app.query("show")(show)
    app.query("part")(part)


def offer(message: Message, context: Context) -> Message:
    """Advertise a fresh key for a round: to meet at a train group, to read at a held-out one."""
    store = open_store(context)
    if store is None:
        raise ValueError("this node has no group: ask others")
    head, purpose = NOTHING, SHOW
    if store.trains:
        head, purpose = shown_head(store, message, of=_PART), MEET
    session = _session(store, context)
    advert = session.offer(part_in(message, "offer", of=_PART), purpose=purpose, head=head)
    return _answer(message, {"offer": advert})


def meet(message: Message, context: Context) -> Message:
    """Train one round from the own vector and send the new one to the partner alone."""
    store = train_store(context)
    task = training_task_in(message, store)
    private, strategy = _for_partners(store, task)
    session, model = _session(store, context), OwnModel(store.model)
    _require_attempt(session.attempt, task)
    before = model.read(private.run)
    if before is None:
        before = _first(message, task, private, strategy)
    strategy.restore(before.strategy.state())
    with account_for(store, task) as account:
        countersign(store, message, of=_PART)
        request = part_in(message, "meet", of=_PART)
        require_executable(store, task, before.vector)
        meeting = session.meet(request, task=task.digest, model=before.start)
        announce(store, task, account, model=before.start)
        account.charge(1, meeting.context)
        mean = trained_as_asked(store, task, before.vector, context, account=account)
        vector = strategy.step(before.vector, _update(task, mean))
        after = replace(
            before,
            predictor=task.predictor,
            context=task.context,
            strategy=strategy,
            vector=vector,
        )
        # On disk before it leaves: what is met with must be what the group goes on from.
        model.keep(after)
        released = release_to_partner(session, meeting, vector)
        account.release(released)
    content = ArrayRecord([np.frombuffer(released, dtype=np.uint8)])
    return reply_to(message, {"sealed": content})


def mix(message: Message, context: Context) -> Message:
    """Go on from the mean of the own vector and the partner's.

    How far apart the two were is told: a number about two vectors that are private already.
    """
    store = train_store(context)
    session, model = _session(store, context), OwnModel(store.model)
    kept = _kept(model, session)
    other = session.open(_bytes_in(message, "sealed"), dimension=kept.vector.size)
    apart = float(np.linalg.norm(other.astype(np.float64) - kept.vector))
    model.keep(replace(kept, vector=kept.strategy.meet(kept.vector, other)))
    return reply_to(message, {"mixed": MetricRecord({"distance": apart})})


def show(message: Message, context: Context) -> Message:
    """Show the own model to readers, who will say how well it predicts; each alone can read it."""
    store = train_store(context)
    session = _session(store, context)
    kept = _kept(OwnModel(store.model), session)
    shown = release_to_readers(
        session,
        part_in(message, "show", of=_PART),
        kept.strategy.published(kept.vector),
        model=kept.start,
    )
    content = ArrayRecord([np.frombuffer(each, dtype=np.uint8) for each in shown])
    return reply_to(message, {"shown": content})


def part(message: Message, context: Context) -> Message:
    """End a run: keep the server's signature of the ledger, and leave the model as a folder."""
    store = train_store(context)
    session, model = _session(store, context), OwnModel(store.model)
    if part_in(message, "known", required=False, of=_PART) is not None:
        shown_head(store, message, of=_PART)
    countersign(store, message, of=_PART)
    session.end()
    if (kept := model.read(session.attempt.run)) is not None:
        model.publish(kept)
    return _answer(message, {})


def shown_model(
    store: Datastore, message: Message, context: Context, *, dimension: int
) -> NDArray[np.float32]:
    """The vector that a train group has shown a held-out one, decrypted."""
    return _session(store, context).read(_bytes_in(message, "shown"), dimension=dimension)


def _session(store: Datastore, context: Context) -> ExchangeSession:
    # The own key first: in a simulation it is made when it is first asked for.
    identity = store.keys.own(store.group, role=MEMBERS if store.trains else READERS)
    peer = Peer(
        name=store.group,
        identity=identity,
        members=store.keys.roster(),
        readers=store.keys.roster(role=READERS),
        source=SystemRandomStream(),
    )
    return ExchangeSession(context.state, peer, store.served if store.trains else None)


def _kept(model: OwnModel, session: ExchangeSession) -> Kept:
    kept = model.read(session.attempt.run)
    if kept is None:
        raise Replayed("this group has not trained in this run yet: nothing is mixed or shown")
    return kept


def _for_partners(store: Datastore, task: RoundTask) -> tuple[PrivateTask, Gossip]:
    """What a meeting needs of a task: vectors that are private by themselves, and a strategy.

    Raises:
        PolicyRefused: Vectors would not be private, or the group has not agreed to hand them out.
    """
    if task.private is None or task.private.plan.mode is not Mode.LOCAL:
        raise PolicyRefused("what a partner would see is not private: nothing was trained")
    agreed = not store.secure if store.group_policy is None else store.group_policy.accept.partners
    if not agreed:
        raise PolicyRefused(
            "this group's vectors leave for sums alone, as accept.partners = false: nothing was "
            "trained"
        )
    if task.strategy is None:
        raise PolicyRefused("the round names no strategy that a group follows by itself")
    return task.private, task.strategy


def _require_attempt(attempt: Attempt, task: RoundTask) -> None:
    if (task.run, task.round) != (attempt.run, attempt.round):
        raise PolicyRefused("the plan is of another run or round than the meeting: nothing is sent")


def _first(message: Message, task: RoundTask, private: PrivateTask, strategy: Gossip) -> Kept:
    """Where a group stands that has not trained in this run: at its public first vector."""
    if "model" not in message.content.array_records:
        raise PolicyRefused("this group has no model of this run, and was given none to begin from")
    vector = model_in(message)
    return Kept(
        run=private.run,
        start=vector_digest(vector),
        predictor=task.predictor,
        context=task.context,
        strategy=strategy,
        vector=vector,
    )


def _update(task: RoundTask, mean: Trained) -> NDArray[np.float64]:
    """Where a private mean gradient points, or training on noised counts led; all coordinates."""
    from clients.training.compressor import embedded
    from clients.training.private_trainer import update_along

    if isinstance(mean, LocalUpdate) and task.private is not None and task.private.plan.counts:
        return embedded(mean, task)
    if not isinstance(mean, np.ndarray):
        raise PolicyRefused("what was trained is not private by itself: nothing is sent")
    return update_along(mean, task)


def _bytes_in(message: Message, name: str) -> bytes:
    (array,) = message.content.array_records[name].to_numpy_ndarrays()
    data: bytes = array.tobytes()
    return data


def _answer(message: Message, parts: dict[str, bytes]) -> Message:
    return reply_to(message, {_PART: ConfigRecord(dict(parts))})
