"""Rounds under secure aggregation: five stages on the grid, of which the server learns a sum.

A round costs four trips: share, train and mask, confirm, unmask. The advertisement of the next
round rides on the last of them, so that only the first round has a trip of its own for it. A group
that misses a stage is asked to advertise again at the end of the round, and is back in the next.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from privacy.errors import PrivacyError, TooFewMembers
from privacy.identity.keys import Roster
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import FEWEST_MEMBERS, Attempt, RoundTerms
from privacy.secagg.server import ServerRound, accept_advert
from server.rounds.cohort import CohortError
from server.rounds.collection import (
    Collected,
    Collector,
    RoundAborted,
    StageClock,
    bytes_in,
    plan_for_group,
    take_all,
)
from strategies.wire.round_plan import RoundPlan, vector_digest

logger = logging.getLogger(__name__)

#: A round is tried again while nobody has been charged for it.
_ATTEMPTS = 2


#: The advertisement for the next round rides on the stage ``unmask``, and is measured there.
STAGES = ("advertise", "share", "masked", "confirm", "unmask")


@dataclass(eq=False)
class SecureCollector(Collector):
    """Sums the vectors of the train groups without seeing any.

    Raises:
        CohortError: There are too few groups for a sum to hide one.
    """

    _next: Attempt | None = field(default=None, init=False)
    _adverts: dict[str, bytes] = field(default_factory=dict, init=False)
    # Nodes that were asked for an advertisement for the next attempt, by group.
    _asked: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Refuse a cohort in which nobody is hidden."""
        if len(self.cohort.train) < FEWEST_MEMBERS:
            raise CohortError(
                f"{len(self.cohort.train)} train group: secure aggregation hides a group among "
                "others; give more groups or set federation.secure_aggregation = false"
            )
        super().__post_init__()

    def collect(self, plan: RoundPlan, vector: NDArray[np.float32]) -> Collected:
        """Five stages; see :class:`server.rounds.collection.Collector`."""
        clock = StageClock(dict.fromkeys(STAGES, 0.0))
        for number in range(1, _ATTEMPTS + 1):
            attempt = Attempt(run=self.run, round=plan.round, attempt=number)
            if self._next != attempt:
                self._adverts, self._asked = {}, {}
            # With the rest of the attempt behind them, only those who have come since are asked.
            drawn = self.drawn(plan, plan.round)
            late = [group for group, node in drawn.items() if self._asked.get(group) != node]
            if late:
                self._advertise(attempt, late)
                clock.mark("advertise")
            masking, stage = False, "share"
            vectors: dict[str, str] = {}
            evidence: dict[str, object] = {"round": plan.round, "attempt": number}
            try:
                prepared = self._share(attempt, plan, vector)
                clock.mark("share")
                terms = prepared.agreement.terms
                evidence |= {
                    "ctx": prepared.agreement.context.hex(),
                    "terms": terms.encode().decode("ascii"),
                    "model": terms.model,
                    "sharers": list(prepared.sharers),
                    "vectors": vectors,
                }
                # From here on groups are charged: the attempt is not repeated.
                masking = True
                stage = "masked"
                self._train_and_mask(prepared, plan, vector, vectors)
                clock.mark(stage)
                stage = "confirm"
                signed = self._confirm(prepared)
                clock.mark(stage)
                stage = "unmask"
                total, groups = self._unmask(prepared, plan, signed)
                members = len(prepared.agreement.terms.members)
                mean = self.aggregation.mean_of_sum(
                    plan, total, members=members, summed=len(groups)
                )
                clock.mark(stage)
                return Collected(
                    mean=mean,
                    groups=groups,
                    seconds_secagg=sum(clock.seconds.values()) - clock.seconds["masked"],
                    seconds_stages=clock.seconds,
                    evidence={**evidence, "survivors": list(groups)},
                )
            except PrivacyError as abort:
                clock.mark(stage)
                self._next = None
                reason = f"{type(abort).__name__}: {abort}"
                if masking or number == _ATTEMPTS:
                    raise RoundAborted(
                        reason, evidence=evidence, seconds_stages=clock.seconds
                    ) from abort
                logger.warning("round %d: attempt %d ended: %s", plan.round, number, reason)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Sign every group's last head; see :class:`server.rounds.collection.Collector`."""
        if self.witness.signs and self._next is not None:
            there = self._adverts.keys() & self.cohort.train.keys()
            self._ask_all("query.close", there, self._next, self.witness.countersigned)

    def _advertise(self, attempt: Attempt, groups: Iterable[str]) -> None:
        """A trip for advertisements alone; they join those that have come before."""
        asked = {group: self.cohort.train[group] for group in groups}
        replies = self._ask_all("query.advertise", asked, attempt, self._advertise_parts(attempt))
        before = {name: data for name, data in self._adverts.items() if name not in asked}
        self._keep_adverts(attempt, {**before, **replies.get("advertise", {})})
        self._asked |= asked

    def _advertise_parts(self, attempt: Attempt) -> Callable[[str], dict[str, bytes]]:
        request = AdvertiseRequest(attempt).encode()
        return lambda group: {"advertise": request, **self.witness.known(group)}

    def _keep_adverts(self, attempt: Attempt, replies: Mapping[str, bytes]) -> None:
        accepted: dict[str, bytes] = {}
        roster = Roster(self.cohort.identities)

        def keep(name: str, data: bytes) -> None:
            accepted[name] = accept_advert(name, data, attempt=attempt, roster=roster)

        take_all(replies, keep)
        self._next, self._adverts = attempt, self.witness.saw(attempt, accepted)
        for name in accepted.keys() - self._adverts.keys():
            logger.warning("%s is left out: its ledger has lost what was seen before", name)

    def _share(self, attempt: Attempt, plan: RoundPlan, vector: NDArray[np.float32]) -> ServerRound:
        # Whoever is not in the cohort any more would be waited for.
        drawn = self.drawn(plan, plan.round)
        members = tuple(sorted(self._adverts.keys() & drawn.keys()))
        count = len(members)
        threshold = self.config.threshold or consistency_threshold(count)
        fewest = max(threshold, self.aggregation.fewest, self.config.minimum_groups)
        if count < max(fewest, FEWEST_MEMBERS):
            raise TooFewMembers(f"{count} of {len(drawn)} groups advertised, {fewest} needed")
        terms = RoundTerms(
            attempt=attempt,
            members=members,
            threshold=threshold,
            survivors=fewest,
            vector=self.aggregation.vector_terms(plan, vector.size, members=count),
            task=replace(plan, privacy=self.aggregation.work(members[0])).digest(),
            model=vector_digest(vector),
        )
        prepared = ServerRound(terms, self._adverts, Roster(self.cohort.identities))
        replies = self._ask_all(
            "query.share",
            members,
            attempt,
            lambda group: {
                "share": prepared.share_request,
                **self.witness.countersigned(group),
            },
            plan=plan,
        )
        take_all(replies.get("share", {}), prepared.take_shares)
        prepared.close_sharing()
        return prepared

    def _train_and_mask(
        self,
        prepared: ServerRound,
        plan: RoundPlan,
        vector: NDArray[np.float32],
        vectors: dict[str, str],
    ) -> None:
        """Stage 2; digests of the vectors that are in the sum go into ``vectors``."""
        self.before_vectors()
        model = ArrayRecord([vector])
        contents = {
            group: RecordDict(
                {
                    "secagg": ConfigRecord({"mask": prepared.mask_request(group)}),
                    "plan": plan_for_group(plan, group, self.aggregation),
                    "model": model,
                }
            )
            for group in prepared.sharers
        }
        replies = self.ask("train.masked", contents, plan.round)

        def add(name: str, data: bytes) -> None:
            prepared.take_masked(name, data)
            vectors[name] = hashlib.sha256(data).hexdigest()

        take_all({name: _vector(content) for name, content in replies.items()}, add)
        prepared.close_masking()

    def _confirm(self, prepared: ServerRound) -> dict[str, bytes]:
        """Stage 3; the signatures of those who have answered."""
        attempt = prepared.agreement.terms.attempt
        asked = prepared.consistency_request()
        survivors = prepared.survivors
        answers = self._ask_all("query.confirm", survivors, attempt, lambda _: {"confirm": asked})
        signed = answers.get("confirm", {})
        take_all(signed, prepared.take_consistency)
        return signed

    def _unmask(
        self, prepared: ServerRound, plan: RoundPlan, signed: Mapping[str, bytes]
    ) -> tuple[NDArray[np.unsignedinteger], tuple[str, ...]]:
        """Stage 4, and the advertisements of all for the next round."""
        attempt = prepared.agreement.terms.attempt
        unmask = prepared.unmask_request()
        following = Attempt(run=self.run, round=plan.round + 1)
        advertise = self._advertise_parts(following)
        following_groups = self.drawn(plan, plan.round + 1)
        if plan.round == self.config.rounds:
            # After the last round an advertisement shows the last head of a ledger.
            following_groups = self.cohort.train if self.witness.signs else {}

        def request(name: str) -> dict[str, bytes]:
            # Whoever missed a stage, or was not in the round, is asked for the next one alone.
            own = {"unmask": unmask} if name in signed else {}
            return {**own, **advertise(name)} if name in following_groups else own

        asked_groups = {*signed, *following_groups}
        replies = self._ask_all("query.unmask", asked_groups, attempt, request)
        take_all(replies["unmask"], prepared.take_unmask)
        total, bad = prepared.total()
        self._keep_adverts(following, replies.get("advertise", {}))
        self._asked = dict(following_groups)
        for name in bad:
            logger.warning("round %d: %s gave shares that fit no secret", plan.round, name)
        return total, prepared.survivors

    def _ask_all(
        self,
        kind: str,
        groups: Iterable[str],
        attempt: Attempt,
        request: Callable[[str], dict[str, bytes]],
        plan: RoundPlan | None = None,
    ) -> dict[str, dict[str, bytes]]:
        """The answers by part of the request and group; a part that is missing is left out."""
        contents: dict[str, RecordDict] = {}
        parts: dict[str, None] = {}
        for group in sorted(groups):
            asked = request(group)
            parts |= dict.fromkeys(asked)
            content = RecordDict({"secagg": ConfigRecord(dict(asked))})
            if plan is not None:
                content["plan"] = plan_for_group(plan, group, self.aggregation)
            contents[group] = content
        replies = self.ask(kind, contents, attempt.round)
        return {
            part: {
                name: data
                for name, content in replies.items()
                if isinstance(data := content.config_records["secagg"].get(part), bytes)
            }
            for part in parts
        }


def _vector(content: RecordDict) -> bytes:
    """The message that a reply holds as an array of bytes: it may be of many megabytes."""
    (data,) = bytes_in(content, "masked")
    return data
