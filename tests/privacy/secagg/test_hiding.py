"""What is sent looks like noise, whatever is in it, and secrets stay where they were drawn."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from privacy.kernel.packing import unpack
from privacy.kernel.quantisation import RANGE, fraction_bits, quantise
from privacy.kernel.types import KernelSettings
from privacy.secagg.masking import mask_secret, pad_of, self_mask_key
from privacy.secagg.messages import (
    Advertised,
    Confirmed,
    MaskedInput,
    Masking,
    MaskRequest,
    Shared,
)
from privacy.secagg.round_terms import VectorTerms

DIMENSION = 2**16


def masked_words(group: Any) -> np.ndarray:
    """The masked vectors of the last round, `(members, d) uint32`."""
    server = group.begin()
    group.until_unmask(server)
    count = len(group.names)
    sent = [message for _, stage, message in group.sent if stage == "mask"][-count:]
    return np.array([np.frombuffer(MaskedInput.decode(m).vector, "<u4") for m in sent])


def group_of(federate: Any, values: np.ndarray) -> Any:
    members = len(values)
    vector = VectorTerms(dimension=values.shape[1] + 1, fraction_bits=fraction_bits(members))
    return federate([quantise(row, members=members) for row in values], vector)


def is_uniform(words: np.ndarray) -> bool:
    """Chi-square of every byte, and Kolmogorov-Smirnov of the whole: each below 1e-11 by chance."""
    lanes = words.view(np.uint8).reshape(-1, 4).T
    chances = [stats.chisquare(np.bincount(lane, minlength=256)).pvalue for lane in lanes]
    chances.append(stats.kstest(words / 2.0**32, "uniform").pvalue)
    return min(chances) > 1e-11


def look_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Two-sample Kolmogorov-Smirnov and chi-square of leading bytes: each below 1e-11 by chance."""
    table = np.array([np.bincount(words >> 24, minlength=256) for words in (one, other)])
    table = table[:, table.any(axis=0)]
    chances = (stats.chi2_contingency(table).pvalue, stats.ks_2samp(one, other).pvalue)
    return min(chances) > 1e-11


def is_uncorrelated(words: np.ndarray, vector: np.ndarray) -> bool:
    """The correlation of 65,536 pairs is within 7.5 deviations: false positives below 1e-13."""
    found = np.corrcoef(words.astype(np.float64), vector.astype(np.float64))[0, 1]
    return bool(abs(found) < 7.5 / np.sqrt(words.size))


def test_all_zero_and_all_largest_inputs_look_the_same(federate: Any) -> None:
    """Masked vectors are uniform: 3 members, 65,537 words, all zero against all +16 and all -16.

    33 tests of distribution at 1e-11 each: false positives below 1e-9.
    """
    ends = [np.full((3, DIMENSION), value) for value in (0.0, RANGE, -RANGE)]
    masked = [masked_words(group_of(federate, values)) for values in ends]
    for words in masked:
        assert all(is_uniform(row) for row in words)
    for other in masked[1:]:
        assert all(look_alike(a, b) for a, b in zip(masked[0], other, strict=True))
        assert not np.any(np.all(masked[0] == other, axis=1))


@pytest.mark.parametrize("bits", [5, 27])
def test_packed_vectors_are_uniform(bits: int, federate: Any, noised: Any) -> None:
    """Shares of noise in 5 and in 27 bits a coordinate: 3 members, 65,536 words.

    Chi-square of the low 5 bits and of the leading 5, and of every byte of the message: less than
    500 tests at 1e-11 each, so false positives below 1e-8.
    """
    kernel = KernelSettings(
        dimension=DIMENSION, clipping_norm=0.5, sensitivity=130, noise_log2=0, modulus_bits=32
    )
    vector = VectorTerms(dimension=DIMENSION, modulus_bits=bits, sensitivity=130)
    group = federate(noised(3, kernel), vector)
    server = group.begin()
    group.until_unmask(server)
    sent = [MaskedInput.decode(m).vector for _, stage, m in group.sent if stage == "mask"]
    inputs = [party.vector.vector & np.uint32(2**bits - 1) for party in group.parties.values()]
    # In the clear the words are anything but uniform: most are -1, 0 or 1.
    assert not any(is_even(vector & np.uint32(31), 32) for vector in inputs)
    words = [unpack(data, count=DIMENSION, bits=bits) for data in sent]
    for data, low in zip(sent, words, strict=True):
        assert is_even(np.frombuffer(data, np.uint8), 256)
        assert is_even(low & np.uint32(31), 32) and is_even(low >> np.uint32(bits - 5), 32)
    assert all(is_uncorrelated(low, vector) for low in words for vector in inputs)


