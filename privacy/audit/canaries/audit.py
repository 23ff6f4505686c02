"""The canary audit: an attack on the kernel itself, and the epsilon that it proves.

Accountants compute what the noise *should* cost. Here m canaries, units whose membership fair coins
decide, go through the very functions a run goes through; an adversary guesses the coins from what
is released; and the number of correct guesses proves, with stated confidence, a lower bound on the
true epsilon (Steinke, Nasr and Jagielski 2023, https://arxiv.org/abs/2305.08846). A bound
above the epsilon that the plan claims means that sampling, clipping, noise or grid is broken. One
run suffices because every canary has a coordinate, and so an experiment, of its own.

What such an audit cannot do. Even r guesses that are all correct prove no more than the *ceiling*,
about ln(r / 3): 4.98 at r = 500. **Under a plan that claims more, such as epsilon 8, every kernel
passes, one without any noise too.** So audit the same code under a plan that claims epsilon 1, and
watch `regression_limit` as well: what a right kernel of this plan does not exceed, claim or no
claim. It is the sharper of the two, for between what an audit can prove and what accountants
compute there is room: at a claim of epsilon 1 a right kernel shows 0.4 and half the noise 0.9, so
the claim mostly survives half the noise. A pass is no proof, then; a breach is one.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.accounting import integer_grid as grid
from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Mode
from privacy.accounting.counts import CountTerms
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.release import sum_of_shares
from privacy.accounting.terms import PrivacyTerms, norm_of_counts
from privacy.audit.canaries.bounds import (
    epsilon_lower_bound,
    log_likelihood_ratio,
    regression_limit,
)
from privacy.audit.canaries.kernels import Kernel, count_kernel, options_of, run_kernel
from privacy.errors import PlanRefused
from privacy.kernel.randomness import ByteSource, SystemRandomStream, bernoulli_mask
from privacy.kernel.types import Modular, centred

# Shares of a right kernel correlate by more standard deviations than this once in 5e8 steps, and
# then nothing but a little of the audit's power is lost.
_CORRELATED = 6.0


_OF_PLAN = ("mode", "delta", "steps", "noise_multiplier", "sampling_rate", "honest_shares")


@dataclass(frozen=True, kw_only=True)
class CanaryAudit:
    """The result of one audit.

    Attributes:
        mode: the plan's.
        epsilon_claimed: the epsilon of the plan.
        delta: of both the claim and the bound.
        epsilon_lower: the bound that the guesses prove on the kernel's true epsilon.
        confidence: of that bound: a kernel that keeps the claim fails with at most the rest.
        ceiling: the bound that guesses without a mistake would prove. Where it is not above
            `epsilon_claimed`, this audit could not have failed.
        regression_limit: the bound that a right kernel exceeds once in a million audits at most.
        canaries: m.
        guesses: r; the adversary abstains on the others.
        correct: how many guesses were.
        steps: T.
        noise_multiplier: z.
        sampling_rate: q.
        honest_shares: h, the shares of noise unknown to the adversary.
    """

    mode: Mode
    epsilon_claimed: float
    delta: float
    epsilon_lower: float
    confidence: float
    ceiling: float
    regression_limit: float
    canaries: int
    guesses: int
    correct: int
    steps: int
    noise_multiplier: float
    sampling_rate: float
    honest_shares: int

    @property
    def passed(self) -> bool:
        """Whether the claim stands: nothing was proved against it."""
        return self.epsilon_lower <= self.epsilon_claimed

    @property
    def conclusive(self) -> bool:
        """Whether the audit could have failed: perfect guesses would refute the claim."""
        return self.ceiling > self.epsilon_claimed

    @property
    def regressed(self) -> bool:
        """Whether the kernel leaks more than the one accounted for, claim or no claim."""
        return self.epsilon_lower > self.regression_limit

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and verdicts as JSON types."""
        verdicts = {name: getattr(self, name) for name in ("passed", "conclusive", "regressed")}
        return {**asdict(self), "mode": str(self.mode), **verdicts}


