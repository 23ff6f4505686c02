"""Runs that were stopped and go on: the same model, the same ledgers, nothing paid for twice."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from alignment.data.population import load_population
from clients.sessions.group_ledger import forget_ledgers
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.results import read_rounds
from experiments.simulation.run import run
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.errors import LedgerRolledBack
from privacy.identity.keys import Identity
from privacy.ledger.chain import NOTHING, write_event
from privacy.ledger.paths import SERVER_LEDGER
from server.config import ConfigError, RunConfig, read_run_config
from server.state.checkpoint import (
    FOLDER,
    Checkpoint,
    CheckpointDamaged,
    Checkpoints,
    CheckpointUnwritable,
    latest,
    newest_round,
)

ADAM = {
    "strategy.name": "fedadam",
    "strategy.learning_rate": 0.01,
    "strategy.averaging": 0.9,
}
PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
CLEAR = {"federation.secure_aggregation": False}
LOCAL = {
    "privacy.mode": "local",
    "privacy.mechanism": "gradients",
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 4,
}
TRAINS = ("train", "train.masked")

Line = dict[str, Any]


class Killed(BaseException):
    """The server is gone: nothing after it is tidied up as after an error."""


Stop = Callable[..., None]


def stopped(
    config: RunConfig, patched: pytest.MonkeyPatch, *, sent: int, kinds: tuple[str, ...] = TRAINS
) -> None:
    """Run until so many messages of a kind have reached a group, then stop, as at a kill."""
    handle, left = LocalGrid._run_handler, [sent]

    def handling(grid: LocalGrid, message: Message) -> Message:
        if message.metadata.message_type in kinds:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return handle(grid, message)

    with patched.context() as inner:
        inner.setattr(LocalGrid, "_run_handler", handling)
        with pytest.raises(Killed):
            run(config)
    forget_ledgers()


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Stop a run: see ``stopped``."""
    return lambda config, **how: stopped(config, monkeypatch, **how)


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Any:
    def configure(name: str = "run", **changes: Any) -> RunConfig:
        out = {"out": str(tmp_path / name)}
        return read_run_config({**tiny_settings, **out, **changes})

    return configure


def resumed(config: RunConfig, **changes: Any) -> dict[str, Any]:
    return run(replace(config, resume=True, **changes))


def model(out: str | Path) -> dict[str, bytes]:
    names = ("head.safetensors", "adapter/adapter_model.safetensors")
    return {name: (Path(out) / name).read_bytes() for name in names if (Path(out) / name).exists()}


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def ledgers(out: str | Path) -> list[list[Line]]:
    return [read(path) for path in sorted((Path(out) / "ledgers" / "groups").glob("*.jsonl"))]


def server_ledger(out: str | Path) -> Path:
    return Path(out) / "ledgers" / SERVER_LEDGER


