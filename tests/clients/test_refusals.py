"""What an organisation refuses, whatever its server asks: each with one line that says why.

Organisations have policies, keys and rosters of their own; the server here is one that lies.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from clients.data.datastore import open_home
from clients.data.group_policy import GroupPolicyError
from clients.data.home import Home
from clients.deployment.bundle import CodeRefused
from clients.deployment.executor import reason_for_server
from clients.sessions.group_ledger import RefusedByLedger
from privacy.errors import ExecutionMismatch, LedgerRefused, PlanRefused, PolicyRefused
from privacy.identity.keys import Identity, Roster, rosters_json
from strategies.wire.round_plan import vector_digest

Deployed = Any
Asked = Any
ONE = "Group 0"
OTHER_PREDICTOR = "PolicyRefused: predictor: it, or its encoder, is not the one"
#: Pays for two of the three rounds that `TestBudgets` asks for.
BUDGET = 7.0
PAIR = {"members": ("Group 0", "Group 1"), "threshold": 2, "survivors": 2}


@pytest.fixture(scope="module")
def asked(deploy: Callable[..., Deployed], asking: Callable[..., Asked]) -> Asked:
    """A private federation of three; what is refused leaves it as it was."""
    return asking(deploy())


@pytest.fixture(scope="module")
def adverts(asked: Asked) -> Mapping[str, RecordDict]:
    """All have advertised for round 1, so that each stands before the terms of it."""
    return asked.advertise()


@pytest.fixture
def unchanged(asked: Asked) -> Any:
    """Put policies and rosters back, and find that nobody was charged."""
    kept = {
        path: path.read_bytes()
        for home in asked.deployed.homes.values()
        for path in (home / "policy.toml", home / "roster.json")
    }
    yield
    for path, content in kept.items():
        path.write_bytes(content)
    assert asked.deployed.spends(ONE) == 0


# Policy of the group, terms, privacy plan or predictor; and the words of the refusal.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "threshold below the policy's": (
        {"accept__threshold": 3, "accept__members": 3},
        {**PAIR, "vector__honest_shares": 1},
        {},
        "PolicyRefused: threshold = 2 is below the 3 that this group's policy wants",
    ),
    "threshold of two thirds": (
        {},
        {"threshold": 2},
        {},
        "ThresholdRefused: threshold = 2",
    ),
    "survivors below the policy's": (
        {"accept__members": 3},
        {**PAIR, "vector__honest_shares": 1},
        {},
        "PolicyRefused: survivors = 2 is below the 3 members that this group's policy wants in a "
        "sum",
    ),
    "larger sensitivity in the terms": (
        {},
        {"vector__sensitivity": 10**6},
        {},
        "PolicyRefused: the server asks for sensitivity = 1000000, the member's own plan says",
    ),
    "less noise in the terms": (
        {},
        {"vector__noise_log2": 1},
        {},
        "PolicyRefused: the server asks for noise_log2 = 1, the member's own plan says",
    ),
    "larger sensitivity in the plan": (
        {},
        {},
        {"plan__sensitivity": 10**7},
        "PlanRefused: sensitivity = 10000000 is above ",
    ),
    "less noise in the plan": ({}, {}, {"plan__noise_multiplier": 0.5}, "EpsilonExceeded: "),
    "honest shares below the policy's": (
        {"accept__honest_shares": 3},
        {},
        {},
        "PolicyRefused: honest_shares = 2 is below the 3 that this group's policy wants",
    ),
    "colluding below the policy's": (
        {"accept__colluding": 2},
        {},
        {},
        "PolicyRefused: colluding = 1 is below the 2 that this group's policy wants",
    ),
    "another mode": (
        {"privacy__mode": "local"},
        {},
        {},
        "PolicyRefused: mode = distributed; this group's policy wants local",
    ),
    "privacy where the policy wants none": (
        {"privacy__mode": "none"},
        {},
        {},
        "PolicyRefused: mode = distributed; this group's policy wants none",
    ),
    "another unit": (
        {},
        {},
        {"plan__unit": "record"},
        "PolicyRefused: unit = record; this group's policy wants respondent",
    ),
    "epsilon above that of one run": (
        {},
        {},
        {"plan__epsilon": 9.0},
        "PolicyRefused: epsilon = 9 is above the 8 that this group's policy accepts of one run",
    ),
    "delta above the policy's": (
        {},
        {},
        {"plan__delta": 2e-3},
        "PolicyRefused: delta = 0.002 is above the 0.001 of this group's policy",
    ),
    "another shape of the predictor": (
        {},
        {},
        {"predictor.head_width": 9},
        OTHER_PREDICTOR,
    ),
    "an encoder of the hub": (
        {},
        {},
        {"predictor.encoder": "someone/encoder"},
        OTHER_PREDICTOR,
    ),
    "more options than the policy allows a step": (
        {"step__max_options": 4},
        {},
        {},
        "PolicyRefused: max_options = 16 is above the 4 that this group's policy allows a step",
    ),
    "more units at a time": (
        {"step__micro_batch": 7},
        {},
        {},
        "PolicyRefused: micro_batch = 8 is above the 7 that this group's policy allows a step",
    ),
    "more records of a unit": (
        {"step__records_per_unit": 31},
        {},
        {},
        "PolicyRefused: records_per_unit = 32 is above the 31 that this group's policy allows",
    ),
    "longer texts": (
        {"step__max_tokens": 63},
        {},
        {},
        "PolicyRefused: max_tokens = 64 is above the 63 that this group's policy allows a step",
    ),
    "room for pairs": (
        {"step__options_apart": True},
        {},
        {},
        "PolicyRefused: options_apart = False; this group's policy says True",
    ),
    "a plan without bounds of a step": (
        {},
        {},
        {"plan__shape": None},
        "PlanRefused: the plan states no shape of a step",
    ),
    "another task than that of the terms": (
        {},
        {"task": "00" * 32},
        {},
        "PolicyRefused: the terms are about another task",
    ),
    "another run than that of the plan": (
        {},
        {},
        {"run": "other"},
        "PolicyRefused: the terms are of another run or round than the plan: nothing is sent",
    ),
    "another round than that of the plan": (
        {},
        {},
        {"round": 2},
        "PolicyRefused: the terms are of another run or round than the plan: nothing is sent",
    ),
    "a field that the plan alone fixes": (
        {},
        {},
        {"privacy.sampling_rate": 0.5},
        "ValueError: its text stays at the client",
    ),
    "no privacy at all": (
        {},
        {},
        {"privacy": "none"},
        "PolicyRefused: this run is private, the round asked for is not: nothing was trained",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_terms_that_fall_short_of_the_policy_are_refused_before_anything_is_charged(
    asked: Asked, adverts: Mapping[str, RecordDict], unchanged: None, name: str
) -> None:
    policy, terms, plan, words = REFUSALS[name]
    asked.deployed.change(ONE, **policy)
    told = asked.round_plan(**{k: v for k, v in plan.items() if k != "privacy"})
    if "privacy" in plan:
        told = type(told)(**{**vars(told), "privacy": {}})
    of_plan = {"task": told.digest()} if plan else {}
    reason = asked.share(ONE, adverts, asked.terms(**{**of_plan, **terms}), told)
    assert isinstance(reason, str), "the terms were accepted"
    assert reason.startswith(words)
    assert "\n" not in reason


class TestStart:
    """A group that names the model of the start works for no run that begins elsewhere.

    What a plan says is in the terms that all members sign; in the first round the vector shows it.
    """

    @pytest.mark.parametrize(
        ("agreed", "stated", "number", "refused"),
        [
            ("own", "own", 1, False),
            ("own", "own", 2, False),
            ("own", "none", 1, True),
            ("own", "none", 2, True),
            ("own", "other", 1, True),
            ("own", "other", 2, True),
            # The plan lies, and only who sees the first vector can tell.
            ("other", "other", 1, True),
            ("", "other", 1, False),
            ("", "none", 1, False),
        ],
    )
    def test_it_is_held_against_the_policy_before_anything_is_announced(
        self,
        deploy: Callable[..., Deployed],
        asking: Callable[..., Asked],
        agreed: str,
        stated: str,
        number: int,
        refused: bool,
    ) -> None:
        asked = asking(deploy(groups=2))
        digests = {"own": vector_digest(asked.vector), "other": "ab" * 32, "none": "", "": ""}
        asked.deployed.change(ONE, accept__start=digests[agreed])
        plan = asked.round_plan(number, **{"training.start": digests[stated]})
        terms = asked.terms(number, task=plan.digest())
        reply = asked.share(ONE, asked.advertise(number), terms, plan)
        assert isinstance(reply, str) is refused, reply
        events = [event["type"] for event in asked.deployed.ledger(ONE)]
        assert ("PLAN" in events) is not refused
        if refused:
            assert reply.startswith("PolicyRefused: start: the run begins from another model")
            assert "\n" not in reply


def test_terms_as_agreed_are_accepted(
    asked: Asked, adverts: Mapping[str, RecordDict], unchanged: None
) -> None:
    """Or else nothing above would tell a refusal from a server that asks for nonsense."""
    again = asked.advertise(number=2)
    reply = asked.share(ONE, again, asked.terms(number=2), asked.round_plan(number=2))
    assert not isinstance(reply, str), reply
    assert asked.deployed.spends(ONE) == 0


class TestStaleRosters:
    numbers = itertools.count(3)

    def roster(self, asked: Asked, changes: Mapping[str, bytes | None]) -> None:
        path = asked.deployed.homes[ONE] / "roster.json"
        members = {**Roster.read(path), **changes}
        kept = Roster({name: key for name, key in members.items() if key is not None})
        path.write_text(rosters_json(kept, Roster.read(path, "servers")), encoding="utf-8")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            (
                {"Group 2": None},
                "PolicyRefused: 'Group 2' is not in the roster; pin its key before it takes part",
            ),
            (
                {"Group 2": Identity.create().public},
                "BadSignature: the advert message of 'Group 2' is not signed by its key",
            ),
            (
                {ONE: Identity.create().public},
                "PolicyRefused: the roster does not pin the own key of 'Group 0'; mend the roster",
            ),
        ],
        ids=["not pinned", "another key", "own key"],
    )
    def test_a_member_whose_key_is_not_pinned_is_refused_by_name(
        self,
        asked: Asked,
        unchanged: None,
        changes: Mapping[str, bytes | None],
        words: str,
    ) -> None:
        number = next(self.numbers)
        adverts = asked.advertise(number)
        self.roster(asked, changes)
        assert asked.share(ONE, adverts, asked.terms(number)) == words


def test_a_run_in_the_clear_gets_nothing_from_an_organisation(asked: Asked) -> None:
    """Whatever the server says of secure aggregation: vectors leave under masks only."""
    content = RecordDict(
        {
            "plan": ConfigRecord(dict(asked.round_plan().to_wire())),
            "model": ArrayRecord([asked.vector]),
        }
    )
    reason = asked.deployed.ask(ONE, "train", content)
    assert reason == (
        "PolicyRefused: vectors of this run leave under masks only: nothing was trained"
    )
    assert asked.deployed.spends(ONE) == 0


def test_another_encoder_in_the_same_folder_is_refused(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    tiny_encoder: str,
    tmp_path: Path,
) -> None:
    """What is agreed to is the content of every file, not the name of a folder."""
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, encoder)
    asked = asking(deploy(groups=2, **{"predictor.encoder": str(encoder)}))
    adverts = asked.advertise()
    (encoder / "extra.txt").write_text("one more file", encoding="utf-8")
    reason = asked.share(ONE, adverts, asked.terms())
    assert isinstance(reason, str)
    assert reason.startswith(OTHER_PREDICTOR)
    assert reason.endswith("that this group's policy accepts")
    (encoder / "extra.txt").unlink()
    asked.deployed.restart()
    adverts = asked.advertise()
    assert not isinstance(asked.share(ONE, adverts, asked.terms()), str)


class TestBudgets:
    def test_a_round_that_the_policys_budget_does_not_pay_for_is_refused_without_a_word_of_it(
        self, deploy: Callable[..., Deployed]
    ) -> None:
        """Three rounds are asked for, the budget pays for two; the server runs on without them."""
        deployed = deploy(groups=2, budget_epsilon=BUDGET, **{"federation.warmup_rounds": 3})
        rounds = deployed.run()
        assert [each.groups for each in rounds if each.round] == [2, 2, 0]
        assert {deployed.spends(group) for group in deployed.homes} == {2}
        assert set(deployed.reasons) == {
            "RefusedByLedger: BudgetExhausted: the ledger does not allow it"
        }
        refused = [event for event in deployed.ledger(ONE) if event["type"] == "REFUSED"]
        assert len(refused) == 2  # Both attempts at round 3.

    def test_the_last_round_that_is_paid_for_is_trained(
        self, deploy: Callable[..., Deployed]
    ) -> None:
        deployed = deploy(groups=2, budget_epsilon=10.0, **{"federation.warmup_rounds": 3})
        assert [each.groups for each in deployed.run() if each.round] == [2, 2, 2]
        assert not deployed.reasons

    def test_a_full_disk_lets_nothing_leave(
        self,
        deploy: Callable[..., Deployed],
        asking: Callable[..., Asked],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What the ledger cannot write down is not spent, and what is not spent is not trained."""
        asked = asking(deploy(groups=2))
        adverts = asked.advertise()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            reason = asked.share(ONE, adverts, asked.terms())
        assert isinstance(reason, str)
        assert reason.startswith("RefusedByLedger: ")
        assert reason.endswith(": the ledger does not allow it")
        assert asked.deployed.spends(ONE) == 0

    def test_a_disk_that_fills_up_before_training_lets_nothing_leave(
        self,
        deploy: Callable[..., Deployed],
        asking: Callable[..., Asked],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = asking(deploy(groups=2))
        stage = asked.deployed.stage

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def filling(group: str, kind: str, *given: Any) -> Any:
            with monkeypatch.context() as patch:
                if kind == "train.masked":
                    patch.setattr(
                        "clients.sessions.secagg_session.ServedRounds.add", lambda *_: None
                    )
                    patch.setattr(os, "fsync", full)
                return stage(group, kind, *given)

        asked.deployed.stage = filling
        reasons = asked.up_to_mask()
        assert set(reasons.values()) == {
            "RefusedByLedger: LedgerUnwritable: the ledger does not allow it"
        }
        asked.deployed.restart()
        assert asked.deployed.spends(ONE) == 0


def test_a_policy_is_all_that_counts_whatever_the_server_has_configured(
    deploy: Callable[..., Deployed], marked_data: Path
) -> None:
    """The run's configuration says the opposite of the policy in everything it can name."""
    deployed = deploy(groups=2)
    deployed.server_says = {
        **deployed.config.flat(),
        "data": str(marked_data),
        "federation.secure_aggregation": False,
        "federation.minimum_groups": 1,
        "privacy.mode": "none",
        "privacy.budget_epsilon": 50.0,
        "privacy.ledgers": str(deployed.folder / "elsewhere"),
        "home": str(deployed.folder),
    }
    deployed.restart()
    assert [each.groups for each in deployed.run() if each.round] == [2, 2]
    assert not deployed.reasons
    assert not (deployed.folder / "elsewhere").exists()
    for group in deployed.homes:
        assert deployed.spends(group) == 2
        (budget,) = [event for event in deployed.ledger(group) if event["type"] == "BUDGET"]
        assert float(budget["body"]["epsilon"]) == 10
        (dataset,) = [event for event in deployed.ledger(group) if event["type"] == "DATASET"]
        assert dataset["body"]["units"] == 6


class TestWordsStayAtTheClient:
    """What is wrong with a record is nobody's business but its owner's."""

    def test_an_invalid_record_is_quoted_neither_to_the_server_nor_in_a_log(
        self,
        deploy: Callable[..., Deployed],
        logs: list[str],
    ) -> None:
        deployed = deploy(groups=2)
        rows = deployed.data[ONE].read_text(encoding="utf-8")
        broken = rows.replace('"choice": 0', '"choice": "zebrachoice"', 1)
        deployed.data[ONE].write_text(broken, encoding="utf-8")
        setup = RecordDict(
            {"setup": ConfigRecord({"version": 2, "unit": "", "challenge": bytes(32)})}
        )
        answer = deployed.ask(ONE, "query.setup", setup)
        assert not isinstance(answer, str) and "zebra" not in str(answer)
        open_home(Home(folder=deployed.homes[ONE])).units()
        assert not [line for line in logs if "zebra" in line]
        assert any("1 record(s) count as absent" in line for line in logs)
        # Nothing promises to hide it where there is no noise.
        deployed.change(ONE, privacy__mode="none")
        reason = deployed.ask(ONE, "query.setup", setup)
        assert reason == "DataError: its text stays at the client"
        assert not [line for line in logs if "zebra" in line]

    @pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, OSError, TypeError])
    def test_an_unexpected_error_is_told_by_its_kind_alone(
        self,
        asked: Asked,
        logs: list[str],
        monkeypatch: pytest.MonkeyPatch,
        markers: tuple[str, ...],
        kind: type[Exception],
    ) -> None:
        # A traceback shows lines of code, so that the word must not stand in one.
        word = markers[0]

        def fail(*_: object) -> None:
            try:
                raise LookupError(word)
            except LookupError as error:
                raise kind(word) from error

        monkeypatch.setattr("clients.requests.open_store", fail)
        reason = asked.deployed.stage(ONE, "query.confirm", {})
        assert reason == f"{kind.__name__}: its text stays at the client"
        assert not [line for line in logs if "zebra" in line]

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (PolicyRefused("epsilon = 9"), "PolicyRefused: epsilon = 9"),
            (PlanRefused("delta = 1"), "PlanRefused: delta = 1"),
            (ExecutionMismatch("rounds = 2"), "ExecutionMismatch: rounds = 2"),
            (RefusedByLedger("LedgerError: no"), "RefusedByLedger: LedgerError: no"),
            (CodeRefused("the server's code"), "CodeRefused: the server's code"),
            (LedgerRefused("zebra"), "LedgerRefused: its text stays at the client"),
            (GroupPolicyError("zebra"), "GroupPolicyError: its text stays at the client"),
            (UnicodeDecodeError("utf-8", b"zebra", 0, 1, "zebra"), "UnicodeDecodeError: its text"),
        ],
    )
    def test_only_words_about_the_servers_own_words_are_told(
        self, error: Exception, told: str
    ) -> None:
        assert reason_for_server(error).startswith(told)
        assert "zebra" not in reason_for_server(error)


