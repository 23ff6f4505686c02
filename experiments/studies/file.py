"""Studies read from TOML files and checked before anything runs.

A study is a grid of conditions: every named case with every combination of the values that are
varied, in draws that differ by seed. Keys are those of :class:`server.config.RunConfig`, dotted or
nested, and ``sample.*`` for the parameters of the built-in data.
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

from alignment.data.sample_source import BUILT_IN, SAMPLE, is_sample, read_sample, sample_with
from experiments.report.wording import is_number
from experiments.studies import SHIPPED
from experiments.studies.engine import MOST_DRAWS
from experiments.studies.figures import DRAWN, FIGURES, REFERENCES
from server.config import ConfigError, RunConfig
from strategies.wire.round_plan import Scalar, flatten
from texts import read_text

#: Most runs of a study: more are a slip of the pen.
MOST_RUNS = 10_000
#: Keys that name figures, with those that may be named.
_LISTS = {"figures": tuple(FIGURES), "pictures": DRAWN, "references": REFERENCES}
_KEYS = (
    *("title", "data", "split", "draws", "target", "settings", "vary", "cases", "caveats"),
    *_LISTS,
)
_CASE_KEYS = ("name", "settings", "alone")
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
class Condition:
    """One cell of the grid: what its runs share but for the seed.

    Attributes:
        case: Name of the case; empty where the study has none.
        varied: Values of what the grid varies, by key; none of a case that stands alone.
        settings: All settings that the study gives it, ``data`` among them.
    """

    case: str
    varied: Mapping[str, Scalar]
    settings: Mapping[str, Scalar]

    def label(self, names: Mapping[str, str]) -> str:
        """The condition in words: ``FedAvg, dropout 0.2``; empty where a study has but one.

        Args:
            names: What each key is called.
        """
        parts = [self.case] if self.case else []
        return ", ".join([*parts, *(f"{names[k]} {text_of(v)}" for k, v in self.varied.items())])


@dataclass(frozen=True, kw_only=True)
class Case:
    """Settings under a name.

    Attributes:
        settings: By dotted key.
        alone: One condition that nothing is varied in, to hold the others against.
    """

    settings: Mapping[str, Scalar] = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a file, or the options of a command, say of a study.

    Attributes:
        source: Its file or its command, for errors.
        remedy: What to do about a setting that the study sets itself, for errors.
        title: In words.
        data: Where a condition does not say otherwise.
        split: Split file; empty draws one for each data.
        draws: Runs of each condition, with seeds from 0.
        target: Alignment to which rounds, bytes and seconds are reported; None where not asked for.
        settings: Of all runs, by dotted key.
        vary: Values of each varied key, in the order of the file.
        cases: By name.
        caveats: What no single run can say.
        figures: Columns of the table on a terminal, and first ones of reports; empty leaves it to
            them.
        pictures: Figures that are drawn against what is varied.
        references: Predictors that nobody trained, drawn beside these.
    """

    source: str
    remedy: str = "change it there"
    title: str
    data: str = SAMPLE
    split: str = ""
    draws: int = 3
    target: float | None = None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    vary: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    cases: Mapping[str, Case] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ("alignment",)
    references: tuple[str, ...] = ()

    def conditions(self) -> tuple[Condition, ...]:
        """The full grid, cases outside, the last varied key inside.

        Raises:
            ConfigError: Parameters of sample data are given where data are others.
        """
        return tuple(
            Condition(
                case=name,
                varied=varied,
                settings=self._with_data({**self.settings, **case.settings, **varied}),
            )
            for name, case in (self.cases or {"": Case()}).items()
            for varied in ([{}] if case.alone else self._combinations())
        )

    def _combinations(self) -> list[dict[str, Scalar]]:
        """Every combination of the values that are varied."""
        return [dict(zip(self.vary, each, strict=True)) for each in product(*self.vary.values())]

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
        """Whether conditions differ in their data, so that each needs a split of its own."""
        keys = {*self.vary, *(key for case in self.cases.values() for key in case.settings)}
        return any(key == "data" or key.startswith(_SAMPLE) for key in keys)

    def _with_data(self, settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Settings with the data they mean, and without parameters of sample data."""
        data = str(settings.get("data", self.data))
        given = {k.removeprefix(_SAMPLE): v for k, v in settings.items() if k.startswith(_SAMPLE)}
        if given and not is_sample(data):
            raise ConfigError(
                f"{self.source}: {_SAMPLE}{next(iter(given))}: data are {data!r}, not the built-in "
                f"ones; leave it out, or say data = {SAMPLE!r}"
            )
        if is_sample(data):
            data = str(sample_with(read_sample(data), given, where=f"{self.source}: {SAMPLE}"))
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
    if str(path) not in SHIPPED:
        raise ConfigError(f"{path}: is no file, and no study of {', '.join(SHIPPED)}")
    return SHIPPED[str(path)]


def read_study(path: Path) -> Study:
    """Read a study file and check its shape and keys; values are checked with the runs they make.

    Raises:
        ConfigError: One line that names file, key and remedy.
    """
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    _known(content, _KEYS, f"{path}: ")
    study = Study(
        source=str(path),
        title=_text(path, content, "title", path.stem),
        data=_text(path, content, "data", SAMPLE),
        split=_text(path, content, "split", ""),
        draws=_draws(path, content.get("draws", 3)),
        target=_target(path, content.get("target")),
        settings=_settings(content.get("settings", {}), f"{path}: settings", own=_OWN | _DATA),
        vary=_vary(content.get("vary", {}), f"{path}: vary"),
        cases=_cases(content.get("cases", []), path),
        caveats=_texts(path, content, "caveats"),
        figures=_names(path, content, "figures"),
        pictures=_names(path, {"pictures": ["alignment"], **content}, "pictures"),
        references=_names(path, content, "references"),
    )
    _check_grid(study)
    return study


def _check_grid(study: Study) -> None:
    """Refuse a setting that is given twice, and a grid that nobody means."""
    for name, case in study.cases.items():
        both = [key for key in case.settings if key in study.vary and not case.alone]
        if both:
            raise ConfigError(
                f"{study.source}: case {name!r} sets {both[0]}, which is varied; take it out of one"
            )
    combinations = math.prod(map(len, study.vary.values()))
    cases = study.cases.values() or [Case()]
    count = study.draws * sum(1 if case.alone else combinations for case in cases)
    if count > MOST_RUNS:
        raise ConfigError(f"{study.source}: makes {count:,} runs, at most {MOST_RUNS:,}: vary less")


def _known(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    """Refuse the first key that nobody knows, naming the nearest one."""
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            # A setting may be told by its own name alone: `batch_size`.
            close = close or [each for each in known if each.rpartition(".")[2] == key]
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"{where}unknown key {key!r}: {hint}")


def _text(path: Path, content: Mapping[str, object], key: str, default: str) -> str:
    value = content.get(key, default)
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {key} = {value!r} must be a text")
    return value


def _texts(path: Path, content: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{path}: {key} = {value!r} must be a list of texts")
    return tuple(dict.fromkeys(value))


def _names(path: Path, content: Mapping[str, object], key: str) -> tuple[str, ...]:
    """The figures that a key names, each once."""
    names = _texts(path, content, key)
    _known(dict.fromkeys(names), _LISTS[key], f"{path}: {key}: ")
    return names


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
    sample = [f"{_SAMPLE}{name}" for each in BUILT_IN.values() for name in each.parameters()]
    known = [*RunConfig().flat(), *sample]
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


def _cases(value: object, path: Path) -> dict[str, Case]:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: cases must be a list of tables: begin each with [[cases]]")
    cases: dict[str, Case] = {}
    for number, each in enumerate(value, start=1):
        where = f"{path}: case {number}"
        _known(_table(each, where), _CASE_KEYS, f"{where}: ")
        name = each.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{where}: name = {name!r} must be a text that says what it is")
        if name in cases:
            raise ConfigError(f"{where}: name = {name!r} is that of another case; name each once")
        alone = each.get("alone", False)
        if not isinstance(alone, bool):
            raise ConfigError(f"{where}: alone = {alone!r} must be true or false")
        settings = _settings(each.get("settings", {}), f"{path}: case {name!r}")
        cases[name] = Case(settings=settings, alone=alone)
    return cases
