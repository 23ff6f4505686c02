"""The figures of ``result.json``: where each stands, what it means, how it is measured and shown.

``result.json`` is built from this list, and so are the table of the console, the report, the model
card, and the rows of studies and comparisons. A new metric is one entry here, with its function
where it needs one, and its line in the manual's table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pairs.run_figures import PAIR_FIGURES
from experiments.report.views import Figure, Reads, View, outside
from experiments.report.wording import (
    Json,
    bytes_text,
    count_text,
    duration_text,
    gain_text,
    number_text,
    score_text,
    size_text,
)
from experiments.simulation.provenance import code, versions

if TYPE_CHECKING:
    from experiments.simulation.results import FinishedRun

#: The order of rows in files, where it is not that of the list; figures not named here follow.
_ORDER: Mapping[View, tuple[str, ...]] = {
    View.COMPARE: (
        *("alignment", "seen_questions", "unseen_questions", "worst_group", "cov", "log_loss"),
        *("groups", "context_swap_drop", "parameters", "rounds"),
    ),
}


def in_view(view: View, result: Json | None = None) -> list[Figure]:
    """The figures that a place shows, in its order; of a result, those that speak of its kind."""
    order = {name: rank for rank, name in enumerate(_ORDER.get(view, ()))}
    found = [
        figure
        for figure in FIGURES
        if view in figure.shown and (result is None or figure.speaks(result))
    ]
    return sorted(found, key=lambda figure: order.get(figure.column, len(order)))


def in_rows() -> list[Figure]:
    """The figures of a study's rows: those of its table, then those that it may name."""
    return [*in_view(View.STUDY), *in_view(View.STUDY_NAMED)]


def row_of(result: Json, view: View) -> dict[str, Any]:
    """The figures of a run as a row; None where its result has none."""
    return {figure.column: figure.of(result) for figure in in_view(view)}


def result_of(run: FinishedRun) -> dict[str, Any]:
    """The contents of ``result.json``."""
    result: dict[str, Any] = {}
    for figure in _measured(run):
        if figure.measure is not None:
            *parts, last = figure.key.split(".")
            inner = result
            for part in parts:
                inner = inner.setdefault(part, {})
            inner[last] = figure.measure(run)
    return result


def _measured(run: FinishedRun) -> list[Figure]:
    """The figures of a run: those of pairs stand in the result of a run on pairs alone."""
    return [figure for figure in FIGURES if run.on_pairs or not figure.of_pairs]


def manual() -> str:
    """The table of all keys, as the manual has it."""
    rows = [f"| `{each.key}` | {each.meaning} | {each.reads} |" for each in FIGURES if each.meaning]
    return "\n".join(["| key | meaning | computed from |", "|---|---|---|", *rows])


def _promise(run: FinishedRun) -> dict[str, Any]:
    """The promise of a run and, where it is private, what is outside of it."""
    promise, config = run.privacy(), run.config
    if not config.privacy.private:
        return promise
    seen = config.privacy.mode == "distributed" and not config.federation.secure_aggregation
    return {**promise, "outside": outside(_measured(run), shares_seen=seen)}


def _less(summary: str) -> Callable[[FinishedRun], float | None]:
    """Alignment with own context less that of another summary; None without that."""

    def difference(run: FinishedRun) -> float | None:
        own, other = run.summaries["unseen_groups"], run.summaries[summary]
        return None if own is None or other is None else own["mean"] - other["mean"]

    return difference


def _summed(run: FinishedRun, key: str) -> Any:
    """The sum over rounds of what each took."""
    return sum(record[key] for record in run.rounds)


def _count(value: float | None, _: int) -> str:
    return count_text(value)


def _bytes(value: float | None, _: int) -> str:
    return bytes_text(value)


def _summary(name: str, meaning: str) -> Figure:
    return Figure(
        f"alignment.{name}",
        meaning,
        reads=_summary_reads(name),
        measure=lambda run: run.summaries[name],
    )


def _summary_reads(name: str) -> Reads:
    return Reads.TRAIN if name in ("train_groups", "question_mean") else Reads.HELD_OUT


def _score(
    name: str, meaning: str, shown: Mapping[View, str], *, reads: Reads = Reads.HELD_OUT
) -> Figure:
    key = f"alignment.unseen_groups.{name}"
    return Figure(key, meaning, reads=reads, text=score_text, shown=shown)


def _other(
    summary: str, shown: Mapping[View, str], *, figure: str = "mean", name: str = ""
) -> Figure:
    """A figure of another summary than that of own context."""
    key = f"alignment.{summary}.{figure}"
    reads = _summary_reads(summary)
    return Figure(key, "", reads=reads, name=name or summary, text=score_text, shown=shown)


