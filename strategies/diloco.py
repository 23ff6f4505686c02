"""DiLoCo (Douillard et al. 2023, https://arxiv.org/abs/2311.08105): few rounds of many steps.

Between rounds every group takes many steps of AdamW of its own; the server takes the mean of what
they changed for a gradient, and steps along it with Nesterov's momentum. Meant for slow links: the
bytes of a training fall with its rounds. Unlike in the paper, the state of a group's AdamW begins
anew in every round, as groups keep nothing between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Strategy, Vector
from strategies.wire.round_plan import Scalar


@dataclass(kw_only=True)
class DiLoCo(Strategy):
    """Nesterov's momentum over groups that train long between rounds.

    Attributes:
        learning_rate: Of the outer step.
        momentum: Share of itself that the outer velocity keeps in each round.
        local_steps: H, the steps that a group takes in a round; 0 leaves it to
            ``training.local_epochs`` or, in local mode, to ``privacy.local_steps``.
    """

    name: ClassVar[str] = "diloco"
    local_training: ClassVar[bool] = True
    remembers: ClassVar[tuple[str, ...]] = ("velocity",)

    learning_rate: float = 0.7
    momentum: float = 0.9
    local_steps: int = 0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        super().__post_init__()
        self.require("learning_rate", 0 < self.learning_rate <= 2, "lie in (0, 2]", "0.7 is usual")
        self.require_share("momentum")
        self.require("local_steps", self.local_steps >= 0, "be >= 0", "0 counts epochs instead")

    def tasks(self) -> Mapping[str, Scalar]:
        """See :meth:`strategies.base.Strategy.tasks`."""
        return {"local_steps": self.local_steps} if self.local_steps else {}

    def move(self, current: Vector, mean_update: Vector) -> Vector:
        """See :meth:`strategies.base.Strategy.move`."""
        velocity = self.momentum * self.recall("velocity", mean_update) + mean_update
        self.memory["velocity"] = velocity
        return current + self.learning_rate * (mean_update + self.momentum * velocity)
