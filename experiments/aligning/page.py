"""Tables and page of the demonstration, from the contents of ``aligned.json``."""

from __future__ import annotations

from pathlib import Path

from atomic import write_atomically
from experiments.aligning.measure import CHOOSERS
from experiments.aligning.plot import aligned_title
from experiments.report.pages import embedded, render
from experiments.report.wording import Json

PAGE_FILE = "aligned.html"
_TEMPLATE = "aligned.html.j2"
CAPTION = "Chance that a member of the group prefers the chosen response to another one"

CAVEATS = (
    "Choices are judged by the groups' true preferences, which are known because all are invented: "
    "no trained reward judges itself here. Of real groups only answers are known.",
    "The aligned model is one for all groups and can serve what they share. A group that wants the "
    "opposite of most others is served by the reward in its context, or not at all.",
    "Texts are written by a model of 135 million parameters. They show what alignment changes, and "
    "their facts are not to be trusted.",
    "Nothing here was private: without privacy.mode the adapters may reveal single pairs.",
)


def table(study: Json) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: mean, worst group, then every group, by way to choose."""
    summary, worth = study["summary"], study["worth"]
    rows = [
        ["mean of the groups", *(_share(summary[name]["mean"]) for name in CHOOSERS)],
        ["worst group", *(_share(summary[name]["worst"]) for name in CHOOSERS)],
    ]
    for group in study["groups"]:
        rows.append([group, *(_share(worth[name][group]) for name in CHOOSERS)])
    return ["", *CHOOSERS], rows


def sentences(study: Json) -> list[str]:
    """What was learned, and what a reader must know of it."""
    reward, policy = study["accuracy"]["reward"], study["accuracy"]["policy"]
    said = [
        f"Of {study['pairs']['judged']:,} pairs about these prompts the reward tells the preferred "
        f"response in {reward['mean']:.1%} of answers given the group's own pairs, and in "
        f"{reward['without_context']:.1%} without; the worst group has {reward['worst']:.1%}. The "
        f"aligned model's implicit reward tells {policy['mean']:.1%}, worst group "
        f"{policy['worst']:.1%}; the longer response wins in {study['longer_wins']:.1%}.",
    ]
    return [*said, *CAVEATS]


def write_page(out: Path, study: Json, picture: Path) -> Path:
    """Write the page, which needs no network; returns its file."""
    heading, rows = table(study)
    content = render(
        _TEMPLATE,
        study=study,
        described=described(study),
        caption=CAPTION,
        heading=heading,
        rows=rows,
        sentences=sentences(study),
        picture=embedded(
            picture,
            title=aligned_title(study),
            description="Dot plot of every group's worth of the choices, by way to choose.",
        ),
    )
    write_atomically(out / PAGE_FILE, content)
    return out / PAGE_FILE


def described(study: Json) -> str:
    """What was done, in one sentence."""
    return (
        f"{len(study['groups'])} invented groups trained a reward and the adapters of "
        f"{study['encoder']} on pairs of their own, without handing them over, and both are judged "
        f"on {study['prompts']} prompts that nobody trained on."
    )


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
