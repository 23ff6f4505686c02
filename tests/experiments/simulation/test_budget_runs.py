"""Budgets belong to people: runs one after another spend one budget, whatever the file is called.

The budget pays for five rounds; the first run takes four of them. The server knows nothing of
budgets: it asks for every round, and cannot tell who takes part.
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
from privacy.audit.evidence import Evidence, gather
from privacy.audit.verify import verify
from server.config import read_run_config

GROUPS = 4
BUDGET = 9.7
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


def failing(evidence: Evidence) -> list[str]:
    return [check.id for check in verify(evidence) if check.status == "fail"]


def unsecured(settings: Mapping[str, Any]) -> list[str]:
    """Shares of noise that the server sees one by one are all that may fail."""
    return [] if settings["federation.secure_aggregation"] else ["secure"]


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
    ("change", "newcomers"),
    [(list, 0), (shuffled, 0), (subset, 0), (relabelled, 0), (superset, 6)],
    ids=["again", "shuffled", "subset", "relabelled", "superset"],
)
def test_whoever_has_spent_the_budget_is_left_out_of_the_next_run_and_no_event_tells(
    spent: tuple[Mapping[str, Any], Path],
    tiny_rows: Rows,
    tmp_path: Path,
    write_rows: Any,
    change: Callable[[Rows], Rows],
    newcomers: int,
) -> None:
    """Was open: the next run was refused, and so told that somebody in its data was in the first.

    One round is left to the people of the first run. The researcher, who owns all ledgers, reads
    how many were left out.
    """
    settings, folder = spent
    lasting = shutil.copytree(folder, tmp_path / "ledgers")
    rows = change(tiny_rows)
    data = write_rows(tmp_path / "data.jsonl", rows)
    changes = {"data": str(data), "out": str(tmp_path / "next"), "privacy.ledgers": str(lasting)}
    result = run(read_run_config({**settings, **changes}))
    assert (result["aborted_rounds"], result["ended_early"]) == (0, False)
    for group, told in result["privacy"]["groups"].items():
        people = {row["respondent"] for row in rows if row["group"] == group}
        assert told["left_out"] == len(people) - newcomers > 0
    found = ledgers(lasting)
    assert len(found) == GROUPS
    announced = ["DATASET", "BUDGET", "PLAN"]
    for events in found:
        types = [event["type"] for event in events if event["type"] != "HEAD"]
        assert types == 2 * (announced + 4 * ["SPEND", "RELEASED"])
    evidence = gather([lasting])
    assert failing(evidence) == unsecured(settings)
    for ledger in evidence.ledgers:
        assert ledger.state is not None
        one, two = ledger.state.left_out.values()
        everybody = two[0][1]
        assert one == [(0, 6)] * 4
        assert two == [(0, everybody)] + [(everybody - newcomers, everybody)] * 3


@pytest.mark.parametrize("budget", [BUDGET, 40.0], ids=["spent", "raised"])
def test_a_spent_budget_pays_for_no_run_and_is_not_raised(
    spent: tuple[Mapping[str, Any], Path], tmp_path: Path, budget: float
) -> None:
    """A larger budget is one for new people; whoever knows that nobody took part is told so."""
    settings, folder = spent
    lasting = shutil.copytree(folder, tmp_path / "ledgers")
    places = {"privacy.ledgers": str(lasting), "out": str(tmp_path / "second")}
    run(read_run_config({**settings, **places}))
    places |= {"out": str(tmp_path / "third"), "privacy.budget_epsilon": str(budget)}
    with pytest.raises(RuntimeError, match=r"nobody took part: .* fedaccord client status"):
        run(read_run_config({**settings, **places}))
    evidence = gather([lasting])
    assert failing(evidence) == unsecured(settings)
    for ledger in evidence.ledgers:
        assert ledger.state is not None
        assert [sum(absent for absent, _ in run) for run in ledger.state.left_out.values()] == [
            0,
            3 * 6,
            4 * 6,
        ]


def test_what_a_run_costs_alone_is_refused_where_its_budget_does_not_pay(
    tiny_settings: Mapping[str, Any], tmp_path: Path
) -> None:
    """A public fact: not even new people could pay for the last of these rounds."""
    settings = {**tiny_settings, **SETTINGS, "privacy.budget_epsilon": 7.5}
    places = {"privacy.ledgers": str(tmp_path / "ledgers"), "out": str(tmp_path / "run")}
    result = run(read_run_config({**settings, **places}))
    assert result["aborted_rounds"] == 1
    for events in ledgers(tmp_path / "ledgers"):
        count = Counter(event["type"] for event in events)
        assert (count["SPEND"], count["RELEASED"]) == (3, 3)
        refused = [event["body"] for event in events if event["type"] == "REFUSED"]
        assert {(body["round"], body["code"]) for body in refused} == {(4, "budget")}
    # Refused before anybody trains.
    reasons = {row["aborted"].partition(",")[0] for row in read_rounds(tmp_path / "run")} - {""}
    assert reasons == {"TooFewMembers: 0 members have shared"}
    assert failing(gather([tmp_path / "ledgers"])) == []
