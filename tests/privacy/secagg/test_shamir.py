"""Any threshold of shares gives a secret back, fewer tell nothing, and bad ones are told."""

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.kernel.randomness import SystemRandomStream
from privacy.secagg import shamir
from privacy.secagg.shamir import PRIME, SECRET_BYTES, SHARE_BYTES

SOURCE = SystemRandomStream()


class Script:
    """Gives the listed coefficients."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def take(self, count: int, /) -> bytes:
        drawn = [self._values.pop(0) for _ in range(count // 48)]
        return b"".join(value.to_bytes(48, "big") for value in drawn)


def number(secret: bytes) -> int:
    return int.from_bytes(secret, "big")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), holders=st.integers(1, 40))
def test_any_threshold_of_shares_recovers_every_secret(data: st.DataObject, holders: int) -> None:
    threshold = data.draw(st.integers(1, holders))
    points = data.draw(
        st.lists(st.integers(1, 100_001), min_size=holders, max_size=holders, unique=True)
    )
    secrets = data.draw(
        st.lists(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), min_size=1, max_size=3)
    )
    rows = shamir.split(secrets, threshold=threshold, points=points, source=SOURCE)
    chosen = data.draw(st.permutations(range(holders)))[:threshold]
    for secret, row in zip(secrets, rows, strict=True):
        assert {len(share) for share in row} == {SHARE_BYTES}
        at = [points[index] for index in chosen]
        assert shamir.recover(at, [row[index] for index in chosen]) == number(secret)
        for point, share in zip(points, row, strict=True):
            found = shamir.recover(at, [row[index] for index in chosen], at=point)
            assert found == number(share)


def test_shares_are_values_of_the_polynomial() -> None:
    """7 + 5 x + 3 x^2 at 1, 2 and 4; coefficients are drawn highest first, modulo the prime."""
    row = shamir.split(
        [(7).to_bytes(SECRET_BYTES, "big")],
        threshold=3,
        points=[1, 2, 4],
        source=Script(3 + PRIME, 5),
    )[0]
    assert [number(share) for share in row] == [15, 29, 75]


def test_fewer_shares_fit_every_secret_equally() -> None:
    """Given t - 1 shares, each secret belongs to exactly one polynomial: nothing can be told.

    The proof by construction: for any other secret there is a share of the missing holder that
    completes the same t - 1 shares to it.
    """
    secret, other = os.urandom(SECRET_BYTES), os.urandom(SECRET_BYTES)
    row = shamir.split([secret], threshold=4, points=[1, 2, 3, 4], source=SOURCE)[0]
    fitting = shamir.recover([0, 1, 2, 3], [other, *row[:3]], at=4)
    completed = [*row[:3], fitting.to_bytes(SHARE_BYTES, "big")]
    assert shamir.recover([1, 2, 3, 4], completed) == number(other)
    assert shamir.recover([1, 2, 3], row[:3]) != number(secret)


def test_shares_of_equal_secrets_differ_and_are_uniform() -> None:
    """500 first shares of one secret; the mean of a uniform is off by 8 deviations: below 1e-14."""
    rows = [
        shamir.split([bytes(SECRET_BYTES)] * 2, threshold=2, points=[1, 2], source=SOURCE)
        for _ in range(250)
    ]
    shares = [number(row[0]) for pair in rows for row in pair]
    assert len(set(shares)) == 500
    deviation = PRIME / (12 * 500) ** 0.5
    assert abs(sum(shares) / 500 - PRIME / 2) < 8 * deviation


@settings(max_examples=40, deadline=None)
@given(data=st.data(), holders=st.integers(3, 40))
def test_bad_shares_are_told_up_to_half_of_those_to_spare(
    data: st.DataObject, holders: int
) -> None:
    threshold = data.draw(st.integers(1, holders))
    points = [1 + 7 * index for index in range(holders)]
    row = shamir.split(
        [os.urandom(SECRET_BYTES)], threshold=threshold, points=points, source=SOURCE
    )
    shares = row[0]
    liars = data.draw(
        st.lists(st.sampled_from(range(holders)), max_size=(holders - threshold) // 2, unique=True)
    )
    for index in liars:
        shares[index] = ((number(shares[index]) + 1 + index) % PRIME).to_bytes(SHARE_BYTES, "big")
    found = shamir.strangers(points, shares, threshold=threshold)
    assert found == tuple(points[index] for index in sorted(liars))


def test_a_share_beyond_the_prime_is_the_element_it_stands_for() -> None:
    row = shamir.split([bytes(SECRET_BYTES)], threshold=1, points=[1, 2, 3], source=SOURCE)[0]
    row[1] = (number(row[1]) + PRIME).to_bytes(SHARE_BYTES, "big")
    assert shamir.strangers([1, 2, 3], row, threshold=1) == ()
    assert shamir.recover([2], [row[1]]) == 0


def test_more_bad_shares_than_can_be_told_are_not_guessed() -> None:
    """5 of 10 shares bad with t = 7: nothing is said, for any of 30 choices."""
    for liars in itertools.islice(itertools.combinations(range(10), 5), 0, 240, 8):
        row = shamir.split(
            [os.urandom(SECRET_BYTES)], threshold=7, points=range(1, 11), source=SOURCE
        )[0]
        for index in liars:
            row[index] = b"\0" + os.urandom(SHARE_BYTES - 1)
        assert shamir.strangers(range(1, 11), row, threshold=7) is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"threshold": 0}, "threshold = 0"),
        ({"threshold": 4}, "threshold = 4"),
        ({"points": [1, 2, 2]}, "distinct"),
        ({"points": [0, 1, 2]}, "at least 1"),
        ({"secrets": [bytes(32)]}, "31 bytes"),
        ({"secrets": [bytes(30)]}, "31 bytes"),
    ],
)
def test_what_cannot_be_shared_safely_is_refused(changes: dict, match: str) -> None:
    """A share at point 0 would be the secret itself."""
    good = {"secrets": [bytes(31)], "threshold": 2, "points": [1, 2, 3], "source": SOURCE}
    given = {**good, **changes}
    with pytest.raises(ValueError, match=match):
        shamir.split(given.pop("secrets"), **given)


def test_one_share_is_not_counted_twice() -> None:
    with pytest.raises(ValueError, match="one point"):
        shamir.recover([1, 1], [bytes(32), bytes(32)])