def _other_loss(summary: str, label: str) -> Figure:
    shown, name = {View.STUDY_NAMED: label}, f"{summary}_log_loss"
    return _other(summary, shown, figure="log_loss", name=name)


def _time(
    name: str,
    meaning: str,
    measure: Callable[[FinishedRun], float],
    shown: Mapping[View, str],
) -> Figure:
    return Figure(
        f"seconds.{name}",
        meaning,
        reads=Reads.TIME,
        name="seconds" if name == "total" else name,
        measure=measure,
        text=_count,
        long=duration_text,
        shown=shown,
    )


def _fairness(name: str, label: str, *, study: str = "", digits: int = 3) -> Figure:
    """A figure of evenness over the held-out groups; its interval stands beside it."""
    return Figure(
        f"fairness.unseen_groups.{name}.value",
        f"{label}.",
        reads=Reads.HELD_OUT,
        name=name,
        text=score_text,
        digits=digits,
        shown={View.FAIRNESS: label} | ({View.STUDY_NAMED: study} if study else {}),
    )


def _train_fairness(name: str, study: str) -> Figure:
    key = f"fairness.train_groups.{name}.value"
    shown = {View.STUDY_NAMED: study}
    name = f"train_{name}"
    return Figure(key, "", reads=Reads.TRAIN, name=name, text=score_text, shown=shown)


def _fairness_part(name: str, meaning: str, reads: Reads) -> Figure:
    key = f"fairness.{name}"
    return Figure(key, meaning, reads=reads, measure=lambda run: run.fairness[name])


