"""Per-unit gradients: one row for each unit of privacy, ready to be clipped.

A unit of privacy must have one bounded row, and that row must depend on the unit alone, to the
last bit: otherwise the neighbours of a unit would carry its trace past the clip. So a micro-batch
has a fixed shape, what is short of it is filled up with rows of weight 0, and whatever is
remembered of a text was computed from that text alone.

Where adapters train, the rows are those of autograd. The head alone has a form of its own
(:mod:`alignment.training.head_gradients`), with the same rows but for roundings.

All trainable modules are linear, which makes the rows cheap: the gradient of a weight with respect
to one unit is the product of what went into the module and of what came back to its output, both
restricted to that unit. One backward pass to the outputs gives the rows of all units (Goodfellow
2015, https://arxiv.org/abs/1510.01799). The passes leave nothing behind on the predictor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.model.encoding import (
    PrefixCache,
    QuestionBatch,
    TokenSequence,
    collate,
    gather,
    pad_targets,
    read_places,
)
from alignment.model.heads import PreferenceHead
from alignment.model.predictor import Predictor
from alignment.model.vector import AdapterLayout
from alignment.training.head_gradients import HeadGradients
from alignment.training.linear_calls import LinearCall, linear_modules, products, recorded
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape, PrivateLayout
from alignment.training.weighting import unit_weights

#: Uniform numbers in [0, 1): takes a count, returns (count,) float64. Production hands over the
#: stream of the operating system, never a seeded generator.
Uniforms: TypeAlias = Callable[[int], NDArray[np.float64]]

#: Records of a unit, and the places of those that count.
_Kept: TypeAlias = tuple[UnitRecords, list[int]]

#: Ends a program, and is about no record.
_STOPPED = (KeyboardInterrupt, SystemExit)

#: A matrix product with one column takes rows together, and the last few in another way, with other
#: roundings: a multiple of so many questions has no such rest.
_HEAD_ROWS = 16
#: In the place of texts that are not there.
_NO_TEXT = TokenSequence(token_ids=(0,), spans=(), lengths=())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class UnitRows:
    """The gradients of one micro-batch, not clipped: they must not leave the process.

    Attributes:
        gradients: (rows, layout.dimension) float32; zero where there is no unit.
        weights: (rows,) float64 in [0, 1]: of a unit, a function of its own records alone; 0 for
            a row that fills up.
    """

    gradients: NDArray[np.float32]
    weights: NDArray[np.float64]


class UnitGradients:
    """Gives one gradient row per unit of privacy; built once and used step after step.

    A row is the gradient of the sum of the losses of the unit's records, over the coordinates of
    the layout, followed by ``metric_scale`` times its metrics. It is a function of the unit and of
    the predictor's weights alone, bit for bit, whatever else is in the micro-batch and wherever
    the unit stands: nothing is shared between rows but the shape. (Measured, not proved: matrix
    products of a fixed shape treat all rows alike in the libraries tested.)

    Where the layout holds no adapter, what the encoder makes of a question is remembered until
    the adapters change.

    Rows are total: a record that does not fit the shape, or that cannot be read for any other
    reason, counts as absent, and a unit without any record has the row 0. That a step succeeds, and
    how long it takes, must not tell whether somebody's record is in the data.

    Args:
        predictor: Whose gradients; its weights are read anew in each step.
        layout: Which coordinates; see :func:`private_layout`.
        shape: Of every micro-batch.
        metric_scale: Factor of the metrics, a public constant; see :func:`metric_scale_for`.
        fairness: q of :func:`alignment.training.weighting.fairness_weight`; 0 weighs all units 1.

    Raises:
        ValueError: The layout is of another predictor, or a module is not linear.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        layout: PrivateLayout,
        shape: MicroBatchShape,
        metric_scale: float,
        fairness: float = 0.0,
    ) -> None:
        if layout.whole != AdapterLayout.of(predictor.trainable()):
            raise ValueError("layout is of another predictor: take it from private_layout()")
        if not layout.names:
            raise ValueError(
                "layout holds no tensor to train: a causal model has no head, let its rounds train "
                "the adapters (federation.warmup_rounds = 0)"
            )
        if not 0 < metric_scale < math.inf:
            raise ValueError(f"metric_scale = {metric_scale} must be > 0: use metric_scale_for()")
        self._predictor = predictor
        self._layout = layout
        self._shape = shape
        self._metric_scale = metric_scale
        self._fairness = fairness
        self._modules = linear_modules(predictor, layout.names)
        sizes = np.cumsum([0, *(math.prod(shape) for shape in layout.private.shapes)]).tolist()
        self._places = {name: slice(*sizes[i : i + 2]) for i, name in enumerate(layout.names)}
        # One text at a time: what is stored of a text does not depend on its neighbours.
        self._cache = PrefixCache(predictor.encoder, batch=1)
        self._head: HeadGradients | None = None
        if isinstance(predictor.head, PreferenceHead) and all(
            name.startswith("head.") for name in layout.names
        ):
            self._head = HeadGradients(
                predictor.head,
                places=self._places,
                shape=shape,
                width=predictor.encoder.pooled_width,
                # Options that stand alone have texts of their own.
                shared=slice(0, 0) if shape.apart else predictor.encoder.shared_columns,
                dimension=layout.dimension,
            )
        self._room: Tensor | None = None
        self._pooled_version = b""
        self._readable: dict[Question, bool] = {}
        self._prepared: dict[int, tuple[Sequence[UnitRecords], bytes, set[int]]] = {}

    def prepare(self, units: Sequence[UnitRecords]) -> None:
        """Compute what is remembered of the questions of all units of a group.

        A step that met a text for the first time would take longer, and its time tell of it.
        """
        self._forget_if_adapters_changed()
        known = self._prepared.get(id(units))
        if known is None or known[:2] != (units, self._pooled_version):
            questions = dict.fromkeys(q for unit in units for q in unit.questions)
            for question in questions:
                self._fits(question)
            blocks = set() if self._head is None else self._head.table.blocks(questions)
            known = self._prepared[id(units)] = (units, self._pooled_version, blocks)
        if self._head is not None:
            self._head.wanted = known[2]

    def left_out(self, units: Iterable[UnitRecords]) -> int:
        """How many records of some units do not fit; for their owner alone."""
        return sum(not self._fits(question) for unit in units for question in unit.questions)

    def rows(
        self,
        units: Sequence[UnitRecords],
        *,
        micro_batches: int,
        uniforms: Uniforms,
        reuse: bool = False,
    ) -> Iterator[UnitRows]:
        """Compute the rows of a sample of units, one micro-batch at a time.

        Args:
            units: The sample; may be empty.
            micro_batches: How many there are, whatever the size of the sample.
            uniforms: Chooses which records of a unit count where they exceed ``shape.records``,
                anew for each call.
            reuse: A micro-batch may lie where the one before it lay: for callers that are done with
                one, and with all of another call, when they ask for the next.

        Returns:
            Exactly ``micro_batches`` of them, each of the same shape, computed on demand: do not
            change the weights in between.

        Raises:
            ValueError: More units than there are rows, or one unit twice: the caller's mistake,
                which no record can bring about.
        """
        room = micro_batches * self._shape.rows
        if micro_batches < 1 or len(units) > room:
            # The size of a sample is private, so the message leaves it out.
            raise ValueError(
                f"the sample exceeds micro_batches * rows = {micro_batches} * {self._shape.rows}: "
                "take micro_batches from the plan and draw at most its batch cap"
            )
        if len({unit.unit for unit in units}) < len(units):
            raise ValueError("a unit is in the sample twice, it would weigh twice: draw it once")
        self._forget_if_adapters_changed()
        if self._head is not None:
            self._head.table.begin()
        size = self._shape.rows
        batch = partial(self._micro_batch, uniforms=uniforms, reuse=reuse)
        return (batch(units[at : at + size]) for at in range(0, room, size))

    def _micro_batch(
        self, units: Sequence[UnitRecords], *, uniforms: Uniforms, reuse: bool
    ) -> UnitRows:
        kept = [(unit, self._kept(unit, uniforms)) for unit in units]
        try:
            return self._rows_of(kept, reuse=reuse)
        except _STOPPED:
            raise
        except BaseException:
            return self._one_by_one(kept)

    def _one_by_one(self, kept: Sequence[_Kept]) -> UnitRows:
        """The same rows, each computed without companions; who makes that fail has the row 0.

        What fails without any unit fails for everybody: that is raised, and tells of no record.
        """
        rows = self._rows_of([])
        for place, each in enumerate(kept):
            try:
                alone = self._rows_of([each])
            except _STOPPED:
                raise
            except BaseException:  # noqa: S112 - whatever it is, it may be about a record
                continue
            rows.gradients[place], rows.weights[place] = alone.gradients[0], alone.weights[0]
        return rows

    def _rows_of(self, kept: Sequence[_Kept], *, reuse: bool = False) -> UnitRows:
        shape = self._shape
        questions: list[Question | None] = [None] * shape.questions
        targets: list[tuple[float, ...]] = [()] * shape.questions
        answers = []
        for row, (unit, places) in enumerate(kept):
            answers.append([unit.targets[record] for record in places])
            for place, record in enumerate(places, start=row * shape.records):
                questions[place], targets[place] = unit.questions[record], unit.targets[record]
        counts = [len(places) for _, places in kept]
        records = torch.tensor(counts + [0] * (shape.rows - len(kept)), dtype=torch.float32)
        padded = pad_targets(targets, shape.options)
        if self._head is None:
            rows = torch.zeros((shape.rows, self._layout.dimension))
            losses, scores = self._backward(questions, padded, rows)
        else:
            rows = self._room if reuse and self._room is not None else self._head.room()
            self._room = rows if reuse else self._room
            losses, scores = self._head.rows(questions, padded, rows)
        means = losses.reshape(shape.rows, -1).sum(dim=1) / records.clamp(min=1)
        self._add_metrics(rows, records, means, scores, padded)
        weights = unit_weights(answers, means.tolist(), strength=self._fairness)
        return UnitRows(gradients=rows.numpy(), weights=weights)

    def _backward(
        self, questions: Sequence[Question | None], targets: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add to the rows by one backward pass to what came out of the modules; losses, scores."""
        with torch.enable_grad(), recorded(self._modules) as calls:
            scores: Tensor = self._predictor(self._gather(questions))[: len(questions)]
            losses = cross_entropy(scores, targets)
            total = losses.sum()
        outputs = [call.outputs for call in calls]
        found = torch.autograd.grad(total, outputs, materialize_grads=True)
        for call, gradient in zip(calls, found, strict=True):
            self._add(rows, call, gradient)
        return losses.detach(), scores.detach()

    def _kept(self, unit: UnitRecords, uniforms: Uniforms) -> list[int]:
        """The records of a unit that count: those that fit, at most ``shape.records`` of them."""
        fitting = [place for place, each in enumerate(unit.questions) if self._fits(each)]
        if len(fitting) <= self._shape.records:
            return fitting
        order = np.argsort(uniforms(len(fitting)), kind="stable")
        return sorted(fitting[place] for place in order[: self._shape.records].tolist())

    def _fits(self, question: Question) -> bool:
        """Whether a question fits the shape and can be read; remembers what was made of it."""
        known = self._readable.get(question)
        if known is None or (known and self._head and question not in self._head.table):
            known = self._readable[question] = self._can_read(question)
        return known

    def _can_read(self, question: Question) -> bool:
        try:
            self._texts(question)
            if self._head is None:
                self._cache.fetch(self._predictor.questions.sequences(question), self._shape.length)
            elif question not in self._head.table:
                self._head.table.add(question, self._pooled_alone(question))
        except _STOPPED:
            raise
        except BaseException:
            return False  # Whatever it is, a tokenizer's panic included: it is about this record.
        return True

    def _texts(self, question: Question) -> tuple[TokenSequence, ...]:
        """The texts of a question, filled up to the number that every question takes."""
        shape = self._shape
        texts = self._predictor.questions.sequences(question)
        needed = {
            "options": len(question.options),
            "length": max(len(text.token_ids) for text in texts),
            "read": max(len(read_places(text)) for text in texts),
        }
        for name, found in needed.items():
            bound = getattr(shape, name)
            if bound is not None and found > bound:
                raise ValueError(f"{name} = {bound} but a question needs {found}")
        if len(texts) > shape.texts_per_question:
            raise ValueError("apart = False but a question has its options in texts of their own")
        return texts + (_NO_TEXT,) * (shape.texts_per_question - len(texts))

    def _gather(self, questions: Sequence[Question | None]) -> QuestionBatch:
        """Like :func:`alignment.model.encoding.collate`, but of the fixed shape."""
        shape = self._shape
        nothing = (_NO_TEXT,) * shape.texts_per_question
        texts = [nothing if q is None else self._texts(q) for q in questions]
        batch = gather(
            [*texts, (_NO_TEXT,)],
            self._cache,
            length=shape.length,
            width=shape.options,
            options=shape.options,
            read=shape.read,
        )
        # The short text at the end is no question; what the head reads is filled up with it.
        count = shape.questions
        places = torch.arange(count + -count % _HEAD_ROWS).clamp(max=count)
        return replace(batch, slots=batch.slots[places], present=batch.present[places])

    def _add(self, rows: Tensor, call: LinearCall, gradient: Tensor) -> None:
        """Add what one use of a module contributes to the row of each unit."""
        shape, found = self._shape, call.inputs.shape[0]
        # What comes behind is no unit's: the short text, and what fills up the head's questions.
        read, own = shape.texts, slice(shape.texts - 1)
        if call.name.startswith("head."):
            read, own = shape.questions + -shape.questions % _HEAD_ROWS, slice(shape.questions)
        if found != read:
            raise ValueError(
                f"{call.name} reads {found} texts of {read}: the encoder mixes texts, use one that "
                "keeps them apart"
            )
        back = gradient[own].reshape(shape.rows, -1, gradient.shape[-1])
        inputs = call.inputs[own].reshape(shape.rows, -1, call.inputs.shape[-1])
        weight, bias = f"{call.name}.weight", f"{call.name}.bias"
        if weight in self._places:
            rows[:, self._places[weight]] += products(back, inputs).flatten(1)
        if bias in self._places:
            rows[:, self._places[bias]] += back.sum(dim=1)

    def _add_metrics(
        self, rows: Tensor, records: Tensor, losses: Tensor, scores: Tensor, targets: Tensor
    ) -> None:
        """Write the metrics of each unit behind its gradient: means over its records."""
        values = {"units": (records > 0).to(torch.float32), "loss": losses}
        if "correct" in self._layout.metrics:
            # A row without a unit has the loss 0, but not the hit that argmax of nothing gives.
            hits = (scores.argmax(dim=-1) == targets.argmax(dim=-1)) & (targets.sum(dim=-1) > 0)
            counted = hits.reshape(self._shape.rows, -1).sum(dim=1)
            values["correct"] = counted / records.clamp(min=1)
        for place, name in enumerate(self._layout.metrics, start=self._layout.private.dimension):
            rows[:, place] = self._metric_scale * values[name]

    @torch.no_grad()
    def _pooled_alone(self, question: Question) -> Tensor:
        """Pooled activations of a question's options: (options, width)."""
        batch = collate(
            [question], self._predictor.questions, self._cache, length=self._shape.length
        )
        return self._predictor.pooled(batch)[0]

    def _forget_if_adapters_changed(self) -> None:
        if self._head is None:
            return
        version = self._predictor.adapter_version()
        if version != self._pooled_version:
            self._head.table.clear()
            self._prepared.clear()
            self._head.wanted, self._pooled_version = set(), version
