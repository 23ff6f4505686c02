"""Identities sign what they say, rosters pin them, and keys that hide nothing are refused."""

import copy
import json
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import BadSignature, DuplicateKey, PolicyRefused
from privacy.identity.keys import (
    Identity,
    Roster,
    Rosters,
    agree,
    derive,
    digest,
    public_of,
    require_distinct,
    require_hiding,
    rosters_json,
    signed_payload,
)
from tests.hostile import FORGED, MISSPELLED, assert_seen
from texts import name_of

PRIME = 2**255 - 19
# Bernstein's list, https://cr.yp.to/ecdh.html#validate: orders 1, 2, 4 and 8, on curve and twist.
ORDER_8 = (
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
)
LOW_ORDER = [
    *(value.to_bytes(32, "little") for value in (0, 1, PRIME - 1, PRIME, PRIME + 1)),
    *map(bytes.fromhex, ORDER_8),
]


def top_bit(key: bytes) -> bytes:
    return key[:-1] + bytes([key[-1] ^ 0x80])


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.create()


def test_a_signature_holds_for_its_kind_context_and_words_alone(identity: Identity) -> None:
    roster = Roster({"a": identity.public, "b": Identity.create().public})
    signature = identity.sign("masked", b"context", b"body")
    roster.check("a", signature, "masked", b"context", b"body")
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    for wrong in (
        ("b", signature, "masked", b"context", b"body"),
        ("a", signature, "unmask", b"context", b"body"),
        ("a", signature, "masked", b"other", b"body"),
        ("a", signature, "masked", b"context", b"Body"),
        ("a", signature, "masked", b"contextb", b"ody"),
        ("a", flipped, "masked", b"context", b"body"),
        ("a", signature[:-1], "masked", b"context", b"body"),
        ("a", bytes(64), "masked", b"context", b"body"),
    ):
        with pytest.raises(BadSignature, match="not signed by its key"):
            roster.check(*wrong)
    with pytest.raises(PolicyRefused, match="not in the roster"):
        roster.check("c", signature, "masked", b"context", b"body")


@given(
    one=st.tuples(st.sampled_from(["advert", "shares"]), st.binary(), st.binary()),
    other=st.tuples(st.sampled_from(["advert", "shares"]), st.binary(), st.binary()),
)
def test_different_words_are_never_signed_as_the_same_bytes(
    one: tuple[str, bytes, bytes], other: tuple[str, bytes, bytes]
) -> None:
    assert (signed_payload(*one) == signed_payload(*other)) == (one == other)


@given(parts=st.lists(st.binary()), others=st.lists(st.binary()))
def test_a_digest_tells_where_its_parts_end(parts: list[bytes], others: list[bytes]) -> None:
    assert (digest(*parts) == digest(*others)) == (parts == others)
    assert digest(b"".join(parts), b"") != digest(b"".join(parts))


def test_an_identity_never_leaves(identity: Identity) -> None:
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied"):
            duplicate(identity)
    assert identity.public.hex()[:16] in repr(identity) and len(repr(identity)) < 50


def test_an_identity_is_kept_in_a_file_of_its_owner(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    identity.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.read(path).public == identity.public
    with pytest.raises(FileExistsError):
        identity.write(path)
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for text in (other, b"", b"-----BEGIN " + b"PRIVATE KEY-----"):
        path = tmp_path / f"{len(text)}.pem"
        path.write_bytes(text)
        with pytest.raises(ValueError):
            Identity.read(path)


def test_a_roster_is_read_from_a_file(identity: Identity, tmp_path: Path) -> None:
    roster = Roster({"b": identity.public, "a": Identity.create().public})
    servers = Roster({"s": Identity.create().public})
    path = tmp_path / "roster.json"
    path.write_text(rosters_json(roster, servers), encoding="utf-8")
    assert dict(Roster.read(path)) == dict(roster) and list(roster) == ["a", "b"]
    assert dict(Roster.read(path, "servers")) == dict(servers)
    with pytest.raises(ValueError, match='"others"'):
        Roster.read(path, "others")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[1]",
        '{"members": []}',
        '{"members": {"a": 1}}',
        '{"members": {"a": "zz"}}',
        json.dumps({"members": {"a": "00" * 31}}),
        json.dumps({"members": {"": "00" * 32}}),
        json.dumps({"members": {"a": "00" * 32, "b": "00" * 32}}),
    ],
)
def test_a_file_that_pins_nobody_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="roster"):
        Roster.read(path)


