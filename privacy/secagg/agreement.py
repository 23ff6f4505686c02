"""The agreement of one round: terms, advertised keys, and the graph that follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from privacy.errors import SurvivorSetRefused
from privacy.identity.keys import Roster, digest, is_signed, require_distinct
from privacy.secagg.graph import Graph
from privacy.secagg.messages import Advert, ShareRequest
from privacy.secagg.round_terms import RoundTerms


@dataclass(frozen=True)
class Agreement:
    """The terms of a round and the advertisement of every member, in their order.

    Attributes:
        terms: checked.
        adverts: of the members, in the order of the terms.
        encoded: the same advertisements as bytes, as they were signed.
    """

    terms: RoundTerms
    adverts: tuple[Advert, ...]
    encoded: tuple[bytes, ...]

    @classmethod
    def read(cls, request: ShareRequest) -> "Agreement":
        """Read terms and advertisements, and check all but the signatures.

        Raises:
            SecaggAbort: one of its subclasses.
        """
        terms = RoundTerms.decode(request.terms)
        terms.check()
        adverts = tuple(Advert.decode(each) for each in request.adverts)
        if tuple(advert.sender for advert in adverts) != terms.members:
            raise SurvivorSetRefused("the advertisements are not those of the members, in order")
        require_distinct(key for a in adverts for key in (a.cipher_key, a.mask_key))
        require_distinct(advert.commitment for advert in adverts)
        return cls(terms, adverts, request.adverts)

    @classmethod
    def of(cls, request: bytes) -> "Agreement":
        """Decode a `ShareRequest` and read it.

        The last one is remembered: it is all public and never changes, and members of one process
        are sent the same.
        """
        return _agreement_of(request)

    def check_signatures(self, roster: Roster) -> None:
        """Check that every advertisement is of a pinned identity and of this very attempt.

        A roster for which that held once is not held against it again.

        Raises:
            PolicyRefused: if a member is not in the roster.
            BadSignature: if an advertisement is not signed by its sender, for this attempt.
            DuplicateKey: if a key hides nothing.
        """
        if roster.digest in self._held:
            return
        context = self.terms.attempt.context()
        for advert in self.adverts:
            advert.check(roster, context)
        self._held.add(roster.digest)

    @cached_property
    def _held(self) -> set[bytes]:
        """Digests of the rosters that all advertisements have held against."""
        return set()

    @cached_property
    def context(self) -> bytes:
        """32 bytes that tell this round, and these advertisements, from all others."""
        return digest(self.terms.context(), *self.encoded)

    @cached_property
    def graph(self) -> Graph:
        """The graph of those who share secrets; nobody could choose it."""
        return Graph.of(
            len(self.adverts),
            digest(b"graph", *(advert.nonce for advert in self.adverts)),
            complete=self.terms.vector.shares_noise,
            threshold=self.terms.threshold,
        )

    def pair_context(self, member: int, other: int) -> bytes:
        """The context of the mask of a pair: the round, and who the two are.

        Several public keys agree on one secret (u and 1/u do), so that a member who advertised the
        twin of another's key would else share that one's masks, and cancel them.
        """
        low, high = sorted((member, other))
        return self.context + low.to_bytes(4, "big") + high.to_bytes(4, "big")

    def mask_sign(self, member: int, other: int) -> int:
        """The sign with which a member adds the mask of a pair: the two cancel."""
        return 1 if member < other else -1


@lru_cache(maxsize=2)
def _agreement_of(request: bytes) -> Agreement:
    return Agreement.read(ShareRequest.decode(request))


def forget_shared() -> None:
    """Forget what members of one process compute once, as if each had a process of its own."""
    _agreement_of.cache_clear()
    is_signed.cache_clear()


def require_subset(members: Sequence[int], of: Sequence[int], what: str) -> None:
    """Check that members are among those of the stage before; `what` names them in the error.

    Raises:
        SurvivorSetRefused: if one is not.
    """
    if not set(members) <= set(of):
        raise SurvivorSetRefused(f"{what}: names members that had not come so far")
