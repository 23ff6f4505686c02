"""The statistics of the canary audit: the epsilon that guesses prove.

Steinke, Nasr and Jagielski 2023 (https://arxiv.org/abs/2305.08846) for the bound; the law of a
right kernel's scores for the limit that such a kernel does not exceed.
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv, expit
from scipy.stats import binom

REGRESSION_FALSE_ALARM = 1e-6
"""Largest chance that an audit of a right kernel exceeds its `regression_limit`."""

# Points at which the law of a right kernel's scores is computed: guesses right to about 1e-4.
_NODES = 2**16


class AuditedNoise(Protocol):
    """What the bounds need of a plan."""

    @property
    def delta(self) -> float:
        """Of the claim."""

    @property
    def steps(self) -> int:
        """T."""

    @property
    def noise_multiplier(self) -> float:
        """Z."""

    @property
    def sampling_rate(self) -> float:
        """Q."""

    @property
    def honest_shares(self) -> int:
        """H."""


def epsilon_lower_bound(
    *, guesses: int, correct: int, canaries: int, delta: float, confidence: float
) -> float:
    """Return the largest epsilon that so many correct guesses refute, 0 if they refute none.

    Steinke, Nasr and Jagielski 2023, theorem 5.2 and the algorithm of appendix D: for an
    (epsilon, delta)-DP mechanism, m canaries with fair coins and at most r guesses, W being
    Binomial(r, e^epsilon / (1 + e^epsilon)),

        P[correct >= v] <= P[W >= v] + 2 m delta max_i P[v - i <= W < v] / i.

    Without the term of delta the answer is the logit of the Clopper-Pearson lower limit, which is
    taken in closed form; with it, the root below that. Accurate to 1e-9; grows with `correct`.

    Args:
        guesses: r.
        correct: v.
        canaries: m.
        delta: in [0, 1); 0 for pure differential privacy.
        confidence: at least .5.
    """
    _check(canaries=canaries, guesses=guesses, confidence=confidence)
    if not 0 <= correct <= guesses:
        raise ValueError(
            f"correct = {correct} is outside [0, {guesses}], the guesses; count correct guesses"
        )
    if not 0 <= delta < 1:
        raise ValueError(f"delta = {delta} is outside [0, 1); take the plan's")
    if correct == 0:
        return 0.0
    failure = 1 - confidence
    # Both tails, so that neither probability loses its digits near 1.
    right = betaincinv(correct, guesses - correct + 1, failure)
    wrong = betaincinv(guesses - correct + 1, correct, confidence)
    pure = math.log(right) - math.log(wrong)

    def excess(epsilon: float) -> float:
        law = binom(guesses, expit(epsilon))
        # P[v - i <= W < v] for i = 1 ... v.
        below = np.cumsum(law.pmf(np.arange(correct - 1, -1, -1)))
        spread = np.max(below / np.arange(1, correct + 1))
        return float(law.sf(correct - 1) + 2 * canaries * delta * spread - failure)

    if pure <= 0 or excess(0.0) >= 0:
        return 0.0
    # Rounding may leave the closed form a hair on the wrong side of its own equation.
    return pure if excess(pure) <= 0 else float(brentq(excess, 0.0, pure, xtol=1e-10))


def regression_limit(
    plan: AuditedNoise, *, canaries: int = 5000, guesses: int = 500, confidence: float = 0.95
) -> float:
    """Return the bound that an audit of a right kernel exceeds once in a million at most.

    In a right kernel a canary's coordinate is, step by step, N(0, z^2) in units of S, plus 1 with
    probability q if the canary is in the data. From that follows how often the most extreme scores
    are guessed right; the number of right guesses is then taken as binomial. The limit guarantees
    nothing: it is a tripwire, and the only one where the ceiling is below the claim. At epsilon 8,
    q = .064, T = 200 a right kernel gives 2.7, the limit is 3.8, and half the noise gives 4.8.

    Where the limit is the ceiling, the accounted noise hides nothing from this adversary, and the
    audit can tell nothing.

    Raises:
        ValueError: if canaries, guesses or confidence are out of range.
    """
    _check(canaries=canaries, guesses=guesses, confidence=confidence)
    most = math.ceil(1 / plan.delta) - 1 - plan.honest_shares
    if canaries > most:
        raise ValueError(
            f"canaries = {canaries} is above {most} at delta = {plan.delta}, which must stay below "
            "one over the units of the audit; use fewer canaries"
        )
    accuracy = _right_accuracy(plan, share=guesses / canaries)
    return epsilon_lower_bound(
        guesses=guesses,
        correct=min(guesses, int(binom.isf(REGRESSION_FALSE_ALARM, guesses, accuracy))),
        canaries=canaries,
        delta=plan.delta,
        confidence=confidence,
    )


def _right_accuracy(plan: AuditedNoise, *, share: float) -> float:
    """Return how often a guess is right under the accounted noise, guessing a share of all."""
    rate, deviation = plan.sampling_rate, plan.noise_multiplier
    values = np.linspace(-12 * deviation, 1 + 12 * deviation, _NODES)
    scores = log_likelihood_ratio(values, plan)
    absent = np.exp(-0.5 * (values / deviation) ** 2)
    present = (1 - rate) * absent + rate * np.exp(-0.5 * ((values - 1) / deviation) ** 2)
    laws = [law / law.sum() for law in (absent, present)]
    means = [plan.steps * float(law @ scores) for law in laws]
    spreads = [
        math.sqrt(plan.steps * float(law @ scores**2) - mean**2 / plan.steps)
        for law, mean in zip(laws, means, strict=True)
    ]
    # One rare step may lie beyond any number of standard deviations.
    low = scores[0] + min(mean - 12 * spread for mean, spread in zip(means, spreads, strict=True))
    high = scores[-1] + max(mean + 12 * spread for mean, spread in zip(means, spreads, strict=True))
    width = (high - low) / _NODES
    out, inside = (_sum_law(law, scores / width, plan.steps, round(low / width)) for law in laws)
    both = (out + inside) / 2
    right_low = np.interp(share / 2, both, out) / share
    right_high = (1 - np.interp(1 - share / 2, both, inside)) / share
    # Rounding of the transform may pass 1.
    return float(min(1.0, (right_low + right_high) / 2))


def _sum_law(
    law: NDArray[np.float64], scores: NDArray[np.float64], steps: int, first: int
) -> NDArray[np.float64]:
    """Return the distribution function of a sum of independent scores, on integers from `first`.

    Each score is split over the two integers around it, which keeps its mean; the sum is a power
    of the Fourier transform, on a circle wide enough for all but a negligible tail.
    """
    cells = np.floor(scores)
    upper = scores - cells
    mass = np.zeros(_NODES)
    for offset, weights in ((0, law * (1 - upper)), (1, law * upper)):
        index = (cells.astype(np.int64) + offset) % _NODES
        mass += np.bincount(index, weights=weights, minlength=_NODES)
    total = np.fft.irfft(np.fft.rfft(mass) ** steps, _NODES)
    return np.cumsum(np.roll(total, -first))


def log_likelihood_ratio(values: NDArray[np.float64], plan: AuditedNoise) -> NDArray[np.float64]:
    """Return log(density if the canary is in the data / density if not) of values in units of S."""
    rate, variance = plan.sampling_rate, plan.noise_multiplier**2
    missed = math.log1p(-rate) if rate < 1 else -math.inf
    ratio: NDArray[np.float64] = np.logaddexp(missed, math.log(rate) + (values - 0.5) / variance)
    return ratio


def _check(*, canaries: int, guesses: int, confidence: float) -> None:
    if canaries < 1:
        raise ValueError(f"canaries = {canaries} is below 1; 1000 to 5000 are usual")
    if not 1 <= guesses <= canaries:
        raise ValueError(
            f"guesses = {guesses} is outside [1, {canaries}], the canaries; "
            "a tenth of the canaries is usual"
        )
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence = {confidence} is outside [0.5, 1); 0.95 is usual")
