"""Cards and invitations: small files that people compare, and what is wrong with forged ones."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy.identity.enrolment import Card, Invitation, key_fingerprint, readable
from privacy.identity.keys import Identity
from tests.hostile import FORGED

NODE = "ecdsa-sha2-nistp384 AAAA"
SETTINGS: Mapping[str, Any] = {
    "privacy.epsilon": 4.0,
    "privacy.mode": "distributed",
    "privacy.colluding": 1,
    "seed": 1,
}


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.create()


@pytest.fixture
def card(identity: Identity, tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    Card.signed(identity, group="North", role="train", node=NODE).write(path)
    return path


@pytest.fixture
def invitation(tmp_path: Path) -> Path:
    path = tmp_path / "invitation.json"
    Invitation(
        federation="Lab",
        address="fed.example.org:9443",
        ca="-----BEGIN CERTIFICATE-----\n",
        server="ab" * 32,
        settings=SETTINGS,
    ).write(path)
    return path


def changed(path: Path, **fields: object) -> Path:
    content = {**json.loads(path.read_text(encoding="utf-8")), **fields}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


class TestCard:
    def test_it_is_read_as_it_was_written_and_holds_no_secret(
        self, card: Path, identity: Identity
    ) -> None:
        read = Card.read(card)
        assert (read.group, read.role, read.node) == ("North", "train", NODE)
        assert read.identity == identity.public.hex()
        assert set(json.loads(card.read_text())) == {
            "group",
            "role",
            "identity",
            "node",
            "signature",
        }
        assert read.fingerprint == key_fingerprint(identity.public)

    @pytest.mark.parametrize(
        "forged",
        [
            {"group": "South"},
            {"role": "held_out"},
            {"node": NODE + "B"},
            {"identity": Identity.create().public.hex()},
            {"signature": "00" * 64},
            {"signature": ""},
            {"signature": "no digits"},
            {"identity": "ab"},
        ],
        ids=lambda forged: " ".join(f"{k} of {len(v)}" for k, v in forged.items()),
    )
    def test_one_that_was_changed_after_it_was_signed_is_refused(
        self, card: Path, forged: dict[str, str]
    ) -> None:
        with pytest.raises(
            ValueError, match=r"the card is not signed by the key on it: ask again$"
        ):
            Card.read(changed(card, **forged))

    @pytest.mark.parametrize("group", FORGED, ids=ascii)
    def test_a_name_that_could_forge_what_stands_beside_it_is_refused(
        self, identity: Identity, tmp_path: Path, group: str
    ) -> None:
        """Was open: its own key signs whatever name a group gives itself."""
        path = tmp_path / "forged.json"
        # No roster takes the name; who forges does without.
        forged = Card(group=group, role="train", identity=identity.public.hex(), node=NODE)
        signature = identity.sign("card", b"", forged._payload()).hex()
        replace(forged, signature=signature).write(path)
        with pytest.raises(ValueError, match=r"forged\.json: group .*, and ask again$"):
            Card.read(path)

    @pytest.mark.parametrize(
        "field",
        [
            {"role": "train\x1b[8m"},
            {"role": ""},
            {"node": NODE + "\x1b[8m"},
            {"node": NODE + "\nssh-ed25519 BBBB"},
        ],
        ids=ascii,
    )
    def test_a_field_that_could_is_refused_though_it_is_signed(
        self, identity: Identity, tmp_path: Path, field: dict[str, str]
    ) -> None:
        """Was open: role and node were printed and used as they came."""
        path = tmp_path / "forged.json"
        given = {"group": "North", "role": "train", "node": NODE, **field}
        Card.signed(identity, **given).write(path)
        with pytest.raises(ValueError, match=r": ask again$"):
            Card.read(path)

    def test_a_byte_order_mark_is_no_part_of_it(self, card: Path) -> None:
        """Was open: a card that an editor had marked could not be read."""
        before = Card.read(card)
        card.write_bytes(b"\xef\xbb\xbf" + card.read_bytes())
        assert Card.read(card) == before

    @pytest.mark.parametrize("capitals", [True, False])
    def test_one_key_is_written_in_one_way(
        self, identity: Identity, tmp_path: Path, capitals: bool
    ) -> None:
        """Was open: written otherwise, the key of one group was that of a second one too."""
        digits = identity.public.hex()
        written = digits.upper() if capitals else f"{digits[:32]} {digits[32:]}"
        card = Card(group="South", role="train", identity=written, node=NODE)
        signature = identity.sign("card", b"", card._payload()).hex()
        path = tmp_path / "second.json"
        replace(card, signature=signature).write(path)
        with pytest.raises(ValueError, match="not signed by the key on it"):
            Card.read(path)

    def test_a_card_of_somebody_else_cannot_be_taken_over(self, card: Path, tmp_path: Path) -> None:
        """Another key on the card needs another signature, which shows another fingerprint."""
        thief = Identity.create()
        taken = tmp_path / "taken.json"
        Card.signed(thief, group="North", role="train", node=NODE).write(taken)
        assert Card.read(taken).fingerprint != Card.read(card).fingerprint


class TestInvitation:
    def test_it_is_read_as_it_was_written(self, invitation: Path) -> None:
        read = Invitation.read(invitation)
        assert (read.federation, read.address) == ("Lab", "fed.example.org:9443")
        assert read.settings == SETTINGS

    @pytest.mark.parametrize(
        "other",
        [
            {"ca": "-----BEGIN CERTIFICATE-----x"},
            {"server": "cd" * 32},
            {"address": "b.org:1"},
            {"federation": "Lob"},
            {"settings": {}},
            {"settings": {**SETTINGS, "privacy.mode": "none"}},
            {"settings": {**SETTINGS, "privacy.epsilon": 50.0}},
            {"settings": {**SETTINGS, "privacy.epsilon": 4}},
            {"settings": {**SETTINGS, "privacy.epsilon": "4.0"}},
            {"settings": {**SETTINGS, "privacy.colluding": 0}},
            {"settings": {**SETTINGS, "seed": True}},
        ],
        ids=str,
    )
    def test_its_fingerprint_changes_with_every_field_and_setting(
        self, invitation: Path, other: dict[str, Any]
    ) -> None:
        """Was open: settings were no part of it, so a weaker promise read out the same."""
        before = Invitation.read(invitation).fingerprint
        assert Invitation.read(changed(invitation, **other)).fingerprint != before

    def test_its_fingerprint_does_not_depend_on_how_it_is_written(self, invitation: Path) -> None:
        content = json.loads(invitation.read_text(encoding="utf-8"))
        before = Invitation.read(invitation).fingerprint
        content["settings"] = dict(reversed(content["settings"].items()))
        invitation.write_text(f"\ufeff{json.dumps(content)}", encoding="utf-8")
        assert Invitation.read(invitation).fingerprint == before

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"a": NaN}', "NaN is no number"),
            ('{"a": -Infinity}', "-Infinity is no number"),
            ('{"a": 1e999}', "beyond all floats"),
            ('{"a": 1, "a": 2}', "stands twice"),
        ],
    )
    def test_settings_that_say_two_things_or_none_are_refused(
        self, invitation: Path, text: str, words: str
    ) -> None:
        """Was open: not-a-number and infinity were settings like others."""
        content = invitation.read_text(encoding="utf-8")
        settings = content[content.index('"settings": ') + len('"settings": ') : -2].rstrip()
        invitation.write_text(content.replace(settings, text), encoding="utf-8")
        with pytest.raises(ValueError, match=words) as caught:
            Invitation.read(invitation)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "damage",
        [
            {"address": "fed.example.org:9443\x1b[8m"},
            {"address": "fed.example.org:9443/x"},
            {"settings": {"privacy.epsilon\x1b[8m": 1.0}},
            {"settings": {"": 1.0}},
        ],
        ids=ascii,
    )
    def test_one_that_could_turn_a_terminal_is_refused(
        self, invitation: Path, damage: dict[str, Any]
    ) -> None:
        """Was open: control characters came through an invitation."""
        with pytest.raises(ValueError, match=r"ask for it again$"):
            Invitation.read(changed(invitation, **damage))

    @pytest.mark.parametrize(
        "damage",
        [
            {"server": "ab"},
            {"server": "zz" * 32},
            {"ca": "none"},
        ],
        ids=["short key", "no digits", "no certificate"],
    )
    def test_one_without_a_key_or_a_certificate_is_refused(
        self, invitation: Path, damage: dict[str, str]
    ) -> None:
        words = "holds no server key or no certificate: ask for it again$"
        with pytest.raises(ValueError, match=words):
            Invitation.read(changed(invitation, **damage))


@pytest.mark.parametrize("kind", [Card, Invitation])
class TestDamaged:
    @pytest.fixture
    def path(self, kind: Any, card: Path, invitation: Path) -> Path:
        return card if kind is Card else invitation

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda path: path.unlink(), "cannot be read as JSON: "),
            (lambda path: path.write_bytes(b"{"), "cannot be read as JSON: "),
            (lambda path: path.write_bytes(b"\xff"), "cannot be read as JSON: "),
            (lambda path: path.write_bytes(b"[" * 100_000), "cannot be read as JSON: "),
            (lambda path: path.write_bytes(b"[1]"), "is no "),
            (lambda path: changed(path, more="x"), "is no "),
            (lambda path: changed(path, **_first(path, None)), "is no "),
            (lambda path: changed(path, **_first(path, 3)), "must be texts"),
        ],
        ids=["missing", "cut", "no text", "deep", "a list", "more", "less", "a number"],
    )
    def test_it_is_refused_in_one_line_that_names_it(
        self, kind: Any, path: Path, damage: Callable[[Path], object], words: str
    ) -> None:
        damage(path)
        with pytest.raises(ValueError) as caught:
            kind.read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def _first(path: Path, value: object) -> dict[str, object]:
    return {next(iter(json.loads(path.read_text()))): value}


@pytest.mark.parametrize("settings", [[], "x", {"a": {"b": 1}}, {"a": None}, {"a": [1]}])
def test_settings_are_a_table_of_plain_values(invitation: Path, settings: object) -> None:
    content = {**json.loads(invitation.read_text()), "settings": settings}
    invitation.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"settings must be a table of plain values$"):
        Invitation.read(invitation)


def test_fingerprints_can_be_read_out() -> None:
    """Eight groups of four digits: 128 bits, which nobody finds a second key for."""
    assert readable(bytes(range(32))) == "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f"
