"""Exchanges between two members, and a server that swaps, forges, replays and opens."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from privacy.errors import (
    BadCiphertext,
    BadSignature,
    DuplicateKey,
    MalformedMessage,
    PolicyRefused,
    Replayed,
)
from privacy.exchange.messages import (
    MEET,
    SHOW,
    Meeting,
    MeetRequest,
    Offered,
    PeerAdvert,
    Sealed,
    Shown,
    ShowRequest,
    accept_peer_advert,
)
from privacy.exchange.peer import Peer
from privacy.identity.keys import Identity, Roster, public_of
from privacy.kernel.randomness import SystemRandomStream
from privacy.secagg.encoding import Message
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt

NAMES = ("Ann", "Bob", "Cat", "Reader", "Second reader")
IDENTITIES = {name: Identity.create() for name in NAMES}
ROSTER = Roster({name: IDENTITIES[name].public for name in NAMES[:3]})
READERS = Roster({name: IDENTITIES[name].public for name in NAMES[3:]})
ROUND = Attempt(run="run", round=3)
TASK = "a task"
MODEL = sha256(b"start").hexdigest()
D = 50


def peer(name: str, members: Roster = ROSTER, readers: Roster = READERS) -> Peer:
    return Peer(
        name=name,
        identity=IDENTITIES[name],
        members=members,
        readers=readers,
        source=SystemRandomStream(),
    )


def offered(name: str, attempt: Attempt = ROUND, purpose: str = MEET) -> Offered:
    return peer(name).offer(AdvertiseRequest(attempt).encode(), purpose=purpose, last=None)[1]


def asked(*offers: Offered, attempt: Attempt = ROUND, model: str = MODEL) -> bytes:
    adverts = sorted((o.advert for o in offers), key=lambda data: PeerAdvert.decode(data).sender)
    return MeetRequest(attempt, bytes.fromhex(model), tuple(adverts)).encode()


def met(one: str, other: str) -> tuple[Meeting, Meeting]:
    a, b = offered(one), offered(other)
    request = asked(a, b)
    return (
        peer(one).meet(a, request, task=TASK, model=MODEL),
        peer(other).meet(b, request, task=TASK, model=MODEL),
    )


def vector(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=D).astype(np.float32)


class TestMeeting:
    def test_each_reads_what_the_other_has_sealed_and_nobody_else_does(self) -> None:
        ann, bob = met("Ann", "Bob")
        assert ann.context == bob.context
        for one, other, seed in (("Ann", "Bob", 1), ("Bob", "Ann", 2)):
            sender, receiver = (ann, bob) if one == "Ann" else (bob, ann)
            sealed = peer(one).seal(sender, vector(seed))
            read = peer(other).open(receiver, sealed, dimension=D)
            assert read.tobytes() == vector(seed).tobytes()
            assert vector(seed).tobytes() not in sealed
            with pytest.raises(BadCiphertext):
                # Not even who has sealed it, as the directions have keys of their own.
                peer(one).open(sender, sealed, dimension=D)

    def test_a_ciphertext_of_another_meeting_is_refused(self) -> None:
        ann, _ = met("Ann", "Bob")
        _, cat = met("Ann", "Cat")
        swapped = peer("Ann").seal(ann, vector())
        with pytest.raises(Replayed):
            peer("Cat").open(cat, swapped, dimension=D)
        relabelled = replace(Sealed.decode(swapped), context=cat.context).encode()
        with pytest.raises(BadCiphertext):
            peer("Cat").open(cat, relabelled, dimension=D)

    def test_a_ciphertext_of_another_round_is_refused(self) -> None:
        earlier = Attempt(run="run", round=2)
        a, b = offered("Ann", earlier), offered("Bob", earlier)
        before = peer("Ann").meet(a, asked(a, b, attempt=earlier), task=TASK, model=MODEL)
        ann, bob = met("Ann", "Bob")
        sealed = Sealed.decode(peer("Ann").seal(before, vector()))
        with pytest.raises(Replayed):
            peer("Bob").open(bob, sealed.encode(), dimension=D)
        old = replace(sealed, context=ann.context).encode()
        with pytest.raises(BadCiphertext):
            peer("Bob").open(bob, old, dimension=D)

    def test_every_byte_of_a_ciphertext_counts(self) -> None:
        ann, bob = met("Ann", "Bob")
        sealed = bytearray(peer("Ann").seal(ann, vector()))
        for at in (40, 50, 60, len(sealed) - 1):
            sealed[at] ^= 1
            with pytest.raises((BadCiphertext, Replayed, MalformedMessage)):
                peer("Bob").open(bob, bytes(sealed), dimension=D)
            sealed[at] ^= 1
        peer("Bob").open(bob, bytes(sealed), dimension=D)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_numbers_that_are_none_are_refused(self, bad: float) -> None:
        ann, bob = met("Ann", "Bob")
        sent = vector()
        sent[7] = bad
        with pytest.raises(BadCiphertext, match="not finite"):
            peer("Bob").open(bob, peer("Ann").seal(ann, sent), dimension=D)

    def test_another_number_of_coordinates_is_refused(self) -> None:
        ann, bob = met("Ann", "Bob")
        with pytest.raises(BadCiphertext, match=r"200 bytes, 204 needed"):
            peer("Bob").open(bob, peer("Ann").seal(ann, vector()), dimension=D + 1)

    def test_alone_nothing_is_encrypted_and_nothing_taken(self) -> None:
        own = offered("Ann")
        alone = peer("Ann").meet(own, asked(own), task=TASK, model=MODEL)
        assert alone.alone
        sealed = peer("Ann").seal(alone, vector())
        assert Sealed.decode(sealed).ciphertext == b""
        with pytest.raises(Replayed):
            peer("Ann").open(alone, sealed, dimension=D)

    def test_who_was_told_of_another_task_or_model_cannot_read(self) -> None:
        a, b = offered("Ann"), offered("Bob")
        other = sha256(b"another start").hexdigest()
        ann = peer("Ann").meet(a, asked(a, b), task=TASK, model=MODEL)
        for task, model in (("another", MODEL), (TASK, other)):
            request = asked(a, b, model=model)
            bob = peer("Bob").meet(b, request, task=task, model=model)
            sealed = Sealed(bob.context, Sealed.decode(peer("Ann").seal(ann, vector())).ciphertext)
            with pytest.raises(BadCiphertext):
                peer("Bob").open(bob, sealed.encode(), dimension=D)


class TestWhoIsMet:
    def meet(self, *others: Offered, own: Offered, **changes: str) -> Meeting:
        request = asked(own, *others)
        return peer("Ann").meet(own, request, **{"task": TASK, "model": MODEL, **changes})

    def test_an_advertisement_signed_by_nobody_of_that_name_is_refused(self) -> None:
        real = PeerAdvert.decode(offered("Bob").advert)
        key = public_of(bytes(range(32)))
        forged = replace(real, key=key)
        own = offered("Ann")
        with pytest.raises(BadSignature):
            self.meet(Offered(ROUND, bytes(32), forged.encode()), own=own)
        by_cat = replace(forged, signature=bytes(64))
        signed = replace(
            by_cat,
            signature=IDENTITIES["Cat"].sign("peer advert", ROUND.context(), by_cat.payload()),
        )
        with pytest.raises(BadSignature):
            self.meet(Offered(ROUND, bytes(32), signed.encode()), own=own)

    def test_a_group_that_is_not_pinned_is_refused(self) -> None:
        own, bob = offered("Ann"), offered("Bob")
        stranger = peer("Ann", Roster({"Ann": ROSTER["Ann"]}))
        with pytest.raises(PolicyRefused, match="not in the roster"):
            stranger.meet(own, asked(own, bob), task=TASK, model=MODEL)

    @pytest.mark.parametrize(
        "attempt",
        [
            Attempt(run="run", round=2),
            Attempt(run="another", round=3),
            Attempt(run="run", round=3, attempt=2),
        ],
    )
    def test_an_advertisement_of_another_round_or_run_is_refused(self, attempt: Attempt) -> None:
        with pytest.raises(BadSignature):
            self.meet(offered("Bob", attempt), own=offered("Ann"))

    def test_a_meeting_of_another_round_is_refused(self) -> None:
        own, later = offered("Ann"), Attempt(run="run", round=4)
        with pytest.raises(Replayed):
            peer("Ann").meet(own, asked(own, attempt=later), task=TASK, model=MODEL)

    def test_a_group_does_not_meet_itself(self) -> None:
        own, again = offered("Ann"), offered("Ann")
        for other in (own, again):
            with pytest.raises(PolicyRefused, match="meet itself"):
                self.meet(other, own=own)

    def test_its_own_key_under_another_name_is_refused(self) -> None:
        own = offered("Ann")
        mine = PeerAdvert.decode(own.advert)
        twin = replace(PeerAdvert.decode(offered("Bob").advert), key=mine.key)
        with pytest.raises(DuplicateKey):
            self.meet(Offered(ROUND, bytes(32), twin.encode()), own=own)

    def test_a_key_that_hides_nothing_is_refused(self) -> None:
        weak = replace(PeerAdvert.decode(offered("Bob").advert), key=bytes(32))
        signature = IDENTITIES["Bob"].sign("peer advert", ROUND.context(), weak.payload())
        weak = replace(weak, signature=signature)
        with pytest.raises(DuplicateKey, match="low order"):
            self.meet(Offered(ROUND, bytes(32), weak.encode()), own=offered("Ann"))

    def test_the_own_advertisement_must_be_the_one_that_was_sent(self) -> None:
        own, forgotten, bob = offered("Ann"), offered("Ann"), offered("Bob")
        with pytest.raises(Replayed):
            peer("Ann").meet(own, asked(forgotten, bob), task=TASK, model=MODEL)

    def test_a_reader_is_no_partner(self) -> None:
        with pytest.raises(PolicyRefused, match="advertised to show"):
            self.meet(offered("Reader", purpose=SHOW), own=offered("Ann"))

    def test_more_than_two_do_not_meet(self) -> None:
        with pytest.raises(Replayed):
            self.meet(offered("Bob"), offered("Cat"), own=offered("Ann"))

    def test_another_start_is_refused(self) -> None:
        with pytest.raises(PolicyRefused, match="another model"):
            self.meet(offered("Bob"), own=offered("Ann"), model=sha256(b"else").hexdigest())

    def test_a_round_is_advertised_for_once(self) -> None:
        request = AdvertiseRequest(ROUND).encode()
        with pytest.raises(Replayed):
            peer("Ann").offer(request, purpose=MEET, last=ROUND)

    def test_a_name_that_others_know_by_another_key_takes_no_part(self) -> None:
        with pytest.raises(PolicyRefused, match="mend the roster"):
            peer("Ann", Roster({"Ann": ROSTER["Bob"]}))


class TestShowing:
    def show(self, *readers: Offered, sender: str = "Ann") -> tuple[bytes, ...]:
        request = ShowRequest(ROUND, bytes.fromhex(MODEL), tuple(r.advert for r in readers))
        return peer(sender).show(request.encode(), vector(), attempt=ROUND, model=MODEL)

    def test_each_reader_reads_its_own_and_no_other(self) -> None:
        names = ("Reader", "Second reader")
        readers = [offered(name, purpose=SHOW) for name in names]
        shown = self.show(*readers)
        for at, name in enumerate(names):
            read = peer(name).read(readers[at], shown[at], dimension=D)
            assert read.tobytes() == vector().tobytes()
            with pytest.raises(BadCiphertext):
                peer(name).read(readers[at], shown[1 - at], dimension=D)

    def test_the_server_cannot_put_in_a_model_of_its_own(self) -> None:
        reader = offered("Reader", purpose=SHOW)
        shown = Shown.decode(self.show(reader)[0])
        forged = replace(PeerAdvert.decode(shown.advert), key=public_of(bytes(range(32)))).encode()
        with pytest.raises(BadSignature):
            peer("Reader").read(reader, replace(shown, advert=forged).encode(), dimension=D)

    def test_nobody_is_shown_who_is_not_pinned_or_is_a_partner(self) -> None:
        reader = offered("Reader", purpose=SHOW)
        few = Roster({"Second reader": READERS["Second reader"]})
        request = ShowRequest(ROUND, bytes.fromhex(MODEL), (reader.advert,)).encode()
        with pytest.raises(PolicyRefused, match="not in the roster"):
            peer("Ann", readers=few).show(request, vector(), attempt=ROUND, model=MODEL)
        with pytest.raises(PolicyRefused, match="advertised to meet"):
            self.show(offered("Bob"))
        # Who trains gets models in meetings alone.
        with pytest.raises(PolicyRefused, match="not in the roster"):
            self.show(offered("Bob", purpose=SHOW))
        with pytest.raises(PolicyRefused, match="meet itself"):
            self.show(offered("Ann", purpose=SHOW))

    def test_a_reader_reads_what_members_show_alone(self) -> None:
        reader = offered("Reader", purpose=SHOW)
        (shown,) = self.show(reader)
        strict = peer("Reader", members=Roster({"Bob": ROSTER["Bob"]}))
        with pytest.raises(PolicyRefused, match="not in the roster"):
            strict.read(reader, shown, dimension=D)

    def test_readers_of_another_round_are_refused(self) -> None:
        old = offered("Reader", Attempt(run="run", round=2), purpose=SHOW)
        with pytest.raises(BadSignature):
            self.show(old)


class TestServer:
    def test_it_takes_what_its_sender_has_signed_for_this_purpose(self) -> None:
        advert = offered("Ann").advert
        for name, purpose, attempt, error in (
            ("Bob", MEET, ROUND, PolicyRefused),
            ("Ann", SHOW, ROUND, PolicyRefused),
            ("Ann", MEET, Attempt(run="run", round=4), BadSignature),
        ):
            with pytest.raises(error):
                accept_peer_advert(name, advert, purpose=purpose, attempt=attempt, roster=ROSTER)
        taken = accept_peer_advert("Ann", advert, purpose=MEET, attempt=ROUND, roster=ROSTER)
        assert taken == advert


def test_messages_have_one_encoding() -> None:
    own, other = offered("Ann"), offered("Bob")
    meeting = peer("Ann").meet(own, asked(own, other), task=TASK, model=MODEL)
    readers = (own.advert,)
    messages: list[Message] = [
        own,
        meeting,
        PeerAdvert.decode(own.advert),
        MeetRequest(ROUND, bytes(32), readers),
        ShowRequest(ROUND, bytes(32), readers),
        Sealed(bytes(32), b"text"),
        Shown(bytes(32), own.advert, b"text"),
    ]
    for each in messages:
        data = each.encode()
        assert type(each).decode(data) == each
        for bad in (data[:-1], data + b"\0", b"FAS1" + data[4:]):
            with pytest.raises(MalformedMessage):
                type(each).decode(bad)
        others = [kind for kind in map(type, messages) if kind is not type(each)]
        for kind in others:
            with pytest.raises(MalformedMessage):
                kind.decode(data)
    assert "secret" not in repr(own) and meeting.secret.hex() not in repr(meeting)
