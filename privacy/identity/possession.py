"""Proof that a node holds the key it declares: a signature over a challenge and all it says."""

from collections.abc import Mapping

from privacy.canonical import canonical_json
from privacy.errors import BadSignature
from privacy.identity.keys import KEY_BYTES, Identity, digest, is_signed, signed_payload

CHALLENGE_BYTES = 32
"""Drawn anew for every request: a proof that was seen before answers no other."""

_KIND = "setup"

_PRIME = 2**255 - 19
_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
#: The y-coordinates of the points of order 1, 2, 4 and 8 on Ed25519: anybody signs for those.
_LOW_ORDER = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})


def prove(
    identity: Identity, declared: Mapping[str, object], *, challenge: bytes, node: int
) -> bytes:
    """Sign what a group declares, for one node and one request: 64 bytes.

    Args:
        identity: the group's own.
        declared: all that the node says, by field, as JSON types.
        challenge: 32 bytes that came with the request.
        node: id of the node that answers.

    Raises:
        ValueError: the challenge is of another length, or a value has no canonical form.
    """
    return identity.sign(_KIND, _context(challenge, node), canonical_json(declared))


def require_proof(
    public: bytes, proof: bytes, declared: Mapping[str, object], *, challenge: bytes, node: int
) -> None:
    """Check that a node holds the key under which it declares something.

    Args:
        public: the key, 32 bytes.
        proof: what :func:`prove` made of it.
        declared: all that the node says but the proof, by field.
        challenge: the 32 bytes of the request.
        node: id of the node that answered.

    Raises:
        BadSignature: it is the proof of another key, request, node or declaration, or the key is
            one that anybody can sign for.
        ValueError: the challenge is of another length, or a value has no canonical form.
        TypeError: a value is of no JSON type.
    """
    context, body = _context(challenge, node), canonical_json(declared)
    weak = int.from_bytes(public, "little") % 2**255 % _PRIME in _LOW_ORDER
    if (
        weak
        or len(public) != KEY_BYTES
        or not is_signed(public, proof, signed_payload(_KIND, context, body))
    ):
        raise BadSignature("a node does not hold the key it declares; have it sign anew")


def _context(challenge: bytes, node: int) -> bytes:
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge has {len(challenge)} bytes, not {CHALLENGE_BYTES}")
    return digest(challenge, str(node).encode("ascii"))
