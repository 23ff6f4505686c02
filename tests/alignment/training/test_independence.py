"""The test of a machine that rows know no companions: passed, and failed by one that mixes rows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alignment.model.predictor import Predictor, tokens_in
from alignment.model.vector import to_vector
from alignment.training.gradients import UnitGradients
from alignment.training.independence import CompanionsShow, _unit, require_independent_rows
from alignment.training.private_layout import MicroBatchShape, private_layout

SHAPE = MicroBatchShape(rows=4, records=2, length=48, options=4, apart=True)
SHAPES = [
    SHAPE,
    replace(SHAPE, rows=1),
    replace(SHAPE, rows=9, records=1, length=33, options=2),
]
KINDS = [
    ("bert", {}),
    ("bert", {"scores": "reward"}),
    ("llama", {}),
    ("llama", {"scores": "reward"}),
    ("llama", {"scores": "policy"}),
]


@pytest.fixture
def gradients(
    encoder_folder: Callable[[str], str],
    make_predictor: Callable[..., Predictor],
) -> Callable[..., UnitGradients]:
    def make(
        kind: str, shape: MicroBatchShape, *, adapters: bool = True, **config: Any
    ) -> UnitGradients:
        predictor = make_predictor(encoder=encoder_folder(kind), max_tokens=shape.length, **config)
        # Untaught, as it is when a run begins: adapters and rewards say nothing yet.
        layout = private_layout(predictor, adapters=adapters)
        return UnitGradients(predictor, layout=layout, shape=shape, metric_scale=0.1)

    return make


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "config"), KINDS, ids=str)
def test_the_reference_passes(
    gradients: Callable[..., UnitGradients],
    kind: str,
    config: dict[str, str],
    shape: MicroBatchShape,
) -> None:
    for adapters in (True, False):
        if adapters or config.get("scores") != "policy":
            made = gradients(kind, shape, adapters=adapters, **config)
            before = to_vector(made._predictor)
            require_independent_rows(made, made._predictor, shape)
            assert (to_vector(made._predictor) == before).all()


def test_texts_of_surveys_pass_too(gradients: Callable[..., UnitGradients]) -> None:
    together = replace(SHAPE, apart=False)
    made = gradients("bert", together)
    require_independent_rows(made, made._predictor, together)


def test_a_test_that_nothing_fits_into_is_no_test(gradients: Callable[..., UnitGradients]) -> None:
    made = gradients("bert", SHAPE)
    made._fits = lambda question: False  # type: ignore[method-assign] # as if no text fitted
    with pytest.raises(CompanionsShow, match="nothing could be tested"):
        require_independent_rows(made, made._predictor, SHAPE)


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=str)
def test_the_made_up_units_fit_and_fill_texts_of_many_lengths(
    gradients: Callable[..., UnitGradients], kind: str, config: dict[str, str]
) -> None:
    """A test on units that all count as absent would always pass."""
    shape = replace(SHAPE, length=150)  # the tiny encoders know few words, and spell the others
    made = gradients(kind, shape, **config)
    units = [_unit(number, shape) for number in range(shape.rows)]
    assert made.left_out(units) == 0
    assert {len(unit.questions) for unit in units} == {1, 2}
    lengths = {
        tokens_in(q, encoder=made._predictor.questions) for unit in units for q in unit.questions
    }
    assert len(lengths) >= 3
    (rows,) = made.rows(units, micro_batches=1, uniforms=np.zeros)
    assert (np.abs(rows.gradients).sum(axis=1) > 0).all()


@pytest.mark.parametrize(("kind", "config"), KINDS, ids=str)
@pytest.mark.parametrize("by", ["sum", "place"])
def test_an_encoder_that_mixes_rows_is_refused_with_the_remedy(
    gradients: Callable[..., UnitGradients],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    config: dict[str, str],
    by: str,
) -> None:
    made = gradients(kind, SHAPE, **config)
    encoder = made._predictor.encoder
    suffix = encoder.suffix

    def mixed(hidden: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
        found = suffix(hidden, mask, read)
        if by == "sum":
            return found + 1e-3 * found.mean(dim=0, keepdim=True)
        places = torch.arange(len(found))[:, None, None] if found.dim() == 3 else None
        return found * (
            1 + 1e-3 * (torch.arange(len(found))[:, None] if places is None else places)
        )

    monkeypatch.setattr(encoder, "suffix", mixed)
    with pytest.raises(CompanionsShow, match=r"device cpu, predictor\.dtype = float32") as caught:
        require_independent_rows(made, made._predictor, SHAPE)
    assert "\n" not in str(caught.value)
    assert "mechanism = tally" in str(caught.value)


def test_a_head_alone_that_mixes_rows_is_refused(
    gradients: Callable[..., UnitGradients], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gradients("bert", SHAPE, adapters=False)
    assert made._head is not None
    rows = made._head.rows

    def mixed(questions: Any, targets: Tensor, room: Tensor) -> Any:
        found = rows(questions, targets, room)
        room += 1e-6 * room.mean(dim=0, keepdim=True)
        return found

    monkeypatch.setattr(made._head, "rows", mixed)
    with pytest.raises(CompanionsShow, match="companions"):
        require_independent_rows(made, made._predictor, SHAPE)
