"""The ClientApp: message handlers only.

Heavy imports stay inside the handlers: Flower's own executor and Ray may start a process for every
message, and most messages need none of them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, overload

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alignment.config import PredictorConfig
    from clients.books import Account, Books
    from clients.datastore import Datastore
    from clients.privatizer import Trained
    from clients.secagg_session import Session
    from privacy.secagg.client import Opened
    from strategies.round_plan import RoundPlan

app = ClientApp()


def _datastore(context: Context) -> Datastore | None:
    from clients.datastore import datastore_of

    return datastore_of(context.node_config, context.run_config)


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Say which group this is, whether it trains, and how many units of privacy it declares.

    An organisation also names its code and the members whose keys it has pinned: the server brings
    together those who know each other.
    """
    from clients.bundle import code_digest

    store = _datastore(context)
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


class TrainingFailed(RuntimeError):
    """Training failed; what failed may be about a record and is not told."""


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round and send what came of it as it is: only where nothing is to be hidden."""
    from clients.books import words_stay_here
    from clients.privatizer import release_in_the_clear
    from privacy.errors import PolicyRefused
    from strategies.round_plan import round_context, vector_digest

    store = _train_store(context)
    if store.secure:
        raise PolicyRefused("vectors of this run leave under masks only: nothing was trained")
    plan, vector = _plan(message), _model(message)
    _require_guarantee(store, plan)
    _require_model(store, plan)
    model = vector_digest(vector)
    with words_stay_here(), _account(store, plan) as account:
        _prepare(store, plan, model)
        account.charge(1, round_context(plan, model))
        released = release_in_the_clear(_trained(store, plan, vector, context))
        account.release(released.tobytes())
    content = ArrayRecord([released])
    return Message(RecordDict({"update": content}), reply_to=message)


@app.query("advertise")
def advertise(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 0: fresh public keys for an attempt at a round."""
    store = _train_store(context)
    return _answer(message, {"advertise": _advertised(store, message, context)})


