"""A comparison as text: ``compare.md``, to be read or to be put into other pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.wording import Json, gain_text, is_number, plural, score_text

_DASH = "\N{EN DASH}"
_COLUMNS = (
    "method",
    "alignment",
    "95 % of groups",
    "seen questions",
    "unseen questions",
    "worst group",
    "CoV",
    "swap drop",
    "parameters",
    "rounds",
    "bytes up",
    "seconds",
)
_EXPLAINED = (
    "Alignment: 1 minus the Jensen-Shannon distance of predicted and actual answers, mean over "
    "held-out groups and their targets; 1 is perfect. Seen questions: those that a train group "
    "answered. CoV: standard deviation over mean of the groups' alignment. Swap drop: what a "
    "method loses when it is shown another group's answers in place of the group's own; a dash "
    "where it reads none. Bytes up: of one client in one round. Seconds: of training, on this "
    "machine; the first baseline that needs embeddings makes them for all."
)
_VERDICTS = {True: "holds here", False: "does not hold here", None: "cannot be told from this"}


def bytes_text(count: float | None) -> str:
    """A number of bytes with three digits: ``2.85 MB``."""
    if not is_number(count):
        return _DASH
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def count_text(count: float | None) -> str:
    """A number without decimals, a dash where there is none."""
    return f"{count:,.0f}" if is_number(count) else _DASH


def titles_of(study: Json) -> dict[str, str]:
    """Names of the methods."""
    return {mean["method"]: mean["title"] for mean in study["means"]}


def _row(mean: Json, interval: Json) -> list[str]:
    def figure(name: str) -> float | None:
        value: float | None = mean[name]["mean"]
        return value

    low, high = interval["low"], interval["high"]
    across = _DASH if low is None else f"{score_text(low)} to {score_text(high)}"
    score = score_text(figure("alignment"), 4)
    spread = mean["alignment"]["spread"]
    if is_number(spread) and spread >= 5e-5:
        score += f" ± {score_text(spread, 4)}"
    return [
        mean["title"],
        score,
        across,
        score_text(figure("seen_questions"), 4),
        score_text(figure("unseen_questions"), 4),
        score_text(figure("worst_group"), 4),
        score_text(figure("cov"), 4),
        gain_text(figure("context_swap_drop"), 4),
        count_text(figure("parameters")),
        count_text(figure("rounds")),
        bytes_text(figure("bytes_up_per_client_per_round")),
        count_text(figure("seconds")),
    ]


def table_rows(study: Json) -> list[list[str]]:
    """The cells of the table, by mean alignment, the highest first."""
    intervals = {each["method"]: each for each in study["intervals"]}
    order = sorted(study["means"], key=lambda mean: -(mean["alignment"]["mean"] or 0.0))
    return [_row(mean, intervals[mean["method"]]) for mean in order]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [_COLUMNS, ("---", *("---:" for _ in _COLUMNS[1:])), *rows]
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
    return _DASH if share is None else f"{100 * share:.2g} %"


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
    if study["finished"] < study["runs"]:
        about += f" Unfinished: {study['finished']} of {plural(study['runs'], 'run')}."
    lines = [
        "# Compared with others",
        "",
        about,
        "",
        *_table(table_rows(study)),
        "",
        _EXPLAINED,
        "",
        *_section("Against the strongest baseline", leads(study)),
        *_section("To federated GPO's best score", reached(study)),
        *_section("Claims of the PluralLLM paper, at equal steps", verdicts(study)),
        *_section("To know", study["caveats"]),
    ]
    return "\n".join(lines).rstrip() + "\n"
