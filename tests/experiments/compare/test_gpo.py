"""Group Preference Optimization: what its points may see, and how it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.data.split import Draw, Split
from alignment.evaluation.held_out import predict_held_out, summarise_predictions
from alignment.model.prediction import Predict
from experiments.compare.baselines import gpo_baselines
from experiments.compare.baselines.gpo import (
    GroupPreferenceOptimization,
    Points,
    Shape,
    softmax_within,
)
from experiments.compare.baselines.gpo_baselines import (
    GpoBaseline,
    Recipe,
    _average,
    _Optimizer,
    _sizes,
    _TrainingTasks,
)
from experiments.compare.baselines.methods import training_part

WIDTH = 5
SMALL = Shape(width=16, embedding_layers=2, layers=2, heads=2, feedforward=16)


def points(counts: Sequence[int], seed: int) -> Points:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(count, WIDTH, generator=generator) for count in counts]
    shares = [torch.rand(count, generator=generator) for count in counts]
    return Points.gather(inputs, [(each / each.sum()).tolist() for each in shares])


@pytest.fixture
def network() -> GroupPreferenceOptimization:
    made = GroupPreferenceOptimization(WIDTH, SMALL)
    # As initialised, attention hardly moves anything: make what may be seen be seen.
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)
    return made


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


class TestNetwork:
    def test_it_is_as_large_as_the_published_one(self) -> None:
        assert GroupPreferenceOptimization(384).size == 713_218

    def test_the_order_of_the_context_does_not_matter(
        self, network: GroupPreferenceOptimization
    ) -> None:
        context, targets = points((2, 3, 4), 0), points((3, 2), 1)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
        shuffled = Points(
            inputs=context.inputs[order], shares=context.shares[order], counts=context.counts
        )
        one, two = (flat(network.predict(each, targets)) for each in (context, shuffled))
        assert one == pytest.approx(two, abs=1e-5)

    def test_the_context_is_read_its_answers_and_its_questions(
        self, network: GroupPreferenceOptimization
    ) -> None:
        context, targets = points((2, 3), 0), points((3, 2), 1)
        other = points((2, 3), 7)
        before = flat(network.predict(context, targets))
        for changed in (
            Points(inputs=context.inputs, shares=other.shares, counts=context.counts),
            Points(inputs=other.inputs, shares=context.shares, counts=context.counts),
        ):
            after = flat(network.predict(changed, targets))
            assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > 1e-3

    def test_targets_see_neither_each_other_nor_any_answer_to_themselves(
        self, network: GroupPreferenceOptimization
    ) -> None:
        context, targets = points((2, 3), 0), points((3, 2, 4), 1)
        together = network.predict(context, targets)
        told = Points(inputs=targets.inputs, shares=1 - targets.shares, counts=targets.counts)
        assert network.predict(context, told) == together
        alone = Points(inputs=targets.inputs[3:5], shares=targets.shares[3:5], counts=(2,))
        assert network.predict(context, alone)[0] == pytest.approx(together[1], abs=1e-5)

    def test_a_group_is_read_alike_beside_longer_ones(
        self, network: GroupPreferenceOptimization
    ) -> None:
        """What fills a batch up to the longest group is not looked at."""
        contexts = [points((2, 3), 0), points((4, 4, 5, 2), 2)]
        targets = [points((3, 2, 4), 1), points((2,), 3)]
        shares, _ = network(contexts, targets)
        for context, target, row in zip(contexts, targets, shares, strict=True):
            assert flat(network.predict(context, target)) == pytest.approx(row.tolist(), abs=1e-5)
        (first, second), _ = network(contexts, targets)
        likelihood = network.loss(contexts, targets).item()
        each = [network.loss([c], [t]).item() for c, t in zip(contexts, targets, strict=True)]
        assert likelihood == pytest.approx(sum(each) / 2, rel=1e-4)
        assert (len(first), len(second)) == (9, 2)

    def test_nothing_shown_is_a_context_too(self, network: GroupPreferenceOptimization) -> None:
        targets = points((3, 2), 1)
        for row in network.predict(Points.none(WIDTH), targets):
            assert sum(row) == pytest.approx(1)

    def test_the_loss_is_the_likelihood_of_a_normal_distribution(
        self, network: GroupPreferenceOptimization
    ) -> None:
        context, targets = points((2, 3), 0), points((3, 2), 1)
        (mean,), (log_std,) = network([context], [targets])
        normal = torch.distributions.Normal(mean, log_std.exp())
        expected = -normal.log_prob(targets.shares).sum().item()
        assert network.loss([context], [targets]).item() == pytest.approx(expected, rel=1e-5)

    def test_first_weights_hang_on_the_seed_alone(self) -> None:
        torch.manual_seed(5)
        state = torch.get_rng_state()
        one, again, other = (
            GroupPreferenceOptimization(WIDTH, SMALL, seed=seed) for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), state)
        weights = [each.output[0].weight for each in (one, again, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_no_question_cannot_be_gathered(self) -> None:
        with pytest.raises(ValueError, match="give at least one"):
            Points.gather([], [])


def test_softmax_is_within_each_question() -> None:
    scores = torch.tensor([1.0, 2.0, 300.0, -4.0, 0.0])
    expected = [*torch.softmax(scores[:2], 0).tolist(), *torch.softmax(scores[2:], 0).tolist()]
    assert softmax_within(scores, (2, 3)).tolist() == pytest.approx(expected)
    scores.requires_grad_()
    softmax_within(scores, (2, 3))[0].backward()
    assert scores.grad is not None
    assert scores.grad[:2].abs().min() > 0.1
    assert scores.grad[2:].abs().max() == 0


@dataclass
class Letters:
    """Embeddings without an encoder: an option is the letter it begins with."""

    settings: dict[str, object] = field(default_factory=dict)

    def of(self, questions: Sequence[Question]) -> list[Tensor]:
        return [
            torch.stack([torch.eye(6)["abcdef".index(option[0])] for option in q.options])
            for q in questions
        ]


OPTIONS = [("a", "b"), ("c", "d"), ("b", "e", "a"), ("f", "c"), ("d", "a", "f"), ("e", "c")]
LIKED = {"a": 6.0, "b": 1.0, "c": 6.0, "d": 1.0, "e": 1.0, "f": 3.0}


OPTIONS_ASKED = [Question(question_id="new", text="new ?", options=("a", "d", "e"))]


def answered(group: str, count: int) -> GroupAnswers:
    """Everybody likes a and c: what a method can learn from any group about any other."""
    questions = [
        Question(question_id=f"q{i}", text=f"{i} ?", options=OPTIONS[i % len(OPTIONS)])
        for i in range(count)
    ]
    liking = [[LIKED[option] for option in question.options] for question in questions]
    return GroupAnswers(
        group=group,
        questions=tuple(questions),
        targets=tuple(tuple(v / sum(row) for v in row) for row in liking),
        counts=(1,) * count,
    )


def population_of(train: Sequence[int] = (12, 9, 6)) -> Population:
    answers = {f"train {i}": answered(f"train {i}", count) for i, count in enumerate(train)}
    answers["held out"] = answered("held out", 12)
    ids = [question.question_id for question in answers["held out"].questions]
    draws = (Draw(context=tuple(ids[:4]), target=tuple(ids[4:])),)
    split = Split(
        train_groups=tuple(name for name in answers if name != "held out"),
        draws={"held out": draws},
    )
    return Population(answers=answers, split=split, records={}, skipped=())


def baseline(
    *, federated: bool, rounds: int = 3, rate: float = 3e-3, rescaled: bool = False
) -> GpoBaseline:
    recipe = Recipe(
        rounds=rounds, local_steps=2, learning_rate=rate, fewest_questions=2, most_questions=4
    )
    sentences: object = Letters()
    return GpoBaseline(
        sentences=sentences,
        federated=federated,
        rescaled=rescaled,
        recipe=recipe,
        shape=SMALL,
    )


def score(predict: Predict, population: Population) -> float:
    return summarise_predictions(predict_held_out(predict, population)).mean


def ignore(done: int, rounds: int, predict: Predict) -> None:
    pass


@pytest.mark.parametrize("federated", [False, True])
class TestTraining:
    def test_it_learns_what_groups_share(self, federated: bool) -> None:
        population = population_of()
        scores = {}

        def watch(done: int, rounds: int, predict: Predict) -> None:
            if done in (0, rounds):
                scores[done] = score(predict, population)

        fitted = baseline(federated=federated, rounds=15, rate=1e-2).fit(
            training_part(population), 0, watch=watch
        )
        assert scores[15] == score(fitted.predict, population)
        assert scores[15] > scores[0] + 0.1

    def test_it_repeats_by_seed(self, federated: bool) -> None:
        population = population_of()
        scores = [
            score(
                baseline(federated=federated)
                .fit(training_part(population), seed, watch=ignore)
                .predict,
                population,
            )
            for seed in (0, 0, 1)
        ]
        assert scores[0] == scores[1] != scores[2]

    def test_every_round_is_told_and_steps_are_equal(
        self, federated: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[int] = []
        step = _Optimizer.step

        def count(self: _Optimizer, context: Sequence[Points], asked: Sequence[Points]) -> float:
            steps.append(len(context))
            return step(self, context, asked)

        monkeypatch.setattr(_Optimizer, "step", count)
        told: list[tuple[int, int]] = []
        fitted = baseline(federated=federated).fit(
            training_part(population_of()), 0, watch=lambda done, all_, _: told.append((done, all_))
        )
        assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
        assert fitted.steps == 6
        # In one place a step sees a batch of each of the three groups.
        assert steps == ([1] * 18 if federated else [3] * 6)
        sent = 4 * fitted.parameters
        assert fitted.bytes_up_per_client_per_round == (sent if federated else None)
        assert fitted.rounds == (3 if federated else None)

    def test_groups_with_one_answer_take_no_part(self, federated: bool) -> None:
        population = population_of((12, 1))
        baseline(federated=federated).fit(training_part(population), 0, watch=ignore)
        with pytest.raises(ValueError, match="no train group has 2 answers"):
            baseline(federated=federated).fit(training_part(population_of((1, 1))), 0, watch=ignore)

    def test_rescaled_inputs_are_another_method(self, federated: bool) -> None:
        population = population_of()
        plain, rescaled = (
            baseline(federated=federated, rescaled=rescaled) for rescaled in (False, True)
        )
        scores = [
            score(each.fit(training_part(population), 0, watch=ignore).predict, population)
            for each in (plain, rescaled)
        ]
        assert scores[0] != scores[1]
        assert plain.settings != rescaled.settings
        assert rescaled.title == f"{plain.title}, rescaled"
        question = population.answers["held out"].questions[0]
        (row,) = rescaled._inputs([question])
        assert row.square().mean(dim=1).tolist() == pytest.approx([1.0] * len(question.options))


class TestAveraging:
    def test_the_mean_is_weighted(self) -> None:
        network, one, two = (
            GroupPreferenceOptimization(WIDTH, SMALL, seed=seed) for seed in range(3)
        )
        _average(network, [one, two], [0.25, 0.75])
        for mean, a, b in zip(
            network.parameters(), one.parameters(), two.parameters(), strict=True
        ):
            torch.testing.assert_close(mean, 0.25 * a + 0.75 * b)

    def test_clients_weigh_by_their_questions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Sequence[float]] = []
        monkeypatch.setattr(
            gpo_baselines, "_average", lambda network, clients, weights: seen.append(weights)
        )
        baseline(federated=True, rounds=1).fit(training_part(population_of()), 0, watch=ignore)
        assert seen[0] == pytest.approx([12 / 27, 9 / 27, 6 / 27])

    def test_every_client_starts_from_the_average(self) -> None:
        """With a learning rate of nothing, all rounds end where they began."""
        population = population_of()
        asked, context = OPTIONS_ASKED, population.answers["held out"]
        said: list[list[float]] = []
        baseline(federated=True, rate=0.0).fit(
            training_part(population),
            3,
            watch=lambda done, rounds, predict: said.append(flat(predict(asked, context))),
        )
        assert len(said) == 4
        for row in said[1:]:
            assert row == pytest.approx(said[0], abs=1e-6)
        other = baseline(federated=True, rate=0.0).fit(training_part(population), 0, watch=ignore)
        assert flat(other.predict(asked, context)) != pytest.approx(said[0], abs=1e-4)


class TestTrainingTasks:
    def tasks(self, count: int) -> _TrainingTasks:
        """Question ``i`` has two options, both embedded as ``i``."""
        inputs = tuple(torch.full((2, 1), float(i)) for i in range(count))
        return _TrainingTasks(inputs=inputs, shares=((0.5, 0.5),) * count)

    @pytest.mark.parametrize(("shown", "asked"), [(3, 4), (9, 9), (1, 1), (20, 20)])
    def test_what_is_shown_is_never_asked(self, shown: int, asked: int) -> None:
        generator = np.random.default_rng(0)
        for _ in range(20):
            context, targets = self.tasks(10).draw(shown, asked, generator)
            known, wanted = ({*p.inputs.flatten().tolist()} for p in (context, targets))
            assert not known & wanted
            assert len(known) == len(context.counts) == min(shown, 9)
            assert len(wanted) == len(targets.counts) == min(asked, 10 - len(known))

    def test_sizes_are_drawn_within_their_bounds(self) -> None:
        generator = np.random.default_rng(0)
        recipe = Recipe(fewest_questions=2, most_questions=4)
        sizes = {_sizes(recipe, generator) for _ in range(200)}
        assert sizes == {(shown, asked) for shown in (2, 3, 4) for asked in (2, 3, 4)}


def test_the_learning_rate_falls_and_rises_by_a_cosine() -> None:
    network = GroupPreferenceOptimization(WIDTH, SMALL)
    optimizer = _Optimizer(network, Recipe(learning_rate=1.0, half_period=2))
    rates = []
    for _ in range(5):
        rates.append(optimizer._adam.param_groups[0]["lr"])
        optimizer.step([points((2, 3), 0)], [points((3, 2), 1)])
    assert rates == pytest.approx([1, 0.5, 0, 0.5, 1])


def test_what_no_training_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds = 0"):
        Recipe(rounds=0)
