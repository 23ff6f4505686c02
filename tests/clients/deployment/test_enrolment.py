"""Setting up a client and pinning rosters: secrets, what is never overwritten, what is refused."""

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignment.data.sources import DataError
from clients.data.group_policy import GroupPolicyError
from clients.data.home import Home
from clients.deployment.bundle import code_digest
from clients.deployment.enrolment import (
    compare_roster,
    pin_roster,
    policy_for,
    public_bound,
    set_up,
    settings_of,
)
from privacy.identity.enrolment import Card, Invitation
from privacy.identity.keys import Identity, Roster, rosters_json

SETTINGS: Mapping[str, Any] = {
    "privacy.mode": "distributed",
    "privacy.unit": "record",
    "privacy.epsilon": 4.0,
    "privacy.delta": 1e-6,
    "privacy.colluding": 2,
    "federation.minimum_groups": 5,
}
INVITATION = Invitation(
    federation="Lab",
    address="fed.example.org:9443",
    ca="-----BEGIN CERTIFICATE-----\n",
    server=Identity.create().public.hex(),
    settings=SETTINGS,
)
SetUp = Callable[..., Card]


@pytest.fixture
def north(tmp_path: Path) -> Path:
    return tmp_path / "north"


@pytest.fixture
def make(north: Path, tmp_path: Path) -> SetUp:
    def call(invitation: Invitation = INVITATION, **changes: Any) -> Card:
        given = {"group": "North", "data": tmp_path / "answers.jsonl", "units": 9, **changes}
        return set_up(north, invitation, policy_for(north, invitation, **given))

    return call


class TestSetUp:
    def test_the_policy_asks_for_what_the_invitation_announces(
        self, make: SetUp, north: Path, tmp_path: Path
    ) -> None:
        make(model="cd" * 32, port=1234)
        policy = Home(folder=north).group_policy
        privacy, accept = policy.privacy, policy.accept
        assert (privacy.mode, privacy.unit) == ("distributed", "record")
        assert (privacy.run_epsilon, privacy.budget_epsilon, privacy.budget_delta) == (4, 5, 1e-6)
        assert privacy.units == 9
        assert (accept.members, accept.colluding, accept.code) == (5, 2, code_digest())
        assert (accept.model, policy.machine.port) == ("cd" * 32, 1234)
        assert policy.server.address == "fed.example.org:9443"
        assert Home(folder=north).data(policy) == tmp_path / "answers.jsonl"
        assert settings_of(Home(folder=north)) == SETTINGS

    def test_a_budget_that_is_given_is_taken(self, make: SetUp, north: Path) -> None:
        make(budget_epsilon=1.5)
        assert Home(folder=north).group_policy.privacy.budget_epsilon == 1.5

    def test_secrets_are_for_their_owner_alone(self, make: SetUp, north: Path) -> None:
        make()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in north.iterdir()}
        for name in ("identity.pem", "node.key", "executor.secret"):
            assert modes.pop(name) == 0o600
        secret = (north / "executor.secret").read_bytes()
        assert (len(secret), len(set(secret)) > 8) == (32, True)
        for name in modes:
            assert secret not in (north / name).read_bytes()
            assert b"PRIVATE" not in (north / name).read_bytes(), name

    def test_the_card_is_signed_by_the_key_that_stays(self, make: SetUp, north: Path) -> None:
        card = make()
        assert Card.read(north / "card.json") == card
        assert card.identity == Identity.read(north / "identity.pem").public.hex()
        assert card.node == (north / "node.pub").read_text().strip()

    def test_the_roster_begins_with_the_own_key_and_the_servers(
        self, make: SetUp, north: Path
    ) -> None:
        card = make()
        assert dict(Roster.read(north / "roster.json")) == {"North": bytes.fromhex(card.identity)}
        servers = Roster.read(north / "roster.json", "servers")
        assert dict(servers) == {"server": bytes.fromhex(INVITATION.server)}

    def test_a_group_that_only_measures_has_public_answers_and_no_place_in_a_sum(
        self, make: SetUp, north: Path
    ) -> None:
        make(role="held_out")
        policy = Home(folder=north).group_policy
        assert (policy.role, policy.data.public) == ("held_out", True)
        assert len(Roster.read(north / "roster.json")) == 0

    def test_records_in_the_folder_move_with_it(self, make: SetUp, north: Path) -> None:
        north.mkdir()
        (north / "answers.jsonl").touch()
        make(data=north / "answers.jsonl")
        assert Home(folder=north).group_policy.data.path == "answers.jsonl"

    def test_a_client_is_never_set_up_twice(self, make: SetUp, north: Path) -> None:
        make()
        before = {path.name: path.read_bytes() for path in north.iterdir()}
        with pytest.raises(
            GroupPolicyError, match=r": holds a client already; choose another folder$"
        ):
            make(group="South")
        assert {path.name: path.read_bytes() for path in north.iterdir()} == before

    @pytest.mark.parametrize(
        "name",
        [
            "identity.pem",
            "node.key",
            "node.pub",
            "executor.secret",
            "ca.crt",
            "roster.json",
            "card.json",
        ],
    )
    def test_nothing_that_lies_there_is_overwritten(
        self, make: SetUp, north: Path, name: str
    ) -> None:
        north.mkdir()
        (north / name).write_text("mine", encoding="utf-8")
        with pytest.raises(
            GroupPolicyError, match=f"{name}: is there already; choose another folder"
        ):
            make()
        assert [(path.name, path.read_text()) for path in north.iterdir()] == [(name, "mine")]

    def test_the_invitation_may_lie_there_and_no_other(self, make: SetUp, north: Path) -> None:
        north.mkdir()
        replace(INVITATION, address="b.org:1").write(north / "invitation.json")
        with pytest.raises(GroupPolicyError, match="is another invitation; choose another folder"):
            make()
        INVITATION.write(north / "invitation.json")
        make()

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"group": ""}, "group = ''"),
            ({"group": "Nor\x1b[8mth"}, "group: holds an invisible, control"),
            ({"port": 0}, "port = 0"),
            ({"budget_epsilon": 99.0}, "budget_epsilon = 99.0"),
            ({"address": "no port"}, "address = 'no port'"),
        ],
    )
    def test_what_makes_no_sense_is_refused_in_one_line_before_anything_is_made(
        self, make: SetUp, north: Path, changes: dict[str, Any], words: str
    ) -> None:
        invited = {k: v for k, v in changes.items() if k in ("settings", "address")}
        given = {k: v for k, v in changes.items() if k not in invited}
        with pytest.raises(GroupPolicyError) as caught:
            make(replace(INVITATION, **invited), **given)
        assert str(caught.value).startswith("the policy would make no sense: ")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not north.exists()


