"""The figures of one method on pairs, with intervals that take dialogues as units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment.evaluation.calibration import brier_score, calibration, correctness, top_label
from alignment.evaluation.metrics import log_loss

#: Times that dialogues are drawn anew, and the share of these draws within an interval.
RESAMPLES = 1000
LEVEL = 0.95
FIGURES = ("accuracy", "log_loss", "brier", "calibration_error")

_Floats = NDArray[np.float64]


def draw_dialogues(dialogues: int) -> NDArray[np.int64]:
    """Bootstrap counts of dialogues, (``RESAMPLES``, dialogues): the same for all methods."""
    even = np.full(dialogues, 1 / dialogues)
    drawn: NDArray[np.int64] = np.random.default_rng(0).multinomial(dialogues, even, RESAMPLES)
    return drawn


class Judged:
    """The predictions of one method beside the answers.

    Args:
        predicted: (draws, targets) chance of the first response; NaN where there is none.
        shares: (targets,) how many prefer it.
        dialogues: (targets,) number of the dialogue.
        exact: A rule without probabilities: it has an accuracy alone.
    """

    def __init__(
        self,
        predicted: _Floats,
        shares: _Floats,
        dialogues: NDArray[np.int64],
        *,
        exact: bool,
    ) -> None:
        self.known = np.asarray(~np.isnan(predicted).any(axis=0))
        self._dialogues = dialogues
        self._exact = exact
        judge: dict[str, Callable[[Sequence[float], Sequence[float]], float]]
        judge = {"accuracy": correctness}
        if not exact:
            judge |= {"log_loss": log_loss, "brier": brier_score}
        pairs = np.stack([predicted, 1 - predicted], axis=-1)
        answers = np.stack([shares, 1 - shares], axis=-1)
        #: (targets,) of each figure, in the mean over draws.
        self._values = {
            name: np.array(
                [
                    np.mean([function(row[i], answers[i]) for row in pairs]) if known else np.nan
                    for i, known in enumerate(self.known)
                ]
            )
            for name, function in judge.items()
        }
        #: (draws, known targets, 2): confidence and outcome.
        self._tops = np.array(
            [[top_label(row[i], answers[i]) for i in np.flatnonzero(self.known)] for row in pairs]
        ).reshape(len(pairs), -1, 2)

    def mean(self, figure: str, where: NDArray[np.bool_]) -> float | None:
        """Of some targets; None where one of them is not predicted yet."""
        if not self.known[where].all():
            return None
        return float(self._values[figure][where].mean())

    def figures(self, resamples: NDArray[np.int64]) -> dict[str, Any]:
        """Every figure with its interval; None where a rule has none."""
        row: dict[str, Any] = {name: None for name in (*FIGURES, "calibration_error_by_chance")}
        for name, values in self._values.items():
            draws = self._resampled(values, resamples)
            row[name] = _interval(float(np.nanmean(values)), draws)
        if not self._exact:
            found = [calibration(*each.T) for each in self._tops]
            error = float(np.mean([each.error for each in found]))
            row["calibration_error"] = _interval(
                error, self._resampled_calibration(resamples), basic=True
            )
            row["calibration_error_by_chance"] = float(np.mean([f.by_chance for f in found]))
        return row

    def gain(self, other: Judged, resamples: NDArray[np.int64]) -> dict[str, Any]:
        """Accuracy and log-loss minus those of another method on the targets that both know."""
        row: dict[str, Any] = {}
        for name in ("accuracy", "log_loss"):
            if name not in other._values:
                row[name] = None
                continue
            difference = self._values[name] - other._values[name]
            known = ~np.isnan(difference)
            row[name] = (
                _interval(float(difference[known].mean()), self._resampled(difference, resamples))
                if known.any()
                else None
            )
        return row

    def reliability(self) -> list[dict[str, float]] | None:
        """The reliability curve of the first draw; None for a rule."""
        if self._exact:
            return None
        return [asdict(each) for each in calibration(*self._tops[0].T).bins]

    def _resampled(self, values: _Floats, resamples: NDArray[np.int64]) -> _Floats:
        """The mean of a figure in every resample of dialogues."""
        known = ~np.isnan(values)
        size = resamples.shape[1]
        place = self._dialogues[known]
        sums = np.bincount(place, weights=values[known], minlength=size)
        counts = np.bincount(place, minlength=size)
        drawn = resamples @ counts
        # Of a study that has just begun, a resample may hold nothing that is known.
        means: _Floats = (resamples @ sums)[drawn > 0] / drawn[drawn > 0]
        return means

    def _resampled_calibration(self, resamples: NDArray[np.int64]) -> _Floats:
        times = resamples[:, self._dialogues[self.known]]
        return np.array(
            [
                np.mean([calibration(*np.repeat(t, each, axis=0).T).error for t in self._tops])
                for each in times[times.any(axis=1)]
            ]
        )


def _interval(value: float, resampled: _Floats, *, basic: bool = False) -> dict[str, float]:
    """A figure with its bootstrap interval.

    Percentiles; ``basic`` mirrors them at the figure (Davison and Hinkley 1997, 5.6), for a figure
    like the calibration error that drawing anew raises in itself, and cuts them off at 0.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail)).tolist()
    if basic:
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return {"value": value, "low": low, "high": high}
