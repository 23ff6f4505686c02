"""The terms of a private run, as its settings and its groups come to."""

from dataclasses import asdict

import pytest

from privacy.accounting.terms import PrivacyTerms
from server.aggregation.registration import _terms
from server.config import read_run_config
from server.rounds.cohort import Cohort

GROUPS = ("a", "b", "c", "d")


def terms_of(mode: str, drawn: int) -> PrivacyTerms:
    config = read_run_config({"privacy.mode": mode, "federation.groups_per_round": drawn})
    cohort = Cohort(
        train={name: node for node, name in enumerate(GROUPS)},
        held_out={},
        units=dict.fromkeys(GROUPS, 50),
    )
    return _terms(config, cohort, dimension=1000)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_drawing_groups_for_a_round_amplifies_nothing(mode: str) -> None:
    """The server sees who is drawn: steps and sampling are those of a run that asks everybody.

    Only the noise of those who are drawn is counted on, so that sums then need more.
    """
    everybody, drawn = (asdict(terms_of(mode, size)) for size in (0, 2))
    assert everybody.pop("survivors") == 4 and drawn.pop("survivors") == 2
    assert everybody == drawn
