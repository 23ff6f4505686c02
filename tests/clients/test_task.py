"""A round plan read into a task: strictly, and with a privacy plan that keeps its promise."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from clients.task import PrivateTask, read_task
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import EpsilonExceeded, PlanRefused, PolicyRefused
from server.config import RunConfig
from strategies.wire.compression import Compression
from strategies.wire.round_plan import PrivateWork, RoundPlan

MakePlan = Callable[..., RoundPlan]


@pytest.fixture(scope="module")
def plan() -> PrivacyPlan:
    return PrivacyPlan.calibrate(
        PrivacyTerms(
            epsilon=8.0, delta=1e-4, groups=3, units_per_group=6, sampling_rate=1.0, rounds=4,
            survivors=3, colluding=1, clipping_norm=0.1, dimension=10,
            shape=StepShape(
                micro_batch=4, records_per_unit=3, max_options=5, max_tokens=64,
                options_apart=False,
            ),
        )
    )  # fmt: skip


def private(asked: RoundPlan, plan: PrivacyPlan, **changes: Any) -> RoundPlan:
    work = PrivateWork(
        plan=json.dumps({**plan.as_dict(), **changes}), group_index=2,
        freeze_a=True, local_learning_rate=0.1,
    )  # fmt: skip
    return replace(asked, run="run", privacy=asdict(work))


def test_everything_is_typed(make_plan: MakePlan, config: RunConfig) -> None:
    asked = make_plan()
    task = read_task(asked)
    assert (task.predictor, task.context) == (config.predictor, config.context)
    assert task.training == config.training
    assert (task.round, task.seed, task.train_adapter) == (3, 0, True)
    assert task.digest == asked.digest()
    assert task.compression is task.private is task.strategy is None


def test_a_compression_is_read(make_plan: MakePlan) -> None:
    compression = Compression(bits=4, keep=0.5, transform="dct", scale=3.0)
    asked = replace(make_plan(), compression=asdict(compression))
    assert read_task(asked).compression == compression


def test_a_private_task_holds_the_verified_plan(make_plan: MakePlan, plan: PrivacyPlan) -> None:
    assert read_task(private(make_plan(), plan)).private == PrivateTask(
        plan=plan, run="run", group_index=2, freeze_a=True, local_learning_rate=0.1,
    )  # fmt: skip


def test_a_plan_that_does_not_keep_its_promise_is_no_task(
    make_plan: MakePlan, plan: PrivacyPlan
) -> None:
    half = {"noise_multiplier": plan.noise_multiplier / 2, "sensitivity": 2 * plan.sensitivity}
    with pytest.raises(EpsilonExceeded):
        read_task(private(make_plan(), plan, **half))
    with pytest.raises(PlanRefused, match=r"unknown \['seed'\]"):
        read_task(private(make_plan(), plan, seed=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor.height": 3}, r"predictor\.height is missing or unknown"),
        ({"training.batch_size": 4.0}, r"training\.batch_size is not int"),
        ({"training.dropout": 1.5}, r"dropout = 1\.5 must be in \[0, 1\)"),
        ({"context.strength": True}, r"context\.strength is not float"),
        ({"compression.bits": 4}, r"compression\.keep is missing or unknown"),
        ({"privacy.freeze_a": True}, r"privacy\.\w+ is missing or unknown"),
    ],
)
def test_what_does_not_belong_is_refused_in_one_line(
    make_plan: MakePlan, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_task(make_plan(**change))
    assert "\n" not in str(caught.value)


def test_a_strategy_that_groups_do_not_follow_by_themselves_is_refused(make_plan: MakePlan) -> None:
    with pytest.raises(PolicyRefused, match="none that a group follows by itself"):
        read_task(replace(make_plan(), strategy={"name": "fedavg"}))


def test_noised_steps_that_are_compressed_are_refused(
    make_plan: MakePlan, plan: PrivacyPlan
) -> None:
    """Their plan says what is sent; updates that are made of noised counts may be compressed."""
    compressed = asdict(Compression(bits=4, keep=0.5, transform="dct", scale=3.0))
    with pytest.raises(ValueError, match="exclude each other"):
        read_task(replace(private(make_plan(), plan), compression=compressed))
