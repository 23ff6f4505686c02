"""The settings of a simulated client, which finds its records by the run's own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from pydantic import TypeAdapter

from privacy.accounting.choices import NO_PRIVACY

#: Settings of the run that a client takes as they are, by field.
_OF_THE_RUN = {
    "data": "data",
    "split": "split",
    "seed": "seed",
    "fewest_members": "federation.minimum_groups",
    "out": "out",
    "ledgers": "privacy.ledgers",
    "unit": "privacy.unit",
    "mechanism": "privacy.mechanism",
    "respondents": "simulation.respondents",
    "budget_epsilon": "privacy.budget_epsilon",
    "budget_delta": "privacy.delta",
}


@dataclass(frozen=True, kw_only=True)
class SimulatedClientConfig:
    """One of many groups in one source, on one machine.

    Attributes:
        data: The source that holds all groups.
        split: Split file; empty draws a split by seed.
        seed: Draws the split.
        skip_invalid: Leave out invalid rows.
        node: Index of this client's group in ``Population.groups``.
        nodes: Number of simulated nodes.
        private: Whether the run was set up as a private one.
        secure: Whether its vectors leave under masks only.
        fewest_members: Into a sum over fewer groups than these no vector goes.
        out: Folder of the run.
        ledgers: Folder of ledgers that outlast the run; empty for ledgers of its own.
        unit: Unit of privacy.
        mechanism: Whether answers are counted once.
        respondents: Persons assumed behind a distribution that does not say how many; 0 for none.
        budget_epsilon: What data may ever spend; 0 for the run's own plan and no more.
        budget_delta: Delta of that.
    """

    data: str
    split: str
    seed: int
    skip_invalid: bool
    node: int
    nodes: int
    private: bool
    secure: bool
    fewest_members: int
    out: str
    ledgers: str
    unit: str
    mechanism: str
    respondents: int
    budget_epsilon: float
    budget_delta: float

    @classmethod
    def read(
        cls, node_config: Mapping[str, object], run_config: Mapping[str, object]
    ) -> SimulatedClientConfig:
        """Read the settings of a simulated node.

        Raises:
            ValueError: The node is not part of a simulation.
        """
        if not {"partition-id", "num-partitions"} <= set(node_config):
            raise ValueError(
                "node_config has no partition-id: this client runs in simulations only"
            )
        return _adapter().validate_python(
            {
                **{name: run_config[key] for name, key in _OF_THE_RUN.items()},
                "skip_invalid": run_config["skip_invalid"] is True,
                "node": node_config["partition-id"],
                "nodes": node_config["num-partitions"],
                # Whatever is not plainly said to be unprotected is protected.
                "private": run_config["privacy.mode"] != NO_PRIVACY,
                "secure": run_config["federation.secure_aggregation"] is not False,
            }
        )


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[SimulatedClientConfig]:
    return TypeAdapter(SimulatedClientConfig)