def audit_plan(
    plan: PrivacyPlan,
    *,
    canaries: int = 5000,
    guesses: int = 500,
    confidence: float = 0.95,
    kernel: Kernel | None = None,
    progress: Callable[[int, int], None] | None = None,
    source: ByteSource | None = None,
) -> CanaryAudit:
    """Attack the kernel under a plan and return the epsilon that the attack proves.

    Every canary is in the data by a fair coin, and then Poisson-sampled, clipped, summed and noised
    in all T steps. `_Adversary` guesses r of the coins from what is released.

    The bound holds for any kernel, canaries and adversary: with probability `confidence` a kernel
    that is (epsilon, delta)-DP, adding or removing a unit, has `epsilon_lower` <= epsilon; under
    REPLACE_ONE, where an absent canary is a unit without a gradient, it is valid but weaker.

    The audit has one coordinate a canary, the plan's z, q, T, C and h, and its integers S and 2^k
    wherever they serve that dimension. Time grows with T (q m + h) m: two seconds at q = .064,
    T = 200, m = 5000, h = 6.

    Args:
        plan: what is claimed.
        canaries: m; fewer than 1/delta.
        guesses: r, at most m. More raise the ceiling and lower the share that is correct.
        confidence: of the bound.
        kernel: what is audited; None is what runs execute under such a plan, `run_kernel` or
            `count_kernel`, and anything else is for tests.
        progress: called after every step with the steps done and all steps.
        source: randomness of coins, sampling and noise; None outside tests: the system's.

    Raises:
        ValueError: if canaries, guesses or confidence are out of range.
        GridTooCoarse: if no integer grid serves so many canaries under so much noise.
    """
    limit = regression_limit(plan, canaries=canaries, guesses=guesses, confidence=confidence)
    audited = _with_canaries(plan, canaries)
    kernel = kernel or (run_kernel if plan.counts is None else count_kernel)
    stream = SystemRandomStream() if source is None else source
    correct = _correct_guesses(audited, kernel, stream, guesses, progress or (lambda *_: None))
    bound = partial(
        epsilon_lower_bound,
        guesses=guesses,
        canaries=canaries,
        delta=plan.delta,
        confidence=confidence,
    )
    return CanaryAudit(
        epsilon_claimed=plan.epsilon,
        epsilon_lower=bound(correct=correct),
        confidence=confidence,
        ceiling=bound(correct=guesses),
        regression_limit=limit,
        canaries=canaries,
        guesses=guesses,
        correct=correct,
        **{name: getattr(audited, name) for name in _OF_PLAN},
    )


def _correct_guesses(
    plan: PrivacyPlan,
    kernel: Kernel,
    source: ByteSource,
    guesses: int,
    progress: Callable[[int, int], None],
) -> int:
    """Toss the coins, run all steps, and return how many guesses of the adversary were right."""
    coins = bernoulli_mask(source, probability=0.5, count=len(options_of(plan)))
    adversary, members = _Adversary(plan), np.flatnonzero(coins)
    for step in range(plan.steps):
        adversary.observe(*_one_step(kernel, members, plan, source))
        progress(step + 1, plan.steps)
    return adversary.correct_guesses(coins, guesses)


def _with_canaries(plan: PrivacyPlan, canaries: int) -> PrivacyPlan:
    """Return the plan to audit: the same noise over canaries instead of units and coordinates.

    Its groups are the one that holds the canaries, h - 1 honest ones without data, and one colluder
    that the adversary knows all about.
    """
    honest = plan.honest_shares
    changes: dict[str, Any] = {
        "groups": honest + 1,
        "units_per_group": (canaries, *[1] * honest),
        "survivors": honest + 1,
        "colluding": 1,
        "dimension": canaries,
    }
    if plan.counts is not None:
        changes |= _of_one_answer(plan, plan.counts, canaries)
    try:
        return replace(plan, **changes)
    except PlanRefused:
        # The plan's own grid is too coarse or too fine for so many canaries: choose it anew.
        kept = {field.name: getattr(plan, field.name) for field in fields(PrivacyTerms)}
        terms = PrivacyTerms(**{**kept, **changes})
        demand = grid.GridDemand(
            noise_multiplier=plan.noise_multiplier,
            honest_shares=honest,
            shares=honest + 1,
            largest_batch=sum(terms.batch_cap(group) for group in range(terms.groups)),
            dimension=terms.dimension,
        )
        chosen = grid.at(demand, plan.noise_log2) if plan.counts else grid.choose(demand)
        return replace(plan, **changes, **asdict(chosen))


