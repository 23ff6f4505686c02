"""A test, on the machine and the shapes of a run, that rows of gradients know no companions.

A unit's row must depend on the unit alone, to the last bit. Libraries promise no such thing: a
matrix product may take another path for another batch, another place in it, or another chip. On the
processor in float32 it is tested with every change; elsewhere it is measured before a record is
read, on made-up texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.model.predictor import Predictor
from alignment.model.vector import load_vector, to_vector
from alignment.training.gradients import UnitGradients
from alignment.training.private_layout import MicroBatchShape

_WORDS = ("what", "the", "town", "should", "do", "about", "its", "harbour", "next", "year")
#: Of the weights that stand in while the test runs; public, as those of any model.
_WEIGHT_STD = 0.02


class CompanionsShow(ValueError):
    """Rows of gradients depend on what stands beside them."""


def require_independent_rows(
    gradients: UnitGradients, predictor: Predictor, shape: MicroBatchShape
) -> None:
    """Refuse to compute rows that would carry a trace of other units past the clip.

    Weights are made up for it and put back: adapters and rewards begin at nothing, and of nothing
    all rows are alike.

    Args:
        gradients: As the run will use it.
        predictor: Whose gradients.
        shape: Of its micro-batches.

    Raises:
        CompanionsShow: A row differs in some bit by its companions or its place, or is none, so
            that nothing was tested.
    """
    before = to_vector(predictor)
    made_up = np.random.default_rng(0).normal(0, _WEIGHT_STD, before.shape)
    load_vector(predictor, made_up.astype(np.float32))
    try:
        _compare(gradients, shape)
    finally:
        load_vector(predictor, before)


def _compare(gradients: UnitGradients, shape: MicroBatchShape) -> None:
    probe, *others = [_unit(place, shape) for place in range(shape.rows)]
    alone = _row(gradients, [probe], place=0)
    beside = {
        "its companions": _row(gradients, [probe, *others], place=0),
        "its place": _row(gradients, [*others, probe], place=len(others)),
    }
    if not np.any(alone):
        raise CompanionsShow("made-up texts have no gradient here: nothing could be tested")
    for what, row in beside.items():
        if row.tobytes() != alone.tobytes():
            raise CompanionsShow(
                f"the gradient of a unit depends on {what} in some bit on this machine: compute "
                "on the processor in float32 (device cpu, predictor.dtype = float32), or count "
                "answers once (privacy.mechanism = tally)"
            )


def _row(gradients: UnitGradients, units: list[UnitRecords], *, place: int) -> NDArray[np.float32]:
    (found,) = gradients.rows(units, micro_batches=1, uniforms=np.zeros)
    row: NDArray[np.float32] = found.gradients[place].copy()
    return row


def _unit(number: int, shape: MicroBatchShape) -> UnitRecords:
    """A made-up unit, whose texts are of other lengths than those of the others."""
    options = tuple(
        " ".join(_WORDS[(number + k) % len(_WORDS)] for k in range(1 + (number + which) % 9))
        + f" {which}"
        for which in range(min(2, shape.options))
    )
    longest = max(1, shape.length // 2)
    questions = tuple(
        Question(
            question_id=f"made up {number} {record}",
            text=" ".join(_WORDS * (1 + (7 * number + record) % longest // len(_WORDS))),
            options=options,
            together=not shape.apart,
        )
        for record in range(1 + number % shape.records)
    )
    return UnitRecords(
        unit=f"made up {number}",
        questions=questions,
        targets=tuple((1.0, *[0.0] * (len(options) - 1)) for _ in questions),
        weights=(1.0,) * len(questions),
    )