@pytest.mark.parametrize("name", FORGED, ids=ascii)
def test_nobody_is_pinned_under_a_name_that_could_forge(name: str, tmp_path: Path) -> None:
    """Was open: a roster pinned keys under any text, and showed it beside their fingerprints."""
    path = tmp_path / "roster.json"
    path.write_text(json.dumps({"members": {name: "00" * 32}}), encoding="utf-8")
    for make in (lambda: Roster({name: bytes(32)}), lambda: Roster.read(path)):
        with pytest.raises(ValueError, match=r"the name '") as caught:
            make()
        assert_seen(str(caught.value))
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", MISSPELLED, ids=ascii)
def test_names_of_a_file_are_brought_to_one_spelling(name: str, tmp_path: Path) -> None:
    """Was open: rosters that pinned the same had digests of their own."""
    path = tmp_path / "roster.json"
    path.write_text("\ufeff" + json.dumps({"members": {name: "00" * 32}}), encoding="utf-8")
    assert Roster.read(path).digest == Roster({name_of(name): bytes(32)}).digest
    with pytest.raises(ValueError, match="is not in its one spelling"):
        Roster({name: bytes(32)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"members": {"é": "K1", "e\u0301": "K2"}, "servers": {}}', "stands twice"),
        ('{"members": {"a": "K1", "a": "K2"}, "servers": {}}', "is no roster"),
        ('{"members": {"a": "K1"}, "members": {"a": "K2"}, "servers": {}}', "is no roster"),
        ('{"members": {"a": "K1"}, "servers": {"s": "K1"}}', "stands in two sections"),
        ('{"members": {"a": "K1"}, "servers": {}, "held_out": {"a": "K2"}}', "stands in two"),
        ('{"members": {"a": "K1"}, "servers": {}, "held_out": {"b": "K1"}}', "stands in two"),
    ],
)
def test_no_name_and_no_key_stands_for_two(text: str, words: str, tmp_path: Path) -> None:
    """Was open: of two entries that look alike the last one counted, and sections overlapped."""
    path = tmp_path / "roster.json"
    text = text.replace("K1", "11" * 32).replace("K2", "22" * 32)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words) as caught:
        Rosters.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [*LOW_ORDER, *map(top_bit, LOW_ORDER)])
def test_keys_of_low_order_are_refused(key: bytes) -> None:
    """All that X25519 maps to zero, whatever the secret, in every encoding."""
    for secret in (b"\1" * 32, b"\xfe" * 32):
        with pytest.raises(DuplicateKey, match="low order"):
            agree(secret, key)
    with pytest.raises(DuplicateKey, match="low order"):
        require_hiding(key)


def test_drawn_keys_hide() -> None:
    for secret in (bytes(32), b"7" * 32, b"\xff" * 32):
        require_hiding(public_of(secret))
        require_hiding(top_bit(public_of(secret)))


def test_two_keys_that_look_different_may_agree_on_one_secret() -> None:
    """Why the masks of a pair are derived for that pair: u, u with the top bit, and 1/u."""
    secret, public = b"3" * 32, public_of(b"4" * 32)
    inverse = pow(int.from_bytes(public, "little"), -1, PRIME).to_bytes(32, "little")
    twins = {public, top_bit(public), inverse}
    assert len(twins) == 3
    require_distinct(twins)
    assert len({agree(secret, twin) for twin in twins}) == 1


def test_x25519_is_that_of_rfc_7748() -> None:
    """The first vector of section 5.2."""
    scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
    point = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
    shared = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert agree(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == shared


def test_derived_keys_differ_by_secret_label_and_context() -> None:
    given_each = [(b"s", "pair", b"c"), (b"t", "pair", b"c"), (b"s", "self", b"c")]
    keys = {derive(*each) for each in [*given_each, (b"s", "pair", b"d"), (b"s", "pair", b"")]}
    assert len(keys) == 5 and {len(key) for key in keys} == {32}


def test_equal_keys_are_refused() -> None:
    require_distinct([])
    require_distinct([b"a", b"b"])
    with pytest.raises(DuplicateKey, match="same key"):
        require_distinct([b"a", b"b", b"a"])
