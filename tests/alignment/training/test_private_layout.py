import math
from dataclasses import replace

import numpy as np
import pytest

from alignment.model.predictor import Predictor
from alignment.model.vector import load_vector, to_vector
from alignment.training.private_layout import METRIC_SHARE, metric_scale_for, private_layout


@pytest.fixture
def predictor(make_predictor, shake) -> Predictor:
    made: Predictor = make_predictor(lora_layers=2)
    shake(made, 1)
    return made


@pytest.mark.parametrize(
    ("choice", "left_out"),
    [
        ({}, ("head.directions.",)),
        ({"freeze_a": True}, ("head.directions.", ".lora_A.")),
        ({"adapters": False}, ("head.directions.", "encoder.")),
    ],
)
def test_the_layout_leaves_out_what_is_not_trained_privately(
    predictor: Predictor, choice: dict[str, bool], left_out: tuple[str, ...]
) -> None:
    layout = private_layout(predictor, **choice)
    expected = [
        (name, tuple(parameter.shape))
        for name, parameter in predictor.trainable()
        if not any(part in name for part in left_out)
    ]
    assert list(zip(layout.private.names, layout.private.shapes, strict=True)) == expected
    coordinates = sum(math.prod(shape) for _, shape in expected)
    assert layout.dimension == coordinates + 2
    assert replace(layout, metrics=()).dimension == coordinates


@pytest.mark.parametrize("choice", [{}, {"freeze_a": True}, {"adapters": False}])
def test_extract_takes_the_named_parameters_in_their_order(
    predictor: Predictor, choice: dict[str, bool]
) -> None:
    layout = private_layout(predictor, **choice)
    named = dict(predictor.trainable())
    expected = np.concatenate([named[name].detach().numpy().ravel() for name in layout.names])
    assert np.array_equal(layout.extract(to_vector(predictor)), expected)


def test_embed_moves_the_private_coordinates_and_no_other(predictor: Predictor) -> None:
    layout = private_layout(predictor, freeze_a=True)
    before = to_vector(predictor)
    kept = before.copy()
    values = np.arange(layout.private.dimension, dtype=np.float32)
    after = layout.embed(before, values)
    assert np.array_equal(before, kept)  # a copy
    assert np.array_equal(layout.extract(after), values)
    assert np.array_equal(layout.embed(after, layout.extract(before)), before)

    frozen = {n: p.detach().clone() for n, p in predictor.trainable() if n not in layout.names}
    load_vector(predictor, after)
    now = dict(predictor.trainable())
    assert len(frozen) > 1
    assert all(value.equal(now[name]) for name, value in frozen.items())


def test_split_parts_the_metrics_from_the_gradient(predictor: Predictor) -> None:
    layout = private_layout(predictor, metrics=("units", "correct"))
    row = np.arange(layout.dimension)
    gradient, metrics = layout.split(row)
    assert np.array_equal(gradient, row[:-2])
    assert metrics == {"units": row[-2], "correct": row[-1]}


def test_metrics_take_their_share_of_the_squared_norm() -> None:
    scale = metric_scale_for(0.5, options=4, metrics=("units", "loss", "correct"))
    typical = np.array([1.0, math.log(4), 1.0]) * scale
    assert typical @ typical == pytest.approx(METRIC_SHARE * 0.5**2)
    assert metric_scale_for(0.5, options=4, metrics=()) == 1.0


@pytest.mark.parametrize(("norm", "options"), [(0.0, 4), (1.0, 1)])
def test_a_scale_needs_a_norm_and_options(norm: float, options: int) -> None:
    with pytest.raises(ValueError, match="give a norm > 0 and at least 2"):
        metric_scale_for(norm, options=options)


def test_vectors_of_another_length_are_refused(predictor: Predictor) -> None:
    layout = private_layout(predictor)
    whole = to_vector(predictor)
    with pytest.raises(ValueError, match="the layout needs"):
        layout.extract(whole[:-1])
    with pytest.raises(ValueError, match=r"split\(\) the metrics off"):
        layout.embed(whole, np.zeros(layout.dimension, dtype=np.float32))
    with pytest.raises(ValueError, match="give one row"):
        layout.split(whole)


def test_a_layout_out_of_order_is_refused(predictor: Predictor) -> None:
    layout = private_layout(predictor)
    with pytest.raises(ValueError, match="in its order"):
        replace(layout, names=layout.names[::-1])
    with pytest.raises(ValueError, match="in its order"):
        replace(layout, names=(*layout.names, "head.unknown"))
    with pytest.raises(ValueError, match="is not a selection"):
        replace(layout, metrics=("loss", "units"))
