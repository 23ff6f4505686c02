"""The start of a run: a published model that its first round begins from, in place of drawn values.

The folder is the server's own and is read here alone. Whoever is asked to train is told the digest
of the vector in its place, and the run writes down what the folder states of the model's privacy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignment.model.file_names import ADAPTER_FOLDER, ADAPTER_WEIGHTS, HEAD_FILE
from alignment.model.stated import ModelFolderError, stated_settings
from atomic import write_atomically
from privacy.accounting.choices import NO_PRIVACY
from privacy.file_names import LINEAGE_FILE, START_FILE
from privacy.lineage import files_digest, lineage_of, read_lineage, start_of
from privacy.lineage import read_start as read_stated
from server.config import ConfigError, RunConfig
from server.state.checkpoint import Checkpoint
from strategies.wire.round_plan import vector_digest

if TYPE_CHECKING:
    from alignment.model.predictor import Predictor

_READ = (HEAD_FILE, f"{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}", LINEAGE_FILE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a run begins from.

    Attributes:
        stated: Its name, its digests, and its privacy; see ``privacy.lineage.start_of``.
        predictor: The model itself; None where the run goes on from a checkpoint of its own.
    """

    stated: Mapping[str, Any]
    predictor: Predictor | None = None

    @property
    def model(self) -> str:
        """Digest of the vector."""
        return str(self.stated["model"])

    def write(self, out: Path) -> None:
        """Write down, in the folder of the run, what it begins from."""
        write_atomically(out / START_FILE, json.dumps(dict(self.stated), indent=2) + "\n")


def read_start(config: RunConfig) -> Start | None:
    """Read the model that a run is to begin from; None where its values are drawn.

    Raises:
        ConfigError: The folder holds no such model, is damaged, or is of a predictor of another
            shape than the run's; one line.
    """
    if not config.training.start:
        return None
    folder = Path(config.training.start)
    try:
        _require_shape(config, folder)
        # Torch takes seconds to import: what is refused before it is refused at once.
        from alignment.model.folder import load_predictor
        from alignment.model.vector import to_vector

        predictor, _ = load_predictor(folder)
        model, lineage = vector_digest(to_vector(predictor)), read_lineage(folder)
        if lineage is not None and lineage["model"] != model:
            raise ValueError(
                f"{folder}: {LINEAGE_FILE} is of another model than lies beside it; copy the whole "
                "folder"
            )
        files = files_digest(folder, [name for name in _READ if (folder / name).is_file()])
    except (ValueError, OSError) as error:
        raise _refused(config, str(error)) from error
    name = folder.resolve().name
    return Start(stated=start_of(lineage, name=name, model=model, files=files), predictor=predictor)


def resumed_start(config: RunConfig, checkpoint: Checkpoint) -> Start | None:
    """What a run that goes on has begun from, as it has written down: its folder may be gone.

    Raises:
        ConfigError: That is missing or damaged, or not what a private run has registered; one line.
    """
    if not config.training.start:
        return None
    path = Path(config.out) / START_FILE
    try:
        stated = read_stated(path)
    except ValueError as error:
        raise ConfigError(f"{config.out}: {error}, or begin another run") from error
    registered = checkpoint.registered
    if registered is not None and registered.plan.get("start") != stated:
        raise ConfigError(
            f"{path}: names another start than the run has registered; put it back as it was "
            "written, or begin another run"
        )
    return Start(stated=stated)


def told(config: RunConfig, start: Start | None) -> RunConfig:
    """The settings of a run as whoever trains is told of them: a digest in place of the folder."""
    if start is None:
        return config
    return replace(config, training=replace(config.training, start=start.model))


def write_lineage(
    out: Path,
    model: str,
    *,
    plan: Mapping[str, Any],
    groups: Iterable[str],
    start: Start | None,
) -> None:
    """Write down, beside the model that a run has made, how it was trained and from what.

    Args:
        out: Folder of the run.
        model: Digest of the vector that it publishes.
        plan: Of a private run, as ``RegisteredPlan.as_dict`` gives it; else empty.
        groups: Names of those that have come since.
        start: What the run began from.
    """
    privacy: dict[str, Any] = {"mode": NO_PRIVACY}
    if plan:
        privacy = {name: plan["plan"][name] for name in ("mode", "unit", "epsilon", "delta")}
        privacy |= {"run": plan["run"], "groups": sorted({*plan["groups"], *groups} - {""})}
    lineage = lineage_of(model, privacy, start.stated if start else None)
    write_atomically(out / LINEAGE_FILE, json.dumps(lineage, indent=2) + "\n")


def _require_shape(config: RunConfig, folder: Path) -> None:
    there, here = asdict(stated_settings(folder)[0]), asdict(config.predictor)
    for name, value in there.items():
        if value != here[name]:
            raise ModelFolderError(
                f"{folder}: is of another predictor, predictor.{name} = {value!r} there and "
                f"{here[name]!r} in this run: give what it has, or leave predictor.{name} out"
            )


def _refused(config: RunConfig, reason: str) -> ConfigError:
    line = " ".join(reason.split())
    return ConfigError(
        f"training.start = {config.training.start!r}: {line}; name the folder of a finished run or "
        "of a publication, or leave training.start out"
    )
