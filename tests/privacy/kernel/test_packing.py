"""Packed vectors: as few bits as asked for, one encoding each, and the low bits exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.kernel.packing import pack, packed_bytes, sign_extended, unpack, word_dtype

WIDTHS = range(2, 65)


def drawn(count: int, bits: int, seed: int = 0) -> np.ndarray:
    """Words with all their bits drawn, those above the width as well."""
    dtype = word_dtype(bits)
    largest = np.iinfo(dtype).max
    return np.random.default_rng([seed, bits]).integers(0, largest, count, dtype, endpoint=True)


def spelled(vector: np.ndarray, bits: int) -> bytes:
    """The encoding by its definition: one long number, coordinate 0 in its lowest bits."""
    number = sum((int(word) % 2**bits) << (bits * position) for position, word in enumerate(vector))
    return number.to_bytes(packed_bytes(vector.size, bits), "little")


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width_is_packed_as_defined_and_read_back(bits: int) -> None:
    """Lengths around a word and a group of words, and one beyond the rows taken at a time."""
    for count in (0, 1, 2, 3, 31, 64, 65, 200):
        vector = drawn(count, bits)
        data = pack(vector, bits)
        assert data == spelled(vector, bits)
        read = unpack(data, count=count, bits=bits)
        assert read.dtype == vector.dtype
        assert read.tolist() == [int(word) % 2**bits for word in vector]
    long = drawn(70_001, bits)
    assert np.array_equal(
        unpack(pack(long, bits), count=70_001, bits=bits) ^ long, long & ~low(bits)
    )


def low(bits: int) -> np.unsignedinteger:
    return word_dtype(bits).type(2**bits - 1)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), bits=st.sampled_from(WIDTHS), count=st.integers(0, 40))
def test_bytes_are_refused_or_are_the_one_encoding(
    data: st.DataObject, bits: int, count: int
) -> None:
    length = packed_bytes(count, bits)
    given_bytes = data.draw(st.binary(min_size=max(0, length - 1), max_size=length + 1))
    try:
        vector = unpack(given_bytes, count=count, bits=bits)
    except MalformedMessage:
        stray = len(given_bytes) == length and given_bytes[-1] >> (8 - (8 * length - count * bits))
        assert len(given_bytes) != length or stray
        return
    assert pack(vector, bits) == given_bytes


def test_stray_bits_and_other_lengths_are_refused() -> None:
    data = pack(drawn(3, 5), 5)
    assert len(data) == 2
    with pytest.raises(MalformedMessage, match="behind its last"):
        unpack(data[:1] + bytes([data[1] | 0x80]), count=3, bits=5)
    for wrong in (data + b"\0", data[:1], b""):
        with pytest.raises(MalformedMessage, match="2 needed"):
            unpack(wrong, count=3, bits=5)


@pytest.mark.parametrize("bits", [0, 1, 65, -3])
def test_a_width_that_no_sum_has_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits = {bits}"):
        pack(np.zeros(3, dtype=np.uint32), bits)


@pytest.mark.parametrize(("bits", "dtype"), [(32, np.uint64), (33, np.uint32), (8, np.int32)])
def test_words_of_another_size_are_refused(bits: int, dtype: type) -> None:
    with pytest.raises(ValueError, match="a vector is"):
        pack(np.zeros(3, dtype=dtype), bits)


@pytest.mark.parametrize("bits", WIDTHS)
def test_residues_are_lifted_to_the_ends_of_their_range(bits: int) -> None:
    """Whatever stands above the low bits."""
    half = 2 ** (bits - 1)
    numbers = [-half, -half + 1, -1, 0, 1, half - 1]
    dtype = word_dtype(bits)
    above = int(np.iinfo(dtype).max) - (2**bits - 1)
    for rest in (0, above, above & 0x5555555555555555):
        words = np.array([(number % 2**bits) | rest for number in numbers], dtype=dtype)
        lifted = sign_extended(words, bits)
        assert lifted.dtype == dtype
        assert lifted.view(f"i{dtype.itemsize}").tolist() == numbers
