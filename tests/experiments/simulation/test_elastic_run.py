"""Whole runs whose groups come and go: what the rounds, the ledgers and a reviewer make of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message

import experiments.simulation.simulate
from alignment.data.population import load_population
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.results import read_rounds
from experiments.simulation.run import run
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.errors import PlanRefused
from privacy.identity.key_folder import KeyFolder
from privacy.identity.possession import prove
from privacy.ledger.paths import SERVER_LEDGER, group_ledger
from server.config import RunConfig, read_run_config
from server.rounds.delivery import Pause

PRIVATE = {
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 4,
    "federation.seats": 4,
    "privacy.units_per_seat": 6,
    "federation.warmup_rounds": 3,
}
DISTRIBUTED = {**PRIVATE, "privacy.mode": "distributed"}
CLEAR = {"federation.secure_aggregation": False}
LOCAL = {
    **PRIVATE,
    "privacy.mechanism": "gradients",
    "privacy.mode": "local",
    "privacy.local_steps": 2,
}
ROUNDS = 5

Change = Callable[["Elastic", int], None]


class Elastic(LocalGrid):
    """A grid whose nodes come and go.

    Attributes:
        names: The group of each node that there is.
        gone: Groups that are not listed.
        round: The round that was last asked for anything.
        change: Called before nodes are listed, with the grid and the round.
        pins: By group, what it says it has pinned; nothing where it is missing.
        keys: Of all groups.
        asked: Kind and group of every message, by round.
        told: By group, the seats in the privacy plan that it was told of.
    """

    names: dict[int, str]
    gone: set[str]
    round: int
    change: Change
    pins: dict[str, set[str]]
    keys: KeyFolder
    asked: dict[int, list[tuple[str, str]]]
    told: dict[str, set[int]]

    def get_node_ids(self) -> Iterable[int]:
        self.change(self, self.round)
        return [node for node, name in self.names.items() if name not in self.gone]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in (messages := list(messages)):
            self.round = int(message.metadata.group_id or self.round)
            asked = message.metadata.message_type, self.names[message.metadata.dst_node_id]
            self.asked.setdefault(self.round, []).append(asked)
            told = message.content.config_records.get("plan", ConfigRecord())
            if "privacy.group_index" in told:
                self.told.setdefault(asked[1], set()).add(int(str(told["privacy.group_index"])))
        return super().push_messages(messages)

    def _run_handler(self, message: Message) -> Message:
        reply = super()._run_handler(message)
        name = self.names[message.metadata.dst_node_id]
        if message.metadata.message_type == "query.setup" and name in self.pins:
            answers = reply.content["setup"]
            assert isinstance(answers, ConfigRecord)
            pinned = {each: self.keys.own(each).public.hex() for each in self.pins[name]}
            answers["roster"] = json.dumps(pinned)
            del answers["proof"]
            challenge = message.content.config_records["setup"]["challenge"]
            assert isinstance(challenge, bytes)
            own, node = self.keys.own(name), message.metadata.dst_node_id
            answers["proof"] = prove(own, dict(answers), challenge=challenge, node=node)
        return reply

    def register_anew(self, name: str) -> None:
        """A node with another id and no memory, in place of the one there was."""
        (old,) = [node for node, each in self.names.items() if each == name]
        node = old ^ 1
        self._contexts[node] = self._new_context(
            node, self._contexts[old].node_config, self._contexts[old].run_config
        )
        self.names = {node if each == old else each: self.names[each] for each in self.names}


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Callable[..., RunConfig]:
    def configure(**changes: Any) -> RunConfig:
        more = {"out": str(tmp_path / "run"), "federation.warmup_rounds": 3}
        return read_run_config({**tiny_settings, **more, **changes})

    return configure


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of all waits for nodes and replies."""
    seconds, wait = list[float](), Pause.wait

    def counted(pause: Pause) -> None:
        seconds.append(pause.seconds)
        wait(pause)

    monkeypatch.setattr(Pause, "wait", counted)
    return seconds


Elastically = Callable[..., Elastic]


