"""The model that a group keeps between the rounds of a run without a server step.

It is made of the public first vector, of the group's own private gradients and of vectors that
were private at its partners: all of it has been paid for, and reading it costs nothing. It lies in
a file, as what a node keeps in memory is gone when it restarts, and the last one of a run is left
as a folder that ``fedaccord predict`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from atomic import write_atomically
from privacy.errors import PolicyRefused
from strategies.base import State
from strategies.gossip import Gossip
from strategies.registry import known
from strategies.wire.round_plan import RoundPlan

_FILE = "vector.safetensors"
_VECTOR, _STATE, _ABOUT = "vector", "strategy.", "about"


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """Where a group stands in a run.

    Attributes:
        run: Name of the run.
        start: Digest of the vector that the run began from.
        plan: The last that the group was asked for.
        vector: (d,) float32, where the group's next step begins.
        state: Of the group's strategy.
    """

    run: str
    start: str
    plan: RoundPlan
    vector: NDArray[np.float32]
    state: State

    @property
    def strategy(self) -> Gossip:
        """The group's strategy, as it goes on.

        Raises:
            PolicyRefused: The plan names none that groups follow by themselves.
        """
        strategy = strategy_of(self.plan)
        strategy.restore(self.state)
        return strategy


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
            state = {name.removeprefix(_STATE): array for name, array in tensors.items()}
            vector = state.pop(_VECTOR)
            kept = Kept(
                run=str(about["run"]),
                start=str(about["start"]),
                plan=RoundPlan.from_wire(about["plan"]),
                vector=vector,
                state=state,
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
        about = {"run": kept.run, "start": kept.start, "plan": kept.plan.to_wire()}
        tensors: Mapping[str, NDArray[np.generic]] = {
            _VECTOR: kept.vector,
            _ABOUT: np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            **{f"{_STATE}{name}": array for name, array in kept.state.items()},
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, save(dict(tensors)), durable=True)

    def publish(self, kept: Kept) -> None:
        """Leave the model of a run that is over as a folder, and nothing of its way there."""
        from alignment.config import ContextConfig, PredictorConfig
        from alignment.model.folder import save_predictor
        from alignment.model.vector import load_vector
        from clients.training.trainer import predictor_for

        predictor = predictor_for(PredictorConfig(**kept.plan.predictor))  # type: ignore[arg-type]
        load_vector(predictor, kept.strategy.published(kept.vector))
        context = ContextConfig(**kept.plan.context)  # type: ignore[arg-type]
        save_predictor(predictor, self._folder, context)
        self._path.unlink()


def strategy_of(plan: RoundPlan) -> Gossip:
    """The strategy that a group is asked to follow by itself, before its first step.

    Only those of this program: a name that points to a file would have a server run it.

    Raises:
        PolicyRefused: There is none, or its settings make no sense.
    """
    settings = dict(plan.strategy)
    name = str(settings.pop("name", ""))
    kind = known().get(name)
    if kind is None or not issubclass(kind, Gossip):
        raise PolicyRefused(f"strategy {name!r} is none that a group follows by itself")
    try:
        return kind(**settings)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise PolicyRefused(f"strategy {name}: {error}") from error
