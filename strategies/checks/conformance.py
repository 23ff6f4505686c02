"""Conformance of strategies: checks that run on any of them, your own included.

``fedaccord strategies --check NAME`` runs them, and so do the tests for every strategy here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.base import StateRefused, Strategy
from strategies.registry import setting_types, settings_of

Make = Callable[[], Strategy]

_DIMENSION = 7


class NotConforming(AssertionError):
    """A strategy does not do what every strategy must."""


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise NotConforming(what)


def settings_have_defaults_and_come_back(make: Make) -> None:
    """Every setting is a scalar with a default, and says all about a strategy."""
    strategy = make()
    settings: dict[str, Any] = settings_of(strategy)
    for name, value in settings.items():
        _require(isinstance(value, bool | int | float | str), f"setting {name} is no scalar")
    again = type(strategy)(**settings)
    _require(settings_of(again) == settings, "settings do not come back as they were given")
    _require(bool(strategy.name) and strategy.name.isidentifier(), "name is no plain word")


def numbers_that_are_none_are_refused(make: Make) -> None:
    """No setting may be NaN or infinite."""
    strategy = make()
    for name, kind in setting_types(type(strategy)).items():
        for value in (np.nan, np.inf) if kind is float else ():
            settings: dict[str, Any] = {**settings_of(strategy), name: float(value)}
            try:
                type(strategy)(**settings)
            except ValueError as error:
                _require(name in str(error), f"the refusal of {name} = {value} does not name it")
            else:
                raise NotConforming(f"{name} = {value} is not refused: check it in __post_init__")


def a_step_gives_a_new_float32_vector(make: Make) -> None:
    """Shape, type and bounds of a step; what it is given stays as it was."""
    for dimension, scale in ((1, 1.0), (_DIMENSION, 1e-12), (_DIMENSION, 1e3)):
        current = np.linspace(-1, 1, dimension, dtype=np.float32)
        update = scale * np.linspace(1, 2, dimension)
        for given in (current, update):
            given.flags.writeable = False
        strategy = make()
        moved = strategy.step(current, update)
        _require(moved.dtype == np.float32, f"a step gives {moved.dtype}, float32 needed")
        _require(moved.shape == current.shape, f"a step gives shape {moved.shape}")
        _require(not np.shares_memory(moved, current), "a step gives back its own argument")
        _require(bool(np.isfinite(moved).all()), f"an update of size {scale} gives no number")
        shown = strategy.published(moved)
        _require(shown.dtype == np.float32 and shown.shape == moved.shape, "published differs")


def it_starts_at_rest(make: Make) -> None:
    """Before the first step there is no state, and an update of zero moves nothing."""
    strategy, current = make(), np.ones(_DIMENSION, dtype=np.float32)
    _require(not strategy.state(), "there is a state before the first step")
    _require(strategy.published(current) is current, "something else is published at the start")
    moved = strategy.step(current, np.zeros(_DIMENSION))
    _require(bool((moved == current).all()), "an update of zero moves the vector")


def equal_rounds_give_equal_vectors(make: Make) -> None:
    """Nothing but settings and updates decides: no chance, no clock, no other instance."""
    one, two = (_walk(make(), _updates(6)) for _ in range(2))
    _require(one.tobytes() == two.tobytes(), "the same rounds give different vectors")


def it_comes_nearer_to_a_goal(make: Make) -> None:
    """Groups that point half way to one goal bring the vector at least half the way there."""
    strategy = make()
    goal = np.linspace(-1, 1, _DIMENSION)
    vector = np.zeros(_DIMENSION, dtype=np.float32)
    for _ in range(1000):
        vector = strategy.step(vector, 0.5 * (goal - vector))
    left = np.linalg.norm(strategy.published(vector) - goal) / np.linalg.norm(goal)
    _require(bool(left < 0.5), f"after 1,000 rounds {left:.0%} of the way to a goal are left")


def it_goes_on_from_its_state(make: Make) -> None:
    """A strategy restored from a state goes on bit for bit, and states stay as they were."""
    updates = _updates(8)
    whole = make()
    start = _walk(whole, updates[:4])
    state = {name: array.copy() for name, array in whole.state().items()}
    kept = whole.state()
    ended = _walk(whole, updates[4:], start)
    for name, array in kept.items():
        _require(array.tobytes() == state[name].tobytes(), f"a later step changed state {name!r}")
    again = make()
    again.restore(state)
    resumed = _walk(again, updates[4:], start)
    _require(resumed.tobytes() == ended.tobytes(), "a restored strategy goes another way")
    one, two = again.published(resumed), whole.published(ended)
    _require(one.tobytes() == two.tobytes(), "a restored strategy publishes another vector")
    names = all(name.isidentifier() for name in state)
    _require(names, f"a state has names that are no plain words: {sorted(state)}")


def a_strange_state_is_refused(make: Make) -> None:
    """Arrays that are missing, unknown or misshapen are refused, and change nothing."""
    strategy = make()
    _walk(strategy, _updates(2))
    state = dict(strategy.state())
    strange: list[Mapping[str, NDArray[np.generic]]] = [{**state, "stranger": np.zeros(2)}]
    for name in state:
        strange.append({key: value for key, value in state.items() if key != name})
        strange.append({**state, name: state[name].astype(np.float16)})
        strange.append({**state, name: np.zeros((2, 2))})
    for each in strange:
        if not each:
            continue
        try:
            make().restore(each)
        except StateRefused:
            continue
        raise NotConforming(f"a state of {sorted(each)} is taken though it is none of its own")


def another_dimension_is_refused(make: Make) -> None:
    """Rounds of one run have one number of coordinates."""
    strategy = make()
    vector = strategy.step(np.zeros(3, dtype=np.float32), np.ones(3))
    try:
        strategy.step(vector, np.ones(4))
    except ValueError:
        return
    raise NotConforming("an update of another dimension is taken")


CHECKS: tuple[Callable[[Make], None], ...] = (
    settings_have_defaults_and_come_back,
    numbers_that_are_none_are_refused,
    a_step_gives_a_new_float32_vector,
    it_starts_at_rest,
    equal_rounds_give_equal_vectors,
    it_comes_nearer_to_a_goal,
    it_goes_on_from_its_state,
    a_strange_state_is_refused,
    another_dimension_is_refused,
)


def variants(strategy: type[Strategy]) -> Iterator[dict[str, Any]]:
    """Settings under which a strategy is checked: its defaults, and with an average."""
    yield {}
    if any(each.name == "averaging" for each in fields(strategy)):
        yield {"averaging": 0.5}


def _updates(rounds: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(rounds, _DIMENSION))


def _walk(
    strategy: Strategy,
    updates: NDArray[np.float64],
    vector: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    vector = np.zeros(_DIMENSION, dtype=np.float32) if vector is None else vector
    for update in updates:
        vector = strategy.step(vector, update)
    return vector
