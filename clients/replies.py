"""Every field of every reply that leaves a client, with the reason that it may.

A handler replies through :func:`reply_to` alone, which refuses what is not listed here: a field
without a reason does not leave. Messages of the protocols are listed field by field too.

    python -m clients.replies docs/replies.md      writes the table of the documentation
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from atomic import write_atomically
from privacy.exchange.messages import PeerAdvert, Sealed, Shown
from privacy.secagg import encoding
from privacy.secagg.messages import Advert, Consistency, MaskedInput, Shares, Unmask

Record: TypeAlias = ArrayRecord | ConfigRecord | MetricRecord

_OF = "Names what it is about; the server has sent all that is hashed into it."
_SIGNED = "By the group's pinned key, so that nobody else can say it."
_HEAD = (
    "Of the group's ledger, for others to notice an old copy. How many events there are follows "
    "from runs, rounds and attempts, which the server knows, and never from who is in the data."
)

#: Fields of the messages that parts of replies are made of, with their reasons.
FIELDS: Mapping[type[encoding.Message], Mapping[str, str]] = {
    Advert: {
        "sender": "The group's name, which all members have pinned.",
        "cipher_key": "A fresh public key; drawn, and a function of nothing.",
        "mask_key": "A fresh public key; drawn, and a function of nothing.",
        "commitment": "Hash of a fresh secret; a function of nothing else.",
        "nonce": "Drawn; decides with all others' who is whose neighbour.",
        "head_seq": _HEAD,
        "head": _HEAD,
        "signature": _SIGNED,
    },
    Shares: {
        "context": _OF,
        "ciphertexts": "Shares of two fresh secrets, encrypted for one neighbour each.",
        "signature": _SIGNED,
    },
    MaskedInput: {
        "context": _OF,
        "vector": "The noised vector of a private step, or what was trained on noised counts, "
        "under masks, uniform to whoever lacks them; its length follows from plan and model.",
        "signature": _SIGNED,
    },
    Consistency: {
        "context": _OF,
        "survivors": "Hash of the list that the server has sent.",
        "signature": _SIGNED,
    },
    Unmask: {
        "context": _OF,
        "shares": "Of every neighbour one share of one of its two seeds: they open the sum and "
        "nothing below it.",
        "signature": _SIGNED,
    },
    PeerAdvert: {
        "sender": "The group's name, which all members have pinned.",
        "purpose": "What the key is for; the server has asked for it.",
        "key": "A fresh public key; drawn, and a function of nothing.",
        "head_seq": _HEAD,
        "head": _HEAD,
        "signature": _SIGNED,
    },
    Sealed: {
        "context": _OF,
        "ciphertext": "A vector that is private by itself, encrypted for one pinned partner; "
        "empty where there is none.",
    },
    Shown: {
        "model": "Digest of the vector that the run began from.",
        "advert": "A fresh public key of the group, signed; see the advertisement.",
        "ciphertext": "A vector that is private by itself, encrypted for one pinned reader.",
    },
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One field of a reply.

    Attributes:
        record: The record of the reply that holds it.
        key: Of the field in the record; empty where the record is one field.
        reason: That it may leave.
        message: The message that its bytes are, listed field by field in :data:`FIELDS`.
    """

    record: str
    key: str = ""
    reason: str
    message: type[encoding.Message] | None = None

    @property
    def name(self) -> str:
        """As in a message: ``record.key``."""
        return f"{self.record}.{self.key}".rstrip(".")


_ADVERT = Part(record="secagg", key="advertise", reason="Fresh keys for a round.", message=Advert)
_STAGES: Mapping[str, type[encoding.Message]] = {
    "share": Shares,
    "confirm": Consistency,
    "unmask": Unmask,
}
_SET_UP = {
    "group": "The name by which others have pinned the group; the policy states it.",
    "role": "Whether it trains or measures; the policy states it.",
    "units": "The public bound of the policy; in a simulation, whose data one party holds, the "
    "number itself. Only for the policy's own unit of privacy.",
    "questionnaire": "Digest of the file of questions and options, which is public; only where "
    "answers are to be counted.",
    "options": "How many options each of its questions has; the questionnaire is public.",
    "distributions": "Whether the group holds distributions of many; the questionnaire says so.",
    "identity": "The public key that others have pinned.",
    "code": "Digest of the code that runs, which the server must have sent itself.",
    "roster": "The public keys that the group has pinned: whom it would be in a sum with.",
    "proof": "A signature over the server's challenge and the rest of this reply.",
}

