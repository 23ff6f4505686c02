"""Whole runs under secure aggregation: what the server learns, who drops out, what is refused."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

import server.app
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.app import app as client_app
from experiments.simulation.local_grid import LocalGrid, run_server_app
from experiments.simulation.results import read_rounds
from experiments.simulation.run import run
from privacy.errors import PolicyRefused
from privacy.kernel.quantisation import error_bound, fraction_bits
from privacy.kernel.types import centred
from privacy.secagg.client import Member, Opened
from privacy.secagg.server import ServerRound
from server.aggregation.private import PrivateAggregation
from server.config import RunConfig, read_run_config
from server.rounds.cohort import CohortError
from server.rounds.membership import Membership

STAGES = ("query.share", "train.masked", "query.confirm", "query.unmask")
PRIVATE = {"privacy.delta": 1e-3, "privacy.micro_batch": 4}


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Callable[..., RunConfig]:
    def configure(**changes: Any) -> RunConfig:
        out = {"out": str(tmp_path / "run")}
        return read_run_config({**tiny_settings, **out, **changes})

    return configure


@dataclass
class Watched:
    """What went under the masks, and what the server made of it.

    Attributes:
        vectors: By round and group, the integers that were masked.
        totals: By round, the groups in the sum and the sum that the server unmasked.
    """

    vectors: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    totals: dict[int, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched()
    mask, total = Member.mask, ServerRound.total

    def watch_mask(self: Member, opened: Opened, vector: Any) -> Any:
        number = opened.agreement.terms.attempt.round
        seen.vectors.setdefault(number, {})[self.name] = vector.vector.copy()
        return mask(self, opened, vector)

    def watch_total(self: ServerRound) -> Any:
        summed, bad = total(self)
        seen.totals[self.agreement.terms.attempt.round] = (self.survivors, summed.copy())
        return summed, bad

    monkeypatch.setattr(Member, "mask", watch_mask)
    monkeypatch.setattr(ServerRound, "total", watch_total)
    return seen


def federate(
    config: RunConfig,
    *,
    reachable: Callable[[str, int, str], bool] = lambda kind, number, group: True,
    nodes: int = 6,
    watch: Callable[[LocalGrid], None] = lambda grid: None,
) -> LocalGrid:
    """Run all rounds; a message is delivered only where ``reachable`` says so.

    ``watch`` is handed the grid before the first message.
    """
    names: dict[int, str] = {}

    def deliver(message: Message) -> bool:
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        number = message.metadata.group_id
        return not number or reachable(kind, int(number), names.get(node, ""))

    settings = config.flat()
    grid = LocalGrid(
        client_app=client_app,
        node_configs=[{"partition-id": i, "num-partitions": nodes} for i in range(nodes)],
        run_config=settings,
        before_delivery=deliver,
    )
    from alignment.data.population import load_population

    population = load_population(config.data, split="", seed=config.seed, skip_invalid=False)
    names.update(zip(grid.get_node_ids(), population.groups, strict=True))
    watch(grid)
    run_server_app(server.app.app, grid, run_config=settings)
    return grid


def head(config: RunConfig) -> bytes:
    return (Path(config.out) / "head.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**PRIVATE, "privacy.mode": "distributed"},
        {**PRIVATE, "privacy.mode": "local", "privacy.local_steps": 2},
    ],
    ids=["none", "distributed", "local"],
)
def test_the_server_unmasks_exactly_the_sum_in_every_mode(
    configured: Callable[..., RunConfig], watched: Watched, changes: dict[str, Any]
) -> None:
    """4 rounds of 4 groups: every sum equals that of the integers, in every coordinate."""
    federate(configured(**changes))
    assert sorted(watched.totals) == [1, 2, 3, 4]
    for number, (groups, total) in watched.totals.items():
        assert len(groups) == 4
        exact = sum(centred(watched.vectors[number][group]) for group in groups)
        assert np.array_equal(centred(total), exact)


def dropping(places: Mapping[int, tuple[str, str]]) -> Callable[[str, int, str], bool]:
    """In each round one group is lost, from one stage to the end of the round."""

    def reachable(kind: str, number: int, group: str) -> bool:
        if number not in places or kind not in STAGES:
            return True
        stage, lost = places[number]
        # At the end of the round it can be reached again, and advertises for the next.
        late = STAGES.index(kind) >= STAGES.index(stage)
        return not (group == lost and late and not (kind == "query.unmask" and stage != kind))

    return reachable


@pytest.mark.parametrize("mode", ["none", "distributed"])
def test_another_group_lost_at_another_stage_in_every_round_changes_only_the_sum(
    configured: Callable[..., RunConfig],
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    """The model is that of plain summation over the same survivors, bit for bit.

    Plain summation: a second run whose sums are not unmasked but added from the very integers of
    the first, over the survivors the first had.
    """
    config = configured(
        **PRIVATE, **{"privacy.mode": mode, "privacy.survivors": 3, "privacy.colluding": 0}
    )
    from alignment.data.population import load_population

    groups = load_population(config.data, split="", seed=0, skip_invalid=False).groups[:4]
    places = dict(enumerate(zip(STAGES, groups, strict=True), start=1))
    federate(config, reachable=dropping(places))
    rows = read_rounds(Path(config.out))
    assert [row["aborted"] for row in rows] == [""] * 5
    survivors = {number: set(names) for number, (names, _) in watched.totals.items()}
    # Whoever falls silent after the masked vector is in the sum; before it, not. Lost at unmasking
    # it has no advertisement for the next round, which goes on without it.
    assert groups[0] not in survivors[1]
    assert groups[1] not in survivors[2]
    assert survivors[3] == set(groups)
    assert survivors[4] == set(groups)
    assert [row["groups"] for row in rows] == [0, 3, 3, 4, 4]

    first, integers = head(config), {n: dict(each) for n, each in watched.vectors.items()}
    plain = replace(config, out=config.out + "-plain")
    rounds = iter(range(1, 5))

    def added(self: ServerRound) -> Any:
        number = next(rounds)
        vectors = [integers[number][name] for name in sorted(survivors[number])]
        return np.add.reduce(vectors, axis=0, dtype=vectors[0].dtype), ()

    monkeypatch.setattr(ServerRound, "total", added)
    federate(plain, reachable=dropping(places))
    assert head(plain) == first


def test_secure_and_plain_runs_agree_within_the_quantisation_bound(
    configured: Callable[..., RunConfig],
) -> None:
    """One round of 4 groups without noise: at most 2^-25 apart, half of 2^-24, and float32."""
    one = {"federation.warmup_rounds": 1, "federation.adapter_rounds": 0}
    vectors = {}
    for secure in (True, False):
        config = configured(**one, **{"federation.secure_aggregation": secure})
        config = replace(config, out=f"{config.out}-{secure}")
        federate(config)
        from alignment.model.folder import load_predictor

        predictor, _ = load_predictor(Path(config.out))
        vectors[secure] = to_vector(predictor).astype(np.float64)
    assert error_bound(4) == 2.0**-25
    apart = np.abs(vectors[True] - vectors[False])
    rounding = np.spacing(np.abs(vectors[False]).astype(np.float32)).astype(np.float64)
    assert (apart <= error_bound(4) + 2 * rounding).all()
    assert apart.any()


def test_secure_and_plain_runs_weigh_groups_alike(
    configured: Callable[..., RunConfig], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of unlike weights, in one round: both ways give the mean within what rounding costs.

    Half a digit for every member in numerator and sum of weights: ``n / 2 (1 + |mean|)`` digits
    over the sum of the weights.
    """
    import clients.app

    plain_vectors: list[np.ndarray] = []
    release = clients.app.release_in_the_clear

    def watch_release(trained: Any) -> Any:
        plain_vectors.append(release(trained))
        return plain_vectors[-1]

    monkeypatch.setattr(clients.app, "release_in_the_clear", watch_release)
    from alignment.data.population import load_population
    from alignment.model.folder import load_predictor

    # A round of adapters and head, so that every coordinate travels.
    one = {"federation.warmup_rounds": 0, "federation.adapter_rounds": 1, "training.fairness": 5.0}
    moved = {}
    for secure in (True, False):
        config = configured(**one, **{"federation.secure_aggregation": secure})
        config = replace(config, out=f"{config.out}-{secure}")
        federate(config)
        predictor, _ = load_predictor(Path(config.out))
        moved[secure] = to_vector(predictor).astype(np.float64)

    digit = 2.0 ** -fraction_bits(4)
    groups = load_population(config.data, split="", seed=0, skip_invalid=False).groups[:4]
    masked = [int(centred(watched.vectors[1][group])[-1]) * digit for group in groups]
    weights = [float(vector[-1]) for vector in plain_vectors]
    # The weights that rode under masks are those that were sent in the clear, and unlike.
    assert sorted(masked) == pytest.approx(sorted(weights), abs=digit)
    assert 0 < min(weights) < max(weights) <= 1
    deltas = np.array([vector[:-2] for vector in plain_vectors], dtype=np.float64)
    mean = np.average(deltas, axis=0, weights=weights)
    start = to_vector(Predictor(config.predictor, seed=config.seed)).astype(np.float64)
    rounding = 2 * np.spacing(np.abs(moved[False]).astype(np.float32)).astype(np.float64)
    assert (np.abs(start + mean - moved[False]) <= rounding).all()
    assert not np.allclose(mean, deltas.mean(axis=0), rtol=1e-3, atol=0)
    bound = 2 * (1 + np.abs(mean)) * digit / (sum(weights) - 2 * digit)
    assert (np.abs(moved[True] - moved[False]) <= bound + rounding).all()