@app.query("share")
def share(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 1: check the terms of a round and the budget, and share seeds."""
    from clients.books import words_stay_here
    from clients.secagg_session import policy_for, terms_in

    store = _train_store(context)
    request = _part(message, "share")
    plan = _plan(message)
    _require_guarantee(store, plan)
    _require_model(store, plan)
    terms = terms_in(request)
    if store.policy is not None:
        store.policy.check_terms(terms)
    policy = policy_for(plan, terms, fewest_members=store.fewest_members)
    with words_stay_here():
        _countersign(store, message)
        if (books := _prepare(store, plan, terms.model)) is not None:
            # What could not be paid for is not begun: a dropout here costs the others nothing.
            books.require(terms.attempt.run, terms.attempt.round, terms.attempt.attempt)
    return _answer(message, {"share": _session(store, context).share(request, policy)})


@app.train("masked")
def masked(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 2: train one round and send what came of it under masks."""
    import numpy as np

    from clients.books import words_stay_here
    from clients.privatizer import release_masked
    from privacy.errors import PolicyRefused
    from strategies.round_plan import vector_digest

    store = _train_store(context)
    plan, vector = _plan(message), _model(message)

    def train_as_agreed(opened: Opened) -> Trained:
        agreed = opened.agreement.terms
        if plan.digest() != agreed.task or vector_digest(vector) != agreed.model:
            raise PolicyRefused("plan or model are not those of the terms: nothing was trained")
        _prepare(store, plan, agreed.model)
        account.charge(agreed.attempt.attempt, opened.agreement.context)
        return _trained(store, plan, vector, context)

    request = _part(message, "mask")
    with words_stay_here(), _account(store, plan) as account:
        released = release_masked(_session(store, context), request, train_as_agreed)
        account.release(released)
    content = ArrayRecord([np.frombuffer(released, dtype=np.uint8)])
    return Message(RecordDict({"masked": content}), reply_to=message)


@app.query("confirm")
def confirm(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 3: sign whose vectors are in the sum."""
    session = _session(_train_store(context), context)
    return _answer(message, {"confirm": session.confirm(_part(message, "confirm"))})


@app.query("unmask")
def unmask(message: Message, context: Context) -> Message:
    """Secure aggregation, stage 4: give shares, and advertise for the next round."""
    from clients.books import RefusedByLedger

    store = _train_store(context)
    parts = {}
    if (request := _part(message, "unmask", required=False)) is not None:
        parts["unmask"] = _session(store, context).unmask(request)
    if _part(message, "advertise", required=False) is not None:
        # Who will not go on still owes the others the shares of the round that ends.
        with suppress(RefusedByLedger):
            parts["advertise"] = _advertised(store, message, context)
    return _answer(message, parts)


@app.query("close")
def close(message: Message, context: Context) -> Message:
    """Keep the server's word on the last head of the ledger; the run is over."""
    from clients.books import words_stay_here

    store = _train_store(context)
    with words_stay_here():
        _countersign(store, message)
    _session(store, context).end()
    return _answer(message, {})


def _train_store(context: Context) -> Datastore:
    store = _datastore(context)
    if store is None or store.training is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    return store


def _plan(message: Message) -> RoundPlan:
    from strategies.round_plan import RoundPlan

    return RoundPlan.from_wire(message.content.config_records["plan"])


def _model(message: Message) -> NDArray[np.float32]:
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
    return vector


def _session(store: Datastore, context: Context) -> Session:
    from clients.secagg_session import Session
    from privacy.randomness import SystemRandomStream
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


@overload
def _part(message: Message, name: str) -> bytes: ...
@overload
def _part(message: Message, name: str, *, required: Literal[False]) -> bytes | None: ...
def _part(message: Message, name: str, *, required: bool = True) -> bytes | None:
    """One part of a request of secure aggregation."""
    part = message.content.config_records["secagg"].get(name)
    if isinstance(part, bytes) or (part is None and not required):
        return part
    raise ValueError(f"the request has no part {name!r}: use one version")


def _answer(message: Message, parts: dict[str, bytes]) -> Message:
    return Message(RecordDict({"secagg": ConfigRecord(dict(parts))}), reply_to=message)


def _require_guarantee(store: Datastore, plan: RoundPlan) -> None:
    if store.private and not plan.privacy:
        from privacy.errors import PolicyRefused

        raise PolicyRefused("this run is private, the round asked for is not: nothing was trained")


def _require_model(store: Datastore, plan: RoundPlan) -> None:
    """Hold the predictor that is asked for against the policy of the group."""
    if store.policy is None or not store.policy.accept.model:
        return
    from alignment.config import PredictorConfig

    config = PredictorConfig(**plan.predictor)  # type: ignore[arg-type]
    store.policy.check_model(_fingerprint(config))


@lru_cache(maxsize=2)
def _fingerprint(config: PredictorConfig) -> str:
    """Of the files as this process has loaded them: a predictor is built once and kept."""
    from alignment.fingerprint import model_fingerprint

    return model_fingerprint(config)


def _books(store: Datastore) -> Books:
    from clients.books import Books
    from privacy.key_folder import SERVERS

    return Books(
        store.ledger,
        store.keys.own(store.group),
        store.keys.roster(role=SERVERS),
        budget_epsilon=store.budget_epsilon,
        budget_delta=store.budget_delta,
    )


def _account(store: Datastore, plan: RoundPlan) -> Account:
    """What a round will cost the group."""
    from clients.books import Account
    from strategies.round_plan import PrivateWork

    if not plan.privacy:
        return Account(None)
    run = PrivateWork.read(plan.privacy).run
    return Account(_books(store), run=run, round_number=plan.round)


def _prepare(store: Datastore, plan: RoundPlan, model: str) -> Books | None:
    """Have the ledger know data, budget and plan of a private run; None where nothing is."""
    from clients.books import verified_plan
    from strategies.round_plan import PrivateWork

    if not plan.privacy:
        return None
    work = PrivateWork.read(plan.privacy)
    privacy, books = verified_plan(work.plan), _books(store)
    if store.policy is not None:
        store.policy.check_plan(privacy)
    books.prepare(work.run, store.units(str(privacy.unit)), privacy, model=model)
    return books


def _advertised(store: Datastore, message: Message, context: Context) -> bytes:
    """An advertisement; in a private run it names the head of the group's ledger."""
    from clients.books import words_stay_here
    from privacy.ledger.chain import NOTHING

    head = NOTHING
    if store.private:
        with words_stay_here():
            head = _books(store).head(_part(message, "known", required=False))
    return _session(store, context).advertise(_part(message, "advertise"), head)


def _countersign(store: Datastore, message: Message) -> None:
    """Keep the server's signature of the head that was advertised, where it has sent one."""
    words = _part(message, "countersigned", required=False)
    if store.private and words is not None:
        _books(store).countersign(words)


def _trained(
    store: Datastore, plan: RoundPlan, vector: NDArray[np.float32], context: Context
) -> Trained:
    """Train as the plan says, privately or not."""
    _require_guarantee(store, plan)
    if plan.privacy:
        return _trained_privately(store, plan, vector)
    from clients.compressor import travelling
    from clients.trainer import train_locally

    if store.training is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    return travelling(train_locally(vector, store.training, plan), plan, context.state)


def _trained_privately(store: Datastore, plan: RoundPlan, vector: NDArray[np.float32]) -> Trained:
    """Train under the plan; the text of an error must not tell the server of a record."""
    from clients.private_trainer import train_privately
    from privacy.errors import PrivacyError
    from strategies.round_plan import PrivateWork

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


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the global model on a held-out group's own draws, whose answers are public.

    What is measured leaves the group as it is, so it must not be about private answers.
    """
    from alignment.adapter import load_vector
    from alignment.config import ContextConfig, PredictorConfig
    from alignment.evaluation import Evaluator
    from alignment.metrics import summarise
    from clients.trainer import predictor_for

    store = _datastore(context)
    if store is None or not store.draws:
        raise ValueError("a train group holds nothing out: ask held-out groups only")
    if not store.evaluation_is_public:
        raise ValueError("this group's answers are private: nothing measured on them may leave")
    plan, vector = _plan(message), _model(message)
    _require_model(store, plan)
    predictor = predictor_for(PredictorConfig(**plan.predictor))  # type: ignore[arg-type]
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