#: Why a figure of pairs may leave.
_OF_PAIRS = "On pairs that the policy calls public; surveys and choices have none."

#: The fields of the replies to every kind of message.
REPLIES: Mapping[str, tuple[Part, ...]] = {
    "query.setup": tuple(
        Part(record="setup", key=key, reason=reason) for key, reason in _SET_UP.items()
    ),
    "train": (
        Part(
            record="update",
            reason="Only where the run was set up without secure sums. In local mode the group's "
            "private mean, or what was trained on its noised counts; in distributed mode one share "
            "of noise, which protects nobody from the server, and the results say so; without "
            "privacy what was trained, with loss and weight.",
        ),
    ),
    "query.advertise": (_ADVERT,),
    **{
        f"query.{stage}": (
            Part(record="secagg", key=stage, reason="A stage of a secure sum.", message=message),
        )
        for stage, message in _STAGES.items()
    },
    "train.masked": (
        Part(
            record="masked",
            reason="All that leaves of a private step where vectors are summed securely.",
            message=MaskedInput,
        ),
    ),
    "query.close": (),
    "query.offer": (
        Part(
            record="exchange",
            key="offer",
            reason="A fresh key to meet or to read by.",
            message=PeerAdvert,
        ),
    ),
    "train.meet": (
        Part(record="sealed", reason="The group's model, for its partner alone.", message=Sealed),
    ),
    "query.mix": (
        Part(
            record="mixed",
            key="distance",
            reason="How far apart two vectors were that are private by themselves already.",
        ),
    ),
    "query.show": (
        Part(record="shown", reason="The group's model, for each reader alone.", message=Shown),
    ),
    "query.part": (),
    "evaluate": (
        Part(record="metrics", key="alignment", reason="On answers that the policy calls public."),
        Part(record="metrics", key="log_loss", reason="On answers that the policy calls public."),
        Part(record="metrics", key="targets", reason="A count of answers that are public."),
        Part(record="metrics", key="accuracy", reason=_OF_PAIRS),
        Part(record="metrics", key="margin", reason=_OF_PAIRS),
        Part(record="metrics", key="answers", reason="Of pairs, a count of answers, public too."),
        Part(record="metrics", key="public", reason="Says that they are: 1, or there is no reply."),
    ),
}
#: Stage 4 carries the advertisement for the next round along.
REPLIES = {**REPLIES, "query.unmask": (*REPLIES["query.unmask"], _ADVERT)}

#: What a reply holds in place of the above where a group refuses.
ERROR = (
    "The kind of the error; its text only where that quotes nothing but what the server itself has "
    "sent, or the public terms of the group's policy. Whatever the records are, they bring none "
    "about."
)


class UndeclaredReply(RuntimeError):
    """A handler would send a field that has no reason to leave; nothing was sent."""


def reply_to(message: Message, content: Mapping[str, Record]) -> Message:
    """Reply to a message, if every field of the reply is listed.

    Raises:
        UndeclaredReply: One is not.
    """
    kind = message.metadata.message_type
    listed = {part.name for part in REPLIES.get(kind, ())}
    if undeclared := set(names_in(content)) - listed:
        raise UndeclaredReply(f"{kind} would send {min(undeclared)}, which has no reason to leave")
    return Message(RecordDict(dict(content)), reply_to=message)


def names_in(content: Mapping[str, Record]) -> Iterator[str]:
    """The fields of a reply, as :attr:`Part.name` has them."""
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            yield name
        else:
            yield from (f"{name}.{key}" for key in record)


def markdown() -> str:
    """The page of the documentation."""
    rows = [
        "# What leaves a client",
        "",
        "Every field of every reply, and why it may leave. The client sends nothing else: a field",
        "that is not listed in `clients/replies.py`, of which this page is made, is refused.",
        "",
        "| message | field | why it may leave |",
        "|---|---|---|",
    ]
    for kind, parts in REPLIES.items():
        if not parts:
            rows.append(f"| `{kind}` | none | The reply is empty. |")
        for part in parts:
            of = f" Its message is `{part.message.__name__}`." if part.message else ""
            rows.append(f"| `{kind}` | `{part.name}` | {part.reason}{of} |")
    rows.append(f"| any | an error in place of the reply | {ERROR} |")
    rows += ["", "The messages that some of these fields are made of:", ""]
    rows += ["| message | field | why it may leave |", "|---|---|---|"]
    for message, reasons in FIELDS.items():
        for name, reason in reasons.items():
            rows.append(f"| `{message.__name__}` | `{name}` | {reason} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), markdown(), mode=0o644)
