"""Pinned identities (Ed25519), keys of one attempt (X25519), and the keys derived from both."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, Self, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atomic import write_new
from privacy.canonical import strict_json
from privacy.errors import BadSignature, DuplicateKey, PolicyRefused
from texts import UnfitText, name_of, read_text, require_name, shown

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_X25519_PRIME = 2**255 - 19
#: The u-coordinates of the points of order 1, 2, 4 and 8 on Curve25519 and on its twist.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        _X25519_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)

#: A secret that agrees on keys.
PrivateKey: TypeAlias = X25519PrivateKey

_DOMAIN = b"fedaccord secure aggregation 1\0"


class Identity:
    """A member's long-lived Ed25519 key: it signs, and never leaves its machine.

    Args:
        key: the private key; `create` draws one, `read` takes it from a file.
    """

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls) -> Self:
        """Draw a key from the operating system."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a key in PEM form (PKCS 8, not encrypted).

        Raises:
            ValueError: if the file holds no Ed25519 key.
        """
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path}: is no Ed25519 key; make one with Identity.create()")
        return cls(key)

    def write(self, path: Path) -> None:
        """Write the key to a new file that only its owner may read."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_new(path, pem)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes: what others pin."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, kind: str, context: bytes, body: bytes) -> bytes:
        """Sign the bytes of one kind of message in one context: 64 bytes."""
        return self._key.sign(signed_payload(kind, context, body))

    def require_pinned(self, name: str, *rosters: "Roster") -> None:
        """Refuse to take part under a name that others know by another key, or not at all.

        Raises:
            PolicyRefused: if the first roster that has the name does not pin this key.
        """
        pinned = next((roster[name] for roster in rosters if name in roster), None)
        if pinned != self.public:
            raise PolicyRefused(f"the roster does not pin the own key of {name!r}; mend the roster")

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Identity cannot be copied or pickled; keep its file where it is")

    def __repr__(self) -> str:
        return f"Identity(public={self.public.hex()[:16]}...)"


class Roster(Mapping[str, bytes]):
    """The pinned public keys of all who may be members, by name.

    A member reads it from a file of its own: never from the server, nor from code it sent.

    Args:
        keys: 32 bytes for each name.

    Raises:
        ValueError: if a key is not of 32 bytes, or stands for two names, or a name is none
            (:func:`texts.require_name`).
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        for name, key in keys.items():
            try:
                require_name(name)
            except UnfitText as error:
                raise ValueError(f"roster: the name {_short(name)} {error}") from error
            if len(key) != KEY_BYTES:
                raise ValueError(
                    f"roster: {name!r} has a key of {len(key)} bytes; give {KEY_BYTES}"
                )
        if len(set(keys.values())) < len(keys):
            raise ValueError("roster: one key stands for two names; give each member its own")
        self._keys = dict(sorted(keys.items()))
        #: Of all names and keys: equal rosters have equal digests.
        self.digest = digest(
            *(part for name, key in self._keys.items() for part in (name.encode(), key))
        )

    @classmethod
    def read(cls, path: Path, section: str = "members", *, missing_ok: bool = False) -> Self:
        """Read `{"members": {name: public key in hexadecimal}}`, or another section of the file.

        Names are brought to their one spelling.

        Args:
            path: of the file.
            section: of it.
            missing_ok: whether a file without the section stands for nobody.

        Raises:
            ValueError: if the file is anything else.
        """
        return cls._of_file(_sections(path), path, section, missing_ok=missing_ok)

    @classmethod
    def _of_file(
        cls,
        sections: Mapping[str, Mapping[str, str]],
        path: Path,
        section: str,
        *,
        missing_ok: bool,
    ) -> Self:
        if missing_ok and section not in sections:
            return cls({})
        try:
            named = [(name, bytes.fromhex(key)) for name, key in sections[section].items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(_no_roster(path, section)) from error
        keys: dict[str, bytes] = {}
        for written, key in named:
            try:
                name = name_of(written)
            except UnfitText as error:
                raise ValueError(f"{path}: the name {_short(written)} {error}") from error
            if name in keys:
                raise ValueError(f"{path}: {_short(name)} stands twice; name each member once")
            keys[name] = key
        return cls(keys)

    def __getitem__(self, name: str) -> bytes:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def check(self, name: str, signature: bytes, kind: str, context: bytes, body: bytes) -> None:
        """Check that a member has signed these bytes, as this kind of message in this context.

        Raises:
            PolicyRefused: if the name is not pinned.
            BadSignature: if the signature is not theirs.
        """
        if name not in self._keys:
            raise PolicyRefused(f"{name!r} is not in the roster; pin its key before it takes part")
        if not is_signed(self._keys[name], signature, signed_payload(kind, context, body)):
            raise BadSignature(f"the {kind} message of {name!r} is not signed by its key")


@dataclass(frozen=True, kw_only=True)
class Rosters:
    """All rosters of one file, read at once.

    Attributes:
        members: those who train.
        servers: those who countersign.
        readers: those who only measure.
    """

    members: Roster
    servers: Roster
    readers: Roster

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file as `rosters_json` writes it; a file without readers has none.

        Raises:
            ValueError: if it is anything else, or one key or name stands in two of them.
        """
        sections = _sections(path)
        rosters = [
            Roster._of_file(sections, path, name, missing_ok=name == "held_out")
            for name in ("members", "servers", "held_out")
        ]
        names = [name for roster in rosters for name in roster]
        keys = [key for roster in rosters for key in roster.values()]
        if len(set(names)) < len(names) or len(set(keys)) < len(keys):
            raise ValueError(
                f"{path}: one name or one key stands in two sections; give each party its own"
            )
        return cls(members=rosters[0], servers=rosters[1], readers=rosters[2])


