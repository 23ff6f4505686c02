"""Lies that ask whether one person is in the data: neighbours must be answered alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from clients.data.datastore import open_home
from clients.data.home import Home
from tests.hostile_server.conftest import (
    Asked,
    Deployed,
    Round,
    recorded,
    require,
    shape,
)

LIAR = "Group 0"
PERSON = "person 0 0"
Rows = Sequence[Mapping[str, Any]]


def without(rows: Rows, *people: str) -> list[Mapping[str, Any]]:
    """The records of everybody else."""
    return [row for row in rows if row["respondent"] not in people]


@pytest.fixture(scope="module")
def neighbours(deploy: Callable[..., Deployed], tiny_rows: Rows) -> tuple[Deployed, Deployed]:
    """Two federations that differ by one person of one group."""
    return deploy(), deploy(rows=without(tiny_rows, PERSON))


@pytest.fixture
def own(deploy: Callable[..., Deployed]) -> Deployed:
    """A federation for one test, which changes its files; its bounds leave room for more people."""
    return deploy(units=12)


def write(deployed: Deployed, rows: Rows) -> None:
    """Change the records of the first group."""
    own = [row for row in rows if row["group"] == LIAR]
    text = "".join(json.dumps(row) + "\n" for row in own)
    deployed.data[LIAR].write_text(text, encoding="utf-8")
    deployed.restart()


def whole(asked: Asked, number: int = 1) -> list[object]:
    """The shapes of all replies of the first group in a whole round."""
    told = Round(asked, number=number)
    found: list[object] = [shape(told.adverts[LIAR])]
    told.share_all()
    for group in told.terms.members:
        masked = told.mask(group)
        if group == LIAR:
            found.append(shape(masked))
        if isinstance(masked, str):
            return found
        (data,) = masked["masked"].to_numpy_ndarrays()
        told.relay.take_masked(group, data.tobytes())
    told.relay.close_masking()
    told.confirm_all()
    return [*found, shape(told.unmask(LIAR))]


def set_up(deployed: Deployed) -> object:
    """What a group says of itself, but for its keys."""
    asked = ConfigRecord({"version": 2, "unit": "respondent", "challenge": bytes(32)})
    reply = deployed.ask(LIAR, "query.setup", RecordDict({"setup": asked}))
    assert not isinstance(reply, str)
    return {name: reply["setup"][name] for name in ("group", "role", "units", "code")}


def answered(found: Sequence[object]) -> bool:
    """Whether a whole round was."""
    return len(found) == 3 and not any(isinstance(each, str) for each in found)


TASKS: Mapping[str, dict[str, Any]] = {
    "honest": {},
    "fairness": {"training.fairness": 10.0},
    "adapters": {"train_adapter": True},
    "no scale": {"learning_rate_scale": float("nan")},
    "steps": {"training.local_steps": 2**31, "training.batch_size": 1},
    "context": {"context.strength": 0.0, "context.bandwidth": 1e-300},
}


@pytest.mark.parametrize("lie", TASKS)
def test_a_person_changes_no_reply_and_no_event(
    neighbours: tuple[Deployed, Deployed],
    asking: Callable[..., Asked],
    run_name: Callable[[], str],
    lie: str,
) -> None:
    """A whole round under settings of the server's choice, exhausted budgets included."""
    run, found, events = run_name(), [], []
    for deployed in neighbours:
        asked = asking(deployed, run)
        told = Round(asked, plan=asked.round_plan(1, **TASKS[lie])).share_all()
        found.append([set_up(deployed), shape(told.mask(LIAR))])
        events.append(recorded(deployed, LIAR))
    assert not isinstance(found[0][1], str)
    assert found[0] == found[1]
    assert events[0] == events[1]


@pytest.mark.parametrize("size", [1e30, 3e38, 1e-45, -0.0])
def test_a_model_of_odd_numbers_is_answered_for_all_alike(
    neighbours: tuple[Deployed, Deployed],
    asking: Callable[..., Asked],
    run_name: Callable[[], str],
    size: float,
) -> None:
    """Activations that overflow for one text and not for another make no error."""
    run, found, events = run_name(), [], []
    for deployed in neighbours:
        asked = asking(deployed, run)
        vector = np.where(np.arange(asked.vector.size) % 2, np.float32(size), asked.vector)
        odd = replace(asked, vector=vector.astype(np.float32))
        fair = odd.round_plan(1, **{"training.fairness": 1.0})
        found.append(shape(Round(odd, plan=fair).share_all().mask(LIAR)))
        events.append(recorded(deployed, LIAR))
    assert not isinstance(found[0], str), found[0]
    assert found[0] == found[1]
    assert events[0] == events[1]


