"""What scores an option: heads on what an encoder makes of it, trained by the federation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from alignment.model.context import ABSENT, Prior

_DIRECTION_STD = 0.01


class Dropout:
    """Zeroes a share of numbers and scales the others up (Srivastava et al. 2014).

    Args:
        share: In [0, 1).
        generator: Draws them: torch's own would be shared by all groups of a process.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self._kept = 1.0 - share
        self._generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        """Drop some of them, anew for each call; float32 of any shape."""
        if self._kept == 1.0:
            return values
        kept = torch.full_like(values, self._kept).bernoulli(generator=self._generator)
        return values * kept / self._kept


class PreferenceHead(nn.Module):
    """Scores an option from its own tokens and the whole question.

    Args:
        size: Width of a pooled option.
        width: Hidden width of the head.
        context_rank: Directions in which groups may differ.

    Attributes:
        reads_context: A group's own answers can correct its scores.
    """

    reads_context = True

    def __init__(self, size: int, width: int, context_rank: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, width)
        self.score = nn.Linear(width, 1)
        self.directions = _directions(size, context_rank)

    def features(self, pooled: Tensor) -> Tensor:
        """Features of options: (..., size) float32 to (..., width) float32."""
        return functional.gelu(self.inner(pooled))

    def forward(self, pooled: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Score options: (..., size) float32 to (...) float32."""
        features = self.features(pooled)
        scores: Tensor = self.score(features if dropout is None else dropout(features))
        return scores.squeeze(-1)

    def with_slopes(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features and scores of options, and between them the slopes of the scores.

        Args:
            pooled: (options, size) float32.

        Returns:
            Features (options, width), derivatives of the scores by what ``inner`` gives (options,
            width), and scores (options,), float32 each and without gradients.
        """
        with torch.no_grad():
            inner = self.inner(pooled)
        with torch.enable_grad():
            features = functional.gelu(inner.requires_grad_())
            (slopes,) = torch.autograd.grad(features.sum(), inner)
        features = features.detach()
        with torch.no_grad():
            return features, slopes * self.score.weight, self.score(features).squeeze(-1)

    def prior(self, pooled: Tensor, present: Tensor) -> Prior:
        """The prior of pooled options, in their precision; gradients reach the directions only.

        So the loss in context cannot wear down the prior, which must stand without any context.
        """
        with torch.no_grad():
            features = self.features(pooled)
            scores: Tensor = self.score(features).squeeze(-1).masked_fill(~present, ABSENT)
        return _prior(scores, features, self.directions(pooled.detach()), present)


class RewardHead(nn.Module):
    """Scores an option by one linear layer: the last one of a reward model of other libraries.

    It begins without an opinion. What the encoder sees in an option also tells which options are
    alike, so that a group's own answers correct its scores.

    Args:
        size: Width of a pooled option.
        context_rank: Directions in which groups may differ.
    """

    reads_context = True

    def __init__(self, size: int, context_rank: int) -> None:
        super().__init__()
        self.score = nn.Linear(size, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        self.directions = _directions(size, context_rank)

    def forward(self, pooled: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Score options: (..., size) float32 to (...) float32."""
        scores: Tensor = self.score(pooled if dropout is None else dropout(pooled))
        return scores.squeeze(-1)

    def prior(self, pooled: Tensor, present: Tensor) -> Prior:
        """As :meth:`PreferenceHead.prior`."""
        with torch.no_grad():
            scores = self(pooled).masked_fill(~present, ABSENT)
            alike = functional.layer_norm(pooled, pooled.shape[-1:])
        return _prior(scores, alike, self.directions(alike), present)


def _directions(size: int, rank: int) -> nn.Linear:
    made = nn.Linear(size, rank, bias=False)
    # Untrained, they are a weak linear kernel on what the encoder sees in an option.
    nn.init.normal_(made.weight, std=_DIRECTION_STD)
    return made


def _prior(scores: Tensor, features: Tensor, directions: Tensor, present: Tensor) -> Prior:
    return Prior(
        scores=scores,
        features=functional.normalize(features, dim=-1),
        directions=directions,
        present=present,
    )
