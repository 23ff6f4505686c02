"""The conformance suite, over all strategies, and strategies that it must catch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from strategies.base import State, Strategy
from strategies.checks import conformance
from strategies.checks.conformance import CHECKS, Make, NotConforming
from strategies.fedavg import FedAvg
from strategies.fedavgm import FedAvgM
from strategies.registry import known

VARIANTS = [
    pytest.param(strategy, settings, id="-".join([name, *settings]))
    for name, strategy in known().items()
    for settings in conformance.variants(strategy)
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("strategy", "settings"), VARIANTS)
def test_it_does_what_every_strategy_must(
    strategy: type[Strategy], settings: dict[str, float], check: Callable[[Make], None]
) -> None:
    check(lambda: strategy(**settings))


@dataclass(kw_only=True)
class TakesNan(FedAvg):
    extra: float = 0.0


@dataclass(kw_only=True)
class Vague(FedAvg):
    extra: tuple[int, ...] = (1,)


@dataclass(kw_only=True)
class Wide(FedAvg):
    def step(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        return self.move(current.astype(np.float64), mean_update)


@dataclass(kw_only=True)
class InPlace(FedAvg):
    def move(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        mean_update *= 0.5
        return current + mean_update


@dataclass(kw_only=True)
class Restless(FedAvg):
    def move(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        return current + mean_update + 1e-3


@dataclass(kw_only=True)
class Random(FedAvg):
    def move(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        return current + mean_update * np.random.default_rng().uniform(0.5, 1)


@dataclass(kw_only=True)
class Backwards(FedAvg):
    def move(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        return current - 1e-3 * mean_update


@dataclass(kw_only=True)
class Forgetful(FedAvgM):
    remembers: ClassVar[tuple[str, ...]] = ()

    def state(self) -> State:
        return {"steps": np.array([self.steps])} if self.steps else {}


@dataclass(kw_only=True)
class Shared(FedAvgM):
    """Its state is changed by later steps."""

    def move(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        velocity = self.memory.setdefault("velocity", np.zeros_like(mean_update))
        velocity += mean_update
        return current + 0.1 * velocity

    def state(self) -> State:
        return {**self.memory, "steps": np.array([self.steps])} if self.steps else {}


@dataclass(kw_only=True)
class Trusting(FedAvg):
    def restore(self, state: State) -> None:
        self.steps = len(state)


@dataclass(kw_only=True)
class Broad(FedAvg):
    def step(self, current: np.ndarray, mean_update: np.ndarray) -> np.ndarray:
        return (current[:1] + mean_update).astype(np.float32)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (Vague, conformance.settings_have_defaults_and_come_back),
        (TakesNan, conformance.numbers_that_are_none_are_refused),
        (Wide, conformance.a_step_gives_a_new_float32_vector),
        (Restless, conformance.it_starts_at_rest),
        (Random, conformance.equal_rounds_give_equal_vectors),
        (Backwards, conformance.it_comes_nearer_to_a_goal),
        (Forgetful, conformance.it_goes_on_from_its_state),
        (Shared, conformance.it_goes_on_from_its_state),
        (Trusting, conformance.a_strange_state_is_refused),
        (Broad, conformance.another_dimension_is_refused),
    ],
)
def test_a_strategy_that_does_not_is_caught(
    wrong: type[Strategy], check: Callable[[Make], None]
) -> None:
    with pytest.raises(NotConforming):
        check(wrong)


def test_a_strategy_that_changes_what_it_is_given_is_caught() -> None:
    with pytest.raises(ValueError, match="read-only"):
        conformance.a_step_gives_a_new_float32_vector(InPlace)


def test_every_check_has_a_strategy_that_fails_it() -> None:
    caught = test_a_strategy_that_does_not_is_caught.pytestmark[0].args[1]
    assert {check for _, check in caught} == set(CHECKS)
