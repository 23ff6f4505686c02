"""Handlers of messages in a run without a server step, where groups meet in pairs.

Training is that of local mode, with the same checks, the same charge and the same release; what is
new is that the group steps by itself, and for whom its vector is encrypted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from clients.requests import (
    account_for,
    countersign,
    group_ledger_of,
    model_in,
    open_store,
    part_in,
    plan_in,
    prepare,
    require_guarantee,
    require_model,
    train_store,
    trained_as_planned,
)

if TYPE_CHECKING:
    import numpy as np
    from flwr.clientapp import ClientApp
    from numpy.typing import NDArray

    from clients.data.datastore import Datastore
    from clients.sessions.gossip_session import ExchangeSession
    from clients.sessions.own_model import Kept, OwnModel
    from strategies.wire.round_plan import RoundPlan

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
    from clients.sessions.group_ledger import redact_ledger_errors
    from privacy.exchange.messages import MEET, SHOW
    from privacy.ledger.chain import NOTHING

    store = open_store(context)
    if store is None:
        raise ValueError("this node has no group: ask others")
    head, purpose = NOTHING, SHOW
    if store.training is not None:
        purpose = MEET
        with redact_ledger_errors():
            head = group_ledger_of(store).head(part_in(message, "known", required=False, of=_PART))
    session = _session(store, context)
    advert = session.offer(part_in(message, "offer", of=_PART), purpose=purpose, head=head)
    return _answer(message, {"offer": advert})


def meet(message: Message, context: Context) -> Message:
    """Train one round from the own vector and send the new one to the partner alone."""
    import numpy as np

    from clients.privatizer import release_to_partner
    from clients.sessions.group_ledger import redact_ledger_errors
    from clients.sessions.own_model import Kept, strategy_of

    store, plan = train_store(context), plan_in(message)
    require_guarantee(store, plan)
    _require_partners(store, plan)
    require_model(store, plan)
    session, model = _session(store, context), _own_model(store)
    run, before = session.attempt.run, model.read(session.attempt.run)
    if before is None:
        before = _first(message, run, plan)
    _require_attempt(session, plan, run)
    strategy = strategy_of(plan)
    strategy.restore(before.state)
    with redact_ledger_errors(), account_for(store, plan) as account:
        countersign(store, message, of=_PART)
        meeting = session.meet(
            part_in(message, "meet", of=_PART), task=plan.digest(), model=before.start
        )
        prepare(store, plan, before.start)
        account.charge(1, meeting.context)
        mean = trained_as_planned(store, plan, before.vector, context)
        vector = strategy.step(before.vector, _update(store, plan, mean))
        # On disk before it leaves: what is met with must be what the group goes on from.
        model.keep(
            Kept(run=run, start=before.start, plan=plan, vector=vector, state=strategy.state())
        )
        released = release_to_partner(session, meeting, vector)
        account.release(released)
    content = ArrayRecord([np.frombuffer(released, dtype=np.uint8)])
    return Message(RecordDict({"sealed": content}), reply_to=message)


def mix(message: Message, context: Context) -> Message:
    """Go on from the mean of the own vector and the partner's.

    How far apart the two were is told: a number about two vectors that are private already.
    """
    import numpy as np

    store = train_store(context)
    session, model = _session(store, context), _own_model(store)
    kept = _kept(model, session)
    sealed = _bytes_in(message, "sealed")
    other = session.open(sealed, dimension=kept.vector.size)
    strategy = kept.strategy
    vector = strategy.meet(kept.vector, other)
    apart = float(np.linalg.norm(other.astype(np.float64) - kept.vector))
    model.keep(_after(kept, vector, strategy.state()))
    return Message(RecordDict({"mixed": MetricRecord({"distance": apart})}), reply_to=message)


def show(message: Message, context: Context) -> Message:
    """Show the own model to readers, who will say how well it predicts; each alone can read it."""
    import numpy as np

    from clients.privatizer import release_to_readers

    store = train_store(context)
    session = _session(store, context)
    kept = _kept(_own_model(store), session)
    shown = release_to_readers(
        session,
        part_in(message, "show", of=_PART),
        kept.strategy.published(kept.vector),
        model=kept.start,
    )
    content = ArrayRecord([np.frombuffer(each, dtype=np.uint8) for each in shown])
    return Message(RecordDict({"shown": content}), reply_to=message)


def part(message: Message, context: Context) -> Message:
    """The run is over: keep the server's word on the ledger, and leave the model as a folder."""
    from clients.sessions.group_ledger import redact_ledger_errors

    store = train_store(context)
    session, model = _session(store, context), _own_model(store)
    with redact_ledger_errors():
        if part_in(message, "known", required=False, of=_PART) is not None:
            group_ledger_of(store).head(part_in(message, "known", of=_PART))
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
    from clients.sessions.gossip_session import ExchangeSession
    from privacy.exchange.peer import Peer
    from privacy.identity.key_folder import MEMBERS, READERS
    from privacy.kernel.randomness import SystemRandomStream

    # The own key first: in a simulation it is made when it is first asked for.
    identity = store.keys.own(store.group, role=MEMBERS if store.training else READERS)
    peer = Peer(
        name=store.group,
        identity=identity,
        members=store.keys.roster(),
        readers=store.keys.roster(role=READERS),
        source=SystemRandomStream(),
    )
    return ExchangeSession(context.state, peer, store.served if store.training else None)


