"""Checkpoints: on disk after every round, so that a run goes on after its server has stopped.

A checkpoint is two files: arrays (safetensors), and a manifest (JSON) that names their digest and
carries one of its own, so that a flipped byte anywhere is noticed. The manifest is renamed into
place last, each file once it is on disk: there is a whole checkpoint or none. Nothing is pickled.

No torch here: the server handles vectors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from atomic import force_out, write_atomically
from privacy.ledger.chain import Head
from server.config import ConfigError, RunConfig
from strategies.base import State
from strategies.wire.round_plan import flatten

FOLDER = "checkpoints"

_VERSION = 1
_KEPT = 2
_MANIFEST = re.compile(r"round-(\d{6,})\.json")
_VECTOR = "vector"
_STATE = "strategy."
_AGGREGATION = "aggregation."
#: What may differ in a run that goes on: none of it reaches the model.
_FREE = frozenset(
    {
        "out",
        "resume",
        "track",
        "federation.evaluate_every",
        "federation.round_timeout_seconds",
        "federation.stage_timeout_seconds",
    }
)


class CheckpointDamaged(ValueError):
    """A checkpoint is not what the server wrote."""


class CheckpointUnwritable(RuntimeError):
    """A checkpoint could not be written; the one before it is as it was."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Registered:
    """State of a private run beside its model.

    Attributes:
        plan: The registered plan, as ``RegisteredPlan.as_dict`` gives it.
        head: Of the server ledger.
    """

    plan: Mapping[str, Any]
    head: Head


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """State of a run when a round had ended.

    Attributes:
        round: The round; 0 is the start.
        aborted: Aborted rounds in a row, this one included.
        vector: (d,) float32, the global vector.
        state: Of the strategy.
        aggregation: State of the aggregation.
        config: Settings of the run, as ``RunConfig.nested`` gives them.
        registered: Of a private run.
    """

    round: int
    aborted: int
    vector: NDArray[np.float32]
    state: State = field(default_factory=dict)
    aggregation: State = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    registered: Registered | None = None


