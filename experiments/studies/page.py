"""Reports of a study: ``study.md`` and ``study.html``, from the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atomic import write_atomically
from experiments.report.pages import embedded, render
from experiments.report.wording import Json, is_number, plural
from experiments.studies.figures import FIGURES, Figure
from experiments.studies.file import text_of
from experiments.studies.findings import Picture, picture_title, pictures_of, sentences
from experiments.studies.series import label_of
from texts import shown, visible_lines

MARKDOWN_FILE = "study.md"
PAGE_FILE = "study.html"
_TEMPLATE = "study.html.j2"
_DASH = "\N{EN DASH}"

_EXPLAINED = (
    "Alignment: 1 minus the Jensen-Shannon distance of predicted and actual answers, mean over "
    "held-out groups and their targets; 1 is perfect. ± is the standard deviation over draws."
)
_DESCRIPTIONS = {
    "round": (
        "Line chart of alignment on held-out groups against rounds, a line for each condition."
    ),
    "bytes_up": (
        "Line chart of alignment on held-out groups against the bytes that a client has sent, on a "
        "logarithmic axis, a line for each condition."
    ),
}


def _columns(study: Json, only: Sequence[str] = ()) -> dict[str, Figure]:
    """The figures of the table: those that the study names, then usual ones; or those of ``only``.

    Figures that no condition has are left out, and so are aborted rounds where there are none.
    """
    usual = [name for name, figure in FIGURES.items() if figure.usual]
    columns = {}
    for key in only or dict.fromkeys((*study["figures"], *usual)):
        known = [v for mean in study["means"] if is_number(v := mean[key]["mean"])]
        if FIGURES[key].shown(known):
            columns[key] = FIGURES[key]
    return columns


def table(study: Json, *, only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table, in the order of conditions: names first, then figures.

    Args:
        study: Contents of ``study.json``.
        only: Figures to choose from; empty chooses as reports do.
    """
    means, names = study["means"], study["names"]
    columns = _columns(study, only)
    several = bool(study["cases"])
    heading = [*(["case"] if several else []), *names.values(), "draws"]
    heading += [figure.title for figure in columns.values()]
    reached = any(0 < mean["reached"] < mean["draws"] for mean in means)
    rows = []
    for mean in means:
        condition = study["conditions"][mean["condition"]]
        varied = {key: text_of(value) for key, value in condition["varied"].items()}
        cells = [condition["case"]] if several else []
        cells += [varied.get(key, _DASH) for key in names]
        cells.append(str(mean["draws"]))
        for key, figure in columns.items():
            cells.append(_cell(mean[key], figure))
            if key == "rounds_to_target" and reached:
                cells[-1] += f" ({mean['reached']} of {mean['draws']})"
        rows.append(cells)
    return heading, rows


def _explained(study: Json) -> str:
    """What the headings leave open."""
    notes = (figure.note for figure in _columns(study).values())
    return " ".join((_EXPLAINED, *(note for note in notes if note)))


def _cell(value: Json, figure: Figure) -> str:
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
            f"# {shown(study['title'])}",
            "",
            f"{_described(study)} {_explained(study)}",
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
    """How many columns say which condition a row is of."""
    return len(study["names"]) + bool(study["cases"])


def _described(study: Json) -> str:
    """What was run on what."""
    train = sorted({row["train_groups"] for row in study["rows"]} - {None})
    who = " to ".join(dict.fromkeys(f"{each:,}" for each in (train[:1] + train[-1:]))) or "no"
    draws = plural(len(study["seeds"]), "draw")
    return (
        f"{plural(len(study['conditions']), 'condition')} in {draws} each, {study['finished']} of "
        f"{plural(study['runs'], 'run')} finished; {who} groups trained on {shown(study['data'])}."
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
    write_atomically(out / MARKDOWN_FILE, visible_lines(markdown(study)))
    pictures = [
        embedded(path, title=picture_title(study, picture), description=_description(picture))
        for picture in pictures_of(study)
        if (path := out / f"{picture.stem}.png").is_file()
    ]
    heading, rows = table(study)
    page = render(
        _TEMPLATE,
        study=study,
        described=_described(study),
        explained=_explained(study),
        heading=heading,
        names=_names(study),
        rows=rows,
        sentences=sentences(study),
        pictures=pictures,
        given=_given(study),
        conditions=[
            (label_of(study, each["condition"]), sorted(each["config"].items()))
            for each in study["conditions"]
        ],
        made_by=_made_by(study),
        versions=sorted(study["versions"].items()),
    )
    write_atomically(out / PAGE_FILE, page)
    return [out / MARKDOWN_FILE, out / PAGE_FILE]


def _description(picture: Picture) -> str:
    """A picture in words, for who cannot see it."""
    if picture.across != "value":
        return _DESCRIPTIONS[picture.across]
    return f"Line chart of {FIGURES[picture.figure].thing} against the value that is varied."


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
