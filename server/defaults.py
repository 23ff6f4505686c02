"""The command ``python -m server.defaults``: writes every default into ``pyproject.toml``.

Flower overrides only settings that the app's own file lists. They are declared in the
configurations; the tables at the end of that file are made from them, and a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

import tomli_w

from atomic import write_atomically
from server.config import RunConfig
from strategies.registry import known, setting_types

BUILD_FILE = Path(__file__).parents[1] / "pyproject.toml"

_HEADING = "# All settings with their defaults, written by `python -m server.defaults`.\n"
_STRATEGY = "[tool.flwr.app.config.strategy]\n"
_OF_STRATEGIES = "# Settings of all strategies; an empty one is left to the strategy.\n"


def tables() -> str:
    """The tables ``[tool.flwr.app.config...]`` with their comments, as TOML."""
    config = RunConfig()
    settings = sorted({key for each in known().values() for key in setting_types(each)})
    strategy = {"name": config.strategy.name, **dict.fromkeys(settings, "")}
    nested = {**config.nested(), "strategy": strategy}
    text = tomli_w.dumps({"tool": {"flwr": {"app": {"config": nested}}}})
    return _HEADING + text.replace(_STRATEGY, _OF_STRATEGIES + _STRATEGY)


def with_defaults(build_file: str) -> str:
    """The text of a build file, which ends in these tables, with the defaults of today."""
    before, found, _ = build_file.partition(_HEADING)
    if not found:
        raise ValueError(f"pyproject.toml: lacks the line {_HEADING.strip()!r}: put it back")
    return before + tables()


if __name__ == "__main__":
    write_atomically(BUILD_FILE, with_defaults(BUILD_FILE.read_text(encoding="utf-8")))