class TestWithoutPrivacy:
    @pytest.mark.parametrize("settings", [{}, ADAM, CLEAR], ids=["average", "adam", "in the clear"])
    def test_the_model_is_that_of_a_run_that_was_never_stopped(
        self, configured: Any, stop: Any, settings: dict[str, Any]
    ) -> None:
        whole, parts = configured("whole", **settings), configured("parts", **settings)
        result = run(whole)
        # In the second round and, after a restart, in the fourth.
        stop(parts, sent=6)
        stop(replace(parts, resume=True), sent=9)
        again = resumed(parts)
        assert model(parts.out) == model(whole.out)
        assert len(model(parts.out)) == 2
        assert (again["rounds"], again["alignment"]) == (4, result["alignment"])
        assert again["bytes"]["up_per_client_per_round"] == pytest.approx(
            result["bytes"]["up_per_client_per_round"], rel=0.5
        )
        first, second = (
            [(row["round"], row["loss"], row["alignment"]) for row in read_rounds(Path(each.out))]
            for each in (whole, parts)
        )
        assert first == second
        assert {path.name for path in Path(parts.out).iterdir()} == {
            path.name for path in Path(whole.out).iterdir()
        }

    def test_a_run_that_was_stopped_in_its_first_round_goes_on_from_the_start(
        self, configured: Any, stop: Any
    ) -> None:
        config = configured("parts")
        stop(config, sent=2)
        assert latest(Path(config.out) / FOLDER).round == 0
        run(configured("whole"))
        resumed(config)
        assert model(config.out) == model(configured("whole").out)

    def test_a_run_that_was_stopped_after_its_last_round_is_published(
        self, configured: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: Any, **__: Any) -> None:
            raise Killed

        config = configured("parts")
        with monkeypatch.context() as patched:
            patched.setattr("alignment.model.folder.save_predictor", killed)
            with pytest.raises(Killed):
                run(config)
        run(configured("whole"))
        assert resumed(config)["rounds"] == 4
        assert model(config.out) == model(configured("whole").out)

    def test_tensorboard_goes_on(self, configured: Any, stop: Any) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        config = configured(track="tensorboard")
        stop(config, sent=6)
        resumed(config)
        accumulator = EventAccumulator(str(Path(config.out) / "tensorboard"))
        accumulator.Reload()
        assert [event.step for event in accumulator.Scalars("groups/in_sum")] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"seed": 5}, "seed = 5 was 0"),
            ({"federation.adapter_rounds": 3}, "federation.adapter_rounds = 3 was 2"),
            ({"federation.secure_aggregation": False}, "secure_aggregation = False was True"),
            ({**PRIVATE, "strategy.name": "fedavg"}, "was"),
        ],
        ids=["seed", "rounds", "secure", "private"],
    )
    def test_another_run_does_not_go_on_there(
        self, configured: Any, stop: Any, change: dict[str, Any], named: str
    ) -> None:
        config = configured()
        stop(config, sent=6)
        before = files(config.out)
        with pytest.raises(ConfigError, match=named) as told:
            resumed(configured(**change))
        assert "\n" not in str(told.value)
        assert files(config.out) == before

    def test_what_never_reaches_the_model_may_differ(self, configured: Any, stop: Any) -> None:
        stop(configured(), sent=6)
        others = {"federation.evaluate_every": 1, "federation.round_timeout_seconds": 60.0}
        config = configured(**others, **{"federation.stage_timeout_seconds": 60.0})
        shutil.move(config.out, config.out + " moved")
        resumed(replace(config, out=config.out + " moved"))
        run(configured("whole"))
        assert model(config.out + " moved") == model(configured("whole").out)

    def test_there_must_be_something_to_go_on_from(self, configured: Any, stop: Any) -> None:
        with pytest.raises(ConfigError, match="holds no checkpoint"):
            resumed(configured())
        run(configured())
        before = files(configured().out)
        with pytest.raises(ConfigError, match="the run there is finished"):
            resumed(configured())
        assert files(configured().out) == before

    def test_an_unfinished_run_is_not_written_over(self, configured: Any, stop: Any) -> None:
        stop(configured(), sent=6)
        before = files(configured().out)
        with pytest.raises(ConfigError, match="--resume"):
            run(configured())
        assert files(configured().out) == before
        run(configured(), overwrite=True)
        run(configured("whole"))
        assert model(configured().out) == model(configured("whole").out)

    def test_other_data_are_refused(
        self, configured: Any, stop: Any, tiny_rows: Any, write_rows: Any, tmp_path: Path
    ) -> None:
        data = write_rows(tmp_path / "data.jsonl", tiny_rows)
        config = configured(data=str(data))
        stop(config, sent=6)
        write_rows(data, [row for row in tiny_rows if row["group"] != "Group 3"])
        before = files(config.out)
        with pytest.raises(ConfigError, match="is not the split"):
            resumed(config)
        assert files(config.out) == before
        write_rows(data, tiny_rows)
        assert resumed(config)["rounds"] == 4

    def test_a_damaged_checkpoint_is_no_reason_to_take_an_older_one(
        self, configured: Any, stop: Any
    ) -> None:
        config = configured()
        stop(config, sent=10)
        newest = sorted((Path(config.out) / FOLDER).glob("*.safetensors"))[-1]
        data = bytearray(newest.read_bytes())
        data[-1] ^= 1
        newest.write_bytes(data)
        with pytest.raises(CheckpointDamaged, match=r"round-000002\.safetensors: is damaged"):
            resumed(config)

    def test_a_full_disk_ends_the_run_and_costs_no_checkpoint(
        self, configured: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import os

        config, replaced = configured(), os.replace

        def full(source: Any, target: Any) -> None:
            if "round-000003" in str(target):
                raise OSError(28, "No space left on device")
            replaced(source, target)

        with monkeypatch.context() as patched:
            patched.setattr("os.replace", full)
            with pytest.raises(CheckpointUnwritable, match="No space left") as told:
                run(config)
        assert "\n" not in str(told.value) and "round-000003" in str(told.value)
        assert latest(Path(config.out) / FOLDER).round == 2
        run(configured("whole"))
        resumed(config)
        assert model(config.out) == model(configured("whole").out)


def files(out: str) -> dict[str, bytes]:
    found = (path for path in sorted(Path(out).rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


class TestPrivate:
    @pytest.mark.parametrize("settings", [PRIVATE, LOCAL], ids=["distributed", "local"])
    @pytest.mark.parametrize("secure", [True, False], ids=["secure", "in the clear"])
    def test_a_round_that_may_have_been_paid_for_is_lost_and_never_repeated(
        self, configured: Any, stop: Any, settings: dict[str, Any], secure: bool
    ) -> None:
        config = configured(**settings, **{"federation.secure_aggregation": secure})
        # Half of the groups have paid for the second round when the server stops.
        stop(config, sent=6)
        plan = json.loads((Path(config.out) / "privacy.json").read_text("utf-8"))
        result = resumed(config)
        assert (result["rounds"], result["aborted_rounds"]) == (4, 1)
        assert json.loads((Path(config.out) / "privacy.json").read_text("utf-8")) == plan
        rows = read_rounds(Path(config.out))
        assert [row["round"] for row in rows] == [0, 1, 2, 3, 4]
        assert [bool(row["aborted"]) for row in rows] == [False, False, True, False, False]
        paid = []
        for events in ledgers(config.out):
            count = Counter(event["type"] for event in events)
            assert (count["PLAN"], count["BUDGET"], count["DATASET"]) == (1, 1, 1)
            spends = [event["body"] for event in events if event["type"] == "SPEND"]
            assert len({body["round"] for body in spends}) == len(spends) <= 4
            assert {body["run"] for body in spends} == {plan["run"]}
            paid.append(len(spends))
        assert sorted(paid) == [3, 3, 4, 4]
        kinds = [event["type"] for event in read(server_ledger(config.out))]
        assert (kinds.count("RUN"), kinds.count("RESUMED")) == (1, 1)
        assert_verified(config.out, shared=settings is PRIVATE and not secure)

    def test_kills_again_and_again_never_cost_more_than_the_plan(
        self, configured: Any, stop: Any
    ) -> None:
        config = configured(**PRIVATE, **{"federation.warmup_rounds": 6})
        stop(config, sent=6)
        stop(replace(config, resume=True), sent=0)
        stop(replace(config, resume=True), sent=0, kinds=("query.share",))
        stop(replace(config, resume=True), sent=0, kinds=("query.advertise",))
        result = resumed(config)
        assert (result["rounds"], result["aborted_rounds"]) == (8, 3)
        for events in ledgers(config.out):
            assert sum(event["type"] == "SPEND" for event in events) <= 8
        kinds = Counter(event["type"] for event in read(server_ledger(config.out)))
        assert (kinds["RESUMED"], kinds["RUN"], kinds["ROUND"]) == (4, 1, 5)
        assert_verified(config.out)

    def test_a_sum_that_no_checkpoint_holds_is_given_up(
        self, configured: Any, stop: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between the book's word of a round and the checkpoint of it."""
        config = configured(**PRIVATE)
        unkept_round(config, monkeypatch)
        # The sum of the second round is not used, and the third had been advertised.
        assert resumed(config)["aborted_rounds"] == 2
        told = [
            event["body"] for event in read(server_ledger(config.out)) if event["type"] == "RESUMED"
        ]
        assert [body["round"] for body in told] == [1]
        assert_verified(config.out)

    def test_the_last_round_may_be_the_one_that_is_lost(self, configured: Any, stop: Any) -> None:
        config = configured(**PRIVATE)
        stop(config, sent=14)
        result = resumed(config)
        assert (result["rounds"], result["aborted_rounds"], result["ended_early"]) == (4, 1, False)
        assert read_rounds(Path(config.out))[-1]["alignment"] is not None
        assert_verified(config.out)

    def test_an_older_copy_of_the_book_is_refused(self, configured: Any, stop: Any) -> None:
        config = configured(**PRIVATE)
        stop(config, sent=10)
        lines = server_ledger(config.out).read_bytes().splitlines(keepends=True)
        server_ledger(config.out).write_bytes(b"".join(lines[:-2]))
        with pytest.raises(LedgerRolledBack):
            resumed(config)
        server_ledger(config.out).write_bytes(b"".join(lines))
        resumed(config)
        assert_verified(config.out)

    @pytest.mark.parametrize("gone", ["identities", f"ledgers/{SERVER_LEDGER}"])
    def test_without_book_or_keys_a_run_does_not_go_on(
        self, configured: Any, stop: Any, gone: str
    ) -> None:
        config = configured(**PRIVATE)
        stop(config, sent=6)
        shutil.move(Path(config.out) / gone, Path(config.out) / "elsewhere")
        before = files(config.out)
        with pytest.raises(ConfigError, match="is missing"):
            resumed(config)
        assert files(config.out) == before

    def test_lasting_ledgers_may_have_had_another_run_since(
        self, configured: Any, stop: Any, tmp_path: Path
    ) -> None:
        lasting = {**PRIVATE, "privacy.ledgers": str(tmp_path / "books")}
        lasting["privacy.budget_epsilon"] = 40.0
        config = configured(**lasting)
        stop(config, sent=6)
        run(configured("other", **lasting))
        assert resumed(config)["aborted_rounds"] == 1
        checks = verify(gather([tmp_path / "books"]))
        assert [check.finding for check in checks if check.status is Status.FAIL] == []

    def test_a_group_that_joined_keeps_its_seat(
        self, configured: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It comes after the first round, and the server stops when it has paid for one."""
        seats = {"federation.seats": 4, "privacy.units_per_seat": 6, "federation.warmup_rounds": 4}
        config = configured(**PRIVATE, **seats)
        population = load_population(config.data, split="", seed=0, skip_invalid=False)
        newcomer = max(population.split.train_groups)
        place = population.groups.index(newcomer)
        nodes, handle, asked = LocalGrid.get_node_ids, LocalGrid._run_handler, [0]

        def some(grid: LocalGrid) -> list[int]:
            everybody = list(nodes(grid))
            late = newest_round(Path(config.out) / FOLDER) in (None, 0)
            return [node for at, node in enumerate(everybody) if at != place or not late]

        def handling(grid: LocalGrid, message: Message) -> Message:
            at = list(nodes(grid)).index(message.metadata.dst_node_id)
            asked[0] += at == place and message.metadata.message_type == "train.masked"
            if asked[0] == 2:
                raise Killed
            return handle(grid, message)

        with monkeypatch.context() as patched:
            patched.setattr(LocalGrid, "get_node_ids", some)
            patched.setattr(LocalGrid, "_run_handler", handling)
            with pytest.raises(Killed):
                run(config)
        forget_ledgers()
        assert resumed(config)["rounds"] == 6
        events = read(server_ledger(config.out))
        kinds = Counter(event["type"] for event in events)
        assert (kinds["RUN"], kinds["JOINED"], kinds["RESUMED"]) == (1, 1, 1)
        first = events[0]["body"]["groups"]
        assert first == [*sorted(set(population.split.train_groups) - {newcomer}), ""]
        registered = json.loads((Path(config.out) / "privacy.json").read_text("utf-8"))
        assert registered["groups"] == [*first[:3], newcomer]
        rounds = [event["body"] for event in events if event["type"] == "ROUND"]
        assert newcomer in rounds[-1]["survivors"]
        assert_verified(config.out)

    @pytest.mark.parametrize("secure", [True, False], ids=["secure", "in the clear"])
    def test_no_vector_is_asked_for_before_the_round_before_is_kept(
        self, configured: Any, monkeypatch: pytest.MonkeyPatch, secure: bool
    ) -> None:
        config = configured(**PRIVATE, **{"federation.secure_aggregation": secure})
        write, handle, kept = Checkpoints._write, LocalGrid._run_handler, list[int | None]()

        def slowly(writer: Checkpoints, checkpoint: Checkpoint) -> None:
            time.sleep(0.3)
            write(writer, checkpoint)

        def handling(grid: LocalGrid, message: Message) -> Message:
            if message.metadata.message_type in TRAINS:
                kept.append(newest_round(Path(config.out) / FOLDER))
            return handle(grid, message)

        monkeypatch.setattr(Checkpoints, "_write", slowly)
        monkeypatch.setattr(LocalGrid, "_run_handler", handling)
        run(config)
        assert kept == [number for number in range(4) for _ in range(4)]


def assert_verified(out: str, *, shared: bool = False) -> None:
    """All checks hold but the one on shares of noise that the server sees one by one."""
    checks = verify(gather([Path(out)]))
    assert [check.id for check in checks if check.status is Status.FAIL] == ["secure"] * shared


def unkept_round(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run into the second round and stop once the book has it, and no checkpoint."""
    from server.rounds.loop import RoundLoop

    report = RoundLoop._report

    def reporting(loop: RoundLoop, record: Any, *rest: Any) -> None:
        if record.round == 2:
            raise Killed
        report(loop, record, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(RoundLoop, "_report", reporting)
        with pytest.raises(Killed):
            run(config)
    forget_ledgers()


# What a server could write of a restart.


def of_type(events: list[Line], type: str) -> list[Line]:
    return [event for event in events if event["type"] == type]


def a_model_never_made(events: list[Line]) -> None:
    of_type(events, "RESUMED")[0]["body"]["model"] = "0" * 64


def a_model_of_another_round(events: list[Line]) -> None:
    of_type(events, "RESUMED")[0]["body"]["model"] = of_type(events, "ROUND")[1]["body"]["after"]


def a_round_never_run(events: list[Line]) -> None:
    of_type(events, "RESUMED")[0]["body"]["round"] = 3


def the_restart_hidden(events: list[Line]) -> None:
    events.remove(of_type(events, "RESUMED")[0])


def a_restart_invented(events: list[Line]) -> None:
    """A second one before the last round's sum, to begin again where another round stood."""
    last = of_type(events, "ROUND")[-1]
    events.insert(events.index(last), json.loads(json.dumps(of_type(events, "RESUMED")[0])))


def the_lost_round_again(events: list[Line]) -> None:
    """The round that the restart has cut off seems to be the one that followed."""
    begun = events.index(of_type(events, "RESUMED")[0])
    for event in events[begun:]:
        if event["type"] in ("HEADS", "ROUND") and event["body"]["round"] == 4:
            event["body"]["round"] = 2


def the_lost_heads_again(events: list[Line]) -> None:
    restart = events.index(of_type(events, "RESUMED")[0])
    heads = next(e for e in of_type(events, "HEADS") if e["body"]["round"] == 2)
    again = json.loads(json.dumps(heads))
    again["body"]["attempt"] = 2
    events.insert(restart + 1, again)


def before_the_round(events: list[Line]) -> None:
    """The restart seems to have been before the sum that it gave up."""
    restart = of_type(events, "RESUMED")[0]
    given_up = of_type(events, "ROUND")[1]
    events.remove(restart)
    events.insert(events.index(given_up), restart)


RESTARTS: dict[str, Callable[[list[Line]], None]] = {
    "a model never made": a_model_never_made,
    "the model that was given up": a_model_of_another_round,
    "a round never run": a_round_never_run,
    "the restart hidden": the_restart_hidden,
    "a restart invented": a_restart_invented,
    "the lost round again": the_lost_round_again,
    "heads of the lost round again": the_lost_heads_again,
    "the restart before the sum": before_the_round,
}


def rewritten(path: Path, change: Callable[[list[Line]], object], key: Any) -> None:
    """Change a book as its owner can: numbers, hashes and signatures made again."""
    events, head, out = read(path), NOTHING, []
    change(events)
    for event in events:
        written = write_event(key, head, type=event["type"], dataset="", body=event["body"])
        head = written.head
        out.append(written.line())
    path.write_bytes(b"".join(out))


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Mapping[str, Any]
) -> tuple[Path, dict[str, Identity]]:
    """Ledgers of two runs: a round was summed and not kept, or begun and not summed."""
    from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder

    base = tmp_path_factory.mktemp("restarts")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("given up", "cut off"):
            places = {"out": str(base / name), "privacy.ledgers": str(base / f"{name} books")}
            budget = {"privacy.budget_epsilon": 40.0}
            config = read_run_config({**tiny_settings, **PRIVATE, **places, **budget})
            if name == "given up":
                unkept_round(config, patched)
            else:
                stopped(config, patched, sent=4)
            resumed(config)
    key = KeyFolder(base / "given up books" / "identities").own(SERVER, role=SERVERS)
    other = KeyFolder(base / "cut off books" / "identities").own(SERVER, role=SERVERS)
    return base, {"given up": key, "cut off": other}


class TestForgeries:
    @pytest.mark.parametrize("name", ["given up", "cut off"])
    def test_the_untouched_book_passes(self, folders: Any, tmp_path: Path, name: str) -> None:
        base, keys = folders
        copy = shutil.copytree(base / f"{name} books", tmp_path / "books")
        rewritten(copy / SERVER_LEDGER, lambda _: None, keys[name])
        checks = verify(gather([copy]))
        assert [check.finding for check in checks if check.status is Status.FAIL] == []

    @pytest.mark.parametrize("forgery", RESTARTS)
    def test_a_forged_restart_is_found(self, folders: Any, tmp_path: Path, forgery: str) -> None:
        base, keys = folders
        copy = shutil.copytree(base / "given up books", tmp_path / "books")
        rewritten(copy / SERVER_LEDGER, RESTARTS[forgery], keys["given up"])
        failed = {
            (check.id, check.about)
            for check in verify(gather([copy]))
            if check.status is Status.FAIL
        }
        assert ("models", "server") in failed

    def test_a_restart_that_changed_no_model_cannot_be_hidden_either(
        self, folders: Any, tmp_path: Path
    ) -> None:
        base, keys = folders
        copy = shutil.copytree(base / "cut off books", tmp_path / "books")
        rewritten(copy / SERVER_LEDGER, the_restart_hidden, keys["cut off"])
        failed = [c for c in verify(gather([copy])) if c.status is Status.FAIL]
        assert [(check.id, check.about) for check in failed] == [("models", "server")]
        assert "round 2 has no end" in failed[0].finding
