"""The commands of a coordinator, as they are typed; no SuperLink is needed for these."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

import fedaccord
from privacy.identity.enrolment import Card, Invitation
from privacy.identity.keys import Identity, Roster
from server.deployment import cli
from server.deployment.control import Control, ControlError
from server.deployment.home import ServerHome, is_started

Command = Callable[..., Any]


@pytest.fixture
def lab(command: Command, tmp_path: Path) -> Path:
    done = command("server", "init", tmp_path / "lab", "--host", "fed.example.org")
    assert (done.code, done.err) == (0, "")
    return tmp_path / "lab"


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    Card.signed(
        Identity.create(), group="North [1]", role="train", node="ecdsa-sha2-nistp384 AA"
    ).write(path)
    return path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SuperLink answers."""

    def unanswered(*_: object) -> None:
        raise ControlError("flwr: Connection refused; is fedaccord server start running?")

    monkeypatch.setattr(Control, "_flwr", unanswered)


def commands() -> list[tuple[str, str, Any]]:
    groups: Any = typer.main.get_command(fedaccord.app)
    return [
        (side, name, each)
        for side in ("server", "client")
        for name, each in groups.commands[side].commands.items()
    ]


@pytest.mark.parametrize(
    ("side", "name", "each"), commands(), ids=[f"{side} {name}" for side, name, _ in commands()]
)
def test_every_command_shows_an_example_of_itself(
    command: Command, side: str, name: str, each: Any
) -> None:
    assert each.epilog.startswith(f"Example: fedaccord {side} {name} ")
    done = command(side, name, "--help")
    assert done.code == 0
    assert f"Example: fedaccord {side} {name}" in " ".join(done.out.split())


def test_init_shows_what_to_read_out(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    done = command(
        *("server", "init", folder, "--host", "fed.example.org", "--name", "Lab"),
        *("--set", "privacy.epsilon=2", "--port", 1234),
    )
    assert (done.code, done.err) == (0, "")
    invitation = Invitation.read(folder / "invitation.json")
    assert invitation.fingerprint in done.out
    assert (invitation.federation, invitation.address) == ("Lab", "fed.example.org:1234")
    assert invitation.settings["privacy.epsilon"] == 2.0
    assert invitation.settings["privacy.mode"] == "local"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("init", "{new}"), "--host is missing: the name or address organisations reach you by"),
        (
            ("init", "{lab}", "--host", "a.org"),
            "{lab}: is a server's folder already; choose anothe",
        ),
        (("init", "{new}", "--host", "a.org", "--set", "out=x"), "out is decided by the server's"),
        (("init", "{new}", "--host", "a.org", "--set", "x"), "--set 'x': write key=value"),
        (("init", "{new}", "--host", "a.org", "--set", "x=1"), "unknown setting 'x': "),
        (("init", "{new}", "--host", "a.org", "--port", "0"), "port = 0 must lie in [1, 65535]"),
        (("init", "{new}", "--host", "a.org", "--config", "no.toml"), "no.toml: cannot be read"),
        (("init", "{new}", "--renew"), "{new}/server.toml: is no server's folder"),
        (("invite", "{new}"), "{new}/server.toml: is no server's folder"),
        (("start", "{new}"), "{new}/server.toml: is no server's folder"),
        (("run", "{new}"), "{new}/server.toml: is no server's folder"),
        (("resume", "{new}", "autumn"), "{new}/server.toml: is no server's folder"),
        (("status", "{new}"), "{new}/server.toml: is no server's folder"),
        (("admit", "{lab}"), "no card given: name the files that organisations have sent"),
        (("admit", "{lab}", "no.json"), "no.json: cannot be read as JSON"),
        (("admit", "{lab}", "--remove", "South"), "'South' is not admitted: fedaccord server stat"),
        (("run", "{lab}", "--name", "../x"), "--name '../x': use letters, digits, '-' and '_'"),
        (("run", "{lab}", "--set", "data=x"), "data is decided by the server's folder: leave it"),
        (("resume", "{lab}", "autumn"), "run 'autumn' has left nothing to go on from; runs: there"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_usage_errors_are_one_line_and_status_2(
    command: Command, lab: Path, tmp_path: Path, nobody: None, words: tuple[str, ...], told: str
) -> None:
    places = {"lab": lab, "new": tmp_path / "new"}
    done = command("server", *(word.format(**places) for word in words))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "error: " + told.replace("{lab}", str(lab)).replace("{new}", str(tmp_path / "new"))
    )
    assert done.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


