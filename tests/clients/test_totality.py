"""Whatever records a group holds and whatever plan it accepts: one reply, one shape, no error.

A reply that fails, or a step that takes another shape, for one person's record would tell of it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from alignment.data.fields import InvalidRecordError
from alignment.data.records import (
    parse_record,
)
from alignment.data.units import units_of
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.training.head_gradients import HeadGradients
from alignment.training.private_layout import private_layout
from clients.data.datastore import Datastore, open_home
from clients.data.home import Home
from clients.data.policy_sections import StepSection
from clients.requests import TrainingFailed, require_executable, trained_as_asked
from clients.sessions.accounts import Account
from clients.task import PrivateTask, RoundTask, read_task
from clients.training.trainer import predictor_for
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import PolicyRefused
from privacy.kernel.types import Noised

UNITS = 6
GROUP = "Group 0"

#: Texts that break readers: special tokens, controls, no letters at all, and very long ones.
texts = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        ["[CLS]", "[SEP][PAD]", "\0", "\x1b[2J", "\u200b\u200b", "<s></s>", "a" * 5000]
    ),
    st.text(alphabet="ab ", min_size=1, max_size=3000),
)
names = st.sampled_from(["ann", "bob", "cem", "dai", "eva", "flo"])


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    options = draw(st.lists(texts, min_size=2, max_size=9))
    return {
        "group": GROUP,
        "respondent": draw(names),
        "question_id": draw(st.text(min_size=1, max_size=8)),
        "question": draw(texts),
        "options": options,
        "choice": draw(st.integers(0, len(options) - 1)),
    }


pairs = st.fixed_dictionaries(
    {"group": st.just(GROUP), "annotator": names, "prompt": texts, "chosen": texts,
     "rejected": texts}
)  # fmt: skip

shapes = st.builds(
    StepShape,
    micro_batch=st.integers(1, 4),
    records_per_unit=st.integers(1, 3),
    max_options=st.integers(2, 5),
    max_tokens=st.just(64),
    options_apart=st.booleans(),
)


@dataclass
class Client:
    """One client, and plans that keep what they promise, by whether adapters are trained."""

    store: Datastore
    task: RoundTask
    plans: dict[bool, PrivacyPlan]
    vector: np.ndarray

    def asked(self, shape: StepShape, adapters: bool, fairness: float = 0.0) -> RoundTask:
        plan = replace(self.plans[adapters], shape=shape)
        private = PrivateTask(
            run="run", plan=plan, group_index=0, freeze_a=True, local_learning_rate=0.1
        )
        training = replace(self.task.training, fairness=fairness)
        return replace(self.task, train_adapter=adapters, private=private, training=training)

    def holding(self, rows: Sequence[dict[str, Any]]) -> Datastore:
        """The same with the records that these rows are, if any."""
        records = []
        for row in rows:
            try:
                records.append(parse_record(row))
            except InvalidRecordError:
                continue
        units = units_of(records, unit="respondent")
        assert len(units) <= UNITS
        return replace(self.store, units=lambda: units)


@pytest.fixture(scope="module")
def client(deploy: Callable[..., Any], make_plan: Callable[..., Any]) -> Client:
    deployed = deploy(groups=2)
    store = open_home(Home(folder=deployed.homes[GROUP]))
    task = read_task(make_plan())
    predictor = Predictor(task.predictor)
    plans = {
        adapters: PrivacyPlan.calibrate(
            PrivacyTerms(
                epsilon=8.0, delta=1e-3, groups=1, units_per_group=UNITS, sampling_rate=1.0,
                rounds=4, survivors=1, colluding=0, clipping_norm=0.1,
                dimension=private_layout(predictor, adapters=adapters, freeze_a=True).dimension,
            )
        )
        for adapters in (False, True)
    }  # fmt: skip
    return Client(
        store=store, task=read_task(make_plan()), plans=plans, vector=to_vector(predictor)
    )


def charged(store: Datastore) -> Account:
    """An account that everybody has paid for."""
    account: Any = SimpleNamespace(present=store.units())
    return account


def reply(client: Client, store: Datastore, task: RoundTask) -> Noised:
    require_executable(store, task, client.vector)
    noised = trained_as_asked(store, task, client.vector, None, account=charged(store))
    assert isinstance(noised, Noised)
    return noised


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.one_of(choices(), pairs), max_size=12),
    shape=shapes,
    adapters=st.booleans(),
    fairness=st.sampled_from([0.0, 2.0]),
)
def test_any_record_that_loads_and_any_plan_give_one_reply_of_one_shape(
    client: Client, rows: list[dict[str, Any]], shape: StepShape, adapters: bool, fairness: float
) -> None:
    """Was open: a record with more options than the server's bound made the reply an error."""
    task = client.asked(shape, adapters, fairness)
    seen: list[tuple[int, ...]] = []
    with watched(predictor_for(task.predictor), seen, adapters):
        noised = reply(client, client.holding(rows), task)
    plan = task.private.plan
    assert noised.vector.shape == (plan.dimension,)
    assert noised.vector.dtype == plan.kernel.modulus_dtype
    # What was computed in the step has a shape that the plan alone decides.
    assert seen == expected_shapes(plan, shape, adapters)


