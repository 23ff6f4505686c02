"""Collection of a round's vectors, one by one here, as a sum in ``secagg_coordinator``."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from privacy.errors import PrivacyError, SecaggAbort
from server.aggregation.base import Aggregation, released
from server.config import FederationConfig
from server.rounds.cohort import Cohort
from server.rounds.delivery import exchange
from server.state.witness import Witness
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


@dataclass
class StageClock:
    """Measures stages that follow one another.

    Attributes:
        seconds: What each stage took, by name, in order.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _begun: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str) -> None:
        """Add the time since the last mark to this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._begun
        self._begun = now


@dataclass(eq=False)
class Collector(ABC):
    """Collects the vectors of a round.

    Attributes:
        grid: The way to the clients.
        cohort: Who takes part, and the public keys of the train groups.
        config: Timeouts and thresholds, and how many groups take part in a round.
        aggregation: What is made of the vectors.
        run: Name of the run; drawn where none is given.
        witness: Keeps and signs what a reviewer will ask about.
        before_vectors: Called in every round before any vector is asked for.
    """

    grid: Grid
    cohort: Cohort
    config: FederationConfig
    aggregation: Aggregation
    run: str = field(default="", kw_only=True)
    witness: Witness = field(default_factory=Witness, kw_only=True)
    before_vectors: Callable[[], None] = field(default=lambda: None, kw_only=True)

    def __post_init__(self) -> None:
        """Draw a name where none is given."""
        self.run = self.run or secrets.token_hex(16)

    @abstractmethod
    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """Have all train groups train, and return the mean of what they made.

        Args:
            plan: The same for all groups but for what ``Aggregation.work`` adds.
            vector: (d,) float32, where they start.

        Raises:
            RoundAborted: Too few answered, or the protocol ended early.
            CohortError: A group sent what the run cannot use.
        """

    def close(self) -> None:  # noqa: B027  # nothing is to be said where nobody signs
        """Say to all groups that the run is over."""

    def drawn(self, plan: RoundPlan, number: int) -> Mapping[str, int]:
        """The train groups that a round of a plan's run asks."""
        return self.cohort.drawn(number, seed=plan.seed, size=self.config.groups_per_round)

    def ask(
        self, kind: str, contents: Mapping[str, RecordDict], number: int
    ) -> dict[str, RecordDict]:
        """Ask train groups in a round; see :func:`ask`."""
        return ask(
            self.grid, self.cohort.train, kind, contents, round_number=number, config=self.config
        )

    def require_enough(
        self,
        came: Sized,
        asked: Sized,
        did: str,
        *,
        evidence: Mapping[str, object],
        clock: StageClock,
    ) -> None:
        """Abort a round in which fewer groups than needed did what they were asked."""
        if len(came) < self.config.minimum_groups:
            raise RoundAborted(
                f"{len(came)} of {len(asked)} groups {did}, {self.config.minimum_groups} needed: "
                "look at the clients' logs",
                evidence=evidence,
                seconds_stages=clock.seconds,
            )


def ask(
    grid: Grid,
    nodes: Mapping[str, int],
    kind: str,
    contents: Mapping[str, RecordDict],
    *,
    round_number: int,
    config: FederationConfig,
) -> dict[str, RecordDict]:
    """Send each group its content; the answers by group, in order of their names.

    Groups that fail, cannot be reached or do not answer in time are missing: queries train and
    measure nothing, and have the time of a stage, all other messages that of a round.
    """
    query = kind.startswith("query.")
    timeout_seconds = config.stage_timeout_seconds if query else config.round_timeout_seconds
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


class PlainCollector(Collector):
    """Takes the vectors one by one: the server sees each of them."""

    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """One trip; see :class:`Collector`."""
        clock = StageClock()
        self.before_vectors()
        train = self.drawn(plan, plan.round)
        if not train:
            raise RoundAborted(
                "no group is there: look at the SuperLink",
                evidence={"round": plan.round, "attempt": 1},
            )
        model = ArrayRecord([vector])
        contents = {
            group: RecordDict(
                {"model": model, "plan": plan_for_group(plan, group, self.aggregation)}
            )
            for group in train
        }
        updates = self.ask("train", contents, plan.round)
        evidence = self._evidence(plan, vector, updates)
        clock.mark("train")
        self.require_enough(updates, train, "answered", evidence=evidence, clock=clock)
        try:
            mean = self.aggregation.mean_of_updates(plan, updates, dimension=vector.size)
        except PrivacyError as error:
            raise RoundAborted(
                str(error), evidence=evidence, seconds_stages=clock.seconds
            ) from error
        return Collected(
            mean=mean, groups=tuple(updates), seconds_stages=clock.seconds, evidence=evidence
        )

    def _evidence(
        self, plan: RoundPlan, vector: NDArray[np.float32], updates: Mapping[str, RecordDict]
    ) -> dict[str, object]:
        """Digests of what came, by group; the context leaves out group indices."""
        model = vector_digest(vector)
        alike = replace(plan, privacy=self.aggregation.work(next(iter(self.cohort.train))))
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


def bytes_in(content: RecordDict, name: str) -> list[bytes]:
    """The messages that a reply holds as arrays of bytes: they may be of many megabytes."""
    arrays: Iterable[NDArray[np.generic]] = content.array_records[name].to_numpy_ndarrays()
    return [array.tobytes() for array in arrays]


def take_all(replies: Mapping[str, bytes], take: Callable[[str, bytes], None]) -> None:
    """Hand over replies; whoever sent one that does not hold counts as having sent none."""
    for name, data in replies.items():
        try:
            take(name, data)
        except SecaggAbort as error:
            logger.warning("%s is left out: %s: %s", name, type(error).__name__, error)
