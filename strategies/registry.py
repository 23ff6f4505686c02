"""The registry of strategies: one class each, in this folder or in a file of its own."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

import strategies
from strategies.base import Strategy
from strategies.wire.round_plan import Scalar


@lru_cache(maxsize=1)
def known() -> Mapping[str, type[Strategy]]:
    """The strategies of this folder by name, in the order of names.

    Raises:
        ValueError: Two have one name.
    """
    found: dict[str, type[Strategy]] = {}
    for each in pkgutil.iter_modules(strategies.__path__):
        for strategy in _in_module(importlib.import_module(f"strategies.{each.name}")):
            if other := found.get(strategy.name):
                raise ValueError(
                    f"{strategy.__name__} and {other.__name__} are both named {strategy.name!r}: "
                    "rename one"
                )
            found[strategy.name] = strategy
    return dict(sorted(found.items()))


def find(name: str) -> type[Strategy]:
    """The strategy of a name, or of a file as in ``path/to/file.py:ClassName``.

    Raises:
        ValueError: There is none; the message is one line.
    """
    if ":" in name:
        return _of_file(name)
    if name not in known():
        close = difflib.get_close_matches(name, known(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known())}"
        raise ValueError(f"name = {name!r} is no strategy: {hint}")
    return known()[name]


def setting_types(strategy: type[Strategy]) -> dict[str, Any]:
    """The settings of a strategy, with their types."""
    hints = get_type_hints(strategy)
    return {each.name: hints[each.name] for each in fields(strategy) if each.init}


def make(name: str, settings: Mapping[str, object]) -> Strategy:
    """A strategy with settings; those that are not given have its defaults.

    Args:
        name: See :func:`find`.
        settings: By name; texts are read as what they stand for.

    Raises:
        ValueError: One line that names setting, value and bound.
    """
    strategy = find(name)
    types = setting_types(strategy)
    values = {}
    for key, value in settings.items():
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(types)}"
            raise ValueError(f"{key} is no setting of {name}: {hint}")
        try:
            values[key] = TypeAdapter(types[key]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{key} = {value!r}: {error.errors()[0]['msg']}") from error
    return strategy(**values)


def settings_of(strategy: Strategy) -> dict[str, Scalar]:
    """All settings of a strategy, by name."""
    return {name: getattr(strategy, name) for name in setting_types(type(strategy))}


def _in_module(module: ModuleType) -> list[type[Strategy]]:
    """Strategies that a module defines itself."""
    return [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Strategy) and each.__module__ == module.__name__ and each.name
    ]


@lru_cache(maxsize=8)
def _of_file(name: str) -> type[Strategy]:
    text, _, wanted = name.rpartition(":")
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"name = {name!r}: {text} is no file; write path/to/file.py:ClassName")
    spec = importlib.util.spec_from_file_location(f"own_strategy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"name = {name!r}: {text} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{text} cannot be read: {type(error).__name__}: {error}") from error
    for strategy in _in_module(module):
        if strategy.__name__ == wanted:
            return strategy
    raise ValueError(
        f"name = {name!r}: {text} defines no strategy {wanted!r}; a strategy is a subclass of "
        "strategies.base.Strategy with a name"
    )
