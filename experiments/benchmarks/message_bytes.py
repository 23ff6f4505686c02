"""Benchmark ``bytes``: the bytes of a client in a training round, sent and received."""

from __future__ import annotations

import numpy as np

from alignment.config import TrainingConfig
from experiments.benchmarks.harness import Figure, Goal
from experiments.benchmarks.workloads.federation import TrainingRounds

#: PluralLLM sends the 713,218 float32 parameters of its whole predictor.
PLURAL_LLM_BYTES = 4 * 713_218
#: One step on one question: how long a client trains does not change the size of its answer.
_SHORT = TrainingConfig(local_epochs=0.01, batch_size=1)
_GOAL = Goal(sense="at most", bound=600_000)


def measure() -> list[Figure]:
    """Bytes of a client's train messages in one round, beside those of PluralLLM.

    Measured: the serialised objects of the real messages of one round, default adapters and head,
    float32, one sample per client. Goal: at most 600,000 bytes up. PluralLLM sends 713,218 float32
    parameters: 2,852,872 bytes, counted here without any framing.

    Not measured: framing of requests, TLS, the messages before training, and secure aggregation.
    """
    rounds = TrainingRounds(serialize=True, training=_SHORT)
    rounds()
    train = [each for (_, kind), each in rounds.grid.traffic.items() if kind == "train"]
    up = np.array([each.bytes_up / each.messages_up for each in train])
    down = np.array([each.bytes_down / each.messages_down for each in train])
    return [
        Figure.of("up per client and round", up, "bytes", _GOAL),
        Figure.of("down per client and round", down, "bytes"),
        Figure.of("PluralLLM up / ours up", PLURAL_LLM_BYTES / up, "x"),
    ]
