"""The training loss: one cross-entropy for the three kinds of records.

Scores of a question's options become probabilities by a softmax. Against a survey distribution the
cross-entropy is the Kullback-Leibler divergence up to a constant; against a choice it is the
multinomial log-loss; and for a pair, whose two responses are scored apart, it is the
Bradley-Terry likelihood ``log sigmoid(score_chosen - score_rejected)`` (Bradley and Terry 1952).
Where the score is the implicit reward of a causal model (:mod:`alignment.model.encoders.causal`),
it is the loss of direct preference optimisation (Rafailov et al. 2023, equation 7), and with more
than two options its Plackett-Luce form for the first place.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each question, in nats.

    Args:
        scores: (questions, K) float32; ``ABSENT`` where there is no option.
        targets: (questions, K) float32, rows sum to 1, zero where there is no option.

    Returns:
        (questions,) float32.
    """
    return -(targets * torch.log_softmax(scores, dim=-1)).sum(dim=-1)
