"""Aggregation of a round's vectors into their mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from privacy.kernel.quantisation import dequantised_mean, fraction_bits
from privacy.kernel.types import Modular
from privacy.secagg.round_terms import VectorTerms
from server.aggregation.robust import Rule
from server.rounds.cohort import CohortError
from strategies.base import State, Vector
from strategies.wire.compression import StepSizes
from strategies.wire.round_plan import RoundPlan, Scalar


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """A round's outcome.

    Attributes:
        update: (d,) float64, the mean update of the global vector.
        loss: Mean training loss, nats; None where noise leaves nothing of it.
    """

    update: Vector
    loss: float | None


class Aggregation(ABC):
    """Turns what comes back in a round into one update of the global vector.

    The vectors come either one by one, or as a sum that secure aggregation has made of them.
    """

    @abstractmethod
    def work(self, group: str) -> Mapping[str, Scalar]:
        """The section about privacy of a group's round plan."""

    def compression(self) -> Mapping[str, Scalar]:
        """The section about compression of the next round plan; empty for numbers as they are."""
        return {}

    def state(self) -> State:
        """State that the next rounds depend on, for a run that is stopped and goes on."""
        return {}

    def restore(self, state: State) -> None:  # noqa: B027  # most remember nothing
        """Go on as the one whose :meth:`state` this was."""

    @property
    @abstractmethod
    def fewest(self) -> int:
        """The fewest groups whose sum may be used."""

    @abstractmethod
    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Terms of the vectors that members of a secure sum send.

        Args:
            plan: Of the round.
            dimension: d, of the global vector.
            members: Vectors that the sum may have.
        """

    @abstractmethod
    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> Vector:
        """The mean of vectors that came one by one.

        Args:
            plan: Of the round.
            updates: Replies by group, in a fixed order so that sums of floats repeat.
            dimension: d, of the global vector.

        Raises:
            CohortError: A vector is not what the run needs.
            PrivacyError: Too few came for the noise to suffice.
        """

    @abstractmethod
    def mean_of_sum(self, plan: RoundPlan, total: Modular, *, members: int, summed: int) -> Vector:
        """The mean out of a secure sum.

        Args:
            plan: Of the round.
            total: Residues, as ``vector_terms`` describes them.
            members: Vectors that the sum might have had.
            summed: Vectors that it has.
        """

    @abstractmethod
    def combine(self, mean: Vector, *, dimension: int, train_adapter: bool) -> Combined:
        """Read a mean.

        Args:
            mean: Of the groups' vectors.
            dimension: d, of the global vector.
            train_adapter: Whether adapters took part in the round.
        """


def released(group: str, content: RecordDict) -> NDArray[np.generic]:
    """The one vector that a reply holds."""
    arrays = content.array_records["update"].to_numpy_ndarrays()
    if len(arrays) != 1:
        raise CohortError(f"group {group!r} released {len(arrays)} vectors: use one version")
    vector: NDArray[np.generic] = arrays[0]
    return vector


class MeanOfUpdates(Aggregation):
    """The mean of unprotected updates by the groups' weights; the loss rides behind each.

    Coordinates that a round does not train stay as they are and do not travel.

    Args:
        steps: Learning rates, above 0 where a round trains; None: all train, in every round.
        rule: Taken in place of the mean where vectors come one by one.
    """

    fewest = 1

    def __init__(self, steps: StepSizes | None = None, rule: Rule | None = None) -> None:
        self._steps = steps
        self._rule = rule

    def work(self, group: str) -> Mapping[str, Scalar]:
        """Nothing is private; see :class:`Aggregation`."""
        return {}

    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Update, loss and weight, quantised; see :class:`Aggregation`."""
        return quantised_terms(self._trained(plan, dimension).size + 1, members=members)

    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> Vector:
        """Average; see :class:`Aggregation`."""
        trained = self._trained(plan, dimension)
        mean = mean_of_floats(updates, trained.size + 1, self._rule)
        return _embedded(mean, trained, dimension)

    def mean_of_sum(self, plan: RoundPlan, total: Modular, *, members: int, summed: int) -> Vector:
        """Divide by the weights; see :class:`Aggregation`."""
        mean = dequantised_mean(total, members=members)
        if self._steps is None:
            return mean
        steps = self._steps.of(plan)
        return _embedded(mean, np.flatnonzero(steps > 0), steps.size)

    def combine(self, mean: Vector, *, dimension: int, train_adapter: bool) -> Combined:
        """Part update and loss; see :class:`Aggregation`."""
        return Combined(update=mean[:-1], loss=float(mean[-1]))

    def _trained(self, plan: RoundPlan, dimension: int) -> NDArray[np.intp]:
        """Indices of the coordinates that a round trains."""
        if self._steps is None:
            return np.arange(dimension)
        return np.flatnonzero(self._steps.of(plan) > 0)


def _embedded(mean: Vector, trained: NDArray[np.intp], dimension: int) -> Vector:
    """A mean of some coordinates and the loss as one of all and the loss; the others are 0."""
    whole = np.zeros(dimension + 1)
    whole[trained], whole[-1] = mean[:-1], mean[-1]
    return whole


def quantised_terms(size: int, *, members: int, plan: str = "") -> VectorTerms:
    """The terms of quantised vectors of so many numbers; a weight follows each."""
    return VectorTerms(dimension=size + 1, fraction_bits=fraction_bits(members), plan=plan)


def mean_of_floats(
    updates: Mapping[str, RecordDict], size: int, rule: Rule | None = None
) -> Vector:
    """The mean of vectors of so many finite numbers, each followed by its weight.

    As :func:`privacy.kernel.quantisation.dequantised_mean` makes it of a secure sum: divided by
    the sum of weights. Of equal weights of 1 it is the plain mean, bit for bit. A rule takes the
    place of the mean and counts all alike.

    Raises:
        CohortError: A vector has another size, holds a number that is not finite, or has a weight
            that is not above 0 and at most 1.
    """
    total, weights = np.zeros(size), 0.0
    vectors = []
    for group, content in updates.items():
        vector = np.asarray(released(group, content), dtype=np.float64)
        if vector.shape != (size + 1,) or not np.isfinite(vector).all():
            raise CohortError(
                f"group {group!r} released {vector.shape} or a number that is not finite, "
                f"({size + 1},) finite needed: give all groups one version"
            )
        weight = float(vector[-1])
        if not 0 < weight <= 1:
            raise CohortError(
                f"group {group!r} released a weight that is not in (0, 1]: give all groups one "
                "version"
            )
        if rule is not None:
            vectors.append(vector[:-1])
            continue
        total += weight * vector[:-1]
        weights += weight
    return total / weights if rule is None else rule(np.stack(vectors))
