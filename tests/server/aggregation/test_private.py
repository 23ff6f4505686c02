"""What the server reads out of noised metrics."""

import numpy as np
import pytest

from server.aggregation.private import mean_loss


def test_the_loss_is_a_quotient_where_it_can_be_told_from_noise() -> None:
    assert mean_loss({"loss": 0.6, "units": 0.4}, noise_std=0.1) == pytest.approx(1.5)


@pytest.mark.parametrize("units", [0.39, 0.0, -0.5])
def test_a_loss_that_noise_has_drowned_is_not_told(units: float) -> None:
    assert mean_loss({"loss": 0.6, "units": units}, noise_std=0.1) is None


def test_no_loss_is_far_off() -> None:
    """10,000 rounds of a true loss of 1: none that is told is off by more than 3."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=(10_000, 2))
    told = [mean_loss({"loss": 0.5 + a, "units": 0.5 + b}, noise_std=0.1) for a, b in noise]
    known = [loss for loss in told if loss is not None]
    assert 1000 < len(known) < 9990
    assert max(abs(loss - 1) for loss in known) < 3
