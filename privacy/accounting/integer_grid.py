"""The integer grid of a plan: how fine the noise, how large S, which modulus.

Finer grids lose less to rounding; coarser ones take fewer bits of a sum. What a grid must keep is
decided in exact integer or rational arithmetic.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from privacy.errors import CouldWrap, GridTooCoarse, PlanRefused
from privacy.kernel.types import MAX_NOISE_LOG2, MAX_SENSITIVITY

# Below 2^4 a sum of shares is no longer a discrete Gaussian.
_MIN_NOISE_LOG2 = 4
# Rounding takes sqrt(d)/2 off the norm: at most 1 % of it at this ratio of S to sqrt(d).
_RESOLUTION = 50
# Of the norm that noise of this size pays for, a grid that is chosen keeps so much where it can.
_KEPT = 0.9925
# A coordinate of the noise exceeds 12 standard deviations once in 1e32.
_NOISE_REACH = 12


@dataclass(frozen=True, kw_only=True)
class GridDemand:
    """The demand that a grid must meet.

    Attributes:
        noise_multiplier: z, to be reached by the honest shares alone.
        honest_shares: h.
        shares: n, all noise shares in one sum.
        largest_batch: B_max, most units in one sum.
        dimension: d.
    """

    noise_multiplier: float
    honest_shares: int
    shares: int
    largest_batch: int
    dimension: int

    @property
    def least_sensitivity(self) -> int:
        """The least S that resolves a clipped vector of this dimension."""
        return math.isqrt(_RESOLUTION**2 * self.dimension - 1) + 1


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A choice: shares of standard deviation 2^noise_log2, sensitivity S, the modulus."""

    noise_log2: int
    sensitivity: int
    modulus_bits: int

    def extent(self, demand: GridDemand) -> int:
        """Return the largest magnitude a coordinate of the noised sum can reach.

        B_max S + 12 sqrt(n) 2^k, rounded up.
        """
        noise = math.isqrt(_NOISE_REACH**2 * demand.shares * 4**self.noise_log2) + 1
        return demand.largest_batch * self.sensitivity + noise


def largest_sensitivity(demand: GridDemand, noise_log2: int) -> int:
    """Return the largest S at which h shares of deviation 2^k reach z: S^2 z^2 <= h 4^k - 9.

    The 9 is the price of accounting discrete noise as continuous; see
    `privacy.kernel.discrete_gaussian.effective_noise_multiplier`.
    """
    variance = demand.honest_shares * 4**noise_log2 - 9
    return math.isqrt(math.floor(variance / Fraction(demand.noise_multiplier) ** 2))


def choose(demand: GridDemand) -> Grid:
    """Return the coarsest grid that loses at most 0.75 % of the clipping norm.

    Every step of k is one bit of every coordinate that every member sends, and finer noise protects
    nobody better. What a coarser grid costs is norm: rounding takes sqrt(d)/2 off it, and discrete
    noise counts for a little less than it is. At 0.75 % (S near 67 sqrt(d), where 50 sqrt(d) is
    demanded) a signal is that much weaker under the same noise, at most; as k is a whole number, it
    is between that and half of it. Where no grid of the smaller modulus keeps so much, the finest
    one that serves is taken.

    Raises:
        GridTooCoarse: if no grid has S >= 50 sqrt(d) without leaving 64 bits.
    """
    for modulus_bits in (32, 64):
        serving = [grid for grid in _candidates(demand, modulus_bits) if _serves(demand, grid)]
        for grid in serving:
            if kept_norm(demand, grid) >= _KEPT:
                return grid
        if serving:
            return serving[-1]
    raise GridTooCoarse(
        f"noise_multiplier = {demand.noise_multiplier:.6g} leaves no integer grid with "
        f"{demand.least_sensitivity} = 50 sqrt(d) <= S <= {MAX_SENSITIVITY} at "
        f"d = {demand.dimension}; raise epsilon or lower the dimension (a smaller LoRA rank)"
    )


def at(demand: GridDemand, noise_log2: int) -> Grid:
    """Return the grid of one fineness, with the smallest modulus that holds its sums.

    Raises:
        GridTooCoarse: if there is none.
    """
    for modulus_bits in (32, 64):
        for grid in _candidates(demand, modulus_bits):
            if grid.noise_log2 == noise_log2 and _serves(demand, grid):
                return grid
    raise GridTooCoarse(
        f"noise_multiplier = {demand.noise_multiplier:.6g} leaves no integer grid at noise_log2 = "
        f"{noise_log2}; raise epsilon or ask fewer questions"
    )


def check(demand: GridDemand, grid: Grid) -> None:
    """Check that a grid serves.

    Raises:
        PlanRefused: if the honest shares do not reach the noise multiplier, or k is too small.
        GridTooCoarse: if S < 50 sqrt(d).
        CouldWrap: if the noised sum of the largest batch could leave the modulus.
    """
    if grid.noise_log2 < _MIN_NOISE_LOG2:
        raise PlanRefused(
            f"noise_log2 = {grid.noise_log2} is below {_MIN_NOISE_LOG2}; calibrate the plan"
        )
    largest = largest_sensitivity(demand, grid.noise_log2)
    if grid.sensitivity > largest:
        raise PlanRefused(
            f"sensitivity = {grid.sensitivity} is above {largest}, where {demand.honest_shares} "
            f"honest shares of 2^{grid.noise_log2} no longer reach noise_multiplier = "
            f"{demand.noise_multiplier:.6g}; calibrate the plan"
        )
    if grid.sensitivity < demand.least_sensitivity:
        raise GridTooCoarse(
            f"sensitivity = {grid.sensitivity} is below {demand.least_sensitivity} = 50 sqrt(d) "
            f"at d = {demand.dimension}; use a finer grid or a smaller dimension"
        )
    limit = 2 ** (grid.modulus_bits - 1)
    extent = grid.extent(demand)
    if extent >= limit:
        raise CouldWrap(
            f"a sum of {demand.largest_batch} units at S = {grid.sensitivity} can reach {extent}, "
            f"not below 2^{grid.modulus_bits - 1} = {limit}; use a coarser grid, a larger modulus "
            "or a smaller sampling rate"
        )


def kept_norm(demand: GridDemand, grid: Grid) -> float:
    """Return the norm of a clipped row on a grid, as a share of what continuous noise would permit.

    Rows are clipped to S - sqrt(d)/2 - 1; continuous noise of the same size permits sqrt(h) 2^k/z.
    """
    permitted = math.sqrt(demand.honest_shares) * 2.0**grid.noise_log2 / demand.noise_multiplier
    return (grid.sensitivity - math.sqrt(demand.dimension) / 2 - 1) / permitted


def _serves(demand: GridDemand, grid: Grid) -> bool:
    try:
        check(demand, grid)
    except PlanRefused:
        return False
    return True


def _candidates(demand: GridDemand, modulus_bits: int) -> Iterator[Grid]:
    """Yield the grids of a modulus, the coarsest first."""
    for noise_log2 in range(_MIN_NOISE_LOG2, MAX_NOISE_LOG2 + 1):
        sensitivity = min(largest_sensitivity(demand, noise_log2), MAX_SENSITIVITY)
        yield Grid(noise_log2=noise_log2, sensitivity=sensitivity, modulus_bits=modulus_bits)
