"""The predictor: scores of options, what trains, and what it remembers."""

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from alignment.data.answers import GroupAnswers
from alignment.data.records import PairRecord, Question
from alignment.model.encoding import QuestionBatch, pad_targets
from alignment.model.predictor import Predictor
from alignment.training.objectives import cross_entropy

MakePredictor = Callable[..., Predictor]
Questions = tuple[Question, ...]


@pytest.fixture
def predictor(make_predictor: MakePredictor, shake: Callable[[nn.Module, int], None]) -> Predictor:
    """All trainable values non-zero."""
    made = make_predictor()
    shake(made, 0)
    return made


def answered(questions: Questions, first: float = 0.9) -> GroupAnswers:
    """Answers that favour the first option of every question."""
    targets = [
        (first, *((1 - first) / (len(q.options) - 1) for _ in q.options[1:])) for q in questions
    ]
    return GroupAnswers(
        group="north", questions=questions, targets=tuple(targets), counts=(1,) * len(questions)
    )


# --- scores ----------------------------------------------------------------------------------


def test_probabilities_sum_to_one_and_absent_options_get_nothing(
    predictor: Predictor, survey: Questions, pairs: Questions
) -> None:
    asked = [*survey, *pairs]
    batch = predictor.batch(asked)
    with torch.no_grad():
        probabilities = torch.softmax(predictor(batch), dim=-1)
    assert probabilities.shape == (5, 4)
    assert torch.allclose(probabilities.sum(-1), torch.ones(5))
    assert (probabilities[~batch.present] == 0).all()
    assert (probabilities[batch.present] > 0).all()


def test_scores_depend_neither_on_company_nor_on_padding(
    predictor: Predictor, survey: Questions, pairs: Questions
) -> None:
    asked = [*survey, *pairs]
    with torch.no_grad():
        together = predictor(predictor.batch(asked, length=64))
        for order in list(permutations(range(5)))[::29]:
            shuffled = predictor(predictor.batch([asked[i] for i in order]))
            assert torch.allclose(shuffled, together[list(order)], atol=1e-5)
        for row, question in enumerate(asked):
            alone = predictor(predictor.batch([question]))[0]
            assert torch.allclose(alone, together[row, : len(alone)], atol=1e-5)


def test_the_score_of_a_response_ignores_what_it_is_compared_with(
    predictor: Predictor, pairs: Questions
) -> None:
    with torch.no_grad():
        scores = predictor(predictor.batch(pairs))
    first = scores[0, pairs[0].options.index("yes")]
    second = scores[1, pairs[1].options.index("yes")]
    assert abs(first - second) < 1e-6
    assert abs(scores[0, 0] - scores[1, 1]) > 1e-3  # other responses do differ


def test_options_of_a_survey_see_each_other(predictor: Predictor) -> None:
    def score_of_yes(other: str) -> Tensor:
        question = Question(question_id="q", text="tea ?", options=("yes", other))
        scores: Tensor = predictor(predictor.batch([question]))
        return scores[0, 0]

    assert abs(score_of_yes("no") - score_of_yes("war and peace")) > 1e-4


def test_swapping_chosen_and_rejected_is_the_loss_of_the_opposite_preference(
    predictor: Predictor,
) -> None:
    def loss(chosen: str, rejected: str) -> float:
        record = PairRecord(
            group="g", annotator=None, prompt="tea ?", chosen=chosen, rejected=rejected
        )
        targets = pad_targets([record.target], 2)
        scores = predictor(predictor.batch([record.question])).detach()
        return float(cross_entropy(scores, targets)[0])

    def score(response: str) -> float:
        question = Question(question_id="x", text="tea ?", options=(response, "no"), together=False)
        return float(predictor(predictor.batch([question]))[0, 0].detach())

    margin = score("yes please") - score("no tea")
    assert abs(margin) > 1e-3
    assert loss("yes please", "no tea") == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-5)
    assert loss("no tea", "yes please") == pytest.approx(math.log1p(math.exp(margin)), abs=1e-5)


