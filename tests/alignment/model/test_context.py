"""Reading a context: the mode of the posterior, and what must not change it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from alignment.config import ContextConfig
from alignment.model.context import Prior, read_context

ABSENT = -1e9


def make_prior(questions: int, *, seed: int, options: int = 4, width: int = 6) -> Prior:
    """Random questions; every second one lacks its last option."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.ones(questions, options, dtype=torch.bool)
    present[::2, -1] = False
    scores = torch.randn(questions, options, generator=generator, dtype=torch.float64)
    features = torch.randn(questions, options, width, generator=generator, dtype=torch.float64)
    directions = torch.randn(questions, options, 3, generator=generator, dtype=torch.float64)
    return Prior(
        scores=scores.masked_fill(~present, ABSENT),
        features=functional.normalize(features, dim=-1),
        directions=directions,
        present=present,
    )


def without_directions(prior: Prior) -> Prior:
    return replace(prior, directions=torch.zeros_like(prior.directions))


def make_answers(prior: Prior, *, seed: int, one_hot: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(prior.present.shape, generator=generator, dtype=torch.float64)
    drawn = drawn * prior.present
    if one_hot:
        return torch.nn.functional.one_hot(drawn.argmax(-1), drawn.shape[1]).double()
    return drawn / drawn.sum(-1, keepdim=True)


def predict_in_context(
    asked: Prior,
    context: Prior,
    answers: Tensor,
    config: ContextConfig,
    *,
    evidence: Sequence[float] | None = None,
) -> Tensor:
    reading = read_context(context, answers, config, evidence=evidence)
    return torch.softmax(reading.scores(asked), dim=-1)


def naive_kernel(left: Prior, right: Prior, config: ContextConfig) -> np.ndarray:
    """Covariance between all slots, present or not, by two loops."""
    a = left.features.flatten(0, 1).numpy()
    b = right.features.flatten(0, 1).numpy()
    squares = [[float(((x - y) ** 2).sum()) for y in b] for x in a]
    alike = config.strength * np.exp(-np.array(squares) / config.bandwidth)
    directions = left.directions.flatten(0, 1) @ right.directions.flatten(0, 1).T
    return alike + directions.numpy()


def at_mode(prior: Prior, answers: Tensor, config: ContextConfig) -> Tensor:
    """What the scores say once shifted by ``K (answers - prediction)``: the prediction, if it is
    the mode."""
    predicted = predict_in_context(prior, prior, answers, config)
    weights = ((answers - predicted) * prior.present).flatten().numpy()
    shift = torch.from_numpy(naive_kernel(prior, prior, config) @ weights)
    moved = (prior.scores + shift.view_as(prior.scores)).masked_fill(~prior.present, ABSENT)
    return torch.softmax(moved, -1)


# --- the mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(("strength", "bandwidth"), [(0.5, 1.0), (8.0, 1.0), (30.0, 0.2)])
@pytest.mark.parametrize(
    "tolerance",
    [
        1e-3,
        pytest.param(
            1e-7,
        ),
    ],
)
def test_the_prediction_is_stationary(
    strength: float, bandwidth: float, one_hot: bool, tolerance: float
) -> None:
    config = ContextConfig(strength=strength, bandwidth=bandwidth)
    worst = 0.0
    for seed in range(6):
        prior = make_prior(1 + 3 * seed, seed=seed)
        answers = make_answers(prior, seed=seed, one_hot=one_hot)
        predicted = predict_in_context(prior, prior, answers, config)
        worst = max(worst, float((at_mode(prior, answers, config) - predicted).abs().max()))
    assert worst < tolerance


def test_the_mode_is_the_one_a_general_optimiser_finds() -> None:
    config = ContextConfig(strength=4.0, bandwidth=0.7)
    prior, asked = make_prior(4, seed=1), make_prior(3, seed=2)
    answers = make_answers(prior, seed=3)
    exists = prior.present.flatten().numpy()
    covariance = naive_kernel(prior, prior, config)[np.ix_(exists, exists)]
    square_root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance)))

    def loss(whitened: np.ndarray) -> float:
        f = torch.zeros(prior.scores.numel(), dtype=torch.float64)
        f[torch.from_numpy(exists)] = torch.from_numpy(square_root @ whitened)
        log_p = torch.log_softmax(prior.scores + f.view_as(prior.scores), -1)
        return float(-(answers * log_p).sum() + whitened @ whitened / 2)

    found = minimize(loss, np.zeros(len(covariance)), method="BFGS", options={"gtol": 1e-7})
    weights = np.linalg.solve(square_root.T, found.x)
    shift = naive_kernel(asked, prior, config)[:, exists] @ weights
    moved = asked.scores + torch.from_numpy(shift).view_as(asked.scores)
    expected = torch.softmax(moved.masked_fill(~asked.present, ABSENT), -1)
    actual = predict_in_context(asked, prior, answers, config)
    assert (actual - expected).abs().max() < 1e-4


