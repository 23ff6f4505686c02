"""Rounds in which groups meet in pairs: the server draws, relays and measures, and has no model.

A round costs three trips: offer (fresh keys), meet (train, and seal the vector for the partner) and
mix (what the partner has sealed). Where a round is measured, held-out groups offer keys too and one
train group that is drawn for it shows them its model. Everything that could be read passes sealed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from privacy.exchange.messages import (
    MEET,
    SHOW,
    ExchangeTerms,
    MeetRequest,
    ShowRequest,
    accept_peer_advert,
)
from privacy.identity.keys import Roster
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt
from server.rounds.collection import (
    Collected,
    Collector,
    StageClock,
    ask,
    bytes_in,
    plan_for_group,
    take_all,
)
from server.rounds.evaluation import is_measured
from strategies.gossip import Pair, drawn_pairs
from strategies.wire.round_plan import RoundPlan, Scalar, vector_digest

logger = logging.getLogger(__name__)

_PART = "exchange"
_Parts = Callable[[str], Mapping[str, bytes]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Round:
    """A round whose pairs are drawn.

    Attributes:
        plan: Of all groups, without their sections about privacy.
        terms: Of all its meetings.
        pairs: Who meets whom.
        adverts: Of all train groups that are there, by name.
    """

    plan: RoundPlan
    terms: ExchangeTerms
    pairs: tuple[Pair, ...]
    adverts: Mapping[str, bytes]

    def of(self, group: str) -> Pair:
        """The pair of a group."""
        return next(pair for pair in self.pairs if group in pair)

    def request(self, group: str) -> bytes:
        """The request that names whom a group meets."""
        adverts = tuple(self.adverts[name] for name in self.of(group))
        return MeetRequest(self.terms.attempt, bytes.fromhex(self.terms.model), adverts).encode()

    def context(self, group: str) -> str:
        """The context that a group's spend names."""
        return self.terms.context([self.adverts[name] for name in self.of(group)]).hex()


