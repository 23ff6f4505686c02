"""One encoding for what is hashed or signed: the same bytes for the same values, anywhere."""

import json
import math
from collections.abc import Mapping


def canonical_json(value: object) -> bytes:
    """Return the one JSON encoding of a value: keys sorted, no spaces, floats as repr strings.

    A float becomes the shortest string that reads back as the same float, so the bytes, and their
    hash, are the same on every machine and in every language.
    """
    encoded = json.dumps(
        _floats_as_strings(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return encoded.encode("ascii")


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
