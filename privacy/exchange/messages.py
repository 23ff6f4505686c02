"""The messages of exchanges between two members, what each keeps, and what they agree on.

Signed, encoded and bound to an attempt as those of `privacy.secagg`; `privacy.exchange.peer` uses
them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from privacy.canonical import canonical_json
from privacy.errors import PolicyRefused
from privacy.identity.keys import Roster, digest, require_hiding
from privacy.secagg.encoding import (
    NO_SIGNATURE,
    Blob,
    Bytes32,
    Count,
    Message,
    OfAttempt,
    Signature,
    Signed,
    Text,
    blob,
    many,
)
from privacy.secagg.round_terms import Attempt

MEET, SHOW = "meet", "show"
PURPOSES = (MEET, SHOW)

_AdvertBytes = Annotated[bytes, blob(4096)]
_Adverts = Annotated[tuple[bytes, ...], many(blob(4096))]


@dataclass(frozen=True)
class PeerAdvert(Signed, kind=11, signed_as="peer advert"):
    """Member: a fresh public key for one round and one purpose, and its ledger.

    Attributes:
        sender: its name.
        purpose: one of `PURPOSES`.
        key: X25519.
        head_seq: number of the last event of its budget ledger; 0 for none.
        head: hash of that event.
        signature: over the attempt and all of this.
    """

    sender: Text
    purpose: Text
    key: Bytes32
    head_seq: Count
    head: Bytes32
    signature: Signature = NO_SIGNATURE

    def check(self, roster: Roster, context: bytes) -> None:
        """Check that a pinned member has signed this for an attempt, and that its key hides.

        Args:
            roster: of the members.
            context: of the attempt.

        Raises:
            PolicyRefused: if the sender is not in the roster.
            BadSignature: if it has not signed it, or for another attempt.
            DuplicateKey: if the key hides nothing.
        """
        self.check_signed(roster, self.sender, context)
        require_hiding(self.key)


@dataclass(frozen=True)
class MeetRequest(Message, kind=12):
    """Server: train, and meet whose advertisement this is; alone where there is only one's own.

    Attributes:
        attempt: of the round.
        model: digest of the vector that the run began from, 32 bytes.
        adverts: one's own and the partner's, in alphabetical order of the senders.
    """

    attempt: OfAttempt
    model: Bytes32
    adverts: _Adverts


@dataclass(frozen=True)
class Sealed(Message, kind=13):
    """Member: a vector for one other; empty where there is nobody to meet.

    Attributes:
        context: of the meeting, 32 bytes.
        ciphertext: behind its nonce.
    """

    context: Bytes32
    ciphertext: Blob


@dataclass(frozen=True)
class ShowRequest(Message, kind=14):
    """Server: show your vector to these readers."""

    attempt: OfAttempt
    model: Bytes32
    readers: _Adverts


@dataclass(frozen=True)
class Shown(Message, kind=15):
    """Member: a vector for one reader.

    Attributes:
        model: digest of the vector that the run began from, 32 bytes.
        advert: of the member, made for this.
        ciphertext: behind its nonce.
    """

    model: Bytes32
    advert: _AdvertBytes
    ciphertext: Blob


# The states of a member between two messages. Secret: never sent.


@dataclass(frozen=True, repr=False)
class Offered(Message, kind=111):
    """After the advertisement."""

    attempt: OfAttempt
    secret: Bytes32
    advert: _AdvertBytes


@dataclass(frozen=True, repr=False)
class Meeting(Message, kind=112):
    """A round whose partner and terms are checked.

    Attributes:
        context: 32 bytes that tell it from every other.
        secret: of one's own advertisement.
        advert: one's own.
        partner: advertisement of the other; empty for a round alone.
    """

    context: Bytes32
    secret: Bytes32
    advert: _AdvertBytes
    partner: _AdvertBytes

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
        advert.check(roster, attempt.context())
    return data