def test_a_round_below_the_threshold_is_aborted_and_the_run_goes_on(
    configured: Callable[..., RunConfig], watched: Watched
) -> None:
    """Of 4 groups 3 must stay: with 2 lost in round 2 nothing is unmasked, round 3 is whole."""

    def reachable(kind: str, number: int, group: str) -> bool:
        return not (number == 2 and kind == "train.masked" and group in {"g0", "g1"})

    config = configured()
    from alignment.data.population import load_population

    groups = load_population(config.data, split="", seed=0, skip_invalid=False).groups
    lost = {"g0": groups[0], "g1": groups[1]}

    def two_lost(kind: str, number: int, group: str) -> bool:
        return reachable(kind, number, next((k for k, v in lost.items() if v == group), ""))

    federate(config, reachable=two_lost)
    rows = read_rounds(Path(config.out))
    assert [row["groups"] for row in rows] == [0, 4, 0, 4, 4]
    assert rows[2]["aborted"].startswith("TooFewMembers: 2 members have sent a vector, 3 needed")
    assert rows[2]["loss"] is None
    assert sorted(watched.totals) == [1, 3, 4]


def test_three_aborted_rounds_in_a_row_end_the_run_with_what_it_has_learned(
    configured: Callable[..., RunConfig],
) -> None:
    config = configured(**{"federation.warmup_rounds": 8})

    def gone(kind: str, number: int, group: str) -> bool:
        return number < 2 or kind != "train.masked"

    federate(config, reachable=gone)
    rows = read_rounds(Path(config.out))
    assert [bool(row["aborted"]) for row in rows] == [False, False, True, True, True]
    assert rows[-1]["aborted"].startswith("TooFewMembers: 0 members have sent")
    # The model is that of the one round that gave a sum.
    short = configured(**{"federation.warmup_rounds": 1, "federation.adapter_rounds": 0})
    ended = head(config)
    federate(short)
    assert head(short) == ended


