"""Fingerprints of data: keyed hashes that recognise the same units, and tell nothing else."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from privacy.errors import LedgerRefused
from privacy.identity.keys import Identity, derive, digest

TAG_BYTES = 8
"""Of the keyed hash of a unit id. Units that collide are charged for each other: never less."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Data as a ledger sees it.

    Attributes:
        root: keyed hash of the Merkle root over (unit id, content digest), in hexadecimal. The
            order of the units does not matter to it.
        units: number of units.
        tags: keyed hash of every unit id, sorted; contents do not matter to it.
    """

    root: str
    units: int
    tags: tuple[bytes, ...]

    def packed_tags(self) -> str:
        """The tags in one string of base64."""
        return base64.b64encode(b"".join(self.tags)).decode("ascii")


def unpack_tags(text: str) -> tuple[bytes, ...]:
    """Read tags that `packed_tags` wrote.

    Raises:
        ValueError: if it did not: not base64, not whole tags, or not sorted.
    """
    packed = base64.b64decode(text, validate=True)
    tags = tuple(packed[at : at + TAG_BYTES] for at in range(0, len(packed), TAG_BYTES))
    if len(packed) % TAG_BYTES or list(tags) != sorted(tags):
        raise ValueError("the tags of units are not whole and sorted")
    return tags


def ledger_key(identity: Identity) -> bytes:
    """The key of a group's fingerprints, 32 bytes, which only the owner of its identity can make.

    It follows from a signature that is never sent: Ed25519 signatures are deterministic (RFC 8032).
    """
    return derive(identity.sign("ledger key", b"", b""), "ledger", b"")


def fingerprint(units: Iterable[tuple[str, bytes]], key: bytes) -> Fingerprint:
    """Hash data, under the group's key.

    Args:
        units: the id of each unit, and a digest of its contents (any length).
        key: of `ledger_key`.

    Raises:
        LedgerRefused: if there are no units, or an id occurs twice.
    """
    contents = dict[str, bytes]()
    for name, content in units:
        if name in contents:
            raise LedgerRefused("a unit id occurs twice; put all contents of a unit into one")
        contents[name] = content
    if not contents:
        raise LedgerRefused("data of no units has no budget; give at least one unit")
    leaves = sorted(digest(b"leaf", name.encode(), body) for name, body in contents.items())
    tags = sorted(_keyed(key, b"unit", name.encode())[:TAG_BYTES] for name in contents)
    root = _keyed(key, b"root", merkle_root(leaves)).hex()
    return Fingerprint(root=root, units=len(contents), tags=tuple(tags))


def merkle_root(leaves: list[bytes]) -> bytes:
    """The root of a binary hash tree; an odd node moves up as it is (RFC 6962, section 2.1)."""
    while len(leaves) > 1:
        paired = [digest(b"node", *leaves[at : at + 2]) for at in range(0, len(leaves) - 1, 2)]
        leaves = paired + leaves[len(leaves) & ~1 :]
    return leaves[0]


def _keyed(key: bytes, label: bytes, data: bytes) -> bytes:
    return hmac.new(key, digest(label, data), hashlib.sha256).digest()
