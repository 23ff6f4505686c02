"""The messages of exchanges between two members, what each keeps, and what they agree on.

Signed, encoded and bound to an attempt as those of `privacy.secagg`; `privacy.exchange.peer` uses
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from privacy.canonical import canonical_json
from privacy.errors import PolicyRefused
from privacy.identity.keys import Roster, digest, require_hiding
from privacy.secagg.encoding import (
    COUNTER,
    KEY,
    SIGNATURE,
    Message,
    Signed,
    attempt_codec,
    blob,
    many,
    text_codec,
)
from privacy.secagg.round_terms import Attempt

MEET, SHOW = "meet", "show"
PURPOSES = (MEET, SHOW)

_ADVERT_BYTES = 4096
_SECRET = KEY


@dataclass(frozen=True)
class PeerAdvert(Signed):
    """Member: a fresh public key for one round and one purpose, and its ledger.

    Attributes:
        sender: its name.
        purpose: one of `PURPOSES`.
        key: X25519.
        head_seq: number of the last event of its budget ledger; 0 for none.
        head: hash of that event.
        signature: over the attempt and all of this.
    """

    sender: str
    purpose: str
    key: bytes
    head_seq: int
    head: bytes
    signature: bytes
    KIND = 11
    CODECS = (text_codec(), text_codec(), KEY, COUNTER, KEY, SIGNATURE)

    def check(self, roster: Roster, attempt: Attempt) -> None:
        """Check that a pinned member has signed this for this very attempt.

        Raises:
            PolicyRefused: if the sender is not in the roster.
            BadSignature: if it has not signed it, or for another attempt.
            DuplicateKey: if the key hides nothing.
        """
        roster.check(self.sender, self.signature, "peer advert", attempt.context(), self.payload())
        require_hiding(self.key)


@dataclass(frozen=True)
class MeetRequest(Message):
    """Server: train, and meet whose advertisement this is; alone where there is only one's own.

    Attributes:
        attempt: of the round.
        model: digest of the vector that the run began from, 32 bytes.
        adverts: one's own and the partner's, in alphabetical order of the senders.
    """

    attempt: Attempt
    model: bytes
    adverts: tuple[bytes, ...]
    KIND = 12
    CODECS = (attempt_codec(), KEY, many(blob(_ADVERT_BYTES)))


@dataclass(frozen=True)
class Sealed(Message):
    """Member: a vector for one other; empty where there is nobody to meet.

    Attributes:
        context: of the meeting, 32 bytes.
        ciphertext: behind its nonce.
    """

    context: bytes
    ciphertext: bytes
    KIND = 13
    CODECS = (KEY, blob())


@dataclass(frozen=True)
class ShowRequest(Message):
    """Server: show your vector to these readers."""

    attempt: Attempt
    model: bytes
    readers: tuple[bytes, ...]
    KIND = 14
    CODECS = (attempt_codec(), KEY, many(blob(_ADVERT_BYTES)))


@dataclass(frozen=True)
class Shown(Message):
    """Member: a vector for one reader.

    Attributes:
        model: digest of the vector that the run began from, 32 bytes.
        advert: of the member, made for this.
        ciphertext: behind its nonce.
    """

    model: bytes
    advert: bytes
    ciphertext: bytes
    KIND = 15
    CODECS = (KEY, blob(_ADVERT_BYTES), blob())


# The states of a member between two messages. Secret: never sent.


@dataclass(frozen=True, repr=False)
class Offered(Message):
    """After the advertisement."""

    attempt: Attempt
    secret: bytes
    advert: bytes
    KIND = 111
    CODECS = (attempt_codec(), _SECRET, blob(_ADVERT_BYTES))


@dataclass(frozen=True, repr=False)
class Meeting(Message):
    """A round whose partner and terms are checked.

    Attributes:
        context: 32 bytes that tell it from every other.
        secret: of one's own advertisement.
        advert: one's own.
        partner: advertisement of the other; empty for a round alone.
    """

    context: bytes
    secret: bytes
    advert: bytes
    partner: bytes
    KIND = 112
    CODECS = (KEY, _SECRET, blob(_ADVERT_BYTES), blob(_ADVERT_BYTES))

    @property
    def alone(self) -> bool:
        """Whether there is nobody to meet."""
        return not self.partner


@dataclass(frozen=True, kw_only=True)
class ExchangeTerms:
    """The terms that two sides agree on before a vector is sealed.

    Attributes:
        attempt: of the round.
        purpose: one of `PURPOSES`.
        task: digest of what both are asked to compute; empty where it is nothing.
        model: digest of the vector that the run began from, hexadecimal.
    """

    attempt: Attempt
    purpose: str
    task: str
    model: str

    def context(self, adverts: Sequence[bytes]) -> bytes:
        """32 bytes that tell a meeting from all others; every key and spend depends on it.

        Args:
            adverts: of all who take part, in alphabetical order of the senders.
        """
        return digest(b"exchange", canonical_json(asdict(self)), *adverts)


def accept_peer_advert(
    name: str, data: bytes, *, purpose: str, attempt: Attempt, roster: Roster | None
) -> bytes:
    """Check an advertisement at the server, and return it.

    Args:
        name: who sent it.
        data: as it came.
        purpose: what it must be for.
        attempt: that it must be for.
        roster: keys of the members as the server knows them; None leaves the signature to readers
            and partners, who have pinned the key.

    Raises:
        SecaggAbort: if it is of another member, purpose or attempt, or not signed by its sender.
    """
    advert = PeerAdvert.decode(data)
    if (advert.sender, advert.purpose) != (name, purpose):
        raise PolicyRefused(
            f"{name!r} sent the advertisement of {advert.sender!r}, to {advert.purpose}"
        )
    if roster is not None:
        advert.check(roster, attempt)
    return data