class TestRosters:
    @pytest.fixture
    def home(self, make: SetUp, north: Path) -> Home:
        make()
        return Home(folder=north)

    def roster(
        self, tmp_path: Path, members: Mapping[str, bytes], server: str = INVITATION.server
    ) -> Path:
        path = tmp_path / "new.json"
        servers = Roster({"server": bytes.fromhex(server)})
        path.write_text(rosters_json(Roster(members), servers), encoding="utf-8")
        return path

    def own(self, home: Home) -> dict[str, bytes]:
        return {"North": Identity.read(home.file("identity.pem")).public}

    def test_who_is_new_who_is_gone_and_whose_key_is_another(
        self, home: Home, tmp_path: Path
    ) -> None:
        keys = {name: Identity.create().public for name in ("A", "B", "C", "other")}
        first = {**self.own(home), "A": keys["A"], "B": keys["B"]}
        change = compare_roster(home, self.roster(tmp_path, first))
        assert (dict(change.added), change.removed, change.changed) == (
            {("members", "A"): keys["A"], ("members", "B"): keys["B"]},
            {},
            {},
        )
        pin_roster(home, change)
        second = {**self.own(home), "A": keys["other"], "C": keys["C"]}
        change = compare_roster(home, self.roster(tmp_path, second))
        assert dict(change.added) == {("members", "C"): keys["C"]}
        assert dict(change.removed) == {("members", "B"): keys["B"]}
        assert dict(change.changed) == {("members", "A"): keys["other"]}
        # Looking pins nothing.
        assert dict(Roster.read(home.file("roster.json"))) == first
        pin_roster(home, change)
        assert dict(Roster.read(home.file("roster.json"))) == second

    @pytest.mark.parametrize("own", [{}, {"North": Identity.create().public}])
    def test_one_without_the_own_key_is_not_pinned(
        self, home: Home, tmp_path: Path, own: dict[str, bytes]
    ) -> None:
        before = home.file("roster.json").read_bytes()
        words = r"has another key for 'North', or none: the coordinator has not admitted"
        with pytest.raises(GroupPolicyError, match=words):
            compare_roster(home, self.roster(tmp_path, own))
        assert home.file("roster.json").read_bytes() == before

    def test_one_of_another_server_is_not_pinned(self, home: Home, tmp_path: Path) -> None:
        other = self.roster(tmp_path, self.own(home), server=Identity.create().public.hex())
        with pytest.raises(GroupPolicyError, match="names another server than the one pinned"):
            compare_roster(home, other)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(None, "cannot be read: No such file"), ("{}", "is no roster"), ("[", "is no roster")],
    )
    def test_a_file_that_is_no_roster_is_refused_in_one_line(
        self, home: Home, tmp_path: Path, content: str | None, words: str
    ) -> None:
        path = tmp_path / "new.json"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=words) as caught:
            compare_roster(home, path)
        assert str(caught.value).startswith(f"{path}: ")

    def test_two_names_with_one_key_are_refused(self, home: Home, tmp_path: Path) -> None:
        key = Identity.create().public.hex()
        own = {name: each.hex() for name, each in self.own(home).items()}
        sections = {"members": {**own, "A": key, "B": key}, "servers": {}}
        path = tmp_path / "new.json"
        path.write_text(json.dumps(sections), encoding="utf-8")
        with pytest.raises(ValueError, match="one key stands for two names"):
            compare_roster(home, path)

    def test_only_what_was_looked_at_is_pinned(self, home: Home, tmp_path: Path) -> None:
        """Was open: a file that was changed after it was shown was pinned as it then was."""
        path = self.roster(tmp_path, {**self.own(home), "A": b"a" * 32})
        change = compare_roster(home, path)
        path.write_text(path.read_text().replace((b"a" * 32).hex(), (b"b" * 32).hex()), "utf-8")
        pin_roster(home, change)
        assert Roster.read(home.file("roster.json"))["A"] == b"a" * 32

    def test_a_second_server_is_not_pinned(self, home: Home, tmp_path: Path) -> None:
        """Was open: servers beside the one that was compared came with a roster unseen."""
        path = self.roster(tmp_path, self.own(home))
        content = json.loads(path.read_text(encoding="utf-8"))
        content["servers"]["second"] = "22" * 32
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(GroupPolicyError, match="names another server than the one pinned"):
            compare_roster(home, path)

    def test_a_name_cannot_hide_the_change_of_another(self, home: Home, tmp_path: Path) -> None:
        """Was open: a member that was named as readers are shown took a reader's place."""
        path = self.roster(tmp_path, {**self.own(home), "A (measures only)": b"1" * 32})
        content = json.loads(path.read_text(encoding="utf-8"))
        content["held_out"] = {"A": "22" * 32}
        path.write_text(json.dumps(content), encoding="utf-8")
        assert set(compare_roster(home, path).added) == {
            ("members", "A (measures only)"),
            ("held_out", "A"),
        }