def test_one_group_has_nobody_to_hide_among(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = Membership.gather

    def alone(self: Membership) -> Any:
        cohort = gather(self)
        return replace(cohort, train=dict(list(cohort.train.items())[:1]))

    monkeypatch.setattr(Membership, "gather", alone)
    with pytest.raises(CohortError, match=r"federation\.secure_aggregation = false"):
        federate(configured())


def test_a_run_leaves_no_key_behind_and_says_what_the_server_saw(
    configured: Callable[..., RunConfig],
) -> None:
    config = configured()
    result = run(config)
    assert result["secure_aggregation"] is True
    assert 0 < result["seconds"]["secagg"] < result["seconds"]["total"]
    assert not list(Path(config.out).rglob("*.pem"))


# --- a server that asks for something else


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Groups that came as far as training."""
    import clients.training.private_trainer

    seen: list[str] = []
    original = clients.training.private_trainer.train_privately

    def watch(*arguments: Any, **named: Any) -> Any:
        seen.append("trained")
        return original(*arguments, **named)

    monkeypatch.setattr(clients.training.private_trainer, "train_privately", watch)
    yield seen


@pytest.mark.parametrize(
    "lie",
    [
        {"sensitivity": 3 * 10**6},
        {"noise_log2": 3},
        {"honest_shares": 2},
        {"colluding": 0},
        {"sampling_rate": 0.5},
        {"dimension": 7},
        {"modulus_bits": 64},
        {"plan": "0" * 64},
        {"fraction_bits": 9},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_terms_that_differ_from_the_clients_own_plan_are_refused_before_training(
    configured: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    trained: list[str],
    lie: dict[str, Any],
) -> None:
    honest = PrivateAggregation.vector_terms

    def lying(self: PrivateAggregation, plan: Any, dimension: int, *, members: int) -> Any:
        return replace(honest(self, plan, dimension, members=members), **lie)

    monkeypatch.setattr(PrivateAggregation, "vector_terms", lying)
    config = configured(**PRIVATE, **{"privacy.mode": "distributed"})
    grids: list[LocalGrid] = []
    with pytest.raises(CohortError, match="round 1: TooFewMembers: 0 members have shared"):
        federate(config, watch=grids.append)
    (grid,) = grids
    assert grid.failures
    assert all(isinstance(each.error, PolicyRefused) for each in grid.failures)
    assert trained == []


@pytest.mark.parametrize("what", ["model", "plan"])
def test_another_model_or_plan_than_that_of_the_terms_is_refused_before_training(
    configured: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    trained: list[str],
    what: str,
) -> None:
    import server.rounds.collection as collection

    original = collection.ask

    def swapping(grid: Any, nodes: Any, kind: str, contents: Any, **named: Any) -> Any:
        if kind == "train.masked":
            for content in contents.values():
                (vector,) = content.array_records["model"].to_numpy_ndarrays()
                if what == "model":
                    content["model"] = ArrayRecord([vector + np.float32(1)])
                else:
                    content["plan"] = ConfigRecord({**content["plan"], "seed": 99})
        return original(grid, nodes, kind, contents, **named)

    monkeypatch.setattr(collection, "ask", swapping)
    config = configured(**PRIVATE, **{"privacy.mode": "distributed"})
    with pytest.raises(CohortError, match="round 1: NoiseShortfall: 0 vectors"):
        federate(config)
    assert trained == []


class TestOneClient:
    """One client of a secure run, and messages that it must not answer."""

    @pytest.fixture
    def grid(self, configured: Callable[..., RunConfig]) -> LocalGrid:
        config = configured()
        predictor = Predictor(config.predictor)
        self.vector = to_vector(predictor)
        self.config = config
        return LocalGrid(
            client_app=client_app,
            node_configs=[{"partition-id": i, "num-partitions": 6} for i in range(6)],
            run_config=config.flat(),
        )

    def ask(self, grid: LocalGrid, kind: str, content: RecordDict) -> Message:
        node = next(iter(grid.get_node_ids()))
        with grid.as_server():
            setup = ConfigRecord({"version": 2, "unit": "", "challenge": bytes(32)})
            grid.send_and_receive([Message(RecordDict({"setup": setup}), node, "query.setup")])
            (reply,) = grid.send_and_receive([Message(content, node, kind)])
        return reply

    def test_a_vector_in_the_clear_is_not_sent(self, grid: LocalGrid) -> None:
        from strategies.wire.round_plan import RoundPlan

        sections = {
            name: value
            for name, value in self.config.nested().items()
            if name in ("predictor", "training", "context")
        }
        plan = RoundPlan(
            run="run", round=1, seed=0, train_adapter=False, learning_rate_scale=1.0,
            **sections,
        )  # fmt: skip
        content = RecordDict(
            {"model": ArrayRecord([self.vector]), "plan": ConfigRecord(dict(plan.to_wire()))}
        )
        reply = self.ask(grid, "train", content)
        assert "under masks only" in reply.error.reason

    @pytest.mark.parametrize("part", ["confirm", "unmask"])
    def test_a_stage_out_of_order_is_not_answered(self, grid: LocalGrid, part: str) -> None:
        reply = self.ask(
            grid, f"query.{part}", RecordDict({"secagg": ConfigRecord({part: b"FAS1"})})
        )
        assert "Replayed" in reply.error.reason

    def test_terms_without_members_are_refused_by_name(self) -> None:
        from clients.sessions.secagg_session import terms_in
        from privacy.errors import TooFewMembers
        from privacy.secagg.messages import ShareRequest
        from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms

        nobody = RoundTerms(
            attempt=Attempt(run="r", round=1), members=(), threshold=1, survivors=1,
            vector=VectorTerms(dimension=3), task="", model="",
        )  # fmt: skip
        with pytest.raises(TooFewMembers):
            terms_in(ShareRequest(nobody.encode(), ()).encode())

    def test_an_attempt_is_advertised_for_once(self, grid: LocalGrid) -> None:
        from privacy.secagg.messages import AdvertiseRequest
        from privacy.secagg.round_terms import Attempt

        def advertise(number: int) -> Message:
            request = AdvertiseRequest(Attempt(run="r", round=number)).encode()
            content = RecordDict({"secagg": ConfigRecord({"advertise": request})})
            return self.ask(grid, "query.advertise", content)

        assert not advertise(2).has_error()
        for number in (2, 1):
            assert "Replayed" in advertise(number).error.reason
        assert not advertise(3).has_error()

    def test_a_round_that_has_had_a_vector_is_not_tried_again(self, grid: LocalGrid) -> None:
        from clients.sessions.secagg_session import Session
        from privacy.errors import Replayed
        from privacy.identity.keys import Identity, Roster
        from privacy.kernel.randomness import SystemRandomStream
        from privacy.secagg.messages import AdvertiseRequest
        from privacy.secagg.round_terms import Attempt

        identity, state = Identity.create(), RecordDict()
        member = Member(
            name="a",
            identity=identity,
            roster=Roster({"a": identity.public}),
            source=SystemRandomStream(),
        )
        session = Session(state, member)

        def request(number: int, attempt: int) -> bytes:
            return AdvertiseRequest(Attempt(run="r", round=number, attempt=attempt)).encode()

        session.advertise(request(1, 1))
        session.advertise(request(1, 2))  # nothing was trained: it may be tried again
        session._forget()  # as training leaves it
        with pytest.raises(Replayed, match="has had this client's vector"):
            session.advertise(request(1, 3))
        session.advertise(request(2, 1))


def test_a_member_that_spoils_the_weights_costs_a_round_and_not_the_run(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs are not proved: what comes out of a wrong one is not used, and round 3 goes on."""
    honest = ServerRound.total

    def spoiled(self: ServerRound) -> Any:
        total, bad = honest(self)
        if self.agreement.terms.attempt.round == 2:
            total[-1] = 0
        return total, bad

    monkeypatch.setattr(ServerRound, "total", spoiled)
    config = configured()
    federate(config)
    rows = read_rounds(Path(config.out))
    assert [bool(row["aborted"]) for row in rows] == [False, False, True, False, False]
    assert rows[2]["aborted"].startswith("OutOfRange: the weights of a sum are out of bounds")