@pytest.mark.parametrize("rank", [0, 4])
def test_early_features_are_what_an_option_is_below_the_adapted_layers(
    make_predictor: MakePredictor, survey: Questions, rank: int
) -> None:
    """Behind the two other parts, whether there are adapters or not, and whatever they say."""
    late, both = (
        make_predictor(lora_rank=rank, early_features=early).eval() for early in (False, True)
    )
    with torch.no_grad():
        for name, parameter in both.trainable():
            if ".lora_B." in name:
                parameter += 0.1
        without, batch = late.pooled(late.batch(survey)), both.batch(survey)
        pooled = both.pooled(batch)
    width = both.encoder.hidden_size
    assert (without.shape[-1], pooled.shape[-1]) == (2 * width, 3 * width)
    assert torch.allclose(pooled[..., : 2 * width], without, atol=1e-5) == (rank == 0)
    for row, question in enumerate(survey):
        (text,) = both.questions.sequences(question)
        ids, mask = torch.tensor([text.token_ids]), torch.ones((1, len(text.token_ids))).long()
        hidden = late.encoder.prefix(ids, mask)[0]
        for place, (start, end) in enumerate(text.spans):
            mean = hidden[start:end].mean(dim=0)
            expected = torch.nn.functional.layer_norm(mean, (width,))
            assert torch.allclose(pooled[row, place, 2 * width :], expected, atol=1e-4)


# --- training --------------------------------------------------------------------------------


def test_gradients_flow_into_adapters_and_head_alone(
    predictor: Predictor, survey: Questions, pairs: Questions
) -> None:
    asked = (*survey, *pairs)
    targets = pad_targets(answered(asked).targets, 4)
    torch.autograd.backward(cross_entropy(predictor(predictor.batch(asked)), targets).sum())
    for name, parameter in predictor.named_parameters():
        trains = "lora_" in name or name.startswith("head.")
        assert parameter.requires_grad == trains, name
        # The directions in which groups differ have a loss of their own.
        reached = trains and "directions" not in name
        assert (parameter.grad is not None) == reached, name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    # A softmax ignores a common shift, so the last bias is the one value without a gradient.
    grads = {name: p.grad for name, p in predictor.trainable() if p.grad is not None}
    assert [name for name, g in grads.items() if g.abs().max() < 1e-6] == ["head.score.bias"]


def test_the_gradient_is_the_slope_of_the_loss(predictor: Predictor, survey: Questions) -> None:
    batch = predictor.batch(survey)
    predictor.double()
    exact = {"hidden": batch.hidden.double(), "pooling": batch.pooling.double()}
    batch = QuestionBatch(**{**vars(batch), **exact})
    targets = pad_targets(answered(survey).targets, 4).double()

    def loss() -> Tensor:
        return cross_entropy(predictor(batch), targets).sum()

    torch.autograd.backward(loss())
    step = 1e-6
    for name, parameter in list(predictor.trainable())[::5]:
        assert parameter.grad is not None
        slope = parameter.grad.flatten()[-1].item()
        with torch.no_grad():
            parameter.view(-1)[-1] += step
            above = loss().item()
            parameter.view(-1)[-1] -= 2 * step
            below = loss().item()
            parameter.view(-1)[-1] += step
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-7), name


