"""The book of a server: what it was shown of every ledger, and what it made of every round.

The same chain of signed lines as a group's ledger. It proves nothing by itself, since its owner
could write anything; held against the ledgers of the groups it shows what either side has left
out. Whole advertisements are kept: each holds the head of a group's ledger under that group's
signature, and every group's spend names a digest of all of them, so that a group and a server who
rewrite history together contradict the ledgers of all others.

| type | body |
|---|---|
| RUN | run, plan, groups and their keys, model at the start, whether sums are secure |
| HEADS | run, round, attempt, advertisements by group (base64), refused groups with the reason |
| ROUND | run, round, attempt, ctx, terms (as they were sent), survivors, digests of vectors, model before and after |
| LOST | run, round, the reason, and what is known of the above |
| PUBLISHED | run, last model, digests of published files |
"""  # noqa: E501

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from privacy.canonical import canonical_json
from privacy.errors import MalformedMessage
from privacy.ledger.chain import (
    NOTHING,
    SERVER_TYPES,
    Event,
    Head,
    check_head,
    read_events,
    sign_head,
    write_event,
)
from privacy.ledger.store import Store, whole_lines
from privacy.plan import PrivacyPlan
from privacy.secagg.keys import Identity, Roster
from privacy.secagg.messages import Advert
from privacy.secagg.terms import Attempt


def advert_head(advert: Advert) -> Head:
    """The head of a ledger that an advertisement names."""
    return Head(seq=advert.head_seq, hash=advert.head.hex())


def read_book(data: bytes, server: bytes) -> tuple[Event, ...]:
    """Read the book of a server and check form, chain and signatures, and no meaning.

    Args:
        data: the file; a torn last line is left out.
        server: its public key, 32 bytes.

    Raises:
        LedgerCorrupt: for the first line that its owner has not written there.
    """
    return read_events(whole_lines(data), server, types=SERVER_TYPES)


@dataclass(frozen=True, kw_only=True)
class Countersigned:
    """A server's word that it has seen a head.

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
        words = {"server": self.server, "seq": self.head.seq, "hash": self.head.hash}
        return canonical_json({**words, "signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            MalformedMessage: for any other bytes.
        """
        try:
            words: dict[str, Any] = json.loads(data)
            head = Head(seq=words["seq"], hash=words["hash"])
            signature = bytes.fromhex(words["signature"])
            read = cls(server=words["server"], head=head, signature=signature)
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


class ServerBook:
    """A server's book, open and locked; made by `create` or `open`, closed by `with`.

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
        self._head = NOTHING
        self._keys: dict[str, bytes] = {}
        self._heads: dict[bytes, Head] = {}
        for event in events:
            self._take_in(event)

    @classmethod
    def open(cls, path: Path, identity: Identity, *, name: str) -> Self:
        """Open a book, having checked every line, or begin one where there is none.

        Raises:
            LedgerError: if it is open elsewhere, corrupt, or cannot be written.
        """
        if not path.exists():
            return cls(Store.create(path), identity, name, ())
        store = Store.open(path)
        try:
            data = store.read()
            book = cls(store, identity, name, read_book(data, identity.public))
            store.mend(data)
        except BaseException:
            store.close()
            raise
        return book

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    @property
    def head(self) -> Head:
        """The last event."""
        return self._head

    def begin(
        self,
        run: str,
        plan: PrivacyPlan,
        *,
        groups: Mapping[str, bytes],
        model: str,
        secure: bool,
        epsilons: Mapping[str, float],
    ) -> None:
        """Record the plan of a run before its first round.

        Args:
            run: its name.
            plan: its plan.
            groups: public keys by name, in the order of the plan; empty keys where none are known.
            model: digest of the vector the run starts from.
            secure: whether vectors are summed under secure aggregation.
            epsilons: what each accountant said of the plan.
        """
        keys = {name: key.hex() for name, key in groups.items()}
        body = {"run": run, "plan": plan.as_dict(), "digest": plan.digest(), "model": model}
        named = {"groups": list(groups), "keys": keys, "secure": secure}
        self._record("RUN", {**body, **named, "epsilons": dict(epsilons)})

    def saw(self, attempt: Attempt, adverts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Record the heads that advertisements name; the advertisements that go on.

        A group whose ledger has gone back behind a head seen before is left out: it has lost
        spends, and must not spend again.

        Args:
            attempt: they are for.
            adverts: by group, checked by `privacy.secagg.server.accept_advert`.
        """
        refused = {}
        for name, data in adverts.items():
            advert = Advert.decode(data)
            owner, told = self._keys[name], advert_head(advert)
            known = self._heads.get(owner)
            if known and (told.seq < known.seq or (told.seq == known.seq and told != known)):
                refused[name] = f"event {known.seq} was seen before, event {told.seq} is shown"
        body = {"run": attempt.run, "round": attempt.round, "attempt": attempt.attempt}
        encoded = {name: base64.b64encode(data).decode("ascii") for name, data in adverts.items()}
        self._record("HEADS", {**body, "adverts": encoded, "refused": refused})
        return {name: data for name, data in adverts.items() if name not in refused}

    def countersigned(self, name: str) -> Countersigned | None:
        """The newest head seen of a group's ledger, signed; None before the first."""
        owner = self._keys[name]
        head = self._heads.get(owner, NOTHING)
        if head == NOTHING:
            return None
        signature = sign_head(self._identity, head, owner)
        return Countersigned(server=self._name, head=head, signature=signature)

    def round(self, evidence: Mapping[str, object], *, after: str) -> None:
        """Record a round that gave a sum, and the digest of the vector that came of it."""
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
        self._take_in(event)

    def _take_in(self, event: Event) -> None:
        self._head = event.head
        if event.type == "RUN":
            self._keys = {name: bytes.fromhex(key) for name, key in event.body["keys"].items()}
        if event.type == "HEADS":
            for name, data in event.body["adverts"].items():
                if name not in event.body["refused"]:
                    self._heads[self._keys[name]] = advert_head(
                        Advert.decode(base64.b64decode(data))
                    )
