"""Forecast of a privacy plan, before anything runs: its figures and those of its neighbours.

A forecast reads no data. It calibrates the plan, has a second library confirm its epsilon, and
computes what people weigh against each other: noise, signal, rounds, bytes and time. It takes
seconds, most of them for the imports of that library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from alignment.training.opacus_cross_check import opacus_prv_epsilon
from privacy.accounting.accountant import cross_check, pld_epsilon
from privacy.accounting.choices import MAX_EPSILON
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import CalibrationFailed, PlanRefused
from privacy.kernel.clipping import clip_sum
from privacy.kernel.discrete_gaussian import discrete_gaussian, effective_noise_multiplier
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.types import Update
from strategies.checks.combinations import Hiding, refusal
from strategies.registry import known, make

#: Trainable parameters of the default predictor. A test builds it and counts them: building it
#: here would cost more than the whole forecast.
_DEFAULT_DIMENSION = 156_865

#: The budgets that a plan is compared with.
EPSILONS = (1.0, 2.0, 4.0, 8.0)

Say = Callable[[str], None]

_CURVE_POINTS = 10
_MOST_SHARES_SHOWN = 12
_MEASURED_COORDINATES = 100_000
_MEASURED_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """The least noise for another epsilon or number of rounds, all other terms being equal.

    Attributes:
        epsilon: Of the other plan.
        rounds: Of the other plan.
        noise_multiplier: None where there is no such plan.
        noise_std: Standard deviation of the noise on a coordinate of the mean gradient.
        refused: Why there is no such plan.
    """

    epsilon: float
    rounds: int
    noise_multiplier: float | None = None
    noise_std: float | None = None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan and what is known of it before anything runs.

    Attributes:
        plan: Calibrated.
        dimension_from: Where the dimension comes from.
        epsilon_pld: The plan's epsilon by privacy loss distributions, at ``accounted_delta``.
        epsilon_opacus: The cross-check, an upper bound at most 0.0125 above it; None where the
            second library was not asked.
        shorter: Epsilon by rounds; the last is the plan.
        unchecked: Epsilon by honest shares; the last is the plan.
        alternatives: Other epsilons and rounds; empty where they were not asked for.
        kernel_seconds_per_round: Estimated time of one group's clipping and noise in a round, on
            this machine.
    """

    plan: PrivacyPlan
    dimension_from: str
    epsilon_pld: float
    epsilon_opacus: float | None
    shorter: Mapping[int, float]
    unchecked: Mapping[int, float | None]
    alternatives: tuple[Alternative, ...]
    kernel_seconds_per_round: float

    @property
    def signal_per_coordinate(self) -> float:
        """The largest mean gradient there can be, of norm C, spread evenly over all coordinates."""
        return self.plan.clipping_norm / float(np.sqrt(self.plan.dimension))

    @property
    def strategies(self) -> dict[str, tuple[str, str]]:
        """Why each does not go with the plan's mode, with secure sums and without; or empty."""
        secure, clear = (Hiding(secure=each, mode=str(self.plan.mode)) for each in (True, False))
        made = [make(name, {}) for name in known()]
        return {each.name: (refusal(each, secure), refusal(each, clear)) for each in made}

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as JSON types."""
        plan = self.plan
        noise, signal = plan.noise_std_per_coordinate, self.signal_per_coordinate
        return {
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "groups": plan.groups,
            "units": max(plan.sizes),
            "sampling_rate": plan.sampling_rate,
            "rounds": plan.rounds,
            "survivors": plan.survivors,
            "colluding": plan.colluding,
            "unit": str(plan.unit),
            "mode": str(plan.mode),
            "local_steps": plan.local_steps,
            "dimension": plan.dimension,
            "dimension_from": self.dimension_from,
            "clipping_norm": plan.clipping_norm,
            "strategies": {
                name: {"secure": secure, "clear": clear}
                for name, (secure, clear) in self.strategies.items()
            },
            "noise_multiplier": plan.noise_multiplier,
            "k": plan.noise_log2,
            "sensitivity": plan.sensitivity,
            "honest_shares": plan.honest_shares,
            "modulus_bits": plan.modulus_bits,
            "bits_needed": plan.bits_needed,
            "bytes_up": plan.bytes_up,
            "batch_cap": max(map(plan.batch_cap, range(plan.groups))),
            "noise_std_per_coordinate": noise,
            "signal_per_coordinate": signal,
            "noise_to_signal": noise / signal,
            "epsilon_pld": self.epsilon_pld,
            "epsilon_opacus": self.epsilon_opacus,
            "accounted_delta": plan.accounted_delta,
            "accountants": accountant_names(),
            "digest": plan.digest(),
            "kernel_seconds_per_round": self.kernel_seconds_per_round,
            "epsilon_by_rounds": [
                {"rounds": rounds, "epsilon": epsilon} for rounds, epsilon in self.shorter.items()
            ],
            "epsilon_by_honest_shares": [
                {"honest_shares": shares, "epsilon": epsilon}
                for shares, epsilon in self.unchecked.items()
            ],
            "alternatives": [asdict(row) for row in self.alternatives],
        }


def forecast(
    terms: PrivacyTerms,
    *,
    dimension_from: str,
    alternatives: bool = False,
    confirm: bool = True,
    say: Say = lambda _: None,
) -> Forecast:
    """Calibrate a plan, have it confirmed, and compute all that is known of it beforehand.

    Args:
        terms: What people decided.
        dimension_from: Where their dimension comes from.
        alternatives: Calibrate 16 other plans as well, for half a minute.
        confirm: Ask the second library; half of all the time, to load it.
        say: Told what is being computed.

    Raises:
        PlanRefused: If the terms cannot be kept.
        AccountantsDisagree: If the second library does not confirm the plan's epsilon.
    """
    say("calibrating the noise")
    plan = PrivacyPlan.calibrate(terms)
    epsilon = plan.verify()
    confirmed = None
    if confirm:
        say("asking a second accountant")
        confirmed = cross_check(
            plan.mechanism, delta=plan.accounted_delta, accountant=opacus_prv_epsilon
        )
    say("shorter plans")
    shorter = shorter_plans(plan, epsilon)
    say("fewer honest shares")
    unchecked = fewer_shares(plan, epsilon)
    others = tuple(other_plans(terms, say=say)) if alternatives else ()
    say("timing clipping and noise")
    return Forecast(
        plan=plan,
        dimension_from=dimension_from,
        epsilon_pld=epsilon,
        epsilon_opacus=confirmed,
        shorter=shorter,
        unchecked=unchecked,
        alternatives=others,
        kernel_seconds_per_round=kernel_seconds_per_round(plan),
    )


def default_dimension() -> int:
    """Trainable parameters of the default predictor."""
    return _DEFAULT_DIMENSION


def accountant_names() -> dict[str, str]:
    """The libraries behind the two epsilons, with their versions."""
    return {
        "epsilon_pld": f"dp-accounting {version('dp-accounting')}, privacy loss distributions",
        "epsilon_opacus": f"opacus {version('opacus')}, privacy random variables",
    }


def shorter_plans(plan: PrivacyPlan, epsilon: float) -> dict[int, float]:
    """Epsilon by rounds, of plans of up to the same number of rounds at the same noise.

    Not what an unfinished run may report: a plan is charged as a whole from its first round.

    Args:
        plan: The whole plan.
        epsilon: What it costs.
    """
    # Closer together at the start, where the curve bends.
    squares = {plan.rounds * part**2 // _CURVE_POINTS**2 for part in range(_CURVE_POINTS)}
    quarters = {plan.rounds * part // 4 for part in (1, 2, 3)}
    costs = {
        rounds: pld_epsilon(
            replace(plan.mechanism, steps=rounds * plan.local_steps),
            delta=plan.accounted_delta,
            grid=_grid(epsilon),
        )
        for rounds in sorted((squares | quarters | {1}) - {0, plan.rounds})
    }
    return {**costs, plan.rounds: epsilon}


def fewer_shares(plan: PrivacyPlan, epsilon: float) -> dict[int, float | None]:
    """Epsilon at 1, 2, ... h honest shares in every sum: why clients refuse all but the last.

    Args:
        plan: The plan; in local mode a group's own share is the only one.
        epsilon: What it costs at all h.

    Returns:
        By shares; None where it is above ``MAX_EPSILON`` and was not computed.
    """
    costs: dict[int, float | None] = {}
    cost: float | None = epsilon
    for shares in reversed(_spread_counts(plan.honest_shares)):
        if cost is None or cost > MAX_EPSILON:
            # Less noise costs more; how much more is slow to compute and tells nothing.
            cost = None
        elif shares < plan.honest_shares:
            weaker = effective_noise_multiplier(
                noise_log2=plan.noise_log2, honest_shares=shares, sensitivity=plan.sensitivity
            )
            mechanism = replace(plan.mechanism, noise_multiplier=weaker)
            cost = pld_epsilon(mechanism, delta=plan.accounted_delta, grid=_grid(epsilon))
        costs[shares] = cost
    return dict(sorted(costs.items()))


def other_plans(terms: PrivacyTerms, *, say: Say = lambda _: None) -> Iterable[Alternative]:
    """Yield the least noise at `EPSILONS` and a quarter, half, once and twice the rounds."""
    lengths = {max(1, terms.rounds * quarters // 4) for quarters in (1, 2, 4, 8)}
    wanted = [(epsilon, rounds) for epsilon in EPSILONS for rounds in sorted(lengths)]
    for number, (epsilon, rounds) in enumerate(wanted, start=1):
        say(f"other plans: {number} of {len(wanted)}")
        try:
            plan = PrivacyPlan.calibrate(replace(terms, epsilon=epsilon, rounds=rounds))
        except (PlanRefused, CalibrationFailed) as error:
            yield Alternative(epsilon=epsilon, rounds=rounds, refused=str(error))
            continue
        yield Alternative(
            epsilon=epsilon,
            rounds=rounds,
            noise_multiplier=plan.noise_multiplier,
            noise_std=plan.noise_std_per_coordinate,
        )


def kernel_seconds_per_round(plan: PrivacyPlan) -> float:
    """Estimate one group's time for clipping a full batch and drawing its noise, in a round.

    Scaled up from a fraction of a second's measurement; gradients, secure aggregation and the
    network come on top.
    """
    coordinates = min(plan.dimension, _MEASURED_COORDINATES)
    settings = replace(plan.kernel, dimension=coordinates)
    shape = (_MEASURED_ROWS, coordinates)
    rows = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    clip = _seconds(lambda: clip_sum([Update(gradients=rows)], settings)) / _MEASURED_ROWS
    source = SystemRandomStream()
    noise = _seconds(
        lambda: discrete_gaussian(source, noise_log2=plan.noise_log2, count=coordinates)
    )
    batch = max(map(plan.batch_cap, range(plan.groups)))
    return (clip * batch + noise) * plan.dimension / coordinates * plan.local_steps


def _grid(epsilon: float) -> float:
    """A coarser grid than the plan's own accounting: ten times as fast, off by 1e-4 of epsilon."""
    return min(1e-3, epsilon / 4000)


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of three times: the least disturbed by others."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _spread_counts(last: int) -> list[int]:
    """The counts 1 to last; of many, some, closer together where they are small."""
    if last <= _MOST_SHARES_SHOWN:
        return list(range(1, last + 1))
    return sorted({round(count) for count in np.geomspace(1, last, _MOST_SHARES_SHOWN).tolist()})