def test_a_few_steps_fit_the_answers_of_a_group(
    make_predictor: MakePredictor, survey: Questions, pairs: Questions
) -> None:
    predictor = make_predictor()
    asked = (*survey, *pairs)
    targets = pad_targets(answered(asked).targets, 4)
    optimizer = torch.optim.AdamW([p for _, p in predictor.trainable()], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = cross_entropy(predictor(predictor.batch(asked)), targets).mean()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    entropy = float(cross_entropy(torch.log(targets + 1e-12), targets).mean())
    assert losses[-1] - entropy < 0.1 * (losses[0] - entropy)


def test_training_mode_changes_no_score(predictor: Predictor, survey: Questions) -> None:
    batch = predictor.batch(survey)
    still = predictor(batch)
    predictor.train()
    assert torch.equal(predictor(batch), still)


def test_trainable_parameters_come_in_one_fixed_order(
    make_predictor: MakePredictor,
) -> None:
    names = [name for name, _ in make_predictor().trainable()]
    assert names == sorted(names)
    assert names == [name for name, _ in make_predictor(seed=9).trainable()]
    assert len(names) == 12 + 5
    alone = [name for name, _ in make_predictor(lora_rank=0).trainable()]
    assert alone == [
        "head.directions.weight",
        "head.inner.bias",
        "head.inner.weight",
        "head.score.bias",
        "head.score.weight",
    ]


def test_the_loss_in_context_reaches_the_directions_alone(
    predictor: Predictor, survey: Questions
) -> None:
    pooled, present = predictor.pooled_now(survey)
    prior = predictor.head.prior(pooled.requires_grad_(), present)
    torch.autograd.backward(prior.directions.square().sum())
    assert not prior.scores.requires_grad and not prior.features.requires_grad
    assert pooled.grad is None
    reached = [name for name, p in predictor.trainable() if p.grad is not None]
    assert reached == ["head.directions.weight"]


def test_a_seed_draws_everything_and_leaves_the_global_generator_alone(
    make_predictor: MakePredictor,
) -> None:
    def drawn(seed: int) -> list[Tensor]:
        return [p.detach() for _, p in make_predictor(seed=seed).trainable()]

    before = torch.random.get_rng_state()
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


# --- memory and predictions ------------------------------------------------------------------


def test_the_prior_is_the_softmax_of_the_scores(
    predictor: Predictor, survey: Questions, pairs: Questions
) -> None:
    asked = [*survey, *pairs]
    prior = predictor.prior(asked)
    with torch.no_grad():
        scores = predictor(predictor.batch(asked)).double()
    assert torch.allclose(prior.probabilities(), torch.softmax(scores, -1), atol=1e-5)
    assert (prior.probabilities()[~prior.present] == 0).all()
    lengths = prior.features[prior.present].norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths))
    assert prior.features.dtype == torch.float64
    assert not prior.scores.requires_grad


def test_pooled_options_are_remembered_until_an_adapter_changes(
    predictor: Predictor, survey: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled_questions: list[int] = []
    pooled = predictor.pooled

    def counted(batch: QuestionBatch) -> Tensor:
        pooled_questions.append(len(batch.slots))
        return pooled(batch)

    monkeypatch.setattr(predictor, "pooled", counted)
    before = predictor.prior(survey).scores
    predictor.prior([*survey, *survey[:1]])
    assert pooled_questions == [3]
    with torch.no_grad():
        predictor.head.score.bias.add_(1.0)
    assert torch.allclose(predictor.prior(survey).scores[0, :2], before[0, :2] + 1.0)
    assert pooled_questions == [3]
    with torch.no_grad():
        next(p for name, p in predictor.trainable() if "lora_B" in name).add_(0.5)
    after = predictor.prior(survey)
    assert pooled_questions == [3, 3]
    with torch.no_grad():
        fresh = torch.softmax(predictor(predictor.batch(survey)).double(), -1)
    assert torch.allclose(after.probabilities(), fresh, atol=1e-5)


def test_what_is_remembered_is_bounded(
    predictor: Predictor, survey: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignment.model.predictor._POOLED_LIMIT", 2)
    expected = predictor.prior(survey).scores
    predictor.prior(survey[:1])
    assert len(predictor._pooled) == 1
    assert torch.allclose(predictor.prior(survey).scores, expected, atol=1e-5)


def test_many_questions_are_pooled_in_parts(predictor: Predictor) -> None:
    many = [
        Question(question_id=f"m{i}", text="tea " * (1 + i % 7), options=("yes", f"no {i % 10}"))
        for i in range(70)
    ]
    prior = predictor.prior(many)
    for i in (0, 33, 69):
        alone = predictor.prior([many[i]])
        assert torch.allclose(prior.scores[i], alone.scores[0], atol=1e-5)
        with torch.no_grad():
            assert torch.allclose(
                prior.scores[i].float(), predictor(predictor.batch([many[i]]))[0], atol=1e-5
            )
