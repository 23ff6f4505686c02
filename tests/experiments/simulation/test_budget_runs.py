"""Budgets belong to people: runs one after another spend one budget, whatever the file is called.

The budget pays for five rounds; the first run takes four of them. The server knows nothing of
budgets: it asks for every round, and again for those that were refused.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.results import read_rounds
from experiments.simulation.run import run
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from server.config import read_run_config

GROUPS = 4
BUDGET = 11.0
SETTINGS = {
    "privacy.mode": "distributed",
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 4,
    "privacy.budget_epsilon": BUDGET,
}

Row = dict[str, Any]
Rows = Sequence[Row]


def shuffled(rows: Rows) -> Rows:
    return random.Random(0).sample(list(rows), len(rows))


def subset(rows: Rows) -> Rows:
    return [row for row in rows if not row["respondent"].endswith("0")]


def relabelled(rows: Rows) -> Rows:
    return [{**row, "choice": 1 - row["choice"]} for row in rows]


def superset(rows: Rows) -> Rows:
    return [*rows, *({**row, "respondent": f"new {row['respondent']}"} for row in rows)]


@pytest.fixture(scope="module", params=[True, False], ids=["secure", "in the clear"])
def spent(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_settings: Mapping[str, Any],
) -> tuple[Mapping[str, Any], Path]:
    """The settings and the ledgers of a first run of four rounds."""
    base = tmp_path_factory.mktemp("spent")
    settings = {**tiny_settings, **SETTINGS, "federation.secure_aggregation": request.param}
    places = {"out": str(base / "first"), "privacy.ledgers": str(base / "ledgers")}
    result = run(read_run_config({**settings, **places}))
    assert (result["aborted_rounds"], result["ended_early"]) == (0, False)
    return settings, base / "ledgers"


def ledgers(folder: Path) -> list[list[Row]]:
    files = sorted((folder / "groups").glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_bytes().splitlines()] for file in files]


@pytest.mark.parametrize(
    ("change", "inherits"),
    [(list, False), (shuffled, False), (subset, True), (relabelled, True), (superset, True)],
    ids=["again", "shuffled", "subset", "relabelled", "superset"],
)
def test_the_last_permitted_round_runs_and_the_next_is_refused_in_the_next_run(
    spent: tuple[Mapping[str, Any], Path],
    tiny_rows: Rows,
    tmp_path: Path,
    write_rows: Any,
    change: Callable[[Rows], Rows],
    inherits: bool,
) -> None:
    settings, folder = spent
    lasting = shutil.copytree(folder, tmp_path / "ledgers")
    data = write_rows(tmp_path / "data.jsonl", change(tiny_rows))
    changes = {"data": str(data), "out": str(tmp_path / "next"), "privacy.ledgers": str(lasting)}
    result = run(read_run_config({**settings, **changes}))
    assert result["aborted_rounds"] == 3
    found = ledgers(lasting)
    assert len(found) == GROUPS
    for events in found:
        count = Counter(event["type"] for event in events)
        assert (count["SPEND"], count["RELEASED"], count["PLAN"]) == (5, 5, 2)
        data_sets = [event for event in events if event["type"] == "DATASET"]
        if inherits:
            assert data_sets[1]["body"]["parents"] == [data_sets[0]["dataset"]]
        refused = [event["body"] for event in events if event["type"] == "REFUSED"]
        assert {body["code"] for body in refused} == {"budget"}
        assert {body["round"] for body in refused} == {2, 3, 4}
        first = next(place for place, event in enumerate(events) if event["type"] == "REFUSED")
        assert not {"SPEND", "RELEASED"} & {event["type"] for event in events[first:]}
    rows = read_rounds(tmp_path / "next")
    if settings.get("federation.secure_aggregation", True):
        # Refused before anybody trains: who could still pay is not charged for a round in vain.
        reasons = {row["aborted"].partition(",")[0] for row in rows if row["aborted"]}
        assert reasons == {"TooFewMembers: 0 members have shared"}
    checks = verify(gather([lasting]))
    # Shares of noise that the server sees one by one are all that may fail.
    secure = settings["federation.secure_aggregation"]
    assert [check.id for check in checks if check.status == "fail"] == ["secure"] * (not secure)


@pytest.mark.parametrize("budget", [BUDGET, 40.0], ids=["spent", "raised"])
def test_a_spent_budget_pays_for_no_run_and_is_not_raised(
    spent: tuple[Mapping[str, Any], Path], tmp_path: Path, budget: float
) -> None:
    settings, folder = spent
    lasting = shutil.copytree(folder, tmp_path / "ledgers")
    places = {"privacy.ledgers": str(lasting), "out": str(tmp_path / "second")}
    if budget == BUDGET:
        run(read_run_config({**settings, **places}))
    before = Counter(event["type"] for events in ledgers(lasting) for event in events)
    places |= {"out": str(tmp_path / "third"), "privacy.budget_epsilon": str(budget)}
    with pytest.raises((RuntimeError, ValueError)):
        run(read_run_config({**settings, **places}))
    after = Counter(event["type"] for events in ledgers(lasting) for event in events)
    assert after["SPEND"] == before["SPEND"]
    assert after["RELEASED"] == before["RELEASED"]
    assert after["BUDGET"] == before["BUDGET"]
    checks = verify(gather([lasting]))
    # Shares of noise that the server sees one by one are all that may fail.
    secure = settings["federation.secure_aggregation"]
    assert [check.id for check in checks if check.status == "fail"] == ["secure"] * (not secure)
