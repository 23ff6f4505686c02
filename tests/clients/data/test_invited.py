"""Settings of an invitation: which are known, and where a policy promises less by them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.data.group_policy import GroupPolicy, GroupPolicyError
from clients.data.invited import SECTIONS, lifetime_budget, require_known, weaker_than_defaults
from clients.data.policy_sections import AcceptSection, DataSection, PrivacySection, ServerSection
from server.config import RunConfig, read_run_config
from tests.hostile import HOSTILE_TEXT, assert_seen


def policy(*, role: str = "train", public: bool = False, **changes: Any) -> GroupPolicy:
    privacy: dict[str, Any] = {"budget_epsilon": lifetime_budget(8.0), "units": 100}
    accept: dict[str, Any] = {"code": "ab" * 32, "model": "cd" * 32}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        {"privacy": privacy, "accept": accept}[section][key] = value
    return GroupPolicy.model_validate(
        {
            "group": "North",
            "role": role,
            "data": DataSection(path="x", public=public),
            "privacy": PrivacySection(**privacy),
            "accept": AcceptSection(**accept),
            "server": ServerSection(address="a.org:1"),
        }
    )


class TestKnown:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"privacy.mode": "distributed"},
            {"privacy.mode": "local", "privacy.local_steps": 3},
            {"strategy.name": "fedprox"},
            {"compression.bits": 4, "compression.keep": 0.5},
        ],
        ids=str,
    )
    def test_whatever_a_server_can_ask_of_real_groups_is(self, changes: Mapping[str, Any]) -> None:
        require_known(read_run_config(changes).flat())

    def test_every_setting_of_a_run_is_known_to_clients_and_no_other(self) -> None:
        nested = RunConfig().nested()
        sections = {name: set(value) for name, value in nested.items() if isinstance(value, dict)}
        sections[""] = set(nested) - set(sections)
        del sections["strategy"]
        known = {name: {each.name for each in fields(kind)} for name, kind in SECTIONS.items()}
        assert known == sections

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ({"privacy.epsilon": "50"}, "privacy.epsilon = '50': "),
            ({"privacy.epsilon": True}, "privacy.epsilon = True: "),
            ({"privacy.epsilon": float("nan")}, "privacy.epsilon is not finite"),
            ({"privacy.epsilon": float("inf")}, "privacy.epsilon is not finite"),
            ({"privacy.epsilon": 0.0}, "privacy.epsilon = 0.0: "),
            ({"privacy.epsilon": 51.0}, "privacy.epsilon = 51.0: "),
            ({"privacy.delta": 1.0}, "privacy.delta = 1.0: "),
            ({"privacy.delta": -1e-5}, "privacy.delta = -1e-05: "),
            ({"privacy.mode": "central"}, "privacy.mode = 'central': "),
            ({"privacy.mode": ""}, "privacy.mode = '': "),
            ({"privacy.unit": "organisation"}, "privacy.unit = 'organisation': "),
            ({"privacy.colluding": -1}, "privacy.colluding = -1: "),
            ({"privacy.colluding": 0.0}, "privacy.colluding = 0.0: "),
            ({"privacy.colluding": False}, "privacy.colluding = False: "),
            ({"privacy.survivors": 10**9}, "privacy.survivors = 1000000000: "),
            ({"privacy.nois": 1.0}, "privacy.nois is no setting that is known here"),
            ({"privat.epsilon": 1.0}, "privat.epsilon is no setting that is known here"),
            ({"epsilon": 1.0}, "epsilon is no setting that is known here"),
            ({"privacy.a.b": 1.0}, "privacy.a.b is no setting that is known here"),
            ({"federation.minimum_groups": 0}, "federation.minimum_groups = 0: "),
            ({"federation.minimum_groups": "3"}, "federation.minimum_groups = '3': "),
            ({"simulation.dropout": 0.5}, "simulation.dropout = 0.5: "),
            ({"training.dropout": float("nan")}, "training.dropout is not finite"),
            ({"training.dropout": 1.0}, "training.dropout = 1.0 must be in"),
            ({"predictor.head_width": "wide"}, "predictor.head_width = 'wide': "),
            ({"predictor.lora_rank": True}, "predictor.lora_rank = True: "),
            ({"strategy.name": "nothing"}, "strategy.name = 'nothing' is no strategy"),
            ({"strategy.name": 3}, "strategy.name is no text"),
            ({"strategy.momentum": 0.5}, "strategy.momentum is no setting of fedavg"),
            ({"strategy.momentum": float("nan")}, "a setting of strategy is not finite"),
            ({"privacy.mode": HOSTILE_TEXT}, "privacy.mode = "),
        ],
        ids=ascii,
    )
    def test_what_no_run_could_have_is_one_line(
        self, setting: Mapping[str, Any], words: str
    ) -> None:
        """Was open: types were cast, unknown keys left aside, and bounds met later or never."""
        with pytest.raises(GroupPolicyError) as caught:
            require_known(setting)
        assert str(caught.value).startswith(f"the invitation: {words}")
        assert str(caught.value).endswith("or ask for another invitation")
        assert "\n" not in str(caught.value)

    @given(st.text(max_size=30), st.booleans() | st.integers() | st.floats() | st.text())
    def test_any_setting_is_known_or_one_line(self, key: str, value: Any) -> None:
        for name in (key, "privacy.mode", "privacy.epsilon", "strategy.name", "out"):
            try:
                require_known({name: value})
            except GroupPolicyError as error:
                assert str(error).startswith("the invitation: ")

    def test_a_strategy_of_the_servers_own_file_is_not_run_here(self, tmp_path: Any) -> None:
        """Was open: nothing here looked at it, and nothing that looks may run it."""
        file = tmp_path / "own.py"
        file.write_text("raise SystemExit('this ran')", encoding="utf-8")
        require_known({"strategy.name": f"{file}:Own", "strategy.speed": 3})


class TestWeaker:
    def test_the_defaults_are_not(self) -> None:
        assert weaker_than_defaults(policy()) == ()

    @pytest.mark.parametrize(
        ("changes", "shown"),
        [
            ({"privacy__mode": "none"}, ("privacy.mode", "none", "distributed")),
            ({"privacy__unit": "record"}, ("privacy.unit", "record", "respondent")),
            ({"privacy__run_epsilon": 50.0}, ("privacy.run_epsilon", "50.0", "8.0")),
            ({"privacy__budget_epsilon": 50.0}, ("privacy.budget_epsilon", "50.0", "10.0")),
            ({"privacy__budget_delta": 0.5}, ("privacy.budget_delta", "0.5", "1e-05")),
            ({"accept__colluding": 0}, ("accept.colluding", "0", "1")),
            ({"accept__members": 2}, ("accept.members", "2", "3")),
            ({"accept__partners": True}, ("accept.partners", "true", "false")),
            ({"public": True}, ("data.public", "true", "false")),
        ],
    )
    def test_each_field_that_promises_less_is_named(
        self, changes: dict[str, Any], shown: tuple[str, str, str]
    ) -> None:
        """Was open: a policy took over what an invitation asked, and nobody was told."""
        (weaker,) = weaker_than_defaults(policy(**changes))
        assert (weaker.name, weaker.value, weaker.default) == shown
        assert_seen(f"{weaker.name} {weaker.value} {weaker.default}")

    @pytest.mark.parametrize(
        "changes",
        [
            {"privacy__mode": "local"},
            {"privacy__run_epsilon": 1.0, "privacy__budget_epsilon": 1.0},
            {"privacy__budget_delta": 1e-9},
            {"accept__members": 9, "accept__threshold": 8, "accept__honest_shares": 5},
            {"accept__colluding": 4},
            {"role": "held_out", "public": True},
        ],
    )
    def test_one_that_promises_more_is_not(self, changes: dict[str, Any]) -> None:
        assert weaker_than_defaults(policy(**changes)) == ()

    def test_a_field_that_nothing_is_known_of_counts_wherever_it_differs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clients.data.invited._WEAKER", {"code": lambda *_: False})
        found = weaker_than_defaults(policy(accept__members=9))
        names = [each.name for each in found]
        assert names == ["privacy.units", "accept.model", "accept.members"]
