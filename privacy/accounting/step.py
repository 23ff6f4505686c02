"""The private step of a group, and the private count: what is executed is what audits attack.

There is no other way from records to a noised vector. What is taken out here (the noise, the clip,
the sampling) is taken out of both, and an audit of what runs finds it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from privacy.accounting.plan import PrivacyPlan
from privacy.kernel.clipping import clip_sum
from privacy.kernel.discrete_gaussian import add_noise
from privacy.kernel.randomness import ByteSource, poisson_sample
from privacy.kernel.tally import Answers, CountBounds, Distributions, count_answers
from privacy.kernel.types import Noised, Update

#: Gives the gradients of a sample, one row a unit, in micro-batches.
GradientsOf: TypeAlias = Callable[[Sequence[int]], Iterable[Update]]


def private_step(
    gradients_of: GradientsOf, plan: PrivacyPlan, *, group: int, units: int, source: ByteSource
) -> Noised:
    """Draw a fresh Poisson sample of units, clip and sum their gradients, and add noise.

    An empty sample goes the same way.

    Args:
        gradients_of: Called once with the sample, places of units from 0.
        plan: Fixes sampling, batch cap, clip, integer grid and noise.
        group: Which of the plan's groups it is, from 0.
        units: How many units the group has.
        source: Randomness of the operating system.

    Returns:
        The group's share: private by itself in local mode only.
    """
    sample = poisson_sample(
        source,
        sampling_rate=plan.sampling_rate,
        units=units,
        batch_cap=plan.batch_cap(group),
    )
    return add_noise(clip_sum(gradients_of(sample.tolist()), plan.kernel), source)


def private_count(
    answers: Answers | Distributions, bounds: CountBounds, plan: PrivacyPlan, *, source: ByteSource
) -> Noised:
    """Count the answers of a group and add noise: once for its data, and never again.

    Args:
        answers: Of those who take part.
        bounds: Of the group's own questionnaire; see `PrivacyPlan.count_bounds`.
        plan: Of the group alone; fixes grid and noise.
        source: Randomness of the operating system.

    Returns:
        The counts with all of the noise, private by themselves.
    """
    return add_noise(count_answers(answers, bounds, plan.kernel, source), source)
