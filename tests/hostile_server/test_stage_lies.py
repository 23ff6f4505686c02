"""Stages out of order, repeated, split among members, or with another model than was agreed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Identity
from privacy.ledger.chain import Head, sign_head
from privacy.ledger.server_ledger import Countersigned
from privacy.secagg.messages import AdvertiseRequest, MaskRequest
from privacy.secagg.round_terms import Attempt
from tests.hostile_server.conftest import Asked, Deployed, Reply, Round, require

LIAR = "Group 0"


@pytest.fixture(scope="module")
def federation(deploy: Callable[..., Deployed]) -> Deployed:
    """Three groups in distributed mode; every test has a run of its own."""
    return deploy(**{"federation.warmup_rounds": 4})


@pytest.fixture
def asked(federation: Deployed, asking: Callable[..., Asked], run_name: Callable[[], str]) -> Asked:
    """A run that nobody has seen."""
    return asking(federation, run_name())


def refused(reply: Reply, *kinds: str) -> str:
    """The reason of a refusal of one of these kinds."""
    assert isinstance(reply, str), "the lie was answered"
    assert reply.split(":")[0] in kinds, reply
    return reply


def charged(asked: Asked, group: str = LIAR) -> int:
    """How often a group was charged for this run."""
    events = asked.deployed.ledger(group)
    return sum(e["type"] == "SPEND" and e["body"]["run"] == asked.run for e in events)


TASKS: Mapping[str, dict[str, Any]] = {
    "adapters switched on": {"train_adapter": True},
    "a scale that is no number": {"learning_rate_scale": float("nan")},
    "an endless scale": {"learning_rate_scale": float("inf")},
    "fairness": {"training.fairness": 10.0},
    "another seed": {"seed": 7},
    "another round": {"round": 2},
    "another run": {"run": "other"},
    "another rate": {"privacy.local_learning_rate": 9.0},
    "a strategy": {"strategy.name": "gossip"},
}


@pytest.mark.parametrize("lie", TASKS)
def test_another_task_than_was_agreed_on_is_not_trained(asked: Asked, lie: str) -> None:
    """Shared under one plan, asked to train under another."""
    told = Round(asked).share_all()
    refused(told.mask(LIAR, plan=asked.round_plan(1, **TASKS[lie])), "PolicyRefused")
    assert charged(asked) == 0
    assert not isinstance(told.mask("Group 1"), str)
    assert charged(asked, "Group 1") == 1


def test_another_seat_at_the_mask_changes_nothing(asked: Asked) -> None:
    """A group's own index is no part of what all agree on; seats of one size are one seat."""
    told = Round(asked).share_all()
    answered = told.mask(LIAR, plan=asked.round_plan(1, **{"privacy.group_index": 2}))
    assert not isinstance(answered, str), answered
    refused(
        told.mask("Group 1", plan=asked.round_plan(1, **{"privacy.group_index": 3})),
        "ExecutionMismatch",
    )
    assert charged(asked) == 1
    assert charged(asked, "Group 1") == 0


