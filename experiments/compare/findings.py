"""Findings of a comparison: intervals over groups, rounds and bytes to a score, tested claims.

All computed from rows of figures, one of each method and draw, and the number of targets of every
held-out group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.report.wording import Json, gain_text, is_number, score_text

#: What a reader of the comparison must know and no single figure can say.
CAVEATS = (
    "All methods are measured on the same held-out groups, contexts and targets, after their last "
    "step; none is chosen by these scores.",
    "Intervals are of 95 % and over held-out groups, by bootstrap: they say how far another "
    "choice of groups might move a figure, not what another training would do.",
    "The strongest baseline is found by its score on these very groups, and federated GPO's best "
    "score is the best of all its rounds: both in favour of what FedAccord is compared with.",
    "Baselines are implementations of our own. The train groups' mean, the nearest question and "
    "GPO in one place need all records in one place; no baseline has any privacy.",
)
RESAMPLES = 10_000
#: A federated method and the same with all data in one place.
_PAIRS = (("pluralllm", "gpo"), ("pluralllm-rescaled", "gpo-rescaled"))

Scores: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = list[tuple[int, float]]


def _by_method(rows: Sequence[Json]) -> dict[str, dict[int, Json]]:
    """Rows by method and seed."""
    methods: dict[str, dict[int, Json]] = {}
    for row in rows:
        methods.setdefault(row["method"], {})[row["seed"]] = row
    return methods


def _scores(draws: Mapping[int, Json], seeds: Sequence[int], groups: Sequence[str]) -> Scores:
    """Alignment of every group, mean over draws: (groups,)."""
    each = [[draws[seed]["groups"][group] for group in groups] for seed in seeds]
    return np.asarray(np.mean(each, axis=0), dtype=np.float64)


def _resampled(groups: int) -> Scores:
    """Bootstrap counts of groups, (RESAMPLES, groups)."""
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    return np.asarray(drawn, dtype=np.float64)


def bootstrap(
    statistic: Callable[[Scores], Scores], groups: int
) -> tuple[float | None, float | None]:
    """The middle 95 % of a figure when groups are drawn anew with replacement.

    Args:
        statistic: From how often each group is drawn, (resamples, groups), to (resamples,).
        groups: How many there are.

    Returns:
        Both ends; None twice of a single group, which tells nothing of others.
    """
    if groups < 2:
        return None, None
    low, high = np.percentile(statistic(_resampled(groups)), (2.5, 97.5))
    return float(low), float(high)


def _mean(scores: Scores, weights: Scores) -> Callable[[Scores], Scores]:
    """Mean over targets: a group counts as often as it is drawn, by its number of targets."""
    return lambda drawn: (drawn @ (weights * scores)) / (drawn @ weights)


def _cov(scores: Scores) -> Callable[[Scores], Scores]:
    """Coefficient of variation over groups, as in :class:`alignment.evaluation.metrics.Summary`."""

    def cov(drawn: Scores) -> Scores:
        total = drawn.sum(axis=1)
        mean = drawn @ scores / total
        square = drawn @ scores**2 / total
        return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)) / mean)

    return cov


def strongest_baseline(rows: Sequence[Json]) -> str | None:
    """The baseline with the highest mean alignment over draws."""
    means = {
        method: float(np.mean([row["alignment"] for row in draws.values()]))
        for method, draws in _by_method(rows).items()
        if next(iter(draws.values()))["baseline"]
    }
    return max(means, key=lambda method: means[method]) if means else None


def difference(
    one: Mapping[int, Json], other: Mapping[int, Json], targets: Mapping[str, float]
) -> dict[str, float | None] | None:
    """Lead of a method on another, with its interval.

    Paired: draws that both have, group by group.

    Returns:
        ``difference``, ``low`` and ``high``; None where they have no draw in common.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    groups = list(targets)
    weights = np.array([targets[group] for group in groups])
    scores = _scores(one, seeds, groups) - _scores(other, seeds, groups)
    statistic = _mean(scores, weights)
    low, high = bootstrap(statistic, len(groups))
    all_once = float(statistic(np.ones((1, len(groups))))[0])
    return {"difference": all_once, "low": low, "high": high}


def intervals(rows: Sequence[Json], targets: Mapping[str, float]) -> list[dict[str, Any]]:
    """Of every method the interval of its alignment, and its lead on the strongest baseline.

    Args:
        rows: Of all methods and draws.
        targets: Of every held-out group, its number of targets.

    Returns:
        For each method ``low`` and ``high``, and under ``over_strongest`` the baseline's name with
        ``difference``, ``low`` and ``high``; None for that baseline itself.
    """
    methods, groups = _by_method(rows), list(targets)
    weights = np.array([targets[group] for group in groups])
    strongest = strongest_baseline(rows)
    found = []
    for method, draws in methods.items():
        scores = _scores(draws, list(draws), groups)
        low, high = bootstrap(_mean(scores, weights), len(groups))
        lead = None
        if strongest is not None and method != strongest:
            lead = difference(draws, methods[strongest], targets)
        named = None if lead is None else {"baseline": strongest, **lead}
        found.append({"method": method, "low": low, "high": high, "over_strongest": named})
    return found


def mean_curve(draws: Mapping[int, Json]) -> Curve:
    """Alignment by round, mean over draws; rounds that all draws have measured."""
    values: dict[int, list[float]] = {}
    for row in draws.values():
        for point in row["curve"]:
            if is_number(point["alignment"]):
                values.setdefault(point["round"], []).append(point["alignment"])
    whole = {n: each for n, each in values.items() if len(each) == len(draws)}
    return [(number, float(np.mean(whole[number]))) for number in sorted(whole)]


def _first(curve: Curve, score: float) -> int | None:
    """The first measured round that reaches a score."""
    return next((number for number, value in curve if value >= score), None)