class TestAdmit:
    def test_who_is_admitted_is_in_the_roster_also_while_no_server_runs(
        self, command: Command, lab: Path, card: Path, nobody: None
    ) -> None:
        done = command("server", "admit", lab, card, "--yes")
        assert (done.code, done.err) == (0, "")
        assert f"  {Card.read(card).fingerprint}   train      North [1]\n" in done.out
        assert "nodes are let in and out before the next run" in done.out
        assert set(Roster.read(lab / "roster.json")) == {"North [1]"}
        gone = command("server", "admit", lab, "--remove", "North [1]")
        assert gone.code == 0
        assert not Roster.read(lab / "roster.json")

    def test_nobody_is_admitted_whose_card_was_not_confirmed(
        self, command: Command, lab: Path, card: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("typer.confirm", lambda _: False)
        assert command("server", "admit", lab, card).code == 1
        assert not Roster.read(lab / "roster.json")

    def test_a_forged_card_admits_nobody_beside_it(
        self, command: Command, lab: Path, card: Path, tmp_path: Path, nobody: None
    ) -> None:
        forged = tmp_path / "forged.json"
        content = json.loads(card.read_text(encoding="utf-8"))
        forged.write_text(json.dumps({**content, "group": "South"}), encoding="utf-8")
        done = command("server", "admit", lab, card, forged, "--yes")
        assert (done.code, done.err) == (
            2,
            f"error: {forged}: the card is not signed by the key on it: ask again\n",
        )
        assert not Roster.read(lab / "roster.json")

    def test_nodes_are_let_in_and_out(
        self, command: Command, lab: Path, card: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[object, ...]] = []
        states: dict[int, str] = {}
        monkeypatch.setattr(Control, "nodes", lambda _: states)
        monkeypatch.setattr(
            Control, "register", lambda _, key, name: (asked.append(("in", key, name)), 5)[1]
        )
        monkeypatch.setattr(Control, "unregister", lambda _, node: asked.append(("out", node)))
        let_in = ("in", "ecdsa-sha2-nistp384 AA", "North [1]")
        command("server", "admit", lab, card, "--yes")
        for states[5], again in {"registered": 0, "online": 0, "offline": 0, "gone": 1}.items():
            asked.clear()
            command("server", "admit", lab, card, "--yes")
            assert asked == [let_in] * again
        states.clear()
        asked.clear()
        command("server", "admit", lab, card, "--yes")
        command("server", "admit", lab, "--remove", "North [1]")
        assert asked == [let_in, ("out", 5)]

    @pytest.mark.parametrize("comes_back", [True, False])
    def test_a_superlink_that_is_started_anew_is_waited_for(
        self,
        command: Command,
        lab: Path,
        card: Path,
        monkeypatch: pytest.MonkeyPatch,
        comes_back: bool,
    ) -> None:
        asked: list[object] = []

        def nodes(_: object) -> dict[int, str]:
            asked.append("nodes")
            if len(asked) < 3 or not comes_back:
                raise ControlError("away")
            return {}

        monkeypatch.setattr(Control, "nodes", nodes)
        monkeypatch.setattr(Control, "register", lambda _, key, name: 7)
        monkeypatch.setattr(cli, "_LOOK_SECONDS", 0.01)
        monkeypatch.setattr(cli, "_RESTART_SECONDS", 0.5)
        (lab / "supervisord.pid").write_text(str(os.getpid()))
        done = command("server", "admit", lab, card, "--yes")
        assert done.code == 0 and len(asked) >= 3
        assert ("No SuperLink answers here" in done.out) != comes_back


def test_whether_a_server_is_started(lab: Path) -> None:
    home = ServerHome.read(lab)
    pid = lab / "supervisord.pid"
    assert not is_started(home)
    pid.write_text(str(os.getpid()))
    assert is_started(home)
    for gone in ("999999999", "no number"):
        pid.write_text(gone)
        assert not is_started(home)


def test_status_without_a_server_says_so(
    command: Command, lab: Path, card: Path, nobody: None
) -> None:
    command("server", "admit", lab, card, "--yes")
    done = command("server", "status", lab, "--json")
    told = json.loads(done.out)
    assert (done.code, told["running"]) == (0, False)
    assert told["groups"] == [{"group": "North [1]", "role": "train", "node": "unknown"}]
    assert told["certificate_days"] > 300
    shown = command("server", "status", lab)
    assert "not running" in shown.out
    assert "North [1]" in shown.out


def test_a_run_is_not_begun_twice_under_one_name(command: Command, lab: Path, nobody: None) -> None:
    (lab / "runs" / "autumn").mkdir(parents=True)
    done = command("server", "run", lab, "--name", "autumn")
    assert (done.code, done.err) == (
        2,
        "error: --name autumn: is a run already; choose another, or resume it\n",
    )


def test_a_run_without_a_server_says_how_to_start_one(
    command: Command, lab: Path, nobody: None
) -> None:
    done = command("server", "run", lab, "--name", "autumn")
    assert done.code == 1
    assert done.err.startswith("error: ControlError: flwr: Connection refused; is fedaccord server")
    assert done.err.count("\n") == 1


def test_invite_writes_what_was_changed(command: Command, lab: Path) -> None:
    text = (lab / "federation.toml").read_text(encoding="utf-8")
    before = Invitation.read(lab / "invitation.json").fingerprint
    (lab / "federation.toml").write_text(text.replace("epsilon = 8.0", "epsilon = 3.0"))
    done = command("server", "invite", lab)
    assert done.code == 0
    after = Invitation.read(lab / "invitation.json")
    assert after.settings["privacy.epsilon"] == 3.0
    # What is read out over the phone is about all that is asked, and changes with it.
    assert before != after.fingerprint
    assert after.fingerprint in done.out
    (lab / "federation.toml").write_text("[privacy]\nmicro_batch = 0\n", encoding="utf-8")
    wrong = command("server", "invite", lab)
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "error: setting 'privacy': micro_batch = 0 must be >= 1: raise it\n"
    assert Invitation.read(lab / "invitation.json") == after


def test_a_certificate_is_renewed_under_the_same_authority(command: Command, lab: Path) -> None:
    before = {path.name: path.read_bytes() for path in (lab / "tls").iterdir()}
    done = command("server", "init", lab, "--renew")
    assert (done.code, done.err) == (0, "")
    after = {path.name: path.read_bytes() for path in (lab / "tls").iterdir()}
    assert after["ca.crt"] == before["ca.crt"]
    assert after["server.crt"] != before["server.crt"]


def test_start_becomes_supervisord_of_this_folder(
    command: Command, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    monkeypatch.setattr("supervision.supervise", started.append)
    done = command("server", "start", lab)
    assert (done.code, started) == (0, [lab / "supervisord.conf"])
