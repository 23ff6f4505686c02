"""A cross-check of epsilon: Opacus' privacy-random-variable accountant.

Whoever plans a run injects `opacus_prv_epsilon` into the privacy room, which itself knows no
training library.
"""

import warnings


def opacus_prv_epsilon(
    *, noise_multiplier: float, sampling_rate: float, steps: int, delta: float
) -> float:
    """Return an upper bound on the epsilon of a Poisson-subsampled Gaussian, add/remove adjacency.

    Gopi, Lee and Wutschitz 2021 (https://arxiv.org/abs/2106.02848) as implemented by Opacus; the
    bound is at most about 0.01 above the true epsilon.

    Args:
        noise_multiplier: z.
        sampling_rate: q in (0, 1].
        steps: T, charged steps.
        delta: the failure probability.
    """
    # Seconds to import, and needed only while a run is planned or reviewed.
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    # Its warnings concern where it truncates the distribution of losses: an order at the end of the
    # range of a rough RDP bound, a logarithm of zero below the support. Neither makes it unsafe.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))
