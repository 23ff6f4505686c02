"""The operating system's randomness as a stream: the only source of noise and sampling.

A `SystemRandomStream` is AES-256 in counter mode under a key drawn from the operating system. No
constructor takes a seed, so no configuration, and no global seed of another library, can make two
groups add the same noise. Whatever needs randomness takes a `ByteSource`, which is how tests put
a seeded stream in the stream's place.
"""

import os
from fractions import Fraction
from threading import Lock
from typing import NoReturn, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from privacy.errors import StreamErased, StreamForked

_WORD_BITS = 64
_forks_seen = 0


def _note_fork() -> None:
    global _forks_seen
    _forks_seen += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def _process() -> tuple[int, int]:
    # The counter catches a child that was handed a recycled process id, the id a fork made by
    # foreign code that skips Python's hooks.
    return os.getpid(), _forks_seen


class ByteSource(Protocol):
    """Anything that gives uniformly random, independent bytes."""

    def take(self, count: int, /) -> bytes:
        """Return the next `count` bytes."""
        ...


class SystemRandomStream:
    """AES-256-CTR under a key from the operating system; never seedable, never copied.

    Raises:
        StreamForked: on use in a process other than the one that made it: parent and child would
            otherwise add the same noise.
        StreamErased: on use after `erase`.
    """

    __slots__ = ("_encryptor", "_lock", "_owner")

    def __init__(self) -> None:
        # A fresh key per stream, so a counter that starts at zero never repeats a block.
        cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(bytes(16)))
        self._encryptor: CipherContext | None = cipher.encryptor()
        self._lock = Lock()
        self._owner = _process()

    def take(self, count: int, /) -> bytes:
        """Return the next `count` bytes of the key stream."""
        if count < 0:
            raise ValueError(f"count = {count} is negative; ask for 0 bytes or more")
        if _process() != self._owner:
            raise StreamForked(
                f"random stream of process {self._owner[0]} used in process {os.getpid()} after a "
                "fork; make a new SystemRandomStream in the child"
            )
        with self._lock:
            if self._encryptor is None:
                raise StreamErased("random stream used after erase(); make a new one")
            return self._encryptor.update(bytes(count))

    def erase(self) -> None:
        """Forget the key: what was drawn cannot be drawn again. Idempotent."""
        self._encryptor = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SystemRandomStream cannot be copied or pickled; make a new one")

    def __repr__(self) -> str:
        return f"SystemRandomStream(erased={self._encryptor is None})"


def random_words(source: ByteSource, count: int) -> NDArray[np.uint64]:
    """Return `count` uniform 64-bit words, `(count,) uint64`, read-only."""
    return np.frombuffer(source.take(8 * count), dtype="<u8")


def random_uniforms(source: ByteSource, count: int) -> NDArray[np.float64]:
    """Return `count` uniform multiples of 2^-53 in [0, 1), `(count,) float64`."""
    return (random_words(source, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bernoulli_mask(
    source: ByteSource, *, probability: float | Fraction, count: int
) -> NDArray[np.bool_]:
    """Return `count` independent flags, each true with *exactly* the given probability.

    A float counts as the binary fraction it is. One 64-bit word decides a flag unless it equals
    the first 64 bits of the probability (chance 2^-64); the remaining bits of the probability
    then decide it with further words, so there is no rounding anywhere.

    Raises:
        ValueError: if the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability = {probability} is outside [0, 1]; give one inside")
    if probability == 1:
        return np.ones(count, dtype=np.bool_)
    scaled = Fraction(probability) * 2**_WORD_BITS
    threshold = int(scaled)
    words = random_words(source, count)
    mask = words < np.uint64(threshold)
    ties = np.flatnonzero(words == np.uint64(threshold))
    if ties.size and scaled != threshold:
        mask[ties] = bernoulli_mask(source, probability=scaled - threshold, count=ties.size)
    return mask


def poisson_sample(
    source: ByteSource, *, sampling_rate: float | Fraction, units: int, batch_cap: int
) -> NDArray[np.intp]:
    """Return the indices of a Poisson sample of the units, at most `batch_cap` of them.

    Every unit is in with exactly the probability `sampling_rate`, independently of all others; the
    result may be empty. A sample above the cap loses its last units: the cap of a plan makes that
    so rare that the loss is paid for in delta.

    Returns:
        `(m,) intp`, increasing, 0 <= m <= batch_cap. Its length is private: never release it.
    """
    if batch_cap < 1:
        raise ValueError(f"batch_cap = {batch_cap} is below 1; take the cap from the plan")
    mask = bernoulli_mask(source, probability=sampling_rate, count=units)
    return np.flatnonzero(mask)[:batch_cap]
