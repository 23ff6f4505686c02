"""Group Preference Optimization: a transformer that reads a group's answers and predicts others.

Zhao, Dang and Grover, 2023, https://arxiv.org/abs/2310.11523: a transformer neural process (TNP-D,
Nguyen and Grover, 2022) whose points are options. A point is the embedding of question and option
with the share that the group gave to it; context points are known, target points are asked for.
It is what PluralLLM (https://arxiv.org/abs/2503.09925) trains by federated averaging.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of the network; the defaults are those that both papers' code ships with.

    Attributes:
        width: Of a point inside the network.
        embedding_layers: Linear layers that bring a point to that width.
        layers: Transformer layers.
        heads: Of every attention.
        feedforward: Hidden width of every feed-forward part, and of the output.
    """

    width: int = 128
    embedding_layers: int = 4
    layers: int = 6
    heads: int = 4
    feedforward: int = 128


@dataclass(frozen=True, kw_only=True)
class Points:
    """The options of some questions, one after the other.

    Attributes:
        inputs: (points, d) float32, embeddings of question and option.
        shares: (points,) float32, what the group answered.
        counts: Of each question, its number of options.
    """

    inputs: Tensor
    shares: Tensor
    counts: tuple[int, ...]

    @classmethod
    def gather(cls, inputs: Sequence[Tensor], shares: Sequence[Sequence[float]]) -> Points:
        """Put questions together: of each, its options' embeddings (options, d) and shares.

        Raises:
            ValueError: There is no question.
        """
        if not inputs:
            raise ValueError("no question to gather: give at least one")
        flat = [share for each in shares for share in each]
        return cls(
            inputs=torch.cat(list(inputs)),
            shares=torch.tensor(flat, dtype=torch.float32),
            counts=tuple(len(each) for each in inputs),
        )

    @classmethod
    def none(cls, width: int) -> Points:
        """No points of so wide inputs: an empty context."""
        return cls(inputs=torch.zeros((0, width)), shares=torch.zeros(0), counts=())


def _linear_stack(inputs: int, width: int, layers: int) -> nn.Sequential:
    stack: list[nn.Module] = [nn.Linear(inputs, width)]
    for _ in range(layers - 1):
        stack += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*stack)


class _Layer(nn.Module):
    """One layer: every point looks at the context, and at nothing else but itself.

    Itself it sees by the residual only, as in the published code. Points attended to are the first
    ones, so that no mask of all against all is ever built.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(shape.width, shape.heads, batch_first=True)
        self.inner = nn.Linear(shape.width, shape.feedforward)
        self.outer = nn.Linear(shape.feedforward, shape.width)
        self.first = nn.LayerNorm(shape.width)
        self.second = nn.LayerNorm(shape.width)

    def forward(self, points: Tensor, context: int, absent: Tensor | None) -> Tensor:
        """(groups, points, width) to the same; the first ``context`` points are looked at.

        ``absent`` (groups, context) bool says which of them are padding; None: none is.
        """
        if context:
            shown = points[:, :context]
            seen, _ = self.attention(
                points, shown, shown, key_padding_mask=absent, need_weights=False
            )
            points = points + seen
        points = self.first(points)
        points = points + self.outer(torch.relu(self.inner(points)))
        normed: Tensor = self.second(points)
        return normed


def softmax_within(scores: Tensor, counts: Sequence[int]) -> Tensor:
    """Turn scores into distributions, question by question.

    Args:
        scores: (points,) float32.
        counts: Of each question, how many of the points are its options, in order.

    Returns:
        (points,) float32; over the options of each question the sum is 1.
    """
    sizes = torch.tensor(counts)
    question = torch.repeat_interleave(torch.arange(len(counts)), sizes)
    highest = torch.full((len(counts),), -torch.inf).scatter_reduce(
        0, question, scores.detach(), "amax"
    )
    weights = (scores - highest[question]).exp()
    totals = torch.zeros(len(counts)).index_add(0, question, weights)
    return weights / totals[question]


class GroupPreferenceOptimization(nn.Module):
    """The network.

    Args:
        inputs: Width of an embedding.
        shape: Of the network.
        seed: Draws the first weights.
    """

    def __init__(self, inputs: int, shape: Shape | None = None, *, seed: int = 0) -> None:
        super().__init__()
        shape = shape or Shape()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = _linear_stack(inputs + 1, shape.width, shape.embedding_layers)
            self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
            self.output = nn.Sequential(
                nn.Linear(shape.width, shape.feedforward),
                nn.ReLU(),
                nn.Linear(shape.feedforward, 2),
            )

    def forward(
        self, context: Sequence[Points], targets: Sequence[Points]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Predict the shares of target points, of several groups at once.

        Targets do not see each other, nor the shares they hold.

        Args:
            context: Of every group, what it is known to have answered; empty for all or for none.
            targets: Of every group, what is asked.

        Returns:
            Of every group, the predicted shares (points,) float32, which sum to 1 within each
            question, and the logarithm of their standard deviation, (points,) float32.
        """
        known = pad_sequence(
            [torch.cat([p.inputs, p.shares[:, None]], dim=1) for p in context], batch_first=True
        )
        asked = pad_sequence(
            [torch.cat([p.inputs, torch.zeros(len(p.inputs), 1)], dim=1) for p in targets],
            batch_first=True,
        )
        sizes = torch.tensor([len(p.inputs) for p in context])
        shown = known.shape[1]
        padding = torch.arange(shown) >= sizes[:, None]
        absent = padding if bool(padding.any()) else None
        points: Tensor = self.embed(torch.cat([known, asked], dim=1))
        for layer in self.layers:
            points = layer(points, shown, absent)
        both: Tensor = self.output(points[:, shown:])
        rows = [row[: len(p.inputs)] for row, p in zip(both, targets, strict=True)]
        shares = [softmax_within(row[:, 0], p.counts) for row, p in zip(rows, targets, strict=True)]
        return shares, [row[:, 1] for row in rows]

    def loss(self, context: Sequence[Points], targets: Sequence[Points]) -> Tensor:
        """Negative Gaussian log-likelihood: summed over a group's points, mean over groups."""
        shares, log_stds = self.forward(context, targets)
        total = torch.zeros(())
        for mean, log_std, points in zip(shares, log_stds, targets, strict=True):
            distance = (points.shares - mean) * torch.exp(-log_std)
            total = total + (0.5 * distance.square() + log_std + _LOG_SQRT_TWO_PI).sum()
        return total / len(targets)

    @torch.no_grad()
    def predict(self, context: Points, targets: Points) -> list[list[float]]:
        """Distributions over the options of each target question of one group."""
        (shares,), _ = self.forward([context], [targets])
        return [part.tolist() for part in torch.split(shares, list(targets.counts))]

    @property
    def size(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
