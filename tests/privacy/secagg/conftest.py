"""A round of secure aggregation in the hand of a test: members as they are deployed, and a server.

A `Party` does around a `Member` what a deployment must: it keeps one state, as bytes, replaces it
before a message leaves, and forgets it when it stops.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from privacy.errors import SecaggAbort
from privacy.identity.keys import Identity, Roster
from privacy.kernel.clipping import clip_sum
from privacy.kernel.discrete_gaussian import add_noise
from privacy.kernel.quantisation import fraction_bits, quantise
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.types import KernelSettings, Noised, Quantised, Update
from privacy.secagg.client import Member, OwnTerms
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import (
    Advertised,
    AdvertiseRequest,
    Confirmed,
    Masking,
    Shared,
    Unmask,
)
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from privacy.secagg.server import ServerRound, accept_advert

HALVES = ("self", "pair")
STAGES = ("advertise", "share", "mask", "confirm", "unmask")


class Recorder:
    """The operating system's randomness, of which the test keeps a copy."""

    def __init__(self) -> None:
        self._stream = SystemRandomStream()
        self.taken: list[bytes] = []

    def take(self, count: int, /) -> bytes:
        self.taken.append(self._stream.take(count))
        return self.taken[-1]


@dataclass(frozen=True)
class View:
    """What a member took part in when it sent its vector.

    Attributes:
        members: of the round.
        needed: shares that recover a seed.
        dealers: the member and those of its neighbours that had shared with it.
    """

    members: tuple[str, ...]
    needed: int
    dealers: frozenset[str]


class Party:
    """A member as it is deployed: what it keeps between two messages is bytes."""

    def __init__(self, member: Member, terms: OwnTerms, vector: Noised | Quantised) -> None:
        self.member = member
        self.terms = terms
        self.vector = vector
        self.state = b""
        self.last: Attempt | None = None
        self.stopped: SecaggAbort | None = None
        self.secrets: list[Advertised] = []
        self.views: dict[bytes, View] = {}
        self.gave: list[tuple[bytes, str, str]] = []

    def answer(self, stage: str, request: bytes) -> bytes:
        """Answer a stage; whatever is raised, nothing is kept to answer it again with."""
        kept, self.state = self.state, b""
        try:
            message, following = getattr(self, f"_{stage}")(kept, request)
        except SecaggAbort as error:
            self.stopped = error
            raise
        self.state = following
        return message

    def _advertise(self, kept: bytes, request: bytes) -> tuple[bytes, bytes]:
        message, state = self.member.advertise(request, last=self.last)
        self.last = state.attempt
        self.secrets.append(state)
        return message, state.encode()

    def _share(self, kept: bytes, request: bytes) -> tuple[bytes, bytes]:
        message, state = self.member.share(Advertised.decode(kept), request, self.terms)
        return message, state.encode()

    def _mask(self, kept: bytes, request: bytes) -> tuple[bytes, bytes]:
        opened = self.member.open(Shared.decode(kept), request)
        message, state = self.member.mask(opened, self.vector)
        agreement, names = opened.agreement, opened.agreement.terms.members
        dealers = {names[index] for index, _ in state.shares}
        self.views[agreement.context] = View(names, agreement.graph.shares, frozenset(dealers))
        return message, state.encode()

    def _confirm(self, kept: bytes, request: bytes) -> tuple[bytes, bytes]:
        message, state = self.member.confirm(Masking.decode(kept), request)
        return message, state.encode()

    def _unmask(self, kept: bytes, request: bytes) -> tuple[bytes, bytes]:
        message = self.member.unmask(Confirmed.decode(kept), request)
        masking = Masking.decode(Confirmed.decode(kept).masking)
        names = self.views[masking.context].members
        halves = {pair[:32]: (index, "self") for index, pair in masking.shares}
        halves |= {pair[32:]: (index, "pair") for index, pair in masking.shares}
        for _, share in Unmask.decode(message).shares:
            index, half = halves[share]
            self.gave.append((masking.context, names[index], half))
        return message, b""


