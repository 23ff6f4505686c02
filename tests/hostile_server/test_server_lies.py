"""Plans and terms that promise one thing and ask for another: refused before anything is charged.

Every lie is told beside its honest variant, in one attempt: the one is refused, the other answered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.identity.keys import Identity, Roster
from privacy.secagg.messages import AdvertiseRequest, ShareRequest
from privacy.secagg.round_terms import Attempt, VectorTerms
from strategies.wire.round_plan import RoundPlan
from tests.hostile_server.conftest import Asked, Deployed, Reply, Round, planned

ATTEMPTS = itertools.count(1)
LIAR = "Group 0"


@pytest.fixture(scope="module")
def asked(deploy: Callable[..., Deployed], asking: Callable[..., Asked]) -> Asked:
    """Three groups in distributed mode; nothing in this module charges them."""
    return asking(deploy())


@pytest.fixture
def honest(asked: Asked) -> Iterator[Round]:
    """A fresh attempt at the run's first round; in the end it is answered, and nothing charged."""
    attempt = Round(asked, attempt=next(ATTEMPTS))
    yield attempt
    answered = attempt.share(LIAR)
    assert not isinstance(answered, str), answered
    assert asked.deployed.spends(LIAR) == 0


def refused(reply: Reply, *kinds: str) -> str:
    """The reason of a refusal of one of these kinds."""
    assert isinstance(reply, str), "the lie was answered"
    assert reply.split(":")[0] in kinds, reply
    return reply


def told(asked: Asked, honest: Round, plan: RoundPlan, terms: Mapping[str, Any]) -> Reply:
    """Ask for another plan in the same attempt, in terms that agree with it."""
    said = asked.terms(1, honest.attempt, **{"task": plan.digest(), **terms})
    return honest.share(LIAR, plan=plan, terms=said)


PLANS: Mapping[str, tuple[dict[str, Any], str]] = {
    "half the noise": ({"noise_multiplier": 0.1}, "EpsilonExceeded"),
    "no noise": ({"noise_multiplier": 0.0}, "ValueError"),
    "noise that is no number": ({"noise_multiplier": float("nan")}, "ValueError"),
    "noise in words": ({"noise_multiplier": "9"}, "PlanRefused"),
    "an epsilon that is no number": ({"epsilon": float("nan")}, "PlanRefused"),
    "an endless epsilon": ({"epsilon": float("inf")}, "PlanRefused"),
    "true for an epsilon": ({"epsilon": True}, "PlanRefused"),
    "delta that is no number": ({"delta": float("nan")}, "DeltaTooLarge"),
    "delta of minus zero": ({"delta": -0.0}, "DeltaTooLarge"),
    "delta above one person": ({"delta": 0.9}, "DeltaTooLarge"),
    "fewer rounds than there are": ({"rounds": -1}, "PlanRefused"),
    "rounds beyond words": ({"rounds": 2**63}, "OverflowError"),
    "shuffled batches": ({"sampling": "shuffle"}, "NonPoissonSampling"),
    "noise for another neighbour": ({"relation": "replace_one"}, "EpsilonExceeded"),
    "organisations for persons": ({"unit": "group"}, "PlanRefused"),
    "shares of noise that are not there": (
        {"groups": 99, "survivors": 99, "units_per_group": [6] * 99, "delta": 1e-3},
        "NoiseShortfall",
    ),
    "a seat too small": ({"units_per_group": [5, 6, 6]}, "ExecutionMismatch"),
    "no seats": ({"groups": 0, "units_per_group": []}, "PlanRefused"),
    "words of no size": ({"modulus_bits": 16}, "CouldWrap"),
    "sensitivity for more people": ({"sensitivity": 1}, "GridTooCoarse"),
    "a clip beyond floats": ({"clipping_norm": 1e308}, "ValueError"),
    "a field of a version to come": ({"refund": 1}, "PlanRefused"),
    "a larger micro-batch": (
        {
            "shape": {
                "micro_batch": 10**6,
                "records_per_unit": 32,
                "max_options": 16,
                "max_tokens": 64,
                "options_apart": False,
            }
        },
        "PolicyRefused",
    ),
    "no shape": ({"shape": None}, "PlanRefused"),
}


@pytest.mark.parametrize("lie", PLANS)
def test_a_privacy_plan_that_does_not_hold_is_refused(
    asked: Asked, honest: Round, lie: str
) -> None:
    """Whatever the plan promises, it is recomputed and held against the policy."""
    changes, kind = PLANS[lie]
    before = asked.deployed.ledger(LIAR)
    plan, terms = planned(asked, **changes)
    refused(told(asked, honest, plan, terms), kind)
    assert asked.deployed.ledger(LIAR) == before


