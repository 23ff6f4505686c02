"""Clients that meet in pairs, and a server that replays, swaps, forges and asks twice."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from alignment.config import ContextConfig, PredictorConfig
from alignment.model.folder import load_predictor
from alignment.model.vector import to_vector
from clients.data.home import Home
from clients.deployment.enrolment import compare_roster, pin_roster
from clients.sessions.own_model import Kept, OwnModel
from clients.task import own_strategy
from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import PolicyRefused
from privacy.exchange.messages import MeetRequest, PeerAdvert, Sealed, ShowRequest
from privacy.identity.keys import Identity
from privacy.secagg.messages import AdvertiseRequest
from privacy.secagg.round_terms import Attempt
from strategies.gossip import Gossip
from strategies.registry import settings_of
from strategies.wire.round_plan import RoundPlan, vector_digest

GOSSIP = {
    "strategy.name": "gossip",
    "privacy.mode": "local",
    "privacy.mechanism": "gradients",
    "federation.secure_aggregation": False,
    "federation.minimum_groups": 1,
}
ONE, TWO, THREE = (f"Group {number}" for number in range(3))
READER = "Group 3"
Deployed = Any
Reply = RecordDict | str


class Server:
    """A server that may ask for anything, of three groups that train and one that measures."""

    def __init__(self, asked: Any) -> None:
        self.asked, self.deployed = asked, asked.deployed
        self.run = asked.run
        self.start = asked.vector

    def plan(self, number: int = 1, **changes: Any) -> RoundPlan:
        strategy = {"name": "gossip", **settings_of(Gossip())}
        plan = replace(self.asked.round_plan(number, **changes), strategy=strategy)
        return RoundPlan.from_wire(plan.to_wire())

    def send(self, group: str, kind: str, content: Mapping[str, Any], **parts: bytes) -> Reply:
        records = RecordDict({"exchange": ConfigRecord(dict(parts)), **content})
        reply: Reply = self.deployed.ask(group, kind, records)
        return reply

    def offer(self, group: str, number: int = 1, attempt: int = 1) -> bytes:
        asked = Attempt(run=self.run, round=number, attempt=attempt)
        reply = self.send(group, "query.offer", {}, offer=AdvertiseRequest(asked).encode())
        if isinstance(reply, str):
            raise AssertionError(reply)
        data = reply["exchange"]["offer"]
        return bytes(data)

    def meet(
        self, group: str, *adverts: bytes, number: int = 1, plan: RoundPlan | None = None,
        model: np.ndarray | None = None,
    ) -> Reply:  # fmt: skip
        listed = sorted(adverts, key=lambda data: PeerAdvert.decode(data).sender)
        start = self.start if model is None else model
        request = MeetRequest(
            Attempt(run=self.run, round=number),
            bytes.fromhex(vector_digest(start)),
            tuple(listed),
        )
        content = {
            "plan": ConfigRecord(dict((plan or self.plan(number)).to_wire())),
            "model": ArrayRecord([start]),
        }
        return self.send(group, "train.meet", content, meet=request.encode())

    def pair(self, one: str = ONE, two: str = TWO, number: int = 1) -> tuple[bytes, bytes]:
        """Have two groups train and seal for each other; what each has sealed."""
        adverts = self.offer(one, number), self.offer(two, number)
        return tuple(sealed_in(self.meet(group, *adverts, number=number)) for group in (one, two))

    def mix(self, group: str, sealed: bytes) -> Reply:
        return self.send(group, "query.mix", {"sealed": packed(sealed)})

    def vector(self, group: str) -> np.ndarray:
        kept = OwnModel(self.deployed.homes[group] / "model").read(self.run)
        assert kept is not None
        return kept.vector


def packed(data: bytes) -> ArrayRecord:
    return ArrayRecord([np.frombuffer(data, dtype=np.uint8)])


def sealed_in(reply: Reply) -> bytes:
    assert not isinstance(reply, str), reply
    (array,) = reply.array_records["sealed"].to_numpy_ndarrays()
    data: bytes = array.tobytes()
    return data


def pin_all(deployed: Deployed) -> None:
    """As a coordinator's roster does it: those that only measure have a section of their own."""
    deployed.pin()
    path = deployed.folder / "roster.json"
    roster = json.loads(path.read_text(encoding="utf-8"))
    reader = Identity.read(deployed.homes[READER] / "identity.pem")
    roster["held_out"] = {READER: reader.public.hex()}
    path.write_text(json.dumps(roster), encoding="utf-8")
    for home in deployed.homes.values():
        pin_roster(Home(folder=home), compare_roster(Home(folder=home), path))


