"""The server ledger: the heads that the server was shown, and how every round ended.

The same chain of signed lines as a group's ledger. It proves nothing by itself, since its owner
could write anything; held against the ledgers of the groups it shows what either side has left
out. Whole advertisements are kept: each holds the head of a group's ledger under that group's
signature, and every group's spend names a digest of all of them, so that a group and a server who
rewrite history together contradict the ledgers of all others.

| type | body |
|---|---|
| RUN | run, plan, groups by seat (empty: not yet taken) and their keys, model at the start, whether sums are secure, whether groups meet in pairs instead |
| JOINED | run, the first round that a group takes part in, its name, key and seat |
| HEADS | run, round, attempt, advertisements by group (base64), refused groups with the reason |
| ROUND | run, round, attempt, ctx, terms (as they were sent), survivors, digests of vectors, model before and after |
| ROUND of pairs | run, round, attempt, task, pairs, survivors, their contexts, digests of what each sealed for its partner and of what was shown to whom, model before and after: the first of the run |
| LOST | run, round, the reason, and what is known of the above |
| RESUMED | run, the round whose vector it goes on from (0: the start), digest of that vector; rounds begun since are lost |
| PUBLISHED | run, last model, digests of published files |
"""  # noqa: E501  # a table

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from privacy.accounting.plan import PrivacyPlan
from privacy.canonical import canonical_json
from privacy.errors import LedgerRefused, MalformedMessage
from privacy.exchange.messages import PeerAdvert
from privacy.identity.keys import Identity, Roster
from privacy.ledger.chain import (
    NOTHING,
    SERVER_TYPES,
    Event,
    Head,
    check_head,
    read_events,
    require_at,
    sign_head,
    write_event,
)
from privacy.ledger.store import Store, whole_lines
from privacy.secagg.messages import Advert
from privacy.secagg.round_terms import Attempt


def read_advert(data: bytes) -> Advert | PeerAdvert:
    """An advertisement, for a secure sum or for a meeting of two.

    Raises:
        MalformedMessage: for any other bytes.
    """
    try:
        return PeerAdvert.decode(data)
    except MalformedMessage:
        return Advert.decode(data)


def advert_head(advert: Advert | PeerAdvert) -> Head:
    """The head of a ledger that an advertisement names."""
    return Head(seq=advert.head_seq, hash=advert.head.hex())


def read_server_ledger(data: bytes, server: bytes) -> tuple[Event, ...]:
    """Read a server ledger and check form, chain and signatures, and no meaning.

    Args:
        data: the file; a torn last line is left out.
        server: its public key, 32 bytes.

    Raises:
        LedgerCorrupt: for the first line that its owner has not written there.
    """
    return read_events(whole_lines(data), server, types=SERVER_TYPES)


