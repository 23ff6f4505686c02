"""A machine whose rows know their companions trains nothing in private, and is charged nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import Tensor

from alignment.model.encoders.encoder import Encoder
from alignment.training.head_gradients import HeadGradients
from clients.training import private_trainer

Deployed = Any
Asked = Any


@pytest.fixture
def anew() -> Iterator[None]:
    """What was tested before a machine began to mix rows is tested again."""
    private_trainer._trainer.cache_clear()
    yield
    private_trainer._trainer.cache_clear()


@pytest.fixture
def mixing(monkeypatch: pytest.MonkeyPatch, anew: None) -> None:
    """Rows that carry a trace of each other, however small."""
    rows = HeadGradients.rows

    def mixed(self: HeadGradients, questions: Any, targets: Tensor, room: Tensor) -> Any:
        found = rows(self, questions, targets, room)
        room += 1e-6 * room.mean(dim=0, keepdim=True)
        return found

    monkeypatch.setattr(HeadGradients, "rows", mixed)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the reference: another chip, or another precision."""
    monkeypatch.setattr(Encoder, "is_reference", property(lambda self: False))


@pytest.mark.usefixtures("mixing", "elsewhere")
def test_it_refuses_before_anything_is_charged(
    deploy: Callable[..., Deployed], asking: Callable[..., Asked]
) -> None:
    asked = asking(deploy())
    replies = asked.up_to_mask()
    refused = [reply for reply in replies.values() if isinstance(reply, str)]
    assert refused
    for reason in refused:
        assert reason.startswith("ExecutionMismatch: the gradient of a unit depends on")
        assert "predictor.dtype = float32" in reason and "\n" not in reason
    assert [asked.deployed.spends(group) for group in asked.deployed.homes] == [0, 0, 0]


@pytest.mark.usefixtures("anew", "elsewhere")
def test_one_that_keeps_rows_apart_trains_off_the_reference(
    deploy: Callable[..., Deployed], asking: Callable[..., Asked]
) -> None:
    asked = asking(deploy())
    assert not [reply for reply in asked.up_to_mask().values() if isinstance(reply, str)]
    assert [asked.deployed.spends(group) for group in asked.deployed.homes] == [1, 1, 1]


@pytest.mark.usefixtures("anew")
def test_the_reference_needs_no_test_of_the_machine(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tested with every change, so that a step does not pay for it."""

    def never(*_: object) -> None:
        raise AssertionError("tested")

    monkeypatch.setattr(private_trainer, "require_independent_rows", never)
    asked = asking(deploy())
    assert not [reply for reply in asked.up_to_mask().values() if isinstance(reply, str)]
