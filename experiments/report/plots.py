"""The pictures of a run: alignment by round, groups apart, fairness, predictions beside answers.

Each picture says in its title what is to be seen, and under it what a reader must know to judge
it: where an axis does not start at 0, and by which rule examples were chosen. They are drawn from
plain data, the contents of ``result.json``, ``rounds.jsonl`` and ``predictions.jsonl``, so they
can be drawn again from a run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.report.plot_answers import answers_title, choose_example, draw_answers
from experiments.report.plot_fairness import draw_fairness, fairness_title
from experiments.report.plot_groups import draw_groups, groups_title
from experiments.report.plot_rounds import draw_rounds, rounds_title
from experiments.report.wording import Json

PLOTS_FOLDER = "plots"
ALIGNMENT_BY_ROUND = "alignment_by_round.png"
GROUPS = "groups.png"
FAIRNESS = "fairness.png"
PREDICTED = "predicted_beside_actual.png"


def draw_plots(
    folder: Path, result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> list[Path]:
    """Draw the pictures of a run into ``folder/plots``.

    Pictures of an earlier run in that folder are replaced; one that cannot be drawn for lack of
    predictions, or of intervals in a result from before there were any, is removed.

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
    draw_rounds(place / ALIGNMENT_BY_ROUND, result, rounds)
    draw_groups(place / GROUPS, result)
    if result.get("fairness") is None:
        (place / FAIRNESS).unlink(missing_ok=True)
    else:
        draw_fairness(place / FAIRNESS, result)
    example = choose_example(result, predictions)
    if example is None:
        (place / PREDICTED).unlink(missing_ok=True)
    else:
        draw_answers(place / PREDICTED, example)
    return [place / name for name in plot_titles(result, rounds, predictions)]


def plot_titles(
    result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> dict[str, str]:
    """The file names of a run's pictures, each with what is to be seen on it."""
    titles = {ALIGNMENT_BY_ROUND: rounds_title(rounds), GROUPS: groups_title(result)}
    if result.get("fairness") is not None:
        titles[FAIRNESS] = fairness_title(result)
    example = choose_example(result, predictions)
    return titles if example is None else titles | {PREDICTED: answers_title(example)}