def _of_one_answer(plan: PrivacyPlan, counts: CountTerms, canaries: int) -> dict[str, Any]:
    """Count one answer of a person, which then moves the counts by all of S."""
    paired = plan.relation is NeighboringRelation.REPLACE_ONE
    return {
        "dimension": 2 * canaries if paired else canaries,
        "clipping_norm": norm_of_counts(1, counts.largest_weight),
        "counts": replace(
            counts, answers_per_respondent=1, questionnaires=("",) * (plan.honest_shares + 1)
        ),
    }


def _one_step(
    kernel: Kernel, members: NDArray[np.intp], plan: PrivacyPlan, source: ByteSource
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the adversary sees of one step.

    Returns:
        The sum of the h honest shares, which is the release without the colluder's share (in local
        mode the group's own release), and the colluder's share; both `(m,)`, a coordinate each
        canary.
    """
    shares = [
        kernel(members if group == 0 else members[:0], plan, group=group, source=source)
        for group in range(plan.groups)
    ]
    *honest, own = shares
    return _read(sum_of_shares(honest, plan), plan), _read(sum_of_shares([own], plan), plan)


def _read(total: Modular, plan: PrivacyPlan) -> NDArray[np.float64]:
    """What a sum says of each canary, with noise of the plan's and S more where it is there."""
    cells: NDArray[np.float64] = centred(total).astype(np.float64)
    if len(options_of(plan)) == plan.dimension:
        return cells
    # Both options of a question say the same of it, with noise of their own.
    return (cells[::2] - cells[1::2]) / math.sqrt(2)


class _Adversary:
    """The adversary that the plan accounts for.

    It sees each step (in local mode each local step, though only their mean is sent), knows which
    coordinate is whose, and takes the noise of colluding groups off, so that h shares remain. A
    canary's score is the log likelihood ratio of its own coordinate, added up over the steps, which
    no other score of one coordinate beats. The r canaries of the most extreme scores are guessed,
    the higher half to be in the data, the lower half not; it abstains on the rest.

    Decisions rest on released values and the colluder's share alone, never on the coins, so they
    leave the bound valid.
    """

    def __init__(self, plan: PrivacyPlan) -> None:
        self._plan = plan
        self._ratios, self._total, self._squares = np.zeros((3, len(options_of(plan))))

    def observe(self, release: NDArray[np.float64], own: NDArray[np.float64]) -> None:
        """Add one step."""
        seen = release / self._plan.sensitivity
        known = own / self._plan.sensitivity
        product, power = float(seen @ known), float(known @ known)
        # Noise that other groups have in common with the colluder is no secret: take it off.
        if product**2 * seen.size > _CORRELATED**2 * power * float(seen @ seen):
            seen -= product / power * known
        self._ratios += log_likelihood_ratio(seen, self._plan)
        self._total += seen
        self._squares += seen * seen

    def correct_guesses(self, coins: NDArray[np.bool_], guesses: int) -> int:
        """Guess and return how many guesses were right."""
        order = np.argsort(self._scores(), kind="stable")
        lowest, highest = order[: guesses // 2], order[-(guesses - guesses // 2) :]
        return int(np.count_nonzero(~coins[lowest]) + np.count_nonzero(coins[highest]))

    def _scores(self) -> NDArray[np.float64]:
        if self._steps_repeat():
            # What then sets a canary apart is that its coordinate varies at all.
            return self._plan.steps * self._squares - self._total**2
        return self._ratios

    def _steps_repeat(self) -> bool:
        """Whether steps have more in common than canaries alone can explain: the same noise.

        Without any noise two steps correlate by q / (2 - q), with fresh noise by less, with
        repeated noise by up to 1: the line is halfway. At q = 1 repetition reveals nothing.
        """
        steps, rate = self._plan.steps, self._plan.sampling_rate
        everywhere = self._total.mean() / steps
        variance = self._squares.mean() / steps - everywhere**2
        if steps == 1 or rate == 1 or variance <= 0:
            return False
        between = float((self._total / steps).var())
        correlation = (between * steps / variance - 1) / (steps - 1)
        return bool(correlation > 1 / (2 - rate))
