"""What a server makes of a group's word on its questionnaire."""

from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from server.rounds.admission import SetupRefused, read_setup

DIGEST = "ab" * 32
GOOD = {"questionnaire": DIGEST, "options": [2, 3], "distributions": False}


def said(**changes: Any) -> Any:
    """A train group's answer; None leaves a field out."""
    fields = {"group": "A", "role": "train", "units": 6, **GOOD, **changes}
    record = ConfigRecord({key: value for key, value in fields.items() if value is not None})
    content = RecordDict({"setup": record})
    return SimpleNamespace(metadata=SimpleNamespace(src_node_id=7), content=content)


def test_it_is_read_where_counts_are_asked_for() -> None:
    setup = read_setup(said(), unit="respondent", challenge=b"", counts=True)
    assert setup.asked is not None
    assert (setup.asked.digest, setup.asked.options) == (DIGEST, (2, 3))
    assert read_setup(said(), unit="respondent", challenge=b"").asked is None
    held_out = said(role="held_out", questionnaire=None)
    assert read_setup(held_out, unit="respondent", challenge=b"", counts=True).asked is None


@pytest.mark.parametrize(
    "changes",
    [
        {"questionnaire": None},
        {"options": None},
        {"distributions": None},
        {"questionnaire": ""},
        {"questionnaire": DIGEST.upper()},
        {"questionnaire": " ".join(["ab"] * 32)},
        {"questionnaire": DIGEST + "\n"},
        {"options": []},
        {"options": [2, 1]},
        {"options": [2, 2000]},
        {"options": [2.0, 3.0]},
        {"options": "23"},
        {"distributions": 1},
    ],
)
def test_whoever_states_none_is_left_out_in_one_line(changes: dict[str, Any]) -> None:
    """Was open: a digest with spaces was taken, and stopped the run when its plan was made."""
    with pytest.raises(SetupRefused) as refused:
        read_setup(said(**changes), unit="respondent", challenge=b"", counts=True)
    assert str(refused.value) == "a node's answer to setup cannot be read: use one version"
