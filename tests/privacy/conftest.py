"""Test doubles of the privacy room: byte sources that repeat, which production has none of."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.kernel.randomness import ByteSource
from privacy.kernel.types import KernelSettings


class SeededSource:
    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def take(self, count: int, /) -> bytes:
        return self._generator.bytes(count)


class ScriptedSource:
    """Gives the listed 64-bit words, then fails."""

    def __init__(self, words: Iterable[int]) -> None:
        self.rest = b"".join(word.to_bytes(8, "little") for word in words)

    def take(self, count: int, /) -> bytes:
        if count > len(self.rest):
            raise AssertionError("the script is exhausted")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


@pytest.fixture
def seeded() -> Callable[[int], ByteSource]:
    return SeededSource


@pytest.fixture
def scripted() -> Callable[[Iterable[int]], ScriptedSource]:
    return ScriptedSource


@pytest.fixture
def settings() -> Callable[..., KernelSettings]:
    """The kernel of the reference plan at epsilon 4, with any field replaced."""
    reference = KernelSettings(
        dimension=1000,
        clipping_norm=0.5,
        sensitivity=126_130,
        noise_log2=16,
        modulus_bits=32,
    )
    return lambda **changes: replace(reference, **changes)


@pytest.fixture
def terms() -> Callable[..., PrivacyTerms]:
    """The reference terms: 10 groups of 2000, q = .064, 200 rounds, 6 honest shares."""
    reference = {
        "epsilon": 4.0,
        "delta": 1e-5,
        "groups": 10,
        "units_per_group": 2000,
        "sampling_rate": 0.064,
        "rounds": 200,
        "survivors": 7,
        "colluding": 1,
        "clipping_norm": 1.0,
        "dimension": 100_000,
    }
    return lambda **changes: PrivacyTerms(**{**reference, **changes})


@pytest.fixture
def plan(terms: Callable[..., PrivacyTerms]) -> PrivacyPlan:
    return PrivacyPlan.calibrate(terms())
