"""What an audit runs: the private step and the private count, on canaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.release import unmasked_share
from privacy.accounting.step import private_count, private_step
from privacy.kernel.randomness import ByteSource
from privacy.kernel.tally import Answers, Distributions
from privacy.kernel.types import Modular, Update

CANARY_NORM = 1000.0
"""Norm of a canary's gradient, in clipping norms: nothing but the clip bounds it. Where answers are
counted, the weight of a canary's answer, in largest weights: nothing but the cap does."""

# Rows of a micro-batch: they do not change the sum, and few of them stay in the cache.
_ROWS = 16


class Kernel(Protocol):
    """One step of one group, from its units to the vector that leaves it.

    `run_kernel` and `count_kernel` are those that runs use. The audit takes it as an argument so
    that tests can put broken ones in its place and show that the audit finds them.
    """

    def __call__(
        self, canaries: NDArray[np.intp], plan: PrivacyPlan, *, group: int, source: ByteSource
    ) -> Modular:
        """Return the group's share.

        Args:
            canaries: `(units,) intp`, the group's units, each named by its coordinate; often none.
            plan: the audited plan, one coordinate a canary.
            group: the group's index in that plan, from 0.
            source: the randomness of sampling and noise.

        Returns:
            `(m,)` residues modulo 2^modulus_bits.
        """
        ...


def run_kernel(
    canaries: NDArray[np.intp], plan: PrivacyPlan, *, group: int, source: ByteSource
) -> Modular:
    """Take one step by the very function that rounds execute, with gradients of the audit's own.

    See :func:`privacy.accounting.step.private_step`: what is broken there is broken here.
    """

    def gradients_of(sample: Sequence[int]) -> Iterator[Update]:
        return canary_updates(canaries[np.asarray(sample, dtype=np.intp)], plan)

    noised = private_step(gradients_of, plan, group=group, units=canaries.size, source=source)
    return unmasked_share(noised)


def count_kernel(
    canaries: NDArray[np.intp], plan: PrivacyPlan, *, group: int, source: ByteSource
) -> Modular:
    """Count by the very function that makes tallies, with answers of the audit's own.

    See :func:`privacy.accounting.step.private_count`: what is broken there is broken here. Every
    canary is a person with one answer to a question of their own, of an absurd weight. So a canary
    moves the counts as far as a person may.
    """
    if plan.relation is NeighboringRelation.REPLACE_ONE:
        return _counts_of_distributions(canaries, plan, group=group, source=source)
    bounds = plan.count_bounds(options_of(plan))
    answers = Answers(
        persons=np.arange(canaries.size, dtype=np.int64),
        questions=canaries.astype(np.int64),
        options=np.zeros(canaries.size, dtype=np.int64),
        weights=np.full(canaries.size, CANARY_NORM * float(bounds.largest_weight)),
    )
    return unmasked_share(private_count(answers, bounds, plan, source=source))


def _counts_of_distributions(
    canaries: NDArray[np.intp], plan: PrivacyPlan, *, group: int, source: ByteSource
) -> Modular:
    """Count distributions of one person each, of a tally each: in one all would share S.

    The first option is theirs where the canary is there, else the second; other groups than that of
    the canaries have asked nobody.
    """
    options = options_of(plan)
    there = np.isin(np.arange(len(options)), canaries)
    alone = plan.of_group(group, options[:1], questionnaire="", units=plan.group_size(group))
    bounds = alone.count_bounds(options[:1])
    asked = [0] if group == 0 else []
    counted = [
        private_count(
            Distributions(
                questions=asked,
                respondents=[1] * len(asked),
                shares=[[float(is_there), float(not is_there)]],
            ),
            bounds,
            alone,
            source=source,
        )
        for is_there in there.tolist()
    ]
    return np.concatenate([unmasked_share(noised) for noised in counted])


def options_of(plan: PrivacyPlan) -> list[int]:
    """Of every canary's question: one, or two where another answer is what a person may change."""
    paired = plan.counts is not None and plan.relation is NeighboringRelation.REPLACE_ONE
    return [2] * (plan.dimension // 2) if paired else [1] * plan.dimension


def canary_updates(canaries: NDArray[np.intp], plan: PrivacyPlan) -> Iterator[Update]:
    """Yield the gradients of canaries in micro-batches: `CANARY_NORM` * C on a coordinate each.

    The micro-batches share one buffer: use each before the next is asked for, and keep none.

    Args:
        canaries: `(units,) intp`, their coordinates.
        plan: gives C and the dimension.
    """
    buffer = np.zeros((_ROWS, plan.dimension), dtype=np.float32)
    for start in range(0, canaries.size, _ROWS):
        coordinates = canaries[start : start + _ROWS]
        rows = np.arange(coordinates.size)
        buffer[rows, coordinates] = CANARY_NORM * plan.clipping_norm
        yield Update(gradients=buffer[: coordinates.size])
        buffer[rows, coordinates] = 0
