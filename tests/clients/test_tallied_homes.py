"""Organisations whose answers are counted once: what opens their data, and what they refuse."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

import clients.data.datastore as datastore
import clients.data.own_records as own_records
from alignment.tallies.questionnaire import read_questionnaire
from clients.data.home import Home
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms, terms_of_counts
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import verify
from privacy.ledger.paths import group_ledger, tallies_folder
from server.config import read_run_config
from server.rounds.cohort import CohortError

Deployed = Any
Asked = Any
Deploy = Callable[..., Deployed]
ONE, TWO = "Group 0", "Group 1"
COUNTED = {"privacy.mode": "local", "privacy.mechanism": "tally", "privacy.epsilon": 4.0}


@pytest.fixture(scope="module")
def make(deploy: Deploy) -> Deploy:
    """Two organisations in runs on counts: ``make(**settings)``."""
    return lambda **settings: deploy(**{"groups": 2, **COUNTED, **settings})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every source whose records are loaded, as it happens."""
    seen: list[str] = []
    load = own_records.load_records

    def watch(source: str, **given: Any) -> Any:
        seen.append(source)
        return load(source, **given)

    monkeypatch.setattr(own_records, "load_records", watch)
    return seen


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have every attempt at loading records fail from now on."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the data were opened again")

    return lambda: monkeypatch.setattr(own_records, "load_records", refuse)


def again(deployed: Deployed, name: str, **settings: Any) -> list[Any]:
    """Another run, on the ledgers that there are."""
    out = str(deployed.folder / "server" / name)
    deployed.config = read_run_config({**deployed.config.flat(), "out": out, **settings})
    rounds: list[Any] = deployed.run()
    return rounds


def files(deployed: Deployed, group: str = ONE) -> dict[str, str]:
    """The tallies of a group: digests by name."""
    ledger = group_ledger(deployed.homes[group] / "ledgers", group)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(tallies_folder(ledger).glob("*"))
    }


def types(deployed: Deployed, group: str = ONE) -> list[str]:
    return [event["type"] for event in deployed.ledger(group) if event["type"] != "HEAD"]


def respondents(deployed: Deployed, group: str, change: Callable[[str], str]) -> None:
    """Rename the people in the data of a group."""
    path: Path = deployed.data[group]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = [json.dumps({**row, "respondent": change(row["respondent"])}) + "\n" for row in rows]
    path.write_text("".join(text), encoding="utf-8")


def test_data_are_opened_once_for_all_runs_strategies_and_restarts(
    make: Deploy, opened: list[str], unreadable: Callable[[], None]
) -> None:
    deployed = make()
    # Whoever sets a client up looks at its data.
    opened.clear()
    deployed.restart()
    assert [each.groups for each in deployed.run() if each.round] == [2, 2]
    assert not deployed.reasons
    assert sorted(opened) == sorted(str(deployed.data[group]) for group in (ONE, TWO))
    made = {group: files(deployed, group) for group in (ONE, TWO)}
    assert all(len(each) == 1 for each in made.values())
    unreadable()
    for group, damage in ((ONE, None), (TWO, "no record\n{")):
        path = deployed.data[group]
        path.unlink() if damage is None else path.write_text(damage, encoding="utf-8")
    usual = deployed.config
    for name, settings in {
        "second": {},
        "adam": {"strategy.name": "fedadam", "strategy.learning_rate": 0.01},
        "fair": {"training.fairness": 1.0},
        "other batches": {"strategy.name": "fedavg", "training.batch_size": 2},
    }.items():
        deployed.restart()
        deployed.config = usual
        rounds = again(deployed, name, **settings)
        assert len([each for each in rounds if each.round]) == 2, name
        assert not deployed.reasons, name
    assert {group: files(deployed, group) for group in (ONE, TWO)} == made
    assert types(deployed)[:5] == ["DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED"]
    assert set(types(deployed)[5:]) == {"USED"}
    assert len(types(deployed)) == 5 + 2 * 5
    evidence = gather([group_ledger(deployed.homes[ONE] / "ledgers", ONE)])
    assert [each.finding for each in verify(evidence) if each.status is Status.FAIL] == []


def test_a_first_request_without_the_data_charges_nothing_and_a_later_one_makes_one_tally(
    make: Deploy,
) -> None:
    deployed = make()
    content = deployed.data[ONE].read_bytes()
    deployed.data[ONE].unlink()
    with pytest.raises(CohortError):
        deployed.run()
    assert deployed.spends(ONE) == 0 and files(deployed) == {}
    assert all("its text stays at the client" in each for each in deployed.reasons)
    deployed.data[ONE].write_bytes(content)
    deployed.reasons.clear()
    again(deployed, "second")
    assert not deployed.reasons
    assert deployed.spends(ONE) == deployed.spends(TWO) == 1
    assert len(files(deployed)) == len(files(deployed, TWO)) == 1


