"""Settings of simulated groups: their faults, and what is assumed of them; not of real ones."""

from __future__ import annotations

from dataclasses import dataclass, fields

from alignment.config import DEVICES


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """What ``fedaccord simulate`` does to its groups, and assumes of them.

    Attributes:
        dropout: Chance of a group to be lost in a round when it is asked to train; drawn by the
            seed of the run. The server is not informed. A secure sum bears less than a third of its
            groups lost, a private one what ``privacy.survivors`` leaves; beyond it the round is
            aborted.
        respondents: Persons that are assumed behind every distribution that does not say how many;
            0 assumes none. Results say that it is an assumption.
        device: Where encoders compute: ``cpu``, ``cuda``, ``mps``, or ``auto`` for what the machine
            has. An organisation says so itself, by the variable ``FEDACCORD_DEVICE``.
    """

    dropout: float = 0.0
    respondents: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what is no chance, or leaves nobody."""
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout} must lie in [0, 1): lower it")
        if self.respondents < 0:
            raise ValueError(f"respondents = {self.respondents} must be >= 0: 0 assumes none")
        if self.device not in DEVICES:
            raise ValueError(
                f"device = {self.device!r} is none of {', '.join(DEVICES)}: choose one"
            )

    def require_real_groups(self) -> None:
        """Refuse a run whose groups are not a simulation's own.

        Raises:
            ValueError: A setting is not its default.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                raise ValueError(
                    f"simulation.{each.name} = {value}: only fedaccord simulate can do that to its "
                    "groups; leave it out"
                )
