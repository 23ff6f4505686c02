"""What travels of an update, and what stays in a client's own state."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from alignment.config import PredictorConfig, TrainingConfig
from alignment.model.predictor import Predictor
from alignment.model.vector import part_of, step_sizes, to_vector
from clients.privatizer import release_in_the_clear
from clients.task import read_task
from clients.training.compressor import travelling
from clients.training.trainer import train_locally
from clients.training.updates import Compressed, LocalUpdate
from strategies.wire.compression import RoundCode
from strategies.wire.round_plan import RoundPlan
from tests.clients.training.test_trainer import answers

MakePlan = Callable[..., RoundPlan]
FOUR_BITS = {
    "compression.bits": 4,
    "compression.keep": 0.5,
    "compression.transform": "rotate",
    "compression.scale": 3.0,
}


def steps_of(plan: RoundPlan) -> np.ndarray:
    predictor = Predictor(PredictorConfig(**plan.predictor))
    training = TrainingConfig(**plan.training)
    return step_sizes(predictor, training, train_adapter=plan.train_adapter)


def drawn(plan: RoundPlan, seed: int = 0, weight: float = 1.0) -> LocalUpdate:
    steps = steps_of(plan)
    delta = np.random.default_rng(seed).standard_normal(steps.size) * steps * 3
    return LocalUpdate(delta=delta.astype(np.float32), loss=1.25, weight=weight)


def kept(state: RecordDict) -> np.ndarray:
    return np.frombuffer(state.config_records["residual"]["residual"], dtype="<f4")


@pytest.mark.parametrize("train_adapter", [False, True])
@pytest.mark.parametrize("context_weight", [0.0, 1.0])
def test_what_a_round_does_not_train_is_exactly_unchanged_and_does_not_travel(
    make_plan: MakePlan, train_adapter: bool, context_weight: float
) -> None:
    """Adapters in a round of the head alone, directions where no loss reaches them."""
    changes = {"training.context_weight": context_weight, "training.weight_decay": 0.5}
    plan = make_plan(train_adapter=train_adapter, **changes)
    predictor = Predictor(PredictorConfig(**plan.predictor))
    update = train_locally(to_vector(predictor), answers(), read_task(plan))
    steps = steps_of(plan)
    parts = np.concatenate([[part_of(n)] * p.numel() for n, p in predictor.trainable()])
    fixed = (steps == 0).tolist()
    left_out = [
        (p == "adapter" and not train_adapter) or (p == "directions" and context_weight == 0)
        for p in parts
    ]
    assert fixed == left_out
    assert not update.delta[steps == 0].any() and update.delta[steps > 0].any()
    sent = travelling(update, read_task(plan), RecordDict())
    assert isinstance(sent, LocalUpdate)
    assert np.array_equal(sent.delta, update.delta[steps > 0])
    assert (sent.loss, sent.weight) == (update.loss, update.weight)


def test_what_does_not_travel_is_kept_and_joins_the_next_update(make_plan: MakePlan) -> None:
    """Two rounds, weights 1 and .5: all that was learned is in what was sent or in what is kept."""
    state, sent = RecordDict(), 0.0
    whole = 0.0
    for number, weight in ((3, 1.0), (4, 0.5)):
        plan = make_plan(round=number, **FOUR_BITS)
        update = drawn(plan, number, weight)
        made = travelling(update, read_task(plan), state)
        assert isinstance(made, Compressed) and np.abs(made.integers).max() <= made.limit == 7
        read = RoundCode.of_plan(plan, steps_of(plan)).decode(made.integers, summed=1)
        sent = sent + weight * read.update
        whole = whole + weight * update.delta.astype(np.float64)
        assert read.loss == pytest.approx(1.25, abs=1e-4)
    assert sent + kept(state) == pytest.approx(whole, abs=1e-8)
    assert np.linalg.norm(kept(state)) > 0.3 * np.linalg.norm(whole)


def test_two_groups_of_one_process_do_not_share_what_they_keep(make_plan: MakePlan) -> None:
    """In turn, as in a simulation: each has what it would have alone."""
    states = {seed: RecordDict() for seed in (1, 2)}
    for number in (3, 4, 5):
        for seed, state in states.items():
            plan = make_plan(round=number, **FOUR_BITS)
            travelling(drawn(plan, 10 * number + seed), read_task(plan), state)
    for seed, state in states.items():
        alone = RecordDict()
        for number in (3, 4, 5):
            plan = make_plan(round=number, **FOUR_BITS)
            travelling(drawn(plan, 10 * number + seed), read_task(plan), alone)
        assert np.array_equal(kept(alone), kept(state))
    assert not np.array_equal(kept(states[1]), kept(states[2]))


def test_a_state_that_is_lost_or_of_another_model_costs_only_what_it_held(
    make_plan: MakePlan,
) -> None:
    plan = make_plan(**FOUR_BITS)
    lost, other, before = RecordDict(), RecordDict(), RecordDict()
    other["residual"] = ConfigRecord({"residual": np.ones(3, dtype="<f4").tobytes()})
    made = [travelling(drawn(plan), read_task(plan), state) for state in (lost, other)]
    assert np.array_equal(made[0].integers, made[1].integers)
    travelling(drawn(plan, 9), read_task(plan), before)
    assert not np.array_equal(
        travelling(drawn(plan), read_task(plan), before).integers, made[0].integers
    )


def test_in_the_clear_a_vector_is_packed_at_its_own_width(make_plan: MakePlan) -> None:
    """4 bits a coordinate, and nothing of what is kept."""
    plan, state = make_plan(**FOUR_BITS), RecordDict()
    made: Any = travelling(drawn(plan), read_task(plan), state)
    released = release_in_the_clear(made)
    assert released.dtype == np.uint8
    assert released.size == -(-made.integers.size * 4 // 8)
    assert kept(state).tobytes()[:64] not in released.tobytes()
    assert "array" not in repr(made)
