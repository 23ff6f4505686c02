"""Collection of a round's vectors, one by one here, as a sum in ``secagg_coordinator``."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from privacy.errors import PrivacyError
from server.aggregation.base import Aggregation, released
from server.config import FederationConfig
from server.rounds.cohort import Cohort
from server.rounds.delivery import exchange
from strategies.wire.round_plan import RoundPlan, round_context, vector_digest

logger = logging.getLogger(__name__)


class RoundAborted(RuntimeError):
    """A round gave no mean; nothing of it is used, and the run can go on.

    Attributes:
        evidence: What the server ledger keeps of it.
        seconds_stages: What its stages took, those that were not reached included.
    """

    def __init__(
        self,
        message: str,
        *,
        evidence: Mapping[str, object] | None = None,
        seconds_stages: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(message)
        self.evidence: Mapping[str, object] = evidence or {}
        self.seconds_stages: Mapping[str, float] = seconds_stages or {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """Vectors of a round, collected.

    Attributes:
        mean: Mean of the groups' vectors, float64; None where there is none, as groups step by
            themselves: the server's vector then stays the public first one.
        groups: Whose vectors are in it, or who has stepped.
        seconds_secagg: Spent in stages of secure aggregation that train nothing, and in unmasking.
        seconds_stages: What each stage took, in the order of stages.
        evidence: What the server ledger keeps of it.
        shown: What each held-out group is to be sent in place of the server's vector, where
            there is no mean; empty where nothing is to be measured.
        distance: How far apart partners were before they met, L2 norm, mean over pairs; None where
            nobody has met.
    """

    mean: NDArray[np.float64] | None
    groups: tuple[str, ...]
    seconds_secagg: float = 0.0
    seconds_stages: Mapping[str, float] = field(default_factory=dict)
    evidence: Mapping[str, object] = field(default_factory=dict)
    shown: Mapping[str, RecordDict] = field(default_factory=dict)
    distance: float | None = None


class Collector(Protocol):
    """Collects the vectors of a round."""

    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """Have all train groups train, and return the mean of what they made.

        Args:
            plan: The same for all groups but for what ``Aggregation.work`` adds.
            vector: (d,) float32, where they start.

        Raises:
            RoundAborted: Too few answered, or the protocol ended early.
            CohortError: A group sent what the run cannot use.
        """

    def close(self) -> None:
        """Say to all groups that the run is over."""


def ask(
    grid: Grid,
    nodes: Mapping[str, int],
    kind: str,
    contents: Mapping[str, RecordDict],
    *,
    round_number: int,
    timeout_seconds: float,
) -> dict[str, RecordDict]:
    """Send each group its content; the answers by group, in order of their names.

    Groups that fail, cannot be reached or do not answer in time are missing.
    """
    messages = [
        Message(content, nodes[group], kind, group_id=str(round_number))
        for group, content in contents.items()
    ]
    names = {nodes[group]: group for group in contents}
    answers: dict[str, RecordDict] = {}
    log_as = f"round {round_number}, {kind}"
    for reply in exchange(grid, messages, timeout_seconds=timeout_seconds, log_as=log_as):
        # An error's text may quote a client's data: its code is all that is logged.
        if reply.has_error():
            logger.warning("round %d: a group failed, code %s", round_number, reply.error.code)
        else:
            answers[names[reply.metadata.src_node_id]] = reply.content
    return dict(sorted(answers.items()))


def plan_for_group(plan: RoundPlan, group: str, aggregation: Aggregation) -> ConfigRecord:
    """The plan as one group receives it: with its own section about privacy."""
    return ConfigRecord(dict(replace(plan, privacy=aggregation.work(group)).to_wire()))


class PlainCollector:
    """Takes the vectors one by one: the server sees each of them.

    Args:
        grid: The way to the clients.
        cohort: Who takes part.
        config: Timeouts and the fewest groups.
        aggregation: What is made of the vectors.
        before_vectors: Called in every round before any vector is asked for.
    """

    def __init__(
        self,
        grid: Grid,
        cohort: Cohort,
        config: FederationConfig,
        aggregation: Aggregation,
        *,
        before_vectors: Callable[[], None] | None = None,
    ) -> None:
        self._grid = grid
        self._cohort = cohort
        self._config = config
        self._aggregation = aggregation
        self._before_vectors = before_vectors or (lambda: None)

    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """One trip; see :class:`Collector`."""
        begun = time.perf_counter()
        self._before_vectors()
        train = self._cohort.drawn(plan.round, seed=plan.seed, size=self._config.groups_per_round)
        if not train:
            raise RoundAborted(
                "no group is there: look at the SuperLink",
                evidence={"round": plan.round, "attempt": 1},
            )
        model = ArrayRecord([vector])
        contents = {
            group: RecordDict(
                {"model": model, "plan": plan_for_group(plan, group, self._aggregation)}
            )
            for group in train
        }
        updates = ask(
            self._grid, train, "train", contents,
            round_number=plan.round, timeout_seconds=self._config.round_timeout_seconds,
        )  # fmt: skip
        evidence = self._evidence(plan, vector, updates)
        seconds = {"train": time.perf_counter() - begun}
        if len(updates) < self._config.minimum_groups:
            raise RoundAborted(
                f"{len(updates)} of {len(train)} groups answered, "
                f"{self._config.minimum_groups} needed: look at the clients' logs",
                evidence=evidence,
                seconds_stages=seconds,
            )
        try:
            mean = self._aggregation.mean_of_updates(plan, updates, dimension=vector.size)
        except PrivacyError as error:
            raise RoundAborted(str(error), evidence=evidence, seconds_stages=seconds) from error
        return Collected(
            mean=mean, groups=tuple(updates), seconds_stages=seconds, evidence=evidence
        )

    def close(self) -> None:
        """Nothing is to be said; see :class:`Collector`."""

    def _evidence(
        self, plan: RoundPlan, vector: NDArray[np.float32], updates: Mapping[str, RecordDict]
    ) -> dict[str, object]:
        """Digests of what came, by group; the context leaves out group indices."""
        model = vector_digest(vector)
        alike = replace(plan, privacy=self._aggregation.work(next(iter(self._cohort.train))))
        return {
            "round": plan.round,
            "attempt": 1,
            "ctx": round_context(alike.digest(), model).hex(),
            "model": model,
            "survivors": list(updates),
            "vectors": {
                group: hashlib.sha256(released(group, content).tobytes()).hexdigest()
                for group, content in updates.items()
            },
        }