@pytest.fixture(scope="module")
def measured(deploy: Callable[..., Deployed], asking: Callable[..., Asked]) -> Asked:
    return asking(deploy(groups=2, held_out=1))


class TestGroupsThatOnlyMeasure:
    def evaluate(self, measured: Asked, **changes: Any) -> RecordDict | str:
        plan = measured.round_plan(**changes)
        content = RecordDict(
            {
                "plan": ConfigRecord(dict(plan.to_wire())),
                "model": ArrayRecord([measured.vector]),
            }
        )
        return measured.deployed.ask("Group 2", "evaluate", content)

    def test_they_measure_and_never_train(self, measured: Asked) -> None:
        reply = self.evaluate(measured)
        assert not isinstance(reply, str), reply
        assert reply.metric_records["metrics"]["public"] == 1
        assert measured.advertise()["Group 2"] == "ValueError: its text stays at the client"

    def test_a_run_measures_on_them(self, measured: Asked) -> None:
        rounds = measured.deployed.run()
        assert [each.groups for each in rounds if each.round] == [2, 2]
        assert rounds[-1].alignment is not None

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            (
                {"predictor.head_width": 9},
                OTHER_PREDICTOR,
            ),
            (
                {"predictor.encoder": "someone/encoder"},
                OTHER_PREDICTOR,
            ),
        ],
        ids=["another shape", "an encoder of the hub"],
    )
    def test_they_load_no_model_but_the_one_agreed_to(
        self, measured: Asked, changes: dict[str, Any], words: str
    ) -> None:
        reason = self.evaluate(measured, **changes)
        assert isinstance(reason, str)
        assert reason.startswith(words)

    def test_a_train_group_measures_nothing(self, measured: Asked) -> None:
        content = RecordDict({"plan": ConfigRecord(dict(measured.round_plan().to_wire()))})
        reason = measured.deployed.ask(ONE, "evaluate", content)
        assert reason == "ValueError: its text stays at the client"
