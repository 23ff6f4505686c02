"""Per-unit gradients of the head alone, on a frozen encoder: in closed form.

A record's gradient is a sum over its options of one number, the probability less the target, times
the derivative of the option's score. Of these only the number is the unit's own. The rest is a
function of the option and of the weights, so it is computed once for every option that a group has
met, and a unit's row is a product of two matrices, without autograd.

Everything is computed in blocks of one shape: what is remembered of an option depends on the option
alone, to the last bit, and how long a block takes tells nothing of what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alignment.data.records import Question
from alignment.model.context import ABSENT
from alignment.model.heads import PreferenceHead
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape

#: Options that go through the head together.
BLOCK = 256
#: Options of units that are gathered for one product: as many as the second-level cache holds.
_GATHERED = 256
#: Floats that vector units load at once: all rows begin at a multiple of them.
_ALIGNED = 16


class HeadTable:
    """What is known of the options of questions: one row for each, in the order of their coming.

    Row 0 is that of an option that is not there: all zeros.

    Args:
        head: Whose; its weights are looked at by :meth:`begin`.
        width: Of a pooled option.
        options: Most options of a question.

    Attributes:
        features: (rows, width) float32, pooled options.
        hidden: (rows, head width) float32, what the head makes of them.
        slopes: (rows, head width) float32, derivative of the score by the hidden layer's input.
        scores: (rows,) float32.
    """

    def __init__(self, head: PreferenceHead, *, width: int, options: int) -> None:
        self._head = head
        self._options = options
        self.features = torch.zeros((BLOCK, width))
        self._make_room_for_outputs()
        self._weights: list[Tensor] = []
        self.clear()

    def __contains__(self, question: Question) -> bool:
        return question in self._places

    def clear(self) -> None:
        """Forget all questions."""
        self._places: dict[Question, NDArray[np.int64]] = {}
        self._size = 1
        self._fresh: set[int] = set()

    def add(self, question: Question, pooled: Tensor) -> None:
        """Remember a question that is not there yet.

        Args:
            question: Has at most ``options`` options.
            pooled: Of its options, (options of the question, width) float32.
        """
        start, end = self._size, self._size + len(pooled)
        if end > len(self.features):
            room = max(end, len(self.features) * 3 // 2)
            features = torch.zeros((-(-room // BLOCK) * BLOCK, self.features.shape[1]))
            features[:start] = self.features[:start]
            self.features = features
            self._make_room_for_outputs()
        self.features[start:end] = pooled
        places = np.zeros(self._options, dtype=np.int64)
        places[: len(pooled)] = np.arange(start, end)
        self._places[question], self._size = places, end
        self._fresh -= blocks_of(places)

    def places(self, question: Question) -> NDArray[np.int64]:
        """The rows of a question's options, (options,) int64; 0 where there is none."""
        return self._places[question]

    def blocks(self, questions: Iterable[Question]) -> set[int]:
        """The blocks in which questions lie; those that are not there lie in none."""
        known = (self._places.get(question) for question in questions)
        return set().union(*(blocks_of(places) for places in known if places is not None))

    def begin(self) -> None:
        """Look at the weights: what was computed under others is out of date."""
        weights = [*self._head.inner.parameters(), *self._head.score.parameters()]
        if not self._weights or not all(map(torch.equal, weights, self._weights)):
            self._weights = [each.detach().clone() for each in weights]
            self._fresh = set()

    def refresh(self, blocks: Iterable[int]) -> None:
        """Compute blocks that are out of date, each as a whole."""
        for block in sorted(set(blocks) - self._fresh):
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            self.hidden[rows], self.slopes[rows], self.scores[rows] = self._head.with_slopes(
                self.features[rows]
            )
            self._fresh.add(block)
            # No option has no part in anything, whatever the weights are.
            self.hidden[0], self.slopes[0], self.scores[0] = 0, 0, 0

    def _make_room_for_outputs(self) -> None:
        rows, width = len(self.features), self._head.inner.out_features
        self.hidden, self.slopes = torch.zeros((rows, width)), torch.zeros((rows, width))
        self.scores = torch.zeros(rows)
        self._fresh = set()