def test_who_comes_in_between_is_not_seen(
    deploy: Callable[..., Deployed],
    asking_twelve: Callable[..., Asked],
    tiny_rows: Rows,
    run_name: Callable[[], str],
) -> None:
    """Somebody joins, or leaves, between the agreement and the vector."""
    run, found = run_name(), []
    for change in ("nobody", "joins", "leaves"):
        deployed = deploy(units=12)
        asked = asking_twelve(deployed, run)
        told = Round(asked).share_all()
        late = [{**row, "respondent": "late"} for row in tiny_rows if row["respondent"] == PERSON]
        rows = {"nobody": list(tiny_rows), "joins": [*tiny_rows, *late]}
        own = [r for r in rows.get(change, without(tiny_rows, PERSON)) if r["group"] == LIAR]
        text = "".join(json.dumps(row) + "\n" for row in own)
        deployed.data[LIAR].write_text(text, encoding="utf-8")
        found.append((shape(told.mask(LIAR)), recorded(deployed, LIAR)))
        assert not isinstance(found[-1][0], str), found[-1][0]
        if change == "joins":
            assert len(open_home(Home(folder=deployed.homes[LIAR])).units()) == 7
    assert found[0] == found[1] == found[2]


def test_an_exhausted_budget_is_answered_like_any(
    own: Deployed,
    asking_twelve: Callable[..., Asked],
    run_name: Callable[[], str],
    tiny_rows: Rows,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """People who have spent all count as absent, also where the owner raises the budget later."""
    for number in (1, 2):
        first = asking_twelve(own, "first")
        assert not isinstance(Round(first, number=number).share_all().mask(LIAR), str)
    fresh = [{**row, "respondent": f"new {row['respondent']}"} for row in tiny_rows]
    found = []
    for rows in (tiny_rows, fresh):
        write(own, rows)
        asked = asking_twelve(own, run_name())
        before = len(own.ledger(LIAR))
        caplog.clear()
        found.append((whole(asked), recorded(own, LIAR)[before:], "6 of 6 units" in caplog.text))
    assert answered(found[0][0])
    assert [each[2] for each in found] == [True, False]
    assert [kind for kind, _ in found[0][1]] == [kind for kind, _ in found[1][1]]
    assert found[0][0] == found[1][0]
    write(own, tiny_rows)
    own.change(LIAR, privacy__budget_epsilon=16.0)
    caplog.clear()
    assert answered(whole(asking_twelve(own, run_name())))
    assert "6 of 6 units" in caplog.text


def test_a_budget_lowered_in_a_run_binds_that_run(
    own: Deployed, asking_twelve: Callable[..., Asked], run_name: Callable[[], str]
) -> None:
    """The group policy is read anew for every message, its budget as well."""
    asked = asking_twelve(own, run_name())
    assert not isinstance(Round(asked).share_all().mask(LIAR), str)
    own.change(LIAR, privacy__budget_epsilon=0.5)
    before = own.spends(LIAR)
    told = Round(asked, number=2)
    shared = [told.share(group) for group in told.terms.members]
    lowered = [e for e in own.ledger(LIAR) if e["type"] == "BUDGET" and "0.5" in str(e["body"])]
    require(
        bool(lowered) or any(isinstance(each, str) for each in shared),
        "the round is paid for from the budget of before",
    )
    assert own.spends(LIAR) == before


@pytest.fixture
def odd_person(tiny_rows: Rows) -> Callable[[str], list[Mapping[str, Any]]]:
    """The records of all, and one of a person who answers oddly, before them."""

    def make(how: str) -> list[Mapping[str, Any]]:
        row = {**tiny_rows[0], "respondent": "odd"}
        changes: Mapping[str, dict[str, Any]] = {
            "other wording": {"question": "do you like war ?"},
            "a long text": {"question": "do you like tea ? " * 500},
            "other options": {"options": ["x", "y", "z"]},
            "a choice of none": {"choice": 9},
            "no name": {"respondent": " "},
        }
        row |= changes[how]
        return [row, *tiny_rows]

    return make


@pytest.mark.parametrize(
    "how",
    [
        "other wording",
        "a long text",
        "other options",
        "a choice of none",
        "no name",
    ],
)
def test_an_odd_person_changes_no_answer(
    own: Deployed,
    asking_twelve: Callable[..., Asked],
    run_name: Callable[[], str],
    odd_person: Callable[[str], list[Mapping[str, Any]]],
    how: str,
) -> None:
    """Whatever somebody says, the group goes on answering."""
    assert answered(whole(asking_twelve(own, run_name())))
    write(own, odd_person(how))
    asked = asking_twelve(own, run_name())
    require(not isinstance(Round(asked).adverts[LIAR], str), "one person has all refused")
    assert answered(whole(replace(asked, run=run_name())))


@pytest.mark.parametrize(
    "how",
    [
        "a long text",
        "a choice of none",
        "no name",
        "other options",
    ],
)
def test_an_odd_person_changes_no_other_person(
    own: Deployed,
    asking_twelve: Callable[..., Asked],
    run_name: Callable[[], str],
    odd_person: Callable[[str], list[Mapping[str, Any]]],
    how: str,
) -> None:
    """What a step reads of somebody depends on that person alone: what one adds is one row."""
    own.change(LIAR, data__skip_invalid=True)
    home = Home(folder=own.homes[LIAR])
    before = {unit.unit: unit for unit in open_home(home).units()}
    write(own, odd_person(how))
    after = {unit.unit: unit for unit in open_home(home).units()}
    assert answered(whole(asking_twelve(own, run_name())))
    others = {name: unit for name, unit in after.items() if name != "odd"}
    require(before == others, "one person changes the records of others")


def test_the_person_above_the_bound_changes_no_answer(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    run_name: Callable[[], str],
    tiny_rows: Rows,
) -> None:
    """A bound that is reached, and one more person: a count is data."""
    deployed = deploy(units=6)
    assert answered(whole(asking(deployed, run_name())))
    more = [{**row, "respondent": "one more"} for row in tiny_rows if row["respondent"] == PERSON]
    write(deployed, [*tiny_rows, *more])
    asked = asking(deployed, run_name())
    require(not isinstance(Round(asked).adverts[LIAR], str), "one person has all refused")
    assert answered(whole(replace(asked, run=run_name())))


def test_the_last_person_changes_no_answer(
    own: Deployed,
    asking_twelve: Callable[..., Asked],
    run_name: Callable[[], str],
    tiny_rows: Rows,
) -> None:
    """One person, or none: a step over nobody sends noise like any other."""
    one = [row for row in tiny_rows if row["respondent"] == PERSON]
    write(own, one)
    assert answered(whole(asking_twelve(own, run_name())))
    write(own, [])
    asked = asking_twelve(own, run_name())
    require(not isinstance(Round(asked).adverts[LIAR], str), "one person has all refused")
    assert answered(whole(replace(asked, run=run_name())))


@pytest.mark.parametrize("rate", [1e-300, 1e30, 3e38, 1e308])
def test_a_rate_that_overflows_in_local_mode_fails_for_all_alike(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    run_name: Callable[[], str],
    tiny_rows: Rows,
    rate: float,
) -> None:
    """Steps along private means that leave all numbers behind, with one person or without."""
    run, found = run_name(), []
    settings = {"privacy.mode": "local", "privacy.local_steps": 2}
    settings["privacy.mechanism"] = "gradients"
    for rows in (tiny_rows, without(tiny_rows, PERSON)):
        asked = asking(deploy(rows=rows, **settings), run)
        assert not isinstance(Round(asked).share_all().mask("Group 1"), str)
        plan = asked.round_plan(2, **{"privacy.local_learning_rate": rate})
        told = Round(asked, number=2, plan=plan).share_all()
        found.append((shape(told.mask(LIAR)), recorded(asked.deployed, LIAR)))
    assert found[0] == found[1]
