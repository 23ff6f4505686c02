"""A comparison as text: ``compare.md``, to be read or to be put into other pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.views import Figure, View
from experiments.report.wording import (
    DASH,
    Json,
    bytes_text,
    count_text,
    gain_text,
    is_number,
    plural,
    score_text,
    unfinished,
)
from experiments.simulation.figures import in_view

_EXPLAINED = (
    "Alignment: 1 minus the Jensen-Shannon distance of predicted and actual answers, mean over "
    "held-out groups and their targets; 1 is perfect. Seen questions: those that a train group "
    "answered. CoV: standard deviation over mean of the groups' alignment. Swap drop: what a "
    "method loses when it is shown another group's answers in place of the group's own; a dash "
    "where it reads none. Bytes up: of one client in one round. Seconds: of training, on this "
    "machine; the first baseline that needs embeddings makes them for all."
)
_VERDICTS = {True: "holds here", False: "does not hold here", None: "cannot be told from this"}


def titles_of(study: Json) -> dict[str, str]:
    """Names of the methods."""
    return {mean["method"]: mean["title"] for mean in study["means"]}


def _columns() -> list[Figure]:
    """The figures of the table: those of the rows that have a heading."""
    return [figure for figure in in_view(View.COMPARE) if figure.shown[View.COMPARE]]


def _row(mean: Json, interval: Json) -> list[str]:
    first, *rest = (
        figure.written(mean[figure.column]["mean"], View.COMPARE) for figure in _columns()
    )
    spread = mean["alignment"]["spread"]
    if is_number(spread) and spread >= 5e-5:
        first += f" ± {score_text(spread, 4)}"
    low, high = interval["low"], interval["high"]
    across = DASH if low is None else f"{score_text(low)} to {score_text(high)}"
    return [mean["title"], first, across, *rest, count_text(mean["seconds"]["mean"])]


def table(study: Json) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table, by mean alignment, the highest first."""
    first, *rest = (figure.shown[View.COMPARE] for figure in _columns())
    heading = ["method", first, "95 % of groups", *rest, "seconds"]
    intervals = {each["method"]: each for each in study["intervals"]}
    order = sorted(study["means"], key=lambda mean: -(mean["alignment"]["mean"] or 0.0))
    return heading, [_row(mean, intervals[mean["method"]]) for mean in order]


def _lines(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def leads(study: Json) -> list[str]:
    """A sentence for each way of running FedAccord: its lead on the strongest baseline."""
    titles = titles_of(study)
    own = {mean["method"] for mean in study["means"] if not mean["baseline"]}
    sentences = []
    for each in study["intervals"]:
        lead = each["over_strongest"]
        if each["method"] not in own or lead is None:
            continue
        text = (
            f"{titles[each['method']]} against the strongest baseline "
            f"({titles[lead['baseline']]}): {gain_text(lead['difference'], 4)}"
        )
        if lead["low"] is not None:
            text += f", 95 % interval {gain_text(lead['low'], 4)} to {gain_text(lead['high'], 4)}"
        sentences.append(f"{text}.")
    return sentences


def reached(study: Json) -> list[str]:
    """A sentence for each federated method: rounds and bytes to federated GPO's best score."""
    found: Mapping[str, Any] | None = study["to_reach"]
    if found is None:
        return []
    titles = titles_of(study)
    score = f"{score_text(found['score'], 4)}, the best of {titles[found['of']]}"
    sentences = []
    for each in found["methods"]:
        who = titles[each["method"]]
        if each["round"] is None:
            sentences.append(f"{who} never reaches {score}.")
            continue
        sent = bytes_text(each["bytes_up_per_client"])
        text = f"{who} reaches {score}, after {plural(each['round'], 'round')} and {sent}"
        if each["method"] != found["of"] and each["share_of_rounds"] is not None:
            text += (
                f": {_share(each['share_of_rounds'])} of its rounds and "
                f"{_share(each['share_of_bytes'])} of its bytes"
            )
        sentences.append(f"{text}.")
    return sentences


def _share(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.2g} %"


def verdicts(study: Json) -> list[str]:
    """A sentence for each claim: whether it holds, and the figures."""
    titles = titles_of(study)
    return [
        f"{titles[each['federated']]} {each['claim']} {titles[each['gathered']]}: "
        f"{_VERDICTS[each['holds']]}. {each['statement']}"
        for each in study["claims"]
    ]


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {each}" for each in sentences), ""] if sentences else []


def markdown(study: Json) -> str:
    """The contents of ``compare.md``."""
    draws = max((mean["draws"] for mean in study["means"]), default=0)
    groups = plural(study["held_out_groups"], "held-out group")
    about = f"{groups}, {plural(study['train_groups'], 'train group')}, {plural(draws, 'draw')}."
    about += unfinished(study)
    lines = [
        "# Compared with others",
        "",
        about,
        "",
        *_lines(*table(study)),
        "",
        _EXPLAINED,
        "",
        *_section("Against the strongest baseline", leads(study)),
        *_section("To federated GPO's best score", reached(study)),
        *_section("Claims of the PluralLLM paper, at equal steps", verdicts(study)),
        *_section("To know", study["caveats"]),
    ]
    return "\n".join(lines).rstrip() + "\n"
