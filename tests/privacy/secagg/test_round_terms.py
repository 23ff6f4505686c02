"""The terms of a round: one encoding, and none that protects nobody."""

import itertools
import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.plan import PrivacyPlan
from privacy.canonical import canonical_json
from privacy.errors import (
    MalformedMessage,
    NoiseShortfall,
    PolicyRefused,
    ThresholdRefused,
    TooFewMembers,
)
from privacy.secagg.client import OwnTerms
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms

VECTOR = VectorTerms(dimension=10, fraction_bits=24)
TERMS = RoundTerms(
    attempt=Attempt(run="run", round=3),
    members=("a", "b", "c", "d", "e"),
    threshold=4,
    survivors=4,
    vector=VECTOR,
    task="task",
    model="model",
)
CHANGED_VECTOR = {
    "dimension": 11,
    "modulus_bits": 64,
    "fraction_bits": 23,
    "noise_log2": 1,
    "sensitivity": 1,
    "sampling_rate": 0.5,
    "honest_shares": 1,
    "colluding": 1,
    "plan": "other",
}


@st.composite
def round_terms(draw: st.DrawFn) -> RoundTerms:
    names = draw(st.lists(st.text(max_size=5), min_size=2, max_size=8, unique=True))
    t = draw(st.integers(consistency_threshold(len(names)), len(names)))
    numbers = st.integers(0, 2**53)
    vector = VectorTerms(
        dimension=draw(numbers),
        modulus_bits=draw(st.integers(2, 64)),
        fraction_bits=draw(numbers),
        noise_log2=draw(numbers),
        sensitivity=draw(numbers),
        sampling_rate=draw(st.floats(0, 1)),
        honest_shares=0,
        colluding=0,
        plan=draw(st.text(max_size=9)),
    )
    return RoundTerms(
        attempt=Attempt(run=draw(st.text()), round=draw(numbers), attempt=draw(numbers)),
        members=tuple(sorted(names)),
        threshold=t,
        survivors=draw(st.integers(t, len(names))),
        vector=vector,
        task=draw(st.text()),
        model=draw(st.text()),
    )


@settings(deadline=None)
@given(terms=round_terms())
def test_terms_are_read_as_they_were_written(terms: RoundTerms) -> None:
    terms.check()
    assert RoundTerms.decode(terms.encode()) == terms
    assert RoundTerms.decode(terms.encode()).context() == terms.context()


@settings(max_examples=300, deadline=None)
@given(index=st.integers(0, 10**6), byte=st.integers(0, 255), what=st.sampled_from("xid"))
def test_bytes_are_refused_or_are_the_one_encoding(index: int, byte: int, what: str) -> None:
    data = bytearray(TERMS.encode())
    at = index % len(data)
    if what == "x":
        data[at] = byte
    elif what == "i":
        data.insert(at, byte)
    else:
        del data[at]
    try:
        terms = RoundTerms.decode(bytes(data))
    except MalformedMessage:
        return
    assert terms.encode() == bytes(data)


def changed(**values: Any) -> bytes:
    """The encoded terms with fields replaced; `vector__x` is the field x of the vector."""
    nested = json.loads(TERMS.encode())
    for path, value in values.items():
        *outer, name = path.split("__")
        (nested[outer[0]] if outer else nested)[name] = value
    return canonical_json(nested)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b"\xff",
        b"[" * 100_000,
        json.dumps(json.loads(TERMS.encode())).encode(),
        TERMS.encode().decode().encode("utf-16"),
        TERMS.encode() + b" ",
        TERMS.encode().replace(b'"task":"task"', b'"task":"t","task":"task"'),
        TERMS.encode().replace(b'"sampling_rate":"0.0"', b'"sampling_rate":0.0'),
        TERMS.encode().replace(b'"sampling_rate":"0.0"', b'"sampling_rate":"0"'),
        TERMS.encode().replace(b'"sampling_rate":"0.0"', b'"sampling_rate":"nan"'),
        TERMS.encode().replace(b'"sampling_rate":"0.0"', b'"sampling_rate":"inf"'),
        TERMS.encode().replace(b'"sampling_rate":"0.0"', b'"sampling_rate":1' + b"0" * 400),
        TERMS.encode().replace(b'"threshold":4', b'"threshold":' + b"4" * 5000),
        changed(unknown=1),
        changed(vector__unknown=1),
        changed(attempt__unknown=1),
        changed(threshold=True),
        changed(threshold="4"),
        changed(threshold=4.0),
        changed(survivors=None),
        changed(task=1),
        changed(model=["model"]),
        changed(members="abcde"),
        changed(members={"a": 1, "b": 2}),
        changed(members=[1, 2, 3]),
        changed(members=[["a"], ["b"]]),
        changed(members=["a", None]),
        changed(vector=[]),
        changed(vector__dimension="10"),
        changed(vector__dimension=True),
        changed(vector__plan=1),
        changed(vector__sampling_rate=None),
        changed(vector__sampling_rate=[]),
        changed(attempt=[]),
        changed(attempt__run=1),
        changed(attempt__round="3"),
    ],
    ids=itertools.count(),
)
def test_bytes_that_are_no_terms_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        RoundTerms.decode(data)


