"""The cryptographic stream: uniform, unseedable, unusable after a fork; exact Poisson sampling."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from privacy.errors import StreamErased, StreamForked
from privacy.kernel import randomness
from privacy.kernel.randomness import (
    SystemRandomStream,
    bernoulli_mask,
    poisson_sample,
    random_uniforms,
    random_words,
)

ROOT = Path(__file__).parents[3]

FORK = """
import os
from privacy.errors import StreamForked
from privacy.kernel.randomness import SystemRandomStream

stream = SystemRandomStream()
stream.take(8)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    try:
        stream.take(8)
        os.write(writer, b"guard failed")
    except StreamForked:
        os.write(writer, b"refused ")
        os.write(writer, stream._encryptor.update(bytes(8)).hex().encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reader, 100).decode(), stream.take(8).hex())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_use_after_fork_is_refused() -> None:
    """Test 28. The child is refused; past the guard it would have drawn the parent's 8 bytes."""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    verdict, unguarded_child, parent = answer
    assert verdict == "refused"
    assert unguarded_child == parent


def test_a_fork_that_keeps_the_process_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test 28. The hook counts forks, so a recycled process id does not help the child."""
    stream = SystemRandomStream()
    monkeypatch.setattr(randomness, "_forks_seen", randomness._forks_seen + 1)
    with pytest.raises(StreamForked, match="after a fork"):
        stream.take(1)


def test_no_seed_can_be_given() -> None:
    assert not inspect.signature(SystemRandomStream).parameters
    with pytest.raises(TypeError):
        SystemRandomStream(0)
    assert SystemRandomStream().take(32) != SystemRandomStream().take(32)


def test_stream_goes_on_and_never_repeats() -> None:
    stream = SystemRandomStream()
    blocks = [stream.take(16) for _ in range(1000)]
    assert len(set(blocks)) == 1000
    assert stream.take(0) == b""


def test_erased_stream_gives_nothing() -> None:
    stream = SystemRandomStream()
    stream.take(1)
    stream.erase()
    stream.erase()
    with pytest.raises(StreamErased):
        stream.take(1)
    assert "erased=True" in repr(stream)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_stream_cannot_be_duplicated(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        duplicate(SystemRandomStream())


def test_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        SystemRandomStream().take(-1)


def test_words_and_uniforms_are_uniform() -> None:
    """KS on 1e5 uniforms and a binomial test on each of 64 bits; false positives below 1e-7."""
    stream = SystemRandomStream()
    uniforms = random_uniforms(stream, 100_000)
    assert uniforms.min() >= 0 and uniforms.max() < 1
    assert stats.kstest(uniforms, "uniform").pvalue > 1e-8
    words = random_words(stream, 100_000)
    for bit in range(64):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert stats.binomtest(ones, 100_000).pvalue > 1e-9


def test_bernoulli_decides_a_tie_with_the_next_word(scripted) -> None:
    third = Fraction(1, 3)
    threshold = 2**64 // 3
    fraction = int((third * 2**64 - threshold) * 2**64)
    words = [threshold - 1, threshold, threshold + 1, threshold]
    source = scripted([*words, fraction - 1, fraction + 1])
    assert bernoulli_mask(source, probability=third, count=4).tolist() == [True, True, False, False]
    assert not source.rest


def test_bernoulli_of_a_dyadic_probability_never_needs_a_second_word(scripted) -> None:
    source = scripted([2**63 - 1, 2**63])
    assert bernoulli_mask(source, probability=0.5, count=2).tolist() == [True, False]


@pytest.mark.parametrize(("probability", "expected"), [(0, False), (1, True), (1.0, True)])
def test_certain_and_impossible_events(probability: float, expected: bool) -> None:
    mask = bernoulli_mask(SystemRandomStream(), probability=probability, count=1000)
    assert (mask == expected).all()


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_probability_outside_the_unit_interval_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        bernoulli_mask(SystemRandomStream(), probability=probability, count=1)


def is_poisson_sampling(batches: list[np.ndarray], units: int, rate: float) -> bool:
    """Two-sided chi-square tests of batch sizes and of inclusions per unit.

    False positives: 4 tails of 1e-7.
    """
    sizes = np.array([batch.size for batch in batches])
    inclusions = np.bincount(np.concatenate(batches), minlength=units)
    rounds = len(batches)
    verdicts = []
    for counts, trials in ((sizes, units), (inclusions, rounds)):
        statistic = ((counts - trials * rate) ** 2).sum() / (trials * rate * (1 - rate))
        tail = stats.chi2.cdf(statistic, counts.size)
        verdicts.append(1e-7 < tail < 1 - 1e-7)
    return all(verdicts)


def test_poisson_sample_is_poisson() -> None:
    """Sizes and inclusions over 500 batches of 2000 units at q = .064; false positives 4e-7."""
    stream = SystemRandomStream()
    batches = [
        poisson_sample(stream, units=2000, sampling_rate=0.064, batch_cap=2000) for _ in range(500)
    ]
    assert is_poisson_sampling(batches, 2000, 0.064)


def test_planted_shuffled_and_fixed_size_batches_are_detected() -> None:
    generator = np.random.default_rng(0)
    chunks = np.array_split(np.arange(2000), 16)
    shuffled = [generator.permutation(2000)[chunks[0]] for _ in range(500)]
    epochs = [batch for _ in range(32) for batch in np.split(generator.permutation(2000), 16)]
    assert not is_poisson_sampling(shuffled, 2000, 1 / 16)
    assert not is_poisson_sampling(epochs, 2000, 1 / 16)


def test_poisson_sample_respects_its_cap() -> None:
    batch = poisson_sample(SystemRandomStream(), units=100, sampling_rate=1.0, batch_cap=7)
    assert batch.tolist() == list(range(7))
    with pytest.raises(ValueError, match="batch_cap"):
        poisson_sample(SystemRandomStream(), units=100, sampling_rate=0.5, batch_cap=0)
