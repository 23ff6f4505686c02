"""A proof of possession holds for one key, request, node and declaration, and for no other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import BadSignature
from privacy.identity.keys import SIGNATURE_BYTES, Identity
from privacy.identity.possession import CHALLENGE_BYTES, prove, require_proof

OWN, OTHER = Identity.create(), Identity.create()
PRIME = 2**255 - 19
#: RFC 8032's points of order 1, 2, 4 and 8, by their y-coordinate, and encodings beyond the prime.
ORDER_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
LOW_ORDER = [
    *(value.to_bytes(32, "little") for value in (0, 1, PRIME - 1, PRIME, PRIME + 1)),
    bytes.fromhex(ORDER_8),
    (PRIME - int.from_bytes(bytes.fromhex(ORDER_8), "little")).to_bytes(32, "little"),
]
NEUTRAL = LOW_ORDER[1]

declarations = st.dictionaries(
    st.text(max_size=9), st.integers() | st.text(max_size=9) | st.booleans(), max_size=4
)
challenges = st.binary(min_size=CHALLENGE_BYTES, max_size=CHALLENGE_BYTES)
nodes = st.integers(0, 2**64 - 1)


@given(declarations, challenges, nodes)
def test_what_is_proved_is_believed(declared: dict[str, Any], challenge: bytes, node: int) -> None:
    proof = prove(OWN, declared, challenge=challenge, node=node)
    assert len(proof) == SIGNATURE_BYTES
    require_proof(OWN.public, proof, declared, challenge=challenge, node=node)


@given(st.tuples(declarations, challenges, nodes), st.tuples(declarations, challenges, nodes))
def test_and_nothing_else(said: tuple[Any, bytes, int], asked: tuple[Any, bytes, int]) -> None:
    proof = prove(OWN, said[0], challenge=said[1], node=said[2])
    # 1 and True are equal, and no proof of each other.
    if repr(said) == repr(asked):
        return
    same_text = {k: repr(v) for k, v in said[0].items()} == {
        k: repr(v) for k, v in asked[0].items()
    }
    if same_text and said[1:] == asked[1:]:
        return
    with pytest.raises(BadSignature):
        require_proof(OWN.public, proof, asked[0], challenge=asked[1], node=asked[2])


@pytest.mark.parametrize(
    "public",
    [OTHER.public, b"", OWN.public[:31], OWN.public + b"\0"],
    ids=["of another", "none", "too short", "too long"],
)
def test_another_key_is_not_proved(public: bytes) -> None:
    proof = prove(OWN, {}, challenge=bytes(32), node=1)
    with pytest.raises(BadSignature):
        require_proof(public, proof, {}, challenge=bytes(32), node=1)


@pytest.mark.parametrize("public", LOW_ORDER, ids=bytes.hex)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_key_that_anybody_can_sign_for_is_not_proved(public: bytes, sign: int) -> None:
    public = public[:31] + bytes([public[31] | sign])
    proof = NEUTRAL + bytes(32)
    # One in eight declarations at most would need another signature.
    for node in range(64):
        with pytest.raises(BadSignature, match="does not hold the key"):
            require_proof(public, proof, {}, challenge=bytes(32), node=node)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_challenge_of_another_length_is_answered_by_nobody(length: int) -> None:
    with pytest.raises(ValueError, match=f"a challenge has {length} bytes"):
        prove(OWN, {}, challenge=bytes(length), node=1)
