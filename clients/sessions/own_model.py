"""The model that a group keeps between the rounds of a run without a server step.

It is made of the public first vector, of the group's own private gradients and of vectors that
were private at its partners: all of it has been paid for, and reading it costs nothing. It lies in
a file, for a node that restarts loses its memory; the last one of a run is left as a folder that
``fedaccord predict`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from alignment.config import ContextConfig, PredictorConfig
from atomic import write_atomically
from clients.task import own_strategy
from privacy.errors import PolicyRefused
from strategies.gossip import Gossip
from strategies.registry import settings_of
from strategies.wire.round_plan import read_section

_FILE = "vector.safetensors"
_VECTOR, _STATE, _ABOUT = "vector", "strategy.", "about"


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """Where a group stands in a run.

    Attributes:
        run: Name of the run.
        start: Digest of the vector that the run began from.
        predictor: Shape of the predictor.
        context: How a context is read.
        strategy: The group's own, with all that it remembers.
        vector: (d,) float32, where the group's next step begins.
    """

    run: str
    start: str
    predictor: PredictorConfig
    context: ContextConfig
    strategy: Gossip
    vector: NDArray[np.float32]


class OwnModel:
    """The file of one group's model.

    Args:
        folder: Of the group; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _FILE

    def read(self, run: str) -> Kept | None:
        """Where the group stands in a run; None where it has not begun it.

        Raises:
            PolicyRefused: The file is not what was written.
        """
        try:
            tensors = load(self._path.read_bytes())
            about = json.loads(tensors.pop(_ABOUT).tobytes())
            vector = tensors.pop(_VECTOR)
            strategy = own_strategy(about["strategy"])
            strategy.restore({name.removeprefix(_STATE): array for name, array in tensors.items()})
            kept = Kept(
                run=str(about["run"]),
                start=str(about["start"]),
                predictor=read_section(PredictorConfig, about["predictor"], name="predictor"),
                context=read_section(ContextConfig, about["context"], name="context"),
                strategy=strategy,
                vector=vector,
            )
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise PolicyRefused(
                f"{_FILE} of this client is damaged: its owner must look at it"
            ) from error
        return kept if kept.run == run else None

    def keep(self, kept: Kept) -> None:
        """Write down where the group stands; what depends on it must not leave if this raises."""
        about = {
            "run": kept.run,
            "start": kept.start,
            "predictor": asdict(kept.predictor),
            "context": asdict(kept.context),
            "strategy": {"name": kept.strategy.name, **settings_of(kept.strategy)},
        }
        tensors: Mapping[str, NDArray[np.generic]] = {
            _VECTOR: kept.vector,
            _ABOUT: np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            **{f"{_STATE}{name}": array for name, array in kept.strategy.state().items()},
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, save(dict(tensors)), durable=True)

    def publish(self, kept: Kept) -> None:
        """Leave the model of a run that is over as a folder, and nothing of its way there."""
        # With torch, which only the last message of a run needs of this module.
        from alignment.model.folder import save_predictor
        from alignment.model.vector import load_vector
        from clients.training.trainer import predictor_for

        predictor = predictor_for(kept.predictor)
        load_vector(predictor, kept.strategy.published(kept.vector))
        save_predictor(predictor, self._folder, kept.context)
        self._path.unlink()
