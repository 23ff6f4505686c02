"""Real private runs, whose folders are copied and forged."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.run import run
from privacy.identity.key_folder import KeyFolder
from server.config import read_run_config
from tests.forgeries.review import reviewed
from texts import json_text

PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
COUNTED = {"privacy.mode": "local", "privacy.mechanism": "tally", "privacy.delta": 1e-3}


@dataclass(frozen=True, kw_only=True)
class Real:
    """What real runs have left behind.

    Attributes:
        first: folder of a run, with the ledgers as they were after it.
        second: folder of a second run of the same groups, with the ledgers as they are now.
        keys: of all parties.
        roster: their public keys, as a reviewer has got them.
    """

    first: Path
    second: Path
    keys: KeyFolder
    roster: Path

    @property
    def card(self) -> Path:
        """The privacy card of the first run, as a reviewer has made it."""
        return self.roster.with_name("card.json")


@pytest.fixture(scope="session")
def real(
    tiny_settings: Mapping[str, Any],
    tiny_rows: Sequence[Mapping[str, Any]],
    write_rows: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Real:
    """Two private runs of four groups; half of the people of the second had spent all before.

    Read them, never write there.
    """
    folder = tmp_path_factory.mktemp("real")
    rows = [
        {**row, "respondent": f"{row['respondent']}{' new' * (number % 2)}"}
        for number, row in enumerate(tiny_rows)
    ]
    others = write_rows(folder / "others.jsonl", rows)
    settings = {**tiny_settings, **PRIVATE}
    return _real(folder, settings, {"first": settings["data"], "second": str(others)})


@pytest.fixture(scope="session")
def counted(tiny_settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Real:
    """Two runs of four groups that count answers once; the second finds the counts of the first.

    Read them, never write there.
    """
    settings = {**tiny_settings, **COUNTED}
    folder = tmp_path_factory.mktemp("counted")
    return _real(folder, settings, dict.fromkeys(("first", "second"), settings["data"]))


def _real(folder: Path, settings: Mapping[str, Any], data: Mapping[str, str]) -> Real:
    """Runs one after the other on lasting ledgers, by the names of their folders."""
    lasting = folder / "lasting"
    for name, where in data.items():
        out = folder / name
        changes = {"data": where, "privacy.ledgers": str(lasting), "out": str(out)}
        run(read_run_config({**settings, **changes}))
        shutil.rmtree(out / "ledgers", ignore_errors=True)
        shutil.copytree(lasting, out / "ledgers", ignore=shutil.ignore_patterns("identities"))
    roster = folder / "keys.json"
    shutil.copy(folder / "first" / "ledgers" / "roster.json", roster)
    _, card = reviewed(folder / "first", roster)
    roster.with_name("card.json").write_text(json_text(card, indent=2), encoding="utf-8")
    return Real(
        first=folder / "first",
        second=folder / "second",
        keys=KeyFolder(lasting / "identities"),
        roster=roster,
    )


@pytest.fixture(scope="session")
def faint(tiny_settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private run with a delta below a thousand millionth; read it, never write there."""
    out = tmp_path_factory.mktemp("faint") / "run"
    run(read_run_config({**tiny_settings, **PRIVATE, "privacy.delta": 1e-10, "out": str(out)}))
    return out