def _bytes(draws: Mapping[int, Json]) -> float | None:
    sent = [row["bytes_up_per_client_per_round"] for row in draws.values()]
    return float(np.mean(sent)) if all(is_number(each) for each in sent) else None


def to_reach(rows: Sequence[Json]) -> dict[str, Any] | None:
    """Rounds and bytes of every federated method to federated GPO's best score.

    Curves are means over draws. The best is that of the stronger of both scalings, at the first
    round where it stands.

    Returns:
        ``score`` and ``of``, whose it is, and under ``methods`` for each the first measured round
        that reaches it and the bytes that a client had sent by then (None: never reached), and
        both as shares of that method's. None where no federated GPO was measured.
    """
    methods = _by_method(rows)
    curves = {
        method: curve
        for method, draws in methods.items()
        if _bytes(draws) is not None and (curve := mean_curve(draws))
    }
    best = {m: max(v for _, v in curves[m]) for m, _ in _PAIRS if m in curves}
    if not best:
        return None
    of = max(best, key=lambda method: best[method])
    theirs = _first(curves[of], best[of]) or 0
    their_bytes = theirs * (_bytes(methods[of]) or 0.0)
    found = []
    for method, curve in curves.items():
        number = _first(curve, best[of])
        sent = None if number is None else number * (_bytes(methods[method]) or 0.0)
        found.append(
            {
                "method": method,
                "round": number,
                "bytes_up_per_client": sent,
                "share_of_rounds": None if number is None or not theirs else number / theirs,
                "share_of_bytes": None if sent is None or not their_bytes else sent / their_bytes,
            }
        )
    return {"score": best[of], "of": of, "methods": found}


def claims(rows: Sequence[Json], targets: Mapping[str, float]) -> list[dict[str, Any]]:
    """Verdicts of the figures on three claims of the PluralLLM paper, at equal steps.

    Returns:
        For each pair of a federated GPO and the one in one place, three claims with ``holds``
        (None: these figures cannot tell) and a ``statement`` of the figures.
    """
    methods = _by_method(rows)
    found = []
    for federated, gathered in _PAIRS:
        one, other = methods.get(federated), methods.get(gathered)
        if not one or not other or not one.keys() & other.keys():
            continue
        for claim, (holds, statement) in {
            "converges faster than": _faster(one, other),
            "is better aligned than": _better(one, other, targets),
            "is nearly as fair as": _fair(one, other, targets),
        }.items():
            found.append(
                {
                    "federated": federated,
                    "gathered": gathered,
                    "claim": claim,
                    "holds": holds,
                    "statement": statement,
                }
            )
    return found


def _steps(draws: Mapping[int, Json]) -> tuple[Curve, int]:
    """The mean curve by steps of the optimiser instead of rounds, and all steps."""
    curve, total = mean_curve(draws), int(next(iter(draws.values()))["steps"])
    last = max((number for number, _ in curve), default=0) or 1
    return [(round(number * total / last), value) for number, value in curve], total


def _faster(one: Mapping[int, Json], other: Mapping[int, Json]) -> tuple[bool | None, str]:
    (mine, total), (theirs, its_total) = _steps(one), _steps(other)
    if not mine or not theirs:
        return None, "No round of one of them was measured in every draw."
    score = min(mine[-1][1], theirs[-1][1])
    first, second = _first(mine, score), _first(theirs, score)
    if first is None or second is None or total != its_total:
        return None, "They were not trained for the same number of steps."
    text = (
        f"Federated, {score_text(score, 4)}, the lower of the two last scores, is first reached "
        f"after {first} of {total} steps of each client; in one place after {second} steps"
    )
    if second and first != second:
        share = abs(1 - first / second)
        text += f": {share:.0%} {'fewer' if first < second else 'more'}"
    return first < second, f"{text}."


def _better(
    one: Mapping[int, Json], other: Mapping[int, Json], targets: Mapping[str, float]
) -> tuple[bool | None, str]:
    lead = difference(one, other, targets) or {}
    low, high = lead.get("low"), lead.get("high")
    means = [float(np.mean([r["alignment"] for r in d.values()])) for d in (one, other)]
    text = (
        f"Federated {score_text(means[0], 4)}, in one place {score_text(means[1], 4)}: "
        f"{gain_text(lead.get('difference'), 4)}"
    )
    if low is None or high is None:
        return None, f"{text}, on a single group."
    text += f", 95 % interval {gain_text(low, 4)} to {gain_text(high, 4)}."
    return (True if low > 0 else False if high < 0 else None), text


def _fair(
    one: Mapping[int, Json], other: Mapping[int, Json], targets: Mapping[str, float]
) -> tuple[bool | None, str]:
    """By the coefficient of variation; Jain's index of fairness is 1 / (1 + its square)."""
    groups, seeds = list(targets), sorted(one.keys() & other.keys())
    both = [_cov(_scores(draws, seeds, groups)) for draws in (one, other)]
    mine, theirs = (float(cov(np.ones((1, len(groups))))[0]) for cov in both)
    low, high = bootstrap(lambda drawn: both[0](drawn) - both[1](drawn), len(groups))
    text = (
        f"Coefficient of variation over groups {score_text(mine, 4)} federated and "
        f"{score_text(theirs, 4)} in one place, fairness index {1 / (1 + mine**2):.4f} and "
        f"{1 / (1 + theirs**2):.4f}"
    )
    if low is None or high is None:
        return None, f"{text}, on a single group."
    interval = f"{gain_text(low, 4)} to {gain_text(high, 4)}"
    return low <= 0, f"{text}; difference of the former {gain_text(mine - theirs, 4)}, 95 % " + (
        f"interval {interval}."
    )
