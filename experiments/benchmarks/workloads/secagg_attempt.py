"""A whole attempt at a secure sum in one process, timed for members and server apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
from flwr.app import RecordDict

from clients.sessions.secagg_session import Session
from experiments.benchmarks.harness import Stopwatch
from privacy.identity.keys import Identity, Roster
from privacy.kernel.quantisation import dequantised_mean, fraction_bits, quantise
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.types import Noised, Quantised
from privacy.secagg.agreement import Agreement, forget_shared
from privacy.secagg.client import Member, Opened, OwnTerms
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import Advertised, AdvertiseRequest, Masking, Shared
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from privacy.secagg.server import ServerRound, accept_advert

_TASK = "benchmark"

_Answer = Callable[[Session], bytes]
_Take = Callable[[str, bytes], object]

#: After which stage members drop, in turn: first where it costs most, their masks being agreed on.
_DROP_AFTER = ("share", "mask", "advertise", "confirm")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings of an attempt.

    Attributes:
        members: n.
        dimension: Numbers of a vector; its weight comes on top.
        dropping: Share of the members that leave early.
        sample: So many members do everything, the others stand in; None for all. Nobody may drop
            then: the masks that were left out would not cancel.
    """

    members: int
    dimension: int
    dropping: float = 0.0
    sample: int | None = None

    def __post_init__(self) -> None:
        """Refuse stand-ins for members that drop."""
        if self.sample is not None and self.dropping:
            raise ValueError(f"dropping = {self.dropping} with stand-ins: leave out one of them")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time that an attempt took.

    Attributes:
        members: Seconds of every member that did everything, to the end.
        server: Seconds of the server.
    """

    members: tuple[float, ...]
    server: float

    @property
    def one_and_server(self) -> float:
        """Seconds of a member on average, and of the server for all of them."""
        return sum(self.members) / len(self.members) + self.server


class _Trusting(Roster):
    """Takes every signature for good."""

    def check(self, name: str, signature: bytes, kind: str, context: bytes, body: bytes) -> None:
        """Accept; see :class:`privacy.identity.keys.Roster`."""


class _StandIn(Member):
    """Sends what a member would send, without what costs and the server cannot see.

    Attributes:
        agreement: Believed as it is, instead of being read and checked.
        measured: Indices of the members whose masks need their counterpart.
    """

    agreement: Agreement
    measured: range

    def share(self, state: Advertised, request: bytes, terms: OwnTerms) -> tuple[bytes, Shared]:
        with self._believing():
            return super().share(state, request, terms)

    def open(self, state: Shared, request: bytes) -> Opened:
        with self._believing():
            return super().open(state, request)

    def mask(self, opened: Opened, vector: Noised | Quantised) -> tuple[bytes, Masking]:
        kept = tuple(each for each in opened._shares if each[0] in self.measured)
        message, masking = super().mask(replace(opened, _shares=kept), vector)
        return message, replace(masking, shares=opened._shares)

    @contextmanager
    def _believing(self) -> Iterator[None]:
        believed = staticmethod(lambda request: self.agreement)
        unchecked = staticmethod(lambda roster: None)
        with mock.patch.multiple(Agreement, of=believed, check_signatures=unchecked):
            yield


def attempt(setting: Setting, *, clock: Callable[[], float] = time.perf_counter) -> Cost:
    """Run one attempt at a sum and time it.

    Args:
        setting: What it is about.
        clock: Gives seconds.

    Raises:
        RuntimeError: The sum is not exactly that of the vectors that were sent.
    """
    return _Rehearsal(setting, Stopwatch(clock)).run()


class _Rehearsal:
    """An attempt in one process: what is sent is handed over and forgotten."""

    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        count = setting.members
        names = [f"g{i:04d}" for i in range(count)]
        # The graph is drawn anew each time: the first few are as good a sample as any.
        measured = range(count if setting.sample is None else setting.sample)
        identities = {name: Identity.create() for name in names}
        keys = {name: each.public for name, each in identities.items()}
        roster, trusting = Roster(keys), _Trusting(keys)
        source = SystemRandomStream()
        self._members = count
        self._roster = roster
        self._measured = set(names[: len(measured)])
        self._sessions: dict[str, Session] = {}
        self._stand_ins: list[_StandIn] = []
        for name, identity in identities.items():
            kind, trusted = (Member, roster) if name in self._measured else (_StandIn, trusting)
            member = kind(name=name, identity=identity, roster=trusted, source=source)
            if isinstance(member, _StandIn):
                member.measured = measured
                self._stand_ins.append(member)
            self._sessions[name] = Session(RecordDict(), member)
        self._present = names
        self._leaving = _leaving(names, round(setting.dropping * count))
        generator = np.random.default_rng(0)
        self._values = generator.normal(size=setting.dimension)
        self._stand_in_vector = quantise(self._values, members=count)
        self._expected = np.zeros(setting.dimension + 1, dtype=np.uint32)
        self._watch = watch

    def run(self) -> Cost:
        """All five stages, and the comparison of the sum; see :func:`attempt`."""
        server = self._advertise(Attempt(run="benchmark", round=1))
        for each in self._stand_ins:
            each.agreement = server.agreement
        self._share(server)
        self._mask(server)
        self._confirm(server)
        self._unmask(server)
        with self._watch.serving():
            total, bad = server.total()
            dequantised_mean(total, members=self._members)
        if bad or not np.array_equal(total, self._expected):
            raise RuntimeError(f"the sum of {self._members} vectors is not exact")
        stayed = self._measured & set(self._present)
        return Cost(
            members=tuple(self._watch.clients[name] for name in sorted(stayed)),
            server=self._watch.server,
        )

    def _advertise(self, attempt: Attempt) -> ServerRound:
        request = AdvertiseRequest(attempt).encode()
        adverts = {}

        def accept(name: str, message: bytes) -> None:
            adverts[name] = accept_advert(name, message, attempt=attempt, roster=self._roster)

        self._exchange_all(lambda session: session.advertise(request), accept)
        threshold = consistency_threshold(self._members)
        terms = RoundTerms(
            attempt=attempt,
            members=tuple(adverts),
            threshold=threshold,
            survivors=threshold,
            vector=VectorTerms(
                dimension=self._expected.size, fraction_bits=fraction_bits(self._members)
            ),
            task=_TASK,
            model="",
        )
        with self._watch.serving():
            server = ServerRound(terms, adverts, self._roster)
        self._drop("advertise")
        return server

    def _share(self, server: ServerRound) -> None:
        terms = OwnTerms(vector=server.agreement.terms.vector, task=_TASK)
        request = server.share_request
        self._exchange_all(lambda session: session.share(request, terms), server.take_shares)
        with self._watch.serving():
            server.close_sharing()
        self._drop("share")

    def _mask(self, server: ServerRound) -> None:
        for index, name in enumerate(self._present):
            with self._watch.serving():
                request = server.mask_request(name)
            vector = self._stand_in_vector
            # Other numbers for each, without the time to draw them.
            values = np.roll(self._values, index)
            if name in self._measured:
                with self._watch.client(name):
                    vector = quantise(values, members=self._members)
            self._expected += vector.vector
            self._exchange(name, _masking(request, vector), server.take_masked)
        with self._watch.serving():
            server.close_masking()
        self._drop("mask")

    def _confirm(self, server: ServerRound) -> None:
        with self._watch.serving():
            request = server.consistency_request()
        self._exchange_all(lambda session: session.confirm(request), server.take_consistency)
        self._drop("confirm")

    def _unmask(self, server: ServerRound) -> None:
        with self._watch.serving():
            request = server.unmask_request()
        self._exchange_all(lambda session: session.unmask(request), server.take_unmask)

    def _exchange_all(self, answer: _Answer, take: _Take) -> None:
        for name in self._present:
            self._exchange(name, answer, take)

    def _exchange(self, name: str, answer: _Answer, take: _Take) -> None:
        """A member's answer, and the server's taking it, each in its own time."""
        # A member has a machine of its own: what others of this process know is no help to it.
        forget_shared()
        with self._watch.client(name):
            message = answer(self._sessions[name])
        with self._watch.serving():
            take(name, message)

    def _drop(self, stage: str) -> None:
        self._present = [name for name in self._present if self._leaving.get(name) != stage]


def _leaving(names: Sequence[str], count: int) -> dict[str, str]:
    """Members that leave, by the stage after which they do."""
    who = np.random.default_rng(0).permutation(len(names))[:count]
    return {names[i]: _DROP_AFTER[turn % len(_DROP_AFTER)] for turn, i in enumerate(who)}


def _masking(request: bytes, vector: Quantised) -> _Answer:
    """A member's masking of a vector that stands in the place of training."""
    return lambda session: session.mask(request, lambda opened: vector)