@dataclass
class Federation:
    """Members who know each other's keys, what each would send, and the terms they agree on."""

    names: tuple[str, ...]
    identities: Mapping[str, Identity]
    roster: Roster
    parties: dict[str, Party]
    vector: VectorTerms
    threshold: int
    survivors: int
    rounds: int = 0
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)

    @property
    def attempt(self) -> Attempt:
        return Attempt(run="run", round=self.rounds)

    def terms(self, members: Iterable[str] | None = None) -> RoundTerms:
        return RoundTerms(
            attempt=self.attempt,
            members=tuple(self.names if members is None else members),
            threshold=self.threshold,
            survivors=self.survivors,
            vector=self.vector,
            task="task",
            model="model",
        )

    def ask(self, name: str, stage: str, request: bytes) -> bytes:
        """Send a member a request, and keep both bytes."""
        self.received.append((name, stage, request))
        message = self.parties[name].answer(stage, request)
        self.sent.append((name, stage, message))
        return message

    def exact(self, names: Iterable[str]) -> np.ndarray:
        """The sum of the members' vectors in plain."""
        total = np.zeros_like(next(iter(self.parties.values())).vector.vector)
        for name in names:
            total += self.parties[name].vector.vector
        return total

    def begin(self) -> ServerRound:
        """Stage 0 with everybody."""
        self.rounds += 1
        request = AdvertiseRequest(self.attempt).encode()
        adverts = {
            name: accept_advert(
                name,
                self.ask(name, "advertise", request),
                attempt=self.attempt,
                roster=self.roster,
            )
            for name in self.names
        }
        return ServerRound(self.terms(), adverts, self.roster)

    def run(
        self, drops: Sequence[Iterable[str]] = ((), (), (), ())
    ) -> tuple[ServerRound, np.ndarray, tuple[str, ...]]:
        """A whole round; members drop before they share, mask, confirm and unmask."""
        server = self.begin()
        self.until_unmask(server, drops)
        total, bad = server.total()
        return server, total, bad

    def until_unmask(
        self, server: ServerRound, drops: Sequence[Iterable[str]] = ((), (), (), ())
    ) -> None:
        """Stages 1 to 4 of a round that has begun."""
        alive = [name for name in self.names if name not in set(drops[0])]
        for name in alive:
            server.take_shares(name, self.ask(name, "share", server.share_request))
        server.close_sharing()
        alive = [name for name in alive if name not in set(drops[1])]
        for name in alive:
            server.take_masked(name, self.ask(name, "mask", server.mask_request(name)))
        server.close_masking()
        alive = [name for name in alive if name not in set(drops[2])]
        request = server.consistency_request()
        for name in alive:
            server.take_consistency(name, self.ask(name, "confirm", request))
        request = server.unmask_request()
        alive = [name for name in alive if name not in set(drops[3])]
        for name in alive:
            server.take_unmask(name, self.ask(name, "unmask", request))


def exposed_sums(
    federation: Federation, colluding: Iterable[str] = ()
) -> dict[bytes, list[frozenset[str]]]:
    """The sums of honest members' vectors that the server could compute, by context.

    From the shares that members have really given, and those that colluding ones hold: whose seeds
    are known, and which masks of pairs are left between vectors whose own masks are known. A set
    is listed where all such masks cancel within it and in none of its parts. On the way it is
    asserted that no honest holder gave both halves of a pair.
    """
    liars = set(colluding)
    honest = {name: p for name, p in federation.parties.items() if name not in liars}
    contexts = {context for party in federation.parties.values() for context in party.views}
    sums = {}
    for context in contexts:
        views = {n: p.views[context] for n, p in honest.items() if context in p.views}
        holders: dict[tuple[str, str], set[str]] = {}
        for name, party in federation.parties.items():
            given = [(owner, half) for where, owner, half in party.gave if where == context]
            if name in liars and context in party.views:
                given = [(o, half) for o in party.views[context].dealers for half in HALVES]
            elif name not in liars:
                assert len({owner for owner, _ in given}) == len(given), "two halves, or one twice"
            for each in given:
                holders.setdefault(each, set()).add(name)

        needed = max((view.needed for view in views.values()), default=0)
        known = {each for each, who in holders.items() if len(who) >= needed}
        opened = {name for name in views if (name, "self") in known}
        hidden = {
            name: {
                other
                for other in views[name].dealers - {name} - liars
                if not {(name, "pair"), (other, "pair")} & known
            }
            for name in opened
        }
        # A mask that is not in two opened vectors cancels nowhere, and hides the vector it is in.
        while lost := {name for name in opened if not hidden[name] <= opened}:
            opened -= lost
        sums[context] = _components(opened, hidden)
    return sums


