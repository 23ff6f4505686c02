"""Without noise a model is summed over one cohort: two sums would differ by single members."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from alignment.model.predictor import Predictor
from clients.sessions.secagg_session import OpenedSums
from privacy.errors import PolicyRefused, Replayed
from privacy.identity.keys import Identity, Roster
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt
from privacy.secagg.server import ServerRound
from server.aggregation.base import MeanOfUpdates
from server.aggregation.step_sizes import steps_of

Deployed = Any
Asked = Any
NOISELESS = {"privacy.mode": "none"}
MODEL, OTHER = "ab" * 32, "cd" * 32


class TestTheFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "served-sums.json"

    def test_a_model_is_opened_over_one_cohort_and_no_other(self, path: Path) -> None:
        OpenedSums(RecordDict(), path).open(MODEL, ["a", "b", "c"])
        again = OpenedSums(RecordDict(), path)
        again.open(MODEL, ["c", "b", "a"])
        again.open(OTHER, ["a", "b"])
        for cohort in (["a", "b"], ["a", "b", "d"], ["a", "b", "c", "d"], []):
            with pytest.raises(Replayed, match="over other members"):
                again.open(MODEL, cohort)
        assert set(json.loads(path.read_text(encoding="utf-8"))) == {MODEL, OTHER}

    def test_names_cannot_be_joined_to_others(self, path: Path) -> None:
        OpenedSums(RecordDict(), path).open(MODEL, ['a", "b', "c"])
        with pytest.raises(Replayed):
            OpenedSums(RecordDict(), path).open(MODEL, ["a", "b", "c"])

    def test_without_a_file_the_state_remembers(self) -> None:
        state = RecordDict({"secagg": ConfigRecord({"stage": "spent"})})
        OpenedSums(state, None).open(MODEL, ["a", "b"])
        with pytest.raises(Replayed):
            OpenedSums(state, None).open(MODEL, ["a"])

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0"])
    def test_a_damaged_file_opens_nothing(self, path: Path, content: str) -> None:
        path.write_text(content, encoding="utf-8")
        with pytest.raises(PolicyRefused, match=r"^served-sums\.json of this client is damaged"):
            OpenedSums(RecordDict(), path).open(MODEL, ["a", "b"])


class Summing:
    """A server that asks some of the groups for a sum of one model."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        config = asked.deployed.config
        self.aggregation = MeanOfUpdates(steps_of(Predictor(config.predictor), config.training))

    def refusals(self, number: int, members: Sequence[str], **plan: Any) -> dict[str, str]:
        """What every member says to its share of the sum; empty where all have given theirs."""
        asked, deployed = self.asked, self.asked.deployed
        attempt = Attempt(run=asked.run, round=number)
        request = {"advertise": AdvertiseRequest(attempt).encode()}
        adverts = {name: deployed.stage(name, "query.advertise", request) for name in members}
        keys = {n: Identity.read(deployed.homes[n] / "identity.pem").public for n in members}
        told = asked.round_plan(number, **plan)
        terms = asked.terms(
            number,
            members=tuple(members),
            survivors=len(members),
            threshold=consistency_threshold(len(members)),
            vector=self.aggregation.vector_terms(told, asked.vector.size, members=len(members)),
            task=told.digest(),
        )
        encoded = {name: adverts[name]["secagg"]["advertise"] for name in members}
        round_ = ServerRound(terms, encoded, Roster(keys))
        for name in members:
            shared = deployed.stage(name, "query.share", {"share": round_.share_request}, told)
            if isinstance(shared, str):
                return {name: shared}
            round_.take_shares(name, shared["secagg"]["share"])
        round_.close_sharing()
        for name in members:
            masked = deployed.stage(
                name, "train.masked", {"mask": round_.mask_request(name)}, told, asked.vector
            )
            (array,) = masked["masked"].to_numpy_ndarrays()
            round_.take_masked(name, array.tobytes())
        round_.close_masking()
        for name in members:
            request = {"confirm": round_.consistency_request()}
            signed = deployed.stage(name, "query.confirm", request)
            round_.take_consistency(name, signed["secagg"]["confirm"])
        request = {"unmask": round_.unmask_request()}
        replies = {name: deployed.stage(name, "query.unmask", request) for name in members}
        return {name: reply for name, reply in replies.items() if isinstance(reply, str)}


@pytest.fixture
def summing(deploy: Callable[..., Deployed], asking: Callable[..., Asked]) -> Summing:
    return Summing(asking(deploy(groups=4, **NOISELESS)))


ALL = tuple(f"Group {number}" for number in range(4))


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_model_is_not_summed_over_another_cohort(summing: Summing, restart: bool) -> None:
    """Was open: the difference of two such sums was the vector of the member left out."""
    assert summing.refusals(1, ALL) == {}
    if restart:
        summing.asked.deployed.restart()
    refused = summing.refusals(2, ALL[:3])
    assert set(refused) == set(ALL[:3])
    assert all("opened a sum of this model over other members" in each for each in refused.values())


def test_over_the_very_same_cohort_it_is(summing: Summing) -> None:
    """As a run goes on after its server has died between a sum and the next checkpoint."""
    assert summing.refusals(1, ALL) == {}
    summing.asked.deployed.restart()
    assert summing.refusals(2, ALL) == {}


def test_another_model_may_have_another_cohort(summing: Summing) -> None:
    assert summing.refusals(1, ALL) == {}
    summing.asked.vector = summing.asked.vector + np.float32(1)
    assert summing.refusals(2, ALL[:3]) == {}


@pytest.mark.parametrize(("named", "run"), [(1, "ab" * 16), (2, "cd" * 16)])
def test_a_round_has_one_name(summing: Summing, named: int, run: str) -> None:
    """Was open: a plan of round 1 was trained again under the terms of round 2."""
    assert summing.refusals(1, ALL) == {}
    (reason,) = summing.refusals(2, ALL, round=named, run=run).values()
    assert reason == (
        "PolicyRefused: the terms are of another run or round than the plan: nothing is sent"
    )


def test_with_noise_every_sum_is_paid_for_and_none_is_remembered(
    deploy: Callable[..., Deployed], asking: Callable[..., Asked]
) -> None:
    asked = asking(deploy(groups=2))
    asked.up_to_mask(1)
    assert not (asked.deployed.homes["Group 0"] / "served-sums.json").exists()
