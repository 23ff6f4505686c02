"""The cross-check of epsilon by the accountant of Gopi, Lee and Wutschitz.

`prv-accountant` is the implementation by the authors of the theorem (Gopi, Lee and Wutschitz 2021,
https://arxiv.org/abs/2106.02848), on numpy and scipy alone. It brackets epsilon from both sides.
"""

from functools import lru_cache

from privacy.accounting.accountant import SampledGaussian

EPSILON_ERROR = 0.01
"""Half the width of the bracket, about."""


@lru_cache(maxsize=1024)
def prv_epsilon(mechanism: SampledGaussian, *, delta: float) -> tuple[float, float]:
    """Return a lower and an upper bound on the epsilon of a mechanism: add/remove, not truncated.

    Takes tenths of a second.

    Args:
        mechanism: what is executed.
        delta: the failure probability.
    """
    from prv_accountant import PoissonSubsampledGaussianMechanism, PRVAccountant

    step = PoissonSubsampledGaussianMechanism(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_probability=mechanism.sampling_rate,
    )
    accountant = PRVAccountant(
        prvs=[step],
        max_self_compositions=[mechanism.steps],
        eps_error=EPSILON_ERROR,
        delta_error=delta / 1000,
    )
    lowest, _, highest = accountant.compute_epsilon(delta, [mechanism.steps])
    return float(lowest), float(highest)
