"""A study as text and as a page: ``study.md`` and ``study.html``, from the same cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.compare.report import bytes_text, count_text
from experiments.report.pages import embedded, render
from experiments.report.wording import Json, gain_text, is_number, plural, score_text
from experiments.studies.file import text_of
from experiments.studies.findings import PICTURES, picture_title, sentences
from experiments.studies.series import label_of

MARKDOWN_FILE = "study.md"
PAGE_FILE = "study.html"
_TEMPLATE = "study.html.j2"
_DASH = "\N{EN DASH}"

_EXPLAINED = (
    "Alignment: 1 minus the Jensen-Shannon distance of predicted and actual answers, mean over "
    "held-out groups and their targets; 1 is perfect. ± is the standard deviation over draws. Seen "
    "questions: those that a train group answered. Swap drop: what a predictor loses when it is "
    "shown another group's answers in place of the group's own. Bytes up: of one client in one "
    "round. Bytes in all: up and down, of all clients and rounds. Groups: in the sum of a round, "
    "on average. To the target: what it took until the first measured round that reaches it; of "
    "bytes, those that one client had sent. Seconds are of the machine that ran it."
)
_DESCRIPTIONS = {
    "round": "Line chart of alignment on held-out groups against rounds, a line for each place.",
    "bytes_up": (
        "Line chart of alignment on held-out groups against the bytes that a client has sent, on a "
        "logarithmic axis, a line for each place."
    ),
    "value": "Line chart of final alignment on held-out groups against the value that is varied.",
}


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """A column of figures.

    Attributes:
        title: Its heading.
        text: How a mean is written; a dash where there is none.
        spread: Whether the spread over draws stands beside it.
        shown: What makes the column worth showing, of all its means that are known.
    """

    title: str
    text: Callable[[float | None], str]
    spread: bool = False
    shown: Callable[[Sequence[float]], bool] = bool


def _score(value: float | None) -> str:
    return score_text(value, 4)


_FIGURES: Mapping[str, _Figure] = {
    "alignment": _Figure(title="alignment", text=_score, spread=True),
    "worst_group": _Figure(title="worst group", text=_score),
    "log_loss": _Figure(title="log-loss", text=_score),
    "seen_questions": _Figure(title="seen questions", text=_score),
    "unseen_questions": _Figure(title="unseen questions", text=_score),
    "context_swap_drop": _Figure(title="swap drop", text=lambda value: gain_text(value, 4)),
    "rounds": _Figure(title="rounds", text=count_text),
    "aborted_rounds": _Figure(title="aborted", text=lambda v: _number(v), shown=any),
    "groups_per_round": _Figure(title="groups", text=lambda v: _number(v)),
    "bytes_up_per_client_per_round": _Figure(title="bytes up", text=bytes_text),
    "bytes_total": _Figure(title="bytes in all", text=bytes_text),
    "seconds": _Figure(title="seconds", text=count_text),
    "rounds_to_target": _Figure(title="rounds to target", text=lambda v: _number(v)),
    "bytes_to_target": _Figure(title="bytes to target", text=bytes_text),
    "seconds_to_target": _Figure(title="seconds to target", text=count_text),
}


def _number(value: float | None) -> str:
    return f"{value:.3g}" if is_number(value) else _DASH


def table(
    study: Json, *, only: Sequence[str] = tuple(_FIGURES)
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table, in the order of places: names first, then figures.

    Figures that no place has are left out, and so are aborted rounds where there are none.

    Args:
        study: Contents of ``study.json``.
        only: Figures to choose from.
    """
    means, names = study["means"], study["names"]
    figures = {}
    for key in only:
        known = [v for mean in means if is_number(v := mean[key]["mean"])]
        if _FIGURES[key].shown(known):
            figures[key] = _FIGURES[key]
    several = bool(study["cases"])
    heading = [*(["case"] if several else []), *names.values(), "draws"]
    heading += [figure.title for figure in figures.values()]
    reached = any(0 < mean["reached"] < mean["draws"] for mean in means)
    rows = []
    for mean in means:
        place = study["places"][mean["place"]]
        cells = [place["case"]] if several else []
        cells += [text_of(place["varied"][key]) for key in names]
        cells.append(str(mean["draws"]))
        for key, figure in figures.items():
            cells.append(_cell(mean[key], figure))
            if key == "rounds_to_target" and reached:
                cells[-1] += f" ({mean['reached']} of {mean['draws']})"
        rows.append(cells)
    return heading, rows


