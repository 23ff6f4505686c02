"""Who takes part: nodes, the groups behind them, and what each is for."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


class CohortError(RuntimeError):
    """Too few groups answered."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Nodes by the name of their group, in alphabetical order of the groups.

    Attributes:
        train: Groups that train.
        held_out: Groups that only measure.
        units: Units of privacy that each train group declares; public, and empty where nothing is
            private.
        identities: Public keys of the train groups, 32 bytes each; empty where vectors are neither
            private nor summed securely. They keep members apart for the server; members pin keys
            of their own.
    """

    train: Mapping[str, int]
    held_out: Mapping[str, int]
    units: Mapping[str, int] = field(default_factory=dict)
    identities: Mapping[str, bytes] = field(default_factory=dict)


def gather_cohort(
    grid: Grid,
    *,
    minimum_groups: int,
    timeout_seconds: float,
    unit: str = "",
    secure: bool = False,
) -> Cohort:
    """Ask every node which group it is, what it is for, and how many units it declares.

    Args:
        grid: The way to the nodes.
        minimum_groups: Fewest train groups.
        timeout_seconds: How long to wait for nodes and answers.
        unit: Unit of privacy to be counted; empty where nothing is private.
        secure: Whether train groups must name the keys that they sign with.

    Raises:
        CohortError: Fewer train groups than ``minimum_groups`` answered in time, or two nodes
            claim one group.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (nodes := list(grid.get_node_ids())) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    asked = RecordDict({"setup": ConfigRecord({"version": 1, "unit": unit, "secure": secure})})
    messages = [Message(asked, node, "query.setup") for node in nodes]
    remaining = max(1.0, deadline - time.monotonic())
    roles: dict[str, dict[str, int]] = {"train": {}, "held_out": {}, "idle": {}}
    units: dict[str, int] = {}
    identities: dict[str, bytes] = {}
    errors = 0
    for reply in grid.send_and_receive(messages, timeout=remaining):
        if reply.has_error():
            errors += 1
            continue
        answer = reply.content.config_records["setup"]
        group, role = str(answer["group"]), str(answer["role"])
        if role not in roles:
            raise CohortError(f"group {group!r} has the unknown role {role!r}: use one version")
        if role != "idle" and any(group in members for members in roles.values()):
            raise CohortError(f"two nodes say they are group {group!r}: give each its own")
        roles[role][group] = reply.metadata.src_node_id
        if role == "train" and unit:
            units[group] = int(str(answer["units"]))
        if role == "train" and (secure or unit):
            identities[group] = bytes.fromhex(str(answer["identity"]))
    if len(roles["train"]) < minimum_groups:
        raise CohortError(
            f"{len(roles['train'])} train group(s) answered and {errors} failed; "
            f"at least {minimum_groups} needed: look at the clients' logs"
        )
    logger.info("%d groups train, %d are held out", len(roles["train"]), len(roles["held_out"]))
    return Cohort(
        train=dict(sorted(roles["train"].items())),
        held_out=dict(sorted(roles["held_out"].items())),
        units=dict(sorted(units.items())),
        identities=dict(sorted(identities.items())),
    )
