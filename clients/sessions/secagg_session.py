"""A client's side of secure aggregation between messages: its state, and the order of stages.

What is kept lies in the client's own state and never in a message. It is replaced *before* a reply
leaves, so a stage is answered once, and an unmasked attempt leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from flwr.app import ConfigRecord, RecordDict

from atomic import write_atomically
from clients.task import RoundTask
from privacy.accounting.choices import Mode
from privacy.errors import PolicyRefused, Replayed
from privacy.kernel.quantisation import fraction_bits, sum_bits
from privacy.kernel.types import Noised, Quantised
from privacy.ledger.chain import NOTHING, Head
from privacy.secagg.client import Member, Opened, OwnTerms
from privacy.secagg.encoding import Message
from privacy.secagg.messages import Advertised, Confirmed, Masking, Shared, ShareRequest
from privacy.secagg.round_terms import FEWEST_MEMBERS, Attempt, RoundTerms, VectorTerms

_KEPT, _SUMS = "secagg", "opened"
_State = TypeVar("_State", bound=Message)
_Value = TypeVar("_Value", int, str)


class Session:
    """Drives one member through its stages.

    Args:
        state: What this client keeps between messages.
        member: Who it is.
        served: File that remembers over restarts which rounds have had a vector, as the state does
            not; None where there are no restarts.
    """

    def __init__(self, state: RecordDict, member: Member, served: Path | None = None) -> None:
        self._state = state
        self._member = member
        self._served = None if served is None else ServedRounds(served)

    def advertise(self, request: bytes, head: Head = NOTHING) -> bytes:
        """Stage 0: begin an attempt; what was left of another is forgotten.

        Args:
            request: Of the server.
            head: Of the group's budget ledger, for all others to see.

        Raises:
            Replayed: The attempt is not new, or this round has had a vector of this client: a
                second one, in another cohort, would tell it from the rest where there is no noise.
        """
        last = self._last()
        seen = (head.seq, bytes.fromhex(head.hash))
        message, kept = self._member.advertise(request, last=last, head=seen)
        again = last is not None and (last.run, last.round) == (
            kept.attempt.run,
            kept.attempt.round,
        )
        if again and self._stage() not in ("advertised", "shared"):
            raise Replayed(
                f"round {kept.attempt.round} has had this client's vector; ask for the next"
            )
        if self._served is not None:
            self._served.require_new(kept.attempt)
        self._keep("advertised", kept, kept.attempt)
        return message

    def share(self, request: bytes, insisted: OwnTerms) -> bytes:
        """Stage 1: agree to the terms of a round, if they are those insisted on."""
        kept = self._kept("advertised", Advertised)
        message, following = self._member.share(kept, request, insisted)
        self._keep("shared", following)
        return message

    def mask(self, request: bytes, train: Callable[[Opened], Noised | Quantised]) -> bytes:
        """Stage 2: check the request, train, and hide what came of it.

        Args:
            request: Of the server.
            train: Called once everything is checked; charges, trains and returns the vector.
        """
        opened = self._member.open(self._kept("shared", Shared), request)
        # Whatever becomes of the training: this attempt is not begun again.
        self._forget()
        if self._served is not None:
            self._served.add(opened.agreement.terms.attempt)
        message, following = self._member.mask(opened, train(opened))
        self._keep("masking", following)
        return message

    def confirm(self, request: bytes) -> bytes:
        """Stage 3: sign the survivors."""
        kept = self._kept("masking", Masking)
        message, following = self._member.confirm(kept, request)
        self._keep("confirmed", following)
        return message

    def unmask(self, request: bytes) -> bytes:
        """Stage 4: give shares, once.

        Raises:
            Replayed: There is no noise in the sum, and this member has opened one of the same model
                over other members: the difference of the two would be what single members sent.
        """
        kept = self._kept("confirmed", Confirmed)
        self._forget()
        message = self._member.unmask(kept, request)
        masking = Masking.decode(kept.masking)
        terms = RoundTerms.decode(masking.terms)
        if not terms.vector.plan:
            names = [terms.members[index] for index in kept.survivors]
            self._sums().open(terms.model, names)
        return message

    def end(self) -> None:
        """Forget the secrets of an attempt that will not take place."""
        self._forget()

    def _sums(self) -> OpenedSums:
        """The sums without noise that this member has opened."""
        return OpenedSums(self._state, None if self._served is None else self._served.sums)

    def _stage(self) -> str:
        return str(self._state.config_records[_KEPT]["stage"])

    def _last(self) -> Attempt | None:
        record = self._state.config_records.get(_KEPT)
        if record is None:
            return None
        return Attempt(
            run=str(record["run"]),
            round=int(str(record["round"])),
            attempt=int(str(record["attempt"])),
        )

    def _kept(self, stage: str, kind: type[_State]) -> _State:
        record = self._state.config_records.get(_KEPT)
        if record is None or record["stage"] != stage:
            raise Replayed(f"this stage follows on {stage!r} and is answered once")
        secret = record["secret"]
        return kind.decode(secret if isinstance(secret, bytes) else b"")

    def _keep(self, stage: str, kept: Message, attempt: Attempt | None = None) -> None:
        known = asdict(attempt or self._last() or Attempt(run="", round=0))
        self._state[_KEPT] = ConfigRecord({**known, "stage": stage, "secret": kept.encode()})

    def _forget(self) -> None:
        known = asdict(self._last() or Attempt(run="", round=0))
        self._state[_KEPT] = ConfigRecord({**known, "stage": "spent", "secret": b"spent"})


class ServedRounds:
    """The last round of every run that has had this client's vector, on disk before it leaves.

    Args:
        path: Of the file; one that is missing has served none.

    Attributes:
        sums: File beside it, for :class:`OpenedSums`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sums = path.with_name(f"{path.stem}-sums{path.suffix}")

    def require_new(self, attempt: Attempt) -> None:
        """Refuse a round that is not after the last one that was served.

        Raises:
            Replayed: It is not.
        """
        last = self._read().get(attempt.run, 0)
        if attempt.round <= last:
            raise Replayed(
                f"round {attempt.round} has had this client's vector, or a later one has: ask for "
                f"round {last + 1}"
            )

    def add(self, attempt: Attempt) -> None:
        """Remember a round; what it gives must not leave if this raises."""
        self.require_new(attempt)
        served = {**self._read(), attempt.run: attempt.round}
        write_atomically(self._path, json.dumps(served), durable=True)

    def _read(self) -> dict[str, int]:
        return _remembered(self._path, int)


