"""The benchmark of ledgers: its ledgers hold, nothing is left out, and figures have their keys."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from alignment.data.units import UnitRecords
from clients.sessions.group_ledger import GroupLedger
from clients.task import RoundTask, verified_plan
from experiments.benchmarks import ledger
from experiments.benchmarks.harness import BENCHMARKS, Figure, find, values_by_key
from experiments.benchmarks.ledger import (
    Training,
    plan_of,
    registration_figure,
    sample_units,
    share_figures,
    verify_figures,
)
from experiments.benchmarks.workloads.ledger_rehearsal import Rehearsal
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from server.config import RunConfig, read_run_config

Units = dict[str, Sequence[UnitRecords]]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return read_run_config({"privacy.mode": "distributed"})


@pytest.fixture(scope="module")
def units() -> Units:
    """The first few respondents of three groups."""
    return {name: each[:20] for name, each in sample_units(3).items()}


def test_ledgers_of_a_rehearsal_hold_and_have_every_event_of_a_round(
    tmp_path: Path, config: RunConfig, units: Units
) -> None:
    with Rehearsal(tmp_path, units, plan_of(config, units, rounds=3)).begun() as rehearsal:
        costs = [rehearsal.round() for _ in range(3)]
    evidence = gather([tmp_path])
    checks = verify(evidence)
    assert [check for check in checks if check.status is Status.FAIL] == []
    found = {check.id for check in checks if check.status is Status.PASS}
    assert {"chain", "epsilon", "plan", "budget", "heads", "survivors", "witness", "both"} <= found
    assert evidence.server_ledger is not None
    assert Counter(event.type for event in evidence.server_ledger.events) == {
        "RUN": 1,
        "HEADS": 3,
        "ROUND": 3,
    }
    announced, spent = ["DATASET", "BUDGET", "PLAN"], ["SPEND", "RELEASED"]
    for each in evidence.ledgers:
        kinds = [event.type for event in each.events]
        assert kinds == [*announced, *spent, *(["HEAD", *spent] * 2)]
    for cost in costs:
        assert set(cost.clients) == set(units)
        assert min(*cost.clients.values(), cost.server) > 0


def test_a_rehearsal_asks_ledgers_what_clients_ask_them_in_their_order(
    tmp_path: Path, config: RunConfig, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def watch(name: str) -> None:
        real = getattr(GroupLedger, name)

        def watched(self: GroupLedger, *given: object, **named: object) -> object:
            asked.append(name)
            return real(self, *given, **named)

        monkeypatch.setattr(GroupLedger, name, watched)

    for name in ("head", "countersign", "prepare", "require", "charge", "released"):
        watch(name)
    one = dict(list(units.items())[:2])
    with Rehearsal(tmp_path, one, plan_of(config, one, rounds=2)).begun() as rehearsal:
        rehearsal.round()
        asked.clear()
        rehearsal.round()
    stages = [["head"], ["countersign", "prepare", "require"], ["charge", "released"]]
    assert asked == [name for stage in stages for name in stage * 2]


def test_shares_are_of_the_same_clients_training_and_pair_turns(
    config: RunConfig, units: Units
) -> None:
    turns = iter(range(100))

    def training() -> dict[str, float]:
        # The uncounted turn is off by far.
        return dict.fromkeys(units, 1e-6 if next(turns) == 0 else 10.0)

    figures, seconds = share_figures(config, units, training, turns=3)
    values = values_by_key(figures)
    assert seconds == 10.0
    assert figures[0].samples == 9
    assert values["ledger_share_of_round"] == pytest.approx(values["ledger_ms"] / 100)
    assert values["book_share_of_one"] == pytest.approx(values["book_ms"] / 100)
    assert values["book_share_of_round"] == pytest.approx(values["book_share_of_one"] / 3)
    assert values["training_ms"] == 10_000
    assert figures[0].holds
    assert figures[0].goal is not None


def test_a_slow_ledger_misses_its_goal(
    config: RunConfig, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = GroupLedger.charge

    def slow(self: GroupLedger, *given: object, **named: object) -> object:
        time.sleep(0.02)
        return charge(self, *given, **named)

    monkeypatch.setattr(GroupLedger, "charge", slow)
    figures, _ = share_figures(config, units, lambda: dict.fromkeys(units, 1.0), turns=3)
    assert figures[0].value > 2
    assert not figures[0].holds


def test_training_is_a_private_round_of_every_group(
    config: RunConfig, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool, int, str]] = []

    def train(
        vector: object, own: Sequence[UnitRecords], task: RoundTask, *, everybody: object
    ) -> None:
        assert everybody is own
        private = task.private
        assert private is not None
        plan = private.plan
        asked.append((len(own), task.train_adapter, private.group_index, plan.sampling))
        assert plan.dimension < 100_000

    monkeypatch.setattr(ledger, "train_privately", train)
    seconds = Training(config, units)()
    assert asked == [(20, False, index, "poisson") for index in range(3)]
    assert list(seconds) == list(units)


def test_announcing_a_run_is_computed_anew_each_time(
    config: RunConfig, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    verified = verified_plan

    def watch(text: str) -> object:
        before = verified.cache_info().misses
        plan = verified(text)
        read.append("anew" if verified.cache_info().misses > before else "known")
        return plan

    watch.cache_clear = verified.cache_clear
    monkeypatch.setattr(ledger, "verified_plan", watch)
    figure = registration_figure(config, units, times=2)
    assert read == ["anew", "anew"]
    assert figure.samples == 2
    assert figure.value > 0


@pytest.fixture(scope="module")
def checked(config: RunConfig, units: Units) -> list[Figure]:
    return verify_figures(config, units, events=60, training_seconds=2.0)


def test_as_many_events_are_checked_as_were_asked_for(checked: list[Figure]) -> None:
    values = values_by_key(checked)
    # Five rounds: 11 in the server ledger and 17 in each of three others.
    assert checked[0].name == "(4) checking 62 events"
    assert values["verify_60_events_seconds"] > 0
    assert values["verify_events_per_second"] == pytest.approx(
        62 / values["verify_60_events_seconds"], rel=0.5
    )
    assert values["verify_over_round"] == pytest.approx(values["verify_60_events_seconds"] / 2)
    # Of a training of 2 s.
    assert values["ledger_share_late"] == pytest.approx(values["ledger_ms_late"] / 20)
    assert values["ledger_ms_late"] > 0
    assert checked[0].samples == 3


def test_ledgers_that_do_not_hold_are_no_measurement(
    config: RunConfig, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "holds", lambda checks: False)
    with pytest.raises(RuntimeError, match="the ledgers of the benchmark do not hold"):
        verify_figures(config, units, events=30, training_seconds=1.0)


def test_the_keys_are_those_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, units: Units
) -> None:
    assert BENCHMARKS["ledger"] == "experiments.benchmarks.ledger"
    monkeypatch.setattr(ledger, "_TURNS", 3)
    monkeypatch.setattr(ledger, "_EVENTS", 10_000)
    monkeypatch.setattr(ledger, "sample_units", lambda: units)
    monkeypatch.setattr(ledger, "Training", lambda *_: lambda: dict.fromkeys(units, 1.0))
    asked: list[int] = []

    def verified(config: RunConfig, units: Units, *, events: int, **_: float) -> list[Figure]:
        asked.append(events)
        return [Figure.of("v", [1.0], "s", key=f"verify_{events}_events_seconds")]

    monkeypatch.setattr(ledger, "verify_figures", verified)
    values = values_by_key(find("ledger")())
    assert asked == [10_000]
    assert {"ledger_share_of_round", "registration_seconds", "book_share_of_round"} <= set(values)
    assert "verify_10000_events_seconds" in values
