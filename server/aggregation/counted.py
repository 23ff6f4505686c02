"""Updates that were trained on noised counts: added up as if nothing had to be protected.

They are private by themselves, as whatever is computed of the counts. All that is private here is
the section of the round plan by which a group finds the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flwr.app import RecordDict

from privacy.kernel.types import Modular
from privacy.secagg.round_terms import VectorTerms
from server.aggregation.base import Aggregation, Combined
from server.aggregation.registration import PlanSections
from strategies.base import State, Vector
from strategies.wire.round_plan import RoundPlan, Scalar


class CountedAggregation(Aggregation):
    """Adds up updates as another aggregation does, under a plan of counts.

    Args:
        inner: What is done with the updates.
        sections: What each group is told of the plan.
    """

    fewest = 1

    def __init__(self, inner: Aggregation, sections: PlanSections) -> None:
        self._inner = inner
        self._sections = sections

    def work(self, group: str) -> Mapping[str, Scalar]:
        """The plan of counts; see :class:`server.aggregation.base.Aggregation`."""
        return self._sections.of(group)

    def compression(self) -> Mapping[str, Scalar]:
        """See :class:`server.aggregation.base.Aggregation`."""
        return self._inner.compression()

    def state(self) -> State:
        """See :class:`server.aggregation.base.Aggregation`."""
        return self._inner.state()

    def restore(self, state: State) -> None:
        """See :class:`server.aggregation.base.Aggregation`."""
        self._inner.restore(state)

    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Those of the updates, bound to the plan of counts."""
        terms = self._inner.vector_terms(plan, dimension, members=members)
        return replace(terms, plan=self._sections.digest)

    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> Vector:
        """See :class:`server.aggregation.base.Aggregation`."""
        return self._inner.mean_of_updates(plan, updates, dimension=dimension)

    def mean_of_sum(self, plan: RoundPlan, total: Modular, *, members: int, summed: int) -> Vector:
        """See :class:`server.aggregation.base.Aggregation`."""
        return self._inner.mean_of_sum(plan, total, members=members, summed=summed)

    def combine(self, mean: Vector, *, dimension: int, train_adapter: bool) -> Combined:
        """See :class:`server.aggregation.base.Aggregation`."""
        return self._inner.combine(mean, dimension=dimension, train_adapter=train_adapter)
