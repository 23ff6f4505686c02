"""One encoding for what is hashed or signed: the same bytes for the same values, anywhere."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn


def canonical_json(value: object) -> bytes:
    """Return the one JSON encoding of a value: keys sorted, no spaces, floats as repr strings.

    A float becomes the shortest string that reads back as the same float, so the bytes, and their
    hash, are the same on every machine and in every language.
    """
    encoded = json.dumps(
        _floats_as_strings(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return encoded.encode("ascii")


def strict_json(text: str) -> Any:
    """Read JSON that says one thing: every name of an object once, every number finite.

    Raises:
        ValueError: It is no such JSON.
    """
    return json.loads(
        text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_float=_finite
    )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number("a number beyond all floats")


def _floats_as_strings(value: object) -> object:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no canonical form; use finite numbers")
        return float.__repr__(value)  # numpy's floats print their type
    if isinstance(value, Mapping):
        return {str(key): _floats_as_strings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats_as_strings(item) for item in value]
    return value
