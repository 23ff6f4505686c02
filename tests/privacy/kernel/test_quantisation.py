"""Sums of quantised vectors are exact, never wrap, and their mean is as near as is stated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from privacy.kernel.packing import sign_extended
from privacy.kernel.quantisation import (
    RANGE,
    OutOfRange,
    dequantised_mean,
    error_bound,
    fraction_bits,
    quantise,
    small_integers,
    sum_bits,
)
from privacy.kernel.types import centred

MEMBERS = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 1000, 1024, 100_000]))


def vectors(count: int) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(
        np.float64, (count, 4), elements=st.floats(-RANGE, RANGE, allow_subnormal=False)
    )


def summed(values: np.ndarray, weights: list[float] | None, members: int) -> np.ndarray:
    """Quantise every row and add up, modulo 2^32."""
    total = np.zeros(values.shape[1] + 1, dtype=np.uint32)
    for row, weight in zip(values, weights or [1.0] * len(values), strict=True):
        total += quantise(row, members=members, weight=weight).vector
    return total


@settings(deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_the_mean_is_as_near_as_stated(data: st.DataObject, count: int) -> None:
    """|mean of the integers - mean| <= 2^-(f + 1), also where fewer come than have room."""
    values = data.draw(vectors(count))
    members = data.draw(st.integers(count, 40))
    mean = dequantised_mean(summed(values, None, members), members=members)
    # The reference mean is itself rounded: 2^-45 is far below the bound, 2^-23 at best.
    assert np.abs(mean - values.mean(axis=0)).max() <= error_bound(members) + 2.0**-45


def test_the_stated_bound_is_reached() -> None:
    """Halves of the last digit, all rounded one way: the bound is tight, so it could fail."""
    for members in (1, 3, 10):
        value = 1.5 * 2.0 ** -fraction_bits(members)
        mean = dequantised_mean(
            summed(np.full((members, 1), value), None, members), members=members
        )
        assert abs(mean[0] - value) == pytest.approx(error_bound(members), rel=1e-9)


@settings(deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_integers_are_nearest_multiples_and_sum_exactly(data: st.DataObject, count: int) -> None:
    values = data.draw(vectors(count))
    bits = fraction_bits(count)
    expected = [sum(round(x * 2**bits) for x in column) for column in values.T.tolist()]
    assert centred(summed(values, None, count)).tolist() == [*expected, count * 2**bits]


@given(members=MEMBERS)
def test_no_sum_wraps_at_the_ends_of_the_range(members: int) -> None:
    """n vectors of +-16 and n halves more stay below 2^31; one more digit would not fit."""
    bits = fraction_bits(members)
    for end in (RANGE, -RANGE):
        one = int(centred(quantise(np.array([end]), members=members).vector)[0])
        assert one == end * 2**bits
        assert members * (abs(one) + 1) <= 2**31
    assert members * (RANGE * 2 ** (bits + 1) + 1) > 2**31


def test_a_sum_at_the_end_of_the_range_is_right() -> None:
    for members in (1, 2, 7, 64):
        for end in (RANGE, -RANGE):
            total = summed(np.full((members, 2), end), None, members)
            assert dequantised_mean(total, members=members).tolist() == [end, end]


def test_digits_of_small_and_large_rounds() -> None:
    found = {members: fraction_bits(members) for members in (1, 2, 3, 10, 64, 1000)}
    assert found == {1: 26, 2: 25, 3: 25, 10: 23, 64: 20, 1000: 17}
    assert all(error_bound(members) == 0.5 * 2.0**-bits for members, bits in found.items())


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, 16.000001, -123456.75, 1e300, np.float32(3e38)]
)
def test_numbers_out_of_range_are_refused_and_not_quoted(value: float) -> None:
    for position in range(3):
        vector = np.zeros(3)
        vector[position] = value
        with pytest.raises(OutOfRange, match="diverged") as caught:
            quantise(vector, members=3)
        assert "123456" not in str(caught.value) and "e+" not in str(caught.value)
        assert str(position) not in str(caught.value).replace("16", "")


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0000001, 31337.0, np.nan, np.inf])
def test_weights_out_of_range_are_refused_and_not_quoted(weight: float) -> None:
    """The weight tells how many records a member has: the server learns only their sum."""
    with pytest.raises(OutOfRange, match="weight is outside") as caught:
        quantise(np.zeros(3), members=3, weight=weight)
    assert str(weight) not in str(caught.value)


@settings(deadline=None)
@given(data=st.data(), count=st.integers(1, 10))
def test_the_weighted_mean_is_divided_by_the_sum_of_the_weights(
    data: st.DataObject, count: int
) -> None:
    """Numerator and sum of weights are each off by half a digit for every member."""
    values = data.draw(vectors(count))
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=count, max_size=count))
    mean = dequantised_mean(summed(values, weights, count), members=count)
    exact = np.average(values, axis=0, weights=weights)
    digits = sum(weights) * 2.0 ** fraction_bits(count) - count / 2
    assert np.abs(mean - exact).max() <= count / 2 * (1 + RANGE) / digits + 1e-12


def test_the_weight_rides_as_the_last_coordinate() -> None:
    quantised = quantise(np.array([2.0, -4.0]), members=1, weight=0.25)
    assert quantised.fraction_bits == 26
    assert centred(quantised.vector).tolist() == [2**25, -(2**26), 2**24]


@pytest.mark.parametrize("weights", [0, -1, 3 * 2**25 + 1])
def test_a_sum_with_impossible_weights_is_refused(weights: int) -> None:
    """Three members have room for weights of 3 * 2^25 together."""
    total = np.array([5, weights], dtype=np.int64).astype(np.uint32)
    with pytest.raises(ValueError, match="out of bounds"):
        dequantised_mean(total, members=3)
    fitting = np.array([5, 3 * 2**25], dtype=np.uint32)
    assert dequantised_mean(fitting, members=3)[0] == 5 / (3 * 2**25)


def test_nobody_has_no_vectors() -> None:
    with pytest.raises(ValueError, match="members = 0"):
        fraction_bits(0)


def test_single_precision_is_taken_exactly() -> None:
    value = np.array([0.1], dtype=np.float32)
    integer = int(centred(quantise(value, members=1).vector)[0])
    assert integer == round(float(value[0]) * 2**26)


@settings(deadline=None)
@given(limit=st.integers(1, 2**15), members=MEMBERS)
def test_small_integers_take_the_fewest_bits_that_no_sum_leaves(limit: int, members: int) -> None:
    bits = sum_bits(limit, members=members)
    assert 2 ** (bits - 2) <= limit * members < 2 ** (bits - 1)
    values = np.array([-limit, 0, limit])
    made = small_integers(values, limit=limit, members=members)
    assert (made.modulus_bits, made.fraction_bits) == (bits, 0)
    total = sign_extended(made.vector * made.vector.dtype.type(members), bits)
    assert centred(total).tolist() == (members * values).tolist()


@pytest.mark.parametrize("value", [8, -8, 2**40])
def test_an_integer_beyond_the_limit_is_not_sent(value: int) -> None:
    with pytest.raises(OutOfRange, match="larger than 7"):
        small_integers(np.array([0, value]), limit=7, members=3)
