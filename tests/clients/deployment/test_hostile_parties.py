"""What a hostile coordinator, group or server can bring onto the terminal of another: nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.data.home import Home
from clients.deployment.bundle import installed_files
from clients.deployment.checkup import findings
from privacy.identity.enrolment import Card, Invitation, key_fingerprint
from privacy.identity.keys import Identity, Roster
from server.config import read_run_config
from tests.hostile import FORGED, HOSTILE_TEXT, assert_seen

Command = Callable[..., Any]
NODE = "ecdsa-sha2-nistp384 AAAA"


@pytest.fixture
def lab(command: Command, tmp_path: Path) -> Path:
    assert command("server", "init", tmp_path / "lab", "--host", "fed.example.org").code == 0
    return tmp_path / "lab"


@pytest.fixture
def invitation(tmp_path: Path, tiny_settings: Mapping[str, Any]) -> Callable[..., Path]:
    """Write an invitation with changed settings."""
    settings = {key: value for key, value in tiny_settings.items() if key != "data"}

    def write(**changes: Any) -> Path:
        path = tmp_path / "invitation.json"
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        flat = read_run_config({"privacy.mode": "distributed", **settings}).flat()
        Invitation(
            federation="Lab",
            address="fed.example.org:9443",
            ca="-----BEGIN CERTIFICATE-----",
            server=Identity.create().public.hex(),
            settings={**flat, **dotted},
        ).write(path)
        return path

    return write


@pytest.fixture
def init(
    command: Command, tmp_path: Path, tiny_rows: Sequence[Any], write_rows: Callable[..., Path]
) -> Command:
    own = [row for row in tiny_rows if row["group"] == "Group 0"]
    data = write_rows(tmp_path / "own.jsonl", own)
    words = ("client", "init", tmp_path / "north", "--group", "Group 0", "--data", data)
    return lambda *more: command(*words, *more)


def forged_card(path: Path, group: str) -> Path:
    """A card signed by its own key, which any group can make."""
    identity = Identity.create()
    card = Card(group=group, role="train", identity=identity.public.hex(), node=NODE)
    replace(card, signature=identity.sign("card", b"", card._payload()).hex()).write(path)
    return path


class TestForgedNames:
    @pytest.mark.parametrize("group", FORGED, ids=ascii)
    def test_a_card_is_refused_before_anything_is_shown_or_admitted(
        self, command: Command, lab: Path, tmp_path: Path, group: str
    ) -> None:
        """Was open: a name showed a fingerprint of its own and hid the true one."""
        done = command("server", "admit", lab, forged_card(tmp_path / "c.json", group), "--yes")
        assert (done.code, done.out) == (2, "")
        assert done.err.count("\n") == 1
        assert_seen(done.err)
        assert not Roster.read(lab / "roster.json")

    @pytest.mark.parametrize("group", [name for name in FORGED if "\x00" not in name], ids=ascii)
    def test_a_client_takes_no_such_name(
        self, command: Command, invitation: Any, tmp_path: Path, tiny_data: Path, group: str
    ) -> None:
        """Was open: init made a card of whatever name was given."""
        done = command(
            *("client", "init", tmp_path / "north", "--invitation", invitation()),
            *("--group", group, "--data", tiny_data),
        )
        assert (done.code, done.out) == (2, "")
        assert done.err.count("\n") == 1
        assert_seen(done.err)
        assert not (tmp_path / "north").exists()

    @pytest.mark.parametrize("name", FORGED, ids=ascii)
    def test_a_roster_shows_and_pins_no_such_name(
        self, command: Command, init: Command, invitation: Any, tmp_path: Path, name: str
    ) -> None:
        """Was open: a roster showed names of its members as they came."""
        assert init("--invitation", invitation()).code == 0
        home = tmp_path / "north"
        content = json.loads((home / "roster.json").read_text(encoding="utf-8"))
        content["members"][name] = "11" * 32
        sent = tmp_path / "sent.json"
        sent.write_text(json.dumps(content), encoding="utf-8")
        done = command("client", "roster", home, sent, "--yes")
        assert (done.code, done.out) == (2, "")
        assert_seen(done.err)
        assert len(Roster.read(home / "roster.json")) == 1

    @pytest.mark.parametrize("federation", FORGED, ids=ascii)
    def test_nor_does_an_invitation_or_a_server_have_one(
        self, command: Command, init: Command, invitation: Any, tmp_path: Path, federation: str
    ) -> None:
        """Was open: the name of a federation was any text."""
        path = invitation()
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, "federation": federation}), encoding="utf-8")
        done = init("--invitation", path)
        assert (done.code, done.out) == (2, "")
        assert_seen(done.err)
        if federation:
            words = ("server", "init", tmp_path / "l", "--host", "a.org", "--name", federation)
            done = command(*words)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
            assert_seen(done.err)


def test_fingerprints_stand_first_before_any_name(
    command: Command, lab: Path, init: Command, invitation: Any, tmp_path: Path
) -> None:
    """Was open: a name stood before its fingerprint, and could bring one along."""
    done = init("--invitation", invitation())
    home = tmp_path / "north"
    for fingerprint in (
        Invitation.read(home / "invitation.json").fingerprint,
        Card.read(home / "card.json").fingerprint,
    ):
        assert f"\n  {fingerprint}   " in done.out
    assert done.out.index(fingerprint) < done.out.index("Group 0")
    identity = Identity.create()
    card = tmp_path / "south.json"
    Card.signed(identity, group="South", role="train", node=NODE).write(card)
    done = command("server", "admit", lab, card, "--yes")
    assert done.out.startswith(f"  {key_fingerprint(identity.public)}   train")
    content = json.loads((home / "roster.json").read_text(encoding="utf-8"))
    content["members"]["South"] = identity.public.hex()
    sent = tmp_path / "sent.json"
    sent.write_text(json.dumps(content), encoding="utf-8")
    done = command("client", "roster", home, sent, "--yes")
    assert done.out.startswith(f"  {key_fingerprint(identity.public)}   new")


def test_a_bundle_shows_every_character_of_its_lines(
    command: Command, init: Command, invitation: Any, tmp_path: Path, bundle_of: Any
) -> None:
    """Was open: a line of a bundle could erase those above it."""
    assert init("--invitation", invitation()).code == 0
    files = dict(installed_files())
    files["clients/app.py"] += b"import os  # \x1b[1A\x1b[2K\r" + HOSTILE_TEXT.encode() + b"\n"
    files["clients/\u202eyp.evil.py"] = b"x\n"
    sent = tmp_path / "sent.fab"
    sent.write_bytes(bundle_of(files))
    done = command("client", "review", tmp_path / "north", sent, "--diff")
    assert done.code == 1
    assert r"+import os  # \x1b[1A\x1b[2K\x0d" in done.out
    assert_seen(done.out)
    assert_seen(done.err)


class TestWeaker:
    WEAK: Mapping[str, Any] = {
        "privacy__mode": "none",
        "privacy__epsilon": 50.0,
        "privacy__delta": 0.5,
        "privacy__colluding": 0,
    }
    NAMES = (
        *("privacy.mode", "privacy.budget_epsilon", "privacy.budget_delta"),
        *("privacy.run_epsilon", "accept.colluding"),
    )

    def test_nobody_is_asked_for_the_defaults(self, init: Command, invitation: Any) -> None:
        done = init("--invitation", invitation())
        assert (done.code, done.err) == (0, "")
        assert "promises less" not in done.out

    def test_without_a_terminal_it_is_refused_in_one_line(
        self, init: Command, invitation: Any, tmp_path: Path
    ) -> None:
        """Was open: no privacy at all went from an invitation into the policy unseen."""
        done = init("--invitation", invitation(**self.WEAK))
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: the invitation promises less than the built-in defaults")
        assert done.err.count("\n") == 1
        for name in (*self.NAMES, "--accept-weaker"):
            assert name in done.err
        assert not (tmp_path / "north").exists()

    @pytest.mark.parametrize("answer", [True, False])
    def test_on_a_terminal_somebody_is_asked(
        self,
        init: Command,
        invitation: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        answer: bool,
    ) -> None:
        """Was open: nobody was asked."""
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.confirm", lambda _: answer)
        path = invitation(**self.WEAK)
        done = init("--invitation", path)
        for name in self.NAMES:
            assert name in done.out
        assert done.out.startswith(Invitation.read(path).fingerprint)
        assert done.code == (0 if answer else 1)
        assert (tmp_path / "north").exists() == answer

    def test_it_can_be_accepted_beforehand_and_is_still_shown(
        self, init: Command, invitation: Any, tmp_path: Path
    ) -> None:
        done = init("--invitation", invitation(**self.WEAK), "--accept-weaker")
        assert (done.code, done.err) == (0, "")
        assert "promises less than the built-in defaults" in done.out
        assert Home(folder=tmp_path / "north").group_policy.privacy.mode == "none"

    def test_a_budget_of_ones_own_is_nobody_elses(self, init: Command, invitation: Any) -> None:
        assert init("--invitation", invitation(), "--budget", 20).code == 0

    @pytest.mark.parametrize(
        "setting",
        [
            {"privacy__epsilon": "8"},
            {"privacy__epsilon": True},
            {"privacy__epsilon": 60.0},
            {"privacy__noise": 1.0},
            {"privacy__mode": "\x1b[8mnone"},
            {"federation__minimum_groups": 0},
        ],
        ids=ascii,
    )
    def test_settings_that_cannot_be_are_refused_and_nothing_is_written(
        self, init: Command, invitation: Any, tmp_path: Path, setting: dict[str, Any]
    ) -> None:
        """Was open: types were cast and unknown settings left aside."""
        done = init("--invitation", invitation(**setting), "--accept-weaker")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(
            f"error: the invitation: {next(iter(setting)).replace('__', '.')}"
        )
        assert done.err.count("\n") == 1
        assert_seen(done.err)
        assert not (tmp_path / "north").exists()

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_a_number_that_is_none_is_refused(
        self, init: Command, invitation: Any, tmp_path: Path, number: str
    ) -> None:
        """Was open: not-a-number became the epsilon of a policy."""
        path = invitation(privacy__epsilon=7.25)
        path.write_text(path.read_text().replace("7.25", number), encoding="utf-8")
        done = init("--invitation", path, "--accept-weaker")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert not (tmp_path / "north").exists()

    def test_check_repeats_it_and_names_the_invitation(
        self, init: Command, invitation: Any, tmp_path: Path
    ) -> None:
        """Was open: nothing reminded anybody of what had been agreed to."""
        path = invitation(**self.WEAK)
        init("--invitation", path, "--accept-weaker")
        found = {
            each.name: each for each in findings(Home(folder=tmp_path / "north"), offline=True)
        }
        assert found["promise"].holds
        for name in self.NAMES:
            assert name in found["promise"].text
        assert Invitation.read(path).fingerprint in found["invitation"].text

    def test_an_invitation_that_was_put_in_its_place_is_seen_or_refused(
        self, init: Command, invitation: Any, tmp_path: Path
    ) -> None:
        """Was open: another invitation in the folder had the fingerprint of the first."""
        init("--invitation", invitation())
        home = Home(folder=tmp_path / "north")
        before = {each.name: each for each in findings(home, offline=True)}["invitation"]
        path = home.file("invitation.json")
        first = Invitation.read(path)
        replace(first, settings={**first.settings, "privacy.colluding": 0}).write(path)
        after = {each.name: each for each in findings(home, offline=True)}["invitation"]
        assert after.text != before.text
        replace(first, settings={**first.settings, "privacy.epsilon": "8"}).write(path)
        assert not {each.name: each for each in findings(home, offline=True)}["invitation"].holds
