"""Whole runs whose updates take few bits: what is summed, sent, refused, and how they go on."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment.model.predictor import Predictor
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.results import read_rounds
from privacy.kernel.packing import packed_bytes
from privacy.kernel.types import centred
from privacy.secagg.server import ServerRound
from server.aggregation.compressed import MeanOfCompressed
from server.aggregation.step_sizes import steps_of
from server.config import RunConfig, read_run_config
from server.rounds.cohort import CohortError
from server.rounds.collection import Collected
from server.rounds.secagg_coordinator import SecureCollector
from server.state.checkpoint import FOLDER, latest
from strategies.wire.compression import RoundCode
from strategies.wire.round_plan import RoundPlan
from tests.experiments.simulation.test_resume import stopped
from tests.experiments.simulation.test_secure_run import (  # noqa: F401 - fixtures
    Watched,
    federate,
    head,
    watched,
)

FEW = {"compression.bits": 4, "compression.keep": 0.5}


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Callable[..., RunConfig]:
    def configure(name: str = "run", **changes: Any) -> RunConfig:
        return read_run_config({**tiny_settings, "out": str(tmp_path / name), **changes})

    return configure


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[int, RoundPlan]:
    """The plans of a run's rounds as the server made them."""
    seen: dict[int, RoundPlan] = {}
    collect = SecureCollector.collect

    def watch(self: SecureCollector, plan: RoundPlan, vector: np.ndarray) -> Collected:
        seen[plan.round] = plan
        return collect(self, plan, vector)

    monkeypatch.setattr(SecureCollector, "collect", watch)
    return seen


def masked_bytes(grid: LocalGrid) -> int:
    return sum(t.bytes_up for (_, kind), t in grid.traffic.items() if kind == "train.masked")


def without_one(kind: str, number: int, group: str) -> bool:
    """A group is not reached in the third round when it is to train."""
    return (number, group) != (3, "Group 1") or kind not in ("train", "train.masked")


@pytest.mark.parametrize("transform", ["none", "rotate", "dct"])
def test_a_secure_sum_is_that_of_the_integers_and_gives_the_model_of_the_clear(
    configured: Callable[..., RunConfig],
    watched: Watched,  # noqa: F811 - the fixture
    plans: dict[int, RoundPlan],
    transform: str,
) -> None:
    """4 rounds of 4 groups, one of them lost in the third: 6 bits a coordinate hold every sum."""
    settings = {**FEW, "compression.transform": transform}
    config = configured("secure", **settings)
    federate(config, reachable=without_one)
    steps = steps_of(Predictor(config.predictor), config.training)
    assert sorted(watched.totals) == [1, 2, 3, 4]
    for number, (groups, total) in watched.totals.items():
        code = RoundCode.of_plan(plans[number], steps.of(plans[number]))
        exact = sum(centred(watched.vectors[number][group]) for group in groups)
        assert len(groups) == (3 if number == 3 else 4)
        assert total.shape == (code.size,) and np.array_equal(centred(total), exact)
        assert np.abs(exact).max() <= 4 * code.compression.limit < 2**5
    clear = configured("clear", **settings, **{"federation.secure_aggregation": False})
    federate(clear, reachable=without_one)
    assert head(clear) == head(config)
    losses = [[row["loss"] for row in read_rounds(Path(each.out))[1:]] for each in (config, clear)]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_the_grid_follows_the_size_of_updates(
    configured: Callable[..., RunConfig], plans: dict[int, RoundPlan]
) -> None:
    federate(configured(**FEW))
    scales = [float(str(plans[number].compression["scale"])) for number in (1, 2, 3, 4)]
    assert scales[0] == 3.0 and len(set(scales)) == 4
    assert len({plan.digest() for plan in plans.values()}) == 4


