"""Studies as files: what a TOML file says of one, checked before anything runs.

A study is a grid: every named case with every combination of the values that are varied, in draws
that differ by seed. Keys are those of :class:`server.config.RunConfig`, dotted or nested, and
``sample.*`` for the parameters of the built-in data.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from alignment.data.sample_source import PARAMETERS, SAMPLE, is_sample, read_sample, sample_with
from experiments.report.wording import is_number
from experiments.studies.engine import MOST_DRAWS
from server.config import ConfigError, RunConfig
from strategies.wire.round_plan import Scalar, flatten

#: Most runs of a study: more are a slip of the pen.
MOST_RUNS = 10_000
#: Studies to start from.
_SHIPPED = Path(__file__).parent / "files"
_KEYS = ("title", "data", "split", "draws", "target", "settings", "vary", "cases")
_CASE_KEYS = ("name", "settings")
_SAMPLE = f"{SAMPLE}."
_STRATEGY = "strategy."
#: What a study sets itself, with what says it instead.
_OWN = {
    "split": "the key split beside the title",
    "seed": "draws, which counts them up from 0",
    "out": "--out",
    "resume": "the same command again, which goes on where it was",
}
#: The same of all runs alike; a case may have data of its own, and data may be varied.
_DATA = {"data": "the key data beside the title"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place of the grid: what its runs share but for the seed.

    Attributes:
        case: Name of the case; empty where the study has none.
        varied: Values of what the grid varies, by key.
        settings: All settings that the file gives it, ``data`` among them.
    """

    case: str
    varied: Mapping[str, Scalar]
    settings: Mapping[str, Scalar]

    def label(self, names: Mapping[str, str]) -> str:
        """The place in words: ``FedAvg, dropout 0.2``; empty where a study has but one.

        Args:
            names: What each key is called.
        """
        parts = [self.case] if self.case else []
        return ", ".join([*parts, *(f"{names[k]} {text_of(v)}" for k, v in self.varied.items())])


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """What a study file says.

    Attributes:
        path: Of the file.
        title: In words.
        data: Where a place does not say otherwise.
        split: Split file; empty draws one for each data.
        draws: Runs of each place, with seeds from 0.
        target: Alignment to which rounds, bytes and seconds are reported; None where not asked for.
        settings: Of all runs, by dotted key.
        vary: Values of each varied key, in the order of the file.
        cases: Settings of each named case.
    """

    path: Path
    title: str
    data: str = SAMPLE
    split: str = ""
    draws: int = 3
    target: float | None = None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    vary: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    cases: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)

    def places(self) -> tuple[Place, ...]:
        """The full grid, cases outside, the last varied key inside.

        Raises:
            ConfigError: Parameters of sample data are given where data are others.
        """
        return tuple(
            Place(
                case=case,
                varied=(varied := dict(zip(self.vary, values, strict=True))),
                settings=self._with_data({**self.settings, **own, **varied}),
            )
            for case, own in (self.cases or {"": {}}).items()
            for values in product(*self.vary.values())
        )

    def names(self) -> dict[str, str]:
        """What each varied key is called: its last word, or all of it where two share that."""
        last = {key: key.rpartition(".")[2].replace("_", " ") for key in self.vary}
        return {
            key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()
        }

    def axis(self) -> str | None:
        """The only varied key whose values are all numbers; None where there is none, or more."""
        numeric = [
            key
            for key, values in self.vary.items()
            if values[1:] and all(is_number(v) and not isinstance(v, bool) for v in values)
        ]
        return numeric[0] if len(numeric) == 1 else None

    @property
    def many_data(self) -> bool:
        """Whether places differ in their data, so that each needs a split of its own."""
        keys = {*self.vary, *(key for own in self.cases.values() for key in own)}
        return any(key == "data" or key.startswith(_SAMPLE) for key in keys)

    def _with_data(self, settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Settings with the data they mean, and without parameters of sample data."""
        data = str(settings.get("data", self.data))
        given = {k.removeprefix(_SAMPLE): v for k, v in settings.items() if k.startswith(_SAMPLE)}
        if given and not is_sample(data):
            raise ConfigError(
                f"{self.path}: {_SAMPLE}{next(iter(given))}: data are {data!r}, not the built-in "
                f"ones; leave it out, or say data = {SAMPLE!r}"
            )
        if is_sample(data):
            named = read_sample(data)
            usual = {name: getattr(named, name) for name in PARAMETERS}
            data = str(sample_with({**usual, **given}, where=f"{self.path}: {SAMPLE}"))
        kept = {k: v for k, v in settings.items() if not k.startswith(_SAMPLE)}
        return {**kept, "data": data}


def text_of(value: Scalar) -> str:
    """A value as people write it: ``on``, ``0.2``, ``adam``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def find_study(path: Path) -> Path:
    """The file that is meant: one of one's own, or by its bare name one that comes with this room.

    Raises:
        ConfigError: It is neither; those that there are are named.
    """
    if path.exists():
        return path
    shipped = {each.stem: each for each in sorted(_SHIPPED.glob("*.toml"))}
    if str(path) not in shipped:
        raise ConfigError(f"{path}: is no file, and no study of {', '.join(shipped)}")
    return shipped[str(path)]


def read_study(path: Path) -> StudyFile:
    """Read a study file and check its shape and keys; values are checked with the runs they make.

    Raises:
        ConfigError: One line that names file, key and remedy.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    _known(content, _KEYS, f"{path}: ")
    title = content.get("title", path.stem)
    for key, value in {
        "title": title,
        **{k: content.get(k, "") for k in ("data", "split")},
    }.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {key} = {value!r} must be a text")
    study = StudyFile(
        path=path,
        title=title,
        data=content.get("data", SAMPLE),
        split=content.get("split", ""),
        draws=_draws(path, content.get("draws", 3)),
        target=_target(path, content.get("target")),
        settings=_settings(content.get("settings", {}), f"{path}: settings", own=_OWN | _DATA),
        vary=_vary(content.get("vary", {}), f"{path}: vary"),
        cases=_cases(content.get("cases", []), path),
    )
    for name, own in study.cases.items():
        both = [key for key in own if key in study.vary]
        if both:
            raise ConfigError(
                f"{path}: case {name!r} sets {both[0]}, which is varied; take it out of one"
            )
    count = math.prod(map(len, study.vary.values())) * max(1, len(study.cases)) * study.draws
    if count > MOST_RUNS:
        raise ConfigError(f"{path}: makes {count:,} runs, at most {MOST_RUNS:,}: vary less")
    return study


def _known(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    """Refuse the first key that nobody knows, naming the nearest one."""
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            # A setting may be told by its own name alone: `batch_size`.
            close = close or [each for each in known if each.rpartition(".")[2] == key]
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}unknown key {key!r}: {hint}")


def _draws(path: Path, draws: object) -> int:
    if not isinstance(draws, int) or isinstance(draws, bool) or not 1 <= draws <= MOST_DRAWS:
        raise ConfigError(f"{path}: draws = {draws!r} must be a number in [1, {MOST_DRAWS}]")
    return draws


def _target(path: Path, target: object) -> float | None:
    if target is None:
        return None
    if not is_number(target) or isinstance(target, bool) or not 0 < target < 1:
        raise ConfigError(f"{path}: target = {target!r} must be an alignment in (0, 1), as in 0.8")
    return float(target)


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table of settings, not {value!r}")
    return value


def _check_keys(flat: Mapping[str, object], where: str, own: Mapping[str, str] = _OWN) -> None:
    known = [*RunConfig().flat(), *(f"{_SAMPLE}{name}" for name in PARAMETERS)]
    for key in flat:
        if key in own:
            raise ConfigError(f"{where}: {key} is set by the study itself; use {own[key]}")
    # A strategy knows its own settings, and is known with the values that a run has.
    named = {key: value for key, value in flat.items() if not key.startswith(_STRATEGY)}
    _known(named, [key for key in known if key not in own], f"{where}: ")


def _settings(value: object, where: str, own: Mapping[str, str] = _OWN) -> dict[str, Scalar]:
    try:
        flat = flatten(_table(value, where))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; values to vary belong into vary") from error
    _check_keys(flat, where, own)
    return flat


def _vary(value: object, where: str) -> dict[str, tuple[Scalar, ...]]:
    lists: dict[str, tuple[Scalar, ...]] = {}

    def collect(table: Mapping[str, Any], prefix: str) -> None:
        for key, each in table.items():
            name = f"{prefix}{key}"
            if isinstance(each, Mapping):
                collect(each, f"{name}.")
            elif not isinstance(each, list) or not each:
                raise ConfigError(f"{where}: {name} = {each!r} must be a list of values")
            elif not all(isinstance(item, bool | int | float | str) for item in each):
                raise ConfigError(f"{where}: {name} = {each!r} must hold numbers, texts or truths")
            elif len({text_of(item) for item in each}) < len(each):
                raise ConfigError(f"{where}: {name} = {each!r} names a value twice; name each once")
            else:
                lists[name] = tuple(each)

    collect(_table(value, where), "")
    _check_keys(lists, where)
    return lists


def _cases(value: object, path: Path) -> dict[str, dict[str, Scalar]]:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: cases must be a list of tables: begin each with [[cases]]")
    cases: dict[str, dict[str, Scalar]] = {}
    for number, each in enumerate(value, start=1):
        where = f"{path}: case {number}"
        _known(_table(each, where), _CASE_KEYS, f"{where}: ")
        name = each.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{where}: name = {name!r} must be a text that says what it is")
        if name in cases:
            raise ConfigError(f"{where}: name = {name!r} is that of another case; name each once")
        cases[name] = _settings(each.get("settings", {}), f"{path}: case {name!r}")
    return cases
