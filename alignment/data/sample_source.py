"""The built-in data as sources with parameters: ``sample:groups=48``, ``sample-pairs:persons=20``.

Everything that takes data takes these by name. A further built-in source is a class here, listed in
``BUILT_IN``.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from alignment.data.sources import DataError

#: The source that stands for the built-in survey, and the one for the built-in pairs; parameters
#: follow a colon.
SAMPLE = "sample"
SAMPLE_PAIRS = "sample-pairs"
KINDS = ("choice", "survey")


@dataclass(frozen=True, kw_only=True)
class BuiltInSource(ABC):
    """Parameters of built-in data: fields with defaults, whole numbers, numbers or texts."""

    source: ClassVar[str]

    @abstractmethod
    def rows(self) -> Iterator[dict[str, object]]:
        """The rows, group by group.

        Raises:
            ValueError: A parameter is out of its range; at once, not at the first row.
        """

    @classmethod
    def parameters(cls) -> dict[str, type]:
        """Names of the parameters, and what each is read as."""
        return {field.name: type(field.default) for field in fields(cls)}

    def __str__(self) -> str:
        """The source as it is given: what differs from the defaults, in a fixed order."""
        usual = asdict(type(self)())
        given = {key: value for key, value in asdict(self).items() if value != usual[key]}
        said = ",".join(
            f"{k}={v:.12g}" if isinstance(v, float) else f"{k}={v}" for k, v in given.items()
        )
        return f"{self.source}:{said}" if said else self.source


@dataclass(frozen=True, kw_only=True)
class SampleSource(BuiltInSource):
    """Parameters of the sample survey; the defaults are those of ``sample`` alone.

    Attributes:
        groups: Number of groups, up to 4096.
        respondents: Typical respondents of a group.
        severity: How far groups lie apart: 1 is usual, 0 makes them all alike.
        seed: Equal seeds give equal data.
        kind: ``choice``, a row per answer, or ``survey``, one per group and question.
    """

    source = SAMPLE

    groups: int = 12
    respondents: int = 160
    severity: float = 1.0
    seed: int = 0
    kind: str = "choice"

    def rows(self) -> Iterator[dict[str, object]]:
        """The rows, group by group.

        Raises:
            ValueError: A parameter is out of its range.
        """
        # Only here: it brings numpy, which most readers of records do without.
        from alignment.data.sample_data import sample_rows, survey_rows

        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, must be 'choice' or 'survey'")
        rows = sample_rows(
            seed=self.seed,
            groups=self.groups,
            respondents=self.respondents,
            severity=self.severity,
        )
        return survey_rows(rows) if self.kind == "survey" else rows


@dataclass(frozen=True, kw_only=True)
class SamplePairsSource(BuiltInSource):
    """Parameters of the sample pairs; the defaults are those of ``sample-pairs`` alone.

    Attributes:
        groups: Number of groups, up to 4096.
        persons: Typical number of persons of a group.
        pairs: Pairs that each person judges, up to 24.
        severity: How far groups lie apart: 1 is usual, at 0 they like the same.
        seed: Equal seeds give equal data.
        part: Prompts that pairs are about: ``train``, ``held-out`` or ``all``.
    """

    source = SAMPLE_PAIRS

    groups: int = 12
    persons: int = 60
    pairs: int = 6
    severity: float = 1.0
    seed: int = 0
    part: str = "train"

    def rows(self) -> Iterator[dict[str, object]]:
        """The rows, group by group.

        Raises:
            ValueError: A parameter is out of its range.
        """
        from alignment.data.sample_pairs.rows import pair_rows

        return pair_rows(**asdict(self))


#: The built-in data, by the name of the source.
BUILT_IN: Mapping[str, type[BuiltInSource]] = {
    each.source: each for each in (SampleSource, SamplePairsSource)
}


def is_sample(source: str | Path) -> bool:
    """Whether a source is built-in data, with parameters or without."""
    return isinstance(source, str) and source.partition(":")[0] in BUILT_IN


def read_sample(source: str) -> BuiltInSource:
    """Read ``sample:groups=48,respondents=20,severity=2,seed=1,kind=survey`` and the like.

    Raises:
        DataError: One line that names the source or the parameter, its value and the remedy.
    """
    name, colon, text = source.partition(":")
    if name not in BUILT_IN:
        raise DataError(f"{source}: no built-in data; known are {', '.join(BUILT_IN)}")
    usual = BUILT_IN[name]()
    if not colon:
        return usual
    return sample_with(usual, _assignments(source, text.split(",")), where=source)


def sample_with(named: BuiltInSource, given: Mapping[str, object], *, where: str) -> BuiltInSource:
    """Built-in data with some parameters changed, as texts or as what they stand for.

    Args:
        named: The data, with parameters of their own.
        given: By name; the others stay.
        where: Where they stand, for the error.

    Raises:
        DataError: One line that names the parameter, its value and the remedy.
    """
    known = named.parameters()
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise DataError(f"{where}: unknown parameter {name!r}: {hint}")
        try:
            chosen[name] = known[name](str(value))
        except ValueError as error:
            kind = "a whole number" if known[name] is int else "a number"
            raise DataError(f"{where}: {name} = {value!r} must be {kind}") from error
    made = replace(named, **chosen)
    try:
        # Raises at once, before any row is made.
        made.rows()
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    return made


def _assignments(source: str, texts: Iterable[str]) -> dict[str, object]:
    given: dict[str, object] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name:
            example = f"{source.partition(':')[0]}:groups=48,severity=2"
            raise DataError(f"{source}: {text!r} must be name=value, as in {example}")
        if name in given:
            raise DataError(f"{source}: {name!r} is given twice; give it once")
        given[name] = value
    return given