@pytest.fixture
def elastically(monkeypatch: pytest.MonkeyPatch) -> Elastically:
    """Make a whole run on an elastic grid, and give the grid."""

    def elastic(
        config: RunConfig, change: Change, pins: Mapping[str, set[str]] | None = None
    ) -> Elastic:
        made: list[Elastic] = []
        population = load_population(config.data, split="", seed=config.seed, skip_invalid=False)

        def make(**settings: Any) -> Elastic:
            grid = Elastic(**settings)
            nodes = list(LocalGrid.get_node_ids(grid))
            grid.names = dict(zip(nodes, population.groups, strict=True))
            grid.gone, grid.round, grid.asked, grid.told = set(), 0, {}, {}
            grid.change, grid.pins = change, dict(pins or {})
            grid.keys = KeyFolder.of_run(Path(config.out), "")
            made.append(grid)
            return grid

        monkeypatch.setattr(experiments.simulation.simulate, "LocalGrid", make)
        run(config)
        return made[-1]

    return elastic


@pytest.fixture
def train(configured: Callable[..., RunConfig]) -> list[str]:
    """The groups that train, by name."""
    config = configured()
    population = load_population(config.data, split="", seed=config.seed, skip_invalid=False)
    names = [name for name in population.groups if name not in population.split.draws]
    assert len(names) == 4
    return sorted(names)


def rows(config: RunConfig) -> list[dict[str, Any]]:
    read = [dict(row) for row in read_rounds(Path(config.out))]
    assert [row["aborted"] for row in read] == [""] * (ROUNDS + 1)
    return read


def assert_verified(config: RunConfig) -> None:
    checks = verify(gather([Path(config.out)]))
    failing = [check.id for check in checks if check.status is Status.FAIL]
    # Shares of noise that the server sees one by one are all that may fail.
    shared = config.privacy.mode == "distributed" and not config.federation.secure_aggregation
    assert failing == ["secure"] * shared


def server_ledger(config: RunConfig) -> list[dict[str, Any]]:
    text = (Path(config.out) / "ledgers" / SERVER_LEDGER).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def spends(config: RunConfig, group: str) -> int:
    text = group_ledger(Path(config.out) / "ledgers", group).read_text(encoding="utf-8")
    return Counter(json.loads(line)["type"] for line in text.splitlines())["SPEND"]


def comes_after(name: str, number: int) -> Change:
    def change(grid: Elastic, at: int) -> None:
        grid.gone = {name} if at < number else set()

    return change


@pytest.mark.parametrize(
    "changes",
    [DISTRIBUTED, {**DISTRIBUTED, **CLEAR}, LOCAL, {**LOCAL, **CLEAR}],
    ids=["distributed", "distributed in the clear", "local", "local in the clear"],
)
def test_a_group_joins_a_private_run_and_its_ledgers_verify(
    configured: Callable[..., RunConfig],
    elastically: Elastically,
    train: list[str],
    changes: dict[str, Any],
) -> None:
    """The second of four groups by name comes after round 2; its seat is the last."""
    config, newcomer = configured(**changes), train[1]
    grid = elastically(config, comes_after(newcomer, 2))
    assert [row["groups"] for row in rows(config)] == [0, 3, 3, 4, 4, 4]
    seats = [name for name in train if name != newcomer] + [newcomer]
    assert grid.told == {name: {seat} for seat, name in enumerate(seats)}
    assert [row["dropped"] for row in rows(config)] == [[]] * 6
    events = server_ledger(config)
    (begun,) = [event["body"] for event in events if event["type"] == "RUN"]
    others = [name for name in train if name != newcomer]
    assert begun["groups"] == [*others, ""]
    assert begun["plan"]["groups"] == 4
    assert begun["plan"]["survivors"] == 3
    (joined,) = [event["body"] for event in events if event["type"] == "JOINED"]
    assert (joined["group"], joined["seat"], joined["round"]) == (newcomer, 3, 3)
    assert {name: spends(config, name) for name in train} == {
        **dict.fromkeys(others, 5),
        newcomer: 3,
    }
    assert_verified(config)
    result = json.loads((Path(config.out) / "result.json").read_text(encoding="utf-8"))
    assert result["privacy"]["groups"].keys() == set(train)
    roster = json.loads((Path(config.out) / "ledgers" / "roster.json").read_text(encoding="utf-8"))
    assert newcomer in roster["members"]


