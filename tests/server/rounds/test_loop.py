"""The round loop on scripted clients: what it asks, adds, measures and records."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from server.aggregation.base import MeanOfUpdates
from server.config import RunConfig
from server.rounds.admission import MembershipTerms
from server.rounds.cohort import CohortError
from server.rounds.collection import PlainCollector
from server.rounds.evaluation import HeldOutEvaluation
from server.rounds.loop import Position, RoundLoop, RoundRecord
from server.rounds.membership import Membership
from strategies.fedavg import FedAvg
from strategies.wire.round_plan import RoundPlan

Federation = Callable[..., Any]
Settings = Callable[..., RunConfig]
RunLoop = Callable[..., Any]
DIMENSION = 5


def constant(value: float, loss: float = 0.5, weight: float = 1.0) -> Callable[..., np.ndarray]:
    def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
        return np.append(np.full(DIMENSION, value), (loss, weight)).astype(np.float32)

    return answer


class TestPlans:
    def test_warmup_trains_the_head_and_learning_rates_fall_in_a_line_after_it(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation(groups=[("A", "train")])
        run_loop(scripted, settings(warmup_rounds=2, adapter_rounds=4))
        plans = [plan for _, _, plan in scripted.asked]
        assert [plan.round for plan in plans] == [1, 2, 3, 4, 5, 6]
        assert [plan.train_adapter for plan in plans] == [False, False, True, True, True, True]
        scales = [plan.learning_rate_scale for plan in plans]
        assert scales == pytest.approx([1.0, 1.0, 1.0, 0.7, 0.4, 0.1])

    @pytest.mark.parametrize(
        ("warmup", "adapters", "expected"),
        [(0, 1, [1.0]), (3, 0, [1.0, 1.0, 1.0]), (0, 2, [1.0, 0.25]), (1, 1, [1.0, 1.0])],
    )
    def test_short_schedules(
        self,
        federation: Federation,
        settings: Settings,
        run_loop: RunLoop,
        warmup: int,
        adapters: int,
        expected: list[float],
    ) -> None:
        scripted = federation(groups=[("A", "train")])
        config = settings(
            warmup_rounds=warmup, adapter_rounds=adapters, final_learning_rate_scale=0.25
        )
        run_loop(scripted, config)
        assert [plan.learning_rate_scale for _, _, plan in scripted.asked] == expected

    def test_all_groups_get_the_same_plan_and_the_same_vector(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation()
        run_loop(scripted, settings())
        for number in (1, 2, 3):
            at = [i for i, (kind, _, p) in enumerate(scripted.asked) if p.round == number]
            train = [i for i in at if scripted.asked[i][0] == "train"]
            assert len(train) == 3
            assert len({tuple(scripted.asked[i][2].to_wire().items()) for i in train}) == 1
            assert len({scripted.received[i].tobytes() for i in train}) == 1

    def test_a_plan_carries_the_settings_of_the_run(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted, config = federation(groups=[("A", "train")]), settings()
        run_loop(scripted, config)
        nested = config.nested()
        plan = scripted.asked[0][2]
        for section in ("predictor", "training", "context"):
            assert getattr(plan, section) == nested[section]
        assert plan.seed == config.seed

    @pytest.mark.parametrize(
        ("strategy", "asked"),
        [
            ({"name": "fedprox", "proximal": 0.3}, {"proximal": 0.3}),
            ({"name": "diloco", "local_steps": 7}, {"local_steps": 7}),
            ({"name": "qfair", "q": 2.0}, {"fairness": 2.0}),
        ],
    )
    def test_and_what_the_strategy_asks_of_groups(
        self,
        federation: Federation,
        settings: Settings,
        run_loop: RunLoop,
        strategy: Mapping[str, object],
        asked: Mapping[str, object],
    ) -> None:
        scripted = federation(groups=[("A", "train")])
        config = settings(**{f"strategy.{key}": value for key, value in strategy.items()})
        run_loop(scripted, config)
        training = config.nested()["training"]
        for _, _, plan in scripted.asked:
            assert plan.training == {**training, **asked}


class TestSum:
    def test_each_round_moves_to_the_mean_of_the_groups(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation()
        start = np.arange(DIMENSION, dtype=np.float32)
        ran = run_loop(scripted, settings(**{"strategy.learning_rate": 0.5}), start)
        expected = start
        for number in (1, 2, 3):
            plan = next(p for _, _, p in scripted.asked if p.round == number)
            updates = [scripted.answer(group, plan, expected) for group in ("A", "B", "C")]
            mean = np.mean(np.asarray(updates, dtype=np.float64), axis=0)
            expected = (expected + 0.5 * mean[:-2]).astype(np.float32)
        np.testing.assert_allclose(ran.vector, expected, rtol=1e-6)
        assert ran.vector.dtype == np.float32

    def test_the_order_of_replies_does_not_change_a_bit(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        """Huge updates that cancel: what is left of the small ones depends on who comes when."""
        values = [1e20, -1e20, 1.0, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0]

        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            return constant(values[int(group[-1])])(group, plan, vector)

        names = [(f"group {i}", "train") for i in range(9)]
        vectors = [
            run_loop(federation(groups=groups, answer=answer, reverse=reverse), settings()).vector
            for groups, reverse in ((names, False), (names, True), (names[4:] + names[:4], False))
        ]
        assert np.add.reduce(values) != np.add.reduce(values[::-1])  # the order does matter
        assert len({vector.tobytes() for vector in vectors}) == 1

    def test_the_recorded_loss_is_the_mean_over_the_groups(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        losses = {"A": 1.0, "B": 2.0, "C": 6.0}

        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            return constant(0.0, losses[group])(group, plan, vector)

        ran = run_loop(federation(answer=answer), settings())
        assert [record.loss for record in ran.records] == [None, 3.0, 3.0, 3.0]
        assert not ran.vector.any()

    def test_groups_count_by_the_weights_that_ride_behind_their_numbers(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        """1, 2 and 6 at weights 1, .5 and .25: (1 + 1 + 1.5) / 1.75 = 2 a round, and the loss."""
        sent = {"A": (1.0, 1.0), "B": (2.0, 0.5), "C": (6.0, 0.25)}

        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            value, weight = sent[group]
            return constant(value, value, weight)(group, plan, vector)

        ran = run_loop(federation(answer=answer), settings())
        assert [record.loss for record in ran.records] == [None, 2.0, 2.0, 2.0]
        assert ran.vector.tolist() == [6.0] * DIMENSION

    @pytest.mark.parametrize("weight", [0.0, -0.5, 1.5])
    def test_a_weight_out_of_bounds_is_refused_and_not_quoted(
        self, federation: Federation, settings: Settings, run_loop: RunLoop, weight: float
    ) -> None:
        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            return constant(1.0, 0.5, weight if group == "B" else 1.0)(group, plan, vector)

        with pytest.raises(
            CohortError, match=r"^group 'B' released a weight that is not in \(0, 1\]"
        ):
            run_loop(federation(answer=answer), settings())


class TestDropouts:
    def test_the_mean_is_over_the_groups_that_answered(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        one_round = settings(warmup_rounds=1, adapter_rounds=0)
        values = {"A": 1.0, "B": 100.0, "C": 3.0}

        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            return constant(values[group])(group, plan, vector)

        ran = run_loop(federation(answer=answer, unreachable=frozenset("B")), one_round)
        assert ran.vector.tolist() == [2.0] * DIMENSION
        assert (ran.records[1].groups, ran.records[1].dropped) == (2, ("B",))

    def test_a_group_that_fails_counts_as_dropped_and_is_not_quoted(
        self,
        federation: Federation,
        settings: Settings,
        run_loop: RunLoop,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            if group == "C" and plan.round == 2:
                raise ValueError("respondent 4711 said no")
            return constant(1.0)(group, plan, vector)

        caplog.set_level(logging.DEBUG)
        ran = run_loop(federation(answer=answer), settings())
        assert [record.dropped for record in ran.records] == [(), (), ("C",), ()]
        assert "round 2: a group failed, code" in caplog.text
        assert "4711" not in caplog.text

    def test_too_few_answers_end_the_run_with_counts(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation(unreachable=frozenset("AB"))
        with pytest.raises(
            CohortError, match=r"^round 1: 1 of 3 groups answered, 2 needed: look at the clients' "
        ):
            run_loop(scripted, settings(minimum_groups=2))

    def test_no_answer_at_all_ends_the_run(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        with pytest.raises(CohortError, match="0 of 3 groups answered"):
            run_loop(federation(unreachable=frozenset("ABC")), settings())

    @pytest.mark.parametrize(
        ("broken", "named"),
        [
            (np.full(DIMENSION + 2, np.nan), r"\(7,\)"),
            (np.append(np.zeros(DIMENSION), (np.inf, 1.0)), r"\(7,\)"),
            (np.append(np.zeros(DIMENSION + 1), np.nan), r"\(7,\)"),
            (np.zeros(DIMENSION + 1), r"\(6,\)"),
            (np.zeros((DIMENSION + 2, 1)), r"\(7, 1\)"),
        ],
        ids=["nan", "infinite loss", "no number for a weight", "no weight", "two axes"],
    )
    def test_a_vector_that_cannot_be_added_is_refused(
        self,
        federation: Federation,
        settings: Settings,
        run_loop: RunLoop,
        broken: np.ndarray,
        named: str,
    ) -> None:
        def answer(group: str, plan: RoundPlan, vector: np.ndarray) -> np.ndarray:
            if group == "B":
                return broken.astype(np.float32)
            return constant(1.0)(group, plan, vector)

        with pytest.raises(CohortError, match=f"^group 'B' released {named} or a number") as caught:
            run_loop(federation(answer=answer), settings())
        assert "\n" not in str(caught.value)


class TestComingAndGoing:
    def test_a_round_that_finds_nobody_is_lost_and_the_next_goes_on(
        self, federation: Federation, settings: Settings
    ) -> None:
        """All nodes are off the list in round 2; a newcomer is there from round 3 on."""
        scripted = federation(groups=[("A", "train"), ("B", "train"), ("N", "train")])
        grid = scripted.grid()
        nodes = list(grid.get_node_ids())
        records: list[RoundRecord] = []
        config = settings(
            warmup_rounds=3, adapter_rounds=1, stage_timeout_seconds=0.3, secure_aggregation=False
        )

        def listed() -> list[int]:
            last = records[-1].round if records else 0
            return {0: nodes[:2], 1: []}.get(last, nodes)

        grid.get_node_ids = listed
        with grid.as_server():
            membership = Membership(grid, MembershipTerms(minimum_groups=1, timeout_seconds=5))
            cohort = membership.gather()
            aggregation = MeanOfUpdates()
            loop = RoundLoop(
                config=config,
                cohort=cohort,
                strategy=FedAvg(),
                aggregation=aggregation,
                collector=PlainCollector(grid, cohort, config.federation, aggregation),
                evaluation=HeldOutEvaluation(grid, cohort, config.federation),
                observers=[records.append],
                membership=membership,
            )
            loop.run(np.zeros(DIMENSION, dtype=np.float32))
        assert [record.groups for record in records] == [0, 2, 0, 3, 3]
        assert [record.dropped for record in records] == [()] * 5
        assert records[2].aborted == "no group is there: look at the SuperLink"
        assert [list(record.seconds_stages) for record in records] == [
            [], ["train"], [], ["train"], ["train"],
        ]  # fmt: skip


class TestMeasurement:
    @pytest.mark.parametrize(
        ("every", "measured"),
        [(0, {5}), (1, {0, 1, 2, 3, 4, 5}), (2, {0, 2, 4, 5}), (3, {0, 3, 5}), (9, {0, 5})],
    )
    def test_the_schedule(
        self,
        federation: Federation,
        settings: Settings,
        run_loop: RunLoop,
        every: int,
        measured: set[int],
    ) -> None:
        config = settings(warmup_rounds=2, adapter_rounds=3, evaluate_every=every)
        ran = run_loop(federation(), config)
        assert [record.round for record in ran.records] == list(range(6))
        assert {r.round for r in ran.records if r.alignment is not None} == measured

    def test_the_mean_is_over_groups_and_targets(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        ran = run_loop(federation(targets={"X": (30, 0.9), "Y": (10, 0.5)}), settings())
        assert ran.records[-1].alignment == pytest.approx((30 * 0.9 + 10 * 0.5) / 40)
        assert ran.records[-1].log_loss == pytest.approx((30 * 1.8 + 10 * 1.0) / 40)

    def test_held_out_groups_see_the_vector_after_the_step_and_never_train(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation()
        ran = run_loop(scripted, settings(evaluate_every=1))
        seen = [(k, g, v) for (k, g, _), v in zip(scripted.asked, scripted.received, strict=True)]
        assert {g for kind, g, _ in seen if kind == "train"} == {"A", "B", "C"}
        assert {g for kind, g, _ in seen if kind == "evaluate"} == {"X", "Y"}
        assert seen[0][2].tobytes() == np.zeros(DIMENSION, dtype=np.float32).tobytes()
        assert seen[-1][2].tobytes() == ran.vector.tobytes()

    def test_nothing_is_chosen_by_it(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        """The last round's vector comes back, though it measured worst."""
        good_first = {"alignment": iter([0.9, 0.8, 0.7, 0.1])}

        class Falling(dict[str, tuple[int, float]]):
            def get(self, key: str, default: Any = None) -> Any:
                return (1, next(good_first["alignment"]))

        one = [("A", "train"), ("X", "held_out")]
        scripted = federation(groups=one, targets=Falling(), answer=constant(1.0))
        ran = run_loop(scripted, settings(evaluate_every=1))
        assert [record.alignment for record in ran.records] == [0.9, 0.8, 0.7, 0.1]
        assert ran.vector.tolist() == [3.0] * DIMENSION

    def test_measuring_changes_nothing(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        never, often = (run_loop(federation(), settings(evaluate_every=e)) for e in (0, 1))
        assert never.vector.tobytes() == often.vector.tobytes()

    @pytest.mark.parametrize("gone", ["", "XY"], ids=["no held-out group", "none answers"])
    def test_without_held_out_answers_there_is_no_figure(
        self, federation: Federation, settings: Settings, run_loop: RunLoop, gone: str
    ) -> None:
        groups = [("A", "train"), *(((name, "held_out")) for name in gone)]
        scripted = federation(groups=groups, unreachable=frozenset(gone))
        ran = run_loop(scripted, settings(evaluate_every=1))
        assert [record.alignment for record in ran.records] == [None] * 4
        assert [record.log_loss for record in ran.records] == [None] * 4


class TestGoingOn:
    def after(self, **fields: Any) -> Position:
        return Position(**fields)

    def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        whole = run_loop(federation(), settings())
        assert [(number, aborted) for number, _, aborted in whole.kept] == [
            (0, 0), (1, 0), (2, 0), (3, 0),
        ]  # fmt: skip
        for number, vector, _ in whole.kept:
            rest = run_loop(federation(), settings(), vector, after=self.after(round=number))
            assert rest.vector.tobytes() == whole.vector.tobytes()
            assert [r.round for r in rest.records] == list(range(number + 1, 4))

    def test_lost_rounds_are_told_and_not_repeated(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        scripted = federation()
        start = np.ones(DIMENSION, dtype=np.float32)
        ran = run_loop(scripted, settings(), start, after=self.after(round=0, lost=(1, 2)))
        assert [(r.round, bool(r.aborted), r.groups) for r in ran.records] == [
            (1, True, 0), (2, True, 0), (3, False, 3),
        ]  # fmt: skip
        assert {plan.round for kind, _, plan in scripted.asked if kind == "train"} == {3}
        assert [number for number, _, _ in ran.kept] == [3]

    def test_a_run_that_had_ended_runs_no_round(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        start = np.ones(DIMENSION, dtype=np.float32)
        for after in (self.after(round=3), self.after(round=2, aborted=3, lost=(3,))):
            scripted = federation()
            ran = run_loop(scripted, settings(), start, after=after)
            assert ran.vector.tobytes() == start.tobytes()
            assert (ran.records, ran.kept, scripted.asked) == ([], [], [])

    def test_aborted_rounds_in_a_row_count_on(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        config = settings(warmup_rounds=9, minimum_groups=2)
        scripted = federation(unreachable=frozenset("AB"))
        start = np.zeros(DIMENSION, dtype=np.float32)
        ran = run_loop(scripted, config, start, after=self.after(round=4, aborted=1))
        assert [(number, aborted) for number, _, aborted in ran.kept] == [(5, 2), (6, 3)]


class TestRecords:
    def test_a_record_tells_the_round(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        records = run_loop(federation(), settings(evaluate_every=2)).records
        assert [(r.round, r.rounds) for r in records] == [(0, 3), (1, 3), (2, 3), (3, 3)]
        assert [r.train_adapter for r in records] == [False, False, True, True]
        assert [r.groups for r in records] == [0, 3, 3, 3]
        assert [r.dropped for r in records] == [()] * 4
        assert records[0].seconds_train == 0
        assert all(r.seconds_train > 0 for r in records[1:])
        assert all(r.seconds_evaluate >= 0 for r in records)

    def test_only_one_vector_is_read_of_a_reply(
        self, federation: Federation, settings: Settings, run_loop: RunLoop
    ) -> None:
        ran = run_loop(federation(), settings())
        kinds = {kind for _, kind in ran.grid.traffic}
        assert kinds == {"query.setup", "train", "evaluate"}
        train = [each for (_, kind), each in ran.grid.traffic.items() if kind == "train"]
        assert {each.messages_up for each in train} == {3}