@pytest.mark.parametrize("field", [f.name for f in fields(RoundTerms)])
def test_a_missing_field_is_refused(field: str) -> None:
    nested = json.loads(TERMS.encode())
    del nested[field]
    with pytest.raises(MalformedMessage):
        RoundTerms.decode(canonical_json(nested))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"members": ("b", "a", "c", "d", "e")}, MalformedMessage),
        ({"members": ("a", "a", "b", "c", "d")}, MalformedMessage),
        ({"members": ("a",), "threshold": 1, "survivors": 1}, TooFewMembers),
        ({"members": (), "threshold": 0, "survivors": 0}, TooFewMembers),
        ({"threshold": 3}, ThresholdRefused),
        ({"threshold": 0}, ThresholdRefused),
        ({"threshold": -4}, ThresholdRefused),
        ({"threshold": 6, "survivors": 6}, ThresholdRefused),
        ({"threshold": 5, "survivors": 4}, ThresholdRefused),
        ({"survivors": 3}, ThresholdRefused),
        ({"survivors": 6}, ThresholdRefused),
        ({"vector": replace(VECTOR, honest_shares=5)}, NoiseShortfall),
        ({"vector": replace(VECTOR, honest_shares=4, colluding=1)}, NoiseShortfall),
    ],
)
def test_terms_that_protect_nobody_are_refused(changes: dict, error: type) -> None:
    TERMS.check()
    replace(TERMS, survivors=5).check()
    with pytest.raises(error):
        replace(TERMS, **changes).check()


def test_just_enough_noise_is_enough() -> None:
    replace(TERMS, vector=replace(VECTOR, honest_shares=4)).check()
    replace(TERMS, vector=replace(VECTOR, honest_shares=3, colluding=1)).check()


def test_the_context_tells_every_field() -> None:
    others = [
        replace(TERMS, attempt=Attempt(run="run", round=4)),
        replace(TERMS, attempt=Attempt(run="run", round=3, attempt=2)),
        replace(TERMS, attempt=Attempt(run="other", round=3)),
        replace(TERMS, members=("a", "b", "c", "d", "f")),
        replace(TERMS, threshold=5),
        replace(TERMS, survivors=5),
        replace(TERMS, task="other"),
        replace(TERMS, model="other"),
        *(replace(TERMS, vector=replace(VECTOR, **{k: v})) for k, v in CHANGED_VECTOR.items()),
    ]
    assert set(CHANGED_VECTOR) == {f.name for f in fields(VectorTerms)}
    assert len({terms.context() for terms in [TERMS, *others]}) == len(others) + 1
    contexts = {terms.attempt.context() for terms in others} | {TERMS.context()}
    assert len(contexts) == 5


@pytest.mark.parametrize("field", CHANGED_VECTOR)
def test_wrong_terms_of_the_server_are_refused_at_the_member(field: str) -> None:
    """Wrong S, h, q, d and the rest: every field of the vector against the member's own plan."""
    terms = OwnTerms(vector=VECTOR, task="task")
    terms.check(TERMS)
    wrong = replace(TERMS, vector=replace(VECTOR, **{field: CHANGED_VECTOR[field]}))
    with pytest.raises(PolicyRefused, match=field):
        terms.check(wrong)


def test_a_member_insists_on_its_task_and_on_company() -> None:
    with pytest.raises(PolicyRefused, match="another task"):
        OwnTerms(vector=VECTOR, task="own").check(TERMS)
    OwnTerms(vector=VECTOR, task="task", fewest_members=5).check(TERMS)
    with pytest.raises(TooFewMembers, match="insists"):
        OwnTerms(vector=VECTOR, task="task", fewest_members=6).check(TERMS)


def test_attempts_follow_in_order() -> None:
    first = Attempt(run="run", round=2, attempt=2)
    for later in (("run", 2, 3), ("run", 3, 1), ("another", 1, 1)):
        run, number, attempt = later
        assert Attempt(run=run, round=number, attempt=attempt).follows(first)
    for earlier in ((2, 2), (2, 1), (1, 9)):
        assert not Attempt(run="run", round=earlier[0], attempt=earlier[1]).follows(first)


def test_terms_of_a_plan_are_the_plan(plan: PrivacyPlan) -> None:
    vector = VectorTerms.of_plan(plan)
    names = set(asdict(vector)) - {"plan", "fraction_bits", "modulus_bits"}
    assert all(getattr(vector, name) == getattr(plan, name) for name in names)
    assert vector.modulus_bits == plan.bits_needed
    assert vector.plan == plan.digest() and vector.fraction_bits == 0
    assert vector.shares_noise and not VECTOR.shares_noise


def test_a_local_plan_has_no_noise_shares(terms: Any) -> None:
    local = PrivacyPlan.calibrate(
        terms(mode="local", survivors=1, colluding=0, epsilon=8.0, dimension=1000)
    )
    with pytest.raises(ValueError, match="local mode"):
        VectorTerms.of_plan(local)