def is_even(values: np.ndarray, kinds: int) -> bool:
    """Chi-square against equal counts, below 1e-11 by chance."""
    return bool(stats.chisquare(np.bincount(values, minlength=kinds)).pvalue > 1e-11)


def test_masked_vectors_are_uncorrelated_with_inputs_and_each_other(federate: Any) -> None:
    """Masked vectors are uncorrelated with the input: 12 correlations, each below 1e-13."""
    values = np.random.default_rng(0).uniform(-RANGE, RANGE, (3, DIMENSION))
    group = group_of(federate, values)
    words = masked_words(group)
    inputs = [party.vector.vector for party in group.parties.values()]
    assert all(is_uncorrelated(row, vector) for row in words for vector in inputs)
    assert all(is_uncorrelated(words[i], words[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    again = masked_words(group)
    assert all(is_uncorrelated(a, b) for a, b in zip(words, again, strict=True))


def test_planted_weak_masks_are_detected() -> None:
    """Masks of 28 bits, no mask, and one mask for two vectors: the figures above would tell."""
    generator = np.random.default_rng(1)
    vector = quantise(np.full(DIMENSION, RANGE), members=3).vector
    good = generator.integers(2**32, size=vector.size, dtype=np.uint32)
    short = generator.integers(2**28, size=vector.size, dtype=np.uint32)
    assert is_uniform(vector + good) and look_alike(good, vector + good)
    assert not is_uniform(vector + short) and not look_alike(short, vector + short)
    random = generator.integers(2**32, size=vector.size, dtype=np.uint32)
    narrow = random >> 2
    assert not is_uncorrelated(narrow + short, narrow)
    assert is_uncorrelated(random + good, random)
    assert not is_uncorrelated(narrow + good, narrow + good + 1)


@pytest.mark.parametrize("dropped", [False, True])
def test_secrets_are_in_no_message_and_no_repr(dropped: bool, federate: Any, recorder: Any) -> None:
    """Everything drawn, but for the public nonce, and all that is derived, in 3 and 5 members."""
    members = 5 if dropped else 3
    names = [f"m{index:03d}" for index in range(members)]
    sources = {name: recorder() for name in names}
    values = np.random.default_rng(2).uniform(-RANGE, RANGE, (members, 20))
    vectors = [quantise(row, members=members) for row in values]
    vector = VectorTerms(dimension=21, fraction_bits=fraction_bits(members))
    group = federate(vectors, vector, sources=sources)
    shown: list[str] = []
    for party in group.parties.values():
        watch(party, shown)
    group.run([(), names[:1] if dropped else (), (), ()])

    secrets: dict[bytes, str] = {}
    for name, source in sources.items():
        party = group.parties[name]
        kept = party.secrets[0]
        nonce = source.taken[3]
        assert [len(taken) for taken in source.taken[:4]] == [32, 31, 31, 32]
        for index, taken in enumerate(source.taken):
            # Nonces travel in the clear: one in the advertisement, and 12 bytes a ciphertext.
            if taken != nonce and len(taken) != 12:
                secrets |= {taken[at : at + 31]: f"draw {index}" for at in range(0, len(taken), 48)}
        secrets[mask_secret(kept.mask_seed)] = "mask secret"
        secrets[self_mask_key(kept.self_seed)] = "self key"
        pad = pad_of([(self_mask_key(kept.self_seed), 1)], dimension=21, dtype=np.dtype("u4"))
        secrets[pad.tobytes()[:32]] = "pad"
        secrets[party.vector.vector.tobytes()[:32]] = "vector"
    assert len(secrets) > 8 * members
    for _, stage, message in group.sent + group.received:
        found = [what for secret, what in secrets.items() if secret in message]
        assert not found, f"{found} in {stage}"
        shown.append(repr(message[:0]))
    for text in shown:
        assert not [what for secret, what in secrets.items() if repr(secret)[2:-1] in text]
        assert not [what for secret, what in secrets.items() if secret.hex() in text]


def watch(party: Any, shown: list[str]) -> None:
    """Note how everything looks that a member has in hand between two stages."""
    answer = party.answer
    kinds = {101: Advertised, 102: Shared, 103: Masking, 104: Confirmed}

    def watched(stage: str, request: bytes) -> bytes:
        if stage == "mask":
            shown.append(repr(party.member.open(Shared.decode(party.state), request)))
            shown.append(repr(MaskRequest.decode(request)))
        message = answer(stage, request)
        if party.state:
            shown.append(repr(kinds[party.state[4]].decode(party.state)))
        shown.append(repr(party.member) + repr(party.vector) + repr(party.terms))
        return message

    party.answer = watched
