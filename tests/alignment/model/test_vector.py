"""The flat vector: every trainable value in order, restored exactly or refused."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from alignment.data.records import Question
from alignment.model.predictor import Predictor
from alignment.model.vector import AdapterLayout, load_vector, to_vector

MakePredictor = Callable[..., Predictor]
Shake = Callable[[nn.Module, int], None]


@pytest.fixture
def predictor(make_predictor: MakePredictor, shake: Shake) -> Predictor:
    made = make_predictor()
    shake(made, 0)
    return made


def test_the_vector_holds_every_trainable_value_in_order(predictor: Predictor) -> None:
    vector = to_vector(predictor)
    expected = [p.detach().flatten() for _, p in predictor.trainable()]
    assert vector.dtype == np.float32
    assert vector.tolist() == torch.cat(expected).tolist()
    layout = AdapterLayout.of(predictor.trainable())
    assert vector.shape == (layout.dimension,)
    assert list(zip(layout.names, layout.shapes, strict=True)) == [
        (name, tuple(p.shape)) for name, p in predictor.trainable()
    ]


def test_a_vector_survives_the_way_into_another_predictor(
    predictor: Predictor, make_predictor: MakePredictor, survey: tuple[Question, ...]
) -> None:
    other = make_predictor(seed=5)
    vector = to_vector(predictor)
    assert not np.array_equal(to_vector(other), vector)
    load_vector(other, vector)
    assert np.array_equal(to_vector(other), vector)
    assert torch.equal(other.prior(survey).scores, predictor.prior(survey).scores)


def test_loading_a_vector_touches_no_frozen_value(predictor: Predictor) -> None:
    frozen = [(p, p.clone()) for p in predictor.parameters() if not p.requires_grad]
    load_vector(predictor, np.full_like(to_vector(predictor), 0.5))
    assert all(torch.equal(now, before) for now, before in frozen)
    assert all((p == 0.5).all() for _, p in predictor.trainable())


def test_the_vector_is_a_copy(predictor: Predictor) -> None:
    vector = to_vector(predictor)
    kept = vector.copy()
    vector[:] = 9.0
    assert np.array_equal(to_vector(predictor), kept)
    load_vector(predictor, vector)
    vector[:] = 1.0
    assert set(to_vector(predictor)) == {np.float32(9.0)}


@pytest.mark.parametrize("change", [-1, 1])
def test_a_vector_of_another_length_is_refused_and_changes_nothing(
    predictor: Predictor, change: int
) -> None:
    kept = to_vector(predictor)
    wrong = np.zeros(len(kept) + change, dtype=np.float32)
    with pytest.raises(ValueError, match=rf"\({len(wrong)},\).*\({len(kept)},\)") as caught:
        load_vector(predictor, wrong)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="shape"):
        load_vector(predictor, kept[None])
    assert np.array_equal(to_vector(predictor), kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_with_no_number_is_refused_and_changes_nothing(
    predictor: Predictor, bad: float
) -> None:
    kept = to_vector(predictor)
    wrong = np.zeros_like(kept)
    wrong[-1] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        load_vector(predictor, wrong)
    assert np.array_equal(to_vector(predictor), kept)
