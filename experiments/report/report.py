"""The report of a run: one HTML page that needs no network, for people who were not there.

It opens with what was trained and how well it predicts in plain words, then says what is *not*
guaranteed about privacy, then shows the pictures, every group's figures, the cost and the
configuration. Everything that comes from data is escaped; the page has neither scripts nor links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.pairs.run_tables import (
    group_rows,
    headings,
    sentences,
    summary_rows,
    train_headings,
    train_rows,
)
from experiments.report.pages import embedded, render
from experiments.report.plots import (
    ACCURACY,
    ACCURACY_BY_ROUND,
    ALIGNMENT_BY_ROUND,
    FAIRNESS,
    GROUPS,
    PLOTS_FOLDER,
    PREDICTED,
    draw_plots,
    plot_titles,
)
from experiments.report.views import View, pairs_of
from experiments.report.wording import (
    DASH,
    WORST,
    Json,
    gain_text,
    interval_text,
    is_number,
    plural,
    score_text,
)
from experiments.simulation.figures import in_view
from privacy.accounting.choices import NO_PRIVACY
from privacy.lineage import start_in_words

REPORT_FILE = "report.html"

_TEMPLATE = "report.html.j2"
_DESCRIPTIONS = {
    ALIGNMENT_BY_ROUND: (
        "Line chart of the mean alignment on the held-out groups after each measured round, with "
        "levels for the final model without context and for uniform guessing, and the training "
        "loss below."
    ),
    ACCURACY_BY_ROUND: (
        "Line chart of the accuracy on the held-out groups after each measured round, with levels "
        "for the longer response and for guessing, and the training loss below."
    ),
    ACCURACY: (
        "For every held-out group, its accuracy with an interval and that of taking the longer "
        "response; below, a curve of how often predictions came out beside their confidence. The "
        "tables on this page hold the figures."
    ),
    GROUPS: (
        "For every held-out group, its alignment without context, with its own and with another "
        "group's; the train groups below. The tables on this page hold the figures."
    ),
    FAIRNESS: (
        "Every group's alignment with its own context and an interval, held-out groups above train "
        "groups, with a line at the mean of each side."
    ),
    PREDICTED: (
        "Bars for one held-out group and up to six questions: shares of its answers beside the "
        "predictions with and without its context."
    ),
}
#: Differences below this are not worth a verdict.
_SLIGHT = 0.005
_NOTHING: Json = {"mean": None, "groups": {}}


def write_report(
    folder: Path, result: Json, rounds: Sequence[Json], predictions: Sequence[Json]
) -> Path:
    """Write ``folder/report.html``: one self-contained page, readable on a phone and on paper.

    The pictures of :func:`experiments.report.plots.draw_plots` are embedded; they are drawn first
    where one is missing.

    Args:
        folder: The run's folder.
        result: Contents of ``result.json``.
        rounds: Contents of ``rounds.jsonl``.
        predictions: Predictions on the held-out groups.
    """
    titles = plot_titles(result, rounds, predictions)
    paths = {name: folder / PLOTS_FOLDER / name for name in titles}
    if not all(path.is_file() for path in paths.values()):
        draw_plots(folder, result, rounds, predictions)
    pictures = {
        name: embedded(paths[name], title=title, description=_DESCRIPTIONS[name])
        for name, title in titles.items()
    }
    page = render(
        _TEMPLATE,
        result=result,
        pairs=_pair_tables(result),
        worst=WORST,
        short=_short(result),
        summary=_summary(result),
        notice=_notice(result),
        notice_title=_notice_title(result),
        pictures=[picture for name, picture in pictures.items() if name != FAIRNESS],
        fairness=result.get("fairness") if pairs_of(result) is None else None,
        fairness_rows=_fairness_rows(result),
        fairness_picture=pictures.get(FAIRNESS),
        held_out=_held_out(result),
        questions=_questions(result),
        train=_sorted_groups(result["alignment"]["train_groups"] or _NOTHING),
        cost=_cost(result, rounds),
        privacy=[
            *_leaves({k: v for k, v in result["privacy"].items() if k != "outside"}),
            *(("outside of the promise", each) for each in result["privacy"].get("outside", ())),
            ("secure aggregation", "yes" if result["secure_aggregation"] else "no"),
        ],
        config=list(_leaves(result["config"])),
        versions=sorted(result["versions"].items()),
    )
    path = folder / REPORT_FILE
    write_atomically(path, page)
    return path


def _short(result: Json) -> list[tuple[str, str, bool]]:
    """The figures at the head: label, text, and whether it is the first, which stands out."""
    return [
        (figure.shown[View.SHORT], figure.written(value, View.SHORT), number == 0)
        for number, figure in enumerate(in_view(View.SHORT, result))
        if (value := figure.of(result)) is not None
    ]


def _pair_tables(result: Json) -> Json | None:
    """The tables of a run on pairs, which take the place of those of alignment."""
    pairs = pairs_of(result)
    if pairs is None:
        return None
    return {
        "headings": headings(pairs),
        "groups": group_rows(pairs),
        "all": summary_rows(pairs),
        "train_headings": train_headings(),
        "train": train_rows(pairs),
    }


def _fairness_rows(result: Json) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of the table of fairness: a label, and of each side its text and interval."""
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    for figure in in_view(View.FAIRNESS) if result.get("fairness") else ():
        name = figure.key.split(".")[2]
        sides = [result["fairness"][side][name] for side in ("unseen_groups", "train_groups")]
        if any(sides):
            cells = [
                (
                    figure.written((side or {}).get("value"), View.FAIRNESS),
                    interval_text(side, figure.digits) or DASH,
                )
                for side in sides
            ]
            rows.append((figure.shown[View.FAIRNESS], cells))
    return rows


