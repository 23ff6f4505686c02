"""Lies about the model: folders passed for encoders, models in other bytes, encoders from a hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privacy.kernel.quantisation import fraction_bits
from privacy.secagg.graph import consistency_threshold
from tests.hostile_server.conftest import Asked, Deployed, Reply, Round, require

LIAR = "Group 0"
PERSON = "person 0 0"
Rows = Sequence[Mapping[str, Any]]


def without(rows: Rows, *people: str) -> list[Mapping[str, Any]]:
    """The records of everybody else."""
    return [row for row in rows if row["respondent"] not in people]


@pytest.fixture
def own(deploy: Callable[..., Deployed]) -> Deployed:
    """A federation for one test, which changes its files; its bounds leave room for more people."""
    return deploy(units=12)


def write(deployed: Deployed, rows: Rows) -> None:
    """Change the records of the first group."""
    own = [row for row in rows if row["group"] == LIAR]
    text = "".join(json.dumps(row) + "\n" for row in own)
    deployed.data[LIAR].write_text(text, encoding="utf-8")
    deployed.restart()


def oracle(own: Deployed, asked: Asked, folder: Path, attempt: int) -> Reply:
    """What a group says where the encoder is a folder of the server's choice."""
    told = Round(asked, attempt=attempt)
    assert not isinstance(told.share(LIAR), str)
    told = Round(asked, attempt=attempt + 1)
    plan = asked.round_plan(1, **{"predictor.encoder": str(folder)})
    return told.share(LIAR, plan=plan, terms=replace(told.terms, task=plan.digest()))


def test_a_folder_of_records_is_no_encoder(
    own: Deployed, asking_twelve: Callable[..., Asked], tiny_rows: Rows
) -> None:
    """A server that guesses the records of all but one knows by their hash whether one is there."""
    folder = own.folder / "records"
    folder.mkdir()
    own.data[LIAR] = own.data[LIAR].rename(folder / "own.jsonl")
    own.change(LIAR, data__path=str(own.data[LIAR]))
    asked = asking_twelve(own, "ab" * 16)
    write(own, tiny_rows)
    first = oracle(own, asked, folder, 1)
    write(own, without(tiny_rows, PERSON))
    second = oracle(own, asked, folder, 3)
    assert isinstance(first, str)
    require(first == second, "the reply is a hash of the records")


def test_a_refused_encoder_tells_of_no_folder(
    own: Deployed, asking_twelve: Callable[..., Asked]
) -> None:
    """A folder that is there, and one that is not."""
    asked = asking_twelve(own, "ab" * 16)
    (own.folder / "secret project").mkdir()
    there = oracle(own, asked, own.folder / "secret project", 1)
    nowhere = oracle(own, asked, own.folder / "no such project", 3)
    assert isinstance(there, str)
    assert isinstance(nowhere, str)
    require(there.split(":")[0] == nowhere.split(":")[0], "what is on the machine is told")


@pytest.fixture
def bare(deploy: Callable[..., Deployed], asking: Callable[..., Asked]) -> Callable[[str], Asked]:
    """Four groups whose policies ask for no noise: secure sums are all that hides them."""
    deployed = deploy(groups=4, **{"privacy.mode": "none", "federation.minimum_groups": 3})
    return lambda run: asking(deployed, run)


def cohort(asked: Asked, members: tuple[str, ...]) -> dict[str, Any]:
    """Terms of a sum over some of the groups."""
    count = len(members)
    return {
        "members": members,
        "threshold": consistency_threshold(count),
        "survivors": count,
        "vector__fraction_bits": fraction_bits(count),
    }


def opened(told: Round) -> np.ndarray | str:
    """The sum of a round without noise, or why a member has not opened it."""
    told.share_all().mask_all().confirm_all()
    for group in told.terms.members:
        given = told.unmask(group)
        if isinstance(given, str):
            return given
        told.relay.take_unmask(group, given["secagg"]["unmask"])
    return told.relay.total()[0]


RENAMED: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same model": lambda v: v,
    "minus zero for zero": lambda v: np.where(v == 0, np.float32(-0.0), v),
    "the last bit of one number": lambda v: np.where(
        np.arange(v.size) == 0, np.nextafter(v, np.float32(9)), v
    ),
}


@pytest.mark.parametrize("lie", ["the same model", "minus zero for zero"])
def test_all_but_one_are_not_summed_beside_all(bare: Callable[[str], Asked], lie: str) -> None:
    """Two sums from one model, of which the second lacks a member, in runs of other names."""
    first, second = bare("first"), bare("second")
    total = opened(Round(first))
    assert not isinstance(total, str)
    renamed = replace(second, vector=RENAMED[lie](first.vector).astype(np.float32))
    rest = opened(Round(renamed, changes=cohort(second, ("Group 0", "Group 1", "Group 2"))))
    require(isinstance(rest, str), "all but one were summed beside all")


def test_without_noise_a_model_that_was_nudged_is_another(bare: Callable[[str], Asked]) -> None:
    """A limit, and stated as one: no digest knows what is nearly the same; noise alone helps."""
    first, second = bare("third"), bare("fourth")
    assert not isinstance(opened(Round(first)), str)
    nudged = RENAMED["the last bit of one number"](first.vector).astype(np.float32)
    second = replace(second, vector=nudged)
    rest = opened(Round(second, changes=cohort(second, ("Group 0", "Group 1", "Group 2"))))
    assert not isinstance(rest, str)


def test_a_server_does_not_choose_what_a_client_fetches(
    deploy: Callable[..., Deployed],
    asking: Callable[..., Asked],
    run_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An encoder by a hub id that the invitation has not named."""
    from transformers import AutoModel

    deployed = deploy(model="")
    asked = asking(deployed, run_name())
    assert not isinstance(Round(asked).share_all().mask(LIAR), str)
    fetched: list[str] = []

    def fetch(source: object, **_: object) -> None:
        fetched.append(str(source))
        raise OSError("there is no network")

    monkeypatch.setattr(AutoModel, "from_pretrained", fetch)
    plan = asked.round_plan(2, **{"predictor.encoder": "mallory/encoder"})
    assert isinstance(Round(asked, number=2, plan=plan).share(LIAR), str)
    assert deployed.spends(LIAR) == 1
    require(not fetched, "the client has asked the hub for what the server named")
