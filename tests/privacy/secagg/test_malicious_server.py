"""A server that lies in every field of every request, alone and in pairs, and learns nothing.

Every lie is told to one member, to half of them and to all, by a server that otherwise does its
best to bring the round to its end: it checks nothing, relays whatever it has, and never stops. Most
lies are refused where they are told. Some only divide the members, who then cannot agree. Some are
choices that a server has, such as the model to start from. Whatever it did, the shares that members
have really given are then added up: no vector, and no sum over fewer members than must survive, can
be computed from them; see `exposed`.
"""

import itertools
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.errors import BadSignature, SecaggAbort, SplitView
from privacy.identity.keys import Identity, private_key
from privacy.secagg.agreement import Agreement
from privacy.secagg.client import _channel
from privacy.secagg.encoding import NO_SIGNATURE
from privacy.secagg.masking import pad_of, self_mask_key
from privacy.secagg.messages import (
    Advert,
    Advertised,
    AdvertiseRequest,
    Consistency,
    ConsistencyRequest,
    MaskedInput,
    MaskRequest,
    ShareRequest,
    Shares,
    UnmaskRequest,
)
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from tests.privacy.secagg.liar import (
    AUDIENCES,
    EVIL,
    KINDS,
    MEMBERS,
    STAGES,
    SURVIVORS,
    THRESHOLD,
    Liar,
    Lie,
    edit,
    without,
)
from tests.privacy.secagg.lies_of_sets import LIES_OF_SETS
from tests.privacy.secagg.lies_of_terms import LIES_OF_TERMS

LIES = [*LIES_OF_TERMS, *LIES_OF_SETS]


@pytest.fixture(scope="module")
def liar(federation: Any) -> Liar:
    """A server that has one honest round behind it, whose messages it can replay."""
    group = federation(MEMBERS, threshold=THRESHOLD, survivors=SURVIVORS)
    # Pinned, but never there.
    group.roster._keys["z-pinned"] = Identity.create().public
    return Liar(group)


def learns_nothing(liar: Liar, exposed: Any) -> None:
    """No sum over fewer than must survive, with the colluding member's own left out of it."""
    for colluding in ((), (EVIL,)):
        for sums in exposed(liar.group, colluding).values():
            assert all(len(part) >= SURVIVORS - len(colluding) for part in sums)
            assert len(sums) <= 1


def test_without_a_lie_the_round_ends(liar: Liar, exposed: Any) -> None:
    liar.run()
    assert not liar.aborts and len(liar.got["unmask"]) == MEMBERS
    (sums,) = exposed(liar.group).values()
    assert sums == [frozenset(liar.group.names)]


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_lie_is_refused_and_nothing_is_learned(
    lie: Lie, audience: str, liar: Liar, exposed: Any
) -> None:
    """A server that lies in one field: forged adverts, split survivor sets, ciphertexts and
    messages of other rounds, wrong S, h, q and d, and all else, to one, three and five of six.
    """
    victims = AUDIENCES[audience]
    liar.ready()
    liar.run([(lie, victims)])
    learns_nothing(liar, exposed)
    assert liar.lied == [(str(lie), name) for name in victims]
    if lie.errors:
        for name in victims:
            stage, error = liar.aborts[name]
            assert stage == lie.stage and isinstance(error, lie.errors), error
            assert str(error)
    elif lie.divides and audience != "all":
        assert set(liar.aborts) - {EVIL}


