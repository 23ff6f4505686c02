"""Local training against its definition."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from alignment.config import TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import Question
from alignment.model.heads import Dropout
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.privatizer import release_in_the_clear
from clients.task import RoundTask
from clients.training.trainer import _batches, predictor_for, train_locally
from clients.training.updates import LocalUpdate

MakeTask = Callable[..., RoundTask]

QUESTIONS = tuple(
    Question(question_id=f"q{i}", text=f"do you like {'tea ' * (i + 1)}?", options=("yes", "no"))
    for i in range(4)
)

#: Trains what is said of questions before anything is known of a group, and nothing else.
PRIOR_ONLY = {"training.context_weight": 0.0, "training.dropout": 0.0}


def answers(counts: tuple[int, ...] = (1, 1, 1, 1), group: str = "A") -> GroupAnswers:
    targets = ((1.0, 0.0), (0.25, 0.75), (0.5, 0.5), (0.0, 1.0))
    size = len(counts)
    return GroupAnswers(
        group=group, questions=QUESTIONS[:size], targets=targets[:size], counts=counts
    )


def batches(lengths: list[int], seed: int = 0, **training: Any) -> list[list[int]]:
    return list(_batches(lengths, TrainingConfig(**training), np.random.default_rng(seed)))


class TestBatches:
    @pytest.mark.parametrize(
        ("count", "size", "epochs"), [(32, 16, 1.0), (48, 4, 1.0), (12, 3, 2.0), (160, 16, 3.0)]
    )
    def test_every_question_comes_once_per_epoch_where_the_sizes_divide(
        self, count: int, size: int, epochs: float
    ) -> None:
        drawn = batches(list(range(count)), batch_size=size, local_epochs=epochs)
        assert len(drawn) == epochs * count / size
        assert {len(batch) for batch in drawn} == {size}
        assert Counter(i for batch in drawn for i in batch) == dict.fromkeys(
            range(count), int(epochs)
        )

    @pytest.mark.parametrize(
        ("count", "size", "epochs", "steps"),
        [(1, 16, 1.0, 1), (1, 1, 3.0, 3), (10, 16, 1.0, 1), (40, 16, 1.0, 2), (10, 3, 0.01, 1)],
    )
    def test_the_number_of_steps(self, count: int, size: int, epochs: float, steps: int) -> None:
        drawn = batches([5] * count, batch_size=size, local_epochs=epochs)
        assert len(drawn) == steps
        assert {len(batch) for batch in drawn} == {min(size, count)}

    @pytest.mark.parametrize("count", [1, 10, 40])
    def test_steps_may_be_the_same_for_groups_of_all_sizes(self, count: int) -> None:
        assert len(batches([5] * count, batch_size=16, local_steps=7)) == 7

    def test_they_depend_on_the_generator_alone(self) -> None:
        lengths = list(range(32))
        assert batches(lengths, 1, batch_size=4) == batches(lengths, 1, batch_size=4)
        assert batches(lengths, 1, batch_size=4) != batches(lengths, 2, batch_size=4)

    def test_questions_of_like_length_go_together(self) -> None:
        lengths = [i % 7 * 10 for i in range(64)]
        spread = [
            max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
            for batch in batches(lengths, batch_size=16)
        ]
        assert max(spread) <= 20  # of 60: a quarter of the sorted window, and ties

    def test_but_not_always_in_the_order_of_their_length(self) -> None:
        orders = {
            tuple(min(batch) for batch in batches(list(range(64)), seed, batch_size=16))
            for seed in range(8)
        }
        assert len(orders) > 1

    def test_no_batch_holds_a_question_twice(self) -> None:
        drawn = batches(list(range(16)), batch_size=16, local_epochs=4.0)
        assert all(len(set(batch)) == len(batch) for batch in drawn)


def prior_losses(predictor: Predictor) -> torch.Tensor:
    """Cross-entropy of the four questions, from the definition."""
    scores = predictor(predictor.batch(list(QUESTIONS)))
    targets = torch.tensor(answers().targets)
    return -(targets * torch.log_softmax(scores, dim=1)).sum(dim=1)


class TestTrainLocally:
    @pytest.mark.parametrize("counts", [(1, 1, 1, 1), (7, 1, 2, 30)], ids=str)
    @pytest.mark.parametrize("train_adapter", [True, False], ids=["adapters", "head alone"])
    def test_one_step_is_one_step_of_adamw_on_the_weighted_mean(
        self,
        make_task: MakeTask,
        counts: tuple[int, ...],
        train_adapter: bool,
    ) -> None:
        task = make_task(
            train_adapter=train_adapter,
            learning_rate_scale=0.5,
            **PRIOR_ONLY,
            **{"training.learning_rate": 0.01, "training.adapter_learning_rate": 0.002},
        )
        predictor = Predictor(task.predictor)
        update = train_locally(to_vector(predictor), answers(counts), task)

        share = torch.tensor(counts) / sum(counts)
        loss = (share * prior_losses(predictor)).sum()
        loss.backward()
        expected = []
        for name, parameter in predictor.trainable():
            head = name.startswith("head.")
            rate = 0.5 * (0.01 if head else 0.002 if train_adapter else 0.0)
            if parameter.grad is None:  # what tells groups apart takes no part in the prior
                assert name == "head.directions.weight"
                expected.append(np.zeros(parameter.numel(), dtype=np.float32))
                continue
            # The first step of Adam has size one, whatever the gradient; see its bias correction.
            direction = parameter.grad / (parameter.grad.abs() + 1e-8)
            change = -rate * (direction + 0.01 * parameter.detach())
            expected.append(change.numpy().ravel())
        assert update.loss == pytest.approx(loss.item(), rel=1e-5)
        # A gradient near zero has a sign that rounding decides, hence a share and not all.
        close = np.isclose(update.delta, np.concatenate(expected), atol=2e-5, rtol=1e-2)
        assert close.mean() > 0.97

    def test_the_proximal_term_is_a_gradient_of_its_own(
        self, vector: np.ndarray, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beside plain gradient descent on the loss plus half mu times the squared distance."""

        def descend(groups: Any, **_: Any) -> torch.optim.Optimizer:
            plain = [{"params": group["params"]} for group in groups]
            return torch.optim.SGD(plain, lr=0.1)

        monkeypatch.setattr(torch.optim, "AdamW", descend)
        given = {**PRIOR_ONLY, "training.batch_size": 4, "training.local_steps": 2}
        mu = 2.0
        task = make_task(**given, **{"training.proximal": mu})
        update = train_locally(vector, answers(), task)
        once = train_locally(vector, answers(), make_task(**{**given, "training.local_steps": 1}))
        plain = train_locally(vector, answers(), make_task(**given))
        # The first step feels no pull; the second is drawn back by mu times what the first moved.
        expected = plain.delta - 0.1 * mu * once.delta
        assert np.abs(plain.delta).max() > 1e-3
        np.testing.assert_allclose(update.delta, expected, atol=1e-6)

    def test_a_question_weighs_as_often_as_it_was_answered(
        self, vector: np.ndarray, make_task: MakeTask
    ) -> None:
        alike = train_locally(vector, answers((3, 3, 3, 3)), make_task())
        scaled = train_locally(vector, answers((9, 9, 9, 9)), make_task())
        uneven = train_locally(vector, answers((9, 3, 3, 3)), make_task())
        assert alike.delta.tobytes() == scaled.delta.tobytes()
        assert alike.loss != uneven.loss

    def test_noised_answers_are_learned_from_as_far_as_they_are_reliable(
        self, vector: np.ndarray, make_task: MakeTask
    ) -> None:
        exact = answers((3, 3, 3, 3))
        task = make_task(**PRIOR_ONLY, **{"training.local_steps": 1, "training.weight_decay": 0.0})
        plain = train_locally(vector, exact, task).delta
        sure = train_locally(vector, replace(exact, noise=(0.0,) * 4), task).delta
        # Of two options reliable by a tenth, and by three.
        noise = tuple(((1 / share - 1) / 6) ** 0.5 for share in (0.1, 0.3, 0.3, 0.3))
        rough = train_locally(vector, replace(exact, noise=noise), task).delta
        assert np.array_equal(sure, plain)
        assert rough == pytest.approx(plain / 4, rel=1e-2, abs=1e-7)

    def test_the_group_draws_its_own_batches(self, vector: np.ndarray, make_task: MakeTask) -> None:
        task = make_task(**{"training.batch_size": 1})
        first, second = (train_locally(vector, answers(group=g), task) for g in ("A", "B"))
        assert first.delta.tobytes() != second.delta.tobytes()

    def test_one_question_is_enough(self, vector: np.ndarray, make_task: MakeTask) -> None:
        update = train_locally(vector, answers((3,)), make_task())
        assert update.delta.any()

    def test_the_received_vector_is_left_alone(
        self, vector: np.ndarray, make_task: MakeTask
    ) -> None:
        mine = vector.copy()
        train_locally(mine, answers(), make_task())
        assert mine.tobytes() == vector.tobytes()

    def test_local_epochs_take_more_steps(self, vector: np.ndarray, make_task: MakeTask) -> None:
        one, three = (
            train_locally(vector, answers(), make_task(**{"training.local_epochs": epochs}))
            for epochs in (1.0, 3.0)
        )
        assert np.abs(three.delta).max() > 2 * np.abs(one.delta).max()

    @pytest.mark.parametrize("train_adapter", [True, False], ids=["adapters", "head alone"])
    def test_the_loss_in_context_trains_the_directions_and_leaves_the_prior_alone(
        self, predictor: Predictor, vector: np.ndarray, make_task: MakeTask, train_adapter: bool
    ) -> None:
        directions = np.concatenate(
            [np.full(p.numel(), "directions" in name) for name, p in predictor.trainable()]
        )
        # One step on one question leaves others to be shown; halves of a batch need two.
        size = 4 if train_adapter else 1
        steps = {"training.batch_size": size, "training.local_epochs": size / 4}
        without, with_context = (
            train_locally(
                vector, answers(), make_task(train_adapter=train_adapter, **steps, **changes)
            )
            for changes in (PRIOR_ONLY, {**PRIOR_ONLY, "training.context_weight": 1.0})
        )
        assert not without.delta[directions].any()
        assert with_context.delta[directions].any()
        assert with_context.delta[~directions].tobytes() == without.delta[~directions].tobytes()
        assert with_context.loss == without.loss

    def test_directions_train_in_warmup_where_one_batch_holds_all_questions(
        self, predictor: Predictor, vector: np.ndarray, make_task: MakeTask
    ) -> None:
        directions = np.concatenate(
            [np.full(p.numel(), "directions" in name) for name, p in predictor.trainable()]
        )
        update = train_locally(vector, answers(), make_task(train_adapter=False))
        assert update.delta[directions].any()

    def test_a_predictor_without_adapters_trains_its_head(self, make_task: MakeTask) -> None:
        task = make_task(**{"predictor.lora_rank": 0})
        head = Predictor(task.predictor)
        assert {name.partition(".")[0] for name, _ in head.trainable()} == {"head"}
        update = train_locally(to_vector(head), answers(), task)
        assert update.delta.any()

    def test_without_adapters_a_text_goes_through_the_encoder_once(
        self, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = make_task(**{"predictor.lora_rank": 0, "training.context_weight": 0.0})
        head = predictor_for(task.predictor)
        asked: list[object] = []
        real = Predictor.batch

        def noted(self: Predictor, questions: Any, **given: Any) -> Any:
            asked.extend(questions)
            return real(self, questions, **given)

        monkeypatch.setattr(Predictor, "batch", noted)
        for _ in range(2):
            assert task.train_adapter
            train_locally(to_vector(head), answers(), task)
        assert len(asked) == len(set(asked))


class TestPolicies:
    @pytest.fixture
    def policy(self, make_task: MakeTask, causal_model: str) -> Callable[..., RoundTask]:
        return lambda **changes: make_task(
            **{
                "predictor.encoder": causal_model,
                "predictor.scores": "policy",
                "predictor.max_tokens": 32,
                **changes,
            }
        )

    def test_a_policy_learns_and_its_settings_of_head_and_context_change_nothing(
        self, policy: Callable[..., RoundTask]
    ) -> None:
        predictor = Predictor(policy().predictor)
        start = to_vector(predictor)
        odd = {
            "predictor.head_width": 5,
            "predictor.context_rank": 3,
            "training.learning_rate": 0.5,
            "training.context_weight": 9.0,
            "context.strength": 0.1,
        }
        # More than one epoch: without it the last batches would not show what the first did.
        updates = [
            train_locally(start, answers(), policy(**changes, **{"training.local_epochs": 9.0}))
            for changes in ({}, odd)
        ]
        assert np.abs(updates[0].delta).max() > 1e-3
        assert np.array_equal(updates[0].delta, updates[1].delta)
        assert updates[0].loss == updates[1].loss < prior_losses(predictor).mean().item()

    def test_a_round_for_a_head_alone_is_refused(self, policy: Callable[..., RoundTask]) -> None:
        task = policy(train_adapter=False)
        start = to_vector(Predictor(task.predictor))
        with pytest.raises(
            ValueError, match=r"a causal model has none: federation\.warmup_rounds = 0"
        ):
            train_locally(start, answers(), task)


class TestDropout:
    @pytest.mark.parametrize("train_adapter", [True, False], ids=["adapters", "head alone"])
    def test_it_is_drawn_by_seed_round_and_group_and_not_from_the_process(
        self, vector: np.ndarray, make_task: MakeTask, train_adapter: bool
    ) -> None:
        def delta(**changes: Any) -> bytes:
            task = make_task(train_adapter=train_adapter, **PRIOR_ONLY | changes)
            return train_locally(vector, answers(), task).delta.tobytes()

        half = {"training.dropout": 0.5}
        before = torch.get_rng_state()
        first = delta(**half)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        assert delta(**half) == first != delta()
        assert first not in (delta(**half, seed=1), delta(**half, round=2))

    def test_it_keeps_the_mean(self) -> None:
        generator = torch.Generator().manual_seed(0)
        dropped = Dropout(0.25, generator)(torch.ones(100_000))
        assert sorted(set(dropped.tolist())) == pytest.approx([0.0, 4 / 3])
        # Five standard deviations of the mean: .0018 each.
        assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


class TestWeight:
    @pytest.mark.parametrize("counts", [(1, 1, 1, 1), (7, 1, 2, 30)], ids=str)
    @pytest.mark.parametrize("train_adapter", [True, False], ids=["adapters", "head alone"])
    def test_it_comes_from_the_mean_loss_before_training(
        self,
        make_task: MakeTask,
        counts: tuple[int, ...],
        train_adapter: bool,
    ) -> None:
        """Batches of three: the last one is smaller, and counts no more for it."""
        changes = {"training.fairness": 2.0, "training.batch_size": 3}
        task = make_task(train_adapter=train_adapter, **changes)
        predictor = Predictor(task.predictor, seed=3)
        with torch.no_grad():
            losses = prior_losses(predictor)
        loss = float(np.average(losses.tolist(), weights=counts))
        targets = np.array(answers(counts).targets)
        entropies = -np.sum(targets * np.log(np.where(targets > 0, targets, 1)), axis=1)
        floor = float(np.average(entropies, weights=counts))
        update = train_locally(to_vector(predictor), answers(counts), task)
        assert update.weight == pytest.approx(
            min(1.0, ((loss - floor) / (np.log(2) - floor)) ** 2), rel=1e-4
        )
        assert update.loss != pytest.approx(loss, rel=1e-5)

    def test_a_group_that_is_predicted_well_counts_less(
        self, vector: np.ndarray, make_task: MakeTask
    ) -> None:
        sure, torn = (
            GroupAnswers(group="A", questions=QUESTIONS, targets=(each,) * 4, counts=(1,) * 4)
            for each in ((1.0, 0.0), (0.4, 0.6))
        )
        steps = {"training.learning_rate": 0.05, "training.local_epochs": 20.0}
        trained = vector + train_locally(vector, sure, make_task(**steps)).delta
        task = make_task(**{"training.fairness": 1.0})
        well, badly = (train_locally(trained, each, task).weight for each in (sure, torn))
        assert well < 0.5 < badly == 1.0

    @pytest.mark.parametrize("train_adapter", [True, False], ids=["adapters", "head alone"])
    def test_fairness_changes_what_a_group_counts_and_no_bit_of_what_it_learns(
        self, vector: np.ndarray, make_task: MakeTask, train_adapter: bool
    ) -> None:
        steps = {"training.learning_rate": 0.05, "training.local_epochs": 20.0}
        trained = vector + train_locally(vector, answers(), make_task(**steps)).delta
        plain, fair = (
            train_locally(
                trained,
                answers(),
                make_task(train_adapter=train_adapter, **{"training.fairness": q}),
            )
            for q in (0.0, 3.0)
        )
        assert plain.weight == 1.0
        assert fair.weight != 1.0
        assert fair.delta.tobytes() == plain.delta.tobytes()
        assert fair.loss == plain.loss

    def test_without_fairness_no_pass_is_taken_for_it(
        self, vector: np.ndarray, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clients.training.trainer.group_weight", None)
        assert train_locally(vector, answers(), make_task()).weight == 1.0
        with pytest.raises(TypeError):
            train_locally(vector, answers(), make_task(**{"training.fairness": 1.0}))


def test_the_predictor_is_built_once_per_configuration(make_task: MakeTask) -> None:
    config = make_task().predictor
    assert predictor_for(config) is predictor_for(config)


class TestRelease:
    def test_loss_and_weight_are_the_last_coordinates_of_float32(self) -> None:
        delta = np.array([1.5, -2.0, 0.0], dtype=np.float32)
        vector = release_in_the_clear(LocalUpdate(delta=delta, loss=0.1, weight=0.25))
        assert vector.dtype == np.float32
        assert vector.tolist() == [1.5, -2.0, 0.0, np.float32(0.1), 0.25]
        assert not np.shares_memory(vector, delta)
