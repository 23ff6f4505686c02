"""Benchmark ``dp``: whole private steps beside plain ones, and the exact noise within them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from alignment.config import PredictorConfig
from alignment.data.answers import GroupAnswers
from alignment.data.units import UnitRecords
from alignment.model.context import ABSENT
from alignment.model.encoding import pad_targets
from alignment.model.predictor import Predictor
from alignment.training.gradients import UnitGradients
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape, metric_scale_for, private_layout
from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.benchmarks.workloads.plans import calibrated_plan
from experiments.benchmarks.workloads.questions import batch_of, sample_answers, training_step
from privacy.accounting import step
from privacy.accounting.plan import PrivacyPlan
from privacy.kernel.discrete_gaussian import discrete_gaussian
from privacy.kernel.randomness import SystemRandomStream, random_uniforms
from privacy.kernel.types import Noised, Update
from server.config import PrivacyConfig, RunConfig

_UNITS = 128
_RECORDS = 25
_ROWS = 16
_DIMENSION = 100_000
_TURNS = 12
_LIMIT_SECONDS = 90.0
_STEP_GOAL = Goal(sense="at most", bound=1.10)
_HEAD_GOAL = Goal(sense="at most", bound=2.0)
_NOISE_GOAL = Goal(sense="at most", bound=25.0)


def measure() -> list[Figure]:
    """Time of a private step over that of a plain step on the same questions.

    Measured: private steps, in turns with plain ones, on 128 questions of the built-in survey, one
    per unit, all units in every step: gradients by unit, clipping in integers, and exact noise from
    the system's randomness. (1) Adapters and head, with the same parameters and the same 8
    micro-batches, padded alike, that the plain step accumulates before AdamW moves the weights.
    (2) The same with the bounds that a run pads to by default (128 tokens, 16 options, every token
    read) against the plain step of a run: the price of shapes that tell nothing. (3) The head alone
    on remembered encodings, as private runs train by default, against the plain step that does the
    same. (4) The same with 25 questions per unit, in the room for 32 that a run gives to each: the
    price of units that say much. (5) Exact noise for 100,000 coordinates, in thousandths of plain
    step (1): the milliseconds it would take if the step took 1 s. Goal: at most 1.10 for (1), at
    most 2 for (3) and (4), at most 25 for (5).

    Not measured: the accounting, which is done once before a run, the ledger and secure
    aggregation, and what a sampled batch costs when it is padded to its cap.
    """
    answers = batch_of(sample_answers(), _UNITS)
    seconds = interleave(_steps(answers), turns=_TURNS, limit_seconds=_LIMIT_SECONDS)
    plain = seconds["plain"]
    return [
        Figure.of("(1) private / plain step", seconds["private"] / plain, "x", _STEP_GOAL),
        Figure.of(
            "(2) the same, padded as in a run", seconds["private run"] / seconds["plain run"], "x"
        ),
        Figure.of(
            "(3) head alone",
            seconds["private head"] / seconds["plain head"],
            "x",
            _HEAD_GOAL,
            key="private_over_plain_head",
        ),
        Figure.of(
            f"(4) the same, {_RECORDS} questions per unit",
            seconds["private head, many"] / seconds["plain head, many"],
            "x",
            _HEAD_GOAL,
            key="private_over_plain_head_many",
        ),
        Figure.of(
            "(5) noise of 1e5 coordinates",
            1000 * seconds["noise"] / plain,
            "ms per 1 s of step",
            _NOISE_GOAL,
        ),
    ]


def _steps(answers: GroupAnswers) -> dict[str, Callable[[], object]]:
    """The steps that are timed, in the order of their turns."""
    predictor = Predictor(PredictorConfig())
    whole = predictor.batch(answers.questions)
    if whole.read is None:
        raise RuntimeError("the batch does not say which tokens are read")
    equal = MicroBatchShape(
        rows=_ROWS,
        length=whole.hidden.shape[1],
        options=whole.present.shape[1],
        read=whole.read.shape[1],
    )
    many = batch_of(answers, _UNITS * _RECORDS)
    source = SystemRandomStream()
    noise_log2 = _plan(_DIMENSION).kernel.noise_log2
    return {
        "plain": accumulated_step(Predictor(PredictorConfig()), answers, equal),
        "private": private_step(predictor, answers, equal, freeze_a=False),
        "noise": lambda: discrete_gaussian(source, noise_log2=noise_log2, count=_DIMENSION),
        "plain run": training_step(Predictor(PredictorConfig()), answers),
        "private run": private_step(predictor, answers),
        "plain head": head_step(Predictor(PredictorConfig()), answers),
        "private head": private_step(predictor, answers, adapters=False),
        "plain head, many": head_step(Predictor(PredictorConfig()), many),
        "private head, many": private_step(predictor, many, adapters=False, records=_RECORDS),
    }


def _plan(dimension: int) -> PrivacyPlan:
    """A plan in which every unit is in every step, so that no row is there to fill up a cap."""
    return calibrated_plan(RunConfig(), [_UNITS] * 10, rounds=60, dimension=dimension)


def private_step(
    predictor: Predictor,
    answers: GroupAnswers,
    shape: MicroBatchShape | None = None,
    *,
    adapters: bool = True,
    freeze_a: bool = True,
    records: int = 1,
) -> Callable[[], Noised]:
    """A group's private step: gradients by unit, clipped in integers, summed, noised.

    Args:
        predictor: Its weights stay as they are; the server would move them.
        answers: The questions of each unit in turn.
        shape: Of the micro-batches; None for the bounds that a run pads to by default.
        adapters: Whether adapters are trained, or the head alone.
        freeze_a: Train only B of each adapter.
        records: Questions of each unit.
    """
    source, settings = SystemRandomStream(), PrivacyConfig()
    shape = shape or MicroBatchShape(
        rows=settings.micro_batch,
        records=1 if records == 1 else settings.records_per_unit,
        length=predictor.config.max_tokens,
        options=settings.max_options,
    )
    layout = private_layout(predictor, adapters=adapters, freeze_a=freeze_a)
    plan = _plan(layout.dimension)
    gradients = UnitGradients(
        predictor,
        layout=layout,
        shape=shape,
        metric_scale=metric_scale_for(plan.clipping_norm, options=shape.options),
    )
    parts = [slice(at, at + records) for at in range(0, len(answers), records)]
    units = [
        UnitRecords(
            unit=str(part.start), questions=answers.questions[part], targets=answers.targets[part]
        )
        for part in parts
    ]
    gradients.prepare(units)

    def updates(sample: Sequence[int]) -> Iterator[Update]:
        rows = gradients.rows(
            [units[place] for place in sample],
            micro_batches=-(-len(units) // shape.rows),
            uniforms=lambda count: random_uniforms(source, count),
            reuse=True,
        )
        return (Update(gradients=each.gradients, weights=each.weights) for each in rows)

    return lambda: step.private_step(updates, plan, group=0, units=len(units), source=source)


def accumulated_step(
    predictor: Predictor, answers: GroupAnswers, shape: MicroBatchShape
) -> Callable[[], None]:
    """A plain step over the same micro-batches, all padded to the same length, and AdamW."""
    optimizer = torch.optim.AdamW([parameter for _, parameter in predictor.trainable()])
    parts: Sequence[slice] = [
        slice(at, at + shape.rows) for at in range(0, len(answers), shape.rows)
    ]

    def step() -> None:
        optimizer.zero_grad()
        for part in parts:
            batch = predictor.batch(answers.questions[part], length=shape.length)
            targets = pad_targets(answers.targets[part], batch.present.shape[1])
            loss = cross_entropy(predictor(batch), targets).sum() / len(answers)
            loss.backward()
        optimizer.step()

    return step


def head_step(predictor: Predictor, answers: GroupAnswers) -> Callable[[], None]:
    """A plain step of the head on remembered encodings, and AdamW."""
    optimizer = torch.optim.AdamW(predictor.head.parameters())
    targets = pad_targets(answers.targets, max(map(len, answers.targets)))

    def step() -> None:
        pooled, present = predictor.pooled_now(answers.questions)
        scores = predictor.head(pooled).masked_fill(~present, ABSENT)
        optimizer.zero_grad()
        cross_entropy(scores, targets).mean().backward()
        optimizer.step()

    return step