def _questions(result: Json) -> list[tuple[str, list[str], str]]:
    """The foot of the table of held-out groups: a label, its figures, and the gain where known."""
    rows = []
    for figure in in_view(View.QUESTIONS):
        cells = [figure.written(value, View.QUESTIONS) for value in figure.across(result)]
        gain = gain_text(result["context_gain"]) if figure.column == "alignment" else ""
        rows.append((figure.shown[View.QUESTIONS], cells, gain))
    return rows


def _summary(result: Json) -> list[str]:
    """The opening in plain words, training and predictions: one paragraph an entry."""
    alignment, data = result["alignment"], result["data"]
    own, none = alignment["unseen_groups"], alignment["without_context"]
    swapped = alignment["swapped_context"] or _NOTHING
    skipped = f" Left out: {plural(data['skipped'], 'invalid row')}." if data["skipped"] else ""
    if empty := sum(data.get("left_out", {}).values()):
        skipped += f" Left out: {plural(empty, 'row')} without a preference."
    trained = (
        f"A preference predictor was trained in {plural(result['rounds'], 'round')} on the answers "
        f"of {plural(data['train_groups'], 'group')} (data: {data['source']}, "
        f"{plural(data['records'], 'record')}).{skipped} It then had to predict the answers of "
        f"{plural(data['held_out_groups'], 'group')} that took no part in training."
    )
    shown = data.get("context_answers") != 0
    predicts = (
        "Shown some of such a group's own answers, it predicts the others with a mean alignment "
        f"of {score_text(own['mean'])}; without them, {score_text(none['mean'])}."
        if shown
        else "Shown none of such a group's own answers, it predicts them with a mean alignment of "
        f"{score_text(own['mean'])}."
    )
    predicts += (
        f" Guessing every option alike reaches {score_text(alignment['uniform']['mean'])}. "
        f"Alignment is 1 for a perfect prediction and {score_text(WORST, 2)} for the worst there "
        "is."
    )
    spread = (
        f"The group predicted worst reaches {score_text(own['worst_group'])}; the groups' spread "
        f"(standard deviation over mean) is {own['cov']:.1%}."
    )
    pairs = pairs_of(result)
    alone = _own_models(result.get("own_models"), data["train_groups"])
    told = [_whose_answers(swapped["mean"], result["context_swap_drop"])] if shown else []
    private = result["privacy"]["mode"] != NO_PRIVACY
    began = start_in_words(result.get("start"), private=private)
    if pairs is not None:
        return [trained, *began, *alone, *sentences(pairs, context=shown)]
    return [
        trained,
        *began,
        *alone,
        predicts,
        *_right_choices(result.get("choices")),
        *told,
        spread,
    ]