class watched:
    """Notes the shapes of what is trained goes through, in steps alone.

    With adapters, of what goes into the first of them. Of the head alone, of the products that give
    the rows: for each unit its options.
    """

    def __init__(self, predictor: Predictor, seen: list[tuple[int, ...]], adapters: bool) -> None:
        self._seen, self._undo = seen, pytest.MonkeyPatch()
        names = dict(predictor.named_modules())
        self._module = next(names[n] for n in names if ".lora_A." in n) if adapters else None

    def __enter__(self) -> None:
        import torch

        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled():
                self._seen.append(tuple(inputs[0].shape[:-1]))

        products = HeadGradients._products

        def noted(own: HeadGradients, options: Any, back: Any, room: Any) -> None:
            self._seen.append((*options.shape, *back.shape, len(room)))
            products(own, options, back, room)

        if self._module is not None:
            self._hook = self._module.register_forward_pre_hook(note)
        self._undo.setattr(HeadGradients, "_products", noted)

    def __exit__(self, *_: object) -> None:
        if self._module is not None:
            self._hook.remove()
        self._undo.undo()


def expected_shapes(plan: PrivacyPlan, shape: StepShape, adapters: bool) -> list[tuple[int, ...]]:
    units, options = shape.micro_batch, shape.records_per_unit * shape.max_options
    questions = units * shape.records_per_unit
    texts = questions * (shape.max_options if shape.options_apart else 1) + 1
    alone = (units, options, units, 1, options, units)
    return [(texts, shape.max_tokens) if adapters else alone] * plan.micro_batches(0)


