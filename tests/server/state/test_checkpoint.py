"""Checkpoints: whole or not there, noticed where a byte is wrong, and never waited for in vain."""

import errno
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.ledger.chain import Head
from server.config import ConfigError, RunConfig, read_run_config
from server.state.checkpoint import (
    Checkpoint,
    CheckpointDamaged,
    Checkpoints,
    CheckpointUnwritable,
    Registered,
    latest,
    newest_round,
    require_same,
)

Make = Callable[..., Checkpoint]


def make(number: int = 1, **changes: Any) -> Checkpoint:
    settings: dict[str, Any] = {
        "round": number,
        "aborted": 0,
        "vector": np.arange(3, dtype=np.float32) + number,
        "state": {"first": np.full(3, 0.1), "steps": np.array([number])},
        "config": {"seed": 1, "out": "runs/x", "resume": True, "federation": {"rounds": 0.1}},
    }
    return Checkpoint(**{**settings, **changes})


def write(folder: Path, *checkpoints: Checkpoint) -> None:
    with Checkpoints(folder) as writer:
        for each in checkpoints:
            writer.hand_over(each)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pair(number: int) -> set[str]:
    return {f"round-{number:06}.json", f"round-{number:06}.safetensors"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_it_reads_back_to_the_last_bit(folder: Path) -> None:
    vector = np.array([1e-45, -0.0, np.pi], dtype=np.float32)
    state = {"first": np.array([1e-320, np.nextafter(1, 2), -np.pi]), "steps": np.array([7])}
    plan = {"run": "ab", "plan": {"noise_multiplier": 1.0000000000000002}, "groups": ["Ä", ""]}
    head = Head(seq=4, hash="ab" * 32)
    registered = Registered(plan=plan, head=head)
    write(folder, make(5, aborted=2, vector=vector, state=state, registered=registered))
    read = latest(folder)
    assert (read.round, read.aborted) == (5, 2)
    assert (read.vector.dtype, read.vector.tobytes()) == (np.float32, vector.tobytes())
    assert {name: each.tobytes() for name, each in read.state.items()} == {
        name: each.tobytes() for name, each in state.items()
    }
    assert {name: each.dtype for name, each in read.state.items()} == {
        "first": np.float64,
        "steps": np.int64,
    }
    assert read.registered is not None
    assert (read.registered.plan, read.registered.head) == (plan, head)
    assert read.config == {"seed": 1, "federation": {"rounds": 0.1}}


def test_the_last_two_are_kept_and_what_a_crash_has_left_goes(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / ".round-000009.json.part").write_text("torn")
    (folder / "round-000008.safetensors").write_text("no manifest")
    write(folder, *(make(number) for number in range(4)))
    assert names(folder) == {"notes.txt", *pair(2), *pair(3)}
    assert newest_round(folder) == 3


def test_without_one_there_is_nothing_to_go_on_from(folder: Path) -> None:
    assert newest_round(folder) is None
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        latest(folder)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_every_flipped_byte_is_noticed(folder: Path, suffix: str) -> None:
    write(folder, make(1), make(2))
    path = folder / f"round-000002.{suffix}"
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (1, 0x20, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(CheckpointDamaged, match=rf"{path.name}: is damaged") as told:
                latest(folder)
            assert "\n" not in str(told.value)
    path.write_bytes(whole)
    assert latest(folder).round == 2


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_torn_file_is_noticed(folder: Path, suffix: str) -> None:
    write(folder, make(1), make(2))
    path = folder / f"round-000002.{suffix}"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointDamaged, match="put back a copy, or remove it to go on from"):
            latest(folder)
    path.write_bytes(whole + b"\n")
    with pytest.raises(CheckpointDamaged):
        latest(folder)


def test_missing_arrays_are_damage_and_an_older_checkpoint_only_follows_on_request(
    folder: Path,
) -> None:
    write(folder, make(1), make(2))
    (folder / "round-000002.safetensors").unlink()
    with pytest.raises(CheckpointDamaged, match="No such file"):
        latest(folder)
    (folder / "round-000002.json").unlink()
    assert latest(folder).round == 1


def test_the_files_of_two_checkpoints_are_not_mixed(folder: Path) -> None:
    write(folder, make(1), make(2))
    (folder / "round-000002.safetensors").write_bytes(
        (folder / "round-000001.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointDamaged):
        latest(folder)
    (folder / "round-000002.json").write_bytes((folder / "round-000001.json").read_bytes())
    with pytest.raises(CheckpointDamaged, match="of another round"):
        latest(folder)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("which", ["safetensors", "json"])
def test_a_full_disk_is_one_line_and_the_former_checkpoint_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str, which: str
) -> None:
    write(folder, make(1), make(2))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    fill_up(monkeypatch, failing, f"round-000003.{which}")
    with pytest.raises(CheckpointUnwritable, match=r"round-000003\S+: No space left") as told:
        write(folder, make(3))
    assert "\n" not in str(told.value) and "--resume" in str(told.value)
    assert {path: path.read_bytes() for path in before} == before
    assert latest(folder).round == 2
    assert not [name for name in names(folder) if name.endswith(".part")]
    monkeypatch.undo()
    write(folder, make(3))
    assert names(folder) == pair(2) | pair(3)


def fill_up(monkeypatch: pytest.MonkeyPatch, failing: str, name: str) -> None:
    """Let one system call fail for one file, as on a full disk."""
    full = OSError(errno.ENOSPC, "No space left on device")
    calls = {each: getattr(os, each) for each in ("fsync", "replace", "fdopen")}

    def fsync(descriptor: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise full
        calls["fsync"](descriptor)

    def replace(source: Path, target: Path) -> None:
        if name in str(target):
            raise full
        calls["replace"](source, target)

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            raise full

    def fdopen(descriptor: int, mode: str) -> Any:
        file = calls["fdopen"](descriptor, mode)
        return Full(file) if name in os.readlink(f"/proc/self/fd/{descriptor}") else file

    call = {"write": "fdopen"}.get(failing, failing)
    monkeypatch.setattr(os, call, {"fdopen": fdopen, "fsync": fsync, "replace": replace}[call])


class Gone(BaseException):
    """The process was killed here."""


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_kill_at_any_call_leaves_a_whole_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """At every system call of a write in turn; the one before is there until the next one is."""
    owner: Any = Path if call == "unlink" else os
    real = getattr(owner, call)
    for number in range(2, 40):
        write(folder, make(number - 1))
        left = number - 2

        def dying(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Gone
            left -= 1
            return real(*arguments, **more)

        monkeypatch.setattr(owner, call, dying)
        done = False
        try:
            write(folder, make(number))
            done = True
        except Gone:
            pass
        monkeypatch.undo()
        assert latest(folder).round in ((number,) if done else (number - 1, number))
        assert latest(folder).vector[0] == latest(folder).round
        if done:
            return
    raise AssertionError("the writer makes more calls than were tried")


def test_a_kill_between_arrays_and_manifest_leaves_the_checkpoint_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, make(1))
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if str(target).endswith(".json"):
            raise Gone
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Gone):
        write(folder, make(2))
    monkeypatch.undo()
    assert "round-000002.safetensors" in names(folder)
    assert latest(folder).round == 1
    write(folder, make(2, vector=np.zeros(2, dtype=np.float32)))
    assert latest(folder).vector.size == 2


def test_arrays_are_on_disk_before_the_manifest_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}

    def fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        calls.append(f"sync {re.sub('[.][0-9a-f]{8}[.]part$', '.part', name)}")
        real["fsync"](descriptor)

    def replace(source: Path, target: Path) -> None:
        calls.append(f"rename {Path(target).name}")
        real["replace"](source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "rounds.jsonl").write_text("{}\n")
    with Checkpoints(folder, also=(tmp_path / "rounds.jsonl", tmp_path / "none")) as writer:
        writer.hand_over(make(1))
    assert calls == [
        "sync rounds.jsonl",
        "sync .round-000001.safetensors.part",
        "rename round-000001.safetensors",
        "sync checkpoints",
        "sync .round-000001.json.part",
        "rename round-000001.json",
        "sync checkpoints",
    ]


class TestBeside:
    def test_the_hand_over_does_not_wait_for_the_disk_but_for_the_write_before(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, gate, entered = os.fsync, threading.Event(), threading.Event()

        def fsync(descriptor: int) -> None:
            entered.set()
            assert gate.wait(30)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with Checkpoints(folder) as writer:
            writer.hand_over(make(1))
            assert entered.wait(30)
            assert newest_round(folder) is None
            second = threading.Thread(target=writer.hand_over, args=(make(2),))
            second.start()
            second.join(0.2)
            assert second.is_alive()
            gate.set()
            second.join(30)
            assert newest_round(folder) in (1, 2)
            writer.settle()
            assert newest_round(folder) == 2

    def test_what_failed_is_told_once_and_at_the_next_call(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill_up(monkeypatch, "replace", "round-000001")
        with Checkpoints(folder) as writer:
            writer.hand_over(make(1))
            with pytest.raises(CheckpointUnwritable):
                writer.settle()
            writer.settle()

    def test_an_error_of_the_run_is_not_hidden_by_one_of_a_checkpoint(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill_up(monkeypatch, "replace", "round-000001")
        with pytest.raises(RuntimeError, match="diverged"), Checkpoints(folder) as writer:
            writer.hand_over(make(1))
            raise RuntimeError("training diverged")


class TestSettings:
    def checkpoint(self, **flat: object) -> Checkpoint:
        # As it is read back: lists for tuples, and no place.
        return make(config=json.loads(json.dumps(self.config(**flat).nested())))

    def config(self, **flat: object) -> RunConfig:
        return read_run_config(flat)

    def test_the_same_settings_may_go_on(self) -> None:
        settings: dict[str, object] = {"seed": 3, "privacy.mode": "distributed"}
        require_same(self.config(**settings), self.checkpoint(**settings))

    @pytest.mark.parametrize("key", sorted(RunConfig().flat()))
    def test_every_setting_counts_but_those_that_never_reach_the_model(self, key: str) -> None:
        free = {
            "out",
            "resume",
            "track",
            "federation.evaluate_every",
            "federation.round_timeout_seconds",
            "federation.stage_timeout_seconds",
        }
        config = self.config()
        before = make(config=self._changed(config, key))
        if key in free:
            require_same(config, before)
            return
        with pytest.raises(ConfigError, match=rf"^{key} = .* was ") as told:
            require_same(config, before)
        assert "\n" not in str(told.value)

    def test_a_setting_that_is_gone_or_new_counts_too(self) -> None:
        config = self.config()
        nested = config.nested()
        for changed in ({**nested, "old": 1}, {k: v for k, v in nested.items() if k != "seed"}):
            with pytest.raises(ConfigError):
                require_same(config, make(config=changed))

    def _changed(self, config: RunConfig, key: str) -> dict[str, Any]:
        nested: dict[str, Any] = json.loads(json.dumps(config.nested()))
        section, _, name = key.rpartition(".")
        place = nested[section] if section else nested
        place[name] = "another"
        return nested
