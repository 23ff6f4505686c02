"""Noised counts of a group as the answers that plain training reads. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from alignment.data.answers import GroupAnswers
from alignment.tallies.noised import answers_from_tally
from alignment.tallies.questionnaire import parse_questionnaire
from privacy.accounting.tally_file import StoredTally


def noised_answers(tallies: Sequence[StoredTally]) -> GroupAnswers:
    """The answers that the tallies of all waves of a group add up to.

    Args:
        tallies: At least one, all under one plan: nobody is in two of them.
    """
    return _answers(tuple(tallies))


@lru_cache(maxsize=64)
def _answers(tallies: tuple[StoredTally, ...]) -> GroupAnswers:
    questionnaire = parse_questionnaire(tallies[0].questionnaire, where="tally")
    counts = np.sum([stored.tally.counts for stored in tallies], axis=0)
    sigma = tallies[0].tally.noise_std * len(tallies) ** 0.5
    return answers_from_tally(
        tallies[0].group,
        questionnaire.questions,
        questionnaire.by_question(counts),
        sigma=sigma,
        total_sigma=sigma / float(tallies[0].tally.bounds.total_share),
    )