def test_a_newcomer_is_asked_alone_for_the_advertisement_that_the_others_have_sent(
    configured: Callable[..., RunConfig], elastically: Elastically, train: list[str]
) -> None:
    grid = elastically(configured(), comes_after(train[1], 2))
    asked = [name for kind, name in grid.asked[3] if kind == "query.advertise"]
    assert asked == [train[1]]


def test_a_seat_that_nobody_takes_is_none_of_the_results(
    configured: Callable[..., RunConfig], elastically: Elastically, train: list[str]
) -> None:
    config = configured(**{**DISTRIBUTED, "federation.seats": 6})
    elastically(config, lambda grid, at: None)
    assert_verified(config)
    result = json.loads((Path(config.out) / "result.json").read_text(encoding="utf-8"))
    assert result["privacy"]["groups"].keys() == set(train)
    assert result["privacy"]["honest_shares"] == 3


def test_without_a_free_seat_a_private_run_goes_on_without_the_newcomer(
    configured: Callable[..., RunConfig], elastically: Elastically, train: list[str]
) -> None:
    config = configured(**{**DISTRIBUTED, "federation.seats": 0})
    elastically(config, comes_after(train[1], 2))
    assert [row["groups"] for row in rows(config)] == [0, 3, 3, 3, 3, 3]
    assert_verified(config)


@pytest.mark.parametrize(
    "changes",
    [{}, CLEAR, {**DISTRIBUTED, "privacy.survivors": 3}, {**LOCAL, **CLEAR}],
    ids=["secure", "in the clear", "distributed", "local in the clear"],
)
def test_a_group_goes_away_and_comes_back(
    configured: Callable[..., RunConfig],
    elastically: Elastically,
    train: list[str],
    waits: list[float],
    changes: dict[str, Any],
) -> None:
    """It is away in rounds 2 and 3, and nobody waits for it or calls it a dropout."""

    def change(grid: Elastic, at: int) -> None:
        grid.gone = {train[2]} if at in (1, 2) else set()

    # Round 1 ends before the list is looked at for the second.
    def between_rounds(grid: Elastic, at: int) -> None:
        under_way = any(kind in ("query.unmask", "train") for kind, _ in grid.asked.get(at, ()))
        if under_way:
            change(grid, at)

    config = configured(**changes)
    grid = elastically(config, between_rounds)
    assert [row["groups"] for row in rows(config)] == [0, 4, 3, 3, 4, 4]
    assert [row["dropped"] for row in rows(config)] == [[]] * 6
    for number in (2, 3):
        stages = {kind for kind, name in grid.asked[number] if name == train[2]}
        assert not stages & {"query.share", "train.masked", "train"}
    assert sum(waits) < 60
    if "privacy.mode" in changes:
        assert_verified(config)
        assert spends(config, train[2]) == 3


@pytest.mark.parametrize("changes", [{}, DISTRIBUTED], ids=["none", "distributed"])
def test_a_node_that_was_registered_anew_misses_no_round(
    configured: Callable[..., RunConfig],
    elastically: Elastically,
    train: list[str],
    changes: dict[str, Any],
) -> None:
    """What it had advertised for is forgotten with its memory: it advertises again."""
    done: list[int] = []

    def change(grid: Elastic, at: int) -> None:
        unmasking = ("query.unmask", train[0]) in grid.asked.get(at, ())
        if at == 2 and unmasking and not done:
            done.append(at)
            grid.register_anew(train[0])

    config = configured(**changes)
    grid = elastically(config, change)
    assert [row["groups"] for row in rows(config)] == [0, 4, 4, 4, 4, 4]
    assert ("query.setup", train[0]) in grid.asked[2]
    if changes:
        assert_verified(config)


