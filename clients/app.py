"""The ClientApp: message handlers only.

Heavy imports stay inside the handlers, for a deployment starts a process for every message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

if TYPE_CHECKING:
    from clients.datastore import Datastore

app = ClientApp()


def _datastore(context: Context) -> Datastore | None:
    from clients.config import SimulatedClientConfig
    from clients.datastore import open_datastore

    return open_datastore(SimulatedClientConfig.read(context.node_config, context.run_config))


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Say which group this is and whether it trains."""
    store = _datastore(context)
    role = "idle" if store is None else "train" if store.training else "held_out"
    answer = ConfigRecord({"group": "" if store is None else store.group, "role": role})
    return Message(RecordDict({"setup": answer}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on the group's own records."""
    from clients.privatizer import release_unprotected
    from clients.trainer import train_locally
    from strategies.round_plan import RoundPlan

    store = _datastore(context)
    if store is None or store.training is None:
        raise ValueError("a held-out group does not train: ask train groups only")
    plan = RoundPlan.from_wire(message.content.config_records["plan"])
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
    update = train_locally(vector, store.training, plan)
    released = ArrayRecord([release_unprotected(update)])
    return Message(RecordDict({"update": released}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the global model on a held-out group's own draws."""
    from alignment.adapter import load_vector
    from alignment.config import ContextConfig, PredictorConfig
    from alignment.evaluation import Evaluator
    from alignment.metrics import summarise
    from clients.trainer import predictor_for
    from strategies.round_plan import RoundPlan

    store = _datastore(context)
    if store is None or not store.draws:
        raise ValueError("a train group holds nothing out: ask held-out groups only")
    plan = RoundPlan.from_wire(message.content.config_records["plan"])
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
    predictor = predictor_for(PredictorConfig(**plan.predictor))  # type: ignore[arg-type]
    load_vector(predictor, vector)
    reading = ContextConfig(**plan.context)  # type: ignore[arg-type]
    evaluator = Evaluator(
        predictor, {store.group: store.answers}, seen=frozenset(), context=reading
    )
    predictions = evaluator.evaluate({store.group: store.draws})
    alignment = summarise([prediction.score for prediction in predictions]).mean
    targets = sum(len(draw.target) for draw in store.draws)
    metrics = MetricRecord({"alignment": alignment, "targets": targets})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
