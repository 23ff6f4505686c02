"""From files and command lines to a checked run configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from server.config import ConfigError, RunConfig, read_run_config
from strategies.round_plan import flatten


def _read_toml(path: Path) -> Mapping[str, object]:
    try:
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _assignment(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {text!r}: write key=value, as in --set training.batch_size=32")
    return key.strip(), value.strip()


def assemble(
    *,
    config: Path | None,
    assignments: Sequence[str],
    given: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> RunConfig:
    """Put settings together: defaults, then the file, then options, then ``--set``.

    Args:
        config: TOML file with the sections of :class:`server.config.RunConfig`.
        assignments: Texts of the form ``key=value`` with dotted keys.
        given: Options of the command line; None values are left out.
        defaults: Of the command.

    Raises:
        ConfigError: One line that names the setting.
    """
    flat: dict[str, object] = dict(defaults or {})
    if config is not None:
        flat |= _read_toml(config)
    flat |= {key: value for key, value in (given or {}).items() if value is not None}
    flat |= dict(_assignment(text) for text in assignments)
    return read_run_config(flat)