PAIRS = list(itertools.combinations(LIES, 2))
SAMPLED = PAIRS[:: len(PAIRS) // 320]


@pytest.mark.parametrize("part", range(8))
def test_two_lies_are_refused_and_nothing_is_learned(part: int, liar: Liar, exposed: Any) -> None:
    """320 of all pairs of lies, evenly chosen, told to one member, to two, or to two halves."""
    audiences = [
        (["m001"], ["m001"]),
        (["m001"], ["m003"]),
        (["m000", "m001", "m002"], ["m003", "m004"]),
        (AUDIENCES["all"], AUDIENCES["all"]),
    ]
    for index, (one, other) in enumerate(SAMPLED[part::8]):
        victims = audiences[index % len(audiences)]
        liar.ready()
        liar.run([(one, victims[0]), (other, victims[1])])
        learns_nothing(liar, exposed)
        if one.errors or other.errors:
            assert set(liar.aborts) - {EVIL}, (str(one), str(other))


def test_the_table_of_lies_covers_every_field() -> None:
    """Every field of every request, of the terms, and of an advertisement, own and another's."""
    said = " ".join(map(str, LIES))
    for stage, kind in KINDS.items():
        for field in fields(kind):
            assert f"{stage}: {field.name}" in said or field.name in ("attempt",), field.name
    for field in (*fields(VectorTerms), *fields(Attempt), *fields(RoundTerms)):
        assert field.name in said or field.name == "vector", field.name
    assert len(LIES) > 100 and len(SAMPLED) > 300


@pytest.mark.parametrize("stage", STAGES)
def test_no_request_is_answered_twice(stage: str, federation: Any, exposed: Any) -> None:
    """A second unmask request, and a second one of every other stage, the same or with lies.

    What a member keeps after a stage cannot be read as what that stage begins with.
    """
    group = federation(4)
    liar = Liar(group)
    liar.run()
    twice = []

    def ask_twice(name: str, asked: str, request: bytes) -> bytes:
        message = type(group).ask(group, name, asked, request)
        if (asked, name) == (stage, "m001"):
            party = group.parties[name]
            kept = party.state
            for lied in [lie.change(liar, name, request) for lie in SECOND[stage]]:
                party.state = kept
                with pytest.raises(SecaggAbort) as caught:
                    type(group).ask(group, name, asked, lied)
                twice.append(caught.type)
            party.state = kept
        return message

    group.ask = ask_twice
    liar.run()
    assert twice and not liar.aborts
    assert list(exposed(group).values()) == [[frozenset(group.names)]]


SAME = [Lie("the same", stage, lambda liar, victim, request: request) for stage in STAGES]
SECOND = {
    stage: [same, *(lie for lie in LIES_OF_SETS if lie.stage == stage and "without" in lie.name)]
    for stage, same in zip(STAGES, SAME, strict=True)
}


@pytest.mark.parametrize("members", [4, 6, 9])
def test_a_third_of_the_members_cannot_have_two_sets_unmasked(
    members: int, federation: Any, exposed: Any
) -> None:
    """A split survivor set, with a third of the members colluding, who sign both sets.

    Some of the honest members are told that one of them has dropped, the others that nobody has,
    for every such one and every number of them: at most one set is unmasked, and no seed of an
    honest member is known twice.
    """
    honest = members - members // 3
    colluding = [f"m{index:03d}" for index in range(honest, members)]
    for dropped, believing in itertools.product(range(honest), range(1, honest)):
        group = federation(members)
        liar = Liar(group)
        told = [n for n in group.names if n not in (*colluding, group.names[dropped])]
        split = Lie(
            "split",
            "confirm",
            edit(
                ConsistencyRequest,
                survivors=lambda liar, v, asked, d=dropped: without(asked.survivors, d),
            ),
        )
        signed = Lie("signed by both", "unmask", sign_for(colluding))
        liar.run([(split, told[:believing]), (signed, list(group.names))])
        needed = group.survivors - len(colluding)
        for sums in exposed(group, colluding).values():
            assert len(sums) <= 1 and all(len(part) >= needed for part in sums)
        errors = [error for name, (_, error) in liar.aborts.items() if name not in colluding]
        assert errors and all(isinstance(error, SplitView | BadSignature) for error in errors)


def sign_for(colluding: list[str]) -> Any:
    """Replace or add the signatures of colluding members, on whatever set the member has signed."""

    def change(liar: Liar, victim: str, request: bytes) -> bytes:
        asked = UnmaskRequest.decode(request)
        own = Consistency.decode(liar.got["confirm"][victim])
        rows = dict(asked.signatures)
        for name in colluding:
            index = liar.index(name, victim)
            words = Consistency(own.context, own.survivors, NO_SIGNATURE).payload()
            key = liar.group.identities[name]
            rows[index] = key.sign("consistency", own.context, words)
        fitting = {
            liar.index(name, victim)
            for name, message in liar.got["confirm"].items()
            if Consistency.decode(message).survivors == own.survivors
        } | {liar.index(name, victim) for name in colluding}
        chosen = {index: signature for index, signature in rows.items() if index in fitting}
        return replace(asked, signatures=tuple(sorted(chosen.items()))).encode()

    return change


def twins(key: bytes) -> list[bytes]:
    """Other public keys that agree on the same secrets: the top bit is ignored, and so is the
    point of order two, which takes u to 1/u."""
    inverse = pow(int.from_bytes(key, "little"), -1, 2**255 - 19).to_bytes(32, "little")
    return [data[:-1] + bytes([data[-1] ^ top]) for data in (key, inverse) for top in (0, 0x80)][1:]


@pytest.mark.parametrize("copied", range(3))
@pytest.mark.parametrize("liar_index", range(3))
def test_a_twin_of_a_members_key_does_not_cancel_its_masks(
    copied: int, liar_index: int, federation: Any
) -> None:
    """A colluding member advertises a key that agrees on all the secrets of another's.

    Of 3 members one colludes and takes such a twin of the second's mask key. The third adds the
    masks of both: were they one key stream, they would cancel or double, and the vector lie bare
    once its own mask is removed.
    """
    names = ("m000", "m001", "m002")
    if copied == liar_index:
        return
    victim = next(name for index, name in enumerate(names) if index not in (copied, liar_index))
    for which in range(3):
        group = federation(3)
        group.rounds += 1
        request = AdvertiseRequest(group.attempt).encode()
        adverts = [group.ask(name, "advertise", request) for name in names]
        key = twins(Advert.decode(adverts[copied]).mask_key)[which]
        twin = replace(Advert.decode(adverts[liar_index]), mask_key=key, signature=NO_SIGNATURE)
        signer = group.identities[names[liar_index]]
        adverts[liar_index] = twin.payload() + signer.sign(
            "advert", group.attempt.context(), twin.payload()
        )
        request = ShareRequest(group.terms().encode(), tuple(adverts)).encode()
        honest = [name for name in names if name != names[liar_index]]
        sent = {name: Shares.decode(group.ask(name, "share", request)) for name in honest}
        party = group.parties[victim]
        agreement = Agreement.read(ShareRequest.decode(request))
        other = names[copied]
        evil = sealed_by(agreement, group.parties[names[liar_index]].secrets[0], liar_index, victim)
        ciphertexts = {
            copied: dict(sent[other].ciphertexts)[names.index(victim)],
            liar_index: evil,
        }
        asked = MaskRequest(agreement.context, (0, 1, 2), tuple(sorted(ciphertexts.items())))
        message = group.ask(victim, "mask", asked.encode())
        words = np.frombuffer(MaskedInput.decode(message).vector, "<u4")
        self_key = self_mask_key(party.secrets[0].self_seed)
        rest = words - pad_of([(self_key, 1)], dimension=words.size, dtype=np.dtype(np.uint32))
        assert not np.any(rest == party.vector.vector)


def sealed_by(agreement: Agreement, state: Advertised, sender: int, victim: str) -> bytes:
    """Shares that a colluding member has encrypted for another."""
    receiver = agreement.terms.members.index(victim)
    public = agreement.adverts[receiver].cipher_key
    secret = private_key(state.cipher_secret)
    key, words = _channel(agreement, secret, public, sender, receiver)
    return bytes(12) + AESGCM(key).encrypt(bytes(12), bytes(64), words)