@pytest.fixture
def server(deploy: Callable[..., Deployed], asking: Callable[..., Any]) -> Server:
    deployed = deploy(groups=3, held_out=1, **GOSSIP)
    for group in (ONE, TWO, THREE):
        deployed.change(group, accept__partners=True)
    pin_all(deployed)
    return Server(asking(deployed))


def test_partners_end_with_equal_vectors_and_are_told_apart_from_others(server: Server) -> None:
    one, two = server.pair()
    trained = server.vector(ONE), server.vector(TWO)
    assert (trained[0] != trained[1]).any()
    told = server.mix(ONE, two), server.mix(TWO, one)
    assert server.vector(ONE).tobytes() == server.vector(TWO).tobytes()
    expected = (trained[0].astype(np.float64) + trained[1]) / 2
    np.testing.assert_allclose(server.vector(ONE), expected, rtol=1e-6)
    distances = [float(str(each.metric_records["mixed"]["distance"])) for each in told]
    apart = np.linalg.norm(trained[0].astype(np.float64) - trained[1])
    np.testing.assert_allclose(distances, [apart, apart], rtol=1e-5)
    # The next round begins from there, with no vector of the server's.
    server.pair(number=2)
    assert (server.vector(ONE) != server.vector(TWO)).any()
    assert not server.deployed.reasons


def test_each_step_is_charged_once_and_what_left_is_what_was_recorded(server: Server) -> None:
    one, _ = server.pair()
    events = server.deployed.ledger(ONE)
    (spend,) = (event["body"] for event in events if event["type"] == "SPEND")
    (released,) = (event["body"] for event in events if event["type"] == "RELEASED")
    assert (spend["round"], spend["steps"]) == (1, 1)
    assert spend["ctx"] == Sealed.decode(one).context.hex()
    assert released["vector"] == hashlib.sha256(one).hexdigest()


class TestOnce:
    def test_a_round_has_one_vector_whoever_it_is_for(self, server: Server) -> None:
        server.pair()
        before = server.vector(ONE)
        again = server.meet(ONE, *(server.offer(each, 1, 2) for each in (THREE,)))
        assert isinstance(again, str) and again.startswith("Replayed")
        assert server.deployed.spends(ONE) == 1
        assert server.vector(ONE).tobytes() == before.tobytes()

    def test_also_over_a_restart(self, server: Server) -> None:
        server.pair()
        before = server.vector(ONE)
        server.deployed.restart()
        for number, attempt in ((1, 1), (1, 2), (0, 1)):
            with pytest.raises(AssertionError, match=r"Replayed: .* ask for round 2"):
                server.offer(ONE, number, attempt)
        assert server.vector(ONE).tobytes() == before.tobytes()
        server.pair(number=2)
        assert server.deployed.spends(ONE) == 2

    def test_a_restart_between_training_and_delivery_keeps_what_was_trained(
        self, server: Server
    ) -> None:
        _, two = server.pair()
        before = server.vector(ONE)
        server.deployed.restart()
        refused = server.mix(ONE, two)
        assert isinstance(refused, str) and refused.startswith("Replayed")
        assert server.vector(ONE).tobytes() == before.tobytes()

    def test_a_second_delivery_is_refused(self, server: Server) -> None:
        _, two = server.pair()
        assert not isinstance(server.mix(ONE, two), str)
        mixed = server.vector(ONE)
        again = server.mix(ONE, two)
        assert again == (
            "Replayed: no vector of a partner is awaited in this round, or it has come"
        )
        assert server.vector(ONE).tobytes() == mixed.tobytes()

    def test_a_ciphertext_of_the_round_before_is_refused(self, server: Server) -> None:
        _, old = server.pair()
        _, _ = server.pair(number=2)
        before = server.vector(ONE)
        refused = server.mix(ONE, old)
        assert isinstance(refused, str) and refused.startswith("Replayed")
        assert server.vector(ONE).tobytes() == before.tobytes()

    def test_swapped_ciphertexts_are_refused_and_the_own_vector_stays(self, server: Server) -> None:
        one, two, three = (server.offer(group) for group in (ONE, TWO, THREE))
        # The server has one group believe in one pair, and another in another.
        first = sealed_in(server.meet(ONE, one, two))
        sealed_in(server.meet(TWO, two, three))
        sealed_in(server.meet(THREE, two, three))
        for group in (TWO, THREE):
            before = server.vector(group)
            refused = server.mix(group, first)
            assert isinstance(refused, str) and refused.startswith("Replayed")
            assert server.vector(group).tobytes() == before.tobytes()
            assert isinstance(server.mix(group, first), str)

    def test_a_model_is_shown_once_a_round(self, server: Server) -> None:
        server.pair()
        reader = server.offer(READER)
        request = ShowRequest(
            Attempt(run=server.run, round=1), bytes.fromhex(vector_digest(server.start)), (reader,)
        ).encode()
        shown = server.send(ONE, "query.show", {}, show=request)
        assert not isinstance(shown, str)
        again = server.send(ONE, "query.show", {}, show=request)
        assert isinstance(again, str) and again.startswith("Replayed")
        content = {
            "shown": shown.array_records["shown"],
            "plan": ConfigRecord(dict(server.plan().to_wire())),
        }
        measured = server.send(READER, "evaluate", content)
        assert not isinstance(measured, str)
        assert 0 < float(str(measured.metric_records["metrics"]["alignment"])) <= 1
        once_more = server.send(READER, "evaluate", content)
        assert isinstance(once_more, str) and once_more.startswith("Replayed")


