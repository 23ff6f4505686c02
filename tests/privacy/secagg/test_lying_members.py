"""Members that lie to an honest server: what can be is left out and named, the rest refused.

After every refusal the attempt goes on, and its sum is exact.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privacy.errors import (
    BadCiphertext,
    BadShares,
    BadSignature,
    DuplicateKey,
    MalformedMessage,
    PolicyRefused,
    Replayed,
    SecaggAbort,
    SurvivorSetRefused,
)
from privacy.identity.keys import Identity, Roster
from privacy.secagg import client as client_module
from privacy.secagg import shamir
from privacy.secagg.encoding import NO_SIGNATURE, Signed
from privacy.secagg.messages import (
    Advert,
    Advertised,
    Consistency,
    MaskedInput,
    Shares,
    Unmask,
    survivors_digest,
)
from privacy.secagg.server import accept_advert
from privacy.secagg.shamir import PRIME

KINDS: dict[str, tuple[str, type[Signed], str]] = {
    "share": ("shares", Shares, "take_shares"),
    "mask": ("masked", MaskedInput, "take_masked"),
    "confirm": ("consistency", Consistency, "take_consistency"),
    "unmask": ("unmask", Unmask, "take_unmask"),
}


def signed(group: Any, name: str, kind: str, message: Any, context: bytes | None = None) -> bytes:
    """A message with the member's own good signature."""
    unsigned = replace(message, signature=NO_SIGNATURE)
    where = message.context if context is None else context
    return unsigned.payload() + group.identities[name].sign(kind, where, unsigned.payload())


def lying_in_unmask(
    group: Any, lies: dict[str, Callable[[tuple[tuple[int, bytes], ...]], Any]]
) -> None:
    """Let members change the shares they give, under their own good signatures."""
    ask = type(group).ask

    def asked(name: str, stage: str, request: bytes) -> bytes:
        message = ask(group, name, stage, request)
        if stage == "unmask" and name in lies:
            given = Unmask.decode(message)
            message = signed(group, name, "unmask", replace(given, shares=lies[name](given.shares)))
        return message

    group.ask = asked


def plus(error: int) -> Callable[[tuple[tuple[int, bytes], ...]], Any]:
    """Add to every share an error, or a multiple of the prime where it is zero."""

    def change(rows: tuple[tuple[int, bytes], ...]) -> Any:
        numbers = [(index, int.from_bytes(share, "big")) for index, share in rows]
        wrong = [(p, (n + error) % PRIME if error else n + PRIME) for p, n in numbers]
        return tuple((index, n.to_bytes(32, "big")) for index, n in wrong)

    return change