def test_one_binary_question_by_hand() -> None:
    # Opposite features: the kernel is s (1 - r) along the difference of the two options.
    features = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    prior = Prior(
        scores=torch.zeros(1, 2, dtype=torch.float64),
        features=features,
        directions=torch.zeros(1, 2, 0, dtype=torch.float64),
        present=torch.ones(1, 2, dtype=torch.bool),
    )
    config = ContextConfig(strength=2.0, bandwidth=1.0)
    answers = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    low, high = 0.5, 0.9
    for _ in range(200):  # p with logit(p) = 2 s (1 - exp(-4)) (0.9 - p)
        p = (low + high) / 2
        above = np.log(p / (1 - p)) > 4.0 * (1 - np.exp(-4.0)) * (0.9 - p)
        low, high = (low, p) if above else (p, high)
    predicted = predict_in_context(prior, prior, answers, config)
    assert float(predicted[0, 0]) == pytest.approx(low, abs=1e-4)


# --- what a context does ---------------------------------------------------------------------


def test_no_strength_gives_the_prior() -> None:
    asked = make_prior(5, seed=0)
    answers = make_answers(asked, seed=0)
    plain = without_directions(asked)
    deaf = predict_in_context(plain, plain, answers, ContextConfig(strength=0.0))
    assert torch.equal(deaf, asked.probabilities())


def test_a_context_that_says_what_the_prior_says_changes_nothing() -> None:
    prior, asked = make_prior(6, seed=0), make_prior(5, seed=1)
    predicted = predict_in_context(asked, prior, prior.probabilities(), ContextConfig())
    assert torch.allclose(predicted, asked.probabilities(), atol=1e-9)


