"""What an engineer is told before her client joins: every cause by its name, and the true price."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.config import PredictorConfig
from alignment.model.encoders.encoder_files import model_fingerprint
from clients.data.datastore import open_home
from clients.data.home import Home
from clients.deployment import checkup
from clients.deployment.checkup import findings
from clients.deployment.enrolment import settings_of
from clients.training.forecast import Forecast, forecast
from privacy.errors import PolicyRefused
from privacy.ledger.filter import least_budget
from privacy.ledger.paths import people_folder
from privacy.ledger.payloads import mechanism_of
from strategies.wire.round_plan import unflatten

Deployed = Any
Asked = Any
ONE = "Group 0"


@pytest.fixture(scope="module")
def sound(deploy: Callable[..., Deployed]) -> Deployed:
    return deploy(groups=3)


@pytest.fixture
def home(deploy: Callable[..., Deployed]) -> Home:
    return Home(folder=deploy(groups=2).homes[ONE])


def failing(home: Home, **options: bool) -> dict[str, str]:
    found = {each.name: each for each in findings(home, offline=True, **options)}
    assert set(found) == {"keys", "code", "invitation", "promise", "roster", "data"}
    assert all("\n" not in each.text for each in found.values())
    return {name: each.text for name, each in found.items() if not each.holds}


def test_all_is_in_order(sound: Deployed) -> None:
    found = {e.name: e.text for e in findings(Home(folder=sound.homes[ONE]), offline=True)}
    assert found["roster"] == "3 members, Group 0, Group 1, Group 2"
    assert found["data"] == "12 questions, 6 units of privacy (respondent); others are told 6"
    assert found["code"].endswith(", as reviewed")
    assert not failing(Home(folder=sound.homes[ONE]))


def test_what_is_counted_is_looked_at_by_those_who_count(deploy: Callable[..., Deployed]) -> None:
    """Was open: a group that only measures was not let in, for it pins no questionnaire."""
    counting = {"privacy.mode": "local", "privacy.mechanism": "tally"}
    homes = deploy(groups=2, held_out=1, **counting).homes
    trains, measures = (
        {each.name: each for each in findings(Home(folder=homes[group]), offline=True)}
        for group in (ONE, "Group 2")
    )
    assert all(each.holds for each in (*trains.values(), *measures.values()))
    assert trains["questions"].text.startswith("12 questions are counted, once, and are public: ")
    assert "questions" not in measures
    assert measures["data"].text == "12 questions"


class TestFindings:
    """One cause, one failing finding, one remedy."""

    def only(self, home: Home, name: str, *words: str) -> None:
        failed = failing(home)
        assert set(failed) == {name}
        for word in words:
            assert word in failed[name]

    @pytest.mark.parametrize("name", ["identity.pem", "node.key", "executor.secret"])
    def test_a_secret_that_others_can_read(self, home: Home, name: str) -> None:
        os.chmod(home.file(name), 0o640)
        self.only(home, "keys", f"{name} can be read by others: chmod 600 ")

    @pytest.mark.parametrize("name", ["node.key", "executor.secret"])
    def test_a_secret_that_is_gone(self, home: Home, name: str) -> None:
        home.file(name).unlink()
        self.only(home, "keys", f"{name} is missing: bring it back, or set up a new client")

    def test_an_identity_that_is_none(self, home: Home) -> None:
        home.file("identity.pem").write_text("no key", encoding="utf-8")
        failed = failing(home)
        assert set(failed) == {"keys", "roster"}
        assert all("holds no key that can be read: bring it back" in t for t in failed.values())

    def test_code_that_nobody_has_reviewed(self, home: Home) -> None:
        text = home.file("policy.toml").read_text(encoding="utf-8")
        code = home.group_policy.accept.code
        home.file("policy.toml").write_text(text.replace(code, "ab" * 32), encoding="utf-8")
        self.only(home, "code", "reviewed was abababababababab", "fedaccord client review")

    def test_no_roster(self, home: Home) -> None:
        home.file("roster.json").unlink()
        self.only(home, "roster", "roster.json is missing: put the coordinator's roster")

    def test_a_roster_without_a_server(self, home: Home) -> None:
        content = json.loads(home.file("roster.json").read_text(encoding="utf-8"))
        home.file("roster.json").write_text(json.dumps({**content, "servers": {}}))
        self.only(home, "roster", "names no server: get it from the coordinator again")

    def test_a_roster_with_another_own_key(self, home: Home) -> None:
        content = json.loads(home.file("roster.json").read_text(encoding="utf-8"))
        content["members"][ONE] = "ab" * 32
        home.file("roster.json").write_text(json.dumps(content))
        self.only(home, "roster", "has another key for 'Group 0': pin the roster anew")

    def test_a_roster_of_too_few(self, home: Home) -> None:
        text = home.file("policy.toml").read_text(encoding="utf-8")
        home.file("policy.toml").write_text(text.replace("members = 2", "members = 4"))
        self.only(
            home,
            "roster",
            "names 2 member(s), the policy wants 4 in a sum: fedaccord client roster FILE pins",
        )

    def test_records_of_another_group(self, home: Home) -> None:
        path = home.data(home.group_policy)
        path.write_text(path.read_text().replace(ONE, "Group 9"), encoding="utf-8")
        self.only(home, "data", "Group 9", "Group 0")

    def test_records_that_are_not_there(self, home: Home) -> None:
        home.data(home.group_policy).unlink()
        self.only(home, "data", home.data(home.group_policy).name)


class TestServer:
    def found(self, home: Home) -> dict[str, checkup.Finding]:
        return {each.name: each for each in findings(home)}

    def test_nobody_listens(self, home: Home, tmp_path: Path) -> None:
        from server.deployment.certificates import create

        create(tmp_path / "tls", ["127.0.0.1"])
        home.file("ca.crt").write_bytes((tmp_path / "tls" / "ca.crt").read_bytes())
        found = self.found(home)
        assert not found["server"].holds
        assert found["server"].text.startswith("127.0.0.1:9: refuses connections")
        assert "admission" not in found

    @pytest.mark.parametrize("known", [True, False])
    def test_whether_the_server_knows_the_node(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, known: bool
    ) -> None:
        monkeypatch.setattr(checkup, "_server", lambda *_: "there")
        asked = []

        def registered(*given: object) -> bool:
            asked.append(given)
            return known

        monkeypatch.setattr(checkup, "node_is_registered", registered)
        found = self.found(home)["admission"]
        assert asked == [("127.0.0.1:9", home.file("ca.crt"), home.file("node.key"))]
        assert found.holds is known
        if not found.holds:
            assert found.text.endswith("does not know this node: send card.json to its coordinator")


@pytest.fixture(scope="module")
def asked(sound: Deployed, asking: Callable[..., Asked]) -> Asked:
    return asking(sound)


@pytest.fixture(scope="module")
def expected(asked: Asked) -> Forecast:
    home = Home(folder=asked.deployed.homes[ONE])
    return forecast(home, settings_of(home))


class TestForecast:
    def test_records_that_a_step_has_no_room_for_are_counted_for_their_owner(
        self, deploy: Callable[..., Deployed], tiny_rows: Any, write_rows: Any
    ) -> None:
        deployed = deploy(groups=2)
        own = [row for row in tiny_rows if row["group"] == ONE]
        many = {"question_id": "many", "question": "which", "options": list("abcdefghijklmnopqrs")}
        write_rows(deployed.data[ONE], [*own, {**own[0], **many, "choice": 18}])
        home = Home(folder=deployed.homes[ONE])
        assert forecast(home, settings_of(home)).left_out == 1

    def given(self, asked: Asked) -> tuple[Home, Any]:
        home = Home(folder=asked.deployed.homes[ONE])
        return home, settings_of(home)

    def test_its_figures_are_those_of_the_plan_that_a_server_makes(
        self, asked: Asked, expected: Forecast
    ) -> None:
        plan = asked.plan
        needed, _ = least_budget(mechanism_of(plan), steps=plan.steps, delta=1e-3)
        assert expected.bytes_up_per_round == plan.bytes_up
        assert expected.bytes_down_per_round == 4 * asked.vector.size
        assert (expected.epsilon, expected.rounds) == (plan.epsilon, plan.rounds) == (8.0, 2)
        assert expected.budget_epsilon == needed
        assert expected.budget == 10.0
        assert expected.payers == {2: 6}
        assert expected.left_out == 0
        assert expected.affordable
        assert 0 < expected.seconds_per_round < 60

    def test_it_writes_and_charges_nothing(self, sound: Deployed, asked: Asked) -> None:
        home, settings = self.given(asked)
        before = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}
        forecast(home, settings)
        after = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file()}
        assert after == before
        assert not sound.ledger(ONE)

    @pytest.mark.parametrize("missing", ["federation.warmup_rounds", "privacy.survivors"])
    def test_a_setting_that_is_not_announced_is_named(self, asked: Asked, missing: str) -> None:
        home, settings = self.given(asked)
        cut = {key: value for key, value in settings.items() if key != missing}
        with pytest.raises(ValueError, match=f"says nothing of {missing}: ask the coordinator"):
            forecast(home, cut)

    def test_terms_that_the_policy_will_refuse_are_told_before(self, asked: Asked) -> None:
        home, settings = self.given(asked)
        with pytest.raises(Exception, match="epsilon = 9 is above the 8 that this"):
            forecast(home, {**settings, "privacy.epsilon": 9.0})

    def test_a_run_without_noise_costs_no_epsilon(self, asked: Asked) -> None:
        home, settings = self.given(asked)
        expected = forecast(home, {**settings, "privacy.mode": "none"})
        assert (expected.epsilon, expected.budget_epsilon, expected.affordable) == (
            None,
            None,
            True,
        )

    def test_who_can_pay_for_how_many_rounds_is_told_before_anybody_joins(
        self, deploy: Callable[..., Deployed], command: Callable[..., Any]
    ) -> None:
        """Was open: one number for all people, by whoever had spent most.

        Whether the client can join does not depend on who is in its data.
        """
        deployed = deploy(groups=2, budget_epsilon=10.0)
        deployed.run()
        home = Home(folder=deployed.homes[ONE])
        again = forecast(home, settings_of(home))
        (rounds,) = again.payers
        assert rounds < 2 and again.payers[rounds] == 6
        path = home.data(home.group_policy)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        gone = rows[0]["respondent"]
        for row in rows:
            row["respondent"] += " new" if row["respondent"] != gone else ""
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        mixed = forecast(home, settings_of(home))
        assert mixed.payers == {2: 5, rounds: 1}
        assert mixed.affordable and again.affordable
        told = command("client", "check", home.folder, "--offline")
        assert told.code == 0
        assert f"there can pay 5 for 2 rounds, 1 for {rounds} rounds of 2" in told.out
        next(people_folder(open_home(home).ledger).iterdir()).unlink()
        with pytest.raises(ValueError, match="is missing or altered"):
            forecast(home, settings_of(home))

    def test_epsilons_of_runs_do_not_add_up_so_that_none_is_turned_away_for_nothing(
        self, deploy: Callable[..., Deployed]
    ) -> None:
        """A budget that pays for both runs, but not for twice the epsilon of one."""
        deployed = deploy(groups=2, budget_epsilon=15.0)
        deployed.run()
        home = Home(folder=deployed.homes[ONE])
        expected = forecast(home, settings_of(home))
        assert expected.affordable
        assert expected.payers == {2: 6}
        one, two = budgets_of_runs(home)
        assert two <= 15.0 < 2 * one


def budgets_of_runs(home: Home) -> tuple[float, float]:
    """What one run takes of a new budget, and what two take."""
    from privacy.audit.evidence import gather

    (ledger,) = gather([next((home.folder / "ledgers").rglob("*.jsonl"))]).ledgers
    (plan,) = ledger.state.plans.values()
    one, two = (
        least_budget(plan.mechanism, steps=runs * plan.steps, delta=1e-3)[0] for runs in (1, 2)
    )
    return one, two


def test_a_policy_is_checked_forecast_and_trained_like_any_predictor(
    deploy: Callable[..., Deployed], causal_model: str
) -> None:
    """Of survey questions too: every option is a response."""
    deployed = deploy(
        groups=2,
        **{
            "predictor.encoder": causal_model,
            "predictor.scores": "policy",
            "predictor.lora_layers": 1,
            "predictor.max_tokens": 32,
            "federation.warmup_rounds": 0,
            "federation.adapter_rounds": 1,
            "privacy.max_options": 3,
            "privacy.records_per_unit": 2,
        },
    )
    home = Home(folder=deployed.homes[ONE])
    assert not failing(home)
    expected = forecast(home, settings_of(home))
    assert expected.affordable and expected.rounds == 1
    # Of each adapter B alone, beside two metrics; 18 bits hold the largest sum of so few units.
    outputs = 32 * (3 + 1 + 4 + 1)
    assert expected.bytes_up_per_round == math.ceil(18 * (4 * outputs + 2) / 8)
    deployed.run()
    assert [event["type"] for event in deployed.ledger(ONE)].count("RELEASED") == 1
    other = {**unflatten(settings_of(home))["predictor"], "beta": 0.2}
    other_predictor = PredictorConfig(**other)
    with pytest.raises(PolicyRefused, match=r"is not the one that this group's policy accepts"):
        home.group_policy.check_predictor(
            other_predictor.encoder, lambda: model_fingerprint(other_predictor)
        )
