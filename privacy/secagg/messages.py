"""The messages of a round of secure aggregation; `encoding` says how they are written."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.identity.keys import digest
from privacy.secagg.encoding import (
    COUNTER,
    INDEX,
    KEY,
    SIGNATURE,
    Message,
    Signed,
    attempt_codec,
    blob,
    by_member,
    fixed,
    indices,
    many,
    text_codec,
)
from privacy.secagg.round_terms import Attempt
from privacy.secagg.shamir import SECRET_BYTES, SHARE_BYTES


@dataclass(frozen=True)
class AdvertiseRequest(Message):
    """Server: take part in this attempt."""

    attempt: Attempt
    KIND = 1
    CODECS = (attempt_codec(),)


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
    CODECS = (text_codec(), KEY, KEY, KEY, KEY, COUNTER, KEY, SIGNATURE)


@dataclass(frozen=True)
class ShareRequest(Message):
    """Server: the terms of the round, and the advertisement of every member, in their order."""

    terms: bytes
    adverts: tuple[bytes, ...]
    KIND = 3
    CODECS = (blob(), many(blob()))


@dataclass(frozen=True)
class Shares(Signed):
    """Member: shares of its two seeds, encrypted for each neighbour."""

    context: bytes
    ciphertexts: tuple[tuple[int, bytes], ...]
    signature: bytes
    KIND = 4
    CODECS = (KEY, by_member(blob(4096)), SIGNATURE)


@dataclass(frozen=True)
class MaskRequest(Message):
    """Server: who has shared, and the ciphertexts for this member."""

    context: bytes
    sharers: tuple[int, ...]
    ciphertexts: tuple[tuple[int, bytes], ...]
    KIND = 5
    CODECS = (KEY, indices(), by_member(blob(4096)))


@dataclass(frozen=True)
class MaskedInput(Signed):
    """Member: its vector under its masks, packed: see `privacy.kernel.packing`."""

    context: bytes
    vector: bytes
    signature: bytes
    KIND = 6
    CODECS = (KEY, blob(), SIGNATURE)


@dataclass(frozen=True)
class ConsistencyRequest(Message):
    """Server: whose masked vectors are in the sum."""

    context: bytes
    survivors: tuple[int, ...]
    KIND = 7
    CODECS = (KEY, indices())


@dataclass(frozen=True)
class Consistency(Signed):
    """Member: the survivors that the server has named to it, as `survivors_digest`."""

    context: bytes
    survivors: bytes
    signature: bytes
    KIND = 8
    CODECS = (KEY, KEY, SIGNATURE)


@dataclass(frozen=True)
class UnmaskRequest(Message):
    """Server: who has signed the survivors."""

    context: bytes
    signatures: tuple[tuple[int, bytes], ...]
    KIND = 9
    CODECS = (KEY, by_member(SIGNATURE))


@dataclass(frozen=True)
class Unmask(Signed):
    """Member: for every neighbour that shared, one share of one of its two seeds.

    Of survivors the seed of their own mask, of those who dropped that of their mask key.
    """

    context: bytes
    shares: tuple[tuple[int, bytes], ...]
    signature: bytes
    KIND = 10
    CODECS = (KEY, by_member(fixed(SHARE_BYTES)), SIGNATURE)


# The states of a member between two stages. Secret: never sent.


@dataclass(frozen=True, repr=False)
class Advertised(Message):
    """After the advertisement: the secrets of the attempt."""

    attempt: Attempt
    cipher_secret: bytes
    mask_seed: bytes
    self_seed: bytes
    advert: bytes
    KIND = 101
    CODECS = (attempt_codec(), KEY, fixed(SECRET_BYTES), fixed(SECRET_BYTES), blob())


@dataclass(frozen=True, repr=False)
class Shared(Message):
    """After the shares: what was agreed, and the share of each own seed that the member keeps."""

    advertised: bytes
    request: bytes
    own_share: bytes
    KIND = 102
    CODECS = (blob(), blob(), fixed(2 * SHARE_BYTES))


@dataclass(frozen=True, repr=False)
class Masking(Message):
    """After the masked vector: shares of the neighbours' seeds, and who had shared."""

    terms: bytes
    context: bytes
    sharers: tuple[int, ...]
    shares: tuple[tuple[int, bytes], ...]
    index: int
    needed: int
    KIND = 103
    CODECS = (blob(), KEY, indices(), by_member(fixed(2 * SHARE_BYTES)), INDEX, INDEX)


@dataclass(frozen=True, repr=False)
class Confirmed(Message):
    """After the consistency round: the survivors that were signed."""

    masking: bytes
    survivors: tuple[int, ...]
    KIND = 104
    CODECS = (blob(), indices())


def survivors_digest(survivors: tuple[int, ...]) -> bytes:
    """The digest of a set of survivors that members sign: 32 bytes."""
    return digest(indices().write(survivors))