class Checkpoints:
    """Writes checkpoints into a folder, one at a time, beside whoever hands them over.

    Args:
        folder: Made where it is missing.
        also: Files that must be on disk before a checkpoint says so, where they exist.
    """

    def __init__(self, folder: Path, *, also: tuple[Path, ...] = ()) -> None:
        self._folder = folder
        self._also = also
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            # What ended the run comes first; a checkpoint that failed as well is no news then.
            with suppress(*((Exception,) if error is not None else ())):
                self.settle()
        finally:
            self._writer.shutdown()

    def hand_over(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint written; its arrays must stay as they are.

        Raises:
            CheckpointUnwritable: The one before could not be written.
        """
        self.settle()
        self._under_way = self._writer.submit(self._write, checkpoint)

    def settle(self) -> None:
        """Wait until what was handed over is on disk.

        Raises:
            CheckpointUnwritable: It could not be written.
        """
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def _write(self, checkpoint: Checkpoint) -> None:
        data, manifest = _names(checkpoint.round)
        path = self._folder / data
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file in self._also:
                if file.exists():
                    force_out(file)
            arrays = _arrays(checkpoint)
            write_atomically(path, arrays, durable=True)
            path = self._folder / manifest
            write_atomically(path, _manifest(checkpoint, data, arrays), durable=True)
            self._clear_up()
        except OSError as error:
            raise CheckpointUnwritable(
                f"{path}: {error.strerror or error}; free the disk and go on with --resume: the "
                "checkpoint before it is as it was"
            ) from error

    def _clear_up(self) -> None:
        """Remove what is older than the last two, and what a crash has left unfinished."""
        kept = {name for number in _rounds(self._folder)[-_KEPT:] for name in _names(number)}
        # Manifests first: without one, data are of no checkpoint.
        for path in sorted(self._folder.iterdir(), key=lambda path: path.suffix):
            if path.name not in kept and path.name.lstrip(".").startswith("round-"):
                path.unlink()


def newest_round(folder: Path) -> int | None:
    """The round of the newest checkpoint of a folder; None where there is none to go on from."""
    return max(_rounds(folder), default=None)


def latest(folder: Path) -> Checkpoint:
    """Read the newest checkpoint of a folder; an older one never takes its place unasked.

    Raises:
        ConfigError: There is none.
        CheckpointDamaged: It is not what was written.
    """
    rounds = _rounds(folder)
    if not rounds:
        raise ConfigError(
            f"{folder}: holds no checkpoint to go on from: begin the run without resume"
        )
    number = rounds[-1]
    data, manifest = _names(number)
    path = folder / manifest
    try:
        content = _read_manifest(path.read_bytes(), number)
        path = folder / data
        arrays = path.read_bytes()
        if hashlib.sha256(arrays).hexdigest() != content["data"]:
            raise ValueError("other bytes than its manifest names")
        tensors = load(arrays)
        vector = tensors.pop(_VECTOR)
        head = content["head"]
        return Checkpoint(
            round=number,
            aborted=content["aborted"],
            vector=vector,
            state=_within(tensors, _STATE),
            aggregation=_within(tensors, _AGGREGATION),
            config=content["config"],
            registered=head and Registered(plan=content["plan"], head=Head(**head)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        older = f", or remove it to go on from round {rounds[-2]}" if len(rounds) > 1 else ""
        raise CheckpointDamaged(
            f"{path}: is damaged ({str(what).splitlines()[0]}): put back a copy{older}"
        ) from error


def require_same(config: RunConfig, checkpoint: Checkpoint) -> None:
    """Refuse to go on with other settings than a run has had.

    Raises:
        ConfigError: One line that names the first setting that differs.
    """
    before, now = flatten(checkpoint.config), config.flat()
    for name in dict.fromkeys((*now, *before)):
        if name not in _FREE and before.get(name) != now.get(name):
            raise ConfigError(
                f"{name} = {now.get(name)!r} was {before.get(name)!r} in the run that is to go "
                "on: give what it had, or begin a run of its own in another folder"
            )


def _names(number: int) -> tuple[str, str]:
    return f"round-{number:06}.safetensors", f"round-{number:06}.json"


def _rounds(folder: Path) -> list[int]:
    """Rounds that have a manifest, in order."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else iter(())
    return sorted(int(match[1]) for match in map(_MANIFEST.fullmatch, names) if match)


def _within(tensors: Mapping[str, NDArray[Any]], prefix: str) -> State:
    """The arrays whose names begin so, under the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _arrays(checkpoint: Checkpoint) -> bytes:
    state = {f"{_STATE}{name}": value for name, value in checkpoint.state.items()}
    state |= {f"{_AGGREGATION}{name}": value for name, value in checkpoint.aggregation.items()}
    tensors = {_VECTOR: checkpoint.vector, **state}
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def _manifest(checkpoint: Checkpoint, data: str, arrays: bytes) -> bytes:
    registered = checkpoint.registered
    config = {name: v for name, v in checkpoint.config.items() if name not in ("out", "resume")}
    content = {
        "version": _VERSION,
        "round": checkpoint.round,
        "aborted": checkpoint.aborted,
        "file": data,
        "data": hashlib.sha256(arrays).hexdigest(),
        "config": config,
        "config_digest": _digest(config),
        "plan": registered and dict(registered.plan),
        "head": registered and vars(registered.head),
    }
    return _encode({"content": content, "sha256": _digest(content)})


def _read_manifest(data: bytes, number: int) -> dict[str, Any]:
    """The content of a manifest; every byte of it is as it was written."""
    whole = json.loads(data)
    content: dict[str, Any] = whole["content"]
    if whole["sha256"] != _digest(content) or _encode(whole) != data:
        raise ValueError("other bytes than its digest names")
    if content["version"] != _VERSION or content["round"] != number:
        raise ValueError("of another round, or another version of this program")
    if content["config_digest"] != _digest(content["config"]):
        raise ValueError("settings and their digest differ")
    return content


def _encode(value: object) -> bytes:
    """JSON as it is written here, to the byte; floats read back as they were."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=True)
    return text.encode("ascii") + b"\n"


def _digest(value: object) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()
