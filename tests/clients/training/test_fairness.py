"""Weights at organisations with policies of their own: under masks, or inside the clip."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clients.privatizer
import clients.training.private_trainer

Deployed = Any
Asked = Any
ONE = "Group 0"


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Weights of groups, as they go into the integers that are masked."""
    seen: list[float] = []
    quantise = clients.privatizer.quantise

    def watch(values: Any, *, members: int, weight: float = 1.0) -> Any:
        seen.append(weight)
        return quantise(values, members=members, weight=weight)

    monkeypatch.setattr(clients.privatizer, "quantise", watch)
    return seen


@pytest.fixture
def of_units(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Weights of units, as they go into the clip."""
    seen: list[np.ndarray] = []
    update = clients.training.private_trainer.Update

    def watch(*, gradients: Any, weights: Any) -> Any:
        seen.append(weights)
        return update(gradients=gradients, weights=weights)

    monkeypatch.setattr(clients.training.private_trainer, "Update", watch)
    return seen


def test_without_noise_the_weight_of_a_group_leaves_under_masks_only(
    deploy: Callable[..., Deployed], asking: Callable[..., Asked], weights: list[float]
) -> None:
    """The policy has no say in how groups are weighed; the round serves as any other."""
    asked = asking(deploy(**{"privacy.mode": "none", "training.fairness": 10.0}))
    replies = asked.up_to_mask()
    assert not [reply for reply in replies.values() if isinstance(reply, str)]
    assert len(weights) == 3
    assert 0 < min(weights) < 1 == max(weights)
    for reply in replies.values():
        assert list(reply) == ["masked"]


def test_with_noise_units_are_weighed_inside_the_clip(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    weights: list[float],
    of_units: list[np.ndarray],
) -> None:
    """Micro-batches of eight rows for the six persons of each of three groups."""
    asked = asking(deploy(**{"training.fairness": 10.0}))
    assert not [reply for reply in asked.up_to_mask().values() if isinstance(reply, str)]
    assert weights == []
    rows = np.concatenate(of_units)
    assert len(rows) % 8 == 0
    assert ((rows >= 0) & (rows <= 1)).all()
    assert np.count_nonzero(rows) == 18
    assert np.count_nonzero((rows > 0) & (rows < 1)) > 0


def test_another_fairness_than_that_of_the_terms_is_refused(
    deploy: Callable[..., Deployed], asking: Callable[..., Asked]
) -> None:
    """It is a part of the task that all members sign: none is weighed otherwise than the rest."""
    asked = asking(deploy(**{"training.fairness": 1.0}))
    adverts = asked.advertise()
    told = asked.round_plan(**{"training.fairness": 5.0})
    reason = asked.share(ONE, adverts, asked.terms(), told)
    assert re.match("PolicyRefused: the terms are about another task", str(reason))
