"""The pictures of a run: alignment by round, groups apart, fairness, predictions beside answers.

Of a run on pairs accuracy takes the place of the first three.

Each picture says in its title what is to be seen, and under it what a reader must know to judge
it: where an axis does not start at 0, and by which rule examples were chosen. They are drawn from
plain data, the contents of ``result.json``, ``rounds.jsonl`` and ``predictions.jsonl``, so they
can be drawn again from a run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.pairs.plot_run import draw_pairs, pairs_title
from experiments.report.plot_answers import answers_title, choose_example, draw_answers
from experiments.report.plot_fairness import draw_fairness, fairness_title
from experiments.report.plot_groups import draw_groups, groups_title
from experiments.report.plot_rounds import draw_rounds, rounds_title
from experiments.report.views import pairs_of
from experiments.report.wording import Json, is_number

PLOTS_FOLDER = "plots"
ALIGNMENT_BY_ROUND = "alignment_by_round.png"
ACCURACY_BY_ROUND = "accuracy_by_round.png"
GROUPS = "groups.png"
ACCURACY = "accuracy.png"
FAIRNESS = "fairness.png"
PREDICTED = "predicted_beside_actual.png"
_ALL = (ALIGNMENT_BY_ROUND, ACCURACY_BY_ROUND, GROUPS, ACCURACY, FAIRNESS, PREDICTED)


def draw_plots(
    folder: Path, result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> list[Path]:
    """Draw the pictures of a run into ``folder/plots``.

    Pictures of an earlier run in that folder are replaced; those that say nothing of this one, or
    cannot be drawn for lack of predictions or intervals, are removed.

    Args:
        folder: The run's folder; made where missing.
        result: Contents of ``result.json``.
        rounds: Contents of ``rounds.jsonl``.
        predictions: Predictions on the held-out groups.

    Returns:
        The PNG files, in the order in which they tell the story.
    """
    place = folder / PLOTS_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    drawn = _pictures(result, rounds, predictions)
    for name in _ALL:
        if name not in drawn:
            (place / name).unlink(missing_ok=True)
    for name, picture in drawn.items():
        picture.draw(place / name)
    return [place / name for name in drawn]


def plot_titles(
    result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> dict[str, str]:
    """The file names of a run's pictures, each with what is to be seen on it."""
    return {name: picture.title for name, picture in _pictures(result, rounds, predictions).items()}


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture of a run: what is to be seen on it, and what draws it into a file."""

    title: str
    draw: Callable[[Path], None]


def _pictures(
    result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> dict[str, _Picture]:
    """The pictures that speak of a run, by the kind of what was predicted, and of its figures."""
    pairs = pairs_of(result)
    by_round = _Picture(
        title=rounds_title(rounds, of_pairs=pairs is not None),
        draw=lambda path: draw_rounds(path, result, rounds),
    )
    found = {}
    if pairs is not None:
        if any(is_number(each.get("accuracy")) for each in rounds):
            found[ACCURACY_BY_ROUND] = by_round
        found[ACCURACY] = _Picture(
            title=pairs_title(pairs), draw=lambda path: draw_pairs(path, pairs)
        )
    else:
        found[ALIGNMENT_BY_ROUND] = by_round
        found[GROUPS] = _Picture(
            title=groups_title(result), draw=lambda path: draw_groups(path, result)
        )
        if result.get("fairness") is not None:
            found[FAIRNESS] = _Picture(
                title=fairness_title(result), draw=lambda path: draw_fairness(path, result)
            )
    example = choose_example(result, predictions)
    if example is not None:
        found[PREDICTED] = _Picture(
            title=answers_title(example), draw=lambda path: draw_answers(path, example)
        )
    return found
