"""The ClientApp: message handlers only.

Heavy imports stay inside the handlers, for a deployment starts a process for every message.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clients.datastore import Datastore
    from strategies.round_plan import RoundPlan

app = ClientApp()


def _datastore(context: Context) -> Datastore | None:
    from clients.config import SimulatedClientConfig
    from clients.datastore import open_datastore

    return open_datastore(SimulatedClientConfig.read(context.node_config, context.run_config))


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Say which group this is, whether it trains, and how many units of privacy it declares."""
    store = _datastore(context)
    role = "idle" if store is None else "train" if store.training else "held_out"
    answer = ConfigRecord({"group": "" if store is None else store.group, "role": role})
    unit = str(message.content.config_records["setup"]["unit"])
    if unit and store is not None and store.training is not None:
        answer["units"] = len(store.units(unit))
    return Message(RecordDict({"setup": answer}), reply_to=message)


class PrivateTrainingFailed(RuntimeError):
    """Training failed; what failed may be about a record and is not told."""


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
    if plan.privacy:
        released = _released_privately(store, plan, vector, context)
    elif store.private:
        raise ValueError("this run is private, the round asked for is not: nothing was trained")
    else:
        released = release_unprotected(train_locally(vector, store.training, plan))
    content = ArrayRecord([released])
    return Message(RecordDict({"update": content}), reply_to=message)


def _released_privately(
    store: Datastore, plan: RoundPlan, vector: NDArray[np.float32], context: Context
) -> NDArray[np.generic]:
    """Train under the plan; the text of an error must not tell the server of a record."""
    from clients.private_trainer import train_privately
    from privacy.errors import PrivacyError
    from strategies.round_plan import PrivateWork

    unit = json.loads(PrivateWork.read(plan.privacy).plan)["unit"]
    try:
        return train_privately(vector, store.units(unit), plan, context.state)
    except PrivacyError:
        # These quote the plan only, which the server has made.
        raise
    except Exception as error:
        raise PrivateTrainingFailed(
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
    from strategies.round_plan import RoundPlan

    store = _datastore(context)
    if store is None or not store.draws:
        raise ValueError("a train group holds nothing out: ask held-out groups only")
    if not store.evaluation_is_public:
        raise ValueError("this group's answers are private: nothing measured on them may leave")
    plan = RoundPlan.from_wire(message.content.config_records["plan"])
    (vector,) = message.content.array_records["model"].to_numpy_ndarrays()
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
