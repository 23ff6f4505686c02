"""Accountants: the epsilon of a run of Poisson-subsampled Gaussian releases.

Privacy loss distributions (dp-accounting) give the epsilon that is reported for a plan registered
before it runs. Renyi divergence at a single order gives the cost per step that may be added up
adaptively against a lifetime budget. A third, independent library cross-checks the first;
the caller injects it, because this room knows nothing of training libraries. The Gaussian
differential privacy accountant ("gdp") is refused: its central-limit approximation under-reports.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy.optimize import brentq
from scipy.special import gammaln, log_ndtr, logsumexp

from privacy.errors import (
    AccountantRefused,
    AccountantsDisagree,
    UnsupportedMechanism,
)

PLD_TOLERANCE = 2e-3
"""Largest absolute difference in epsilon between two correct PLD computations."""

CROSS_CHECK_EXCESS = 0.0105
"""Largest excess over the true epsilon of an upper bound with an error of 0.01."""

_FINE_GRID = 1e-4


class NeighboringRelation(StrEnum):
    """The relation between two data sets that count as neighbours."""

    ADD_OR_REMOVE_ONE = "add_or_remove_one"
    REPLACE_ONE = "replace_one"


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Poisson batches of a data set of `units` units, cut to `batch_cap` units."""

    units: int
    batch_cap: int


@dataclass(frozen=True, kw_only=True)
class SampledGaussian:
    """`steps` releases of a Gaussian sum over Poisson samples, as an accountant sees them.

    Attributes:
        noise_multiplier: z, standard deviation of the noise over the L2 sensitivity.
        sampling_rate: q in (0, 1], the probability that a unit is in a step's sample.
        steps: T, charged steps.
        relation: the neighbouring relation.
        truncation: the cap on a batch, where there is one that is to be accounted for.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE
    truncation: Truncation | None = None

    def __post_init__(self) -> None:
        if not (0 < self.noise_multiplier < math.inf):
            raise ValueError(
                f"noise_multiplier = {self.noise_multiplier} is not positive and finite; "
                "without noise there is no epsilon to compute"
            )
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(
                f"sampling_rate = {self.sampling_rate} is outside (0, 1]; "
                "give the probability that a unit is sampled in a step"
            )
        if self.steps < 1:
            raise ValueError(f"steps = {self.steps} is below 1; give the number of charged steps")

    def dp_event(self) -> dp_accounting.DpEvent:
        """Describe one step to dp-accounting."""
        if self.truncation is not None:
            return dp_accounting.TruncatedSubsampledGaussianDpEvent(
                dataset_size=self.truncation.units,
                sampling_probability=self.sampling_rate,
                truncated_batch_size=self.truncation.batch_cap,
                noise_multiplier=self.noise_multiplier,
            )
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        return dp_accounting.PoissonSampledDpEvent(self.sampling_rate, gaussian)


@lru_cache(maxsize=1024)
def pld_epsilon(mechanism: SampledGaussian, *, delta: float, grid: float = _FINE_GRID) -> float:
    """Return the epsilon of a mechanism by privacy loss distributions.

    An upper bound at every grid (losses are discretised pessimistically); at 1e-4 it is within 2e-3
    of the truth. Takes up to seconds, so results are kept.

    Args:
        mechanism: what is executed; both relations and truncation are supported.
        delta: the failure probability.
        grid: discretisation of the privacy loss; a coarser one is faster and reports more.
    """
    require_delta(delta)
    relation = dp_accounting.NeighboringRelation[mechanism.relation.name]
    accountant = PLDAccountant(relation, value_discretization_interval=grid)
    accountant.compose(mechanism.dp_event(), mechanism.steps)
    return float(accountant.get_epsilon(delta))


@lru_cache(maxsize=1024)
def rdp_epsilon(mechanism: SampledGaussian, *, delta: float) -> float:
    """Return the epsilon of a mechanism by Renyi differential privacy: looser, and independent.

    Raises:
        UnsupportedMechanism: for REPLACE_ONE or truncated batches, which have no RDP theorem here.
    """
    require_delta(delta)
    _require_plain(mechanism, "rdp")
    accountant = RdpAccountant()
    accountant.compose(mechanism.dp_event(), mechanism.steps)
    return float(accountant.get_epsilon(delta))


def epsilon(mechanism: SampledGaussian, *, delta: float, accountant: str = "pld") -> float:
    """Return the epsilon of a mechanism by the accountant of that name, "pld" or "rdp".

    Raises:
        AccountantRefused: for "gdp", which under-reports, and for any unknown name.
    """
    if accountant == "pld":
        return pld_epsilon(mechanism, delta=delta)
    if accountant == "rdp":
        return rdp_epsilon(mechanism, delta=delta)
    if accountant == "gdp":
        raise AccountantRefused(
            "accountant = 'gdp' under-reports epsilon (5.34 instead of 6.18 at z = 1, q = .064, "
            "T = 200); use 'pld'"
        )
    raise AccountantRefused(f"accountant = {accountant!r} is unknown; use 'pld' or 'rdp'")


GAUSSIAN_ORDER = 1
"""The order of a filter for Gaussian mechanisms, whose composition is exact.