def _sections(path: Path) -> dict[str, Any]:
    """The sections of a file of rosters."""
    try:
        sections = strict_json(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(_no_roster(path, "members")) from error
    if not isinstance(sections, dict):
        raise ValueError(_no_roster(path, "members"))
    return sections


def _no_roster(path: Path, section: str) -> str:
    return f'{path}: is no roster; write {{"{section}": {{"NAME": "64 hexadecimal digits"}}}}'


def _short(name: str) -> str:
    """A name for a message, whatever is wrong with it."""
    return f"'{shown(name, most=40)}'"


@lru_cache(maxsize=4096)
def is_signed(public: bytes, signature: bytes, payload: bytes) -> bool:
    """Whether a signature is of a key; remembered, as many members of a process ask the same."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, payload)
    except InvalidSignature:
        return False
    return True


def rosters_json(
    members: Roster, servers: Roster, readers: Mapping[str, bytes] | None = None
) -> str:
    """The text of a file of rosters; `Roster.read` reads every section.

    Args:
        members: those who train.
        servers: those who countersign.
        readers: those who only measure; without any the section `held_out` is left out.
    """
    sections: dict[str, Mapping[str, bytes]] = {"members": members, "servers": servers}
    if readers:
        sections["held_out"] = readers
    named = {
        section: {name: key.hex() for name, key in roster.items()}
        for section, roster in sections.items()
    }
    return json.dumps(named, indent=2)


def signed_payload(kind: str, context: bytes, body: bytes) -> bytes:
    """The bytes that are signed: of one kind, in one context, unlike any of another."""
    return b"".join((_DOMAIN, kind.encode("ascii"), b"\0", digest(context), digest(body)))


def digest(*parts: bytes) -> bytes:
    """SHA-256 of parts, each behind its length."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def derive(secret: bytes, label: str, context: bytes) -> bytes:
    """A key of 32 bytes from a secret, for one purpose in one context (HKDF-SHA256)."""
    info = _DOMAIN + label.encode("ascii") + b"\0" + context
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def public_of(secret: bytes) -> bytes:
    """The X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def private_key(secret: bytes) -> PrivateKey:
    """The X25519 key of 32 secret bytes, for whoever agrees with many: it costs as one does."""
    return X25519PrivateKey.from_private_bytes(secret)


def agree(secret: bytes | PrivateKey, public: bytes) -> bytes:
    """The X25519 secret that two keys share, 32 bytes; to be passed through `derive`.

    Args:
        secret: 32 bytes, or the `private_key` that is made of them.
        public: 32 bytes of the other.

    Raises:
        DuplicateKey: if the public key is one of the few that hide nothing.
    """
    own = private_key(secret) if isinstance(secret, bytes) else secret
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise DuplicateKey("a public key is of low order: anybody knows what it agrees") from error


def require_hiding(public: bytes) -> None:
    """Refuse an X25519 public key of low order, before anything depends on it.

    Raises:
        DuplicateKey: if whatever is agreed with it is known to all.
    """
    if int.from_bytes(public, "little") % 2**255 % _X25519_PRIME in _LOW_ORDER:
        raise DuplicateKey("a public key is of low order: anybody knows what it agrees")


def require_distinct(keys: Iterable[bytes]) -> None:
    """Refuse keys of which two are equal.

    Raises:
        DuplicateKey: if they are.
    """
    listed = list(keys)
    if len(set(listed)) < len(listed):
        raise DuplicateKey("two members, or two roles of one, advertise the same key")
