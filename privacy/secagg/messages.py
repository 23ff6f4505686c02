"""The messages of a round and their bytes: one encoding each, and nothing else is accepted.

A message is four bytes of magic, one that names its kind, then its fields in order. Numbers are
big-endian, lists and texts are told by their length, members are told by their place in the terms
of the round and listed in rising order. Whatever could be written in two ways is refused.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar

from privacy.errors import MalformedMessage
from privacy.secagg.keys import KEY_BYTES, SIGNATURE_BYTES, digest
from privacy.secagg.shamir import SECRET_BYTES, SHARE_BYTES
from privacy.secagg.terms import Attempt

MAGIC = b"FAS2"

MOST_MEMBERS = 100_000
_MOST_BYTES = 1 << 31
_NAME_BYTES = 1024

T = TypeVar("T")


class _Reader:
    """Takes bytes from the front of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise MalformedMessage("a message ends too early")
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    @property
    def left(self) -> int:
        return len(self._data) - self._at


@dataclass(frozen=True)
class _Codec(Generic[T]):
    """How one kind of value is written and read."""

    write: Callable[[T], bytes]
    read: Callable[[_Reader], T]


def _number(size: int, *, most: int) -> _Codec[int]:
    def write(value: int) -> bytes:
        if not 0 <= value <= most:
            raise ValueError(f"{value} is outside [0, {most}]")
        return value.to_bytes(size, "big")

    def read(reader: _Reader) -> int:
        value = int.from_bytes(reader.take(size), "big")
        if value > most:
            raise MalformedMessage(f"a number of a message is above {most}")
        return value

    return _Codec(write, read)


_PLACE = _number(4, most=MOST_MEMBERS)
_LENGTH = _number(8, most=_MOST_BYTES)
_COUNTER = _number(8, most=2**53)


def _fixed(size: int) -> _Codec[bytes]:
    def write(value: bytes) -> bytes:
        if len(value) != size:
            raise ValueError(f"{len(value)} bytes are given where {size} belong")
        return value

    return _Codec(write, lambda reader: reader.take(size))


def _blob(most: int = _MOST_BYTES) -> _Codec[bytes]:
    def read(reader: _Reader) -> bytes:
        length = _LENGTH.read(reader)
        if length > most:
            raise MalformedMessage(f"a field of a message is longer than {most} bytes")
        return reader.take(length)

    return _Codec(lambda value: _LENGTH.write(len(value)) + value, read)


def _text() -> _Codec[str]:
    inner = _blob(_NAME_BYTES)

    def read(reader: _Reader) -> str:
        try:
            return inner.read(reader).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage("a text of a message is not UTF-8") from error

    return _Codec(lambda value: inner.write(value.encode("utf-8")), read)


def _attempt() -> _Codec[Attempt]:
    text = _text()

    def write(value: Attempt) -> bytes:
        return text.write(value.run) + _COUNTER.write(value.round) + _COUNTER.write(value.attempt)

    def read(reader: _Reader) -> Attempt:
        return Attempt(
            run=text.read(reader), round=_COUNTER.read(reader), attempt=_COUNTER.read(reader)
        )

    return _Codec(write, read)


def _many(item: _Codec[T]) -> _Codec[tuple[T, ...]]:
    def read(reader: _Reader) -> tuple[T, ...]:
        count = _PLACE.read(reader)
        # Every item takes a byte at least: a count cannot ask for more memory than was sent.
        if count > reader.left:
            raise MalformedMessage("a list of a message is longer than the message")
        return tuple(item.read(reader) for _ in range(count))

    return _Codec(
        lambda values: _PLACE.write(len(values)) + b"".join(item.write(v) for v in values), read
    )


def _by_place(*values: _Codec[Any]) -> _Codec[Any]:
    """A list of members, each with values; places rise."""
    codecs = (_PLACE, *values)
    listed = _many(
        _Codec[Any](
            lambda row: b"".join(c.write(v) for c, v in zip(codecs, row, strict=True)),
            lambda reader: tuple(codec.read(reader) for codec in codecs),
        )
    )

    def read(reader: _Reader) -> tuple[Any, ...]:
        rows = listed.read(reader)
        places = [row[0] for row in rows]
        if any(later <= earlier for earlier, later in itertools.pairwise(places)):
            raise MalformedMessage("members are not listed in rising order, each once")
        return rows if values else tuple(places)

    def write(rows: Any) -> bytes:
        return listed.write(rows if values else tuple((place,) for place in rows))

    return _Codec(write, read)