def _cell(value: Json, figure: _Figure) -> str:
    text = figure.text(value["mean"])
    if figure.spread and is_number(value["spread"]):
        text += f" ± {figure.text(value['spread'])}"
    return text


def markdown(study: Json) -> str:
    """The contents of ``study.md``."""
    heading, rows = table(study)
    align = ["---" if i < _names(study) else "---:" for i in range(len(heading))]
    lines = [
        " | ".join(cell.replace("|", "/") for cell in each) for each in (heading, align, *rows)
    ]
    said = [*sentences(study), *study["caveats"]]
    return "\n".join(
        [
            f"# {study['title']}",
            "",
            f"{_described(study)} {_EXPLAINED}",
            "",
            *(f"| {line} |" for line in lines),
            "",
            *(f"- {each}" for each in said),
            "",
            f"Made by {_made_by(study)}.",
            "",
        ]
    )


def _names(study: Json) -> int:
    """How many columns say which place a row is of."""
    return len(study["names"]) + bool(study["cases"])


def _described(study: Json) -> str:
    """What was run on what."""
    train = sorted({row["train_groups"] for row in study["rows"]} - {None})
    who = " to ".join(dict.fromkeys(f"{each:,}" for each in (train[:1] + train[-1:]))) or "no"
    draws = plural(len(study["seeds"]), "draw")
    return (
        f"{plural(len(study['places']), 'place')} in {draws} each, {study['finished']} of "
        f"{plural(study['runs'], 'run')} finished; {who} groups trained on {study['data']}."
    )


def _made_by(study: Json) -> str:
    """The code, in words."""
    code = study["code"]
    if code["commit"] is None:
        return f"fedaccord {code['version']}"
    return f"commit {code['commit']}{' with changes' if code['changed'] else ''}"


def write_reports(out: Path, study: Json) -> list[Path]:
    """Write ``study.md`` and ``study.html``, with the pictures that lie in the folder.

    Args:
        out: Folder of the study.
        study: Contents of ``study.json``, with one row at least.
    """
    write_atomically(out / MARKDOWN_FILE, markdown(study))
    pictures = [
        embedded(path, title=picture_title(study, what), description=_DESCRIPTIONS[what])
        for what, stem in PICTURES.items()
        if (path := out / f"{stem}.png").is_file()
    ]
    heading, rows = table(study)
    page = render(
        _TEMPLATE,
        study=study,
        described=_described(study),
        explained=_EXPLAINED,
        heading=heading,
        names=_names(study),
        rows=rows,
        sentences=sentences(study),
        pictures=pictures,
        given=_given(study),
        places=[
            (label_of(study, each["place"]), sorted(each["config"].items()))
            for each in study["places"]
        ],
        made_by=_made_by(study),
        versions=sorted(study["versions"].items()),
    )
    write_atomically(out / PAGE_FILE, page)
    return [out / MARKDOWN_FILE, out / PAGE_FILE]


def _given(study: Json) -> list[tuple[str, Any]]:
    """What the file sets and varies."""
    given: list[tuple[str, Any]] = [("data", study["data"]), ("split", study["split"] or "drawn")]
    given.append(("seeds", ", ".join(map(str, study["seeds"]))))
    if study["target"] is not None:
        given.append(("target", study["target"]))
    given += study["settings"].items()
    given += [(key, ", ".join(map(text_of, values))) for key, values in study["vary"].items()]
    for case in study["cases"]:
        said = ", ".join(f"{key} = {text_of(value)}" for key, value in case["settings"].items())
        given.append((f"case {case['name']}", said or "nothing of its own"))
    return given
