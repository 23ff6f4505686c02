"""Rounds of which nothing but the ledgers is real, for the benchmark of ledgers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from alignment.data.units import UnitRecords
from clients.sessions.group_ledger import GroupLedger, forget_ledgers
from experiments.benchmarks.harness import Stopwatch
from experiments.benchmarks.workloads.plans import RUN
from privacy.accounting.plan import PrivacyPlan
from privacy.file_names import ROSTER_FILE
from privacy.identity.key_folder import SERVER
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.kernel.randomness import SystemRandomStream
from privacy.ledger.paths import SERVER_LEDGER, group_ledger
from privacy.ledger.server_ledger import ServerLedger
from privacy.secagg.agreement import Agreement
from privacy.secagg.client import Member
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import AdvertiseRequest, ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from server.state.witness import LedgerWitness

Units = Mapping[str, Sequence[UnitRecords]]


class Rehearsal:
    """A private run under secure aggregation of which nothing but the ledgers is real.

    Advertisements and terms are those of the protocol; vectors and models are made up.

    Args:
        folder: For the ledgers of all groups, the server ledger and the roster.
        units: Of every group.
        plan: Of the run.
    """

    def __init__(self, folder: Path, units: Units, plan: PrivacyPlan) -> None:
        self._folder = folder
        self._units = units
        self._plan = plan
        self._names = tuple(sorted(units))
        self._identities = {name: Identity.create() for name in self._names}
        self._roster = Roster({name: each.public for name, each in self._identities.items()})
        self._server = Identity.create()
        self._servers = Roster({SERVER: self._server.public})
        self._source = SystemRandomStream()
        self._model = digest_of("model 0")
        self._message = bytes(plan.bytes_up)
        self._rounds = 0

    @contextmanager
    def begun(self) -> Iterator[Rehearsal]:
        """Begin the server ledger and the run in it, and leave the roster beside it.

        At the end this process forgets what it knows of the ledgers.
        """
        text = rosters_json(self._roster, self._servers)
        (self._folder / ROSTER_FILE).write_text(text, encoding="utf-8")
        with ServerLedger.open(
            self._folder / SERVER_LEDGER, self._server, name=SERVER
        ) as server_ledger:
            keys = {name: self._roster[name] for name in self._units}
            server_ledger.begin(
                RUN, self._plan, groups=keys, model=self._model, secure=True, epsilons={}
            )
            self._witness = LedgerWitness(server_ledger, RUN)
            yield self
        forget_ledgers()

    def round(self) -> Stopwatch:
        """Keep all ledgers of the next round; the first announces data, budgets and plans."""
        self._rounds += 1
        spent, attempt = Stopwatch(), Attempt(run=RUN, round=self._rounds)
        adverts = self._advertise(spent, attempt)
        with spent.serving():
            adverts = self._witness.saw(attempt, adverts)
        terms = self._terms(attempt)
        request = ShareRequest(terms.encode(), tuple(adverts[name] for name in self._names))
        context = Agreement.read(request).context
        for name in self._names:
            self._share(spent, name)
        for name in self._names:
            with spent.client(name):
                group_ledger = self._group_ledger(name)
                receipt, _ = group_ledger.charge(
                    RUN, self._rounds, attempt.attempt, context, units=self._units[name]
                )
                group_ledger.released(receipt, self._message)
        self._close(spent, terms, context)
        return spent

    def _advertise(self, spent: Stopwatch, attempt: Attempt) -> dict[str, bytes]:
        request = AdvertiseRequest(attempt).encode()
        adverts = {}
        for name in self._names:
            with spent.serving():
                known = self._witness.known(name)
            with spent.client(name):
                head = self._group_ledger(name).head(known.get("known"))
            member = Member(
                name=name,
                identity=self._identities[name],
                roster=self._roster,
                source=self._source,
            )
            seen = (head.seq, bytes.fromhex(head.hash))
            adverts[name], _ = member.advertise(request, last=None, head=seen)
        return adverts

    def _share(self, spent: Stopwatch, name: str) -> None:
        with spent.serving():
            payload = self._witness.countersigned(name)
        with spent.client(name):
            if "countersigned" in payload:
                self._group_ledger(name).countersign(payload["countersigned"])
            group_ledger = self._group_ledger(name)
            group_ledger.prepare(
                RUN,
                self._units[name],
                self._plan,
                group_index=self._names.index(name),
                model=self._model,
            )
            group_ledger.require(RUN, self._rounds, 1)

    def _close(self, spent: Stopwatch, terms: RoundTerms, context: bytes) -> None:
        after = digest_of(f"model {self._rounds}")
        vector = hashlib.sha256(self._message).hexdigest()
        evidence = {
            "round": self._rounds,
            "attempt": terms.attempt.attempt,
            "ctx": context.hex(),
            "terms": terms.encode().decode("ascii"),
            "model": self._model,
            "sharers": list(self._names),
            "vectors": dict.fromkeys(self._names, vector),
            "survivors": list(self._names),
        }
        with spent.serving():
            self._witness.round(evidence, after=after)
        self._model = after

    def _terms(self, attempt: Attempt) -> RoundTerms:
        return RoundTerms(
            attempt=attempt,
            members=self._names,
            threshold=consistency_threshold(len(self._names)),
            survivors=len(self._names),
            vector=VectorTerms.of_plan(self._plan),
            task=RUN,
            model=self._model,
        )

    def _group_ledger(self, name: str) -> GroupLedger:
        """Of a group, anew for every message as clients do."""
        return GroupLedger(
            group_ledger(self._folder, name),
            self._identities[name],
            self._servers,
            budget_epsilon=0.0,
            budget_delta=self._plan.delta,
        )


def digest_of(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
