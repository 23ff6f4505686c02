"""Masks: key streams of AES-256-CTR, read as integers modulo 2^32 or 2^64, and their keys."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privacy.identity.keys import PrivateKey, agree, derive, digest, public_of
from privacy.kernel.types import Modular

#: Expanded at a time: small enough to stay in a core's cache.
_CHUNK_BYTES = 1 << 18


def pad_of(
    keys: Iterable[tuple[bytes, int]], *, dimension: int, dtype: np.dtype[np.unsignedinteger[Any]]
) -> Modular:
    """Add up the masks of keys, each with its sign.

    Args:
        keys: pairs of 32 bytes, each used for one mask only, and +1 or -1.
        dimension: d.
        dtype: uint32 or uint64, whose arithmetic is the modulus.

    Returns:
        `(d,)` of the dtype.
    """
    total = np.zeros(dimension, dtype=dtype)
    add_masks(total, keys)
    return total


def add_masks(total: Modular, keys: Iterable[tuple[bytes, int]]) -> None:
    """Add the masks of keys to a vector in place; see `pad_of`."""
    item = total.dtype.itemsize
    length = _CHUNK_BYTES // item
    zeros = bytes(min(_CHUNK_BYTES, total.nbytes))
    # The mode may write up to a block more than it was given.
    room = bytearray(len(zeros) + 15)
    for key, sign in keys:
        if sign not in (1, -1):
            raise ValueError(f"sign = {sign} is neither 1 nor -1; give one of them")
        stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        for start in range(0, total.size, length):
            part: NDArray[Any] = total[start : start + length]
            stream.update_into(memoryview(zeros)[: part.nbytes], room)
            mask = np.frombuffer(room, dtype=total.dtype.newbyteorder("<"), count=part.size)
            (np.add if sign > 0 else np.subtract)(part, mask, out=part)


def commitment_of(self_seed: bytes) -> bytes:
    """The commitment to the seed of a member's own mask that its advertisement holds."""
    return digest(b"self seed", self_seed)


def mask_secret(mask_seed: bytes) -> bytes:
    """The X25519 secret of a mask key, from the seed that is shared."""
    return derive(mask_seed, "mask secret", b"")


def mask_public(mask_seed: bytes) -> bytes:
    """The public mask key that belongs to a seed."""
    return public_of(mask_secret(mask_seed))


def pair_mask_key(secret: bytes | PrivateKey, public: bytes, context: bytes) -> bytes:
    """The key of the mask that two members add with opposite signs."""
    return derive(agree(secret, public), "pair", context)


def self_mask_key(self_seed: bytes) -> bytes:
    """The key of a member's own mask."""
    return derive(self_seed, "self", b"")
