"""Benchmark ``dp-kernel``: clipping and exact noise beside the training step that they protect."""

from __future__ import annotations

import numpy as np

from alignment.config import PredictorConfig
from alignment.predictor import Predictor
from experiments.benchmarks.harness import Figure, Goal, interleave
from experiments.benchmarks.workload import batch_of, sample_answers, training_step
from privacy.clipping import clip_sum
from privacy.discrete_gaussian import discrete_gaussian
from privacy.plan import PrivacyPlan
from privacy.randomness import SystemRandomStream
from privacy.terms import PrivacyTerms
from privacy.types import Update

_UNITS = 128
_DIMENSION = 100_000
_TURNS = 20
_LIMIT_SECONDS = 25.0
_GOAL = Goal(sense="at most", bound=10.0)
#: 128 of 2,000 units are expected in a step.
_TERMS = PrivacyTerms(
    epsilon=4.0,
    delta=1e-5,
    groups=10,
    units_per_group=2000,
    sampling_rate=_UNITS / 2000,
    rounds=200,
    survivors=7,
    colluding=1,
    clipping_norm=1.0,
    dimension=_DIMENSION,
)


def measure() -> list[Figure]:
    """Time of clipping and of exact noise, over that of a plain training step.

    Measured: drawing 100,000 exact discrete Gaussians from the system's randomness, and clipping
    and summing 128 gradients of 100,000 coordinates, each in turns with a plain step (no privacy,
    cached prefix, default predictor) on 128 questions of the built-in survey. Noise is given in
    thousandths of a step: the milliseconds it would take if the step took 1 s. Both together are
    given in percent of a step. Goal: at most 10, so that a private step can stay within 1.10 of a
    plain one.

    Not measured: gradients per unit, the ledger and secure aggregation; a whole private step.
    """
    kernel = PrivacyPlan.calibrate(_TERMS).kernel
    source = SystemRandomStream()
    generator = np.random.default_rng(0)
    gradients = generator.standard_normal((_UNITS, _DIMENSION), dtype=np.float32)
    update = Update(gradients=gradients)
    questions = batch_of(sample_answers(), _UNITS)
    seconds = interleave(
        {
            "step": training_step(Predictor(PredictorConfig()), questions),
            "clip": lambda: clip_sum([update], kernel),
            "noise": lambda: discrete_gaussian(
                source, noise_log2=kernel.noise_log2, count=_DIMENSION
            ),
        },
        turns=_TURNS,
        limit_seconds=_LIMIT_SECONDS,
    )
    step, clip, noise = seconds["step"], seconds["clip"], seconds["noise"]
    return [
        Figure.of("noise of 1e5 coordinates", 1000 * noise / step, "ms per 1 s of step"),
        Figure.of("clipped sum of 128 x 1e5", 100 * clip / step, "% of a step"),
        Figure.of("clipped sum and noise", 100 * (clip + noise) / step, "% of a step", _GOAL),
    ]