@pytest.mark.parametrize("one_hot", [False, True])
def test_an_answer_moves_its_own_question_towards_it_and_more_so_with_strength(
    one_hot: bool,
) -> None:
    prior = make_prior(1, seed=4)
    answers = make_answers(prior, seed=5, one_hot=one_hot)
    distances = [float((prior.probabilities() - answers).abs().sum())]
    for strength in (0.1, 1.0, 10.0, 100.0, 1e4):
        predicted = predict_in_context(prior, prior, answers, ContextConfig(strength=strength))
        distances.append(float((predicted - answers).abs().sum()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01


def test_an_answer_speaks_for_similar_options_only() -> None:
    shown = make_prior(1, seed=4, width=40)
    answers = make_answers(shown, seed=5, one_hot=True)
    alike, unlike = make_prior(1, seed=6, width=40), make_prior(1, seed=7, width=40)
    shown, alike, unlike = (without_directions(each) for each in (shown, alike, unlike))
    alike = replace(alike, features=shown.features)
    config = ContextConfig(strength=8.0, bandwidth=0.1)
    chosen = int(answers.argmax())
    gain = predict_in_context(alike, shown, answers, config) - alike.probabilities()
    assert gain[0, chosen] > 0.1
    still = predict_in_context(unlike, shown, answers, config) - unlike.probabilities()
    assert still.abs().max() < 1e-3


def test_the_context_does_not_change_what_it_is_given() -> None:
    asked, prior = make_prior(3, seed=1), make_prior(4, seed=2)
    answers = make_answers(prior, seed=3)
    copies = [t.clone() for t in (asked.scores, prior.scores, answers)]
    predict_in_context(asked, prior, answers, ContextConfig())
    for before, after in zip(copies, (asked.scores, prior.scores, answers), strict=True):
        assert torch.equal(before, after)


# --- what must not matter --------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_the_context_does_not_matter(order: list[int]) -> None:
    asked, prior = make_prior(3, seed=1), make_prior(6, seed=2)
    answers = make_answers(prior, seed=3)
    plain = predict_in_context(asked, prior, answers, ContextConfig())
    shuffled = predict_in_context(asked, prior.at(order), answers[order], ContextConfig())
    assert torch.allclose(plain, shuffled, atol=1e-6)


def test_a_shift_of_all_scores_of_a_question_does_not_matter() -> None:
    asked, prior = make_prior(3, seed=1), make_prior(4, seed=2)
    answers = make_answers(prior, seed=3)
    plain = predict_in_context(asked, prior, answers, ContextConfig())

    def shifted(one: Prior) -> Prior:
        by = torch.arange(len(one.scores), dtype=torch.float64)[:, None] * 7 - 5
        scores = torch.where(one.present, one.scores + by, one.scores)
        return replace(one, scores=scores)

    moved = predict_in_context(shifted(asked), shifted(prior), answers, ContextConfig())
    assert torch.allclose(plain, moved, atol=1e-6)


def test_absent_options_get_nothing_and_say_nothing() -> None:
    asked, prior = make_prior(4, seed=1), make_prior(5, seed=2)
    answers = make_answers(prior, seed=3)
    plain = predict_in_context(asked, prior, answers, ContextConfig())
    assert (plain[~asked.present] == 0).all()

    def junk(one: Prior) -> Prior:
        features = torch.where(one.present[..., None], one.features, torch.full((), 3.0).double())
        directions = torch.where(
            one.present[..., None], one.directions, torch.full((), 9.0).double()
        )
        return replace(one, features=features, directions=directions)

    other = predict_in_context(junk(asked), junk(prior), answers, ContextConfig())
    assert torch.equal(plain, other)


def test_asking_more_questions_does_not_change_the_answer_to_one() -> None:
    asked, prior = make_prior(5, seed=1), make_prior(4, seed=2)
    answers = make_answers(prior, seed=3)
    together = predict_in_context(asked, prior, answers, ContextConfig())
    alone = predict_in_context(asked.at([3]), prior, answers, ContextConfig())
    assert torch.allclose(together[3], alone[0], atol=1e-9)


def test_rows_of_a_prior_are_taken_together() -> None:
    prior = make_prior(5, seed=1)
    some = prior.at([4, 0, 4])
    assert torch.equal(some.scores, prior.scores[[4, 0, 4]])
    assert torch.equal(some.features, prior.features[[4, 0, 4]])
    assert torch.equal(some.present, prior.present[[4, 0, 4]])
    assert len(prior.at([]).scores) == 0


# --- extremes --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    questions=st.integers(1, 12),
    seed=st.integers(0, 1000),
    one_hot=st.booleans(),
    strength=st.sampled_from([1e-6, 0.1, 8.0, 1e3, 1e6]),
    bandwidth=st.sampled_from([1e-3, 0.3, 1.0, 100.0]),
    scale=st.sampled_from([0.0, 1.0, 50.0]),
)
def test_every_setting_gives_distributions(
    questions: int, seed: int, one_hot: bool, strength: float, bandwidth: float, scale: float
) -> None:
    config = ContextConfig(strength=strength, bandwidth=bandwidth)
    prior, asked = make_prior(questions, seed=seed), make_prior(3, seed=seed + 1)
    scores = torch.where(prior.present, prior.scores * scale, prior.scores)
    prior = replace(prior, scores=scores)
    answers = make_answers(prior, seed=seed, one_hot=one_hot)
    for one in (asked, prior):
        predicted = predict_in_context(one, prior, answers, config)
        assert torch.isfinite(predicted).all()
        assert torch.allclose(predicted.sum(-1), torch.ones(len(predicted)).double())
        assert (predicted[~one.present] == 0).all()


def test_contradicting_answers_to_equal_options_settle_in_the_middle() -> None:
    one = make_prior(1, seed=3)
    twice = one.at([0, 0])
    yes = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], dtype=torch.float64)
    predicted = predict_in_context(one, twice, yes, ContextConfig(strength=1e4))
    assert predicted[0, 0] == pytest.approx(0.5, abs=0.02)
    assert predicted[0, 1] == pytest.approx(0.5, abs=0.02)


