"""Masks: a known key stream, read as integers of the modulus, that cancels between two members."""

import numpy as np
import pytest
from scipy import stats

from privacy.identity.keys import public_of
from privacy.kernel.randomness import SystemRandomStream
from privacy.secagg.masking import (
    _CHUNK_BYTES,
    add_masks,
    commitment_of,
    mask_public,
    mask_secret,
    pad_of,
    pair_mask_key,
    self_mask_key,
)

SOURCE = SystemRandomStream()
DTYPES = [np.dtype(np.uint32), np.dtype(np.uint64)]
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")


def aes_block(key: bytes, counter: int) -> bytes:
    """AES-256 of one counter, by the code book: not the mode under test."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher alone
    return encryptor.update(counter.to_bytes(16, "big"))


def test_the_code_book_of_these_tests_is_aes() -> None:
    """NIST SP 800-38A F.5.5, first block of CTR-AES256: counter, then key stream."""
    counter = int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16)
    assert aes_block(NIST_KEY, counter).hex() == "0bdf7df1591716335e9a8b15c860c502"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mask_is_aes_in_counter_mode_from_zero(dtype: np.dtype) -> None:
    """Every word against single blocks of AES, across the border of two expanded chunks."""
    length = _CHUNK_BYTES // dtype.itemsize + 9
    pad = pad_of([(NIST_KEY, 1)], dimension=length, dtype=dtype)
    blocks = range(-(-length * dtype.itemsize // 16))
    checked = [*blocks[:3], *blocks[-5:]]
    data = pad.astype(dtype.newbyteorder("<")).tobytes()
    for block in checked:
        expected = aes_block(NIST_KEY, block)
        found = data[16 * block : 16 * block + 16]
        assert found == expected[: len(found)] and found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [-1, 0, 1, 5])
def test_a_longer_mask_begins_like_a_shorter_one(dtype: np.dtype, offset: int) -> None:
    border = _CHUNK_BYTES // dtype.itemsize
    whole = pad_of([(NIST_KEY, 1)], dimension=2 * border + 7, dtype=dtype)
    for length in (1, 3, border + offset, 2 * border + offset):
        assert np.array_equal(
            pad_of([(NIST_KEY, 1)], dimension=length, dtype=dtype), whole[:length]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_cancel_and_add_up(dtype: np.dtype) -> None:
    keys = [SOURCE.take(32) for _ in range(4)]
    signs = [1, -1, -1, 1]
    length = _CHUNK_BYTES // dtype.itemsize + 3
    parts = [pad_of([(key, 1)], dimension=length, dtype=dtype) for key in keys]
    with np.errstate(over="ignore"):
        expected = parts[0] - parts[1] - parts[2] + parts[3]
    total = pad_of(zip(keys, signs, strict=True), dimension=length, dtype=dtype)
    assert np.array_equal(total, expected) and total.any()
    add_masks(total, [(key, -sign) for key, sign in zip(keys, signs, strict=True)])
    assert not total.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_are_uniform(dtype: np.dtype) -> None:
    """Every byte of 2^17 words, chi-square with 255 degrees: false positives below 8 * 1e-10.

    The key is of the operating system; two neighbours of a word are independent as well.
    """
    pad = pad_of([(SOURCE.take(32), 1), (SOURCE.take(32), -1)], dimension=2**17, dtype=dtype)
    lanes = pad.view(np.uint8).reshape(-1, dtype.itemsize)
    for lane in lanes.T:
        assert stats.chisquare(np.bincount(lane, minlength=256)).pvalue > 1e-10
    pairs = (lanes[:-1, -1] >> 4) * np.uint8(16) + (lanes[1:, -1] >> 4)
    assert stats.chisquare(np.bincount(pairs[::2], minlength=256)).pvalue > 1e-10


def test_a_sign_is_one_or_minus_one() -> None:
    for sign in (0, 2):
        with pytest.raises(ValueError, match="neither"):
            pad_of([(NIST_KEY, sign)], dimension=1, dtype=np.dtype(np.uint32))


def test_both_of_a_pair_derive_one_key_that_is_of_this_context() -> None:
    one, other = mask_secret(b"1" * 31), mask_secret(b"2" * 31)
    key = pair_mask_key(one, public_of(other), b"context")
    assert key == pair_mask_key(other, mask_public(b"1" * 31), b"context")
    assert key != pair_mask_key(one, public_of(other), b"another")
    assert key != pair_mask_key(one, public_of(one), b"context")


def test_keys_of_one_seed_have_nothing_in_common() -> None:
    seed = bytes(31)
    derived = {
        commitment_of(seed),
        mask_secret(seed),
        mask_public(seed),
        self_mask_key(seed),
        seed + b"\0",
    }
    assert len(derived) == 5
    assert {len(key) for key in derived} == {32}
