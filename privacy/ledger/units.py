"""Fingerprints of data, and the private files that tell a group the same units again.

A ledger is shown to others, so it holds no name of a unit that lasts from one run to the next, and
no number of units. Both lie in files beside it, which nobody but its owner has.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from atomic import force_out, write_atomically
from privacy.errors import LedgerCorrupt, LedgerRefused, LedgerUnwritable
from privacy.identity.keys import Identity, derive, digest
from privacy.ledger.paths import people_folder

TAG_BYTES = 8
"""Of the keyed hash of a unit id. Units that collide are charged for each other: never less."""

_SALT_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The data of one run as a ledger sees them.

    Attributes:
        root: keyed hash of the run and of the Merkle root over (unit id, content digest), in
            hexadecimal: nobody else can tell whether two runs have equal data. The order of the
            units does not matter to it.
        tags: keyed hash of every unit id, sorted; contents and the run do not matter to it.
        salt: keyed hash of the run, 32 bytes, by which equal people of two runs have other files.
    """

    root: str
    tags: tuple[bytes, ...]
    salt: bytes

    def people(self, bound: int) -> bytes:
        """The content of the file that lists the units; those beyond a bound are left out."""
        return self.salt + b"".join(self.tags[:bound])


@dataclass(frozen=True)
class People:
    """The private files beside a ledger that list the units of its data, each under its digest.

    Attributes:
        folder: of the files; made when the first is written, for its owner alone.
    """

    folder: Path

    @classmethod
    def handed_in(cls, ledger: Path) -> Self | None:
        """The files beside a ledger, for a reviewer; None where they were kept back."""
        folder = people_folder(ledger)
        readable = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
        return cls(folder) if readable else None

    def write(self, content: bytes) -> str:
        """Write a file, durable with its name, and return its digest in hexadecimal.

        Raises:
            LedgerUnwritable: if it could not be made durable.
        """
        name = hashlib.sha256(content).hexdigest()
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.folder.chmod(0o700)
            force_out(self.folder.parent)
            write_atomically(self.folder / name, content, durable=True, mode=0o600)
        except OSError as error:
            raise LedgerUnwritable(
                f"{self.folder}: {error.strerror or error}; nothing was recorded, so nothing may "
                "be released; free the disk and try again"
            ) from error
        return name

    def read(self, name: str, *, line: int) -> tuple[bytes, ...]:
        """The tags that a file lists, which a line of the ledger names by its digest.

        Raises:
            LedgerCorrupt: if it is missing, or not what its digest says.
        """
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != name or len(content) < _SALT_BYTES:
            raise LedgerCorrupt(
                f"line {line} of the ledger names people whose file {name[:16]}... is missing or "
                f"altered in {self.folder}; bring an intact copy back",
                line=line,
            )
        return _split(content[_SALT_BYTES:])


def require_digest(value: object) -> str:
    """A digest as an event states it: 64 hexadecimal digits, and so the name of a file.

    Raises:
        ValueError: if it is none.
    """
    if not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ValueError("the people are named by no digest")
    return value


def unpack_tags(text: str) -> tuple[bytes, ...]:
    """Read the tags that stand in ledgers of earlier versions.

    Raises:
        ValueError: if they are not base64, not whole, or not sorted.
    """
    return _split(base64.b64decode(text, validate=True))


def ledger_key(identity: Identity) -> bytes:
    """The key of a group's fingerprints, 32 bytes, which only the owner of its identity can make.

    It follows from a signature that is never sent: Ed25519 signatures are deterministic (RFC 8032).
    """
    return derive(identity.sign("ledger key", b"", b""), "ledger", b"")


def unit_tag(name: str, key: bytes) -> bytes:
    """The tag of a unit id under the key of `ledger_key`: 8 bytes, the same in every run."""
    return _keyed(key, b"unit", name.encode())[:TAG_BYTES]


def fingerprint(units: Iterable[tuple[str, bytes]], key: bytes, *, run: str) -> Fingerprint:
    """Hash the data of a run, under the group's key.

    Args:
        units: the id of each unit, and a digest of its contents (any length); may be none.
        key: of `ledger_key`.
        run: name of the run.

    Raises:
        LedgerRefused: if an id occurs twice.
    """
    contents = dict[str, bytes]()
    for name, content in units:
        if name in contents:
            raise LedgerRefused("a unit id occurs twice; put all contents of a unit into one")
        contents[name] = content
    leaves = sorted(digest(b"leaf", name.encode(), body) for name, body in contents.items())
    return Fingerprint(
        root=_keyed(key, b"root", run.encode(), merkle_root(leaves)).hex(),
        tags=tuple(sorted(unit_tag(name, key) for name in contents)),
        salt=_keyed(key, b"people", run.encode()),
    )


def merkle_root(leaves: list[bytes]) -> bytes:
    """The root of a binary hash tree; an odd node moves up as it is (RFC 6962, section 2.1).

    The root of no leaves is empty.
    """
    while len(leaves) > 1:
        paired = [digest(b"node", *leaves[at : at + 2]) for at in range(0, len(leaves) - 1, 2)]
        leaves = paired + leaves[len(leaves) & ~1 :]
    return leaves[0] if leaves else b""


def _split(packed: bytes) -> tuple[bytes, ...]:
    tags = tuple(packed[at : at + TAG_BYTES] for at in range(0, len(packed), TAG_BYTES))
    if len(packed) % TAG_BYTES or list(tags) != sorted(tags):
        raise ValueError("the tags of units are not whole and sorted")
    return tags


def _keyed(key: bytes, label: bytes, *data: bytes) -> bytes:
    return hmac.new(key, digest(label, *data), hashlib.sha256).digest()