def _own_models(own: Json | None, groups: int) -> list[str]:
    """A paragraph on the model that was measured, where every group has its own; else none."""
    if own is None:
        return []
    scores = [each["alignment"] for each in own["models"].values()]
    return [
        f"There is no common model: each of the {plural(groups, 'group')} keeps its own, made by "
        "meeting others in pairs. All figures here are those of one of them, "
        f"{own['measured']}, drawn by the run's seed; of {plural(len(scores), 'model')} that were "
        f"measured the mean alignment lies between {score_text(min(scores))} and "
        f"{score_text(max(scores))}. Their distance from their mean is {own['distance']:.3g} "
        f"(root mean square over all groups), the length of that mean {own['norm']:.3g}."
    ]


def _right_choices(choices: Json | None) -> list[str]:
    """A paragraph on choices that were predicted rightly; none of surveys."""
    if choices is None:
        return []
    own, uniform = choices["unseen_groups"], choices["uniform"]
    return [
        f"For {own['accuracy']:.1%} of the questions the likeliest option was the one that most "
        f"people chose; guessing reaches {uniform['accuracy']:.1%}. What it said of the likeliest "
        f"option was off by {score_text(own['calibration_error'])} on average, of which "
        f"{score_text(own['calibration_error_by_chance'])} is to be expected by chance."
    ]


def _whose_answers(swapped: float | None, drop: float | None) -> str:
    """A sentence on the use that the predictor makes of whose answers it is shown."""
    if not is_number(drop):
        return "Whether it matters whose answers are shown could not be measured with one group."
    figure = f"{score_text(swapped)} ({gain_text(-drop)})"
    if abs(drop) < _SLIGHT:
        verdict = "so it hardly matters here whose answers are shown"
    elif drop > 0:
        verdict = "so the predictor does use whose answers it is shown"
    else:
        verdict = "better than with its own: the predictor does not use whose answers it is shown"
    return f"Shown another group's answers instead, alignment is {figure}, {verdict}."


def _notice_title(result: Json) -> str:
    """The heading of the notice."""
    if result["privacy"]["mode"] == "none":
        return "Nothing is guaranteed about privacy in this run"
    return "The guarantee of this run does not hold against its server"


def _notice(result: Json) -> list[str]:
    """Sentences on those against whom nothing is guaranteed; none where it is for all."""
    mode, reasons = result["privacy"]["mode"], []
    if mode == "none":
        reasons.append(
            "Training used no differential privacy: the trained model may reveal single records "
            "of the train groups."
        )
    if not result["secure_aggregation"] and mode == "none":
        reasons.append(
            "Updates were added up without secure aggregation: the server could read the update "
            "of every single group."
        )
    if not result["secure_aggregation"] and mode == "distributed":
        reasons.append(
            "Every group added only its share of the noise, and the shares were added up without "
            "secure aggregation: the server could read each of them alone. The promised epsilon "
            "holds for whoever sees the sums and the model only."
        )
    return reasons


def _sorted_groups(summary: Json) -> list[tuple[str, float]]:
    """Groups and their scores, highest first."""
    return sorted(summary["groups"].items(), key=lambda item: (-item[1], item[0]))


def _held_out(result: Json) -> list[dict[str, Any]]:
    """The rows of the table of held-out groups."""
    alignment = result["alignment"]
    none = alignment["without_context"]["groups"]
    swapped = (alignment["swapped_context"] or _NOTHING)["groups"]
    return [
        {
            "name": name,
            "own": own,
            "none": none.get(name),
            "swapped": swapped.get(name),
            "gain": own - none[name] if is_number(none.get(name)) else None,
        }
        for name, own in _sorted_groups(alignment["unseen_groups"])
    ]


def _cost(result: Json, rounds: Sequence[Json]) -> list[tuple[str, str]]:
    """The cost of the run, as terms and figures."""
    dropped = sum(bool(record["dropped"]) for record in rounds)
    aborted = sum(bool(record["aborted"]) for record in rounds)
    first, *rest = (
        (figure.shown[View.COST], figure.written(figure.of(result), View.COST))
        for figure in in_view(View.COST)
    )
    return [
        first,
        ("Rounds in which a group dropped out", f"{dropped:,}"),
        ("Rounds that were aborted and gave nothing", f"{aborted:,}"),
        *rest,
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of nested sections, under dotted names."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
