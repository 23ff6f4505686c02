"""The built-in sample data as a source with parameters: ``sample:groups=48,severity=2``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alignment.data.sources import DataError

#: The source that stands for the built-in sample data; parameters follow a colon.
SAMPLE = "sample"
KINDS = ("choice", "survey")


@dataclass(frozen=True, kw_only=True)
class SampleSource:
    """Parameters of the sample data; the defaults are those of ``sample`` alone.

    Attributes:
        groups: Number of groups, up to 4096.
        respondents: Typical respondents of a group.
        severity: How far groups lie apart: 1 is usual, 0 makes them all alike.
        seed: Equal seeds give equal data.
        kind: ``choice``, a row per answer, or ``survey``, one per group and question.
    """

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

    def __str__(self) -> str:
        """The source as it is given: what differs from the defaults, in a fixed order."""
        usual = asdict(SampleSource())
        given = {key: value for key, value in asdict(self).items() if value != usual[key]}
        said = ",".join(
            f"{k}={v:.12g}" if k == "severity" else f"{k}={v}" for k, v in given.items()
        )
        return f"{SAMPLE}:{said}" if said else SAMPLE


_READERS: Mapping[str, Callable[[str], object]] = {
    "groups": int,
    "respondents": int,
    "severity": float,
    "seed": int,
    "kind": str,
}
#: Names of the parameters.
PARAMETERS = tuple(_READERS)


def is_sample(source: str | Path) -> bool:
    """Whether a source is the built-in data, with parameters or without."""
    return isinstance(source, str) and source.partition(":")[0] == SAMPLE


def read_sample(source: str) -> SampleSource:
    """Read ``sample`` or ``sample:groups=48,respondents=20,severity=2,seed=1,kind=survey``.

    Raises:
        DataError: One line that names the parameter, its value and the remedy.
    """
    _, colon, text = source.partition(":")
    if not colon:
        return SampleSource()
    return sample_with(_assignments(source, text.split(",")), where=source)


def sample_with(given: Mapping[str, object], *, where: str) -> SampleSource:
    """The sample data with some parameters given, as texts or as what they stand for.

    Args:
        given: By name.
        where: Where they stand, for the error.

    Raises:
        DataError: One line that names the parameter, its value and the remedy.
    """
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _READERS:
            close = difflib.get_close_matches(name, PARAMETERS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(PARAMETERS)}"
            raise DataError(f"{where}: unknown parameter {name!r}: {hint}")
        read = _READERS[name]
        try:
            chosen[name] = read(str(value))
        except ValueError as error:
            kind = "a whole number" if read is int else "a number"
            raise DataError(f"{where}: {name} = {value!r} must be {kind}") from error
    made = SampleSource(**chosen)
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
            raise DataError(
                f"{source}: {text!r} must be name=value, as in {SAMPLE}:groups=48,severity=2"
            )
        if name in given:
            raise DataError(f"{source}: {name!r} is given twice; give it once")
        given[name] = value
    return given