def test_a_round_of_the_head_alone_sends_the_head_alone(
    configured: Callable[..., RunConfig],
    watched: Watched,  # noqa: F811 - the fixture
) -> None:
    """Without compression as well."""
    config = configured("some")
    grid = federate(config)
    steps = steps_of(Predictor(config.predictor), config.training)
    few, many = int((steps.head > 0).sum()), steps.whole.size
    assert 0 < few < many == int((steps.whole > 0).sum())
    sizes = {n: {v.size for v in sent.values()} for n, sent in watched.vectors.items()}
    assert sizes == {1: {few + 2}, 2: {few + 2}, 3: {many + 2}, 4: {many + 2}}
    packed = federate(configured("packed", **{"compression.bits": 4}))
    whole = 4 * (2 * (few + many) + 8) * 4
    small = 4 * (2 * (few + many) + 4 * 24) * 6 / 8
    saved = masked_bytes(grid) - masked_bytes(packed)
    assert saved == pytest.approx(whole - small, rel=0.02)
    assert packed_bytes(many + 24, 6) < 0.2 * 4 * (many + 2)


def test_a_run_that_was_stopped_goes_on_with_its_grid(
    configured: Callable[..., RunConfig],
    plans: dict[int, RoundPlan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What groups kept is lost with their process, and the run ends all the same."""
    from experiments.simulation.run import run

    config = configured(**FEW)
    stopped(config, monkeypatch, sent=9)
    scale = latest(Path(config.out) / FOLDER).aggregation["scale"]
    assert scale.shape == (1,) and scale[0] != 3.0
    plans.clear()
    result = run(replace(config, resume=True))
    assert result["rounds"] == 4
    assert sorted(plans) == [3, 4]
    assert plans[3].compression["scale"] == scale[0]


def test_other_bits_than_the_round_plan_says_are_refused_before_training(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit fewer could wrap."""
    honest = MeanOfCompressed.vector_terms

    def lying(self: MeanOfCompressed, *given: Any, **named: Any) -> Any:
        terms = honest(self, *given, **named)
        return replace(terms, modulus_bits=terms.modulus_bits - 1)

    monkeypatch.setattr(MeanOfCompressed, "vector_terms", lying)
    with pytest.raises(CohortError, match="0 members have shared"):
        federate(configured(**FEW))


def test_a_member_that_spoils_the_weights_costs_a_round_and_not_the_run(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = ServerRound.total

    def spoiled(self: ServerRound) -> Any:
        summed, bad = total(self)
        if self.agreement.terms.attempt.round == 2:
            summed = summed.copy()
            summed[-24:-16] = 0
        return summed, bad

    monkeypatch.setattr(ServerRound, "total", spoiled)
    config = configured(**FEW)
    federate(config)
    rounds = read_rounds(Path(config.out))
    assert [bool(row["aborted"]) for row in rounds] == [False, False, True, False, False]
    assert "OutOfRange" in rounds[2]["aborted"]


def test_a_group_that_spoils_its_weight_in_the_clear_is_named(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside three good ones the sum would look like one of honest groups."""
    encode, turn = RoundCode.encode, itertools.count()

    def spoiled(self: RoundCode, *given: Any, **named: Any) -> Any:
        encoded = encode(self, *given, **named)
        if next(turn) == 1:
            encoded.integers[-24:-16] = 0
        return encoded

    monkeypatch.setattr(RoundCode, "encode", spoiled)
    with pytest.raises(CohortError, match=r"^group '.+' released a wrong vector \(the weights"):
        federate(configured(**FEW, **{"federation.secure_aggregation": False}))


def test_a_robust_rule_takes_the_place_of_the_mean(configured: Callable[..., RunConfig]) -> None:
    """Where the server sees every update; each is read by itself first."""
    models = []
    for name in ("fedavg", "fedmedian"):
        settings = {**FEW, "federation.secure_aggregation": False, "strategy.name": name}
        config = configured(name, **settings)
        federate(config)
        models.append(head(config))
        losses = [row["loss"] for row in read_rounds(Path(config.out))[1:]]
        assert losses[-1] < losses[0]
    assert models[0] != models[1]