def test_two_hundred_questions_are_read() -> None:
    config = ContextConfig()
    prior, asked = make_prior(200, seed=1, width=16), make_prior(10, seed=2, width=16)
    answers = make_answers(prior, seed=3)
    predicted = predict_in_context(asked, prior, answers, config)
    assert torch.isfinite(predicted).all()
    own = predict_in_context(prior, prior, answers, config)
    before = (prior.probabilities() - answers).abs().sum()
    assert (own - answers).abs().sum() < 0.7 * before


def test_learned_directions_carry_an_answer_to_unlike_options() -> None:
    # Orthogonal features, one common direction: only the direction can speak.
    shown, asked = (without_directions(make_prior(2, seed=seed)) for seed in (1, 2))
    config = ContextConfig(strength=0.0)
    answers = make_answers(shown, seed=3, one_hot=True)
    assert torch.equal(predict_in_context(asked, shown, answers, config), asked.probabilities())
    along = answers[..., None].repeat(1, 1, 3)
    shown = replace(shown, directions=along)
    first = functional.one_hot(torch.zeros(2, dtype=torch.int64), 4).double()
    asked = replace(asked, directions=first[..., None].repeat(1, 1, 3))
    gain = predict_in_context(asked, shown, answers, config) - asked.probabilities()
    assert (gain[:, 0] > 0.1).all()


def test_one_newton_step_passes_gradients_to_the_directions() -> None:
    asked, prior = make_prior(3, seed=1), make_prior(4, seed=2)
    answers = make_answers(prior, seed=3)
    targets = make_answers(asked, seed=4)

    def loss(directions: Tensor) -> Tensor:
        moved = replace(prior, directions=directions)
        scores = read_context(moved, answers, ContextConfig(), to_the_mode=False).scores(asked)
        return -(targets * torch.log_softmax(scores, -1)).sum()

    directions = prior.directions.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (directions,))


def test_one_newton_step_is_on_the_way_to_the_mode() -> None:
    prior = make_prior(6, seed=1)
    answers = make_answers(prior, seed=2)
    config = ContextConfig(strength=1.0)

    def distance(to_the_mode: bool) -> float:
        scores = read_context(prior, answers, config, to_the_mode=to_the_mode).scores(prior)
        return float((torch.softmax(scores, -1) - answers).abs().sum())

    before = float((prior.probabilities() - answers).abs().sum())
    assert abs(distance(False) - distance(True)) < 0.3 * (before - distance(True))


# --- how much an answer says -----------------------------------------------------------------


def test_less_evidence_for_all_answers_is_a_smaller_deviation() -> None:
    """A quarter of the evidence is a quarter of the variance: the mode depends on their product."""
    prior, asked = make_prior(5, seed=1), make_prior(4, seed=3)
    answers = make_answers(prior, seed=2, one_hot=True)
    quarter = predict_in_context(asked, prior, answers, ContextConfig(), evidence=[0.25] * 5)

    def halved(each: Prior) -> Prior:
        return replace(each, directions=each.directions / 2)

    weaker = ContextConfig(strength=ContextConfig().strength / 4)
    expected = predict_in_context(halved(asked), halved(prior), answers, weaker)
    torch.testing.assert_close(quarter, expected, atol=1e-6, rtol=0)


def test_at_the_mode_every_answer_pulls_by_its_evidence() -> None:
    prior = make_prior(5, seed=1)
    answers = make_answers(prior, seed=2)
    evidence = [1.0, 0.25, 0.5, 1.0, 0.1]
    config = ContextConfig(strength=1.0)
    predicted = predict_in_context(prior, prior, answers, config, evidence=evidence)
    pull = torch.tensor(evidence, dtype=torch.float64)[:, None] * (answers - predicted)
    shift = naive_kernel(prior, prior, config) @ (pull * prior.present).flatten().numpy()
    moved = prior.scores + torch.from_numpy(shift).view_as(prior.scores)
    moved = moved.masked_fill(~prior.present, ABSENT)
    torch.testing.assert_close(torch.softmax(moved, -1), predicted, atol=1e-6, rtol=0)


def test_full_evidence_is_what_none_means() -> None:
    prior, asked = make_prior(5, seed=1), make_prior(4, seed=3)
    answers = make_answers(prior, seed=2)
    for mode in (True, False):
        plain, full = (
            read_context(prior, answers, ContextConfig(), evidence=each, to_the_mode=mode).scores(
                asked
            )
            for each in (None, [1.0] * 5)
        )
        assert torch.equal(plain, full)
