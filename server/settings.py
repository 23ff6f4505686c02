"""Run configurations from files and command lines."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from server.config import ConfigError, RunConfig, read_run_config
from strategies.wire.round_plan import flatten
from texts import read_text


def _read_toml(path: Path) -> Mapping[str, object]:
    try:
        return flatten(tomllib.loads(read_text(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _assignment(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {text!r}: write key=value, as in --set training.batch_size=32")
    return key.strip(), value.strip()


def given_settings(*, config: Path | None, assignments: Sequence[str]) -> dict[str, object]:
    """The settings of a file and of ``--set``, with dotted keys and not yet checked.

    Raises:
        ConfigError: The file cannot be read, or a text is no assignment.
    """
    flat = {} if config is None else dict(_read_toml(config))
    return flat | dict(_assignment(text) for text in assignments)


def assemble(
    *,
    config: Path | None,
    assignments: Sequence[str],
    given: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
    choose: Callable[[Mapping[str, object]], Mapping[str, object]] | None = None,
) -> RunConfig:
    """Put settings together: defaults, then the file, then options, then ``--set``.

    Args:
        config: TOML file with the sections of :class:`server.config.RunConfig`.
        assignments: Texts of the form ``key=value`` with dotted keys.
        given: Options of the command line; None values are left out.
        defaults: Of the command.
        choose: Gives settings that follow from the others and from the data, where these are at
            hand.

    Raises:
        ConfigError: One line that names the setting.
    """
    options = {key: value for key, value in (given or {}).items() if value is not None}
    flat = {
        **(defaults or {}),
        **given_settings(config=config, assignments=()),
        **options,
        **given_settings(config=None, assignments=assignments),
    }
    return read_run_config({**flat, **(choose(flat) if choose else {})})
