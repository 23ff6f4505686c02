"""A client's side of exchanges between messages: its state, and the order of stages.

What is kept lies in the client's own state and never in a message. It is replaced *before* a reply
leaves: a round has one meeting, a meeting one delivery, and a key is forgotten with its meeting.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from clients.sessions.secagg_session import ServedRounds
from privacy.errors import Replayed
from privacy.exchange.messages import Meeting, Offered
from privacy.exchange.peer import Peer
from privacy.ledger.chain import NOTHING, Head
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt

_KEPT = "exchange"
_NOTHING = b"spent"
_OFFERED, _MET, _DONE, _SHOWN = "offered", "met", "done", "shown"


class ExchangeSession:
    """Drives one side of exchanges.

    Args:
        state: What this client keeps between messages.
        peer: Who it is.
        served: File that remembers over restarts which rounds have had a vector; None where there
            are no restarts.
    """

    def __init__(self, state: RecordDict, peer: Peer, served: Path | None = None) -> None:
        self._state = state
        self._peer = peer
        self._served = None if served is None else ServedRounds(served)

    @property
    def attempt(self) -> Attempt:
        """The round that this client has advertised for last.

        Raises:
            Replayed: There is none.
        """
        if (last := self._last()) is None:
            raise Replayed("this client has not advertised for any round yet")
        return last

    def offer(self, request: bytes, *, purpose: str, head: Head = NOTHING) -> bytes:
        """Advertise for a round; what was left of another is forgotten.

        Raises:
            Replayed: The round is not new, or has had a vector of this client.
        """
        if self._served is not None:
            self._served.require_new(AdvertiseRequest.decode(request).attempt)
        seen = (head.seq, bytes.fromhex(head.hash))
        advert, offered = self._peer.offer(request, purpose=purpose, last=self._last(), head=seen)
        self._keep(_OFFERED, offered.encode(), offered.attempt)
        return advert

    def meet(self, request: bytes, *, task: str, model: str) -> Meeting:
        """Agree on a meeting; whatever becomes of it, this round has no other."""
        meeting = self._peer.meet(self._offered(), request, task=task, model=model)
        self._keep(_DONE, _NOTHING)
        if self._served is not None:
            self._served.add(self.attempt)
        return meeting

    def seal(self, meeting: Meeting, vector: NDArray[np.float32]) -> bytes:
        """Encrypt what was trained for the partner, and wait for its vector."""
        message = self._peer.seal(meeting, vector)
        if not meeting.alone:
            self._keep(_MET, meeting.encode())
        return message

    def open(self, message: bytes, *, dimension: int) -> NDArray[np.float32]:
        """Take the partner's vector, once; what does not hold is as good as none."""
        if self._stage() != _MET:
            raise Replayed("no vector of a partner is awaited in this round, or it has come")
        meeting = Meeting.decode(self._secret())
        self._keep(_DONE, _NOTHING)
        return self._peer.open(meeting, message, dimension=dimension)

    def show(self, request: bytes, vector: NDArray[np.float32], *, model: str) -> tuple[bytes, ...]:
        """Encrypt a vector for readers, once a round and after the meeting."""
        if self._stage() not in (_MET, _DONE):
            raise Replayed("this client has not trained in this round, or has shown its vector")
        shown = self._peer.show(request, vector, attempt=self.attempt, model=model)
        # Whoever is asked to show has met, or will not.
        self._keep(_SHOWN, _NOTHING)
        return shown

    def read(self, message: bytes, *, dimension: int) -> NDArray[np.float32]:
        """Take what a group has shown this reader, once."""
        offered = self._offered()
        self._keep(_DONE, _NOTHING)
        return self._peer.read(offered, message, dimension=dimension)

    def end(self) -> None:
        """Forget the secrets of a round that will not take place."""
        if self._last() is not None:
            self._keep(_DONE, _NOTHING)

    def _offered(self) -> Offered:
        if self._stage() != _OFFERED:
            raise Replayed("this round was answered, or not advertised for: it is answered once")
        return Offered.decode(self._secret())

    def _stage(self) -> str:
        record = self._state.config_records.get(_KEPT)
        return "" if record is None else str(record["stage"])

    def _secret(self) -> bytes:
        secret = self._state.config_records[_KEPT]["secret"]
        return secret if isinstance(secret, bytes) else b""

    def _last(self) -> Attempt | None:
        record = self._state.config_records.get(_KEPT)
        if record is None:
            return None
        run, number, attempt = record["run"], record["round"], record["attempt"]
        return Attempt(run=str(run), round=int(str(number)), attempt=int(str(attempt)))

    def _keep(self, stage: str, secret: bytes, attempt: Attempt | None = None) -> None:
        known = vars(attempt or self.attempt)
        self._state[_KEPT] = ConfigRecord({**known, "stage": stage, "secret": secret})