@pytest.mark.parametrize("adapters", [False, True])
def test_one_more_pair_changes_no_other_units_integers(
    client: Client, adapters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Was open: with a pair in the data every text took another path, with other roundings."""
    base = [
        {"group": GROUP, "respondent": "ann", "question_id": str(i), "question": f"why {i}",
         "options": ["yes", "no", "maybe"], "choice": i % 3}
        for i in range(3)
    ]  # fmt: skip
    pair = {"group": GROUP, "annotator": "bob", "prompt": "p", "chosen": "a", "rejected": "b"}
    rows: dict[str, list[np.ndarray]] = {}

    computed: list[np.ndarray] = []

    def note(gradients_of: Callable[..., Any], *_: object, units: int, **__: object) -> Any:
        computed[:] = [each.gradients.copy() for each in gradients_of(list(range(units)))]
        raise InterruptedError

    monkeypatch.setattr("clients.training.private_trainer.private_step", note)
    for apart in (False, True):
        shape = StepShape(
            micro_batch=2, records_per_unit=3, max_options=3, max_tokens=64, options_apart=apart
        )
        for key, data in (("without", base), ("with", [*base, pair])):
            store = client.holding(data)
            with pytest.raises(TrainingFailed):
                trained_as_asked(
                    store,
                    client.asked(shape, adapters),
                    client.vector,
                    None,
                    account=charged(store),
                )
            rows[key] = list(computed)
        assert np.array_equal(rows["without"][0][0], rows["with"][0][0])
        assert rows["with"][0][1].any() == apart


@pytest.mark.parametrize(
    "bound", ["micro_batch", "records_per_unit", "max_options", "max_tokens", "options_apart"]
)
def test_a_plan_beyond_the_groups_own_bounds_is_refused(client: Client, bound: str) -> None:
    own = StepSection(micro_batch=4, records_per_unit=3, max_options=5, max_tokens=64)
    shape = StepShape(
        micro_batch=4, records_per_unit=3, max_options=5, max_tokens=64, options_apart=False
    )
    own.check(shape)
    with pytest.raises(PolicyRefused, match=f"^{bound} = "):
        own.check(replace(shape, **{bound: bound == "options_apart" or getattr(own, bound) + 1}))


@pytest.fixture
def deployed(deploy: Callable[..., Any]) -> Any:
    return deploy(groups=2, units=10)


class TestNumbersOfUnits:
    """Others are told a bound of the group policy, whatever the number is."""

    def setup(self, deployed: Any, unit: str = "respondent") -> Any:
        from flwr.app import ConfigRecord, RecordDict

        asked = ConfigRecord({"version": 1, "unit": unit, "challenge": bytes(32)})
        return deployed.ask(GROUP, "query.setup", RecordDict({"setup": asked}))

    def test_set_up_tells_the_bound_and_not_the_number(
        self, deployed: Any, write_rows: Callable[..., Any], tiny_rows: Sequence[dict[str, Any]]
    ) -> None:
        """Was open: the exact number went out, before and after somebody joined."""
        own = [row for row in tiny_rows if row["group"] == GROUP]
        assert len({row["respondent"] for row in own}) == 6
        told = set()
        for extra in (0, 1, 4):
            more = [{**own[0], "respondent": f"new {i}"} for i in range(extra)]
            write_rows(deployed.data[GROUP], [*own, *more])
            told.add(self.setup(deployed)["setup"]["units"])
        assert told == {10}

    def test_other_units_than_the_policys_are_not_counted(self, deployed: Any) -> None:
        """Was open: a server could name any unit, and was told how many records there are."""
        for unit in ("record", "household", "respondent "):
            reason = self.setup(deployed, unit)
            assert reason == f"PolicyRefused: unit = {unit!r}; this group's is respondent"

    def test_more_units_than_the_bound_are_refused_to_their_owner_alone(
        self, deployed: Any, write_rows: Callable[..., Any], tiny_rows: Sequence[dict[str, Any]]
    ) -> None:
        """A client that refused to answer would count the people."""
        own = [row for row in tiny_rows if row["group"] == GROUP]
        more = [{**own[0], "respondent": f"new {i}"} for i in range(5)]
        write_rows(deployed.data[GROUP], [*own, *more])
        assert self.setup(deployed)["setup"]["units"] == 10
        home = Home(folder=deployed.homes[GROUP])
        assert len(open_home(home).units()) == 11
        with pytest.raises(ValueError, match=r"more units of privacy .* than privacy.units = 10"):
            open_home(home, strict=True)

    def test_nobody_in_the_data_is_answered_like_anybody(
        self, deployed: Any, asking: Callable[..., Any]
    ) -> None:
        deployed.data[GROUP].write_text("", encoding="utf-8")
        asked = asking(deployed, "cd" * 16)
        asked.plan = PrivacyPlan.calibrate(replace(terms_of(asked.plan), units_per_group=10))
        masked = asked.up_to_mask(1)
        assert not [each for each in masked.values() if isinstance(each, str)], masked

    def test_no_reply_or_ledger_holds_the_number(
        self, deployed: Any, asking: Callable[..., Any]
    ) -> None:
        asked = asking(deployed)
        plan = PrivacyPlan.calibrate(replace(terms_of(asked.plan), units_per_group=10))
        asked.plan = plan
        masked = asked.up_to_mask(1)
        assert not [each for each in masked.values() if isinstance(each, str)], masked
        (data,) = [e for e in deployed.ledger(GROUP) if e["type"] == "DATASET"]
        assert data["body"]["units"] == 10
        assert '"units": 6' not in json.dumps(deployed.ledger(GROUP))


def terms_of(plan: PrivacyPlan) -> PrivacyTerms:
    from dataclasses import fields

    return PrivacyTerms(**{each.name: getattr(plan, each.name) for each in fields(PrivacyTerms)})


def test_a_plan_with_fewer_units_than_the_groups_bound_is_refused(
    deployed: Any, asking: Callable[..., Any]
) -> None:
    asked = asking(deployed)
    assert asked.plan.group_size(0) == 6
    reasons = set(asked.up_to_mask(1).values())
    assert reasons == {
        "ExecutionMismatch: the bound of 10 units is above the 6 accounted for in group 0; make a "
        "new plan with the bound that the group states"
    }
    assert deployed.spends(GROUP) == 0