class TestRefused:
    def refused(self, server: Server, reply: Reply, words: str) -> None:
        assert isinstance(reply, str) and words in reply, reply
        assert not server.deployed.spends(ONE)
        assert OwnModel(server.deployed.homes[ONE] / "model").read(server.run) is None

    def test_a_forged_advertisement(self, server: Server) -> None:
        own, real = server.offer(ONE), PeerAdvert.decode(server.offer(TWO))
        forged = replace(real, key=bytes(range(32))).encode()
        self.refused(server, server.meet(ONE, own, forged), "BadSignature")

    def test_its_own_advertisement_as_the_partner_s(self, server: Server) -> None:
        own = server.offer(ONE)
        self.refused(server, server.meet(ONE, own, own), "asked to meet itself")

    def test_a_partner_that_is_not_pinned(self, server: Server) -> None:
        own, two = server.offer(ONE), server.offer(TWO)
        roster = server.deployed.homes[ONE] / "roster.json"
        text = roster.read_text(encoding="utf-8")
        roster.write_text(text.replace(f'"{TWO}"', '"Somebody else"'), encoding="utf-8")
        self.refused(server, server.meet(ONE, own, two), "not in the roster")

    def test_a_group_that_has_not_agreed_to_partners(self, server: Server) -> None:
        own, two = server.offer(ONE), server.offer(TWO)
        server.deployed.change(ONE, accept__partners=False)
        self.refused(server, server.meet(ONE, own, two), "accept.partners = false")

    def test_a_round_without_privacy(self, server: Server) -> None:
        own, two = server.offer(ONE), server.offer(TWO)
        plan = replace(server.plan(), privacy={})
        self.refused(server, server.meet(ONE, own, two, plan=plan), "PolicyRefused")

    def test_a_round_whose_noise_protects_in_a_sum_alone(self, server: Server) -> None:
        """One share of noise hides nobody from the partner."""
        own, two = server.offer(ONE), server.offer(TWO)
        local = server.asked.plan
        terms = {each.name: getattr(local, each.name) for each in fields(PrivacyTerms)}
        shared = PrivacyPlan.calibrate(PrivacyTerms(**{**terms, "mode": Mode.DISTRIBUTED}))
        plan = server.plan(**{f"plan__{name}": value for name, value in shared.as_dict().items()})
        # A group whose policy takes such a plan for sums.
        server.deployed.change(ONE, privacy__mode="distributed")
        reply = server.meet(ONE, own, two, plan=plan)
        self.refused(server, reply, "what a partner would see is not private")

    def test_a_plan_of_another_round(self, server: Server) -> None:
        own, two = server.offer(ONE), server.offer(TWO)
        reply = server.meet(ONE, own, two, plan=server.plan(2))
        self.refused(server, reply, "another run or round")

    @pytest.mark.parametrize("name", ["fedavg", "", "own.py:Own"])
    def test_a_strategy_that_is_not_for_groups(self, server: Server, name: str) -> None:
        own, two = server.offer(ONE), server.offer(TWO)
        plan = replace(server.plan(), strategy={"name": name})
        self.refused(server, server.meet(ONE, own, two, plan=plan), "none that a group follows")

    def test_another_start_once_the_run_has_begun(self, server: Server) -> None:
        server.pair()
        adverts = server.offer(ONE, 2), server.offer(TWO, 2)
        reply = server.meet(ONE, *adverts, number=2, model=server.start + 1)
        assert isinstance(reply, str) and "another model" in reply
        assert server.deployed.spends(ONE) == 1


