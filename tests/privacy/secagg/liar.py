"""A server of secure aggregation that can be told to lie; see `test_malicious_server`."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from privacy.errors import (
    SecaggAbort,
)
from privacy.secagg.encoding import Message
from privacy.secagg.messages import (
    AdvertiseRequest,
    Consistency,
    ConsistencyRequest,
    MaskRequest,
    ShareRequest,
    Shares,
    UnmaskRequest,
)
from privacy.secagg.round_terms import RoundTerms

STAGES = ("advertise", "share", "mask", "confirm", "unmask")
KINDS: dict[str, type[Message]] = {
    "advertise": AdvertiseRequest,
    "share": ShareRequest,
    "mask": MaskRequest,
    "confirm": ConsistencyRequest,
    "unmask": UnmaskRequest,
}
MEMBERS, THRESHOLD, SURVIVORS = 6, 5, 5
OTHER, EVIL = "m004", "m005"
"""A member that is never lied to alone, and one that signs whatever the server wants."""
AUDIENCES = {
    "one": ["m001"],
    "half": ["m000", "m001", "m002"],
    "all": [f"m00{i}" for i in range(5)],
}


class Liar:
    """A server that brings a round to its end as well as it can, with lies."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.told: dict[str, RoundTerms] = {}
        self.got: dict[str, dict[str, bytes]] = {}
        self.earlier: dict[str, dict[str, bytes]] = {}
        self.asked: dict[str, dict[str, bytes]] = {}
        self.aborts: dict[str, tuple[str, SecaggAbort]] = {}
        self.lied: list[tuple[str, str]] = []

    def run(self, lies: Iterable[tuple["Lie", list[str]]] = ()) -> None:
        """One attempt, with lies and to whom they are told."""
        group = self.group
        last = [party.last.round for party in group.parties.values() if party.last is not None]
        group.rounds = max([group.rounds, *last]) + 1
        for party in group.parties.values():
            party.views.clear()
            party.gave.clear()
        # What was asked and answered in the attempt before is there to be replayed.
        self.earlier = {"requests": self.asked, **self.got}
        self.got = {stage: {} for stage in STAGES}
        self.asked = {stage: {} for stage in STAGES}
        self.told, self.aborts, self.lied = {}, {}, []
        for stage, name in itertools.product(STAGES, group.names):
            if name in self.aborts:
                continue
            request: bytes = getattr(self, f"_{stage}")(name)
            for lie, victims in lies:
                if lie.stage == stage and name in victims:
                    request = self._lied(lie, name, request)
            self.asked[stage][name] = request
            try:
                self.got[stage][name] = group.ask(name, stage, request)
            except SecaggAbort as error:
                self.aborts[name] = (stage, error)
                continue
            if stage == "share":
                self.told[name] = RoundTerms.decode(ShareRequest.decode(request).terms)

    def ready(self) -> None:
        """See that the attempt before has come to its end, so that there is all to be replayed."""
        if len(self.got.get("unmask", ())) < MEMBERS:
            self.run()

    def _lied(self, lie: "Lie", name: str, request: bytes) -> bytes:
        """The wrong request; the right one where an earlier lie left nothing to lie about."""
        try:
            changed = lie.change(self, name, request)
        except (LookupError, StopIteration, ValueError, SecaggAbort):
            return request
        if changed != request:
            self.lied.append((str(lie), name))
        return changed

    def index(self, name: str, of: str) -> int | None:
        """The index of a member in the terms that another was sent."""
        members = self.told[of].members
        return members.index(name) if name in members else None

    def _advertise(self, name: str) -> bytes:
        return AdvertiseRequest(self.group.attempt).encode()

    def _share(self, name: str) -> bytes:
        adverts = self.got["advertise"]
        return ShareRequest(self.group.terms(adverts).encode(), tuple(adverts.values())).encode()

    def context(self, name: str) -> bytes:
        return Shares.decode(self.got["share"][name]).context

    def _mask(self, name: str) -> bytes:
        sharers, ciphertexts = [], []
        for other, message in self.got["share"].items():
            index, own = self.index(other, name), self.index(name, other)
            if index is None or own is None:
                continue
            sharers.append(index)
            sealed = dict(Shares.decode(message).ciphertexts)
            if other != name:
                ciphertexts.append((index, sealed[own]))
        return MaskRequest(
            self.context(name), tuple(sorted(sharers)), tuple(sorted(ciphertexts))
        ).encode()

    def _confirm(self, name: str) -> bytes:
        asked = MaskRequest.decode(self.asked["mask"][name])
        survivors = {self.index(other, name) for other in self.got["mask"]}
        chosen = tuple(index for index in asked.sharers if index in survivors)
        return ConsistencyRequest(self.context(name), chosen).encode()

    def _unmask(self, name: str) -> bytes:
        own = Consistency.decode(self.got["confirm"][name])
        fitting, others = {}, {}
        for other, message in self.got["confirm"].items():
            signed, index = Consistency.decode(message), self.index(other, name)
            if index is not None:
                same = (signed.context, signed.survivors) == (own.context, own.survivors)
                (fitting if same else others)[index] = signed.signature
        needed = self.told[name].threshold
        padded = [*fitting.items(), *others.items()][: max(needed, len(fitting))]
        return UnmaskRequest(own.context, tuple(sorted(padded))).encode()


@dataclass(frozen=True)
class Lie:
    """One thing that is said wrongly in one request.

    Attributes:
        name: what is wrong.
        stage: in which request.
        change: makes the wrong request from the right one.
        errors: how whoever is told it stops at once; empty where it may not.
        divides: whether somebody must stop where not everybody is told the same.
    """

    name: str
    stage: str
    change: Callable[[Liar, str, bytes], bytes]
    errors: tuple[type[SecaggAbort], ...] = ()
    divides: bool = True

    def __str__(self) -> str:
        return f"{self.stage}: {self.name}"


def edit(kind: type[Message], **changes: Callable[[Liar, str, Any], Any]) -> Any:
    """Change fields of a request."""

    def change(liar: Liar, victim: str, request: bytes) -> bytes:
        asked: Any = kind.decode(request)
        return replace(
            asked, **{name: new(liar, victim, asked) for name, new in changes.items()}
        ).encode()

    return change


def without(rows: tuple[Any, ...], index: Any) -> tuple[Any, ...]:
    return tuple(row for row in rows if (row[0] if isinstance(row, tuple) else row) != index)


def values_swapped(rows: tuple[Any, ...]) -> tuple[Any, ...]:
    (a, x), (b, y), *rest = rows
    return ((a, y), (b, x), *rest)


def first_changed(rows: tuple[Any, ...], value: Callable[[bytes], bytes]) -> tuple[Any, ...]:
    return ((rows[0][0], value(rows[0][1])), *rows[1:])


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def other_place(liar: Liar, victim: str, asked: Any) -> int:
    """Somebody who is not the member that is lied to."""
    own = liar.index(victim, victim)
    return next(index for index in (3, 2) if index != own)