At order 1 the Renyi divergence is that of Kullback and Leibler, 1 / (2 z^2) for a Gaussian. Such
mechanisms compose to the Gaussian whose divergence is the sum of theirs, also where each is chosen
after seeing the ones before (Smith and Thakurta 2022, https://arxiv.org/abs/2210.17520), so that a
bound on the sum is as good as one Gaussian mechanism. A Poisson-subsampled step is charged as one
without subsampling, which it is never worse than.
"""


def rdp_per_step(*, noise_multiplier: float, sampling_rate: float, order: int) -> float:
    """Return the Renyi divergence of one Poisson-subsampled Gaussian step at one integer order.

    Add/remove adjacency; Mironov, Talwar and Zhang 2019 (https://arxiv.org/abs/1908.10530), the
    closed form of section 3.3. At a fixed order these costs add up even when each step's
    parameters are chosen after seeing the steps before (Feldman and Zrnic 2021).

    Args:
        noise_multiplier: z.
        sampling_rate: q in (0, 1].
        order: integer, at least 2; or `GAUSSIAN_ORDER`, where q does not count.
    """
    mechanism = SampledGaussian(
        noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=1
    )
    if order != int(order) or order < GAUSSIAN_ORDER:
        raise ValueError(f"order = {order} is not an integer of at least 1; use 1, 2, 3, ...")
    if mechanism.sampling_rate == 1 or order == GAUSSIAN_ORDER:
        return order / (2 * noise_multiplier**2)
    taken = np.arange(order + 1)
    log_terms = (
        (gammaln(order + 1) - gammaln(taken + 1) - gammaln(order - taken + 1))
        + taken * math.log(sampling_rate)
        + (order - taken) * math.log1p(-sampling_rate)
        + taken * (taken - 1) / (2 * noise_multiplier**2)
    )
    # The true value is positive; rounding may leave a tiny negative one.
    return max(0.0, float(logsumexp(log_terms))) / (order - 1)


def rdp_budget(*, epsilon: float, delta: float, order: int) -> float:
    """Return how much Renyi divergence of one order fits into (epsilon, delta).

    Any adaptive sequence whose `rdp_per_step` costs sum to at most this is (epsilon, delta)-DP;
    the conversion is Canonne, Kamath and Steinke 2020, proposition 12, and at `GAUSSIAN_ORDER` that
    of a Gaussian mechanism, exact (Balle and Wang 2018, theorem 8). Negative if even an empty
    sequence cannot be certified at this order.
    """
    require_delta(delta)
    if order == GAUSSIAN_ORDER:
        return _gaussian_budget(epsilon, delta)
    return epsilon - math.log1p(-1 / order) + (math.log(delta) + math.log(order)) / (order - 1)


def rdp_spent(used: float, *, delta: float, order: int) -> float:
    """Return the epsilon that a sum of costs at an order amounts to: `rdp_budget`, inverted."""
    if order != GAUSSIAN_ORDER:
        return max(0.0, used - rdp_budget(epsilon=0, delta=delta, order=order))
    require_delta(delta)
    mu = math.sqrt(2 * used)
    if mu == 0 or _log_gaussian_delta(0.0, mu) <= math.log(delta):
        return 0.0
    high = 1.0
    while _log_gaussian_delta(high, mu) > math.log(delta):
        high *= 2
    found = brentq(lambda each: _log_gaussian_delta(each, mu) - math.log(delta), 0.0, high)
    return float(found)


@lru_cache(maxsize=256)
def _gaussian_budget(epsilon: float, delta: float) -> float:
    """The divergence of the Gaussian mechanism that is just (epsilon, delta)-DP, rounded down."""
    if epsilon <= 0:
        return 0.0
    target = math.log(delta)
    high = 1.0
    while _log_gaussian_delta(epsilon, high) < target:
        high *= 2
    mu = brentq(
        lambda each: _log_gaussian_delta(epsilon, each) - target,
        high * 2**-60,
        high,
        # Relative to mu, which is small where the budget is: absolutely, 2e-12 would be too much.
        xtol=1e-300,
        maxiter=1000,
    )
    # Where mu is small, digits are lost to the difference of two logarithms.
    tilt = epsilon / mu
    mu *= 1 - 1e-9 + 2**-50 * float(log_ndtr(mu / 2 - tilt)) * (1 + tilt) / mu
    return float(mu * mu / 2)


def _log_gaussian_delta(epsilon: float, mu: float) -> float:
    """The logarithm of the least delta of a Gaussian mechanism of sensitivity mu and noise 1."""
    likely = log_ndtr(mu / 2 - epsilon / mu)
    less = epsilon + log_ndtr(-mu / 2 - epsilon / mu) - likely
    return float(likely + math.log(-math.expm1(min(less, -1e-300))))


class CrossCheck(Protocol):
    """An independent upper bound on the epsilon of a Poisson-subsampled Gaussian, add/remove."""

    def __call__(
        self, *, noise_multiplier: float, sampling_rate: float, steps: int, delta: float
    ) -> float:
        """Return the bound."""
        ...


def cross_check(mechanism: SampledGaussian, *, delta: float, accountant: CrossCheck) -> float:
    """Return another library's epsilon, having checked that it confirms the PLD one.

    The other library is expected to return an upper bound whose own error is at most 0.01: it must
    lie between `PLD_TOLERANCE` below and `CROSS_CHECK_EXCESS + PLD_TOLERANCE` above ours.

    Raises:
        AccountantsDisagree: if it does not, or is not a number; nothing may then be released.
        UnsupportedMechanism: for REPLACE_ONE or truncated batches.
    """
    _require_plain(mechanism, "the cross-check")
    ours = pld_epsilon(mechanism, delta=delta)
    theirs = accountant(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_rate=mechanism.sampling_rate,
        steps=mechanism.steps,
        delta=delta,
    )
    if not -PLD_TOLERANCE <= theirs - ours <= CROSS_CHECK_EXCESS + PLD_TOLERANCE:
        raise AccountantsDisagree(
            f"epsilon = {ours:.6f} by PLD but {theirs:.6f} by the cross-check, not within "
            f"[-{PLD_TOLERANCE}, +{CROSS_CHECK_EXCESS + PLD_TOLERANCE}]; check the library versions"
        )
    return theirs


def require_delta(delta: float) -> None:
    """Refuse a delta that is no probability.

    Raises:
        ValueError: It lies outside (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta} is outside (0, 1); choose one below 1/units")


def _require_plain(mechanism: SampledGaussian, who: str) -> None:
    plain = replace(mechanism, relation=NeighboringRelation.ADD_OR_REMOVE_ONE, truncation=None)
    if mechanism != plain:
        raise UnsupportedMechanism(
            f"{who} covers add/remove adjacency without truncation only, not "
            f"relation = {mechanism.relation}, truncation = {mechanism.truncation}; use 'pld'"
        )
