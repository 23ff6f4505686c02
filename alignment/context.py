"""Reading a group's context: its own answers correct the common prior, without any training.

A group's deviation from the prior is a Gaussian process over options: ``scores = prior + f``,
``f ~ GP(0, strength * k)``, with a kernel over the features that the head computes of an option, so
that an answer speaks for the options like it. Given the group's answered questions, the most
probable ``f`` follows by Newton's method (Rasmussen and Williams 2006, algorithm 3.3, whose
multinomial likelihood takes a whole distribution as well as a single choice).

Everything here happens where the group's answers are. What it learns from them dies with the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from alignment.config import ContextConfig

_NEWTON_STEPS = 30
_TOLERANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the predictor says of questions before it knows anything of a group.

    Attributes:
        scores: (questions, K) float64, hugely negative where there is no option.
        features: (questions, K, width) float64 on the unit sphere.
        present: (questions, K) bool.
    """

    scores: Tensor
    features: Tensor
    present: Tensor

    def at(self, rows: Sequence[int]) -> Prior:
        """Some of the questions."""
        index = torch.tensor(list(rows), dtype=torch.int64)
        return Prior(
            scores=self.scores[index], features=self.features[index], present=self.present[index]
        )

    def probabilities(self) -> Tensor:
        """Prior distribution over options, (questions, K) float64."""
        return torch.softmax(self.scores, dim=-1)


def _kernel(left: Prior, right: Prior, config: ContextConfig) -> Tensor:
    """Covariance of the deviations at every pair of options that exist."""
    a, b = left.features[left.present], right.features[right.present]
    distance = torch.cdist(a, b).square()
    return config.strength * torch.exp(-distance / config.bandwidth)


def _deviation_weights(prior: Prior, targets: Tensor, covariance: Tensor) -> Tensor:
    """Solve for ``a`` with ``f = covariance @ a``: ``a`` is target minus prediction at the mode."""
    present = prior.present
    base, target = prior.scores[present], targets[present].to(torch.float64)
    rows = torch.arange(present.shape[0])[:, None].expand_as(present)[present]
    same = rows[:, None] == rows[None, :]

    def log_probabilities(f: Tensor) -> Tensor:
        scores = torch.full(present.shape, -torch.inf, dtype=torch.float64)
        scores[present] = base + f
        return torch.log_softmax(scores, dim=-1)[present]

    def objective(a: Tensor) -> float:
        f = covariance @ a
        return float(target @ log_probabilities(f) - (a @ f) / 2)

    identity = torch.eye(len(base), dtype=torch.float64)
    weights = torch.zeros_like(base)
    value = objective(weights)
    for _ in range(_NEWTON_STEPS):
        f = covariance @ weights
        p = log_probabilities(f).exp()
        curvature = torch.diag(p) - torch.where(same, p[:, None] * p[None, :], 0.0)
        step = (
            torch.linalg.solve(identity + curvature @ covariance, curvature @ f + target - p)
            - weights
        )
        scale = 1.0
        while (proposed := objective(weights + scale * step)) < value and scale > 1e-4:
            scale /= 2
        if proposed < value:
            break
        # The last step improves the weights far more than the objective: it is taken as well.
        weights, gain, value = weights + scale * step, proposed - value, proposed
        if gain <= _TOLERANCE:
            break
    return weights


def predict_in_context(
    asked: Prior, context: Prior, answers: Tensor, config: ContextConfig
) -> Tensor:
    """Predict how a group answers, given some of its answers.

    Args:
        asked: Prior of the questions to predict.
        context: Prior of the questions the group has answered.
        answers: (context questions, K) their answers, rows sum to 1.
        config: How strongly the context speaks.

    Returns:
        Distributions, (asked questions, K) float64, zero where there is no option.
    """
    if len(answers) == 0 or config.strength == 0:
        return asked.probabilities()
    weights = _deviation_weights(context, answers, _kernel(context, context, config))
    scores = asked.scores.clone()
    scores[asked.present] += _kernel(asked, context, config) @ weights
    return torch.softmax(scores, dim=-1)


def unit_features(features: Tensor) -> Tensor:
    """Features as the kernel reads them: float64, on the unit sphere."""
    return functional.normalize(features.to(torch.float64), dim=-1)