def models(vector: np.ndarray) -> Mapping[str, list[np.ndarray]]:
    """Models other than the one of the terms."""
    nudged = vector.copy()
    nudged[0] = np.nextafter(nudged[0], np.float32(9))
    return {
        "a nudge": [nudged],
        "one coordinate less": [vector[:-1]],
        "one more": [np.append(vector, np.float32(0))],
        "none": [],
        "two": [vector, vector],
        "halves": [vector[: vector.size // 2], vector[vector.size // 2 :]],
    }


@pytest.mark.parametrize(
    "lie", ["a nudge", "one coordinate less", "one more", "none", "two", "halves"]
)
def test_another_model_than_was_agreed_on_is_not_trained(asked: Asked, lie: str) -> None:
    """A model for one member alone would tell its vector from those of the others."""
    told = Round(asked).share_all()
    refused(told.mask(LIAR, arrays=models(asked.vector)[lie]), "PolicyRefused", "ValueError")
    assert charged(asked) == 0
    assert not isinstance(told.mask("Group 1"), str)


BROKEN: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "not a number": lambda v: np.where(np.arange(v.size) == 5, np.float32("nan"), v),
    "infinite": lambda v: np.where(np.arange(v.size) == 5, np.float32("inf"), v),
    "too short": lambda v: v[:-1],
    "empty": lambda v: v[:0],
}


@pytest.mark.parametrize("lie", BROKEN)
def test_a_model_that_no_predictor_takes_is_refused_before_the_charge(
    federation: Deployed, asking: Callable[..., Asked], run_name: Callable[[], str], lie: str
) -> None:
    """All members agree to it, so that only the predictor can tell."""
    asked = asking(federation, run_name())
    honest = Round(asked).share_all()
    assert not isinstance(honest.mask(LIAR), str)
    broken = replace(asked, vector=BROKEN[lie](asked.vector).astype(np.float32))
    told = Round(broken, number=2).share_all()
    reply = told.mask(LIAR)
    assert isinstance(reply, str)
    require(charged(asked) == 1, "charged for a model that cannot be trained")


_FORMS = (np.float64, np.float16, np.int32, np.complex64, "U32", "matrix", "column")


@pytest.mark.parametrize("kind", _FORMS)
def test_a_model_in_another_form_is_the_model_or_none(asked: Asked, kind: Any) -> None:
    """A form whose digest is the model's must be trained as the model, or not at all."""
    told = Round(asked).share_all()
    vector = asked.vector
    if kind == "matrix":
        other = vector[np.newaxis]
    elif kind == "column":
        other = vector[:, np.newaxis]
    else:
        other = vector.astype(kind)
    reply = told.mask(LIAR, arrays=[other])
    assert not isinstance(told.mask("Group 1"), str)
    if not isinstance(reply, str):
        (data,) = reply["masked"].to_numpy_ndarrays()
        told.relay.take_masked(LIAR, data.tobytes())
    else:
        require(charged(asked) == 0, "charged for a model that cannot be trained")


def test_a_vector_is_given_once(asked: Asked) -> None:
    """The mask of a round is asked for again, and the round as another attempt."""
    told = Round(asked).share_all().mask_all()
    refused(told.mask(LIAR), "Replayed")
    again = AdvertiseRequest(Attempt(run=asked.run, round=1, attempt=2)).encode()
    refused(asked.deployed.stage(LIAR, "query.advertise", {"advertise": again}), "Replayed")
    earlier = AdvertiseRequest(Attempt(run=asked.run, round=0, attempt=9)).encode()
    refused(asked.deployed.stage(LIAR, "query.advertise", {"advertise": earlier}), "Replayed")
    assert charged(asked) == 1


@pytest.mark.parametrize("stage", ["share", "mask", "confirm", "unmask"])
def test_a_restart_between_stages_answers_nothing_twice(asked: Asked, stage: str) -> None:
    """What a client forgets it does not make up; a later round is answered."""
    told = Round(asked)
    deployed = asked.deployed
    if stage != "share":
        told.share_all()
    if stage in ("confirm", "unmask"):
        told.mask_all()
    signatures = told.confirm_all() if stage == "unmask" else {}
    before = charged(asked)
    deployed.restart()
    lie = {
        "share": lambda: told.share(LIAR),
        "mask": lambda: told.mask(LIAR),
        "confirm": lambda: told.confirm(LIAR),
        "unmask": lambda: told.unmask(LIAR, signatures),
    }[stage]
    refused(lie(), "Replayed")
    request = AdvertiseRequest(Attempt(run=asked.run, round=1, attempt=2)).encode()
    retried = deployed.stage(LIAR, "query.advertise", {"advertise": request})
    assert isinstance(retried, str) == (stage in ("confirm", "unmask"))
    assert charged(asked) == before
    assert not isinstance(Round(asked, number=2).share_all().mask(LIAR), str)


def test_a_mask_request_of_another_attempt_is_refused(asked: Asked) -> None:
    """What was shared in one attempt opens no other."""
    first = Round(asked).share_all()
    old = first.relay.mask_request(LIAR)
    second = Round(asked, attempt=2).share_all()
    refused(second.mask(LIAR, request=old), "Replayed")
    assert charged(asked) == 0
    assert not isinstance(second.mask(LIAR), str)


def test_a_mask_among_fewer_is_refused(asked: Asked) -> None:
    """One member is told that others have not shared, so that fewer masks hide its vector."""
    told = Round(asked).share_all()
    whole = MaskRequest.decode(told.relay.mask_request(LIAR))
    lies = [
        MaskRequest(whole.context, (0,), ()),
        MaskRequest(whole.context, (0, 1), whole.ciphertexts[:1]),
        MaskRequest(whole.context, (0, 1, 2), whole.ciphertexts[:1]),
        MaskRequest(whole.context, (1, 2), whole.ciphertexts),
        MaskRequest(whole.context, whole.sharers, whole.ciphertexts[::-1]),
        MaskRequest(whole.context, whole.sharers, ((1, whole.ciphertexts[1][1]),) * 2),
        MaskRequest(bytes(32), whole.sharers, whole.ciphertexts),
    ]
    for lie in lies:
        try:
            request = lie.encode()
        except ValueError:
            continue
        reply = told.mask(LIAR, request=request)
        assert isinstance(reply, str), "the lie was answered"
    assert charged(asked) == 0
    assert not isinstance(told.mask(LIAR), str)


def test_two_sets_of_survivors_are_not_both_opened(asked: Asked) -> None:
    """One member hears that all survive, another that it survives with one."""
    told = Round(asked).share_all().mask_all()
    refused(told.confirm(LIAR, (0, 1)), "NoiseShortfall", "TooFewMembers")
    refused(told.confirm(LIAR, (1, 2)), "SurvivorSetRefused")
    refused(told.confirm(LIAR, (0,)), "NoiseShortfall", "TooFewMembers")
    assert not isinstance(told.confirm(LIAR, (0, 1, 2)), str)
    refused(told.confirm(LIAR, (0, 1, 2)), "Replayed")


def test_shares_are_given_for_signatures_of_all(asked: Asked) -> None:
    """Signatures that are too few, another's, or of another set open nothing; and once is all."""
    told = Round(asked).share_all().mask_all()
    signatures = told.confirm_all()
    refused(told.unmask(LIAR, {0: signatures[0], 1: signatures[1]}), "SplitView")
    # The lie has cost the attempt: nothing of it is answered any more.
    refused(told.unmask(LIAR, signatures), "Replayed")
    swapped = {0: signatures[1], 1: signatures[0], 2: signatures[2]}
    refused(told.unmask("Group 1", swapped), "BadSignature")
    assert not isinstance(told.unmask("Group 2", signatures), str)
    refused(told.unmask("Group 2", signatures), "Replayed")


@pytest.mark.parametrize("kind", ["query.share", "train.masked", "query.confirm", "query.unmask"])
def test_no_stage_comes_first(asked: Asked, kind: str) -> None:
    """A run that begins in its middle."""
    told = Round(asked)
    other = Round(replace(asked, run=f"{asked.run}-other")).share_all().mask_all()
    signatures = other.confirm_all()
    ask = {
        "query.share": lambda: other.share(LIAR),
        "train.masked": lambda: other.mask(LIAR),
        "query.confirm": lambda: other.confirm(LIAR),
        "query.unmask": lambda: told.deployed.stage(
            LIAR, "query.unmask", {"unmask": other.unmask_bytes(signatures)}
        ),
    }[kind]
    if kind == "query.unmask":
        assert not isinstance(ask(), str)
    refused(ask(), "Replayed", "PolicyRefused", "RefusedByLedger")
    assert charged(asked) == 0


ATTEMPTS: Mapping[str, dict[str, Any]] = {
    "round 0": {"round": 0},
    "an endless round": {"round": 2**53},
    "a name of many words": {"run": "x" * 1024},
    "a name that hides": {"run": "ab\u200bcd\x1b[8m"},
    "a name that is a path": {"run": "../../../etc/passwd"},
    "a name of nothing": {"run": ""},
}


@pytest.mark.parametrize("lie", ATTEMPTS)
def test_an_odd_attempt_costs_no_more_than_an_honest_one(asked: Asked, lie: str) -> None:
    """Refused, or charged like any other; in no case is a file written but a client's own."""
    files = {path for path in asked.deployed.folder.parent.rglob("*") if path.is_file()}
    changes = {"run": asked.run, "round": 1, **ATTEMPTS[lie]}
    odd = replace(asked, run=changes["run"])
    request = AdvertiseRequest(Attempt(run=odd.run, round=changes["round"])).encode()
    reply = odd.deployed.stage(LIAR, "query.advertise", {"advertise": request})
    before = odd.deployed.spends(LIAR)
    if not isinstance(reply, str):
        odd.deployed.restart()
        told = Round(odd, number=changes["round"])
        shares = [told.share(group) for group in odd.deployed.homes]
        if not any(isinstance(each, str) for each in shares):
            odd.deployed.restart()
            masked = Round(odd, number=changes["round"], attempt=2).share_all().mask(LIAR)
            assert odd.deployed.spends(LIAR) <= before + 1
            assert isinstance(masked, str) == (odd.deployed.spends(LIAR) == before)
        odd.deployed.restart()
    added = {p for p in asked.deployed.folder.parent.rglob("*") if p.is_file()} - files
    homes = list(asked.deployed.homes.values())
    assert all(any(path.is_relative_to(home) for home in homes) for path in added)
    assert not isinstance(Round(replace(asked, run=f"{asked.run}-b")).share_all().mask(LIAR), str)


def test_a_head_that_a_group_never_had_is_not_kept(asked: Asked) -> None:
    """Countersigned by the server itself, by a stranger, or of another group's ledger."""
    deployed = asked.deployed
    told = Round(asked).share_all()
    server = KeyFolder(deployed.folder / "server" / "ledgers" / "identities").own(
        SERVER, role=SERVERS
    )
    owner = Identity.read(deployed.homes[LIAR] / "identity.pem").public
    other = Identity.read(deployed.homes["Group 1"] / "identity.pem").public
    last = deployed.ledger(LIAR)[-1]
    head = Head(seq=last["seq"], hash=last["hash"])

    def signed(key: Identity, seen: Head, whose: bytes, name: str = SERVER) -> bytes:
        signature = sign_head(key, seen, whose)
        return Countersigned(server=name, head=seen, signature=signature).encode()

    lies = {
        "invented": signed(server, Head(seq=head.seq, hash="00" * 32), owner),
        "to come": signed(server, Head(seq=head.seq + 9, hash=head.hash), owner),
        "a stranger's": signed(Identity.create(), head, owner),
        "a stranger's name": signed(Identity.create(), head, owner, "mallory"),
        "of another": signed(server, head, other),
        "no head": b"{}",
    }
    later = Round(asked, attempt=2)
    before = deployed.ledger(LIAR)
    for lie in lies.values():
        refused(
            later.share(LIAR, countersigned=lie),
            "RefusedByLedger",
            "BadSignature",
            "PolicyRefused",
            "MalformedMessage",
        )
        known = {"known": lie, "advertise": AdvertiseRequest(told.terms.attempt).encode()}
        refused(
            deployed.stage(LIAR, "query.advertise", known),
            "RefusedByLedger",
            "BadSignature",
            "PolicyRefused",
            "MalformedMessage",
        )
        content = RecordDict({"secagg": ConfigRecord({"countersigned": lie})})
        assert isinstance(deployed.ask(LIAR, "query.close", content), str)
    assert deployed.ledger(LIAR) == before
    assert not isinstance(later.share(LIAR, countersigned=signed(server, head, owner)), str)


def test_a_second_plan_of_a_run_is_refused(asked: Asked) -> None:
    """Announced under one plan, asked to go on under a cheaper promise of another."""
    assert not isinstance(Round(asked).share_all().mask(LIAR), str)
    coarser = {"noise_log2": asked.plan.noise_log2 - 1, "sensitivity": asked.plan.sensitivity // 2}
    other = replace(asked.plan, **coarser)
    cheaper = replace(asked, plan=other)
    told = Round(cheaper, number=2)
    refused(told.share(LIAR), "ExecutionMismatch")
    assert not isinstance(Round(asked, number=2, attempt=2).share_all().mask(LIAR), str)


def test_rounds_beyond_the_plan_are_not_charged(asked: Asked) -> None:
    """A run has the rounds of its plan, whatever they are called."""
    for number in range(1, asked.plan.rounds + 1):
        assert not isinstance(Round(asked, number=10 * number).share_all().mask(LIAR), str)
    refused(Round(asked, number=99).share(LIAR), "RefusedByLedger")
    assert charged(asked) == asked.plan.rounds
