"""A server's folder: what is made, who is admitted, and which settings it decides itself."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privacy.identity.enrolment import Card, Invitation
from privacy.identity.key_folder import SERVER, SERVERS
from privacy.identity.keys import Identity, Roster
from server.config import ConfigError
from server.deployment.home import (
    NODES_FILE,
    RUNS_FILE,
    DeploymentError,
    ServerHome,
    admit,
    admitted,
    invite,
    note,
    noted,
    programs,
    remove,
    set_up,
    settings_of_run,
)
from server.rounds.admission import Setup
from server.rounds.admission_file import AdmissionFile
from strategies.wire.round_plan import vector_digest

MakeCard = Callable[..., Card]


def make(folder: Path, **changes: Any) -> ServerHome:
    given: dict[str, Any] = {
        "federation": "Lab",
        "host": "fed.example.org",
        "port": 9443,
        "bind": "127.0.0.1",
    }
    settings, also = changes.pop("settings", {}), changes.pop("also", ())
    return set_up(ServerHome(folder=folder, **{**given, **changes}), settings, also=also)


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return make(tmp_path / "lab")


def card(group: str, *, role: str = "train", node: str = "") -> Card:
    return Card.signed(
        Identity.create(), group=group, role=role, node=node or f"ecdsa-sha2-nistp384 {group}"
    )


class TestSetUp:
    def test_it_is_read_as_it_was_made(self, home: ServerHome, tmp_path: Path) -> None:
        assert ServerHome.read(tmp_path / "lab") == home
        assert (home.address, home.loopback) == ("fed.example.org:9443", "127.0.0.1:9443")

    def test_secrets_are_for_their_owner_alone(self, home: ServerHome) -> None:
        secret = [*home.folder.rglob("*.key"), *home.folder.rglob("*.pem")]
        assert len(secret) == 3
        for path in (*secret, home.file("executor.secret")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name

    def test_the_invitation_says_all_that_runs_ask_for(self, home: ServerHome) -> None:
        read = Invitation.read(home.file("invitation.json"))
        assert read.address == "fed.example.org:9443"
        assert read.ca == home.file("tls", "ca.crt").read_text()
        assert bytes.fromhex(read.server) == home.keys.own(SERVER, role=SERVERS).public
        wanted = home.run_config("autumn", {}, resume=False).flat()
        for key, value in read.settings.items():
            assert wanted[key] == value
        left_out = {*wanted} - {*read.settings}
        assert left_out == {
            "data",
            "split",
            "skip_invalid",
            "out",
            "resume",
            "privacy.ledgers",
            "privacy.budget_epsilon",
            "federation.roster",
        }

    def test_the_invitation_names_the_start_by_its_digest(
        self, tiny_encoder: str, tmp_path: Path
    ) -> None:
        from alignment.config import ContextConfig, PredictorConfig
        from alignment.model.folder import save_predictor
        from alignment.model.predictor import Predictor
        from alignment.model.vector import to_vector

        config = PredictorConfig(encoder=tiny_encoder, head_width=8, max_tokens=64)
        predictor, start = Predictor(config, seed=5), tmp_path / "spring"
        save_predictor(predictor, start, ContextConfig())
        home = make(tmp_path / "lab", settings={"training.start": str(start)})
        invited = Invitation.read(home.file("invitation.json"))
        assert invited.settings["training.start"] == vector_digest(to_vector(predictor))
        assert invited.settings["predictor.head_width"] == 8
        assert str(start) not in home.file("invitation.json").read_text(encoding="utf-8")
        assert home.run_config("autumn", {}, resume=False).training.start == str(start)
        (start / "head.safetensors").unlink()
        with pytest.raises(ConfigError, match=r"training\.start = .*: no head\.safetensors"):
            make(tmp_path / "other", settings={"training.start": str(start)})
        assert not (tmp_path / "other").exists()
        with pytest.raises(ConfigError, match=r"training\.start = "):
            invite(home)
        assert Invitation.read(home.file("invitation.json")) == invited

    def test_it_stays_complete_when_settings_are_cut(self, home: ServerHome) -> None:
        before = Invitation.read(home.file("invitation.json")).settings
        home.file("federation.toml").write_text("[privacy]\nepsilon = 2.0\n", encoding="utf-8")
        invite(home)
        after = Invitation.read(home.file("invitation.json")).settings
        assert set(after) == set(before)
        assert after["privacy.epsilon"] == 2.0
        assert after["privacy.mode"] == "local"

    def test_nothing_is_overwritten(self, home: ServerHome) -> None:
        before = {p: p.read_bytes() for p in home.folder.rglob("*") if p.is_file()}
        with pytest.raises(DeploymentError, match=r"is a server's folder already; choose another$"):
            make(home.folder)
        assert {p: p.read_bytes() for p in home.folder.rglob("*") if p.is_file()} == before

    @pytest.mark.parametrize(
        "name", ["executor.secret", "federation.toml", "roster.json", "invitation.json"]
    )
    def test_nothing_that_lies_there_is_overwritten(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("mine", encoding="utf-8")
        with pytest.raises(DeploymentError, match=f"{name}: is there already; choose another"):
            make(tmp_path)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"port": 0}, r"port = 0 must lie in \[1, 65535\]"),
            ({"port": 65536}, r"port = 65536 must lie in"),
            ({"host": "no host!"}, "no host!"),
            ({"settings": {"privacy.epsilon": "much"}}, "privacy.epsilon"),
            ({"settings": {"privacy.epsilom": 1.0}}, "did you mean 'privacy.epsilon'"),
            ({"settings": {"out": "x"}}, "^out is decided by the server's folder: leave it out$"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, tmp_path: Path, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words) as caught:
            make(tmp_path / "lab", **changes)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "lab" / "server.toml").exists()

    @pytest.mark.parametrize(
        "content", [None, "", "[", "host = 3", 'host = "a"\nport = []\nbind = ""\nfederation = ""']
    )
    def test_another_folder_is_told_from_a_servers(
        self, tmp_path: Path, content: str | None
    ) -> None:
        if content is not None:
            (tmp_path / "server.toml").write_text(content, encoding="utf-8")
        with pytest.raises(DeploymentError, match=r"is no server's folder .* makes one$"):
            ServerHome.read(tmp_path)


class TestRunConfig:
    def test_a_run_is_private_where_nothing_is_said(self, home: ServerHome) -> None:
        config = home.run_config("autumn", {}, resume=False)
        assert config.privacy.mode == "local"
        assert config.federation.secure_aggregation
        assert config.federation.roster == str(home.file("roster.json"))
        assert config.privacy.ledgers == str(home.file("ledgers"))
        assert config.out == str(home.file("runs", "autumn"))

    def test_it_stays_private_when_the_line_is_taken_out(self, home: ServerHome) -> None:
        home.file("federation.toml").write_text("seed = 3\n", encoding="utf-8")
        config = home.run_config("autumn", {}, resume=False)
        assert (config.privacy.mode, config.seed) == ("local", 3)

    def test_only_by_saying_so_is_it_not(self, home: ServerHome) -> None:
        config = home.run_config("autumn", {"privacy.mode": "none"}, resume=False)
        assert (config.privacy.mode, config.privacy.ledgers) == ("none", "")

    @pytest.mark.parametrize(
        "key",
        [
            "data",
            "split",
            "skip_invalid",
            "out",
            "resume",
            "privacy.ledgers",
            "privacy.budget_epsilon",
            "federation.roster",
        ],
    )
    def test_what_the_folder_decides_is_refused(self, home: ServerHome, key: str) -> None:
        words = f"^{key} is decided by the server's folder: leave it out$"
        with pytest.raises(ConfigError, match=words):
            home.run_config("autumn", {key: "x"}, resume=False)
        path = home.file("federation.toml")
        path.write_text(f'{key} = "x"\n', encoding="utf-8")
        with pytest.raises(ConfigError, match=words):
            home.run_config("autumn", {}, resume=False)

    def test_real_groups_are_not_lost_on_purpose(self, home: ServerHome) -> None:
        words = r"^simulation\.dropout = 0\.1: only fedaccord simulate can do that"
        with pytest.raises(ValueError, match=words):
            home.run_config("autumn", {"simulation.dropout": 0.1}, resume=False)

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "../x", "a/b", ".x", "/x", "a b", "a\n", "x" * 101, "ü"]
    )
    def test_a_name_that_is_no_folders_is_refused(self, home: ServerHome, name: str) -> None:
        with pytest.raises(ConfigError, match=r"use letters, digits, '-' and '_'$"):
            home.run_config(name, {}, resume=False)


class TestAdmission:
    def roster(self, home: ServerHome) -> dict[str, str]:
        return {name: key.hex() for name, key in Roster.read(home.file("roster.json")).items()}

    def test_the_roster_follows_who_is_admitted(self, home: ServerHome) -> None:
        assert self.roster(home) == {}
        north, south = card("North"), card("South")
        assert admit(home, south) is True
        assert admit(home, north) is True
        assert self.roster(home) == {"North": north.identity, "South": south.identity}
        assert set(admitted(home)) == {"North", "South"}
        # Nothing is asked a second time.
        assert admit(home, north) is False
        assert remove(home, "South") == south
        assert self.roster(home) == {"North": north.identity}
        with pytest.raises(DeploymentError, match="'South' is not admitted: fedaccord server stat"):
            remove(home, "South")
        assert admit(home, card("South")) is True
        servers = Roster.read(home.file("roster.json"), SERVERS)
        assert servers[SERVER] == home.keys.own(SERVER, role=SERVERS).public

    def test_a_name_keeps_its_key_until_it_is_removed(self, home: ServerHome) -> None:
        first = card("North")
        admit(home, first)
        words = f"^{first.fingerprint} is the key with which 'North' is admitted: fedaccord server"
        with pytest.raises(DeploymentError, match=words):
            admit(home, card("North"))
        assert self.roster(home) == {"North": first.identity}

    def test_nobody_has_the_key_of_another(self, home: ServerHome) -> None:
        identity = Identity.create()
        north = Card.signed(identity, group="North", role="train", node="node 1")
        admit(home, north)
        for twin in (
            Card.signed(identity, group="South", role="train", node="node 2"),
            Card.signed(Identity.create(), group="South", role="train", node="node 1"),
        ):
            with pytest.raises(DeploymentError, match="'South' shows a key of 'North': ask again"):
                admit(home, twin)
        assert set(admitted(home)) == {"North"}

    def test_nobody_has_the_name_of_the_server(self, home: ServerHome) -> None:
        """Was open: a roster then had one name for two parties, and was shown as if for one."""
        with pytest.raises(DeploymentError, match="the server's own name"):
            admit(home, card("server"))
        assert admitted(home) == {}

    def test_a_name_is_removed_however_it_is_typed(self, home: ServerHome) -> None:
        """Was open: letters typed decomposed named nobody."""
        admit(home, Card.signed(Identity.create(), group="Zo\u00eb S", role="train", node="n 1"))
        assert remove(home, " Zoe\u0308\u00a0S").group == "Zo\u00eb S"

    def test_a_group_that_only_measures_is_let_in_and_pinned_by_nobody(
        self, home: ServerHome
    ) -> None:
        east = card("East", role="held_out")
        admit(home, east)
        admit(home, card("North"))
        assert set(self.roster(home)) == {"North"}
        door = AdmissionFile(str(home.file("roster.json")))
        key = bytes.fromhex(east.identity)
        measuring = Setup(node=1, group="East", role="held_out", identity=key)
        assert door.refusal(measuring) == ""
        # Was open: whoever came without a key was believed to be any group that only measures.
        anybody = Setup(node=2, group="East", role="held_out")
        assert "shows another key than the roster" in door.refusal(anybody)
        training = Setup(node=1, group="East", role="train", identity=key)
        assert "is not in the roster" in door.refusal(training)
        remove(home, "East")
        door.read_again()
        assert "is not in the roster" in door.refusal(measuring)

    def test_a_card_that_was_changed_on_the_disk_is_not_admitted(self, home: ServerHome) -> None:
        admit(home, card("North"))
        (path,) = home.file("admitted").iterdir()
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, "group": "South"}), encoding="utf-8")
        with pytest.raises(ValueError, match="the card is not signed by the key on it"):
            admitted(home)


def test_numbers_of_flower_are_remembered(home: ServerHome) -> None:
    assert noted(home, RUNS_FILE) == {}
    note(home, RUNS_FILE, "autumn", 2**63 + 5)
    note(home, RUNS_FILE, "winter", 7)
    note(home, NODES_FILE, "key", 9)
    assert noted(home, RUNS_FILE) == {"autumn": 2**63 + 5, "winter": 7}
    assert noted(home, NODES_FILE) == {"key": 9}


def test_a_run_that_left_nothing_cannot_go_on(home: ServerHome) -> None:
    with pytest.raises(DeploymentError, match=r"'autumn' has left nothing .* runs: there is none$"):
        settings_of_run(home, "autumn")
    note(home, RUNS_FILE, "winter", 7)
    with pytest.raises(DeploymentError, match=r"runs: winter$"):
        settings_of_run(home, "autumn")


def test_the_settings_of_a_run_are_those_it_had(home: ServerHome) -> None:
    import tomli_w

    config = home.run_config("autumn", {"seed": 4}, resume=False)
    path = home.file("runs", "autumn", "config.toml")
    path.parent.mkdir(parents=True)
    path.write_text(tomli_w.dumps(config.nested()), encoding="utf-8")
    again = settings_of_run(home, "autumn")
    assert again.resume
    assert {**again.flat(), "resume": False} == config.flat()


def test_programs_speak_tls_and_know_who_may_take_tasks(home: ServerHome) -> None:
    both = programs(home)
    superlink, superexec = both["superlink"], both["superexec"]
    assert superlink[1:3] == ["-m", "server.deployment.superlink"]
    assert "--enable-supernode-auth" in superlink
    for name in ("ca.crt", "server.crt", "server.key"):
        assert str(home.file("tls", name)) in superlink
    assert "--insecure" not in (*superlink, *superexec)
    assert superexec[superexec.index("--runtime-api-address") + 1] == "127.0.0.1:9443"
    secret = str(home.file("executor.secret"))
    assert secret in superlink and secret in superexec
