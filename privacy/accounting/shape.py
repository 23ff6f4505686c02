"""The shape of a private step: the public bounds that its time and its memory depend on.

A bound that one person's record could exceed, and that a server could choose, would turn that
record into a reply that fails or takes longer. So all of them stand in the privacy plan, every
group holds them against its own policy, and what does not fit into them counts as absent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from privacy.errors import PlanRefused

#: More than any step holds; a plan from elsewhere must not exhaust memory.
_MOST = 2**20


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """The bounds of every micro-batch of a private step.

    Attributes:
        micro_batch: Units that are computed at a time.
        records_per_unit: Records of a unit that count in a step, at most.
        max_options: Most options of a question.
        max_tokens: Tokens that every text is padded to.
        options_apart: Whether options may stand in texts of their own, as the responses of pairs
            do; every question then takes `max_options` texts instead of one.

    Raises:
        PlanRefused: for a bound that is no number, holds nothing, or exceeds all memory.
    """

    micro_batch: int
    records_per_unit: int
    max_options: int
    max_tokens: int
    options_apart: bool

    def __post_init__(self) -> None:
        for name, value in self.as_dict().items():
            if name == "options_apart":
                if type(value) is not bool:
                    raise PlanRefused(f"shape.{name} = {value!r} is not true or false; give one")
                continue
            least = 2 if name == "max_options" else 1
            if type(value) is not int or not least <= value <= _MOST:
                raise PlanRefused(
                    f"shape.{name} = {value!r} is not an integer in [{least}, {_MOST}]; give one"
                )

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return asdict(self)

    @classmethod
    def read(cls, values: object) -> Self:
        """Read what `as_dict` gave.

        Raises:
            PlanRefused: for a missing or unknown field as well.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise PlanRefused(f"shape has other fields than {sorted(names)}; give exactly these")
        return cls(**values)
