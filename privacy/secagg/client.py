"""The member's side of one attempt: five stages, each a function of a state, own terms and bytes.

The server relays every message and is trusted with none. Each stage returns the state of the next,
which is secret and belongs to one attempt. The caller replaces its state *before* it sends the
message, so that no stage is answered twice.
"""

from dataclasses import dataclass, field, fields

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.errors import (
    BadCiphertext,
    NoiseShortfall,
    PolicyRefused,
    Replayed,
    SplitView,
    SurvivorSetRefused,
    TooFewMembers,
)
from privacy.identity.keys import (
    Identity,
    PrivateKey,
    Roster,
    agree,
    derive,
    private_key,
    public_of,
)
from privacy.kernel.packing import pack
from privacy.kernel.randomness import ByteSource
from privacy.kernel.types import Noised, Quantised, mask
from privacy.secagg import shamir
from privacy.secagg.agreement import Agreement, require_subset
from privacy.secagg.masking import (
    commitment_of,
    mask_public,
    mask_secret,
    pad_of,
    pair_mask_key,
    self_mask_key,
)
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
    Shares,
    Unmask,
    UnmaskRequest,
    survivors_digest,
)
from privacy.secagg.round_terms import FEWEST_MEMBERS, Attempt, RoundTerms, VectorTerms
from privacy.secagg.shamir import SECRET_BYTES, SHARE_BYTES

#: A key is meant for one message; a nonce of its own keeps even a repeated one apart.
_NONCE_BYTES = 12


@dataclass(frozen=True, kw_only=True)
class OwnTerms:
    """The terms that a member insists on, from its own plan and files.

    Attributes:
        vector: what it would send.
        task: digest of what it would compute.
        fewest_members: below so many it stays away.
    """

    vector: VectorTerms
    task: str
    fewest_members: int = FEWEST_MEMBERS

    def check(self, terms: RoundTerms) -> None:
        """Compare the terms of a round.

        Raises:
            PolicyRefused: names the first field that differs.
            TooFewMembers: if there are fewer members than the member insists on.
        """
        for each in fields(VectorTerms):
            asked, own = getattr(terms.vector, each.name), getattr(self.vector, each.name)
            if asked != own:
                raise PolicyRefused(
                    f"the server asks for {each.name} = {asked!r}, the member's own plan says "
                    f"{own!r}: nothing is sent"
                )
        if terms.task != self.task:
            raise PolicyRefused(
                "the terms are about another task than the one this member was given"
            )
        if len(terms.members) < self.fewest_members:
            raise TooFewMembers(
                f"{len(terms.members)} members are fewer than the {self.fewest_members} that this "
                "member insists on"
            )


