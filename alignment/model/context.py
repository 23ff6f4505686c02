"""Reading a group's context: its own answers correct the common prior, without any training.

A group's deviation from the prior is a Gaussian process over options: ``scores = prior + f``,
``f ~ GP(0, strength * k + d d')``. The kernel ``k`` compares what the head sees in two options, so
that an answer speaks for the options like it; ``d`` are the directions in which groups differ, as
the federation has learned them (none, and the second term vanishes). Given the group's answered
questions, the most probable ``f`` follows by Newton's method (Rasmussen and Williams 2006,
algorithm 3.3, whose multinomial likelihood takes a distribution as well as a single choice).

Everything here happens where the group's answers are, and nothing of them outlives the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignment.config import ContextConfig

#: The score where a slot holds no option. It stands for minus infinity, and is finite so that
#: gradients stay finite.
ABSENT = -1e9
_NEWTON_STEPS = 30
_TOLERANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Scores of questions before anything is known of a group, and what a context corrects them by.

    Tensors are float64 where a prediction is made and float32 where one is trained.

    Attributes:
        scores: (questions, K), ``ABSENT`` where there is no option.
        features: (questions, K, width), on the unit sphere; of width 0 where there is nothing by
            which an answer could speak for others.
        directions: (questions, K, context rank).
        present: (questions, K) bool.
    """

    scores: Tensor
    features: Tensor
    directions: Tensor
    present: Tensor

    def at(self, rows: Sequence[int]) -> Prior:
        """Some of the questions."""
        index = torch.tensor(list(rows), dtype=torch.int64)
        return Prior(
            scores=self.scores[index],
            features=self.features[index],
            directions=self.directions[index],
            present=self.present[index],
        )

    def probabilities(self) -> Tensor:
        """Prior distribution over options, (questions, K) float64."""
        return torch.softmax(self.scores, dim=-1)


def _kernel(left: Prior, right: Prior, config: ContextConfig) -> Tensor:
    """Covariance of the deviations at every pair of options that exist."""
    a, b = left.features[left.present], right.features[right.present]
    alike = config.strength * torch.exp(-torch.cdist(a, b).square() / config.bandwidth)
    return alike + left.directions[left.present] @ right.directions[right.present].T


def _log_probabilities(prior: Prior, deviations: Tensor) -> Tensor:
    """Log probabilities of the options that exist, flat, given their deviations, flat."""
    scores = torch.full_like(prior.scores, -torch.inf)
    scores[prior.present] = prior.scores[prior.present] + deviations
    return torch.log_softmax(scores, dim=-1)[prior.present]


def _newton_step(
    prior: Prior, target: Tensor, evidence: Tensor, covariance: Tensor, weights: Tensor
) -> Tensor:
    """The weights after one full Newton step; differentiable.

    The deviations are ``covariance @ weights``; at the mode, the weights are evidence times target
    minus prediction.
    """
    deviations = covariance @ weights
    p = _log_probabilities(prior, deviations).exp()
    rows = torch.arange(len(prior.present))[:, None].expand_as(prior.present)[prior.present]
    same = rows[:, None] == rows[None, :]
    curvature = torch.diag(p) - torch.where(same, p[:, None] * p[None, :], 0.0)
    curvature = evidence[:, None] * curvature
    identity = torch.eye(len(p), dtype=p.dtype)
    step: Tensor = torch.linalg.solve(
        identity + curvature @ covariance, curvature @ deviations + evidence * (target - p)
    )
    return step


def _mode(prior: Prior, target: Tensor, evidence: Tensor, covariance: Tensor) -> Tensor:
    """The weights at the mode, by Newton steps that are halved until they improve."""

    def objective(weights: Tensor) -> float:
        deviations = covariance @ weights
        likelihood = (evidence * target) @ _log_probabilities(prior, deviations)
        return float(likelihood - (weights @ deviations) / 2)

    weights = torch.zeros_like(target)
    value = objective(weights)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(prior, target, evidence, covariance, weights) - weights
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A group's context, read once, and the scores of any options that follow from it.

    Attributes:
        context: Prior of the questions the group has answered.
        weights: (options of the context,), flat: evidence times answer minus prediction.
        config: How strongly the context speaks.
    """

    context: Prior
    weights: Tensor
    config: ContextConfig

    def scores(self, asked: Prior) -> Tensor:
        """Score options as the group would, (asked questions, K), in the precision of the prior.

        No option knows of another one here: a question may have a single option, and its score is
        the same in any company.
        """
        scores = asked.scores.clone()
        scores[asked.present] += _kernel(asked, self.context, self.config) @ self.weights
        return scores


def read_context(
    context: Prior,
    answers: Tensor,
    config: ContextConfig,
    *,
    evidence: Sequence[float] | None = None,
    to_the_mode: bool = True,
) -> Reading:
    """Read what a group has answered.

    Args:
        context: Prior of the questions the group has answered, at least one.
        answers: (context questions, K) their answers, rows sum to 1.
        config: How strongly the context speaks.
        evidence: How much each answer says, :meth:`GroupAnswers.evidence`; None means 1 each.
        to_the_mode: False takes a single Newton step, which gradients can pass.
    """
    covariance = _kernel(context, context, config)
    target = answers[context.present].to(covariance.dtype)
    said = torch.ones(len(answers)) if evidence is None else torch.tensor(list(evidence))
    each = said[:, None].expand_as(context.present)[context.present].to(target.dtype)
    if to_the_mode:
        weights = _mode(context, target, each, covariance)
    else:
        weights = _newton_step(context, target, each, covariance, torch.zeros_like(target))
    return Reading(context=context, weights=weights, config=config)