def blocks_of(places: NDArray[np.int64]) -> set[int]:
    """The blocks of a table in which options lie."""
    return set(np.flatnonzero(np.bincount(places[places > 0] // BLOCK)).tolist())


class HeadGradients:
    """The rows of micro-batches of one shape, of the tensors of a head.

    Args:
        head: Whose gradients.
        places: Where each tensor lies in a row, by its name in the predictor.
        shape: Of every micro-batch.
        width: Of a pooled option.
        shared: Columns in which all options of a question are alike; may be empty.
        dimension: Coordinates of a row.

    Attributes:
        table: What is remembered of options.
        wanted: Blocks of the table that every micro-batch needs computed, whoever is in it.
    """

    def __init__(
        self,
        head: PreferenceHead,
        *,
        places: dict[str, slice],
        shape: MicroBatchShape,
        width: int,
        shared: slice,
        dimension: int,
    ) -> None:
        self._places, self._shape, self._dimension = places, shape, dimension
        self._inner_shape = head.inner.weight.shape
        self.table = HeadTable(head, width=width, options=shape.options)
        self.wanted: set[int] = set()
        self._shared = shared
        apart = (slice(shared.start), slice(shared.stop, width))
        self._apart = [columns for columns in apart if range(width)[columns]]
        # Memory that is asked for anew costs more than what is computed in it.
        of_unit = shape.records * shape.options
        self._at_once = min(shape.rows, max(1, _GATHERED // of_unit))
        self._gathered = torch.empty((self._at_once * of_unit, width))

    def room(self) -> Tensor:
        """Room for the rows of a micro-batch, (rows, dimension) float32, not filled."""
        stride = -(-self._dimension // _ALIGNED) * _ALIGNED
        return torch.empty((self._shape.rows, stride))[:, : self._dimension]

    @torch.no_grad()
    def rows(
        self, questions: Sequence[Question | None], targets: Tensor, room: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute one micro-batch.

        Args:
            questions: Of all records in turn, as many as the shape has; all must be in the table.
            targets: (questions, options) float32; zero where there is no question or option.
            room: Takes the gradients; see :meth:`room`.

        Returns:
            Losses (questions,); scores (questions, options), ``ABSENT`` where there is no option.
        """
        shape, table = self._shape, self.table
        found = np.zeros((shape.questions, shape.options), dtype=np.int64)
        for place, question in enumerate(questions):
            if question is not None:
                found[place] = table.places(question)
        table.refresh(self.wanted | blocks_of(found))
        options = torch.from_numpy(found)
        scores = table.scores[options].masked_fill(options == 0, ABSENT)
        losses = cross_entropy(scores, targets)
        # The derivative of the loss by the scores, (rows, 1, options of a unit).
        back = torch.softmax(scores, dim=-1) * targets.sum(dim=-1, keepdim=True) - targets
        own = back.reshape(shape.rows, 1, -1)
        self._products(options.reshape(shape.rows, -1), own, room)
        return losses, scores

    def _products(self, options: Tensor, back: Tensor, room: Tensor) -> None:
        """The derivatives by all tensors, side by side."""
        table, shape = self.table, self._shape
        every = options.flatten()
        size = (shape.rows, options.shape[1], -1)
        hidden = table.hidden.index_select(0, every).reshape(size)
        through = table.slopes.index_select(0, every).reshape(size) * back.transpose(1, 2)
        found = {
            "head.inner.bias": through.sum(dim=1),
            "head.score.weight": torch.bmm(back, hidden)[:, 0],
            "head.score.bias": back.sum(dim=2),
        }
        for name, place in self._places.items():
            if name == "head.inner.weight":
                inner = room[:, place].unflatten(1, self._inner_shape)
                self._inner_products(options, through.transpose(1, 2), inner)
            else:
                room[:, place] = found.get(name, 0)

    def _inner_products(self, options: Tensor, through: Tensor, out: Tensor) -> None:
        """Products of what came back (rows, width, n) with features, a few units at a time.

        Where options are alike, a question stands for all of them: a sixteenth of the work.
        """
        for start in range(0, len(options), self._at_once):
            part = options[start : start + self._at_once]
            features = self._gathered[: part.numel()]
            torch.index_select(self.table.features, 0, part.flatten(), out=features)
            features = features.reshape(*part.shape, -1)
            own = slice(start, start + len(part))
            for columns in self._apart:
                torch.bmm(through[own], features[..., columns], out=out[own, :, columns])
        if self._shared.stop > self._shared.start:
            first = options.reshape(len(options), self._shape.records, -1)[..., 0]
            alike = self.table.features[:, self._shared].index_select(0, first.flatten())
            whole = through.reshape(*through.shape[:2], self._shape.records, -1).sum(dim=-1)
            torch.bmm(whole, alike.reshape(*first.shape, -1), out=out[..., self._shared])