@dataclass(frozen=True, kw_only=True)
class Countersigned:
    """A server's signature of a head that it has seen.

    Attributes:
        server: its name.
        head: of the ledger.
        signature: over the head and the owner of the ledger, 64 bytes.
    """

    server: str
    head: Head
    signature: bytes

    def encode(self) -> bytes:
        """Canonical JSON."""
        seen = {"server": self.server, "seq": self.head.seq, "hash": self.head.hash}
        return canonical_json({**seen, "signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            MalformedMessage: for any other bytes.
        """
        try:
            stated: dict[str, Any] = json.loads(data)
            head = Head(seq=stated["seq"], hash=stated["hash"])
            signature = bytes.fromhex(stated["signature"])
            read = cls(server=stated["server"], head=head, signature=signature)
            exact = read.encode() == data and type(head.seq) is int
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MalformedMessage("a countersigned head cannot be read") from error
        if not exact:
            raise MalformedMessage("a countersigned head is not in canonical form")
        return read

    def check(self, servers: Roster, owner: bytes) -> None:
        """Check that a pinned server has signed this head of that owner's ledger.

        Raises:
            PolicyRefused: if the server is not pinned.
            BadSignature: if the signature is not its own.
        """
        check_head(servers, self.server, self.signature, self.head, owner)


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """One run, as the server ledger records it.

    Attributes:
        keys: public keys of its groups, by name.
        seats: its groups by their seat in its plan; empty where a seat is not taken.
        last: the highest number of a round that the ledger names; 0 before the first.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)
    seats: tuple[str, ...] = ()
    last: int = 0


class ServerLedger:
    """A server's ledger, open and locked; made by `create` or `open`, closed by `with`.

    Args:
        store: the open file.
        identity: of the server.
        name: of the server in rosters.
        events: what the file holds.
    """

    def __init__(
        self, store: Store, identity: Identity, name: str, events: tuple[Event, ...]
    ) -> None:
        self._store = store
        self._identity = identity
        self._name = name
        self._hashes: list[str] = []
        self._runs: dict[str, RunHistory] = {}
        self._current = RunHistory()
        self._heads: dict[bytes, Head] = {}
        for event in events:
            self._apply(event)

    @classmethod
    def open(cls, path: Path, identity: Identity, *, name: str) -> Self:
        """Open a server ledger, having checked every line, or begin one where there is none.

        Raises:
            LedgerError: if it is open elsewhere, corrupt, or cannot be written.
        """
        if not path.exists():
            return cls(Store.create(path), identity, name, ())
        store = Store.open(path)
        try:
            data = store.read()
            server_ledger = cls(store, identity, name, read_server_ledger(data, identity.public))
            store.mend(data)
        except BaseException:
            store.close()
            raise
        return server_ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    @property
    def head(self) -> Head:
        """The last event."""
        return Head(seq=len(self._hashes), hash=self._hashes[-1]) if self._hashes else NOTHING

    def require(self, known: Head) -> None:
        """Check that the ledger holds a known head.

        Raises:
            LedgerRolledBack: if it has not: an older copy was put in its place.
        """
        require_at(self._hashes, known)

    def history(self, run: str) -> RunHistory:
        """A run, as far as the ledger records it.

        Raises:
            LedgerRefused: if the ledger has no such run.
        """
        if run not in self._runs:
            raise LedgerRefused(
                f"the server ledger has no run {run[:12]!r}; put back the newest copy"
            )
        return self._runs[run]

    def begin(
        self,
        run: str,
        plan: PrivacyPlan,
        *,
        groups: Mapping[str, bytes],
        model: str,
        secure: bool,
        pairs: bool = False,
        epsilons: Mapping[str, float],
    ) -> None:
        """Record the plan of a run before its first round.

        Args:
            run: its name.
            plan: its plan.
            groups: public keys by name, in the order of the plan; empty keys where none are known.
                Fewer than the plan has seats leave the last ones free, see `joined`.
            model: digest of the vector the run starts from.
            secure: whether vectors are summed under secure aggregation.
            pairs: whether nothing is summed, as groups meet in pairs.
            epsilons: of the plan, by accountant.
        """
        keys = {name: key.hex() for name, key in groups.items()}
        body = {"run": run, "plan": plan.as_dict(), "digest": plan.digest(), "model": model}
        free = [""] * (plan.groups - len(groups))
        named: dict[str, object] = {"groups": [*groups, *free], "keys": keys, "secure": secure}
        if pairs:
            named["pairs"] = True
        self._record("RUN", {**body, **named, "epsilons": dict(epsilons)})

    def joined(self, run: str, *, round: int, group: str, key: bytes, seat: int) -> None:
        """Record that a group takes a free seat of a run, before it is first asked for anything.

        Args:
            run: its name.
            round: the first that the group takes part in.
            group: its name.
            key: its public key, 32 bytes.
            seat: its index in the plan, from 0.

        Raises:
            LedgerRefused: if the ledger has no such run, the name or the seat is taken, the plan
                has no such seat, or the key is none.
        """
        seats = self.history(run).seats
        if len(key) != 32:
            raise LedgerRefused(f"the key of {group!r} has {len(key)} bytes; give one of 32")
        if not group or group in seats:
            raise LedgerRefused(f"group {group!r} has a seat in run {run[:12]}; it cannot join it")
        if not 0 <= seat < len(seats) or seats[seat]:
            raise LedgerRefused(
                f"seat = {seat} is taken, or is none of the plan's {len(seats)}; take a free one"
            )
        body = {"run": run, "round": round, "group": group, "key": key.hex(), "seat": seat}
        self._record("JOINED", body)

    def resumed(self, run: str, *, round: int, model: str) -> None:
        """Record that a run goes on after its server had stopped; rounds begun since are lost.

        Args:
            run: its name.
            round: the run goes on from the vector that this round left; 0 is the start.
            model: digest of that vector.

        Raises:
            LedgerRefused: if the ledger has no such run.
        """
        self.history(run)
        self._record("RESUMED", {"run": run, "round": round, "model": model})

    def saw(self, attempt: Attempt, adverts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Record the heads that advertisements name; return the advertisements that go on.

        A group whose ledger has gone back behind a head seen before is left out: it has lost
        spends, and must not spend again.

        Args:
            attempt: they are for.
            adverts: by group, checked by `privacy.secagg.server.accept_advert`, or those of
                meetings by `privacy.exchange.messages.accept_peer_advert`.
        """
        refused = {}
        for name, data in adverts.items():
            advert = read_advert(data)
            owner, shown = self._current.keys[name], advert_head(advert)
            known = self._heads.get(owner)
            if known and (shown.seq < known.seq or (shown.seq == known.seq and shown != known)):
                refused[name] = f"event {known.seq} was seen before, event {shown.seq} is shown"
        encoded = {name: base64.b64encode(data).decode("ascii") for name, data in adverts.items()}
        self._record("HEADS", {**asdict(attempt), "adverts": encoded, "refused": refused})
        return {name: data for name, data in adverts.items() if name not in refused}

    def countersigned(self, name: str) -> Countersigned | None:
        """The newest head seen of a group's ledger, signed; None before the first."""
        owner = self._current.keys[name]
        head = self._heads.get(owner, NOTHING)
        if head == NOTHING:
            return None
        signature = sign_head(self._identity, head, owner)
        return Countersigned(server=self._name, head=head, signature=signature)

    def round(self, evidence: Mapping[str, object], *, after: str) -> None:
        """Record a round that gave a sum, or in which groups met, and the server's vector after."""
        self._record("ROUND", {**evidence, "after": after})

    def lost(self, evidence: Mapping[str, object], *, reason: str) -> None:
        """Record a round that gave nothing."""
        self._record("LOST", {**evidence, "reason": reason})

    def published(self, run: str, *, model: str, files: Mapping[str, str]) -> None:
        """Record what a run has published.

        Args:
            run: its name.
            model: digest of the last vector of its rounds.
            files: SHA-256 by name, hexadecimal.
        """
        self._record("PUBLISHED", {"run": run, "model": model, "files": dict(files)})

    def _record(self, type: str, body: Mapping[str, object]) -> None:
        event = write_event(self._identity, self.head, type=type, dataset="", body=body)
        self._store.append(event.line())
        self._apply(event)

    def _apply(self, event: Event) -> None:
        self._hashes.append(event.hash)
        body, run = event.body, event.body["run"]
        if event.type == "RUN":
            keys = {name: bytes.fromhex(key) for name, key in body["keys"].items()}
            self._runs[run] = RunHistory(keys=keys, seats=tuple(body["groups"]))
        history = self._runs[run]
        if event.type == "JOINED":
            keys = {**history.keys, body["group"]: bytes.fromhex(body["key"])}
            seats = [*history.seats]
            seats[body["seat"]] = body["group"]
            history = replace(history, keys=keys, seats=tuple(seats))
        if event.type in ("HEADS", "ROUND", "LOST"):
            history = replace(history, last=max(history.last, body["round"]))
        # Events of one run follow each other, but for a run that goes on after another has begun.
        self._current = self._runs[run] = history
        if event.type == "HEADS":
            for name, data in body["adverts"].items():
                if name not in body["refused"]:
                    self._heads[history.keys[name]] = advert_head(
                        read_advert(base64.b64decode(data))
                    )
