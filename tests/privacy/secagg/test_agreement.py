"""What members of one process compute once is still what each of them would have computed."""

from typing import Any

import pytest

from privacy.errors import BadSignature, MalformedMessage, PolicyRefused
from privacy.identity.keys import Identity, Roster
from privacy.secagg.agreement import Agreement, forget_shared
from privacy.secagg.messages import AdvertiseRequest, ShareRequest
from privacy.secagg.round_terms import RoundTerms


@pytest.fixture
def request_of(federation: Any) -> tuple[bytes, dict[str, bytes]]:
    """A request to share of three members, and their keys."""
    group = federation(3)
    group.rounds += 1
    asked = AdvertiseRequest(group.attempt).encode()
    names = ("m000", "m001", "m002")
    adverts = tuple(group.ask(name, "advertise", asked) for name in names)
    keys = {name: group.identities[name].public for name in names}
    return ShareRequest(group.terms().encode(), adverts).encode(), keys


def test_one_request_is_one_agreement(request_of: tuple[bytes, dict[str, bytes]]) -> None:
    request, _ = request_of
    agreement = Agreement.of(request)
    assert Agreement.of(bytes(bytearray(request))) is agreement
    assert agreement == Agreement.read(ShareRequest.decode(request))
    forget_shared()
    assert Agreement.of(request) is not agreement


def test_a_roster_that_has_held_speaks_for_no_other(
    request_of: tuple[bytes, dict[str, bytes]],
) -> None:
    """Members of one process may pin different keys: each is held against its own roster."""
    request, keys = request_of
    Agreement.of(request).check_signatures(Roster(keys))
    wrong = Roster({**keys, "m001": Identity.create().public})
    for _ in range(2):
        with pytest.raises(BadSignature, match="m001"):
            Agreement.of(request).check_signatures(wrong)
    fewer = Roster({name: key for name, key in keys.items() if name != "m002"})
    with pytest.raises(PolicyRefused, match="m002"):
        Agreement.of(request).check_signatures(fewer)
    Agreement.of(request).check_signatures(Roster(dict(reversed(keys.items()))))


def test_a_signature_that_held_holds_for_its_own_words_and_key_alone() -> None:
    identity, other = Identity.create(), Identity.create()
    roster = Roster({"one": identity.public, "two": other.public})
    signature = identity.sign("advert", b"context", b"words")
    for _ in range(2):
        roster.check("one", signature, "advert", b"context", b"words")
        for wrong in (("two", b"context", b"words"), ("one", b"other", b"words")):
            with pytest.raises(BadSignature):
                roster.check(wrong[0], signature, "advert", *wrong[1:])


def test_terms_that_cannot_be_read_cannot_be_read_again(
    request_of: tuple[bytes, dict[str, bytes]],
) -> None:
    terms = ShareRequest.decode(request_of[0]).terms
    assert RoundTerms.decode(terms) == RoundTerms.decode(bytes(bytearray(terms)))
    for _ in range(2):
        with pytest.raises(MalformedMessage):
            RoundTerms.decode(terms + b" ")