@dataclass(frozen=True)
class Opened:
    """Everything of a mask request, checked, before anything is computed or charged.

    Attributes:
        agreement: the round; its terms name the task and the model to start from.
    """

    agreement: Agreement
    _index: int
    _advertised: Advertised
    _sharers: tuple[int, ...]
    _shares: tuple[tuple[int, bytes], ...]

    def __repr__(self) -> str:
        return f"Opened({self.agreement.terms.attempt})"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member of secure aggregation.

    Attributes:
        name: as in the roster.
        identity: signs every message.
        roster: pinned keys of all members, from a file of its own.
        source: of keys, seeds and shares: the operating system's stream.
    """

    name: str
    identity: Identity
    roster: Roster
    source: ByteSource = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse to take part under a name that others know by another key."""
        self.identity.require_pinned(self.name, self.roster)

    def advertise(
        self, request: bytes, *, last: Attempt | None, head: tuple[int, bytes] = (0, bytes(32))
    ) -> tuple[bytes, Advertised]:
        """Stage 0: draw the secrets of an attempt and advertise their public parts.

        Args:
            request: an `AdvertiseRequest`.
            last: the attempt advertised for last, None before the first.
            head: number and hash of the last event of the member's budget ledger.

        Raises:
            Replayed: if the attempt does not come after the last one.
        """
        attempt = AdvertiseRequest.decode(request).attempt
        attempt.require_after(last)
        cipher_secret = self.source.take(32)
        mask_seed = self.source.take(SECRET_BYTES)
        self_seed = self.source.take(SECRET_BYTES)
        unsigned = Advert(
            self.name,
            public_of(cipher_secret),
            mask_public(mask_seed),
            commitment_of(self_seed),
            self.source.take(32),
            *head,
        )
        advert = unsigned.signed(self.identity, attempt.context())
        return advert, Advertised(attempt, cipher_secret, mask_seed, self_seed, advert)

    def share(self, state: Advertised, request: bytes, insisted: OwnTerms) -> tuple[bytes, Shared]:
        """Stage 1: check terms, members and keys, and share both seeds among the neighbours.

        Args:
            state: of stage 0.
            request: a `ShareRequest`.
            insisted: the terms that this member insists on.

        Raises:
            SecaggAbort: one of its subclasses, for the first thing that does not hold.
        """
        agreement = Agreement.of(request)
        if agreement.terms.attempt != state.attempt:
            raise Replayed("the terms are of another attempt than the one advertised for")
        insisted.check(agreement.terms)
        agreement.check_signatures(self.roster)
        index = self._index_in(agreement, state)
        holders = agreement.graph.holders(index)
        rows = shamir.split(
            [state.self_seed, state.mask_seed],
            threshold=agreement.graph.shares,
            points=[holder + 1 for holder in holders],
            source=self.source,
        )
        pairs = dict(zip(holders, (b + s for b, s in zip(*rows, strict=True)), strict=True))
        own = pairs.pop(index)
        secret = private_key(state.cipher_secret)
        ciphertexts = tuple(
            (holder, self._seal(agreement, secret, index, holder, pair))
            for holder, pair in pairs.items()
        )
        shares = Shares(agreement.context, ciphertexts)
        message = shares.signed(self.identity, agreement.context)
        return message, Shared(state.encode(), request, own)

    def open(self, state: Shared, request: bytes) -> Opened:
        """Stage 2, before training: check who has shared, and decrypt what they did.

        Args:
            state: of stage 1.
            request: a `MaskRequest`.

        Raises:
            SecaggAbort: one of its subclasses; nothing is to be charged or computed then.
        """
        asked = MaskRequest.decode(request)
        agreement = Agreement.of(state.request)
        _require_equal(asked.context, agreement.context)
        advertised = Advertised.decode(state.advertised)
        index = self._index_in(agreement, advertised)
        everyone = range(len(agreement.adverts))
        require_subset(asked.sharers, everyone, "sharers")
        if index not in asked.sharers:
            raise SurvivorSetRefused("this member has shared but is not said to have")
        if len(asked.sharers) < agreement.terms.survivors:
            raise TooFewMembers(
                f"{len(asked.sharers)} members have shared, {agreement.terms.survivors} needed"
            )
        sharers = set(asked.sharers)
        expected = [other for other in agreement.graph.neighbours(index) if other in sharers]
        if [sender for sender, _ in asked.ciphertexts] != expected:
            raise SurvivorSetRefused("ciphertexts are not those of the neighbours that have shared")
        needed = agreement.graph.fewest_neighbours
        if len(expected) < needed:
            raise TooFewMembers(f"{len(expected)} neighbours have shared, {needed} needed")
        secret = private_key(advertised.cipher_secret)
        shares = [
            (sender, self._unseal(agreement, secret, sender, index, ciphertext))
            for sender, ciphertext in asked.ciphertexts
        ]
        shares = sorted([*shares, (index, state.own_share)])
        return Opened(agreement, index, advertised, asked.sharers, tuple(shares))

    def mask(self, opened: Opened, vector: Noised | Quantised) -> tuple[bytes, Masking]:
        """Stage 2, after training: hide the vector under the masks of all neighbours that shared.

        Raises:
            PolicyRefused: if the vector is not of the terms.
        """
        terms, index = opened.agreement.terms, opened._index
        if terms.vector.as_in(vector) != terms.vector:
            raise PolicyRefused("the vector is not what the terms of the round describe")
        keys = [(self_mask_key(opened._advertised.self_seed), 1)]
        secret = private_key(mask_secret(opened._advertised.mask_seed))
        for sender, _ in opened._shares:
            if sender != index:
                public = opened.agreement.adverts[sender].mask_key
                pair = opened.agreement.pair_context(index, sender)
                key = pair_mask_key(secret, public, pair)
                keys.append((key, opened.agreement.mask_sign(index, sender)))
        pad = pad_of(keys, dimension=vector.vector.size, dtype=vector.vector.dtype)
        data = pack(mask(vector, pad).vector, terms.vector.modulus_bits)
        context = opened.agreement.context
        message = MaskedInput(context, data).signed(self.identity, context)
        needed = opened.agreement.graph.fewest_neighbours
        return message, Masking(
            terms.encode(), context, opened._sharers, opened._shares, index, needed
        )

    def confirm(self, state: Masking, request: bytes) -> tuple[bytes, Confirmed]:
        """Stage 3: sign the set of survivors, if the sum over them would be private.

        Args:
            state: of stage 2.
            request: a `ConsistencyRequest`.

        Raises:
            SurvivorSetRefused: if the set holds members that had not shared, or not this one.
            TooFewMembers: if it is smaller than the terms demand.
            NoiseShortfall: if it holds too few honest shares of noise.
        """
        asked = ConsistencyRequest.decode(request)
        terms = RoundTerms.decode(state.terms)
        _require_equal(asked.context, state.context)
        require_subset(asked.survivors, state.sharers, "survivors")
        if state.index not in asked.survivors:
            raise SurvivorSetRefused("this member has sent its vector but is not a survivor")
        count = len(asked.survivors)
        if count - terms.vector.colluding < terms.vector.honest_shares:
            raise NoiseShortfall(
                f"{count} survivors less colluding = {terms.vector.colluding} leave fewer than the "
                f"{terms.vector.honest_shares} shares of noise that were accounted for"
            )
        neighbours = sum(sender in asked.survivors for sender, _ in state.shares) - 1
        if count < terms.survivors or neighbours < state.needed:
            raise TooFewMembers(
                f"{count} members and {neighbours} neighbours survive, {terms.survivors} and "
                f"{state.needed} needed"
            )
        consistency = Consistency(state.context, survivors_digest(asked.survivors))
        message = consistency.signed(self.identity, state.context)
        return message, Confirmed(state.encode(), asked.survivors)

    def unmask(self, state: Confirmed, request: bytes) -> bytes:
        """Stage 4: give one share of one seed of every neighbour; the state is spent thereby.

        Args:
            state: of stage 3; forget it before the message is sent.
            request: an `UnmaskRequest`.

        Raises:
            SplitView: if too few members have signed the set that this one has signed.
            BadSignature: if a signature is not of a survivor's own key, over that set.
        """
        asked = UnmaskRequest.decode(request)
        masking = Masking.decode(state.masking)
        terms = RoundTerms.decode(masking.terms)
        _require_equal(asked.context, masking.context)
        signers = [index for index, _ in asked.signatures]
        require_subset(signers, state.survivors, "signers")
        if len(signers) < terms.threshold:
            raise SplitView(
                f"{len(signers)} members have signed these survivors, {terms.threshold} needed"
            )
        signed = survivors_digest(state.survivors)
        for index, signature in asked.signatures:
            consistency = Consistency(masking.context, signed, signature)
            consistency.check_signed(self.roster, terms.members[index], masking.context)
        survivors = set(state.survivors)
        # Of each member exactly one half is read: both are never in one message.
        halves = tuple(
            (sender, pair[:SHARE_BYTES] if sender in survivors else pair[SHARE_BYTES:])
            for sender, pair in masking.shares
        )
        return Unmask(masking.context, halves).signed(self.identity, masking.context)

    def _index_in(self, agreement: Agreement, state: Advertised) -> int:
        """The member's index; refuses an agreement without the very advertisement it sent."""
        if self.name not in agreement.terms.members:
            raise SurvivorSetRefused("this member has advertised but is not among the members")
        index = agreement.terms.members.index(self.name)
        if agreement.encoded[index] != state.advert:
            raise Replayed("the own advertisement is not the one that was sent for this attempt")
        return index

    def _seal(
        self, agreement: Agreement, secret: PrivateKey, sender: int, receiver: int, pair: bytes
    ) -> bytes:
        public = agreement.adverts[receiver].cipher_key
        key, associated = _channel(agreement, secret, public, sender, receiver)
        nonce = self.source.take(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, pair, associated)

    def _unseal(
        self, agreement: Agreement, secret: PrivateKey, sender: int, receiver: int, data: bytes
    ) -> bytes:
        public = agreement.adverts[sender].cipher_key
        key, associated = _channel(agreement, secret, public, sender, receiver)
        try:
            pair = AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)
        except (InvalidTag, ValueError) as error:
            raise BadCiphertext(
                f"the share of {agreement.terms.members[sender]!r} was not encrypted for this "
                "member in this round"
            ) from error
        if len(pair) != 2 * SHARE_BYTES:
            raise BadCiphertext(
                f"the share of {agreement.terms.members[sender]!r} has {len(pair)} bytes"
            )
        return pair


def _channel(
    agreement: Agreement, secret: PrivateKey, public: bytes, sender: int, receiver: int
) -> tuple[bytes, bytes]:
    """The key of one direction between two members, and the associated data of its ciphertexts."""
    associated = agreement.context + sender.to_bytes(4, "big") + receiver.to_bytes(4, "big")
    return derive(agree(secret, public), "encrypt", associated), associated


def _require_equal(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise Replayed("the message belongs to another round or to other advertisements")