def test_a_vector_that_cannot_be_written_down_does_not_leave(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    adverts = server.offer(ONE), server.offer(TWO)

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("clients.sessions.own_model.write_atomically", full)
        assert (
            server.meet(ONE, *adverts) == "RefusedByLedger: OSError: the ledger does not allow it"
        )
    types = [event["type"] for event in server.deployed.ledger(ONE)]
    assert types.count("SPEND") == types.count("ABORTED") == 1
    assert "RELEASED" not in types


class TestOwnModel:
    def kept(self) -> Kept:
        strategy = Gossip()
        vector = strategy.step(np.ones(4, dtype=np.float32), np.arange(4, dtype=np.float64))
        return Kept(
            run="run", start="0" * 64, predictor=PredictorConfig(head_width=9),
            context=ContextConfig(strength=2.0), strategy=strategy, vector=vector,
        )  # fmt: skip

    def test_it_comes_back_as_it_was_and_for_its_own_run(self, tmp_path: Path) -> None:
        kept, model = self.kept(), OwnModel(tmp_path / "model")
        assert model.read("run") is None
        model.keep(kept)
        again = OwnModel(tmp_path / "model").read("run")
        assert again is not None
        assert again.vector.tobytes() == kept.vector.tobytes()
        assert (again.predictor, again.context) == (kept.predictor, kept.context)
        assert again.start == kept.start
        one, two = again.strategy, kept.strategy
        update = np.arange(4, dtype=np.float64)
        assert one.step(again.vector, update).tobytes() == two.step(kept.vector, update).tobytes()
        assert model.read("another") is None

    def test_a_damaged_file_is_an_error_and_no_fresh_start(self, tmp_path: Path) -> None:
        model = OwnModel(tmp_path)
        model.keep(self.kept())
        path = tmp_path / "vector.safetensors"
        os.truncate(path, path.stat().st_size - 3)
        with pytest.raises(PolicyRefused, match="damaged"):
            model.read("run")

    def test_settings_that_make_no_sense_are_refused(self) -> None:
        with pytest.raises(PolicyRefused, match="learning_rate"):
            own_strategy({"name": "gossip", "learning_rate": 9.0})

    @pytest.mark.parametrize("name", ["fedavg", "", "file.py:Strategy"])
    def test_no_strategy_but_one_that_groups_follow_by_themselves(self, name: str) -> None:
        with pytest.raises(PolicyRefused, match="is none that a group follows by itself"):
            own_strategy({"name": name})


def test_a_whole_run_over_clients_of_their_own(deploy: Callable[..., Deployed]) -> None:
    deployed = deploy(groups=3, held_out=1, **GOSSIP)
    for group in (ONE, TWO, THREE):
        deployed.change(group, accept__partners=True)
    pin_all(deployed)
    rounds = deployed.run()
    assert not deployed.reasons
    assert [each.groups for each in rounds] == [0, 3, 3]
    # Nobody but the reader could have measured the last round.
    assert rounds[-1].alignment is not None and rounds[1].alignment is None
    assert all(each.distance is not None for each in rounds[1:])
    for group in (ONE, TWO, THREE):
        predictor, _ = load_predictor(deployed.homes[group] / "model")
        assert np.isfinite(to_vector(predictor)).all()
    assert not (Path(deployed.config.out) / "head.safetensors").exists()