SOUND: Mapping[str, tuple[dict[str, Any], str]] = {
    "a larger epsilon": ({"epsilon": 8.5}, "PolicyRefused"),
    "a larger delta": ({"delta": 5e-3}, "PolicyRefused"),
    "records for persons": ({"unit": Unit.RECORD}, "PolicyRefused"),
    "local for distributed": ({"mode": Mode.LOCAL}, "PolicyRefused"),
    "no colluders": ({"colluding": 0}, "PolicyRefused"),
    "another neighbour": ({"relation": NeighboringRelation.REPLACE_ONE}, "UnsupportedMechanism"),
}


@pytest.mark.parametrize("lie", SOUND)
def test_a_sound_plan_that_nobody_has_agreed_to_is_refused(
    asked: Asked, run_name: Callable[[], str], lie: str
) -> None:
    """Calibrated, of a run that has announced no other: only the policy can tell."""
    changes, kinds = SOUND[lie]
    own = replace(asked, run=run_name())
    honest = Round(own)
    names = [each.name for each in fields(PrivacyTerms)]
    sound = PrivacyPlan.calibrate(
        PrivacyTerms(**{**{name: getattr(own.plan, name) for name in names}, **changes})
    )
    lying = replace(own, plan=sound)
    plan = lying.round_plan(1)
    terms = honest.terms
    if sound.mode is Mode.DISTRIBUTED:
        terms = replace(terms, vector=VectorTerms.of_plan(sound))
    reply = honest.share(LIAR, plan=plan, terms=replace(terms, task=plan.digest()))
    refused(reply, *kinds.split())
    assert all(event["body"].get("digest") != sound.digest() for event in own.deployed.ledger(LIAR))
    assert not isinstance(honest.share(LIAR), str)
    assert own.deployed.spends(LIAR) == 0


TASKS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a seat beyond the plan": ({"privacy.group_index": 3}, "ExecutionMismatch"),
    "a seat from behind": ({"privacy.group_index": -1}, "ExecutionMismatch"),
    "the last number there is": ({"privacy.group_index": 2**63 - 1}, "ExecutionMismatch"),
    "true for a seat": ({"privacy.group_index": True}, "ValueError"),
    "a rate that is no number": ({"privacy.local_learning_rate": float("nan")}, "ValueError"),
    "fairness that is no number": ({"training.fairness": float("nan")}, "ValueError"),
    "fairness that silences": ({"training.fairness": 1e9}, "ValueError"),
    "a strategy that is a file": ({"strategy.name": "/tmp/evil.py"}, "PolicyRefused"),  # noqa: S108 - never opened
    "a strategy that is a module": ({"strategy.name": "os:system"}, "PolicyRefused"),
    "a strategy without a name": ({"strategy.averaging": 0.5}, "PolicyRefused"),
    "compression beside privacy": (
        {
            "compression.bits": 2,
            "compression.keep": 1.0,
            "compression.transform": "none",
            "compression.scale": 1.0,
        },
        "ValueError",
    ),
    "an extra field": ({"privacy.noiseless": True}, "ValueError"),
    "a nested field": ({"privacy.plan.epsilon": 8.0}, "ValueError"),
    "an encoder of another name": ({"predictor.encoder": "/nowhere"}, "PolicyRefused"),
    "a head of another width": ({"predictor.head_width": 9}, "PolicyRefused"),
    "texts of another length": ({"predictor.max_tokens": 65}, "PolicyRefused"),
    "another name of the run": ({"run": "another"}, "PolicyRefused"),
    "a round that is not the sum's": ({"round": 2}, "PolicyRefused"),
    "a round before the first": ({"round": 0}, "PolicyRefused"),
    "a list for a number": ({"seed": [1]}, "ValueError"),
}


@pytest.mark.parametrize("lie", TASKS)
def test_a_task_that_asks_for_something_else_is_refused(
    asked: Asked, honest: Round, lie: str
) -> None:
    """A request is read whole, by type, and is about the run and round of its sum."""
    changes, kind = TASKS[lie]
    before = asked.deployed.ledger(LIAR)
    wire = {**asked.round_plan(1).to_wire(), **changes}
    content = RecordDict(
        {
            "plan": ConfigRecord(wire),
            "secagg": ConfigRecord({"share": share_request(asked, honest, changes)}),
        }
    )
    refused(asked.deployed.ask(LIAR, "query.share", content), kind)
    assert asked.deployed.ledger(LIAR) == before


def share_request(asked: Asked, honest: Round, changes: Mapping[str, Any]) -> bytes:
    """A request to share about a task, which may be none that can be read."""
    try:
        task = asked.round_plan(1, **changes).digest()
    except ValueError:
        task = honest.terms.task
    terms = asked.terms(1, honest.attempt, task=task)
    return ShareRequest(terms.encode(), tuple(honest.encoded(g) for g in terms.members)).encode()