def test_a_group_that_goes_in_the_middle_of_a_round_is_a_dropout_and_nobody_waits(
    configured: Callable[..., RunConfig],
    elastically: Elastically,
    train: list[str],
    waits: list[float],
) -> None:
    def change(grid: Elastic, at: int) -> None:
        shared = ("query.share", train[0]) in grid.asked.get(at, ())
        grid.gone = {train[0]} if at == 2 and shared else set()

    config = configured()
    grid = elastically(config, change)
    assert [row["groups"] for row in rows(config)] == [0, 4, 3, 3, 4, 4]
    assert rows(config)[2]["dropped"] == [train[0]]
    assert ("train.masked", train[0]) not in grid.asked[2]
    assert sum(waits) < 60


class TestRosters:
    """Groups that have pinned the keys of different others."""

    def test_a_newcomer_takes_part_once_all_pin_each_other(
        self, configured: Callable[..., RunConfig], elastically: Elastically, train: list[str]
    ) -> None:
        newcomer, (*others,) = train[3], train[:3]

        def change(grid: Elastic, at: int) -> None:
            grid.gone = {newcomer} if at < 1 else set()
            if at >= 3:
                grid.pins = {name: set(train) for name in train}

        pins = {**{name: set(others) for name in others}, newcomer: set(train)}
        config = configured()
        grid = elastically(config, change, pins)
        assert [row["groups"] for row in rows(config)] == [0, 3, 3, 3, 4, 4]
        setups = {
            number: Counter(name for kind, name in asked if kind == "query.setup")
            for number, asked in grid.asked.items()
        }
        # Those who do not pin it are asked again as long as it waits, and no longer.
        assert set(setups[1]) == set(setups[2]) | {newcomer} == set(train)
        assert set(setups[3]) == set(others)
        assert not setups[4]

    def test_a_run_begins_with_those_who_agree(
        self, configured: Callable[..., RunConfig], elastically: Elastically, train: list[str]
    ) -> None:
        odd, (*others,) = train[0], train[1:]
        pins = {odd: {odd}, **{name: set(others) for name in others}}
        config = configured()
        elastically(config, lambda grid, at: None, pins)
        assert [row["groups"] for row in rows(config)] == [0, 3, 3, 3, 3, 3]


class TestPlan:
    def test_free_seats_need_a_bound_on_who_takes_them(
        self, configured: Callable[..., RunConfig], elastically: Elastically
    ) -> None:
        config = configured(**{**DISTRIBUTED, "federation.seats": 5, "privacy.units_per_seat": 0})
        with pytest.raises(PlanRefused, match=r"^privacy\.units_per_seat = 0 must be >= 1 where 1"):
            elastically(config, lambda grid, at: None)

    def test_noise_counts_on_nobody_who_is_not_there(
        self, configured: Callable[..., RunConfig], elastically: Elastically
    ) -> None:
        config = configured(**{**DISTRIBUTED, "federation.seats": 6, "privacy.survivors": 5})
        with pytest.raises(PlanRefused, match=r"^privacy\.survivors = 5 is above the 4 groups"):
            elastically(config, lambda grid, at: None)


def test_every_stage_is_measured(
    configured: Callable[..., RunConfig], elastically: Elastically
) -> None:
    for secure, stages in (
        (True, ["advertise", "share", "masked", "confirm", "unmask"]),
        (False, ["train"]),
    ):
        config = configured(**{"federation.secure_aggregation": secure})
        config = read_run_config({**config.flat(), "out": f"{config.out}-{secure}"})
        elastically(config, lambda grid, at: None)
        first, *others = rows(config)
        assert first["seconds_stages"] == {}
        for row in others:
            assert list(row["seconds_stages"]) == stages
            assert all(
                (took > 0) == (stage != "advertise" or row["round"] == 1)
                for stage, took in row["seconds_stages"].items()
            )
            apart = [took for stage, took in row["seconds_stages"].items() if stage != "masked"]
            if secure:
                assert sum(apart) == pytest.approx(row["seconds_secagg"])
