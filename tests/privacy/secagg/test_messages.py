"""Every message and state has one encoding; whatever else arrives is refused, cheaply."""

import inspect
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.secagg import messages
from privacy.secagg.encoding import MAGIC, MOST_MEMBERS, Message, Signed
from privacy.secagg.messages import (
    Advert,
    Advertised,
    AdvertiseRequest,
    Confirmed,
    Consistency,
    ConsistencyRequest,
    MaskedInput,
    Masking,
    MaskRequest,
    Shared,
    ShareRequest,
    Shares,
    Unmask,
    UnmaskRequest,
    survivors_digest,
)
from privacy.secagg.round_terms import Attempt

INDICES = st.lists(st.integers(0, MOST_MEMBERS), max_size=6, unique=True).map(sorted)


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def by_member(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.integers(0, MOST_MEMBERS), values, max_size=6).map(
        lambda rows: tuple(sorted(rows.items()))
    )


KEY, BLOB = exactly(32), st.binary(max_size=200)
TEXT = st.text(max_size=200)
ATTEMPT = st.builds(Attempt, run=TEXT, round=st.integers(0, 2**53), attempt=st.integers(0, 2**53))
SET = INDICES.map(tuple)
KINDS: dict[type[Message], st.SearchStrategy[Any]] = {
    AdvertiseRequest: st.builds(AdvertiseRequest, ATTEMPT),
    Advert: st.builds(Advert, TEXT, KEY, KEY, KEY, KEY, st.integers(0, 2**53), KEY, exactly(64)),
    ShareRequest: st.builds(ShareRequest, BLOB, st.lists(BLOB, max_size=5).map(tuple)),
    Shares: st.builds(Shares, KEY, by_member(BLOB), exactly(64)),
    MaskRequest: st.builds(MaskRequest, KEY, SET, by_member(BLOB)),
    MaskedInput: st.builds(MaskedInput, KEY, BLOB, exactly(64)),
    ConsistencyRequest: st.builds(ConsistencyRequest, KEY, SET),
    Consistency: st.builds(Consistency, KEY, KEY, exactly(64)),
    UnmaskRequest: st.builds(UnmaskRequest, KEY, by_member(exactly(64))),
    Unmask: st.builds(Unmask, KEY, by_member(exactly(32)), exactly(64)),
    Advertised: st.builds(Advertised, ATTEMPT, KEY, exactly(31), exactly(31), BLOB),
    Shared: st.builds(Shared, BLOB, BLOB, exactly(64)),
    Masking: st.builds(
        Masking,
        BLOB,
        KEY,
        SET,
        by_member(exactly(64)),
        st.integers(0, MOST_MEMBERS),
        st.integers(0, MOST_MEMBERS),
    ),
    Confirmed: st.builds(Confirmed, BLOB, SET),
}
ANY = st.sampled_from(list(KINDS)).flatmap(lambda kind: KINDS[kind])
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_every_message_of_the_module_is_tested() -> None:
    found = {
        value
        for _, value in inspect.getmembers(messages, inspect.isclass)
        if issubclass(value, Message) and value not in (Message, Signed)
    }
    assert found == set(KINDS)
    assert len({kind.KIND for kind in KINDS}) == len(KINDS)


@settings(max_examples=300, deadline=None)
@given(message=ANY)
def test_messages_are_read_as_they_were_written(message: Message) -> None:
    data = message.encode()
    again = type(message).decode(data)
    assert again == message and again.encode() == data


def canonical_or_refused(kind: type[Message], data: bytes) -> None:
    try:
        message = kind.decode(data)
    except MalformedMessage:
        return
    assert message.encode() == data


@settings(max_examples=200, deadline=None)
@given(message=ANY, data=st.data())
def test_every_beginning_and_every_longer_message_is_refused(
    message: Message, data: st.DataObject
) -> None:
    encoded = message.encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    more = data.draw(st.binary(min_size=1, max_size=9))
    for wrong in (encoded[:cut], encoded + more):
        with pytest.raises(MalformedMessage):
            type(message).decode(wrong)