def _components(names: set[str], joined: Mapping[str, set[str]]) -> list[frozenset[str]]:
    left, parts = set(names), []
    while left:
        part, waiting = set(), {min(left)}
        while waiting:
            part |= waiting
            waiting = {other for name in waiting for other in joined[name]} - part
        parts.append(frozenset(part))
        left -= part
    return parts


def make_federation(
    vectors: Sequence[Noised | Quantised],
    vector: VectorTerms,
    *,
    threshold: int | None = None,
    survivors: int | None = None,
    sources: Mapping[str, Recorder] | None = None,
) -> Federation:
    """Members m000, m001, ... who would send these vectors; t is the least that is permitted."""
    names = tuple(f"m{index:03d}" for index in range(len(vectors)))
    identities = {name: Identity.create() for name in names}
    roster = Roster({name: identity.public for name, identity in identities.items()})
    terms = OwnTerms(vector=vector, task="task")
    stream = SystemRandomStream()
    parties = {
        name: Party(
            Member(
                name=name,
                identity=identities[name],
                roster=roster,
                source=(sources or {}).get(name, stream),
            ),
            terms,
            given,
        )
        for name, given in zip(names, vectors, strict=True)
    }
    least = consistency_threshold(len(names)) if threshold is None else threshold
    return Federation(
        names,
        identities,
        roster,
        parties,
        vector,
        least,
        least if survivors is None else survivors,
    )


def quantised_federation(members: int, dimension: int = 7, **changes: object) -> Federation:
    """Members with random real vectors of this many coordinates."""
    generator = np.random.default_rng(members)
    vectors = [
        quantise(generator.uniform(-16, 16, dimension), members=members) for _ in range(members)
    ]
    vector = VectorTerms(dimension=dimension + 1, fraction_bits=fraction_bits(members))
    return make_federation(vectors, vector, **changes)


def noised_vectors(members: int, kernel: KernelSettings) -> list[Noised]:
    """Clipped sums of real gradients with real noise."""
    generator = np.random.default_rng(members)
    noised = []
    for _ in range(members):
        gradients = generator.standard_normal((2, kernel.dimension)).astype(np.float32)
        clipped = clip_sum([Update(gradients=gradients)], kernel)
        noised.append(add_noise(clipped, SystemRandomStream()))
    return noised


@pytest.fixture(scope="session")
def federate() -> Callable[..., Federation]:
    """`federate(vectors, vector_terms, threshold=, survivors=, sources=)`."""
    return make_federation


@pytest.fixture(scope="session")
def federation() -> Callable[..., Federation]:
    """`federation(members, dimension)`, with quantised vectors."""
    return quantised_federation


@pytest.fixture(scope="session")
def noised() -> Callable[[int, KernelSettings], list[Noised]]:
    """`noised(members, kernel)`."""
    return noised_vectors


@pytest.fixture(scope="session")
def recorder() -> Callable[[], Recorder]:
    """`recorder()`: a source that remembers."""
    return Recorder


@pytest.fixture(scope="session")
def exposed() -> Callable[..., dict[bytes, list[frozenset[str]]]]:
    """`exposed(federation, colluding)`: the sums that the server could compute."""
    return exposed_sums
