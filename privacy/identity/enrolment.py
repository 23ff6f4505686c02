"""Invitations and cards: what the parties of a federation exchange before they meet.

Both are small files that people exchange and compare by a fingerprint read out over the phone.
They hold public keys and settings, never a secret.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from atomic import write_atomically
from privacy.canonical import canonical_json, strict_json
from privacy.errors import BadSignature
from privacy.identity.keys import Identity, Roster
from privacy.identity.roles import HELD_OUT, TRAIN
from texts import UnfitText, read_text, require_name

Setting = bool | int | float | str

_CARD = "card"
_KEY, _SIGNATURE = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{128}")
_NODE = re.compile(r"[!-~]+ [A-Za-z0-9+/=]+( [!-~]+)?")
_ADDRESS = re.compile(r"[A-Za-z0-9._:\[\]-]+:[0-9]{1,5}")
_SETTING = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


def readable(digest: bytes) -> str:
    """The first 16 bytes of a digest in groups of four digits, for reading out."""
    text = digest[:16].hex()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def key_fingerprint(public: bytes) -> str:
    """The fingerprint of a public key that two people compare."""
    return readable(hashlib.sha256(public).digest())


@dataclass(frozen=True, kw_only=True)
class Card:
    """The file by which a group introduces itself to the coordinator.

    Attributes:
        group: Its name.
        role: ``train`` or ``held_out``.
        identity: Ed25519 public key that signs what it says in a round, hexadecimal.
        node: Public key of its node, one line in OpenSSH form.
        signature: By the identity over all of the above, hexadecimal.
    """

    group: str
    role: str
    identity: str
    node: str
    signature: str = ""

    @classmethod
    def signed(cls, identity: Identity, *, group: str, role: str, node: str) -> Self:
        """Make a card; only who holds the key can."""
        card = cls(group=group, role=role, identity=identity.public.hex(), node=node)
        return cls(
            **{**asdict(card), "signature": identity.sign(_CARD, b"", card._payload()).hex()}
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a card and check that its sender holds the key on it.

        Raises:
            ValueError: It is no card, holds what cannot be one's, or its signature does not hold;
                one line.
        """
        card = cls(**_fields(cls, path))
        _check_name(path, "group", card.group)
        if card.role not in (TRAIN, HELD_OUT):
            raise ValueError(f"{path}: role is neither {TRAIN} nor {HELD_OUT}: ask again")
        if not _NODE.fullmatch(card.node):
            raise ValueError(f"{path}: node is no public key in OpenSSH form: ask again")
        try:
            # One key has one spelling: whoever compares texts must not meet a second.
            if not (_KEY.fullmatch(card.identity) and _SIGNATURE.fullmatch(card.signature)):
                raise ValueError("no hexadecimal digits of the right number")
            roster = Roster({card.group: bytes.fromhex(card.identity)})
            roster.check(card.group, bytes.fromhex(card.signature), _CARD, b"", card._payload())
        except (ValueError, BadSignature) as error:
            raise ValueError(
                f"{path}: the card is not signed by the key on it: ask again"
            ) from error
        return card

    def write(self, path: Path) -> None:
        """Write the card as JSON."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the group and the coordinator compare."""
        return key_fingerprint(bytes.fromhex(self.identity))

    def _payload(self) -> bytes:
        signed = {key: value for key, value in asdict(self).items() if key != "signature"}
        return canonical_json(signed)


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """The file that the coordinator sends to whoever may join.

    Attributes:
        federation: Its name.
        address: ``host:port`` of the server.
        ca: The authority that signs the server's certificate, PEM.
        server: Ed25519 public key that countersigns ledgers, hexadecimal.
        settings: What runs will ask for, with dotted keys, so that a group can forecast them.
    """

    federation: str
    address: str
    ca: str
    server: str
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an invitation.

        Raises:
            ValueError: It is none, or holds what cannot be an invitation's; one line.
        """
        invitation = cls(**_fields(cls, path))
        _check_name(path, "federation", invitation.federation)
        if not _KEY.fullmatch(invitation.server) or "BEGIN CERTIFICATE" not in invitation.ca:
            raise ValueError(f"{path}: holds no server key or no certificate: ask for it again")
        if not _ADDRESS.fullmatch(invitation.address):
            raise ValueError(f"{path}: address is no host:port: ask for it again")
        if not all(_SETTING.fullmatch(key) for key in invitation.settings):
            raise ValueError(f"{path}: a setting has no name of letters and dots: ask for it again")
        return invitation

    def write(self, path: Path) -> None:
        """Write the invitation as JSON."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the coordinator reads out: of every field and every setting.

        A setting counts with its type: the number 8.0 and the text "8.0" are two.
        """
        settings = {key: [type(value).__name__, value] for key, value in self.settings.items()}
        whole = canonical_json({**asdict(self), "settings": settings})
        return readable(hashlib.sha256(whole).digest())


def _check_name(path: Path, field: str, name: str) -> None:
    try:
        require_name(name)
    except UnfitText as error:
        raise ValueError(f"{path}: {field} {error}, and ask again") from error


def _fields(cls: type[Card] | type[Invitation], path: Path) -> dict[str, Any]:
    """The fields of a file, every text a text."""
    try:
        content = strict_json(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    names = {each.name for each in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise ValueError(f"{path}: is no {cls.__name__.lower()}; it has {', '.join(sorted(names))}")
    texts = names - {"settings"}
    if not all(isinstance(content[name], str) for name in texts):
        raise ValueError(f"{path}: {', '.join(sorted(texts))} must be texts")
    settings = content.get("settings", {})
    plain = isinstance(settings, dict) and all(
        isinstance(value, bool | int | float | str) for value in settings.values()
    )
    if not plain:
        raise ValueError(f"{path}: settings must be a table of plain values")
    return content
