"""The server's side of one attempt: relays, counts, and removes masks from the sum.

Every vector is added to the sum as it comes and forgotten. A message that does not hold raises and
leaves the attempt as it was: its sender counts as one who did not answer.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from privacy.errors import (
    BadShares,
    NoiseShortfall,
    ReconstructionFailed,
    Replayed,
    SurvivorSetRefused,
    TooFewMembers,
)
from privacy.identity.keys import Roster, private_key
from privacy.kernel.packing import sign_extended, unpack, word_dtype
from privacy.kernel.types import Modular
from privacy.secagg import shamir
from privacy.secagg.agreement import Agreement
from privacy.secagg.masking import (
    add_masks,
    commitment_of,
    mask_public,
    mask_secret,
    pair_mask_key,
    self_mask_key,
)
from privacy.secagg.messages import (
    Advert,
    Consistency,
    ConsistencyRequest,
    MaskedInput,
    MaskRequest,
    ShareRequest,
    Shares,
    Unmask,
    UnmaskRequest,
    survivors_digest,
)
from privacy.secagg.round_terms import Attempt, RoundTerms

#: Sets of holders that are left out in search of the good ones, before an owner is blamed.
_MOST_SETS = 5000


def accept_advert(name: str, data: bytes, *, attempt: Attempt, roster: Roster) -> bytes:
    """Check an advertisement that a member has sent, and return it.

    Raises:
        SecaggAbort: if it is of another member or attempt, or not signed by its sender.
    """
    advert = Advert.decode(data)
    if advert.sender != name:
        raise SurvivorSetRefused(f"{name!r} sent the advertisement of {advert.sender!r}")
    advert.check(roster, attempt.context())
    return data


class ServerRound:
    """One attempt, from its terms to the sum.

    Args:
        terms: of the round; the members are those whose advertisements were accepted.
        adverts: advertisements by member.
        roster: public keys of the members, as the server knows them.

    Raises:
        SecaggAbort: if the terms protect nobody, or advertisements are missing or doubled.
    """

    def __init__(self, terms: RoundTerms, adverts: Mapping[str, bytes], roster: Roster) -> None:
        missing = [name for name in terms.members if name not in adverts]
        if missing:
            raise TooFewMembers(f"no advertisement of {', '.join(missing)}")
        request = ShareRequest(terms.encode(), tuple(adverts[name] for name in terms.members))
        self.agreement = Agreement.read(request)
        self.share_request = request.encode()
        self._roster = roster
        self._indices = {name: index for index, name in enumerate(terms.members)}
        self._sealed: dict[int, dict[int, bytes]] = {}
        self._sharers: tuple[int, ...] | None = None
        dtype = word_dtype(terms.vector.modulus_bits)
        self._total: Modular = np.zeros(terms.vector.dimension, dtype=dtype)
        self._masked: set[int] = set()
        self._survivors: tuple[int, ...] | None = None
        self._signatures: dict[int, bytes] = {}
        self._given: dict[int, dict[int, bytes]] = {}

    @property
    def sharers(self) -> tuple[str, ...]:
        """Members whose shares have come."""
        return self._names(self._sharers or ())

    @property
    def survivors(self) -> tuple[str, ...]:
        """Members whose vectors are in the sum."""
        return self._names(self._survivors or ())

    def take_shares(self, name: str, data: bytes) -> None:
        """Keep the encrypted shares of a member; stage 1."""
        index = self._index(name)
        if index in self._sealed or self._sharers is not None:
            raise Replayed(f"the shares of {name!r} came twice or too late")
        shares = Shares.decode(data)
        self._check(name, shares)
        if tuple(to for to, _ in shares.ciphertexts) != self.agreement.graph.neighbours(index):
            raise SurvivorSetRefused(f"{name!r} has not shared with exactly its neighbours")
        self._sealed[index] = dict(shares.ciphertexts)

    def close_sharing(self) -> tuple[str, ...]:
        """End stage 1; the members that go on.

        Raises:
            TooFewMembers: if fewer have shared than must survive.
        """
        self._require(len(self._sealed), "have shared")
        self._sharers = tuple(sorted(self._sealed))
        return self.sharers

    def mask_request(self, name: str) -> bytes:
        """The request of stage 2 to a member."""
        index, sharers = self._index(name), self._sharers or ()
        ciphertexts = tuple(
            (sender, self._sealed[sender][index])
            for sender in self.agreement.graph.neighbours(index)
            if sender in self._sealed
        )
        return MaskRequest(self.agreement.context, sharers, ciphertexts).encode()

    def take_masked(self, name: str, data: bytes) -> None:
        """Add a member's masked vector to the sum; stage 2."""
        index = self._index(name)
        if index not in (self._sharers or ()):
            raise SurvivorSetRefused(f"{name!r} sent a vector but had not shared")
        if index in self._masked or self._survivors is not None:
            raise Replayed(f"the vector of {name!r} came twice or too late")
        masked = MaskedInput.decode(data)
        self._check(name, masked)
        bits = self.agreement.terms.vector.modulus_bits
        self._total += unpack(masked.vector, count=self._total.size, bits=bits)
        self._masked.add(index)

    def close_masking(self) -> tuple[str, ...]:
        """End stage 2; the members whose vectors are in the sum.

        Raises:
            TooFewMembers: if fewer sent a vector than must survive.
            NoiseShortfall: if that leaves too little noise.
        """
        vector = self.agreement.terms.vector
        if len(self._masked) - vector.colluding < vector.honest_shares:
            raise NoiseShortfall(
                f"{len(self._masked)} vectors less colluding = {vector.colluding} leave fewer than "
                f"the {vector.honest_shares} shares of noise that were accounted for"
            )
        self._require(len(self._masked), "have sent a vector")
        self._survivors = tuple(sorted(self._masked))
        return self.survivors

    def consistency_request(self) -> bytes:
        """The request of stage 3 to every survivor."""
        return ConsistencyRequest(self.agreement.context, self._survivors or ()).encode()

    def take_consistency(self, name: str, data: bytes) -> None:
        """Keep a survivor's signature of the survivors; stage 3."""
        index = self._survivor(name)
        if index in self._signatures:
            raise Replayed(f"{name!r} has signed twice")
        consistency = Consistency.decode(data)
        self._check(name, consistency)
        if consistency.survivors != survivors_digest(self._survivors or ()):
            raise SurvivorSetRefused(f"{name!r} has signed another set of survivors")
        self._signatures[index] = consistency.signature

    def unmask_request(self) -> bytes:
        """The request of stage 4 to every survivor.

        Raises:
            TooFewMembers: if fewer have signed than the threshold.
        """
        threshold = self.agreement.terms.threshold
        if len(self._signatures) < threshold:
            raise TooFewMembers(f"{len(self._signatures)} members signed, {threshold} needed")
        # More signatures than needed prove nothing more, and cost every member its checks.
        chosen = sorted(self._signatures.items())[:threshold]
        return UnmaskRequest(self.agreement.context, tuple(chosen)).encode()

    def take_unmask(self, name: str, data: bytes) -> None:
        """Keep a survivor's shares; stage 4."""
        index = self._survivor(name)
        if index in self._given:
            raise Replayed(f"the shares of {name!r} for unmasking came twice")
        unmask = Unmask.decode(data)
        self._check(name, unmask)
        sharers = set(self._sharers or ())
        expected = [h for h in self.agreement.graph.holders(index) if h in sharers]
        if [owner for owner, _ in unmask.shares] != expected:
            raise SurvivorSetRefused(f"{name!r} has not given one share of each neighbour")
        self._given[index] = dict(unmask.shares)

    def total(self) -> tuple[Modular, tuple[str, ...]]:
        """Remove all masks: the sum over the survivors, and members who gave bad shares.

        The sum is exact where it lies in [-2^(b-1), 2^(b-1)), b the bits of the terms' modulus.

        Bad shares are left out where the others suffice: always up to half of those to spare, and
        up to all of them in small rounds. Who is named gave a share that does not fit; it may have
        been dealt so. Where as many lie as are to spare, they can have others named.

        Raises:
            BadShares: if no good secret comes out of a member's shares.
            ReconstructionFailed: if too few holders of a secret have answered.
        """
        agreement, total = self.agreement, self._total.copy()
        survivors = set(self._survivors or ())
        bad: set[int] = set()
        for owner in self._sharers or ():
            advert = agreement.adverts[owner]
            if owner in survivors:
                seed = self._secret(owner, bad, commitment_of, advert.commitment)
                add_masks(total, [(self_mask_key(seed), -1)])
                continue
            seed = self._secret(owner, bad, mask_public, advert.mask_key)
            secret = private_key(mask_secret(seed))
            pairs = [other for other in agreement.graph.neighbours(owner) if other in survivors]
            add_masks(
                total,
                (
                    (
                        pair_mask_key(
                            secret,
                            agreement.adverts[other].mask_key,
                            agreement.pair_context(owner, other),
                        ),
                        -agreement.mask_sign(other, owner),
                    )
                    for other in pairs
                ),
            )
        lifted = sign_extended(total, agreement.terms.vector.modulus_bits)
        return lifted, self._names(sorted(bad))

    def _secret(
        self, owner: int, bad: set[int], publish: Callable[[bytes], bytes], published: bytes
    ) -> bytes:
        """Recover a seed from whatever shares came, and note whose shares do not belong to it.

        Args:
            owner: whose seed.
            bad: indices of holders whose shares are known to be bad; added to.
            publish: what an owner advertises of such a seed.
            published: what this owner has advertised.
        """
        answers = sorted(self._given.items())
        shares = {holder + 1: given[owner] for holder, given in answers if owner in given}
        needed = self.agreement.graph.shares
        name = self.agreement.terms.members[owner]
        if len(shares) < needed:
            raise ReconstructionFailed(
                f"{len(shares)} holders of a secret of {name!r} answered, {needed} needed"
            )
        for left_out in _suspects(shares, {holder + 1 for holder in bad}, needed):
            kept = [point for point in shares if point not in left_out]
            if len(kept) < needed:
                continue
            chosen = {point: shares[point] for point in kept[:needed]}
            value = shamir.recover([*chosen], [*chosen.values()])
            if value.bit_length() > 8 * shamir.SECRET_BYTES:
                continue
            secret = value.to_bytes(shamir.SECRET_BYTES, "big")
            # All that are kept must agree: liars whose errors cancel out in the secret would else
            # have the honest blamed, who do not lie on their polynomial.
            if publish(secret) == published and not _off(kept[needed:], shares, chosen):
                bad.update(point - 1 for point in _off([*left_out], shares, chosen))
                return secret
        raise BadShares(
            f"the shares of {name!r} give no seed that it committed to: it dealt bad shares, or "
            f"more than {len(shares) - needed} of their holders lie",
            members=(name,),
        )

    def _index(self, name: str) -> int:
        if name not in self._indices:
            raise SurvivorSetRefused(f"{name!r} is not a member of this round")
        return self._indices[name]

    def _survivor(self, name: str) -> int:
        index = self._index(name)
        if index not in (self._survivors or ()):
            raise SurvivorSetRefused(f"{name!r} is not a survivor of this round")
        return index

    def _check(self, name: str, message: Shares | MaskedInput | Consistency | Unmask) -> None:
        if message.context != self.agreement.context:
            raise Replayed(f"{name!r} sent a {message.SIGNED_AS} message of another round")
        message.check_signed(self._roster, name, message.context)

    def _require(self, count: int, what: str) -> None:
        needed = self.agreement.terms.survivors
        if count < needed:
            raise TooFewMembers(f"{count} members {what}, {needed} needed: nothing is unmasked")

    def _names(self, indices: tuple[int, ...] | list[int]) -> tuple[str, ...]:
        return tuple(self.agreement.terms.members[index] for index in indices)


def _suspects(shares: Mapping[int, bytes], bad: set[int], needed: int) -> Iterator[Collection[int]]:
    """Points whose shares to leave out: those known to be bad, those that are found, then all."""
    yield bad & set(shares)
    found = shamir.strangers([*shares], [*shares.values()], threshold=needed)
    if found is not None:
        yield found
    sizes = range(len(shares) - needed + 1)
    sets = itertools.chain.from_iterable(itertools.combinations(shares, size) for size in sizes)
    yield from itertools.islice(sets, _MOST_SETS)


def _off(
    points: Sequence[int], shares: Mapping[int, bytes], chosen: Mapping[int, bytes]
) -> list[int]:
    """The points whose shares do not lie on the polynomial through the chosen ones."""
    through = [*chosen], [*chosen.values()]
    return [
        point
        for point in points
        if int.from_bytes(shares[point], "big") % shamir.PRIME != shamir.recover(*through, at=point)
    ]