@dataclass(eq=False)
class GossipCollector(Collector):
    """Lets groups meet; see :class:`server.rounds.collection.Collector`. There is never a mean.

    Attributes:
        strategy: Name and settings of the strategy, for the groups.
    """

    strategy: Mapping[str, Scalar] = field(kw_only=True)
    # Groups that have the first vector, and so a model of their own.
    _begun: set[str] = field(default_factory=set, init=False)
    _last: int = field(default=0, init=False)

    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """Offer, meet, mix and maybe show; ``vector`` is the public first one and stays so."""
        clock = StageClock()
        self._last = plan.round
        drawn = self.drawn(plan, plan.round)
        adverts = self._offers(plan.round, drawn)
        readers: dict[str, bytes] = {}
        if is_measured(plan.round, self.config):
            readers = self._offers(plan.round, self.cohort.held_out, purpose=SHOW)
        clock.mark("offer")
        evidence: dict[str, object] = {"round": plan.round, "attempt": 1}
        self.require_enough(adverts, drawn, "offered to meet", evidence=evidence, clock=clock)
        prepared = self._prepare(plan, vector, adverts)
        sealed = self._meet(prepared, vector)
        clock.mark("meet")
        evidence |= {
            "task": prepared.terms.task,
            "model": prepared.terms.model,
            "pairs": [list(pair) for pair in prepared.pairs],
            "contexts": {name: prepared.context(name) for name in sealed},
            "survivors": list(sealed),
            "vectors": {name: hashlib.sha256(data).hexdigest() for name, data in sealed.items()},
        }
        self.require_enough(sealed, adverts, "trained", evidence=evidence, clock=clock)
        distance = self._mix(prepared, sealed)
        clock.mark("mix")
        shown = self._show(prepared, sealed, readers, evidence)
        clock.mark("show")
        return Collected(
            mean=None,
            groups=tuple(sealed),
            seconds_stages=clock.seconds,
            evidence=evidence,
            shown=shown,
            distance=distance,
        )

    def close(self) -> None:
        """Have all groups show the last head of their ledger and leave their model as a folder."""
        after = self._last + 1
        self._offers(after, self.cohort.train)
        self._ask("query.part", self.cohort.train, after, self.witness.countersigned)

    def _offers(
        self, number: int, nodes: Mapping[str, int], *, purpose: str = MEET
    ) -> dict[str, bytes]:
        """Advertisements that hold, by group; those of train groups are kept as evidence."""
        attempt = Attempt(run=self.run, round=number)
        request = AdvertiseRequest(attempt).encode()
        meets = purpose == MEET
        known: _Parts = self.witness.known if meets else lambda _: {}
        replies = self._ask(
            "query.offer", nodes, number, lambda group: {"offer": request, **known(group)}
        )
        # Held-out groups name no key to the server: whoever shows them a model has pinned theirs.
        roster = Roster(self.cohort.identities) if meets else None
        accepted: dict[str, bytes] = {}

        def keep(name: str, data: bytes) -> None:
            accepted[name] = accept_peer_advert(
                name, data, purpose=purpose, attempt=attempt, roster=roster
            )

        offers = {
            name: content.config_records[_PART].get("offer") for name, content in replies.items()
        }
        take_all(
            {name: data if isinstance(data, bytes) else b"" for name, data in offers.items()}, keep
        )
        return self.witness.saw(attempt, accepted) if meets else accepted

    def _prepare(
        self, plan: RoundPlan, vector: NDArray[np.float32], adverts: Mapping[str, bytes]
    ) -> _Round:
        plan = replace(plan, strategy=self.strategy)
        some = self.aggregation.work(min(adverts))
        terms = ExchangeTerms(
            attempt=Attempt(run=self.run, round=plan.round),
            purpose=MEET,
            task=replace(plan, privacy=some).digest(),
            model=vector_digest(vector),
        )
        pairs = drawn_pairs(adverts, seed=plan.seed, round_number=plan.round)
        return _Round(plan=plan, terms=terms, pairs=pairs, adverts=adverts)

    def _meet(self, prepared: _Round, vector: NDArray[np.float32]) -> dict[str, bytes]:
        """Have all groups train; what each has sealed, by group."""
        first = ArrayRecord([vector])
        contents = {}
        for group in prepared.adverts:
            parts = {"meet": prepared.request(group), **self.witness.countersigned(group)}
            content = RecordDict({_PART: ConfigRecord(dict(parts))})
            content["plan"] = plan_for_group(prepared.plan, group, self.aggregation)
            if group not in self._begun:
                content["model"] = first
            contents[group] = content
        replies = self.ask("train.meet", contents, prepared.plan.round)
        self._begun |= set(replies)
        return {name: bytes_in(content, "sealed")[0] for name, content in replies.items()}

    def _mix(self, prepared: _Round, sealed: Mapping[str, bytes]) -> float | None:
        """Hand every group what its partner has sealed; how far apart partners were."""
        contents = {}
        for pair in prepared.pairs:
            for one, other in ((pair[0], pair[-1]), (pair[-1], pair[0])):
                # Whose partner dropped out goes on by itself.
                if one != other and {one, other} <= sealed.keys():
                    contents[one] = RecordDict({"sealed": _packed(sealed[other])})
        replies = self.ask("query.mix", contents, prepared.plan.round)
        distances = [float(str(r.metric_records["mixed"]["distance"])) for r in replies.values()]
        apart = [value for value in distances if math.isfinite(value)]
        return float(np.mean(apart)) if apart else None

    def _show(
        self,
        prepared: _Round,
        sealed: Mapping[str, bytes],
        readers: Mapping[str, bytes],
        evidence: dict[str, object],
    ) -> dict[str, RecordDict]:
        """Have one group show its model to the readers: what each of them is to be handed."""
        if not readers:
            return {}
        terms = prepared.terms
        drawn = random.Random(f"shown {prepared.plan.seed} {terms.attempt.round}")  # noqa: S311 - public, to be drawn again by anybody
        shower = drawn.choice(sorted(sealed))
        request = ShowRequest(
            terms.attempt, bytes.fromhex(terms.model), tuple(readers.values())
        ).encode()
        replies = self._ask(
            "query.show", {shower: self.cohort.train[shower]}, terms.attempt.round,
            lambda _: {"show": request},
        )  # fmt: skip
        arrays = [each for reply in replies.values() for each in bytes_in(reply, "shown")]
        if len(arrays) != len(readers):
            logger.warning(
                "round %d: %s has shown its model to nobody", terms.attempt.round, shower
            )
            return {}
        shown = dict(zip(readers, arrays, strict=True))
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in shown.items()}
        evidence["shown"] = {"by": shower, "to": digests}
        return {name: RecordDict({"shown": _packed(data)}) for name, data in shown.items()}

    def _ask(
        self, kind: str, nodes: Mapping[str, int], number: int, parts: _Parts
    ) -> dict[str, RecordDict]:
        """Ask groups for something that trains nothing."""
        contents = {name: RecordDict({_PART: ConfigRecord(dict(parts(name)))}) for name in nodes}
        return ask(self.grid, nodes, kind, contents, round_number=number, config=self.config)


def _packed(data: bytes) -> ArrayRecord:
    """Bytes as an array: they may be of many megabytes."""
    return ArrayRecord([np.frombuffer(data, dtype=np.uint8)])