def test_another_plan_is_another_tally_until_the_budget_is_spent(make: Deploy) -> None:
    """A plan that the budget pays for takes in whoever can pay; one above it is refused."""
    deployed = make(budget_epsilon=5.0)
    deployed.run()
    again(deployed, "second", **{"privacy.epsilon": 2.0})
    assert deployed.spends(ONE) == len(files(deployed)) == 2
    deployed.change(ONE, privacy__budget_epsilon=1.0)
    before = files(deployed)
    with pytest.raises(CohortError):
        again(deployed, "third", **{"privacy.epsilon": 3.0})
    assert any("RefusedByLedger: LedgerRefused" in each for each in deployed.reasons)
    assert deployed.spends(ONE) == 2 and files(deployed) == before
    # What was paid for serves on.
    deployed.reasons.clear()
    again(deployed, "fourth", **{"privacy.epsilon": 4.0})
    assert not deployed.reasons and deployed.spends(ONE) == 2


def test_a_new_wave_counts_and_charges_the_new_alone(make: Deploy) -> None:
    deployed = make()
    deployed.run()
    respondents(deployed, ONE, lambda name: name if name.endswith(("0", "1")) else name + " new")
    again(deployed, "same wave")
    assert deployed.spends(ONE) == 1
    deployed.change(ONE, tally__wave="2027")
    again(deployed, "next wave")
    assert not deployed.reasons
    assert deployed.spends(ONE) == len(files(deployed)) == 2
    used = [event["body"]["tally"] for event in deployed.ledger(ONE) if event["type"] == "USED"]
    released = [
        event["body"]["vector"] for event in deployed.ledger(ONE) if event["type"] == "RELEASED"
    ]
    assert used == [released[0]] * 4 + [released[1]] * 2
    waves = [
        json.loads(path.read_bytes())["wave"]
        for path in tallies_folder(group_ledger(deployed.homes[ONE] / "ledgers", ONE)).glob("*")
    ]
    assert sorted(waves) == ["", "2027"]


@pytest.fixture(scope="module")
def asked(make: Deploy, asking: Callable[..., Asked]) -> Asked:
    """Two organisations of whom nothing was ever counted."""
    return asking(make())


