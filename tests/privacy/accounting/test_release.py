"""The way out of a group and of the sum of groups."""

from functools import lru_cache

import numpy as np
import pytest

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.release import mean_of_sum, own_mean, sum_of_shares, unmasked_share
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import ExecutionMismatch, StageSkipped, TooFewShares
from privacy.kernel.clipping import clip_rows, clip_sum
from privacy.kernel.discrete_gaussian import add_noise
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.types import Noised, Update

DIMENSION = 20_000
GROUPS = 4
UNITS = 50


@lru_cache(maxsize=4)
def plan_of(mode: Mode, sampling_rate: float = 1.0) -> PrivacyPlan:
    return PrivacyPlan.calibrate(
        PrivacyTerms(
            mode=mode,
            epsilon=4,
            delta=1e-4,
            groups=GROUPS,
            units_per_group=UNITS,
            sampling_rate=sampling_rate,
            rounds=10,
            survivors=GROUPS,
            colluding=1 if mode is Mode.DISTRIBUTED else 0,
            clipping_norm=0.1,
            dimension=DIMENSION,
        )
    )


def update_of(seed: int) -> Update:
    rows = np.random.default_rng(seed).normal(size=(3, DIMENSION))
    return Update(gradients=rows.astype(np.float32))


def noised(plan: PrivacyPlan, update: Update | None) -> Noised:
    updates = [] if update is None else [update]
    return add_noise(clip_sum(updates, plan.kernel), SystemRandomStream())


def test_the_sum_of_shares_is_the_integers_and_the_noise_of_all_groups() -> None:
    """Noise std over 2^k sqrt(n) lies within 1 +- .02; at 80,000 draws a false alarm is 1e-15."""
    plan = plan_of(Mode.DISTRIBUTED)
    updates = [update_of(seed) for seed in range(GROUPS)]
    exact = sum(clip_rows(u, plan.kernel).sum(axis=0, dtype=np.int64) for u in updates)
    shares = [unmasked_share(noised(plan, u)) for u in updates]
    mean = mean_of_sum(sum_of_shares(shares, plan), plan, shares=GROUPS)
    noise = mean / plan.mean_gradient_scale() - exact
    assert np.allclose(noise, np.rint(noise), atol=1e-3)
    assert noise.std() / (2**plan.noise_log2 * np.sqrt(GROUPS)) == pytest.approx(1, abs=0.02)


def test_fewer_shares_than_the_noise_counts_on_are_not_used() -> None:
    plan = plan_of(Mode.DISTRIBUTED)
    shares = [unmasked_share(noised(plan, None)) for _ in range(GROUPS - 1)]
    with pytest.raises(TooFewShares, match="survivors = 4"):
        mean_of_sum(sum_of_shares(shares, plan), plan, shares=len(shares))


def test_a_group_counts_once() -> None:
    plan = plan_of(Mode.DISTRIBUTED)
    share = unmasked_share(noised(plan, None))
    with pytest.raises(ExecutionMismatch, match="count each group once"):
        mean_of_sum(share, plan, shares=GROUPS + 1)


@pytest.mark.parametrize("wrong", [np.zeros(DIMENSION, np.uint64), np.zeros(3, np.uint32)])
def test_a_share_of_another_shape_or_modulus_is_refused(wrong: np.ndarray) -> None:
    plan = plan_of(Mode.DISTRIBUTED)
    good = [unmasked_share(noised(plan, None)) for _ in range(GROUPS - 1)]
    with pytest.raises(ExecutionMismatch, match="a share"):
        sum_of_shares([*good, wrong], plan)
    with pytest.raises(ExecutionMismatch, match="the sum"):
        mean_of_sum(wrong, plan, shares=GROUPS)


def test_a_group_reads_its_own_sum_in_local_mode_only() -> None:
    local, shared = plan_of(Mode.LOCAL), plan_of(Mode.DISTRIBUTED)
    mean = own_mean(noised(local, None), local, group=0)
    expected = local.mean_gradient_scale(0) * 2**local.noise_log2
    assert mean.std() == pytest.approx(expected, rel=0.05)
    with pytest.raises(StageSkipped, match="distributed"):
        own_mean(noised(shared, None), shared, group=0)
    with pytest.raises(StageSkipped):
        mean_of_sum(np.zeros(DIMENSION, np.uint32), local, shares=GROUPS)


def test_a_vector_made_under_other_settings_is_refused() -> None:
    local = plan_of(Mode.LOCAL)
    other = noised(plan_of(Mode.LOCAL, 0.5), None)
    with pytest.raises(ExecutionMismatch, match="kernel settings"):
        own_mean(other, local, group=0)


def test_nothing_but_noised_vectors_leaves() -> None:
    plan = plan_of(Mode.DISTRIBUTED)
    with pytest.raises(StageSkipped, match="add noise first"):
        unmasked_share(clip_sum([update_of(0)], plan.kernel))