class Message:
    """A message, or a state that a member keeps; see the module."""

    KIND: ClassVar[int]
    CODECS: ClassVar[tuple[_Codec[Any], ...]]

    def encode(self) -> bytes:
        """The bytes of the message."""
        values = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        parts = [c.write(v) for c, v in zip(self.CODECS, values, strict=True)]
        return MAGIC + struct.pack("B", self.KIND) + b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message of this very kind.

        Raises:
            MalformedMessage: for any other bytes.
        """
        reader = _Reader(data)
        if reader.take(len(MAGIC)) != MAGIC or reader.take(1)[0] != cls.KIND:
            raise MalformedMessage(f"the message is no {cls.__name__}: use one version")
        message = cls(*(codec.read(reader) for codec in cls.CODECS))
        if reader.left:
            raise MalformedMessage(f"{reader.left} bytes follow the end of a {cls.__name__}")
        return message


class Signed(Message):
    """A message of a member; the last field is the signature of all others."""

    def words(self) -> bytes:
        """What is signed: all fields but the signature."""
        return self.encode()[:-SIGNATURE_BYTES]


NO_SIGNATURE = bytes(SIGNATURE_BYTES)
_KEY, _SIGNATURE = _fixed(KEY_BYTES), _fixed(SIGNATURE_BYTES)


@dataclass(frozen=True)
class AdvertiseRequest(Message):
    """Server: take part in this attempt."""

    attempt: Attempt
    KIND = 1
    CODECS = (_attempt(),)


@dataclass(frozen=True)
class Advert(Signed):
    """Member: fresh public keys, the commitment to the seed of its own mask, and its ledger.

    Attributes:
        sender: its name.
        cipher_key: X25519, agrees on the keys that encrypt shares.
        mask_key: X25519, agrees on the masks of pairs.
        commitment: digest of the seed of the member's own mask.
        nonce: part of the seed of the graph.
        head_seq: number of the last event of its budget ledger; 0 for none.
        head: hash of that event.
        signature: over the attempt and all of this.
    """

    sender: str
    cipher_key: bytes
    mask_key: bytes
    commitment: bytes
    nonce: bytes
    head_seq: int
    head: bytes
    signature: bytes
    KIND = 2
    CODECS = (_text(), _KEY, _KEY, _KEY, _KEY, _COUNTER, _KEY, _SIGNATURE)


@dataclass(frozen=True)
class ShareRequest(Message):
    """Server: the terms of the round, and the advertisement of every member, in their order."""

    terms: bytes
    adverts: tuple[bytes, ...]
    KIND = 3
    CODECS = (_blob(), _many(_blob()))


@dataclass(frozen=True)
class Shares(Signed):
    """Member: shares of its two seeds, encrypted for each neighbour."""

    context: bytes
    ciphertexts: tuple[tuple[int, bytes], ...]
    signature: bytes
    KIND = 4
    CODECS = (_KEY, _by_place(_blob(4096)), _SIGNATURE)


@dataclass(frozen=True)
class MaskRequest(Message):
    """Server: who has shared, and the ciphertexts for this member."""

    context: bytes
    sharers: tuple[int, ...]
    ciphertexts: tuple[tuple[int, bytes], ...]
    KIND = 5
    CODECS = (_KEY, _by_place(), _by_place(_blob(4096)))


@dataclass(frozen=True)
class MaskedInput(Signed):
    """Member: its vector under its masks, packed: see `privacy.packing`."""

    context: bytes
    vector: bytes
    signature: bytes
    KIND = 6
    CODECS = (_KEY, _blob(), _SIGNATURE)


@dataclass(frozen=True)
class ConsistencyRequest(Message):
    """Server: whose masked vectors are in the sum."""

    context: bytes
    survivors: tuple[int, ...]
    KIND = 7
    CODECS = (_KEY, _by_place())


@dataclass(frozen=True)
class Consistency(Signed):
    """Member: these are the survivors that it was told of."""

    context: bytes
    survivors: bytes
    signature: bytes
    KIND = 8
    CODECS = (_KEY, _KEY, _SIGNATURE)


@dataclass(frozen=True)
class UnmaskRequest(Message):
    """Server: who has signed the survivors."""

    context: bytes
    signatures: tuple[tuple[int, bytes], ...]
    KIND = 9
    CODECS = (_KEY, _by_place(_SIGNATURE))


@dataclass(frozen=True)
class Unmask(Signed):
    """Member: for every neighbour that shared, one share of one of its two seeds.

    Of survivors the seed of their own mask, of those who dropped that of their mask key.
    """

    context: bytes
    shares: tuple[tuple[int, bytes], ...]
    signature: bytes
    KIND = 10
    CODECS = (_KEY, _by_place(_fixed(SHARE_BYTES)), _SIGNATURE)


# What a member keeps between two stages. Secret: never sent.


@dataclass(frozen=True, repr=False)
class Advertised(Message):
    """After the advertisement: the secrets of the attempt."""

    attempt: Attempt
    cipher_secret: bytes
    mask_seed: bytes
    self_seed: bytes
    advert: bytes
    KIND = 101
    CODECS = (_attempt(), _KEY, _fixed(SECRET_BYTES), _fixed(SECRET_BYTES), _blob())


@dataclass(frozen=True, repr=False)
class Shared(Message):
    """After the shares: what was agreed, and the share of each own seed that the member keeps."""

    advertised: bytes
    request: bytes
    own_share: bytes
    KIND = 102
    CODECS = (_blob(), _blob(), _fixed(2 * SHARE_BYTES))


@dataclass(frozen=True, repr=False)
class Masking(Message):
    """After the masked vector: shares of the neighbours' seeds, and who had shared."""

    terms: bytes
    context: bytes
    sharers: tuple[int, ...]
    shares: tuple[tuple[int, bytes], ...]
    place: int
    needed: int
    KIND = 103
    CODECS = (_blob(), _KEY, _by_place(), _by_place(_fixed(2 * SHARE_BYTES)), _PLACE, _PLACE)


@dataclass(frozen=True, repr=False)
class Confirmed(Message):
    """After the consistency round: the survivors that were signed."""

    masking: bytes
    survivors: tuple[int, ...]
    KIND = 104
    CODECS = (_blob(), _by_place())


def survivors_digest(survivors: tuple[int, ...]) -> bytes:
    """What members sign of a set of survivors: 32 bytes."""
    return digest(_by_place().write(survivors))
