"""A server that lies: one round, asked for stage by stage, each request as a test wants it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.identity.keys import Identity, Roster
from privacy.kernel.quantisation import fraction_bits
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import (
    Consistency,
    ConsistencyRequest,
    ShareRequest,
    UnmaskRequest,
)
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from privacy.secagg.server import ServerRound
from strategies.wire.round_plan import RoundPlan, vector_digest
from tests.clients import conftest as of_clients


class LieSucceeded(AssertionError):
    """A hole: what is honest was answered, and so was what should not have been."""


def require(holds: bool, what: str) -> None:
    """Fail as a lie that has succeeded does, and as nothing else."""
    if not holds:
        raise LieSucceeded(what)


Asked, Deployed = of_clients.Asked, of_clients.Deployed
Reply = RecordDict | str

# Organisations with folders of their own, and a server that may ask them for anything.
deploy, asking, bundle = of_clients.deploy, of_clients.asking, of_clients.bundle


@dataclass
class Round:
    """One attempt at a round, as a server asks for it.

    Attributes:
        asked: Whom it asks, and for what.
        number: Of the round.
        attempt: At the round.
        plan: What all are told; the honest plan where none is given.
        changes: Of the terms, as `Asked.terms` takes them.
        terms: Of the sum, about that plan.
        adverts: Replies to stage 0.
        relay: The honest server's bookkeeping, once all have shared.
    """

    asked: Asked
    number: int = 1
    attempt: int = 1
    plan: RoundPlan | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    terms: RoundTerms = field(init=False)
    adverts: dict[str, Any] = field(init=False)
    relay: ServerRound = field(init=False)

    def __post_init__(self) -> None:
        self.plan = self.plan or self.asked.round_plan(self.number)
        changes = {"task": self.plan.digest(), **self.changes}
        plan, members = self.asked.plan, tuple(self.deployed.homes)
        if plan is None or plan.mode is Mode.DISTRIBUTED:
            self.terms = self.asked.terms(self.number, self.attempt, **changes)
        else:
            # Means that are private already, each behind its weight.
            bits = fraction_bits(len(members))
            self.terms = RoundTerms(
                attempt=Attempt(run=self.asked.run, round=self.number, attempt=self.attempt),
                members=members,
                threshold=consistency_threshold(len(members)),
                survivors=len(members),
                vector=VectorTerms(
                    dimension=plan.dimension + 1, fraction_bits=bits, plan=plan.digest()
                ),
                model=vector_digest(self.asked.vector),
                **changes,
            )
        self.adverts = self.asked.advertise(self.number, self.attempt)

    @property
    def deployed(self) -> Deployed:
        """Whom it asks."""
        return self.asked.deployed

    @property
    def keys(self) -> Roster:
        """Public keys of all."""
        homes = self.deployed.homes
        return Roster({g: Identity.read(h / "identity.pem").public for g, h in homes.items()})

    def encoded(self, group: str) -> bytes:
        """The advertisement of a group."""
        data = self.adverts[group]["secagg"]["advertise"]
        assert isinstance(data, bytes)
        return data

    def share(
        self,
        group: str,
        *,
        plan: RoundPlan | None = None,
        terms: RoundTerms | None = None,
        adverts: Sequence[bytes] | None = None,
        **parts: bytes,
    ) -> Reply:
        """Stage 1 of one group."""
        terms = terms or self.terms
        if adverts is None:
            adverts = [self.encoded(name) for name in terms.members if name in self.adverts]
        request = ShareRequest(terms.encode(), tuple(adverts)).encode()
        return self.deployed.stage(
            group, "query.share", {"share": request, **parts}, plan or self.plan
        )

    def share_all(self) -> Round:
        """Stage 1 of all, honestly."""
        encoded = {group: self.encoded(group) for group in self.terms.members}
        self.relay = ServerRound(self.terms, encoded, self.keys)
        for group in self.terms.members:
            shared = self.share(group)
            assert not isinstance(shared, str), shared
            self.relay.take_shares(group, shared["secagg"]["share"])
        self.relay.close_sharing()
        return self

    def mask(
        self,
        group: str,
        *,
        plan: RoundPlan | None = None,
        arrays: Sequence[np.ndarray] | None = None,
        request: bytes | None = None,
    ) -> Reply:
        """Stage 2 of one group."""
        content = RecordDict(
            {
                "secagg": ConfigRecord({"mask": request or self.relay.mask_request(group)}),
                "plan": ConfigRecord(dict((plan or self.plan).to_wire())),
                "model": ArrayRecord([self.asked.vector] if arrays is None else list(arrays)),
            }
        )
        return self.deployed.ask(group, "train.masked", content)

    def mask_all(self) -> Round:
        """Stage 2 of all, honestly."""
        for group in self.terms.members:
            masked = self.mask(group)
            assert not isinstance(masked, str), masked
            (data,) = masked["masked"].to_numpy_ndarrays()
            self.relay.take_masked(group, data.tobytes())
        self.relay.close_masking()
        return self

    def confirm(self, group: str, survivors: Sequence[int] | None = None) -> Reply:
        """Stage 3 of one group."""
        request = self.relay.consistency_request()
        if survivors is not None:
            request = ConsistencyRequest(self.relay.agreement.context, tuple(survivors)).encode()
        return self.deployed.stage(group, "query.confirm", {"confirm": request})

    def confirm_all(self) -> dict[int, bytes]:
        """Stage 3 of all, honestly; their signatures."""
        signatures = {}
        for index, group in enumerate(self.terms.members):
            confirmed = self.confirm(group)
            assert not isinstance(confirmed, str), confirmed
            data = confirmed["secagg"]["confirm"]
            self.relay.take_consistency(group, data)
            signatures[index] = Consistency.decode(data).signature
        return signatures

    def unmask(self, group: str, signatures: Mapping[int, bytes] | None = None) -> Reply:
        """Stage 4 of one group."""
        request = self.relay.unmask_request() if signatures is None else None
        return self.deployed.stage(
            group, "query.unmask", {"unmask": request or self.unmask_bytes(signatures or {})}
        )

    def unmask_bytes(self, signatures: Mapping[int, bytes]) -> bytes:
        """The request of stage 4 with these signatures."""
        pairs = tuple(sorted(signatures.items()))
        return UnmaskRequest(self.relay.agreement.context, pairs).encode()

    def sum(self) -> np.ndarray:
        """All stages to the end, honestly; the sum of all."""
        self.share_all().mask_all().confirm_all()
        for group in self.terms.members:
            given = self.unmask(group)
            assert not isinstance(given, str), given
            self.relay.take_unmask(group, given["secagg"]["unmask"])
        total, bad = self.relay.total()
        assert not bad
        return total


@pytest.fixture(scope="session")
def asking_twelve(asking: Callable[..., Asked]) -> Callable[..., Asked]:
    """Like `asking`, of groups that state a bound of twelve people each."""
    plans: dict[int, PrivacyPlan] = {}

    def make(deployed: Deployed, run: str) -> Asked:
        asked = asking(deployed, run)
        names = [each.name for each in fields(PrivacyTerms)]
        stated = {name: getattr(asked.plan, name) for name in names} | {"units_per_group": 12}
        if not plans:
            plans[12] = PrivacyPlan.calibrate(PrivacyTerms(**stated))
        return replace(asked, plan=plans[12])

    return make


def planned(asked: Asked, number: int = 1, **changes: Any) -> tuple[RoundPlan, dict[str, Any]]:
    """A plan with other fields in its privacy plan, and what the terms must say to agree with it.

    A privacy plan that does not exist leaves the terms as they are.
    """
    plan = asked.round_plan(number, **{f"plan__{name}": value for name, value in changes.items()})
    terms: dict[str, Any] = {"task": plan.digest()}
    try:
        vector = VectorTerms.of_plan(PrivacyPlan.from_dict({**asked.plan.as_dict(), **changes}))
    except (ValueError, TypeError, ArithmeticError):
        return plan, terms
    return plan, terms | {f"vector__{name}": value for name, value in vars(vector).items()}


def shape(reply: Reply) -> object:
    """What of a reply is no ciphertext, key or signature: its fields, kinds and sizes."""
    if isinstance(reply, str):
        return reply
    return {
        name: [array.numpy().nbytes for array in record.values()]
        if isinstance(record, ArrayRecord)
        else {
            key: len(value) if isinstance(value, bytes) else value for key, value in record.items()
        }
        for name, record in reply.items()
    }


def recorded(deployed: Deployed, group: str) -> list[tuple[str, tuple[tuple[str, object], ...]]]:
    """What of a group's ledger is no key, hash or signature: its events, with their plain values.

    Hashes of 64 digits and more are left out, and what quotes a key.
    """

    def plain(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
        for name, value in sorted(body.items()):
            digits = isinstance(value, str) and len(value) >= 64
            yield name, len(value) if digits else str(value)

    return [(event["type"], tuple(plain(event["body"]))) for event in deployed.ledger(group)]


@pytest.fixture
def run_name() -> Callable[[], str]:
    """Names of runs that nobody has seen."""
    return lambda: f"lie-{next(_NUMBERS)}"


_NUMBERS = itertools.count(1)