TERMS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a threshold that signs two sets": ({"threshold": 2}, "ThresholdRefused"),
    "a threshold of none": ({"threshold": 0}, "ThresholdRefused"),
    "fewer survivors": ({"survivors": 2}, "ThresholdRefused"),
    "two members": (
        {"members": ("Group 0", "Group 1"), "threshold": 2, "survivors": 2},
        "NoiseShortfall PolicyRefused",
    ),
    "oneself alone": ({"members": ("Group 0",), "threshold": 1, "survivors": 1}, "TooFewMembers"),
    "oneself three times": ({"members": ("Group 0",) * 3}, "MalformedMessage"),
    "others alone": ({"members": ("Group 1", "Group 2", "Group 3")}, "SurvivorSetRefused"),
    "another order": ({"members": ("Group 2", "Group 1", "Group 0")}, "MalformedMessage"),
    "no noise in the terms": ({"vector__noise_log2": 0}, "PolicyRefused"),
    "no shares of noise": ({"vector__honest_shares": 0}, "PolicyRefused"),
    "no colluders": ({"vector__colluding": 0}, "PolicyRefused"),
    "sampling of all": ({"vector__sampling_rate": 0.25}, "PolicyRefused"),
    "a modulus that wraps": ({"vector__modulus_bits": 8}, "PolicyRefused"),
    "a modulus of nothing": ({"vector__modulus_bits": 0}, "MalformedMessage"),
    "one coordinate": ({"vector__dimension": 1}, "PolicyRefused"),
    "no plan": ({"vector__plan": ""}, "PolicyRefused"),
    "another task": ({"task": "00" * 32}, "PolicyRefused"),
    "a task in capitals": ({"task": "AB" * 32}, "PolicyRefused"),
    "another attempt": ({"attempt": Attempt(run="ab" * 16, round=1, attempt=10**6)}, "Replayed"),
    "another run": ({"attempt": Attempt(run="cd" * 16, round=1)}, "PolicyRefused"),
}


@pytest.mark.parametrize("lie", TERMS)
def test_terms_of_another_sum_are_refused(asked: Asked, honest: Round, lie: str) -> None:
    """What a member is asked to send must be what its own plan sends, among as many others.

    A plan that is agreed to may be announced in the ledger by then; nothing is charged.
    """
    changes, kinds = TERMS[lie]
    before = asked.deployed.spends(LIAR)
    attempt = changes.get("attempt", honest.terms.attempt)
    others = {name: value for name, value in changes.items() if name != "attempt"}
    terms = replace(asked.terms(1, honest.attempt, **others), attempt=attempt)
    adverts = [honest.encoded(name if name in honest.adverts else LIAR) for name in terms.members]
    refused(honest.share(LIAR, terms=terms, adverts=adverts), *kinds.split())
    assert asked.deployed.spends(LIAR) == before


def test_a_stranger_is_no_member(asked: Asked, honest: Round) -> None:
    """Who is in no roster signs its own advertisement, in the place of a member or beside it."""
    stranger = signed_by(Identity.create(), "Group 9", honest)
    terms = asked.terms(1, honest.attempt, members=("Group 0", "Group 1", "Group 9"))
    adverts = [honest.encoded("Group 0"), honest.encoded("Group 1"), stranger]
    refused(honest.share(LIAR, terms=terms, adverts=adverts), "PolicyRefused")


def test_a_member_by_another_key_is_refused(asked: Asked, honest: Round) -> None:
    """A server that takes a member's name for keys of its own."""
    forged = signed_by(Identity.create(), "Group 2", honest)
    adverts = [honest.encoded("Group 0"), honest.encoded("Group 1"), forged]
    refused(honest.share(LIAR, adverts=adverts), "BadSignature")


def signed_by(identity: Identity, name: str, honest: Round) -> bytes:
    """An advertisement of a server's own making."""
    from privacy.kernel.randomness import SystemRandomStream
    from privacy.secagg.client import Member

    member = Member(
        name=name,
        identity=identity,
        roster=Roster({name: identity.public}),
        source=SystemRandomStream(),
    )
    request = AdvertiseRequest(honest.terms.attempt).encode()
    advert, _ = member.advertise(request, last=None)
    return advert


def test_an_advertisement_of_another_attempt_is_refused(asked: Asked, honest: Round) -> None:
    """A member's old keys, whose secrets the server may know by now."""
    later = Round(asked, attempt=next(ATTEMPTS))
    adverts = [later.encoded("Group 0"), later.encoded("Group 1"), honest.encoded("Group 2")]
    refused(later.share(LIAR, adverts=adverts), "BadSignature")
    assert not isinstance(later.share(LIAR), str)
    honest.attempt = next(ATTEMPTS)
    honest.__post_init__()