FIGURES: tuple[Figure, ...] = (
    _summary("unseen_groups", "Held-out groups, each shown its own context."),
    Figure(
        "alignment.unseen_groups.mean",
        "Mean over (group, target) pairs of a draw, then over draws. Every summary of "
        "`alignment` has this figure and the six below.",
        reads=Reads.HELD_OUT,
        name="alignment",
        text=score_text,
        shown={
            View.CONSOLE: "mean",
            View.SHORT: "with own answers",
            View.QUESTIONS: "All questions",
            View.CARD: "all held-out groups, mean",
            View.STUDY: "alignment",
            View.STUDY_TERMINAL: "alignment",
            View.COMPARE: "alignment",
            View.COMPARE_TERMINAL: "alignment",
        },
    ),
    _score(
        "seen_questions",
        "The same over targets that a train group answered; null without any.",
        {
            View.QUESTIONS: "Questions in training",
            View.CARD_QUESTIONS: "questions seen to the train groups",
            View.STUDY: "seen questions",
            View.COMPARE: "seen questions",
        },
        reads=Reads.TRAIN,
    ),
    _score(
        "unseen_questions",
        "The same over all other targets; null without any.",
        {
            View.QUESTIONS: "Questions not in training",
            View.CARD_QUESTIONS: "questions new to the train groups",
            View.STUDY: "unseen questions",
            View.COMPARE: "unseen questions",
            View.COMPARE_TERMINAL: "unseen\nquestions",
        },
        reads=Reads.TRAIN,
    ),
    _score(
        "worst_group",
        "The lowest mean of a group.",
        {
            View.CARD: "worst held-out group",
            View.STUDY: "worst group",
            View.STUDY_TERMINAL: "worst group",
            View.COMPARE: "worst group",
            View.COMPARE_TERMINAL: "worst\ngroup",
        },
    ),
    _score(
        "cov",
        "Standard deviation of the groups' means over their mean.",
        {View.COMPARE: "CoV"},
    ),
    _score(
        "log_loss",
        "Cross-entropy of the answers, in nats, averaged as `mean` is; lower is better.",
        {View.STUDY: "log-loss", View.STUDY_TERMINAL: "log-loss", View.COMPARE: ""},
    ),
    Figure(
        "alignment.unseen_groups.groups",
        "Mean of each group.",
        reads=Reads.HELD_OUT,
        shown={View.COMPARE: ""},
    ),
    _summary("without_context", "The same groups and targets, predicted without any context."),
    _other("without_context", {View.SHORT: "without", View.STUDY_NAMED: "without context"}),
    _other_loss("without_context", "log-loss without context"),
    _summary(
        "swapped_context",
        "The same, shown the context of the next held-out group; null of a single one.",
    ),
    _other("swapped_context", {View.SHORT: "with another group's"}),
    _summary("uniform", "What guessing all options alike reaches on the same targets."),
    _other(
        "uniform",
        {
            View.CONSOLE: "guessing evenly",
            View.SHORT: "uniform guessing",
            View.STUDY_NAMED: "uniform guessing",
        },
    ),
    _other_loss("uniform", "log-loss of uniform guessing"),
    _summary(
        "question_mean",
        "What the train groups' mean answer reaches on them, computed in one place and "
        "without privacy.",
    ),
    _other("question_mean", {View.STUDY_NAMED: "mean answer of train groups"}),
    _other_loss("question_mean", "log-loss of the mean answer"),
    _summary(
        "train_groups", "Train groups with their own context, on questions that they trained on."
    ),
    _other("train_groups", {View.STUDY_NAMED: "train groups"}, name="train_alignment"),
    Figure(
        "choices",
        "Of choices and pairs: `accuracy`, `brier`, `calibration_error` and what that would "
        "be by chance, for `unseen_groups`, `without_context` and `uniform`; null of surveys.",
        reads=Reads.HELD_OUT,
        measure=lambda run: run.choices(),
    ),
    *PAIR_FIGURES,
    Figure(
        "context_gain",
        "What own context adds to the mean of `without_context`.",
        reads=Reads.HELD_OUT,
        measure=_less("without_context"),
        text=gain_text,
    ),
    Figure(
        "context_swap_drop",
        "What the mean loses with another group's context; null of a single group.",
        reads=Reads.HELD_OUT,
        measure=_less("swapped_context"),
        text=gain_text,
        shown={
            View.STUDY: "swap drop",
            View.COMPARE: "swap drop",
            View.COMPARE_TERMINAL: "swap\ndrop",
        },
    ),
    _fairness_part("confidence", "Of every interval below.", Reads.NOTHING),
    _fairness_part("resamples", "From which the intervals come.", Reads.NOTHING),
    _fairness_part(
        "unseen_groups",
        "How evenly held-out groups are predicted, every figure with an interval.",
        Reads.HELD_OUT,
    ),
    _fairness_part("train_groups", "The same of the train groups.", Reads.TRAIN),
    _fairness_part(
        "gap",
        "Mean of the train groups less that of the held-out groups, on questions in training.",
        Reads.TRAIN,
    ),
    _fairness("mean", "Mean of the groups, each counted once"),
    _fairness("worst_group", "Worst group"),
    _fairness("lowest_tenth", "Lowest tenth of the groups", study="lowest tenth"),
    _fairness("best_group", "Best group", study="best group"),
    _fairness("spread", "Spread: best less worst", study="spread"),
    _fairness("standard_deviation", "Standard deviation over groups"),
    _fairness("cov", "Coefficient of variation: that over the mean", study="cov"),
    _fairness("jain_index", "Jain's fairness index: 1 is even", study="Jain index", digits=4),
    _train_fairness("worst_group", "worst train group"),
    _train_fairness("spread", "spread of train groups"),
    _train_fairness("cov", "cov of train groups"),
    Figure(
        "fairness.gap.value",
        "",
        reads=Reads.TRAIN,
        name="gap",
        text=gain_text,
        shown={View.STUDY_NAMED: "gap"},
    ),
    Figure(
        "own_models",
        "Where every group keeps a model of its own: whose was `measured`, alignment and "
        "log-loss of a few `models`, their `distance` from their mean and the `norm` of that.",
        reads=Reads.HELD_OUT,
        measure=lambda run: run.own_models,
    ),
    Figure(
        "rounds",
        "Rounds of training that were done.",
        reads=Reads.NOTHING,
        measure=lambda run: run.rounds[-1]["round"],
        text=_count,
        shown={View.COST: "Rounds", View.STUDY: "rounds", View.COMPARE: "rounds"},
    ),
    Figure(
        "ended_early",
        "Whether that is fewer than were planned.",
        reads=Reads.NOTHING,
        measure=lambda run: run.rounds[-1]["round"] < run.config.federation.rounds,
    ),
    Figure(
        "parameters",
        "Numbers that were trained.",
        reads=Reads.NOTHING,
        measure=lambda run: run.measured.parameters,
        text=_count,
        shown={
            View.COST: "Trained parameters",
            View.STUDY_NAMED: "parameters",
            View.COMPARE: "parameters",
        },
    ),
    _time(
        "total",
        "Time of the run, or since it was resumed.",
        lambda run: run.seconds,
        {View.COST: "Time in all", View.STUDY: "seconds", View.STUDY_TERMINAL: "seconds"},
    ),
    _time(
        "train",
        "Of it, training.",
        lambda run: _summed(run, "seconds_train"),
        {View.COST: "Time training"},
    ),
    _time(
        "secagg",
        "Of it, secure aggregation.",
        lambda run: _summed(run, "seconds_secagg"),
        {View.COST: "Time in secure aggregation"},
    ),
    _time(
        "evaluate",
        "Of it, measuring.",
        lambda run: run.seconds_measuring + _summed(run, "seconds_evaluate"),
        {View.COST: "Time measuring"},
    ),
    Figure(
        "bytes.up_per_client_per_round",
        "What a client sent in a mean round.",
        reads=Reads.NOTHING,
        name="bytes_up_per_client_per_round",
        measure=lambda run: run.bytes_per_client_per_round("up"),
        text=_bytes,
        long=size_text,
        shown={
            View.COST: "Sent by a client in a round",
            View.STUDY: "bytes up",
            View.STUDY_TERMINAL: "bytes up",
            View.COMPARE: "bytes up",
            View.COMPARE_TERMINAL: "bytes up",
        },
    ),
    Figure(
        "bytes.down_per_client_per_round",
        "What it received.",
        reads=Reads.NOTHING,
        name="bytes_down_per_client_per_round",
        measure=lambda run: run.bytes_per_client_per_round("down"),
        text=_bytes,
        long=size_text,
        shown={View.COST: "Received by a client in a round", View.STUDY_NAMED: "bytes down"},
    ),
    Figure(
        "secure_aggregation",
        "Whether the server saw sums alone.",
        reads=Reads.NOTHING,
        measure=lambda run: run.config.federation.secure_aggregation,
    ),
    Figure(
        "aborted_rounds",
        "Rounds that gave nothing.",
        reads=Reads.NOTHING,
        measure=lambda run: sum(bool(record["aborted"]) for record in run.rounds),
        text=lambda value, _: number_text(value),
        shown={View.STUDY: "aborted", View.STUDY_TERMINAL: "aborted"},
    ),
    Figure(
        "privacy",
        "What was promised: `mode`, `unit`, `epsilon`, `delta`, who accounted for it, noise "
        "and clipping, the name of the `run` in its ledgers, the units of each group and how many "
        "of them were `left_out` of some round for lack of budget, and what is `outside` of the "
        "promise.",
        reads=Reads.NOTHING,
        measure=_promise,
    ),
    Figure(
        "mechanism",
        "Of a private run: how its data were read (`name`: tally or gradients), `why` that is the "
        "better choice (empty where somebody chose otherwise), and `assumed_respondents`, persons "
        "that were assumed behind a distribution; 0 where none were.",
        reads=Reads.NOTHING,
        measure=lambda run: run.mechanism(),
    ),
    Figure(
        "privacy.groups",
        "Units that each group declares, and how many of them were left out.",
        reads=Reads.COUNTS,
    ),
    Figure(
        "privacy.noise_multiplier",
        "Standard deviation of the noise over the sensitivity, of a private run.",
        reads=Reads.NOTHING,
        text=lambda value, _: number_text(value),
        shown={View.STUDY_NAMED: "noise multiplier"},
    ),
    Figure(
        "start",
        "What the run began from: `name` of the folder, digests of the `model` and of its `files`, "
        "`privacy` under which it was trained (`mode`, and `unit`, `epsilon`, `delta`, `run`, "
        "`groups`; null where nothing is stated) and its own `start`; null where values were "
        "drawn.",
        reads=Reads.NOTHING,
        measure=lambda run: run.start,
    ),
    Figure(
        "data.source",
        "Name of the data.",
        reads=Reads.NOTHING,
        measure=lambda run: Path(run.config.data).name,
    ),
    Figure(
        "data.records",
        "Records that were read.",
        reads=Reads.COUNTS,
        measure=lambda run: sum(map(len, run.population.records.values())),
    ),
    Figure(
        "data.skipped",
        "Invalid rows that were left out.",
        reads=Reads.COUNTS,
        measure=lambda run: len(run.population.skipped),
    ),
    Figure(
        "data.left_out",
        "Rows of a published shape that prefer nothing, by reason.",
        reads=Reads.COUNTS,
        measure=lambda run: dict(run.population.left_out),
    ),
    Figure(
        "data.train_groups",
        "Groups that trained.",
        reads=Reads.NOTHING,
        measure=lambda run: len(run.population.split.train_groups),
        text=_count,
        shown={View.STUDY_NAMED: "groups that train"},
    ),
    Figure(
        "data.held_out_groups",
        "Groups that did not.",
        reads=Reads.NOTHING,
        measure=lambda run: len(run.population.split.draws),
        text=_count,
        shown={View.STUDY_NAMED: "groups held out"},
    ),
    Figure(
        "data.context_answers",
        "Most answers shown of a held-out group.",
        reads=Reads.HELD_OUT,
        measure=lambda run: max(
            len(draw.context) for each in run.population.split.draws.values() for draw in each
        ),
    ),
    Figure("seed", "Of the run.", reads=Reads.NOTHING, measure=lambda run: run.config.seed),
    Figure(
        "code",
        "Version and commit that ran, and whether files had been changed since.",
        reads=Reads.NOTHING,
        measure=lambda _: code(),
    ),
    Figure(
        "versions",
        "Of Python and of the libraries.",
        reads=Reads.NOTHING,
        measure=lambda _: versions(),
    ),
    Figure(
        "config",
        "Every setting, by section.",
        reads=Reads.NOTHING,
        measure=lambda run: run.config.nested(),
    ),
)
