"""The commands of an organisation's engineer, as she types them."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.data.home import Home
from clients.deployment.bundle import code_digest
from privacy.identity.enrolment import Card, Invitation, key_fingerprint
from privacy.identity.keys import Identity, Roster, rosters_json
from server.config import read_run_config

Deployed = Any
Command = Callable[..., Any]
ONE = "Group 0"


@pytest.fixture
def deployed(deploy: Callable[..., Deployed]) -> Deployed:
    return deploy(groups=2)


@pytest.fixture
def invitation(tmp_path: Path, tiny_settings: Mapping[str, Any]) -> Path:
    settings = {key: value for key, value in tiny_settings.items() if key != "data"}
    path = tmp_path / "invitation.json"
    Invitation(
        federation="Lab",
        address="fed.example.org:9443",
        ca="-----BEGIN CERTIFICATE-----",
        server=Identity.create().public.hex(),
        settings=read_run_config({"privacy.mode": "distributed", **settings}).flat(),
    ).write(path)
    return path


@pytest.fixture
def own_data(
    tmp_path: Path, tiny_rows: Sequence[Mapping[str, Any]], write_rows: Callable[..., Path]
) -> Path:
    """Records of the one group, as its organisation has them."""
    own = [row for row in tiny_rows if row["group"] == ONE]
    return write_rows(tmp_path / "own.jsonl", own)


class TestInit:
    def test_it_takes_and_shows_the_model_that_runs_begin_from(
        self, command: Command, invitation: Path, own_data: Path, tmp_path: Path
    ) -> None:
        invited = Invitation.read(invitation)
        for start, code in (("ab" * 32, 0), ("/srv/models/last-year", 2)):
            settings = {**invited.settings, "training.start": start}
            replace(invited, settings=settings).write(invitation)
            home = tmp_path / str(code)
            words = ("client", "init", home, "--invitation", invitation)
            done = command(*words, "--group", "Group 0", "--data", own_data)
            assert done.code == code, done.err
            if code == 0:
                assert f"Runs begin from the model {start}" in done.out
                assert Home(folder=home).group_policy.accept.start == start
            else:
                # A place of the server's is no model that anybody could agree to.
                assert "accept.start" in done.err or "start = '/srv" in done.err
                assert done.err.count("\n") == 1
                assert not home.exists()

    def test_it_shows_what_to_read_out_and_what_to_do_next(
        self, command: Command, invitation: Path, own_data: Path, tmp_path: Path
    ) -> None:
        north = tmp_path / "north"
        done = command(
            *("client", "init", north, "--invitation", invitation),
            *("--group", "Group 0", "--data", own_data, "--budget", 3),
        )
        assert (done.code, done.err) == (0, "")
        assert Invitation.read(invitation).fingerprint in done.out
        assert Card.read(north / "card.json").fingerprint in done.out
        policy = Home(folder=north).group_policy
        assert (policy.privacy.budget_epsilon, len(policy.accept.model)) == (3.0, 64)
        assert policy.privacy.units == 7
        assert "Others are told of at most 7 units of privacy." in done.out
        for step in ("policy.toml", "card.json", "client roster", "client check", "client join"):
            assert step in done.out
        again = command(
            *("client", "init", north, "--invitation", invitation),
            *("--group", "Group 0", "--data", own_data),
        )
        assert again.code == 2
        assert again.err == f"error: {north}: holds a client already; choose another folder\n"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"--data": "nowhere.jsonl"}, "error: --data nowhere.jsonl: is not there; name a file"),
            ({"--role": "both"}, "error: --role 'both': use train or held_out"),
            ({"--invitation": "nowhere.json"}, "error: nowhere.json: cannot be read as JSON: "),
            ({"--port": "70000"}, "error: the policy would make no sense: port = 70000: "),
            ({"--group": ""}, "error: the policy would make no sense: group = ''"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(
        self,
        command: Command,
        invitation: Path,
        own_data: Path,
        tmp_path: Path,
        changes: dict[str, str],
        words: str,
    ) -> None:
        options = {
            "--invitation": str(invitation),
            "--group": "Group 0",
            "--data": str(own_data),
            **changes,
        }
        done = command(
            "client", "init", tmp_path / "north", *(w for pair in options.items() for w in pair)
        )
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(words)
        assert done.err.count("\n") == 1
        assert not (tmp_path / "north").exists()

    @pytest.mark.parametrize(
        "settings", [{"predictor.size": 3}, {"predictor.head_width": "wide"}], ids=["new", "text"]
    )
    def test_a_predictor_that_is_not_known_here_is_refused_in_one_line(
        self,
        command: Command,
        invitation: Path,
        own_data: Path,
        tmp_path: Path,
        settings: dict[str, Any],
    ) -> None:
        content = json.loads(invitation.read_text(encoding="utf-8"))
        content["settings"] |= settings
        invitation.write_text(json.dumps(content), encoding="utf-8")
        done = command(
            *("client", "init", tmp_path / "north", "--invitation", invitation),
            *("--group", "Group 0", "--data", own_data),
        )
        assert done.code == 2
        assert done.err.startswith(f"error: the invitation: {next(iter(settings))} ")
        assert done.err.endswith(
            "install the coordinator's version, or ask for another invitation\n"
        )
        assert not (tmp_path / "north").exists()


class TestRoster:
    @pytest.fixture
    def file(self, deployed: Deployed, tmp_path: Path) -> Path:
        path = tmp_path / "new.json"
        pinned = deployed.homes[ONE] / "roster.json"
        members = {**Roster.read(pinned), "New [one]": Identity.create().public}
        members["Group 1"] = Identity.create().public
        text = rosters_json(Roster(members), Roster.read(pinned, "servers"))
        path.write_text(text, encoding="utf-8")
        return path

    def test_it_shows_what_changes_and_pins_it_when_told_to(
        self, command: Command, deployed: Deployed, file: Path
    ) -> None:
        home = deployed.homes[ONE]
        done = command("client", "roster", home, file, "--yes")
        assert done.code == 0
        members = Roster.read(file)
        for title, name in (("new", "New [one]"), ("other key", "Group 1")):
            line = f"  {key_fingerprint(members[name])}   {title:9}   trains          {name}\n"
            assert line in done.out
        assert "ask that member, not the coordinator" in done.out
        assert Roster.read(home / "roster.json") == Roster.read(file)
        again = command("client", "roster", home, file)
        assert "nothing changes" in again.out

    def test_it_pins_nothing_that_was_not_agreed_to(
        self,
        command: Command,
        deployed: Deployed,
        file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("typer.confirm", lambda _: False)
        before = (deployed.homes[ONE] / "roster.json").read_bytes()
        assert command("client", "roster", deployed.homes[ONE], file).code == 1
        assert (deployed.homes[ONE] / "roster.json").read_bytes() == before


class TestCheck:
    def test_it_says_what_holds_and_what_a_run_will_cost(
        self, command: Command, deployed: Deployed
    ) -> None:
        done = command("client", "check", deployed.homes[ONE], "--offline")
        assert (done.code, done.err) == (0, "")
        shown = " ".join(done.out.split())
        for words in ("holds keys", "holds data", "2 rounds", " down in a round", "epsilon 8 of"):
            assert words in shown

    def test_what_fails_is_said_and_is_the_exit_status(
        self, command: Command, deployed: Deployed
    ) -> None:
        deployed.change(ONE, accept__code="ab" * 32)
        done = command("client", "check", deployed.homes[ONE], "--offline")
        assert done.code == 1
        assert "FAILS  code" in done.out
        assert "rounds" not in done.out

    def test_json_for_programs(self, command: Command, deployed: Deployed) -> None:
        done = command("client", "check", deployed.homes[ONE], "--offline", "--json")
        told = json.loads(done.out)
        assert (done.code, told["holds"]) == (0, True)
        assert [each["name"] for each in told["findings"]] == [
            *("keys", "code", "invitation", "promise", "roster", "data")
        ]
        assert told["forecast"]["rounds"] == 2
        quick = command("client", "check", deployed.homes[ONE], "--offline", "--json", "--quick")
        assert json.loads(quick.out)["forecast"] is None

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"privacy__run_epsilon": 4.0}, "epsilon = 8 is above the 4 that this group's policy"),
            ({"accept__colluding": 2}, "colluding = 1 is below the 2 that this group's policy"),
        ],
    )
    def test_a_run_that_the_policy_will_refuse_fails_as_a_forecast(
        self, command: Command, deployed: Deployed, changes: dict[str, Any], words: str
    ) -> None:
        deployed.change(ONE, **changes)
        done = command("client", "check", deployed.homes[ONE], "--offline", "--json")
        assert (done.code, done.err) == (1, "")
        (failed,) = [each for each in json.loads(done.out)["findings"] if not each["holds"]]
        assert failed["name"] == "forecast"
        assert failed["text"].startswith(words)

    def test_a_budget_that_does_not_pay_for_the_run_is_said(
        self, command: Command, deployed: Deployed
    ) -> None:
        deployed.change(ONE, privacy__budget_epsilon=2.0)
        done = command("client", "check", deployed.homes[ONE], "--offline")
        assert done.code == 1
        assert "The budget does not pay for the whole run" in done.out
        told = command("client", "check", deployed.homes[ONE], "--offline", "--json")
        assert (told.code, json.loads(told.out)["holds"]) == (1, False)


class TestJoin:
    def test_it_starts_nothing_where_something_fails(
        self, command: Command, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[Path] = []
        monkeypatch.setattr("supervision.supervise", started.append)
        (deployed.homes[ONE] / "executor.secret").unlink()
        done = command("client", "join", deployed.homes[ONE], "--unchecked")
        assert done.code == 1
        assert done.err.startswith("error: keys: ")
        assert done.err.count("\n") == 1
        assert not started

    def test_it_keeps_two_programs_alive_that_know_nothing_but_the_folder(
        self, command: Command, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[Path] = []
        monkeypatch.setattr("supervision.supervise", started.append)
        home = deployed.homes[ONE]
        done = command("client", "join", home, "--unchecked")
        assert (done.code, started) == (0, [home / "supervisord.conf"])
        from clients.deployment.join import programs

        both = programs(Home(folder=home), Home(folder=home).group_policy)
        assert set(both) == {"supernode", "executor"}
        supernode, executor = both["supernode"], both["executor"]
        assert supernode[:4] == [sys.executable, "-m", "clients.deployment.supernode", "1.0"]
        assert supernode[supernode.index("--isolation") + 1] == "process"
        assert supernode[supernode.index("--host") + 1] == "127.0.0.1"
        assert supernode[supernode.index("--root-certificates") + 1] == str(home / "ca.crt")
        assert "--insecure" not in supernode
        assert executor[executor.index("--node") + 1] == "127.0.0.1:9094"
        assert not any(str(deployed.data[ONE]) in word for word in supernode)


class TestReview:
    def test_it_shows_what_runs_here(self, command: Command, deployed: Deployed) -> None:
        done = command("client", "review", deployed.homes[ONE])
        assert done.code == 0
        assert done.out.count(code_digest()) == 2

    def test_code_is_accepted_by_name(self, command: Command, deployed: Deployed) -> None:
        deployed.change(ONE, accept__code="ab" * 32)
        home = deployed.homes[ONE]
        assert command("client", "review", home).code == 1
        assert command("client", "review", home, "--accept").code == 0
        assert Home(folder=home).group_policy.accept.code == code_digest()

    @pytest.mark.parametrize(
        ("content", "code", "words"),
        [
            (None, 2, "error: sent.fab: cannot be read: "),
            (b"no bundle", 1, "error: CodeRefused: the bundle cannot be read"),
        ],
    )
    def test_a_file_that_is_no_bundle(
        self,
        command: Command,
        deployed: Deployed,
        content: bytes | None,
        code: int,
        words: str,
    ) -> None:
        if content is not None:
            (deployed.homes[ONE] / "sent.fab").write_bytes(content)
        done = command("client", "review", deployed.homes[ONE], "sent.fab")
        assert done.code == code
        assert done.err.startswith(words)
        assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["check", "join", "review"])
def test_a_folder_that_is_no_clients_is_refused_in_one_line(
    command: Command, tmp_path: Path, name: str
) -> None:
    done = command("client", name, tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {tmp_path / 'policy.toml'}: cannot be read: ")
    assert done.err.count("\n") == 1