@settings(max_examples=400, deadline=None)
@given(message=ANY, data=st.data())
def test_flipped_bits_give_another_message_or_none(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    canonical_or_refused(type(message), bytes(encoded))
    # Magic and kind admit no flip at all.
    head = bytearray(message.encode())
    head[data.draw(st.integers(0, 4))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedMessage, match="use one version"):
        type(message).decode(bytes(head))


@settings(max_examples=200, deadline=None)
@given(message=ANY, spliced=st.binary(max_size=20), data=st.data())
def test_inserted_removed_and_doubled_bytes_are_no_second_encoding(
    message: Message, spliced: bytes, data: st.DataObject
) -> None:
    encoded = message.encode()
    start, end = sorted(data.draw(st.tuples(*[st.integers(5, len(encoded))] * 2)))
    for middle in (spliced, b"", encoded[start:end] * 2):
        canonical_or_refused(type(message), encoded[:start] + middle + encoded[end:])


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_no_second_encoding(noise: bytes) -> None:
    for kind in KINDS:
        canonical_or_refused(kind, noise)
        canonical_or_refused(kind, MAGIC + bytes([kind.KIND]) + noise)


@settings(max_examples=100, deadline=None)
@given(message=ANY)
def test_a_message_is_of_one_kind(message: Message) -> None:
    for kind in set(KINDS) - {type(message)}:
        with pytest.raises(MalformedMessage, match="use one version"):
            kind.decode(message.encode())


def pairs(*rows: tuple[int, bytes]) -> bytes:
    return struct.pack(">I", len(rows)) + b"".join(
        struct.pack(">I", index) + value for index, value in rows
    )


def blob(data: bytes) -> bytes:
    return struct.pack(">Q", len(data)) + data


LISTS: dict[str, tuple[type[Message], Callable[[list[int]], bytes]]] = {
    "shares": (Shares, lambda p: bytes(32) + pairs(*((n, blob(b"x")) for n in p)) + bytes(64)),
    "sharers": (MaskRequest, lambda p: bytes(32) + pairs(*((n, b"") for n in p)) + pairs()),
    "ciphertexts": (
        MaskRequest,
        lambda p: bytes(32) + pairs() + pairs(*((n, blob(b"x")) for n in p)),
    ),
    "survivors": (ConsistencyRequest, lambda p: bytes(32) + pairs(*((n, b"") for n in p))),
    "signatures": (UnmaskRequest, lambda p: bytes(32) + pairs(*((n, bytes(64)) for n in p))),
    "unmask": (Unmask, lambda p: bytes(32) + pairs(*((n, bytes(32)) for n in p)) + bytes(64)),
    "confirmed": (Confirmed, lambda p: blob(b"") + pairs(*((n, b"") for n in p))),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("indices", [[1, 0], [0, 0], [0, 2, 2], [0, 3, 1], [MOST_MEMBERS + 1]])
def test_unsorted_doubled_and_impossible_members_are_refused(name: str, indices: list[int]) -> None:
    kind, build = LISTS[name]
    head = MAGIC + bytes([kind.KIND])
    kind.decode(head + build([0, 1, MOST_MEMBERS]))
    with pytest.raises(MalformedMessage):
        kind.decode(head + build(indices))


@every_kind
def test_counts_cannot_ask_for_much_memory_or_time(kind: type[Message]) -> None:
    """Every position holds the largest lengths in turn: below 1 MB and 0.2 s for each message."""
    zeros = bytes(200)
    for count in (2**16 - 1, MOST_MEMBERS, 2**31, 2**32 - 1, 2**53, 2**64 - 1):
        for size in (4, 8):
            if count >= 256**size:
                continue
            for at in range(0, 120, 4):
                number = count.to_bytes(size, "big")
                data = MAGIC + bytes([kind.KIND]) + zeros[:at] + number + zeros
                tracemalloc.start()
                begun = time.perf_counter()
                canonical_or_refused(kind, data)
                took = time.perf_counter() - begun
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak < 2**20 and took < 0.2


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (AdvertiseRequest, blob(b"\xff\xfe") + struct.pack(">QQ", 1, 1)),
        (AdvertiseRequest, blob(b"\xed\xa0\x80") + struct.pack(">QQ", 1, 1)),
        (AdvertiseRequest, blob(b"r" * 1025) + struct.pack(">QQ", 1, 1)),
        (AdvertiseRequest, blob(b"r") + struct.pack(">QQ", 2**53 + 1, 1)),
        (AdvertiseRequest, blob(b"r") + struct.pack(">QQ", 1, 2**53 + 1)),
        (MaskRequest, bytes(32) + pairs() + pairs((0, blob(bytes(4097))))),
        (Shares, bytes(32) + pairs((0, blob(bytes(4097)))) + bytes(64)),
    ],
)
def test_fields_beyond_their_bounds_are_refused(kind: type[Message], body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        kind.decode(MAGIC + bytes([kind.KIND]) + body)


def test_what_could_not_be_read_is_not_written() -> None:
    for wrong in (
        Consistency(bytes(31), bytes(32), bytes(64)),
        Consistency(bytes(32), bytes(32), bytes(63)),
        ConsistencyRequest(bytes(32), (-1,)),
        ConsistencyRequest(bytes(32), (MOST_MEMBERS + 1,)),
    ):
        with pytest.raises(ValueError):
            wrong.encode()


@pytest.mark.parametrize(
    "message",
    [
        Advert("a", bytes(32), bytes(32), bytes(32), bytes(32), 7, bytes(32), b"s" * 64),
        Shares(bytes(32), ((1, b"x"),), b"s" * 64),
        MaskedInput(bytes(32), b"xyz", b"s" * 64),
        Consistency(bytes(32), bytes(32), b"s" * 64),
        Unmask(bytes(32), ((1, bytes(32)),), b"s" * 64),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_signed_is_everything_but_the_signature(message: Signed) -> None:
    assert message.payload() + b"s" * 64 == message.encode()


def test_states_do_not_show_what_is_in_them() -> None:
    secret = b"SECRETSECRETSECRETSECRETSECRETX"
    states = [
        Advertised(Attempt(run="r", round=1), secret + b"X", secret, secret, secret),
        Shared(secret, secret, secret + secret + b"XX"),
        Masking(secret, secret + b"X", (0,), ((0, secret + secret + b"XX"),), 0, 1),
        Confirmed(secret, (0,)),
    ]
    for state in states:
        assert "SECRET" not in repr(state) and "SECRET" not in str(state)


@given(one=SET, other=SET)
def test_sets_of_survivors_have_different_digests(one: tuple, other: tuple) -> None:
    assert (survivors_digest(one) == survivors_digest(other)) == (one == other)
