"""The ClientApp: message handlers only.

Heavy imports stay inside the handlers: Flower's own executor and Ray may start a process for every
message, and most messages need none of them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

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
from clients.sessions import gossip

if TYPE_CHECKING:
    from clients.data.datastore import Datastore
    from clients.privatizer import Trained
    from clients.sessions.secagg_session import Session
    from privacy.secagg.client import Opened

app = ClientApp()
gossip.register(app)


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Say which group this is, whether it trains, and how many units of privacy it declares.

    An organisation also names its code and the members whose keys it has pinned: the server brings
    together those who know each other.
    """
    from clients.deployment.bundle import code_digest

    store = open_store(context)
    role = "idle" if store is None else "train" if store.training else "held_out"
    answer = ConfigRecord({"group": "" if store is None else store.group, "role": role})
    asked = message.content.config_records["setup"]
    unit = str(asked["unit"])
    if store is not None and store.training is not None:
        if unit:
            answer["units"] = len(store.units(unit))
        if asked["secure"] or store.private:
            answer["identity"] = store.keys.own(store.group).public.hex()
    if store is not None and store.policy is not None:
        pinned = {name: key.hex() for name, key in store.keys.roster().items()}
        answer["code"], answer["roster"] = code_digest(), json.dumps(pinned)
    return Message(RecordDict({"setup": answer}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round and send what came of it as it is: only where nothing is to be hidden."""
    from clients.privatizer import release_in_the_clear
    from clients.sessions.group_ledger import redact_ledger_errors
    from privacy.errors import PolicyRefused
    from strategies.wire.round_plan import round_context, vector_digest

    store = train_store(context)
    if store.secure:
        raise PolicyRefused("vectors of this run leave under masks only: nothing was trained")
    plan, vector = plan_in(message), model_in(message)
    require_guarantee(store, plan)
    require_model(store, plan)
    model = vector_digest(vector)
    with redact_ledger_errors(), account_for(store, plan) as account:
        prepare(store, plan, model)
        account.charge(1, round_context(plan, model))
        released = release_in_the_clear(trained_as_planned(store, plan, vector, context))
        account.release(released.tobytes())
    content = ArrayRecord([released])
    return Message(RecordDict({"update": content}), reply_to=message)


@app.query("advertise")
def advertise(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 0: fresh public keys for an attempt at a round."""
    store = train_store(context)
    return _answer(message, {"advertise": _advertised(store, message, context)})


@app.query("share")
def share(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 1: check the terms of a round and the budget, and share seeds."""
    from clients.sessions.group_ledger import redact_ledger_errors
    from clients.sessions.secagg_session import policy_for, terms_in

    store = train_store(context)
    request = part_in(message, "share")
    plan = plan_in(message)
    require_guarantee(store, plan)
    require_model(store, plan)
    terms = terms_in(request)
    if store.policy is not None:
        store.policy.check_terms(terms)
    policy = policy_for(plan, terms, fewest_members=store.fewest_members)
    with redact_ledger_errors():
        countersign(store, message)
        if (group_ledger := prepare(store, plan, terms.model)) is not None:
            # What could not be paid for is not begun: a dropout here costs the others nothing.
            group_ledger.require(terms.attempt.run, terms.attempt.round, terms.attempt.attempt)
    return _answer(message, {"share": _session(store, context).share(request, policy)})


@app.train("masked")
def masked(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 2: train one round and send what came of it under masks."""
    import numpy as np

    from clients.privatizer import release_masked
    from clients.sessions.group_ledger import redact_ledger_errors
    from privacy.errors import PolicyRefused
    from strategies.wire.round_plan import vector_digest

    store = train_store(context)
    plan, vector = plan_in(message), model_in(message)

    def train_as_agreed(opened: Opened) -> Trained:
        agreed = opened.agreement.terms
        if plan.digest() != agreed.task or vector_digest(vector) != agreed.model:
            raise PolicyRefused("plan or model are not those of the terms: nothing was trained")
        prepare(store, plan, agreed.model)
        account.charge(agreed.attempt.attempt, opened.agreement.context)
        return trained_as_planned(store, plan, vector, context)

    request = part_in(message, "mask")
    with redact_ledger_errors(), account_for(store, plan) as account:
        released = release_masked(_session(store, context), request, train_as_agreed)
        account.release(released)
    content = ArrayRecord([np.frombuffer(released, dtype=np.uint8)])
    return Message(RecordDict({"masked": content}), reply_to=message)


@app.query("confirm")
def confirm(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 3: sign whose vectors are in the sum."""
    session = _session(train_store(context), context)
    return _answer(message, {"confirm": session.confirm(part_in(message, "confirm"))})


@app.query("unmask")
def unmask(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 4: give shares, and advertise for the next round."""
    from clients.sessions.group_ledger import RefusedByLedger

    store = train_store(context)
    parts = {}
    if (request := part_in(message, "unmask", required=False)) is not None:
        parts["unmask"] = _session(store, context).unmask(request)
    if part_in(message, "advertise", required=False) is not None:
        # Who will not go on still owes the others the shares of the round that ends.
        with suppress(RefusedByLedger):
            parts["advertise"] = _advertised(store, message, context)
    return _answer(message, parts)


@app.query("close")
def close(message: Message, context: Context) -> Message:
    """Keep the server's word on the last head of the ledger; the run is over."""
    from clients.sessions.group_ledger import redact_ledger_errors

    store = train_store(context)
    with redact_ledger_errors():
        countersign(store, message)
    _session(store, context).end()
    return _answer(message, {})


def _session(store: Datastore, context: Context) -> Session:
    from clients.sessions.secagg_session import Session
    from privacy.kernel.randomness import SystemRandomStream
    from privacy.secagg.client import Member

    if not store.secure:
        raise ValueError("this run was set up without secure aggregation: use one configuration")
    member = Member(
        name=store.group,
        identity=store.keys.own(store.group),
        roster=store.keys.roster(),
        source=SystemRandomStream(),
    )
    return Session(context.state, member, served=store.served)


def _answer(message: Message, parts: dict[str, bytes]) -> Message:
    return Message(RecordDict({"secagg": ConfigRecord(dict(parts))}), reply_to=message)


def _advertised(store: Datastore, message: Message, context: Context) -> bytes:
    """An advertisement; in a private run it names the head of the group's ledger."""
    from clients.sessions.group_ledger import redact_ledger_errors
    from privacy.ledger.chain import NOTHING

    head = NOTHING
    if store.private:
        with redact_ledger_errors():
            head = group_ledger_of(store).head(part_in(message, "known", required=False))
    return _session(store, context).advertise(part_in(message, "advertise"), head)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the global model on a held-out group's own draws, whose answers are public.

    Where there is no global model, it is that of a train group, encrypted for this group alone.

    What is measured leaves the group as it is, so it must not be about private answers.
    """
    from alignment.config import ContextConfig, PredictorConfig
    from alignment.evaluation.evaluation import Evaluator
    from alignment.evaluation.metrics import summarise
    from alignment.model.vector import load_vector, to_vector
    from clients.training.trainer import predictor_for

    store = open_store(context)
    if store is None or not store.draws:
        raise ValueError("a train group holds nothing out: ask held-out groups only")
    if not store.evaluation_is_public:
        raise ValueError("this group's answers are private: nothing measured on them may leave")
    plan = plan_in(message)
    require_model(store, plan)
    predictor = predictor_for(PredictorConfig(**plan.predictor))  # type: ignore[arg-type]
    if "shown" in message.content.array_records:
        size = to_vector(predictor).size
        vector = gossip.shown_model(store, message, context, dimension=size)
    else:
        vector = model_in(message)
    load_vector(predictor, vector)
    reading = ContextConfig(**plan.context)  # type: ignore[arg-type]
    evaluator = Evaluator(
        predictor, {store.group: store.answers}, seen=frozenset(), context=reading
    )
    predictions = evaluator.evaluate({store.group: store.draws})
    summary = summarise([prediction.score for prediction in predictions])
    targets = sum(len(draw.target) for draw in store.draws)
    figures = {"alignment": summary.mean, "log_loss": summary.log_loss, "targets": targets}
    metrics = MetricRecord({**figures, "public": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