@pytest.mark.parametrize(
    "settings",
    [{"privacy.epsilon": "much"}, {"privacy.mode": "central"}, {"privacy.epsilon": -1.0}],
    ids=str,
)
def test_settings_that_no_run_could_have_make_no_folder(
    make: SetUp, north: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(GroupPolicyError, match=r"^the invitation: privacy\.") as caught:
        make(replace(INVITATION, settings=settings))
    assert "\n" not in str(caught.value)
    assert not north.exists()


def test_no_group_takes_the_name_of_the_server(make: SetUp, north: Path) -> None:
    """Was open: a member and the server of one name are one entry in what is shown."""
    for typed in ("server", " server\u00a0"):
        with pytest.raises(GroupPolicyError, match="is the server's own name: take another"):
            make(group=typed)
    assert not north.exists()


@pytest.mark.parametrize(
    ("units", "bound"),
    [(0, 0), (1, 2), (6, 7), (9, 10), (72, 80), (90, 99), (91, 110), (806, 890), (99_999, 110_000)],
)
def test_the_public_bound_leaves_room_and_tells_two_digits(units: int, bound: int) -> None:
    assert public_bound(units) == bound


class TestPublicBound:
    """What others are told in place of the number of people."""

    @pytest.fixture
    def rows(self) -> list[dict[str, Any]]:
        return [
            {"group": "North", "respondent": f"person {i}", "question_id": "q", "question": "why",
             "options": ["a", "b"], "choice": 0}
            for i in range(41)
        ]  # fmt: skip

    def test_it_is_taken_from_the_data_where_nobody_states_one(
        self, make: SetUp, north: Path, tmp_path: Path, rows: list[dict[str, Any]], write_rows: Any
    ) -> None:
        write_rows(tmp_path / "answers.jsonl", rows)
        settings = {**SETTINGS, "privacy.unit": "respondent"}
        make(replace(INVITATION, settings=settings), units=0)
        assert Home(folder=north).group_policy.privacy.units == 46

    def test_data_of_others_are_refused_before_anything_is_made(
        self, make: SetUp, north: Path, tmp_path: Path, rows: list[dict[str, Any]], write_rows: Any
    ) -> None:
        write_rows(tmp_path / "answers.jsonl", [*rows, {**rows[0], "group": "South"}])
        with pytest.raises(DataError, match="holds records of group 'South'"):
            make(units=0)
        assert not north.exists()

    def test_a_group_without_noise_or_that_only_measures_tells_none(
        self, make: SetUp, north: Path
    ) -> None:
        settings = {**SETTINGS, "privacy.mode": "none", "privacy.colluding": 1}
        make(replace(INVITATION, settings=settings), units=0)
        assert Home(folder=north).group_policy.privacy.units == 0
