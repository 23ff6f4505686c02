"""The server ledger of a run: evidence that the server keeps, and signs for the groups.

The ledger (``privacy.ledger.server_ledger``) holds the head of every group's ledger as the group
showed it, what each round agreed on, whose vectors came, and which model came of it. A reviewer
compares it with the ledgers of the groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from privacy.ledger.chain import NOTHING, Head
from privacy.ledger.server_ledger import ServerLedger
from privacy.secagg.round_terms import Attempt

Evidence = Mapping[str, object]


class Witness:
    """Keeps the evidence that a reviewer asks for: this one nothing, as runs that protect nobody.

    Attributes:
        signs: Whether heads of ledgers are signed at all.
    """

    signs = False

    def joined(self, *, round: int, group: str, key: bytes, seat: int) -> None:
        """Keep that a group takes a free seat of the run, before it is asked for anything.

        Args:
            round: The first that it takes part in.
            group: Its name.
            key: Its public key.
            seat: Its group index in the plan, from 0.
        """

    @property
    def head(self) -> Head:
        """Of what is kept."""
        return NOTHING

    def known(self, group: str) -> dict[str, bytes]:
        """The part of a request that reminds a group of the head last seen of its ledger."""
        return {}

    def saw(self, attempt: Attempt, adverts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Keep the heads that advertisements name; the advertisements that go on."""
        return dict(adverts)

    def countersigned(self, group: str) -> dict[str, bytes]:
        """The part of a request that signs the head just seen."""
        return {}

    def round(self, evidence: Evidence, *, after: str) -> None:
        """Keep a round that gave a sum, and the digest of the vector that came of it."""

    def lost(self, evidence: Evidence, *, reason: str) -> None:
        """Keep a round that gave nothing."""

    def published(self, out: Path, files: tuple[str, ...], *, model: str) -> None:
        """Keep the digests of what a run has left for all to read."""


class LedgerWitness(Witness):
    """Keeps a server ledger.

    Args:
        server_ledger: Open, with its run begun.
        run: Name of the run.
    """

    signs = True

    def __init__(self, server_ledger: ServerLedger, run: str) -> None:
        self._server_ledger = server_ledger
        self._run = run

    def joined(self, *, round: int, group: str, key: bytes, seat: int) -> None:
        """See :class:`Witness`."""
        self._server_ledger.joined(self._run, round=round, group=group, key=key, seat=seat)

    @property
    def head(self) -> Head:
        """Of the server ledger."""
        return self._server_ledger.head

    def known(self, group: str) -> dict[str, bytes]:
        """See :class:`Witness`."""
        return self._signed("known", group)

    def saw(self, attempt: Attempt, adverts: Mapping[str, bytes]) -> dict[str, bytes]:
        """See :class:`Witness`."""
        return self._server_ledger.saw(attempt, adverts)

    def countersigned(self, group: str) -> dict[str, bytes]:
        """See :class:`Witness`."""
        return self._signed("countersigned", group)

    def round(self, evidence: Evidence, *, after: str) -> None:
        """See :class:`Witness`."""
        self._server_ledger.round({"run": self._run, **evidence}, after=after)

    def lost(self, evidence: Evidence, *, reason: str) -> None:
        """See :class:`Witness`."""
        self._server_ledger.lost({"run": self._run, **evidence}, reason=reason)

    def published(self, out: Path, files: tuple[str, ...], *, model: str) -> None:
        """See :class:`Witness`."""
        digests = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files}
        self._server_ledger.published(self._run, model=model, files=digests)

    def _signed(self, part: str, group: str) -> dict[str, bytes]:
        signed = self._server_ledger.countersigned(group)
        return {} if signed is None else {part: signed.encode()}
