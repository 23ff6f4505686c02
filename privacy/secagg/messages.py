"""The messages of a round of secure aggregation; `encoding` says how they are written."""

from dataclasses import dataclass
from typing import Annotated

from privacy.identity.keys import SIGNATURE_BYTES, Roster, digest, require_hiding
from privacy.secagg.encoding import (
    NO_SIGNATURE,
    Blob,
    Bytes32,
    Count,
    Index,
    Indices,
    Message,
    OfAttempt,
    Signature,
    Signed,
    Text,
    blob,
    by_member,
    fixed,
    indices,
    many,
)
from privacy.secagg.shamir import SECRET_BYTES, SHARE_BYTES


@dataclass(frozen=True)
class AdvertiseRequest(Message, kind=1):
    """Server: take part in this attempt."""

    attempt: OfAttempt


@dataclass(frozen=True)
class Advert(Signed, kind=2, signed_as="advert"):
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

    sender: Text
    cipher_key: Bytes32
    mask_key: Bytes32
    commitment: Bytes32
    nonce: Bytes32
    head_seq: Count
    head: Bytes32
    signature: Signature = NO_SIGNATURE

    def check(self, roster: Roster, context: bytes) -> None:
        """Check that a pinned member has signed this for an attempt, and that its keys hide.

        Args:
            roster: of the members.
            context: of the attempt.

        Raises:
            PolicyRefused: if the sender is not in the roster.
            BadSignature: if it has not signed it, or for another attempt.
            DuplicateKey: if a key is of low order: who advertised it is to blame, not who meets it.
        """
        self.check_signed(roster, self.sender, context)
        require_hiding(self.cipher_key)
        require_hiding(self.mask_key)


@dataclass(frozen=True)
class ShareRequest(Message, kind=3):
    """Server: the terms of the round, and the advertisement of every member, in their order."""

    terms: Blob
    adverts: Annotated[tuple[bytes, ...], many(blob())]


@dataclass(frozen=True)
class Shares(Signed, kind=4, signed_as="shares"):
    """Member: shares of its two seeds, encrypted for each neighbour."""

    context: Bytes32
    ciphertexts: Annotated[tuple[tuple[int, bytes], ...], by_member(blob(4096))]
    signature: Signature = NO_SIGNATURE


@dataclass(frozen=True)
class MaskRequest(Message, kind=5):
    """Server: who has shared, and the ciphertexts for this member."""

    context: Bytes32
    sharers: Indices
    ciphertexts: Annotated[tuple[tuple[int, bytes], ...], by_member(blob(4096))]


@dataclass(frozen=True)
class MaskedInput(Signed, kind=6, signed_as="masked"):
    """Member: its vector under its masks, packed: see `privacy.kernel.packing`."""

    context: Bytes32
    vector: Blob
    signature: Signature = NO_SIGNATURE


@dataclass(frozen=True)
class ConsistencyRequest(Message, kind=7):
    """Server: whose masked vectors are in the sum."""

    context: Bytes32
    survivors: Indices


@dataclass(frozen=True)
class Consistency(Signed, kind=8, signed_as="consistency"):
    """Member: the survivors that the server has named to it, as `survivors_digest`."""

    context: Bytes32
    survivors: Bytes32
    signature: Signature = NO_SIGNATURE


@dataclass(frozen=True)
class UnmaskRequest(Message, kind=9):
    """Server: who has signed the survivors."""

    context: Bytes32
    signatures: Annotated[tuple[tuple[int, bytes], ...], by_member(fixed(SIGNATURE_BYTES))]


@dataclass(frozen=True)
class Unmask(Signed, kind=10, signed_as="unmask"):
    """Member: for every neighbour that shared, one share of one of its two seeds.

    Of survivors the seed of their own mask, of those who dropped that of their mask key.
    """

    context: Bytes32
    shares: Annotated[tuple[tuple[int, bytes], ...], by_member(fixed(SHARE_BYTES))]
    signature: Signature = NO_SIGNATURE


# The states of a member between two stages. Secret: never sent.


@dataclass(frozen=True, repr=False)
class Advertised(Message, kind=101):
    """After the advertisement: the secrets of the attempt."""

    attempt: OfAttempt
    cipher_secret: Bytes32
    mask_seed: Annotated[bytes, fixed(SECRET_BYTES)]
    self_seed: Annotated[bytes, fixed(SECRET_BYTES)]
    advert: Blob


@dataclass(frozen=True, repr=False)
class Shared(Message, kind=102):
    """After the shares: what was agreed, and the share of each own seed that the member keeps."""

    advertised: Blob
    request: Blob
    own_share: Annotated[bytes, fixed(2 * SHARE_BYTES)]


@dataclass(frozen=True, repr=False)
class Masking(Message, kind=103):
    """After the masked vector: shares of the neighbours' seeds, and who had shared."""

    terms: Blob
    context: Bytes32
    sharers: Indices
    shares: Annotated[tuple[tuple[int, bytes], ...], by_member(fixed(2 * SHARE_BYTES))]
    index: Index
    needed: Index


@dataclass(frozen=True, repr=False)
class Confirmed(Message, kind=104):
    """After the consistency round: the survivors that were signed."""

    masking: Blob
    survivors: Indices


def survivors_digest(survivors: tuple[int, ...]) -> bytes:
    """The digest of a set of survivors that members sign: 32 bytes."""
    return digest(indices().write(survivors))