def _own_model(store: Datastore) -> OwnModel:
    from clients.sessions.own_model import OwnModel

    return OwnModel(store.model)


def _kept(model: OwnModel, session: ExchangeSession) -> Kept:
    from privacy.errors import Replayed

    kept = model.read(session.attempt.run)
    if kept is None:
        raise Replayed("this group has not trained in this run yet: nothing is mixed or shown")
    return kept


def _first(message: Message, run: str, plan: RoundPlan) -> Kept:
    """Where a group stands that has not trained in this run: at its public first vector."""
    from clients.sessions.own_model import Kept
    from privacy.errors import PolicyRefused
    from strategies.wire.round_plan import vector_digest

    if "model" not in message.content.array_records:
        raise PolicyRefused("this group has no model of this run, and was given none to begin from")
    vector = model_in(message)
    return Kept(run=run, start=vector_digest(vector), plan=plan, vector=vector, state={})


def _after(kept: Kept, vector: NDArray[np.float32], state: object) -> Kept:
    from dataclasses import replace

    return replace(kept, vector=vector, state=state)  # type: ignore[arg-type]


def _update(store: Datastore, plan: RoundPlan, mean: object) -> NDArray[np.float64]:
    """Where a private mean gradient points, over all coordinates of the model."""
    import json

    from clients.training.private_trainer import update_along
    from strategies.wire.round_plan import PrivateWork

    unit = json.loads(PrivateWork.read(plan.privacy).plan)["unit"]
    return update_along(mean, store.units(unit), plan)  # type: ignore[arg-type]


def _require_partners(store: Datastore, plan: RoundPlan) -> None:
    """Refuse to hand out vectors that are not private, or where the group has not agreed to it."""
    from clients.sessions.group_ledger import verified_plan
    from privacy.accounting.terms import Mode
    from privacy.errors import PolicyRefused
    from strategies.wire.round_plan import PrivateWork

    privacy = verified_plan(PrivateWork.read(plan.privacy).plan) if plan.privacy else None
    if privacy is None or privacy.mode is not Mode.LOCAL:
        raise PolicyRefused("what a partner would see is not private: nothing was trained")
    agreed = not store.secure if store.policy is None else store.policy.accept.partners
    if not agreed:
        raise PolicyRefused(
            "this group's vectors leave for sums alone, as accept.partners = false: nothing was "
            "trained"
        )


def _require_attempt(session: ExchangeSession, plan: RoundPlan, run: str) -> None:
    from privacy.errors import PolicyRefused
    from strategies.wire.round_plan import PrivateWork

    if (PrivateWork.read(plan.privacy).run, plan.round) != (run, session.attempt.round):
        raise PolicyRefused("the plan is of another run or round than the meeting: nothing is sent")


def _bytes_in(message: Message, name: str) -> bytes:
    (array,) = message.content.array_records[name].to_numpy_ndarrays()
    data: bytes = array.tobytes()
    return data


def _answer(message: Message, parts: dict[str, bytes]) -> Message:
    return Message(RecordDict({_PART: ConfigRecord(dict(parts))}), reply_to=message)
