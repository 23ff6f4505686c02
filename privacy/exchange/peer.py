"""Vectors that travel between two members, end to end encrypted, through a server that relays.

Each side draws an X25519 key for one round and advertises it, signed by its pinned identity. Who
holds the other's advertisement seals a vector for it: AES-256-GCM under HKDF of the agreed secret,
bound to run, round, both advertisements, the direction, the task and the model that the run began
from. What the server can do is to withhold. Pure functions of states and bytes, as in
`privacy.secagg`, whose keys, signatures and encoding these are.

There are two purposes, and a key of one is of no use for the other: two partners *meet*, and a
member *shows* its vector to readers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from privacy.errors import BadCiphertext, DuplicateKey, PolicyRefused, Replayed
from privacy.exchange.messages import (
    MEET,
    SHOW,
    ExchangeTerms,
    Meeting,
    MeetRequest,
    Offered,
    PeerAdvert,
    Sealed,
    Shown,
    ShowRequest,
)
from privacy.identity.keys import (
    Identity,
    Roster,
    agree,
    derive,
    digest,
    public_of,
    require_distinct,
)
from privacy.kernel.randomness import ByteSource
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt

_NONCE_BYTES = 12


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One side of exchanges.

    Attributes:
        name: as in the roster.
        identity: signs advertisements.
        members: pinned keys of all who train, from a file of its own: whom it meets, and whose
            vectors it reads.
        readers: pinned keys of all who only measure: to whom it shows its vector.
        source: of keys and nonces: the operating system's stream.
    """

    name: str
    identity: Identity
    members: Roster
    readers: Roster
    source: ByteSource = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse to take part under a name that others know by another key."""
        self.identity.require_pinned(self.name, self.members, self.readers)

    def offer(
        self,
        request: bytes,
        *,
        purpose: str,
        last: Attempt | None,
        head: tuple[int, bytes] = (0, bytes(32)),
    ) -> tuple[bytes, Offered]:
        """Draw a key for a round and advertise it.

        Args:
            request: an `AdvertiseRequest`.
            purpose: what the key is for.
            last: the attempt advertised for last, None before the first.
            head: number and hash of the last event of the member's budget ledger.

        Raises:
            Replayed: if the attempt does not come after the last one.
        """
        attempt = AdvertiseRequest.decode(request).attempt
        attempt.require_after(last)
        return self._offer(attempt, purpose, head)

    def meet(self, offered: Offered, request: bytes, *, task: str, model: str) -> Meeting:
        """Check whom to meet, before anything is computed or charged.

        Args:
            offered: what was kept of the advertisement.
            request: a `MeetRequest`.
            task: digest of what this member was asked to compute.
            model: digest of the vector that it began from.

        Raises:
            SecaggAbort: one of its subclasses, for the first thing that does not hold.
        """
        asked = MeetRequest.decode(request)
        if asked.attempt != offered.attempt:
            raise Replayed("the meeting is of another attempt than the one advertised for")
        if asked.model.hex() != model:
            raise PolicyRefused("the run began from another model than this member has begun from")
        if not 1 <= len(asked.adverts) <= 2 or offered.advert not in asked.adverts:
            raise Replayed("the own advertisement is not among those of the meeting")
        others = [each for each in asked.adverts if each != offered.advert]
        if len(others) != len(asked.adverts) - 1:
            raise PolicyRefused(f"{self.name!r} is asked to meet itself: nothing is sent")
        for each in others:
            self._check(PeerAdvert.decode(each), offered, MEET, self.members)
        names = [PeerAdvert.decode(each).sender for each in asked.adverts]
        if names != sorted(names):
            raise PolicyRefused("the advertisements of the meeting are not in order")
        terms = ExchangeTerms(attempt=asked.attempt, purpose=MEET, task=task, model=model)
        context = terms.context(asked.adverts)
        return Meeting(context, offered.secret, offered.advert, b"".join(others))

    def seal(self, meeting: Meeting, vector: NDArray[np.float32]) -> bytes:
        """Encrypt a vector for the partner: a `Sealed`, which is empty in a round alone."""
        ciphertext = b"" if meeting.alone else self._encrypt(meeting, vector)
        return Sealed(meeting.context, ciphertext).encode()

    def open(self, meeting: Meeting, message: bytes, *, dimension: int) -> NDArray[np.float32]:
        """Decrypt what the partner has sealed: `(d,) float32`, finite.

        Raises:
            Replayed: if the message is of another meeting.
            BadCiphertext: if the partner has not sealed it for this member, or it is no vector of
                `dimension` finite numbers.
        """
        sealed = Sealed.decode(message)
        if meeting.alone or sealed.context != meeting.context:
            raise Replayed("the vector is of another meeting than this member's")
        return self._decrypt(meeting, sealed.ciphertext, dimension)

    def show(
        self, request: bytes, vector: NDArray[np.float32], *, attempt: Attempt, model: str
    ) -> tuple[bytes, ...]:
        """Encrypt a vector for readers: a `Shown` for each, in the order they are asked for.

        Args:
            request: a `ShowRequest`.
            vector: `(d,) float32`, private by itself.
            attempt: of the round that this member is in.
            model: digest of the vector that it began from.

        Raises:
            SecaggAbort: one of its subclasses, for the first thing that does not hold.
        """
        asked = ShowRequest.decode(request)
        if asked.attempt != attempt or asked.model.hex() != model:
            raise Replayed("readers of another round or run than this member's")
        advert, offered = self._offer(attempt, SHOW, (0, bytes(32)))
        require_distinct(PeerAdvert.decode(each).key for each in asked.readers)
        shown = []
        for reader in asked.readers:
            self._check(PeerAdvert.decode(reader), offered, SHOW, self.readers)
            meeting = self._showing(offered, model, partner=reader, adverts=(advert, reader))
            shown.append(Shown(asked.model, advert, self._encrypt(meeting, vector)).encode())
        return tuple(shown)

    def read(self, offered: Offered, message: bytes, *, dimension: int) -> NDArray[np.float32]:
        """Decrypt what a member has shown: `(d,) float32`, finite.

        Raises:
            SecaggAbort: one of its subclasses, for the first thing that does not hold.
        """
        shown = Shown.decode(message)
        self._check(PeerAdvert.decode(shown.advert), offered, SHOW, self.members)
        meeting = self._showing(
            offered,
            shown.model.hex(),
            partner=shown.advert,
            adverts=(shown.advert, offered.advert),
        )
        return self._decrypt(meeting, shown.ciphertext, dimension)

    def _offer(
        self, attempt: Attempt, purpose: str, head: tuple[int, bytes]
    ) -> tuple[bytes, Offered]:
        secret = self.source.take(32)
        unsigned = PeerAdvert(self.name, purpose, public_of(secret), *head)
        advert = unsigned.signed(self.identity, attempt.context())
        return advert, Offered(attempt, secret, advert)

    def _check(self, other: PeerAdvert, offered: Offered, purpose: str, roster: Roster) -> None:
        own = PeerAdvert.decode(offered.advert)
        if other.sender == self.name:
            raise PolicyRefused(f"{self.name!r} is asked to meet itself: nothing is sent")
        if {own.purpose, other.purpose} != {purpose}:
            raise PolicyRefused(
                f"{other.sender!r} has advertised to {other.purpose}, not {purpose}"
            )
        if other.key == own.key:
            raise DuplicateKey(f"{other.sender!r} advertises the own key of {self.name!r}")
        other.check(roster, offered.attempt.context())

    def _showing(
        self, offered: Offered, model: str, *, partner: bytes, adverts: tuple[bytes, bytes]
    ) -> Meeting:
        """The meeting of who shows with a reader; the advertisement of who shows comes first."""
        terms = ExchangeTerms(attempt=offered.attempt, purpose=SHOW, task="", model=model)
        return Meeting(terms.context(adverts), offered.secret, offered.advert, partner)

    def _encrypt(self, meeting: Meeting, vector: NDArray[np.float32]) -> bytes:
        data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        key, associated = _channel(meeting, sender=meeting.advert, receiver=meeting.partner)
        nonce = self.source.take(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, data, associated)

    def _decrypt(self, meeting: Meeting, ciphertext: bytes, dimension: int) -> NDArray[np.float32]:
        key, associated = _channel(meeting, sender=meeting.partner, receiver=meeting.advert)
        sender = PeerAdvert.decode(meeting.partner).sender
        nonce, text = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            data = AESGCM(key).decrypt(nonce, text, associated)
        except (InvalidTag, ValueError) as error:
            raise BadCiphertext(
                f"{sender!r} has not encrypted this vector for this member in this round"
            ) from error
        if len(data) != 4 * dimension:
            raise BadCiphertext(
                f"{sender!r} sent {len(data)} bytes, {4 * dimension} needed: use one predictor"
            )
        vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
        if not np.isfinite(vector).all():
            raise BadCiphertext(f"{sender!r} sent a vector with numbers that are not finite")
        return vector


def _channel(meeting: Meeting, *, sender: bytes, receiver: bytes) -> tuple[bytes, bytes]:
    """The key of one direction between two members, and the associated data of its ciphertexts."""
    associated = digest(meeting.context, sender, receiver)
    public = PeerAdvert.decode(meeting.partner).key
    return derive(agree(meeting.secret, public), "vector", associated), associated
