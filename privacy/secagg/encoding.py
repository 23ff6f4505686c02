"""The byte encoding of messages between members: one for each message, and nothing else is read.

A message is four bytes of magic, one that names its kind, then its fields in order. Numbers are
big-endian, lists and texts follow their length, a member is its index in the terms of the round,
and lists of members rise. Whatever could be written in two ways is refused.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args

from privacy.errors import MalformedMessage
from privacy.identity.keys import KEY_BYTES, SIGNATURE_BYTES, Identity, Roster
from privacy.secagg.round_terms import Attempt

MAGIC = b"FAS2"

MOST_MEMBERS = 100_000
_MOST_BYTES = 1 << 31
_NAME_BYTES = 1024

T = TypeVar("T")


class Reader:
    """Takes bytes from the front of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next so many bytes.

        Raises:
            MalformedMessage: there are fewer.
        """
        if count > len(self._data) - self._at:
            raise MalformedMessage("a message ends too early")
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._at


@dataclass(frozen=True)
class Codec(Generic[T]):
    """A writer and a reader of one kind of value."""

    write: Callable[[T], bytes]
    read: Callable[[Reader], T]


def number_codec(size: int, *, most: int) -> Codec[int]:
    """A number of so many bytes, at most a bound."""

    def write(value: int) -> bytes:
        if not 0 <= value <= most:
            raise ValueError(f"{value} is outside [0, {most}]")
        return value.to_bytes(size, "big")

    def read(reader: Reader) -> int:
        value = int.from_bytes(reader.take(size), "big")
        if value > most:
            raise MalformedMessage(f"a number of a message is above {most}")
        return value

    return Codec(write, read)


INDEX = number_codec(4, most=MOST_MEMBERS)
"""The index of a member in the terms of the round, or a count of members."""

_LENGTH = number_codec(8, most=_MOST_BYTES)
COUNTER = number_codec(8, most=2**53)


def fixed(size: int) -> Codec[bytes]:
    """Bytes of one length."""

    def write(value: bytes) -> bytes:
        if len(value) != size:
            raise ValueError(f"{len(value)} bytes are given where {size} belong")
        return value

    return Codec(write, lambda reader: reader.take(size))


def blob(most: int = _MOST_BYTES) -> Codec[bytes]:
    """Bytes behind their length."""

    def read(reader: Reader) -> bytes:
        length = _LENGTH.read(reader)
        if length > most:
            raise MalformedMessage(f"a field of a message is longer than {most} bytes")
        return reader.take(length)

    return Codec(lambda value: _LENGTH.write(len(value)) + value, read)


def text_codec() -> Codec[str]:
    """UTF-8 behind its length."""
    inner = blob(_NAME_BYTES)

    def read(reader: Reader) -> str:
        try:
            return inner.read(reader).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage("a text of a message is not UTF-8") from error

    return Codec(lambda value: inner.write(value.encode("utf-8")), read)


def attempt_codec() -> Codec[Attempt]:
    """Run, round and attempt."""
    text = text_codec()

    def write(value: Attempt) -> bytes:
        return text.write(value.run) + COUNTER.write(value.round) + COUNTER.write(value.attempt)

    def read(reader: Reader) -> Attempt:
        return Attempt(
            run=text.read(reader), round=COUNTER.read(reader), attempt=COUNTER.read(reader)
        )

    return Codec(write, read)


def many(item: Codec[T]) -> Codec[tuple[T, ...]]:
    """A list behind its length."""

    def read(reader: Reader) -> tuple[T, ...]:
        count = INDEX.read(reader)
        # Every item takes a byte at least: a count cannot ask for more memory than was sent.
        if count > reader.left:
            raise MalformedMessage("a list of a message is longer than the message")
        return tuple(item.read(reader) for _ in range(count))

    return Codec(
        lambda values: INDEX.write(len(values)) + b"".join(item.write(v) for v in values), read
    )


def indices() -> Codec[tuple[int, ...]]:
    """A list of members by their indices, which rise; long ones are read and written at once."""
    size = 4

    def read(reader: Reader) -> tuple[int, ...]:
        count = INDEX.read(reader)
        if count > reader.left // size:
            raise MalformedMessage("a list of a message is longer than the message")
        listed = struct.unpack(f">{count}I", reader.take(size * count))
        _require_rising(listed)
        if listed and listed[-1] > MOST_MEMBERS:
            raise MalformedMessage(f"a number of a message is above {MOST_MEMBERS}")
        return listed

    def write(listed: tuple[int, ...]) -> bytes:
        if listed and not 0 <= min(listed) <= max(listed) <= MOST_MEMBERS:
            raise ValueError(f"an index is outside [0, {MOST_MEMBERS}]")
        return INDEX.write(len(listed)) + struct.pack(f">{len(listed)}I", *listed)

    return Codec(write, read)


def _require_rising(listed: Sequence[int]) -> None:
    if not all(map(operator.lt, listed, listed[1:])):
        raise MalformedMessage("members are not listed in rising order, each once")


def by_member(*values: Codec[Any]) -> Codec[Any]:
    """A list of members, each with values; indices rise."""
    codecs = (INDEX, *values)
    listed = many(
        Codec[Any](
            lambda row: b"".join(c.write(v) for c, v in zip(codecs, row, strict=True)),
            lambda reader: tuple(codec.read(reader) for codec in codecs),
        )
    )

    def read(reader: Reader) -> tuple[Any, ...]:
        rows = listed.read(reader)
        _require_rising([row[0] for row in rows])
        return rows

    return Codec(listed.write, read)


Text = Annotated[str, text_codec()]
Blob = Annotated[bytes, blob()]
Bytes32 = Annotated[bytes, fixed(KEY_BYTES)]
Signature = Annotated[bytes, fixed(SIGNATURE_BYTES)]
Count = Annotated[int, COUNTER]
Index = Annotated[int, INDEX]
Indices = Annotated[tuple[int, ...], indices()]
OfAttempt = Annotated[Attempt, attempt_codec()]

NO_SIGNATURE = bytes(SIGNATURE_BYTES)


class Message:
    """A message, or a state that a member keeps: a data class, its fields annotated with codecs.

    Args:
        kind: the byte that names it.
    """

    KIND: ClassVar[int]

    def __init_subclass__(cls, *, kind: int = 0) -> None:
        cls.KIND = kind

    def encode(self) -> bytes:
        """The bytes of the message."""
        parts = [codec.write(getattr(self, name)) for name, codec in _codecs(type(self)).items()]
        return MAGIC + struct.pack("B", self.KIND) + b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message of this very kind.

        Raises:
            MalformedMessage: for any other bytes.
        """
        reader = Reader(data)
        if reader.take(len(MAGIC)) != MAGIC or reader.take(1)[0] != cls.KIND:
            raise MalformedMessage(f"the message is no {cls.__name__}: use one version")
        message = cls(*(codec.read(reader) for codec in _codecs(cls).values()))
        if reader.left:
            raise MalformedMessage(f"{reader.left} bytes follow the end of a {cls.__name__}")
        return message


def _codecs(kind: type[Any]) -> dict[str, Codec[Any]]:
    """The codec of every field, in order."""
    return {field.name: get_args(field.type)[1] for field in fields(kind)}


class Signed(Message):
    """A message of a member; the last field is the signature of all others.

    Args:
        kind: the byte that names it.
        signed_as: the kind of message that the signature is for.
    """

    SIGNED_AS: ClassVar[str]
    signature: bytes

    def __init_subclass__(cls, *, kind: int, signed_as: str) -> None:
        super().__init_subclass__(kind=kind)
        cls.SIGNED_AS = signed_as

    def payload(self) -> bytes:
        """The bytes that are signed: all fields but the signature."""
        return self.encode()[:-SIGNATURE_BYTES]

    def signed(self, identity: Identity, context: bytes) -> bytes:
        """The bytes of the message with its member's signature in a context."""
        payload = self.payload()
        return payload + identity.sign(self.SIGNED_AS, context, payload)

    def check_signed(self, roster: Roster, name: str, context: bytes) -> None:
        """Check that a pinned member has signed this in a context; see `Roster.check`."""
        roster.check(name, self.signature, self.SIGNED_AS, context, self.payload())