@pytest.mark.parametrize("dropped", [(), ("m004",)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_bad_shares_are_left_out_and_their_holders_named(
    count: int, dropped: tuple[str, ...], federation: Any
) -> None:
    """10 members, 7 shares needed: up to all 3 to spare (2 where one dropped) are bad.

    For 12 choices of who lies: the difference from the exact sum is 0, and exactly the liars are
    named. (Where as many lie as are to spare, they could choose errors that cancel in the secret,
    and nobody could tell them from the honest; these do not.)
    """
    if count > 3 - len(dropped):
        return
    group = federation(10)
    present = [name for name in group.names if name not in dropped]
    for liars in itertools.islice(itertools.combinations(present, count), 0, 120, 10):
        lying_in_unmask(group, {name: plus(7 ** (80 + index)) for index, name in enumerate(liars)})
        server, total, bad = group.run([(), dropped, (), ()])
        assert bad == liars
        assert np.array_equal(total, group.exact(server.survivors))


def test_half_of_the_shares_to_spare_may_be_bad_in_a_round_of_forty(federation: Any) -> None:
    """40 members, 27 shares needed: 6 of 13 to spare, wherever they are; trying all is hopeless."""
    for first in (0, 20, 34):
        group = federation(40)
        liars = group.names[first : first + 6]
        lying_in_unmask(group, {name: plus(7) for name in liars})
        server, total, bad = group.run()
        assert bad == liars and np.array_equal(total, group.exact(server.survivors))


def test_liars_whose_errors_cancel_do_not_have_the_honest_named(federation: Any) -> None:
    """Two of the first 7 lie such that the secret still comes out right of those 7.

    The other three, who are honest, do not lie on their polynomial: they must not be blamed.
    """
    group = federation(10)
    points = list(range(1, 8))
    weights = [
        shamir.recover(points, [(int(p == at)).to_bytes(32, "big") for p in points])
        for at in points[:2]
    ]
    second = -weights[0] * pow(weights[1], -1, PRIME) % PRIME
    lying_in_unmask(group, {"m000": plus(1), "m001": plus(second)})
    server, total, bad = group.run()
    assert bad == ("m000", "m001")
    assert np.array_equal(total, group.exact(server.survivors))


def test_a_second_encoding_of_a_good_share_changes_nothing(federation: Any) -> None:
    """x + p stands for x as well, and where it fits into 32 bytes it is as good."""
    for dropped in ((), ("m000",)):
        group = federation(7)
        lying_in_unmask(group, {"m003": plus(0)})
        server, total, bad = group.run([(), dropped, (), ()])
        assert bad == () and np.array_equal(total, group.exact(server.survivors))


@pytest.mark.parametrize("drops", [False, True])
def test_a_dealer_of_bad_shares_is_named(
    drops: bool, federation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares that belong to no seed: of its own mask, and of its mask key where it has dropped."""
    split = shamir.split

    def bad_split(secrets: Any, *, threshold: int, points: Any, source: Any) -> Any:
        rows = split(secrets, threshold=threshold, points=points, source=source)
        return [[source.take(31).rjust(32, b"\0") for _ in row] for row in rows]

    group = federation(5)
    ask = type(group).ask

    def asked(name: str, stage: str, request: bytes) -> bytes:
        with monkeypatch.context() as patch:
            if (name, stage) == ("m002", "share"):
                patch.setattr(client_module.shamir, "split", bad_split)
            return ask(group, name, stage, request)

    group.ask = asked
    with pytest.raises(BadShares, match="m002") as caught:
        group.run([(), ("m002",) if drops else (), (), ()])
    assert caught.value.members == ("m002",)


@pytest.mark.parametrize(("field", "drops"), [("self_seed", False), ("mask_seed", True)])
def test_seeds_other_than_those_advertised_are_named(
    field: str, drops: bool, federation: Any
) -> None:
    """A wrong commitment, and a wrong public mask key."""
    group = federation(4)
    party = group.parties["m001"]
    server = group.begin()
    party.state = replace(Advertised.decode(party.state), **{field: bytes(31)}).encode()
    group.until_unmask(server, [(), ("m001",) if drops else (), (), ()])
    with pytest.raises(BadShares) as caught:
        server.total()
    assert caught.value.members == ("m001",)


def test_a_ciphertext_for_nobody_stops_one_member_alone(
    federation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dealer encrypts nonsense for one neighbour: that one stops, typed, and the others go on."""
    group = federation(5)
    server = group.begin()
    for name in group.names:
        message = group.ask(name, "share", server.share_request)
        if name == "m000":
            shares = Shares.decode(message)
            rows = tuple((to, bytes(80) if to == 3 else data) for to, data in shares.ciphertexts)
            message = signed(group, name, "shares", replace(shares, ciphertexts=rows))
        server.take_shares(name, message)
    server.close_sharing()
    with pytest.raises(BadCiphertext, match="m000"):
        group.ask("m003", "mask", server.mask_request("m003"))
    rest = [name for name in group.names if name != "m003"]
    for name in rest:
        server.take_masked(name, group.ask(name, "mask", server.mask_request(name)))
    server.close_masking()
    for name in rest:
        server.take_consistency(name, group.ask(name, "confirm", server.consistency_request()))
    request = server.unmask_request()
    for name in rest:
        server.take_unmask(name, group.ask(name, "unmask", request))
    total, bad = server.total()
    assert bad == () and np.array_equal(total, group.exact(rest))


def wrong_messages(group: Any, earlier: dict, name: str, stage: str, good: bytes) -> Any:
    """Messages that the server must refuse from this member, and how."""
    kind, message_type, _ = KINDS[stage]
    message: Any = message_type.decode(good)
    other = next(n for n in group.names if n != name)
    unsigned = replace(message, signature=NO_SIGNATURE)
    words = unsigned.payload()
    yield unsigned.encode(), BadSignature
    yield words + group.identities[other].sign(kind, message.context, words), BadSignature
    yield words + group.identities[name].sign("advert", message.context, words), BadSignature
    yield words + group.identities[name].sign(kind, bytes(32), words), BadSignature
    yield good[:-1] + bytes([good[-1] ^ 1]), BadSignature
    yield earlier[name, stage], Replayed
    yield signed(group, name, kind, replace(message, context=bytes(32))), Replayed
    yield b"", MalformedMessage
    yield good + b"\0", MalformedMessage
    if stage == "share":
        rows = message.ciphertexts
        for wrong in (rows[1:], (), (*rows, (77, b"x"))):
            changed = replace(message, ciphertexts=wrong)
            yield signed(group, name, kind, changed), SurvivorSetRefused
    if stage == "mask":
        for vector in (message.vector[:-4], message.vector + bytes(4), b"", message.vector[:-1]):
            yield signed(group, name, kind, replace(message, vector=vector)), MalformedMessage
    if stage == "confirm":
        for survivors in ((0, 1, 2), (), tuple(range(6))):
            changed = replace(message, survivors=survivors_digest(survivors))
            yield signed(group, name, kind, changed), SurvivorSetRefused
    if stage == "unmask":
        rows = message.shares
        for wrong in (rows[1:], (), (*rows, (77, bytes(32)))):
            yield signed(group, name, kind, replace(message, shares=wrong)), SurvivorSetRefused


@pytest.mark.parametrize("liar", ["m000", "m004"])
def test_the_server_refuses_what_is_wrong_and_the_round_goes_on(liar: str, federation: Any) -> None:
    """Foreign signatures, other rounds, wrong lengths, double messages: refused at each stage.

    The refused message changes nothing: the right one is taken after it, and the sum is exact.
    """
    group = federation(5)
    group.run()
    earlier = {(name, stage): message for name, stage, message in group.sent}
    server = group.begin()
    requests = {
        "share": lambda name: server.share_request,
        "mask": lambda name: server.mask_request(name),
        "confirm": lambda name: server.consistency_request(),
        "unmask": lambda name: server.unmask_request(),
    }
    refused = 0
    for stage, (_, _, take) in KINDS.items():
        for name in group.names:
            good = group.ask(name, stage, requests[stage](name))
            if name == liar:
                for wrong, error in wrong_messages(group, earlier, name, stage, good):
                    with pytest.raises(error):
                        getattr(server, take)(name, wrong)
                    refused += 1
                other = next(n for n in group.names if n != name)
                if other > name:
                    with pytest.raises(SecaggAbort):
                        getattr(server, take)(other, good)
            getattr(server, take)(name, good)
            with pytest.raises(Replayed):
                getattr(server, take)(name, good)
        if stage == "share":
            server.close_sharing()
        if stage == "mask":
            server.close_masking()
    total, bad = server.total()
    assert refused > 40 and bad == ()
    assert np.array_equal(total, group.exact(group.names))


def test_adverts_are_refused_unless_they_are_the_members_own(federation: Any) -> None:
    """Forged adverts at the server: another's, of another attempt, unpinned, or with bare keys."""
    group = federation(3)
    server = group.begin()
    attempt = group.attempt
    adverts = dict(zip(group.names, server.agreement.encoded, strict=True))
    good = adverts["m000"]

    def offer(name: str, data: bytes, **changes: Any) -> bytes:
        given = {"attempt": attempt, "roster": group.roster, **changes}
        return accept_advert(name, data, **given)

    assert offer("m000", good) == good
    with pytest.raises(SurvivorSetRefused):
        offer("m001", good)
    with pytest.raises(BadSignature):
        offer("m000", good, attempt=replace(attempt, attempt=2))
    with pytest.raises(PolicyRefused):
        offer("m000", good, roster=Roster({"m001": group.roster["m001"]}))
    with pytest.raises(BadSignature):
        offer("m000", good, roster=Roster({"m000": Identity.create().public}))
    for field in ("cipher_key", "mask_key"):
        for key in (bytes(32), b"\1" + bytes(31), bytes(31) + b"\x80"):
            bare = replace(Advert.decode(good), **{field: key})
            data = signed(group, "m000", "advert", bare, attempt.context())
            with pytest.raises(DuplicateKey, match="low order"):
                offer("m000", data)
