"""Holding out persons instead of groups: data and a split on which simulations run as they are.

Some respondents of every group leave it and become held-out groups of one person each. What is
measured on them is how well a single person is predicted from a few of their own answers, by a
predictor that their group has trained without them. In a private run no guarantee covers them:
their answers count as public, as those of held-out groups do, and results name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from alignment.data.loading import load_records, write_records
from alignment.data.records import PreferenceRecord
from alignment.data.split import CONTEXT_QUESTIONS, SPLIT_FILE, Draw, Split
from atomic import write_atomically
from terminal import echo
from texts import UnfitText, name_of, shown

RECORDS_FILE = "records.jsonl.gz"
SHARE = 0.2
EXAMPLE = (
    "Example: fedaccord experiment split-respondents --data polis.jsonl.gz --out runs/polis-data"
)
#: One answer to show and one to predict.
_FEWEST_ANSWERS = 2


@dataclass(frozen=True, kw_only=True)
class HeldOutRespondents:
    """Records in which every held-out respondent is a group, and the split that says so.

    Attributes:
        records: All records of the source in their order; those of held-out respondents keep
            their respondent and name ``group / respondent`` as their group.
        split: All groups of the source train; the held-out respondents are measured.
        train_respondents: How many respondents are left to train.
    """

    records: tuple[PreferenceRecord, ...]
    split: Split
    train_respondents: int


def hold_out_respondents(
    records: Iterable[PreferenceRecord],
    *,
    share: float = SHARE,
    context: int = CONTEXT_QUESTIONS,
    draws: int = 1,
    seed: int = 0,
) -> HeldOutRespondents:
    """Hold out a share of the respondents of every group, drawn by seed.

    Respondents who answered fewer than 2 questions cannot be measured: they stay in training, and
    the share is made up from the others as far as they reach. At least one respondent of every
    group trains. A name belongs to its group: the same name in two groups is two respondents. The
    order of the records changes nothing but their own.

    Args:
        records: Choices, or pairs whose annotators are named.
        share: Of each group's respondents, above 0 and below 1.
        context: Most answers shown of a respondent. Never more than half of theirs are, so that
            what is said of those who answered little does not hang on one target each. All
            answers that are not shown are targets.
        draws: Of context and targets, for each respondent.
        seed: Equal seeds give equal splits.

    Raises:
        ValueError: A setting is out of bounds, a record names nobody, nobody is held out, or the
            name of a held-out respondent is taken.
    """
    if not 0 < share < 1:
        raise ValueError(f"share = {share!r} must be above 0 and below 1: 0.2 holds out a fifth")
    for name, value in (("context", context), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name} = {value!r} must be at least 1: raise it")
    records = tuple(records)
    answered = _answered(records)
    generator = np.random.default_rng(seed)
    names: dict[tuple[str, str], str] = {}
    chosen: dict[str, tuple[Draw, ...]] = {}
    for group in sorted(answered):
        for respondent in _held_out(answered[group], share, generator):
            name = _as_group(group, respondent)
            if name in answered or name in chosen:
                raise ValueError(f"group {name!r} would stand for two: rename a respondent")
            names[group, respondent] = name
            questions = sorted(answered[group][respondent])
            chosen[name] = tuple(_draw(questions, context, generator) for _ in range(draws))
    total = sum(map(len, answered.values()))
    if not chosen:
        raise ValueError(
            f"share = {share!r} of {total} respondents in {len(answered)} group(s) holds out "
            "nobody: raise it, or give respondents with 2 answers and more"
        )
    return HeldOutRespondents(
        records=tuple(
            replace(r, group=names.get((r.group, str(r.unit)), r.group)) for r in records
        ),
        split=Split(train_groups=tuple(sorted(answered)), draws=chosen),
        train_respondents=total - len(chosen),
    )


def _as_group(group: str, respondent: str) -> str:
    """The name of a respondent as a group of one."""
    try:
        return name_of(f"{group} / {respondent}")
    except UnfitText as error:
        raise ValueError(
            f"a respondent of group {group!r} has an id that is no name of a group: {error}"
        ) from error


def _answered(records: Sequence[PreferenceRecord]) -> dict[str, dict[str, set[str]]]:
    """Ids of the questions answered, by group and respondent."""
    answered: dict[str, dict[str, set[str]]] = {}
    for record in records:
        if record.unit is None:
            raise ValueError(
                f"a record of group {record.group!r} names no respondent: give single choices with "
                "a respondent, or pairs with an annotator, in every row"
            )
        respondents = answered.setdefault(record.group, {})
        respondents.setdefault(record.unit, set()).add(record.question.question_id)
    return answered


def _held_out(
    respondents: dict[str, set[str]], share: float, generator: np.random.Generator
) -> list[str]:
    able = sorted(name for name, ids in respondents.items() if len(ids) >= _FEWEST_ANSWERS)
    count = min(round(share * len(respondents)), len(able), len(respondents) - 1)
    return sorted(able[i] for i in generator.permutation(len(able))[:count])


def _draw(questions: Sequence[str], context: int, generator: np.random.Generator) -> Draw:
    order = [questions[i] for i in generator.permutation(len(questions))]
    shown = min(context, len(order) // 2)
    return Draw(context=tuple(order[:shown]), target=tuple(order[shown:]))


def split_respondents(
    data: Annotated[
        str, typer.Option(help="Choices with respondents: a file, a folder, a hub id or 'sample'.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the records and their split to.")],
    share: Annotated[
        float, typer.Option(help="Share of each group's respondents to hold out.")
    ] = SHARE,
    context: Annotated[
        int, typer.Option(help="Most answers shown of a held-out respondent.")
    ] = CONTEXT_QUESTIONS,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal files.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace records and split in --out.")
    ] = False,
) -> None:
    """Hold out single respondents: write data and a split for 'fedaccord simulate'.

    The rest of every group trains; each held-out respondent is predicted from some of their own
    answers, which do not train anything. No guarantee of a private run covers them: results hold
    their names, answers and scores.
    """
    if out.exists() and not (overwrite and out.is_dir()):
        remedy = "or --overwrite" if out.is_dir() else "for the folder"
        raise ValueError(f"--out {out}: exists; choose another name {remedy}")
    loaded = load_records(data)
    made = hold_out_respondents(loaded.records, share=share, context=context, seed=seed)
    # Only now: bad input must not cost what a folder held.
    out.mkdir(parents=True, exist_ok=True)
    # Written last, the split never stands beside records that are not its own.
    (out / SPLIT_FILE).unlink(missing_ok=True)
    write_records(made.records, out / RECORDS_FILE)
    write_atomically(out / SPLIT_FILE, made.split.to_json() + "\n")
    place = shown(str(out))
    echo(
        f"wrote {place}: {len(made.split.draws)} respondents held out, {made.train_respondents} "
        f"in {len(made.split.train_groups)} group(s) left to train"
    )
    echo(f"Next: fedaccord simulate --data {place}/{RECORDS_FILE} --split {place}/{SPLIT_FILE}")