class OpenedSums:
    """The sums without noise that a member has helped to open: of each model over one cohort only.

    Two of them that start from one model and differ by a member differ by what that member sent. A
    round that is repeated over the very same members, as after a restart, tells nothing new.

    Args:
        state: What this client keeps between messages.
        path: File that remembers over restarts; None where there are none.
    """

    def __init__(self, state: RecordDict, path: Path | None) -> None:
        self._state = state
        self._path = path

    def open(self, model: str, members: Sequence[str]) -> None:
        """Remember a sum; no share of it must leave if this raises.

        Args:
            model: Digest of the vector that its members began from.
            members: Whose vectors are in it.

        Raises:
            Replayed: One of this model was opened over others.
        """
        cohort = hashlib.sha256(json.dumps(sorted(members)).encode()).hexdigest()
        opened = self._read()
        if opened.get(model, cohort) != cohort:
            raise Replayed(
                "this client has opened a sum of this model over other members, and without noise "
                "the two would differ by what single members sent: begin from another model"
            )
        opened[model] = cohort
        self._state[_SUMS] = ConfigRecord(dict(opened))
        if self._path is not None:
            write_atomically(self._path, json.dumps(opened), durable=True)

    def _read(self) -> dict[str, str]:
        record = self._state.config_records.get(_SUMS)
        opened = {model: str(cohort) for model, cohort in (record or {}).items()}
        return opened if self._path is None else {**opened, **_remembered(self._path, str)}


def _remembered(path: Path, kind: Callable[[Any], _Value]) -> dict[str, _Value]:
    """What a file of this client remembers, by name; nothing where there is none yet.

    Raises:
        PolicyRefused: It is damaged.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): kind(value) for name, value in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PolicyRefused(
            f"{path.name} of this client is damaged: its owner must look at it"
        ) from error


def terms_in(request: bytes) -> RoundTerms:
    """The terms that a share request proposes; they protect somebody, and are not yet agreed to.

    Raises:
        SecaggAbort: They protect nobody, or are no terms.
    """
    terms = RoundTerms.decode(ShareRequest.decode(request).terms)
    terms.check()
    return terms


def insisted_on(task: RoundTask, terms: RoundTerms, *, fewest_members: int) -> OwnTerms:
    """The terms this client insists on: those of what it would send if it did what it is asked.

    Where nothing tells the number of coordinates beforehand it is taken from the terms, and
    compared with the vector once there is one.

    Args:
        task: What this client is asked to do.
        terms: What the server proposes.
        fewest_members: Below so many this client stays away.

    Raises:
        PolicyRefused: The terms are of another run or round than the task.
    """
    members = len(terms.members)
    vector = VectorTerms(dimension=terms.vector.dimension, fraction_bits=fraction_bits(members))
    if task.compression is not None:
        bits = sum_bits(task.compression.limit, members=members)
        vector = replace(vector, modulus_bits=bits, fraction_bits=0)
    if (terms.attempt.run, terms.attempt.round) != (task.run, task.round):
        raise PolicyRefused("the terms are of another run or round than the plan: nothing is sent")
    if task.private is not None:
        plan = task.private.plan
        if plan.mode is Mode.DISTRIBUTED:
            vector = VectorTerms.of_plan(plan)
        elif plan.counts is not None:
            vector = replace(vector, plan=plan.digest())
        else:
            vector = replace(vector, dimension=plan.dimension + 1, plan=plan.digest())
    fewest = max(FEWEST_MEMBERS, fewest_members)
    return OwnTerms(vector=vector, task=task.digest, fewest_members=fewest)
