"""The part of an update that travels, in few bits, and the residual that stays for later rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from alignment.model.vector import step_sizes
from clients.task import RoundTask
from clients.training.trainer import predictor_for
from clients.training.updates import Compressed, LocalUpdate
from strategies.wire.compression import RoundCode

_KEPT = "residual"


def travelling(update: LocalUpdate, task: RoundTask, state: RecordDict) -> LocalUpdate | Compressed:
    """Take of an update what the round asks for.

    Coordinates that the round does not train are 0 and are left out. Where the round compresses,
    what is lost by it is kept in the client's own state, the only place it ever lies in, and joins
    the next update. A client that has lost its state sends a little less than it learned, once.

    Args:
        update: What training changed.
        task: Of the round.
        state: Of this client in this run; added to.
    """
    predictor = predictor_for(task.predictor)
    steps = step_sizes(predictor, task.training, train_adapter=task.train_adapter)
    if task.compression is None:
        return replace(update, delta=update.delta[steps > 0])
    code = RoundCode(
        task.compression,
        steps,
        seed=task.seed,
        round_number=task.round,
        learning_rate_scale=task.learning_rate_scale,
    )
    # Residuals are of what enters the sum: a weight that changes from round to round is in them.
    whole = update.weight * update.delta.astype(np.float64) + _residual(state, steps.size)
    encoded = code.encode(whole, loss=update.loss, weight=update.weight)
    # Plain bytes: a state is serialised around every message, and arrays take longer.
    state[_KEPT] = ConfigRecord({_KEPT: encoded.residual.astype("<f4").tobytes()})
    return Compressed(integers=encoded.integers, limit=code.compression.limit)


def embedded(update: LocalUpdate, task: RoundTask) -> NDArray[np.float64]:
    """What travels of an update, where nothing is compressed, over all coordinates: (d,)."""
    steps = step_sizes(
        predictor_for(task.predictor), task.training, train_adapter=task.train_adapter
    )
    whole = np.zeros(steps.size)
    whole[steps > 0] = update.delta
    return whole


def _residual(state: RecordDict, dimension: int) -> NDArray[np.float32]:
    """What is yet to be sent; nothing, where nothing is kept or it is of another model."""
    nothing = np.zeros(dimension, dtype=np.float32)
    record = state.config_records.get(_KEPT)
    if record is None:
        return nothing
    data = record[_KEPT]
    if not isinstance(data, bytes) or len(data) != nothing.nbytes:
        return nothing
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
