"""The ClientApp: message handlers only.

Flower's own executor and Ray may start a process for every message, and most messages train
nothing. Importing this module takes 1.3 s of processor time, 1.0 s of which every handler needs to
open its store (scipy, dp-accounting); with torch, transformers and peft it would take 5.0 s. So
these three, and all that imports them, stay inside the functions that train or measure.
"""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp

from clients.data.datastore import Datastore
from clients.deployment.bundle import running_digest
from clients.privatizer import Trained, release_in_the_clear, release_masked
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
    task_in,
    train_store,
    trained_as_asked,
    training_task_in,
)
from clients.sessions import gossip
from clients.sessions.group_ledger import RefusedByLedger
from clients.sessions.secagg_session import Session, insisted_on, terms_in
from privacy.errors import PolicyRefused
from privacy.identity.possession import prove
from privacy.identity.roles import HELD_OUT, TRAIN
from privacy.kernel.randomness import SystemRandomStream
from privacy.ledger.chain import NOTHING
from privacy.secagg.client import Member, Opened
from strategies.wire.round_plan import round_context, vector_digest

app = ClientApp()
gossip.register(app)


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Say which group this is, whether it trains, and its public bound on units of privacy.

    An organisation also names its code and the members whose keys it has pinned: the server brings
    together those who know each other. Where the server sends a challenge, a group that has a key
    signs all that it says, for this node and this request.
    """
    store = open_store(context)
    asked = message.content.config_records["setup"]
    unit, challenge = str(asked["unit"]), asked["challenge"]
    if not isinstance(challenge, bytes):
        raise ValueError("the challenge of a setup is no bytes: use one version")
    if store is None:
        return reply_to(message, {"setup": ConfigRecord({"group": "", "role": "idle"})})
    trains, deployed = store.trains, store.group_policy is not None
    answer = ConfigRecord({"group": store.group, "role": TRAIN if trains else HELD_OUT})
    if trains and unit:
        if unit != store.unit:
            raise PolicyRefused(f"unit = {unit[:100]!r}; this group's is {store.unit}")
        answer["units"] = store.units_bound
        if asked.get("counts") is True:
            questionnaire = store.questionnaire()
            answer["questionnaire"] = questionnaire.digest
            answer["options"] = list(questionnaire.options)
            answer["distributions"] = questionnaire.distributions
    if deployed:
        pinned = {name: key.hex() for name, key in store.keys.roster().items()}
        answer["code"], answer["roster"] = running_digest(), json.dumps(pinned)
    # Groups that only measure in a simulation have no key.
    if challenge and (trains or deployed):
        own, node = store.keys.own(store.group), message.metadata.dst_node_id
        answer["identity"] = own.public.hex()
        answer["proof"] = prove(own, dict(answer), challenge=challenge, node=node)
    return reply_to(message, {"setup": answer})


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round and send what came of it as it is: only where nothing is to be hidden."""
    store = train_store(context)
    if store.secure:
        raise PolicyRefused("vectors of this run leave under masks only: nothing was trained")
    task, vector = training_task_in(message, store), model_in(message)
    model = vector_digest(vector)
    require_executable(store, task, vector)
    with account_for(store, task) as account:
        announce(store, task, account, model=model)
        account.charge(1, round_context(task.digest, model))
        trained = trained_as_asked(store, task, vector, context, account=account)
        released = release_in_the_clear(trained)
        account.release(released.tobytes())
    return reply_to(message, {"update": ArrayRecord([released])})


@app.query("advertise")
def advertise(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 0: fresh public keys for an attempt at a round."""
    store = train_store(context)
    return _answer(message, {"advertise": _advertised(store, message, context)})


@app.query("share")
def share(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 1: check the terms of a round and the budget, and share seeds."""
    store, request = train_store(context), part_in(message, "share")
    task, terms = training_task_in(message, store), terms_in(request)
    if store.group_policy is not None:
        store.group_policy.check_terms(terms)
    expected = insisted_on(task, terms, fewest_members=store.fewest_members)
    with account_for(store, task) as account:
        countersign(store, message)
        announce(store, task, account, model=terms.model)
        # What could not be paid for is not begun: a dropout here costs the others nothing.
        account.require(terms.attempt.attempt)
    return _answer(message, {"share": _session(store, context).share(request, expected)})


@app.train("masked")
def masked(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 2: train one round and send what came of it under masks."""
    store, request = train_store(context), part_in(message, "mask")
    task, vector = training_task_in(message, store), model_in(message)

    def train_as_agreed(opened: Opened) -> Trained:
        agreed = opened.agreement.terms
        if task.digest != agreed.task or vector_digest(vector) != agreed.model:
            raise PolicyRefused("plan or model are not those of the terms: nothing was trained")
        require_executable(store, task, vector)
        announce(store, task, account, model=agreed.model)
        account.charge(agreed.attempt.attempt, opened.agreement.context)
        return trained_as_asked(store, task, vector, context, account=account)

    with account_for(store, task) as account:
        released = release_masked(_session(store, context), request, train_as_agreed)
        account.release(released)
    content = ArrayRecord([np.frombuffer(released, dtype=np.uint8)])
    return reply_to(message, {"masked": content})


@app.query("confirm")
def confirm(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 3: sign whose vectors are in the sum."""
    session = _session(train_store(context), context)
    return _answer(message, {"confirm": session.confirm(part_in(message, "confirm"))})


@app.query("unmask")
def unmask(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 4: give shares, and advertise for the next round."""
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
    """Keep the server's signature of the last head of the ledger; the run is over."""
    store = train_store(context)
    countersign(store, message)
    _session(store, context).end()
    return _answer(message, {})


def _session(store: Datastore, context: Context) -> Session:
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
    return reply_to(message, {"secagg": ConfigRecord(dict(parts))})


def _advertised(store: Datastore, message: Message, context: Context) -> bytes:
    """An advertisement; in a private run it names the head of the group ledger."""
    head = shown_head(store, message) if store.private else NOTHING
    return _session(store, context).advertise(part_in(message, "advertise"), head)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the global model on a held-out group's own draws, whose answers are public.

    Where there is no global model, it is that of a train group, encrypted for this group alone.

    What is measured leaves the group as it is, so it must not be about private answers.
    """
    from clients.training.measurement import dimension_of, measured

    store = open_store(context)
    if store is None or not store.draws:
        raise ValueError("a train group holds nothing out: ask held-out groups only")
    if not store.evaluation_is_public:
        raise ValueError("this group's answers are private: nothing measured on them may leave")
    task = task_in(message, store)
    if "shown" in message.content.array_records:
        vector = gossip.shown_model(store, message, context, dimension=dimension_of(task))
    else:
        vector = model_in(message)
    metrics = MetricRecord({**measured(store, task, vector), "public": 1})
    return reply_to(message, {"metrics": metrics})
