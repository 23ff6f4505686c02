"""Who takes part in a round: known to the group, in its log, and to nobody who asks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clients.training.private_trainer
from alignment.data.units import UnitRecords
from clients.data.datastore import open_home
from clients.data.home import Home
from clients.sessions.accounts import Account
from clients.sessions.group_ledger import RefusedByLedger
from clients.task import RoundTask
from privacy.ledger.paths import people_folder
from server.rounds.cohort import CohortError

Deployed = Any
ONE = "Group 0"
BUDGET = 10.0
"""Pays for a run of two rounds, and for less than another one."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The names of the units of every training, as it happens."""
    seen: list[set[str]] = []
    train = clients.training.private_trainer.train_privately

    def watch(vector: Any, units: Sequence[UnitRecords], task: RoundTask, **given: Any) -> Any:
        seen.append({unit.unit for unit in units})
        return train(vector, units, task, **given)

    monkeypatch.setattr(clients.training.private_trainer, "train_privately", watch)
    return seen


def rewrite(deployed: Deployed, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the records of the first group."""
    path = deployed.data[ONE]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rename(rows: list[dict[str, Any]], *kept: str) -> None:
    """Make all others than these new people."""
    for row in rows:
        row["respondent"] += "" if row["respondent"] in kept else " new"


def again(deployed: Deployed, name: str) -> list[Any]:
    """Run once more, on the ledgers that there are."""
    deployed.config = replace(deployed.config, out=str(deployed.folder / "server" / name))
    rounds: list[Any] = deployed.run()
    return rounds


@pytest.mark.parametrize("left", [0, 1, 6], ids=["nobody", "one person", "everybody"])
def test_whoever_has_spent_the_budget_is_left_out_and_nothing_tells(
    deploy: Callable[..., Deployed],
    trained: list[set[str]],
    caplog: pytest.LogCaptureFixture,
    left: int,
) -> None:
    """Was open: one earlier person among six had the whole group refuse, and the server saw it."""
    deployed = deploy(groups=2, budget_epsilon=BUDGET)
    deployed.run()
    earlier = sorted(trained[0])[:left]
    rewrite(deployed, lambda rows: rename(rows, *earlier))
    before, replies = len(deployed.ledger(ONE)), len(deployed.replies)
    trained.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="clients.sessions.group_ledger"):
        rounds = again(deployed, "second")
    assert [each.groups for each in rounds if each.round] == [2, 2]
    assert not deployed.reasons
    types = [event["type"] for event in deployed.ledger(ONE)[before:] if event["type"] != "HEAD"]
    assert types == ["DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED", "SPEND", "RELEASED"]
    own = [units for units in trained if any(name.endswith(" new") for name in units)]
    told = [record.getMessage() for record in caplog.records]
    if left:
        assert any(f"{left} of 6 units take no part in it" in each for each in told)
        assert not any(person in each for person in earlier for each in told)
    if left < 6:
        assert all(len(units) == 6 - left for units in own[-1:])
        assert not {person for person in own[-1] if not person.endswith(" new")}
    assert not any(b"take no part" in reply for reply in deployed.replies[replies:])


def test_who_joins_in_the_midst_of_a_run_is_never_trained_on_in_it(
    deploy: Callable[..., Deployed], trained: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Was open: the run was refused in its midst, and the server saw that the data had changed."""
    deployed = deploy(groups=2, **{"federation.warmup_rounds": 3})
    watch = clients.training.private_trainer.train_privately

    def joining(*given: Any, **named: Any) -> Any:
        result = watch(*given, **named)
        if len(trained) == 2:
            gone = sorted(trained[0] | trained[1])[0]

            def change(rows: list[dict[str, Any]]) -> None:
                rows += [{**row, "respondent": "joined"} for row in rows if gone in row.values()]
                rows[:] = [row for row in rows if row["respondent"] != gone]

            rewrite(deployed, change)
        return result

    monkeypatch.setattr(clients.training.private_trainer, "train_privately", joining)
    rounds = deployed.run()
    assert [each.groups for each in rounds if each.round] == [2, 2, 2]
    assert not deployed.reasons
    assert not any("joined" in units for units in trained)
    assert sorted(map(len, trained[2:])) == [5, 5, 6, 6]
    home = open_home(Home(folder=deployed.homes[ONE]))
    assert "joined" in {unit.unit for unit in home.units()}
    types = [event["type"] for event in deployed.ledger(ONE) if event["type"] != "HEAD"]
    assert types == ["DATASET", "BUDGET", "PLAN", *["SPEND", "RELEASED"] * 3]


def test_without_the_list_of_people_nothing_is_trained_and_only_the_kind_is_told(
    deploy: Callable[..., Deployed], trained: list[set[str]]
) -> None:
    deployed = deploy(groups=2)
    deployed.run()
    folder = people_folder(open_home(Home(folder=deployed.homes[ONE])).ledger)
    next(folder.iterdir()).unlink()
    deployed.restart()
    trained.clear()
    spends = deployed.spends(ONE)
    with pytest.raises(CohortError, match="1 of 2 groups advertised"):
        again(deployed, "second")
    assert set(deployed.reasons) == {"RefusedByLedger: LedgerCorrupt: the ledger does not allow it"}
    assert deployed.spends(ONE) == spends


def test_before_anything_is_charged_nobody_takes_part(tmp_path: Path) -> None:
    from clients.sessions.accounts import PrivateAccount

    account = PrivateAccount(None, None, round_number=1, units=lambda _: ())  # type: ignore[arg-type]  # not asked
    with pytest.raises(RefusedByLedger, match="nothing was charged"):
        _ = account.present
    assert Account().present == ()
