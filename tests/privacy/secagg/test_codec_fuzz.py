"""100,000 mutated messages, through the codec and the state machines of both sides.

The mutations are of every message of a recorded round, with a fixed seed; every one differs from
the message it was made of.

What must hold, for every one of them:

- `decode` raises `MalformedMessage`, or gives a message that encodes to these very bytes;
- no state machine raises anything but a `SecaggAbort`;
- the server takes none, and ends the round afterwards with the exact sum;
- a member that answers one gives nothing that could be used in the recorded round: its advert is
  refused by the server of that round, its shares and signatures are bound to another context, and
  its vector and its set of survivors are never sent or signed, nor its shares given, at all.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privacy.errors import MalformedMessage, SecaggAbort
from privacy.secagg.encoding import Message
from privacy.secagg.messages import (
    Advert,
    AdvertiseRequest,
    Consistency,
    ConsistencyRequest,
    MaskedInput,
    MaskRequest,
    ShareRequest,
    Shares,
    Unmask,
    UnmaskRequest,
)
from privacy.secagg.server import accept_advert

STAGES = ("advertise", "share", "mask", "confirm", "unmask")
REQUESTS = (AdvertiseRequest, ShareRequest, MaskRequest, ConsistencyRequest, UnmaskRequest)
ANSWERS = (Advert, Shares, MaskedInput, Consistency, Unmask)
MUTATIONS = 100_000
MEMBERS = 4


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Flip, insert, remove, repeat, cut, splice, or write an extreme number; never the same."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, end = sorted(rng.randrange(len(changed) + 1) for _ in range(2))
        match rng.randrange(9):
            case 0 | 1:
                if at < len(changed):
                    changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                del changed[at : at + rng.randrange(1, 9)]
            case 4:
                changed[end:end] = changed[at:end]
            case 5:
                del changed[at:]
            case 6:
                other = rng.choice(others)
                changed[at:] = other[at:]
            case 7:
                value = rng.choice((0, 1, 2**16, 2**31, 2**32 - 1))
                changed[at : at + 4] = value.to_bytes(4, "big")
            case 8:
                swapped = changed[at : at + 4]
                changed[at : at + 4] = changed[end : end + 4]
                changed[end : end + 4] = swapped
    return bytes(changed) if bytes(changed) != data else mutated(data, others, rng)


class Recorded:
    """A round that is stopped before every message, to try others in its place."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self.requests: dict[str, bytes] = {}
        self.answers: dict[str, bytes] = {}
        self.states: dict[str, tuple[bytes, Any]] = {}

    def play(self, at: Callable[[str, Any], None]) -> tuple[Any, Any]:
        """Play the round; at every stage the first member's answer waits until `at` returns."""
        group, name = self.group, self.group.names[0]
        ask = type(group).ask

        def asked(who: str, stage: str, request: bytes) -> bytes:
            if who == name:
                party = group.parties[who]
                self.requests[stage] = request
                self.states[stage] = party.state, party.last
                self.answers[stage] = ask(group, who, stage, request)
                following = party.state, party.last
                at(stage, self.server)
                party.state, party.last = following
                return self.answers[stage]
            return ask(group, who, stage, request)

        self.server: Any = None
        group.ask = asked
        self.server = group.begin()
        group.until_unmask(self.server)
        return self.server, self.server.total()


@pytest.fixture(scope="module")
def samples(federation: Any) -> dict[str, list[bytes]]:
    """Messages of every kind and of several members and rounds, to splice from."""
    group = federation(MEMBERS, survivors=MEMBERS)
    group.run()
    group.run()
    found: dict[str, list[bytes]] = {"all": []}
    for side in (group.sent, group.received):
        found["all"].extend(message for _, _, message in side)
    return found


def check_codec(kind: type[Message], data: bytes) -> None:
    try:
        assert kind.decode(data).encode() == data
    except MalformedMessage:
        return


def test_mutated_messages_crash_nothing_and_change_nothing(
    federation: Any, samples: dict[str, list[bytes]]
) -> None:
    """100,000 mutated messages, 10,000 of each of the ten kinds: all through codec and machines."""
    rng = random.Random(20261125)
    each = MUTATIONS // 10
    group = federation(MEMBERS, survivors=MEMBERS)
    name = group.names[0]
    recorded = Recorded(group)
    counts = {"tried": 0, "answered": 0, "refused": 0}

    def at(stage: str, server: Any) -> None:
        index = STAGES.index(stage)
        party, kept = group.parties[name], recorded.states[stage]
        take = {
            "share": "take_shares",
            "mask": "take_masked",
            "confirm": "take_consistency",
            "unmask": "take_unmask",
        }.get(stage)
        context = b"" if server is None else server.agreement.context
        for _ in range(each):
            data = mutated(recorded.answers[stage], samples["all"], rng)
            check_codec(ANSWERS[index], data)
            with pytest.raises(SecaggAbort):
                if take is None:
                    accept_advert(name, data, attempt=group.attempt, roster=group.roster)
                else:
                    getattr(server, take)(name, data)
            data = mutated(recorded.requests[stage], samples["all"], rng)
            check_codec(REQUESTS[index], data)
            party.state, party.last = kept
            counts["tried"] += 2
            try:
                answer = party.answer(stage, data)
            except SecaggAbort:
                counts["refused"] += 1
                continue
            counts["answered"] += 1
            if stage == "advertise":
                with pytest.raises(SecaggAbort):
                    accept_advert(name, answer, attempt=group.attempt, roster=group.roster)
            else:
                assert stage == "share"
                assert Shares.decode(answer).context != context

    server, (total, bad) = recorded.play(at)
    assert counts["tried"] == MUTATIONS
    assert counts["answered"] + counts["refused"] == MUTATIONS // 2
    assert bad == () and server.survivors == group.names
    assert np.array_equal(total, group.exact(group.names))
    print(counts)