def test_one_advertisement_for_two_members_is_refused(asked: Asked, honest: Round) -> None:
    """A member would share a mask with itself, or two with one."""
    adverts = [honest.encoded("Group 0"), honest.encoded("Group 1"), honest.encoded("Group 1")]
    refused(honest.share(LIAR, adverts=adverts), "SurvivorSetRefused", "DuplicateKey")


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_nothing_leaves_in_the_clear(asked: Asked, honest: Round, kind: str) -> None:
    """A vector without masks, or a measurement of private answers, under an honest plan."""
    content = RecordDict(
        {
            "plan": ConfigRecord(dict(honest.plan.to_wire())),
            "model": ArrayRecord([asked.vector]),
        }
    )
    refused(asked.deployed.ask(LIAR, kind, content), "PolicyRefused", "ValueError")


def test_the_model_of_another_is_not_measured(asked: Asked, honest: Round) -> None:
    """What was shown to a reader has no reader in a train group."""
    content = RecordDict(
        {
            "plan": ConfigRecord(dict(honest.plan.to_wire())),
            "shown": ArrayRecord([np.zeros(9, dtype=np.uint8)]),
        }
    )
    refused(asked.deployed.ask(LIAR, "evaluate", content), "ValueError")


@pytest.mark.parametrize("unit", ["record", "respondents", "RESPONDENT", " ", "group"])
def test_no_bound_is_told_of_another_unit(asked: Asked, honest: Round, unit: str) -> None:
    """A bound on one kind of unit beside that of another would tell how much a person says."""
    setup = {"version": 2, "unit": unit, "challenge": bytes(32)}
    content = RecordDict({"setup": ConfigRecord(setup)})
    refused(asked.deployed.ask(LIAR, "query.setup", content), "PolicyRefused")
    setup["unit"] = "respondent"
    answered = asked.deployed.ask(LIAR, "query.setup", RecordDict({"setup": ConfigRecord(setup)}))
    assert not isinstance(answered, str)
    assert answered["setup"]["units"] == 6


@pytest.mark.parametrize("challenge", [b"short", bytes(33), "text", [1, 2]])
def test_nothing_but_a_challenge_is_signed(asked: Asked, honest: Round, challenge: object) -> None:
    """A group's key signs nothing that a server has chosen freely."""
    setup = {"version": 2, "unit": "respondent", "challenge": challenge}
    content = RecordDict({"setup": ConfigRecord(setup)})
    refused(asked.deployed.ask(LIAR, "query.setup", content), "ValueError")


def test_a_run_without_privacy_is_refused(asked: Asked, honest: Round) -> None:
    """A plan that leaves privacy out, with terms that agree."""
    wire = {k: v for k, v in honest.plan.to_wire().items() if not k.startswith("privacy.")}
    plan = RoundPlan.from_wire(wire)
    refused(told(asked, honest, plan, {}), "PolicyRefused")


def test_a_plan_of_local_mode_meets_nobody(asked: Asked, honest: Round) -> None:
    """Partners and readers of the server's own choice, for groups that agreed to sums."""
    plan, _ = planned(asked, mode=str(Mode.LOCAL), survivors=1, colluding=0)
    plan = RoundPlan.from_wire({**plan.to_wire(), "strategy.name": "gossip"})
    request = AdvertiseRequest(Attempt(run="gossip", round=1)).encode()
    for kind, parts in {
        "query.offer": {"offer": request},
        "train.meet": {"meet": request},
        "query.mix": {},
        "query.show": {"show": request},
    }.items():
        reply = asked.deployed.stage(LIAR, kind, parts, plan, asked.vector)
        if kind != "query.offer":
            assert isinstance(reply, str), kind
    assert asked.deployed.spends(LIAR) == 0


def test_words_of_a_plan_said_twice_count_once(asked: Asked, run_name: Callable[[], str]) -> None:
    """A plan whose text has a field twice is the plan that was accounted for."""
    own = replace(asked, run=run_name())
    text = json.dumps(own.plan.as_dict(), sort_keys=True)
    doubled = text.replace("{", '{"epsilon": 0.1, "noise_multiplier": 99.0, ', 1)
    plan = RoundPlan.from_wire({**own.round_plan(1).to_wire(), "privacy.plan": doubled})
    answered = Round(own, plan=plan).share(LIAR)
    assert not isinstance(answered, str)
    stated = [event["body"] for event in own.deployed.ledger(LIAR) if event["type"] == "PLAN"]
    assert [each["digest"] for each in stated if each["run"] == own.run] == [own.plan.digest()]


def test_a_plan_nested_beyond_reading_is_refused(asked: Asked, honest: Round) -> None:
    """Brackets without end."""
    wire = {**honest.plan.to_wire(), "privacy.plan": "[" * 100_000}
    plan = RoundPlan.from_wire(wire)
    refused(told(asked, honest, plan, {}), "RecursionError", "JSONDecodeError", "ValueError")