class TestRefusals:
    @pytest.fixture(autouse=True)
    def untouched(
        self, asked: Asked, opened: list[str], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Nothing is read, charged or begun by what is refused."""
        kept = {home: (home / "policy.toml").read_bytes() for home in asked.deployed.homes.values()}
        yield
        for home, content in kept.items():
            (home / "policy.toml").write_bytes(content)
        assert opened == []
        assert "SPEND" not in types(asked.deployed) and files(asked.deployed) == {}
        assert "DATASET" not in types(asked.deployed)

    def refused(self, asked: Asked, plan: PrivacyPlan | None) -> str:
        """The reason that one group gives for not sharing under a plan."""
        run = secrets.token_hex(16)
        told, known = replace(asked, plan=plan, run=run), replace(asked, run=run)
        adverts = known.advertise()
        reply = known.share(ONE, adverts, known.terms(), told.round_plan())
        assert isinstance(reply, str)
        return reply

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"questionnaires": ["ab" * 32] * 2}, "questionnaire: it is not the one"),
            ({"distributions": True}, "questionnaire: what would be counted"),
            ({"epsilon": 4.5}, "epsilon = 4.5 is above the 4 "),
            ({"delta": 0.01}, "delta = 0.01 is above"),
            ({"units_per_group": [5, 5]}, "the bound of 6 units is above the 5"),
            ({"unit": "record"}, "unit = record; this group's policy wants respondent"),
        ],
    )
    def test_of_other_counts(
        self,
        asked: Asked,
        counts_asked: Callable[..., dict[str, Any]],
        changes: dict[str, Any],
        words: str,
    ) -> None:
        from privacy.accounting.choices import Unit

        if "unit" in changes:
            changes = {"unit": Unit.RECORD}
        plan = PrivacyPlan.calibrate(terms_of_counts(**counts_asked(asked.deployed, **changes)))
        assert words in self.refused(asked, plan)

    def test_of_gradients_where_counts_are_wanted_and_the_other_way_round(
        self, asked: Asked
    ) -> None:
        steps = PrivacyPlan.calibrate(
            PrivacyTerms(
                mode=asked.plan.mode, epsilon=4.0, delta=1e-3, groups=2, units_per_group=6,
                sampling_rate=1.0, rounds=2, survivors=2, clipping_norm=0.1, dimension=500,
            )
        )  # fmt: skip
        reply = self.refused(asked, steps)
        assert "mechanism = gradients; this group's policy wants tally" in reply
        asked.deployed.change(ONE, privacy__mechanism="gradients")
        reply = self.refused(asked, asked.plan)
        assert "mechanism = tally; this group's policy wants gradients" in reply

    def test_of_distributions_whose_weights_would_move_more(
        self, asked: Asked, counts_asked: Callable[..., dict[str, Any]]
    ) -> None:
        asked.deployed.change(ONE, tally__largest_weight=3.0)
        spread = counts_asked(asked.deployed, distributions=True, largest_weight=2.5)
        reply = self.refused(asked, PrivacyPlan.calibrate(terms_of_counts(**spread)))
        assert "largest_weight = 2.5 is below the 3 of this group's distributions" in reply

    def test_of_a_questionnaire_that_is_not_the_pinned_one(self, asked: Asked) -> None:
        path = asked.deployed.homes[ONE] / "questionnaire.json"
        content = path.read_bytes()
        values = json.loads(content)
        values["questions"][0]["options"] = values["questions"][0]["options"][::-1]
        path.write_text(json.dumps(values))
        try:
            assert "not the one that this group's policy pins" in self.refused(asked, asked.plan)
        finally:
            path.write_bytes(content)

    def test_of_rounds_without_privacy(self, asked: Asked) -> None:
        assert "the round asked for is not: nothing was trained" in self.refused(asked, None)

    def test_setup_tells_the_questionnaire_and_only_where_counts_are_asked(
        self, asked: Asked
    ) -> None:
        said = {"version": 2, "unit": "respondent", "challenge": bytes(32)}
        home = Home(folder=asked.deployed.homes[ONE])
        own = read_questionnaire(home.file("questionnaire.json"))
        for counts in (True, False):
            setup = ConfigRecord({**said, "counts": counts})
            reply = asked.deployed.ask(ONE, "query.setup", RecordDict({"setup": setup}))["setup"]
            assert ("questionnaire" in reply) == counts
        assert own.digest == home.group_policy.tally.questionnaire
        asked.deployed.change(ONE, privacy__mechanism="gradients", tally__questionnaire="")
        setup = ConfigRecord({**said, "counts": True})
        reply = asked.deployed.ask(ONE, "query.setup", RecordDict({"setup": setup}))
        assert isinstance(reply, str) and "pins no questionnaire" in reply


def test_a_weighted_answer_among_distributions_is_no_number_of_persons(
    make: Deploy, write_rows: Callable[..., Path]
) -> None:
    """Was open: one answer of weight 6 in a group of distributions counted as six persons."""
    asked = {"question_id": "q", "question": "tea ?", "options": ["yes", "no"]}
    rows = [
        {"group": group, **asked, "distribution": [0.5, 0.5], "respondents": 6}
        for group in (ONE, TWO)
    ]
    deployed = make(rows=rows)
    assert read_questionnaire(deployed.homes[ONE] / "questionnaire.json").distributions
    choice = {"group": ONE, **asked, "respondent": "ann", "choice": 0, "weight": 6.0}
    write_rows(deployed.data[ONE], [rows[0], choice, {**choice, "respondent": "bob"}])
    home = Home(folder=deployed.homes[ONE])
    (everybody,) = datastore.open_home(home).counted_units()
    assert everybody.weights == (6.0,)
    deployed.run()
    assert not deployed.reasons and deployed.spends(ONE) == 1


def test_a_distribution_among_gradients_counts_as_absent(
    deploy: Deploy, tiny_rows: Any, write_rows: Callable[..., Path]
) -> None:
    """Was open: the rounds of such a group failed, which told that it was there."""
    deployed = deploy(groups=2)
    own = [row for row in tiny_rows if row["group"] == ONE]
    asked = {name: own[0][name] for name in ("group", "question_id", "question", "options")}
    share = [1 / len(asked["options"])] * len(asked["options"])
    row = {**asked, "distribution": share, "respondents": 6}
    write_rows(deployed.data[ONE], [*own, row])
    assert len(datastore.open_home(Home(folder=deployed.homes[ONE])).units()) == 6
    assert [each.groups for each in deployed.run() if each.round] == [2, 2]
    assert not deployed.reasons
