"""The file of a group's noised counts, for whoever shows it as a context in place of raw answers.

It is made and guarded by the group's client; what is read here is numbers that are private already.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from alignment.data.answers import GroupAnswers
from alignment.data.sources import DataError
from alignment.tallies.noised import answers_from_tally
from alignment.tallies.questionnaire import QuestionnaireError, parse_questionnaire
from texts import UnfitText, name_of, read_text

_NEEDED = frozenset({"group", "plan", "questionnaire", "step", "total_share", "cells"})
_MOST = 2**62


def is_tally(path: Path) -> bool:
    """Whether a file is one JSON object with noised counts; records are a line each."""
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) >= _NEEDED


def read_tally(path: Path) -> GroupAnswers:
    """The answers that noised counts speak of, weighed by what the noise leaves of them.

    Raises:
        DataError: One line that names the file and what is wrong with it.
    """
    try:
        values = json.loads(read_text(path))
        group, step = name_of(str(values["group"])), values["step"]
        questionnaire = parse_questionnaire(values["questionnaire"], where=str(path))
        noise_log2, cells = values["plan"]["noise_log2"], values["cells"]
        kept, of = values["total_share"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UnfitText) as error:
        if isinstance(error, QuestionnaireError):
            raise DataError(str(error)) from error
        raise DataError(f"{path}: is no tally: {type(error).__name__} {error}") from error
    whole = [type(step) is int and step > 0, type(noise_log2) is int and 0 <= noise_log2 < 64]
    whole += [type(kept) is int and type(of) is int and 0 < kept <= of]
    whole += [type(cell) is int and abs(cell) < _MOST for cell in cells]
    if not all(whole) or len(cells) != sum(questionnaire.options):
        raise DataError(
            f"{path}: is no tally: holds other cells than its questionnaire has options; ask for "
            "the file that fedaccord client export-tally has written"
        )
    sigma = 2.0**noise_log2 / step
    return answers_from_tally(
        group,
        questionnaire.questions,
        # What was taken from all options of a question is given back by its total.
        [
            each + each.mean() * (of / kept - 1)
            for each in questionnaire.by_question(np.array(cells, dtype=np.float64) / step)
        ],
        sigma=sigma,
        total_sigma=sigma * of / kept,
    )
