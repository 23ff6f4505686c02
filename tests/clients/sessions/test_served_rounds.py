"""A round has one vector of a client, over restarts too: two would tell it from the rest."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.sessions.secagg_session import ServedRounds
from privacy.errors import PolicyRefused, Replayed
from privacy.secagg.round_terms import Attempt

Deployed = Any
Asked = Any
ONE = "Group 0"
NOISELESS = {"privacy.mode": "none"}


def attempt(number: int, *, run: str = "autumn", again: int = 1) -> Attempt:
    return Attempt(run=run, round=number, attempt=again)


class TestTheFile:
    @pytest.fixture
    def served(self, tmp_path: Path) -> ServedRounds:
        return ServedRounds(tmp_path / "served.json")

    def test_it_remembers_the_last_round_of_every_run(
        self, served: ServedRounds, tmp_path: Path
    ) -> None:
        for run, number in (("autumn", 1), ("autumn", 4), ("winter", 2)):
            served.add(attempt(number, run=run))
        again = ServedRounds(tmp_path / "served.json")
        for run, last in (("autumn", 4), ("winter", 2), ("spring", 0)):
            for number in range(last + 1):
                with pytest.raises(Replayed, match=f"ask for round {last + 1}$"):
                    again.require_new(attempt(number, run=run, again=9))
            again.require_new(attempt(last + 1, run=run))
        assert json.loads((tmp_path / "served.json").read_text()) == {"autumn": 4, "winter": 2}

    def test_a_round_is_added_once(self, served: ServedRounds) -> None:
        served.add(attempt(3))
        with pytest.raises(Replayed):
            served.add(attempt(3, again=2))

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            "3",
            "null",
            '{"autumn": null}',
            '{"autumn": "x"}',
            '{"autumn": [1]}',
            "\0",
        ],
    )
    def test_a_file_that_is_damaged_serves_nobody(
        self, served: ServedRounds, tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "served.json").write_text(content, encoding="utf-8")
        words = r"^served\.json of this client is damaged: its owner must look at it$"
        for ask in (served.require_new, served.add):
            with pytest.raises(PolicyRefused, match=words):
                ask(attempt(1))
        assert (tmp_path / "served.json").read_text(encoding="utf-8") == content

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_what_cannot_be_written_is_not_taken_for_written(
        self, served: ServedRounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        served.add(attempt(1))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(OSError, match="No space left"):
                served.add(attempt(2))
        assert json.loads((tmp_path / "served.json").read_text()) == {"autumn": 1}

    def test_it_is_on_the_disk_before_it_has_its_name(
        self, served: ServedRounds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file is forced out, then named, then the folder is forced out."""
        order = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda file: (order.append("fsync"), fsync(file))[1])
        monkeypatch.setattr(os, "replace", lambda *a: (order.append("replace"), replace(*a))[1])
        served.add(attempt(1))
        assert order == ["fsync", "replace", "fsync"]


class TestOverRestarts:
    @pytest.mark.parametrize("settings", [{}, NOISELESS], ids=["private", "without noise"])
    def test_a_round_that_has_had_a_vector_is_refused_again_and_the_next_is_served(
        self, deploy: Callable[..., Deployed], asking: Callable[..., Asked], settings: Any
    ) -> None:
        asked = asking(deploy(groups=2, **settings))
        deployed = asked.deployed
        masked = asked.up_to_mask(1)
        assert not [each for each in masked.values() if isinstance(each, str)]
        deployed.restart()
        for number, again in ((1, 1), (1, 2), (1, 7), (0, 1)):
            refused = asked.advertise(number, again)
            assert set(refused.values()) == {
                f"Replayed: round {number} has had this client's vector, or a later one has: ask "
                "for round 2"
            }
        following = asked.up_to_mask(2)
        assert not [each for each in following.values() if isinstance(each, str)]
        assert {deployed.spends(group) for group in deployed.homes} == {0 if settings else 2}

    def test_a_round_that_ended_before_any_vector_left_may_be_tried_again(
        self, deploy: Callable[..., Deployed], asking: Callable[..., Asked]
    ) -> None:
        asked = asking(deploy(groups=2, **NOISELESS))
        adverts = asked.advertise()
        assert not isinstance(asked.share(ONE, adverts, asked.terms()), str)
        asked.deployed.restart()
        masked = asked.up_to_mask(1, attempt=2)
        assert not [each for each in masked.values() if isinstance(each, str)]

    def test_within_one_life_of_the_process_too(
        self, deploy: Callable[..., Deployed], asking: Callable[..., Asked]
    ) -> None:
        asked = asking(deploy(groups=2, **NOISELESS))
        asked.up_to_mask(1)
        (reason,) = set(asked.advertise(1, 2).values())
        assert reason == "Replayed: round 1 has had this client's vector; ask for the next"

    def test_a_damaged_file_keeps_the_client_away(
        self, deploy: Callable[..., Deployed], asking: Callable[..., Asked]
    ) -> None:
        asked = asking(deploy(groups=2, **NOISELESS))
        (asked.deployed.homes[ONE] / "served.json").write_text("[", encoding="utf-8")
        assert asked.advertise()[ONE] == (
            "PolicyRefused: served.json of this client is damaged: its owner must look at it"
        )

    @pytest.mark.parametrize("settings", [{}, NOISELESS], ids=["private", "without noise"])
    def test_a_full_disk_lets_nothing_leave(
        self,
        deploy: Callable[..., Deployed],
        asking: Callable[..., Asked],
        monkeypatch: pytest.MonkeyPatch,
        settings: Any,
    ) -> None:
        """Nothing is charged either: the round is written down before it is paid for."""
        asked = asking(deploy(groups=2, **settings))
        stage = asked.deployed.stage
        trained = []
        monkeypatch.setattr("clients.app.trained_as_asked", lambda *_, **__: trained.append(1))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def filling(group: str, kind: str, *given: Any) -> Any:
            with monkeypatch.context() as patch:
                if kind == "train.masked":
                    patch.setattr(os, "fsync", full)
                return stage(group, kind, *given)

        asked.deployed.stage = filling
        assert set(asked.up_to_mask().values()) == {
            "RefusedByLedger: OSError: the ledger does not allow it"
        }
        assert not trained
        assert {asked.deployed.spends(group) for group in asked.deployed.homes} == {0}
        assert not (asked.deployed.homes[ONE] / "served.json").exists()
