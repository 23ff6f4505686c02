"""Which mechanism is recommended, and why: by kind, unit, mode and noise."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.counting.measured import (
    OPINIONS_300,
    OPINIONS_1000,
    POLIS,
    SAMPLE,
    DataSet,
    threshold,
)
from experiments.counting.mechanism import recommended


def facts(data: DataSet = SAMPLE, **changes: Any) -> dict[str, Any]:
    who = data.who
    return {
        "kind": "survey" if who.distributions else "choice",
        "has_persons": True,
        "unit": "respondent",
        "mode": "local",
        "scores": "head",
        "epsilon": 8.0,
        "delta": 1e-5,
        "groups": len(who.units_per_group),
        "units_per_group": who.units_per_group,
        "questions_per_group": who.questions_per_group,
        "answers_per_person": 0,
        "largest_weight": 1.0,
        "distributions": who.distributions,
        **changes,
    }


@pytest.mark.parametrize("epsilon", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize(
    ("data", "better"),
    [(SAMPLE, "tally"), (OPINIONS_1000, "tally"), (OPINIONS_300, "tally"), (POLIS, "gradients")],
    ids=["sample", "opinions-1000", "opinions-300", "polis"],
)
def test_the_measured_data_get_what_was_better(data: DataSet, better: str, epsilon: float) -> None:
    for cap in {0, data.answers_per_respondent}:
        mechanism, reason = recommended(**facts(data, epsilon=epsilon, answers_per_person=cap))
        assert mechanism == better
        assert "answers to a typical question are counted" in reason


def test_the_noise_decides_in_both_directions() -> None:
    _, reason = recommended(**facts(POLIS))
    assert reason.startswith("only 66 answers to a typical question")
    assert "from 0.023 on gradients came out better" in reason
    few = facts(units_per_group=(60,) * 9)
    assert recommended(**few)[0] == "gradients"
    assert recommended(**{**few, "units_per_group": (400,) * 9})[0] == "tally"


def test_answers_that_are_given_count_where_they_are_fewer() -> None:
    sparse = facts(units_per_group=(100,) * 9, answers_per_person=50)
    assert recommended(**sparse)[0] == "tally"
    assert recommended(**sparse, answers_given=60) == recommended(**sparse)
    assert recommended(**sparse, answers_given=5)[0] == "gradients"


@pytest.mark.parametrize("given", [5, 12, 15, 20, 25])
def test_counting_more_than_people_give_decides_nothing(given: int) -> None:
    """The noise of a mean at a multiplier of 1 is sqrt(given (1 - 3/16)) / (100 given / 72) / 3."""
    better = "tally" if 0.8125**0.5 * 72 / (100 * given**0.5) / 3 < threshold() else "gradients"
    for cap in (given, 32, 72):
        chosen = facts(units_per_group=(100,) * 9, answers_per_person=cap, answers_given=given)
        assert recommended(**chosen)[0] == better


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "pair"}, "texts of pairs are private"),
        ({"scores": "policy"}, "causal model"),
        ({"mode": "distributed"}, "in distributed mode"),
        ({"kind": "survey", "unit": "record"}, "one country's answer"),
        ({"distributions": True, "unit": "record"}, "one country's answer"),
        ({"has_persons": False}, "name no respondents"),
    ],
    ids=str,
)
def test_what_cannot_be_counted_goes_by_gradients(changes: dict[str, Any], words: str) -> None:
    assert recommended(**facts())[0] == "tally"
    mechanism, reason = recommended(**facts(**changes))
    assert mechanism == "gradients"
    assert words in reason
    assert "\n" not in reason


def test_a_record_is_one_answer() -> None:
    records = facts(unit="record", units_per_group=(4000,) * 9)
    assert recommended(**records)[0] == "tally"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "ranking"}, "kind = 'ranking'"),
        ({"unit": "household"}, "unit = 'household'"),
        ({"mode": "none"}, "mode = 'none'"),
        ({"groups": 4}, "9 entries for groups = 4"),
        ({"epsilon": 0.0}, "epsilon = 0.0"),
    ],
    ids=str,
)
def test_nonsense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="=") as refused:
        recommended(**facts(**changes))
    assert words in str(refused.value)


def test_it_is_quick_for_a_thousand_groups_and_always_says_the_same() -> None:
    many = facts(
        groups=1000,
        units_per_group=range(1000, 2000),
        questions_per_group=range(1, 1001),
        epsilon=3.21,
    )
    began = time.process_time()
    first = recommended(**many)
    assert time.process_time() - began < 1
    assert recommended(**many) == first


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, experiments.counting.mechanism, experiments.planning.outlook\n"
        "assert not {'torch', 'opacus', 'matplotlib'} & set(sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
